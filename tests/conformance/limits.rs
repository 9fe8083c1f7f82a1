//! Limits on what is used: keys and targets that are left alone at theirs, and clients that are told to wait at theirs.

use futures_util::future::select;
use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::vendors::Seen;
use tidegate_tests::world::{BUDGET_KEY, HURRIED_KEY, SINGLE_KEY, WORDY_KEY, World, chat, question};

use crate::check::{refused, refused_for_now, served};

pub(crate) async fn a_key_at_its_limit_makes_way_for_another(world: &World) {
    for _ in 0..4 {
        served(world.ask("metered").await, "metered/metered-1", 1);
    }
    let requests = world.a.requests("metered-1").await;
    let keys: Vec<&str> = requests.iter().map(Seen::key).collect();
    assert_eq!(keys, ["…1111", "…1111", "…2222", "…2222"]);
}

pub(crate) async fn words_with_one_key_too_many_go_with_another(world: &World) {
    // Each will likely come to some five hundred tokens, and the first key has room for one.
    world.slow.holds("sparing-1").await;
    let release = async {
        world.slow.is_reached("sparing-1", 2).await;
        world.slow.heal("sparing-1").await;
    };
    let ask = || world.ask("sparing/sparing-1");
    let (one, other, ()) = tokio::join!(ask(), ask(), release);
    for reply in [one, other] {
        served(reply, "sparing/sparing-1", 1);
    }
    let requests = world.slow.requests("sparing-1").await;
    let mut keys: Vec<&str> = requests.iter().map(Seen::key).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["…1111", "…2222"]);
}

pub(crate) async fn a_target_at_its_limit_makes_way_for_the_next(world: &World) {
    for _ in 0..2 {
        served(world.ask("rationed").await, "a/rationed-1", 1);
    }
    served(world.ask("rationed").await, "b/rationed-2", 1);
    assert_eq!(world.a.count("rationed-1").await, 2);
    let target = world.target("a/rationed-1").await;
    assert_eq!(
        (&target["limits"]["requests"]["limit"], &target["limits"]["requests"]["remaining"]),
        (&json!(2), &json!(0))
    );
    let inquiry = world.admin(Request::post("/admin/explain", &question("rationed"))).await;
    let explanation = inquiry.expect(200).json();
    assert_eq!(explanation["candidates"][0]["rejected"]["reason"], "at_limit", "{explanation}");
    assert_eq!(explanation["candidates"][0]["rejected"]["limit"], "requests", "{explanation}");
    assert_eq!(explanation["target"], "b/rationed-2", "{explanation}");
}

pub(crate) async fn who_has_no_limits_has_the_defaults(world: &World) {
    for _ in 0..3 {
        served(world.ask("hurried").await, "a/hurried-1", 1);
    }
    served(world.ask("hurried").await, "b/hurried-2", 1);
    let limit = async |target: &str, of: &str| world.target(target).await["limits"][of]["limit"].clone();
    assert_eq!(
        (limit("a/hurried-1", "requests").await, limit("a/hurried-1", "tokens").await),
        (json!(3), json!(1_000_000))
    );
    assert_eq!(limit("b/hurried-2", "requests").await, 100, "its own");

    // Each will likely come to some five hundred tokens, and there is room for one.
    world.slow.holds("wordy-1").await;
    let release = async {
        world.b.is_reached("wordy-2", 1).await;
        world.slow.heal("wordy-1").await;
    };
    let replies = tokio::join!(world.ask("wordy"), world.ask("wordy"), release);
    let mut by = [&replies.0, &replies.1].map(|reply| reply.header("x-tidegate-target"));
    by.sort_unstable();
    assert_eq!(by, ["b/wordy-2", "slow/wordy-1"]);
    assert_eq!(limit("slow/wordy-1", "tokens").await, 600);
}

pub(crate) async fn tokens_of_requests_at_one_moment_are_not_given_twice(world: &World) {
    // Each will likely come to some five hundred, and there is room for one.
    world.slow.holds("roomy-1").await;
    let release = async {
        world.b.is_reached("roomy-2", 3).await;
        world.slow.heal("roomy-1").await;
    };
    let ask = || world.ask("roomy");
    let replies = tokio::join!(ask(), ask(), ask(), ask(), release);
    let replies = [replies.0, replies.1, replies.2, replies.3];
    let by_a = replies.iter().filter(|reply| reply.header("x-tidegate-target") == "slow/roomy-1").count();
    assert_eq!((by_a, world.b.count("roomy-2").await), (1, 3));
    assert!(replies.iter().all(|reply| reply.status == 200));
}

