//! Answers that are kept for whoever asks the same again.

use serde_json::json;
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::wait;
use tidegate_tests::world::{GUEST_KEY, World, chat, question, streamed};

/// What the reply says of the cache.
fn told(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply}");
    reply.header("x-tidegate-cache").to_owned()
}

pub(crate) async fn asked_again(world: &World) {
    let first = world.ask("cached-again").await;
    assert_eq!(told(&first), "miss");
    assert_ne!(first.header("x-tidegate-cost"), "0");
    // The same question, written otherwise.
    let body = json!({"messages": question("cached-again")["messages"], "model": "cached-again"});
    let again = world.send(chat(&body)).await;
    assert_eq!(told(&again), "hit");
    assert_eq!((again.header("x-tidegate-cost"), again.header("x-tidegate-target")), ("0", "a/cached-again-1"));
    assert_eq!(again.header("x-tidegate-attempts"), "0");
    assert!(again.header("age").parse::<u64>().is_ok(), "{again}");
    let mut expected = first.json();
    assert!(expected["usage"]["cost"].as_f64() > Some(0.0), "{first}");
    expected["usage"]["cost"] = json!(0);
    assert_eq!(again.json(), expected, "the same tokens, which are paid for already");
    let id = again.header("x-tidegate-request-id");
    let account = world.admin(Request::get(&format!("/admin/requests/{id}"))).await.expect(200).json();
    assert_eq!(account["ending"]["how"], "cached", "{account}");
    assert_eq!((&account["ending"]["target"], &account["attempts"]), (&json!("a/cached-again-1"), &json!([])));
    let stream = world.send(chat(&streamed("cached-again"))).await;
    assert_eq!(told(&stream), "miss", "a stream is another answer");
    let again = world.send(chat(&streamed("cached-again"))).await;
    assert_eq!((told(&again), again.text()), ("hit".to_owned(), stream.text()));
    assert_eq!(world.a.count("cached-again-1").await, 2, "one in whole, and one streamed");
    let ledger = world.admin(Request::get("/admin/ledger?by=model&route=cached-again")).await.expect(200).json();
    assert_eq!(ledger["rows"][0]["attempts"], 2, "nothing is booked for what costs nothing: {ledger}");
}

pub(crate) async fn never_across_clients(world: &World) {
    let guest = format!("Bearer {GUEST_KEY}");
    let as_guest = async |model: &str| world.send(chat(&question(model)).header("authorization", &guest)).await;
    assert_eq!(told(&world.ask("private").await), "miss");
    assert_eq!(told(&as_guest("private").await), "miss", "another client has asked");
    assert_eq!((told(&world.ask("private").await), told(&as_guest("private").await)), ("hit".into(), "hit".into()));
    assert_eq!(told(&world.ask("common").await), "miss");
    assert_eq!(told(&as_guest("common").await), "hit", "the route says so");
}

pub(crate) async fn failures_are_not_kept(world: &World) {
    world.a.fault_times("doubtful-1", 1, json!({"kind": "cut", "after_tokens": 2})).await;
    let _broken = world.send(chat(&streamed("doubtful"))).await;
    world.a.answers_times("doubtful-1", 1, 400).await;
    assert_eq!(world.ask("doubtful").await.status, 400);
    assert_eq!(told(&world.ask("doubtful").await), "miss");
    assert_eq!(told(&world.send(chat(&streamed("doubtful"))).await), "miss");
}

pub(crate) async fn kept_for_its_time(world: &World) {
    assert_eq!(told(&world.ask("aging").await), "miss");
    let again = world.ask("aging").await;
    assert!(told(&again) == "hit" && again.header("age").parse::<u64>().is_ok_and(|age| age < 5), "{again}");
    wait::until("it to be too old", async || (told(&world.ask("aging").await) == "miss").then_some(())).await;
    assert_eq!(world.a.count("aging-1").await, 2);
}

pub(crate) async fn no_more_is_kept_than_may_be(world: &World) {
    let ask = async |nth: u32| {
        let mut body = question("cramped");
        body["user"] = json!(nth.to_string());
        told(&world.send(chat(&body)).await)
    };
    assert_eq!((ask(0).await.as_str(), ask(0).await.as_str()), ("miss", "hit"));
    // Each of them takes nearly a kilobyte, and there is room for three.
    for nth in 1..7 {
        assert_eq!(ask(nth).await, "miss");
    }
    assert_eq!(ask(6).await, "hit", "the latest are kept");
    assert_eq!(ask(0).await, "miss", "what was not asked for longest has made way for them");
}

pub(crate) async fn clients_pass_it_by(world: &World) {
    let ask = async |name: &'static str, value: &str| world.send(chat(&question("passed")).header(name, value)).await;
    assert_eq!(told(&ask("x-tidegate-cache", "no-store").await), "bypass");
    assert_eq!(told(&world.ask("passed").await), "miss", "nothing was kept");
    assert_eq!(told(&ask("cache-control", "no-cache").await), "miss", "a new one is made");
    assert_eq!(told(&ask("x-tidegate-cache", "refresh").await), "miss");
    assert_eq!(told(&world.ask("passed").await), "hit");
    assert_eq!(world.a.count("passed-1").await, 4);
}

pub(crate) async fn a_long_prompt_has_prices_of_its_own(world: &World) {
    for (repeats, input, output) in [(1, 1, 2), (3000, 3, 5)] {
        let words = "tide ".repeat(repeats);
        let body = json!({"model": "tiered", "messages": [{"role": "user", "content": words}]});
        let reply = world.send(chat(&body)).await.expect(200);
        let prompt_tokens = reply.json()["usage"]["prompt_tokens"].as_u64().unwrap();
        assert_eq!(prompt_tokens > 1000, repeats > 1, "{reply}");
        costs(&reply, input, output);
    }
}

pub(crate) async fn prices_are_built_in(world: &World) {
    costs(&world.ask("listed/gpt-4.1").await, 2, 8);
}

pub(crate) async fn prices_are_read_from_a_file(world: &World) {
    costs(&world.ask("a/filed-1").await, 3, 7);
    // The file names this one as well: what stands with the model itself counts.
    costs(&world.ask("a/written-1").await, 1, 2);
}

/// What the reply is said to have cost is what its tokens come to at these prices.
#[track_caller]
fn costs(reply: &Reply, input: u64, output: u64) {
    assert_eq!(reply.status, 200, "{reply}");
    let usage = reply.json()["usage"].clone();
    let tokens = |name: &str| usage[name].as_u64().unwrap();
    let microdollars = tokens("prompt_tokens") * input + tokens("completion_tokens") * output;
    let told: f64 = reply.header("x-tidegate-cost").parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand tokens")]
    let expected = microdollars as f64 / 1e6;
    assert!((told - expected).abs() < 1e-12, "{told} for {usage}");
}
