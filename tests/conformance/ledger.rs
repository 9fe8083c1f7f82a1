//! The ledger: each attempt that reached a vendor has a line, and the lines add up to the cent.

use serde_json::{Value, json};
use tidegate_tests::gateway::{Gateway, Scratch};
use tidegate_tests::http::Request;
use tidegate_tests::vendors::Vendors;
use tidegate_tests::wait;
use tidegate_tests::world::{ADMIN_KEY, CLIENT_KEY, World, chat, question, setup};

use crate::check::{refused, served, streamed};

/// What one answer cost, in picodollars, at these prices of a token.
fn cost(answer: &Value, input: u64, output: u64) -> u64 {
    let tokens = |kind: &str| answer["usage"][kind].as_u64().unwrap();
    tokens("prompt_tokens") * input * 1_000_000 + tokens("completion_tokens") * output * 1_000_000
}

fn usd(picodollars: u64) -> String {
    format!("0.{picodollars:012}").trim_end_matches('0').to_owned()
}

pub(crate) async fn sums_are_exact(world: &World) {
    let first = served(world.ask("booked").await, "a/booked-1", 1);
    // The stream said the same, and its usage was kept from the client.
    streamed(world.stream("booked").await, "a/booked-1", 1);
    world.a.answers_times("booked-1", 1, 503).await;
    let second = served(world.ask("booked").await, "b/booked-2", 2);
    world.a.answers("booked-1", 503).await;
    world.b.answers("booked-2", 503).await;
    refused(world.ask("booked").await, 502, "upstream_error");

    let sums = || world.admin(Request::get("/admin/ledger?by=client,model&route=booked"));
    let told = sums().await.expect(200).json();
    let [a, b] = &told["rows"].as_array().unwrap()[..] else { panic!("two models: {told}") };
    for (row, target, vendor, answer, times, [input, output]) in [
        (a, "a/booked-1", world.a.count("booked-1").await, &first, 2, [1, 2]),
        (b, "b/booked-2", world.b.count("booked-2").await, &second, 1, [3, 4]),
    ] {
        let tokens = |kind: &str| json!(times * answer["usage"][kind].as_u64().unwrap());
        assert_eq!((&row["client"], &row["model"]), (&json!("tests"), &json!(target)), "{told}");
        assert_eq!((&row["attempts"], &row["successes"]), (&json!(vendor), &json!(times)), "{told}");
        assert_eq!(row["unpriced"], 0, "what a vendor fails to answer costs nothing: {told}");
        assert_eq!(row["input_tokens"], tokens("prompt_tokens"), "{told}");
        assert_eq!(row["output_tokens"], tokens("completion_tokens"), "{told}");
        assert_eq!(row["cost_usd"], usd(times * cost(answer, input, output)), "{told}");
    }
    assert_eq!(sums().await.expect(200).json(), told, "asking costs nothing");

    let csv = world.admin(Request::get("/admin/ledger?by=model&route=booked&format=csv")).await.expect(200);
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(csv.text().starts_with("model,attempts,successes,") && csv.text().contains("\r\na/booked-1,"), "{csv}");

    let lines = world.admin(Request::get("/admin/ledger/lines?route=booked&limit=1000")).await.expect(200).json();
    let lines = lines["lines"].as_array().unwrap();
    assert_eq!(lines.len() as u64, a["attempts"].as_u64().unwrap() + b["attempts"].as_u64().unwrap());
    let failed = lines.iter().filter(|line| line["outcome"] == "upstream_status");
    assert!(failed.count() > 2, "{lines:?}");
    let stream = lines.iter().find(|line| line["stream"] == true).unwrap();
    assert!(stream["first_token_ms"].is_u64() && stream["took_ms"].is_u64(), "{stream}");
    assert_eq!((&stream["key"], &stream["probe"], &stream["attempt"]), (&json!("KEY_A"), &json!(false), &json!(1)));
}

pub(crate) async fn what_the_ledger_cannot_be_asked(world: &World) {
    for wrong in ["?by=moon", "?from=yesterday", "?format=xml", "?limit=1"] {
        let reply = world.admin(Request::get(&format!("/admin/ledger{wrong}"))).await;
        refused(reply, 400, "invalid_request");
    }
    let none = world.admin(Request::get("/admin/ledger?by=day&client=nobody'%20OR%201=1")).await.expect(200).json();
    assert_eq!(none["rows"], json!([]));
    let before = world.admin(Request::get("/admin/ledger?by=day&to=2020-01-01")).await.expect(200).json();
    assert_eq!(before["rows"], json!([]));
}

pub(crate) async fn lines_survive_a_restart(world: &World) {
    let vendors = Vendors::start().await;
    let setup = setup(world.runtime, &vendors, Scratch::new());
    let sums = async |gateway: &Gateway| {
        let request = Request::get("/admin/ledger?by=model&route=booked");
        request.header("authorization", &format!("Bearer {ADMIN_KEY}")).send(gateway.address).await
    };
    let first = Gateway::start(&setup);
    for _ in 0..3 {
        let ask = chat(&question("booked")).header("authorization", &format!("Bearer {CLIENT_KEY}"));
        served(ask.send(first.address).await, "a/booked-1", 1);
    }
    let told = wait::until("three lines", async || {
        let told = sums(&first).await.expect(200).json();
        (told["rows"][0]["attempts"] == 3).then_some(told)
    })
    .await;
    drop(first);
    let second = Gateway::start(&setup);
    assert_eq!(sums(&second).await.expect(200).json(), told);
}