pub(crate) async fn a_clients_requests_a_minute(world: &World) {
    for left in ["2", "1", "0"] {
        let reply = ask_as(world, HURRIED_KEY, "hasty").await;
        assert_eq!(reply.header("x-ratelimit-limit-requests"), "3", "{reply}");
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), left, "{reply}");
        served(reply, "a/hasty-1", 1);
    }
    let reply = ask_as(world, HURRIED_KEY, "hasty").await;
    assert!(reply.header("x-ratelimit-reset-requests").ends_with('s'), "{reply}");
    let error = refused_for_now(reply, 429, "rate_limit_exceeded", false);
    assert_eq!(error["type"], "rate_limit_error", "{error}");
    assert_eq!(world.a.count("hasty-1").await, 3, "no vendor hears of it");
    served(world.ask("hasty").await, "a/hasty-1", 1);
    let status = client(world, "hurried").await;
    assert_eq!(status["limits"]["requests"]["limit"], 3, "{status}");
}

pub(crate) async fn a_clients_tokens_a_minute(world: &World) {
    // Each will likely come to some five hundred, and there is room for one.
    let (serves, refuses) = two_at_once(world, WORDY_KEY, "wordy", "wordy-1").await;
    assert_eq!(serves.header("x-ratelimit-limit-tokens"), "800", "{serves}");
    served(serves, "slow/wordy-1", 1);
    refused_for_now(refuses, 429, "rate_limit_exceeded", false);
    assert_eq!(world.slow.count("wordy-1").await, 1);
    let tokens = client(world, "wordy").await["limits"]["tokens"].clone();
    assert!(tokens["remaining"].as_u64().is_some_and(|left| left > 300), "what was not used is given back: {tokens}");
}

pub(crate) async fn a_clients_requests_at_once(world: &World) {
    let (serves, refuses) = two_at_once(world, SINGLE_KEY, "single", "single-1").await;
    served(serves, "slow/single-1", 1);
    refused_for_now(refuses, 429, "rate_limit_exceeded", false);
    served(ask_as(world, SINGLE_KEY, "single").await, "slow/single-1", 1);
}

/// What two requests are told of which the vendor holds one until the other has been answered: that one's, and the other's.
async fn two_at_once(world: &World, key: &str, route: &str, model: &str) -> (Reply, Reply) {
    world.slow.holds(model).await;
    let ask = || Box::pin(ask_as(world, key, route));
    let (first_to_end, held) = select(ask(), ask()).await.factor_first();
    world.slow.heal(model).await;
    (held.await, first_to_end)
}

pub(crate) async fn a_clients_budget(world: &World) {
    let mut costs = 0.0;
    let mut count = 0;
    let refusal = loop {
        let reply = ask_as(world, BUDGET_KEY, "thrifty").await;
        if reply.status != 200 {
            break reply;
        }
        costs += reply.header("x-tidegate-cost").parse::<f64>().expect("what it cost");
        count += 1;
        assert!(count < 20, "a tenth of a dollar a token, and two and a half dollars: {costs}");
    };
    assert!(count >= 1 && costs > 0.5, "{count} for {costs}");
    assert_eq!(refusal.header("x-should-retry"), "false", "{refusal}");
    assert!(!refusal.header("retry-after").is_empty(), "{refusal}");
    let error = refused(refusal, 429, "insufficient_quota");
    assert_eq!(error["type"], "insufficient_quota", "{error}");
    let status = client(world, "thrifty").await;
    let spent: f64 = status["budget"]["spent_usd"].as_str().expect("an amount").parse().expect("of money");
    assert!((spent - costs).abs() < 1e-9, "{spent} is not {costs}");
    let reply = ask_as(world, BUDGET_KEY, "untold").await;
    refused(reply, 403, "model_not_priced");
    assert_eq!(world.a.count("untold-1").await, 0);
}

async fn ask_as(world: &World, key: &str, model: &str) -> Reply {
    world.send(chat(&question(model)).header("authorization", &format!("Bearer {key}"))).await
}

/// What `/admin/status` says of a client.
async fn client(world: &World, name: &str) -> Value {
    let status = world.admin(Request::get("/admin/status")).await.expect(200).json();
    let clients = status["clients"].as_array().expect("a list of clients");
    clients.iter().find(|client| client["client"] == name).unwrap_or_else(|| panic!("no {name} in {status}")).clone()
}
