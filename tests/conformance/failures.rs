//! A vendor that fails before the client has seen anything: the client gets its answer all the same.

use serde_json::json;
use tidegate_tests::wait;
use tidegate_tests::world::{World, chat, long_streamed};

use crate::check::{interrupted, refused, refused_for_now, served, streamed, text_of};

pub(crate) async fn five_hundred_once(world: &World) {
    world.a.answers_times("once-1", 1, 500).await;
    served(world.ask("once").await, "a/once-1", 2);
    assert_eq!(world.a.count("once-1").await, 2, "a 500 may well be this once: the same target is asked again");
    assert_eq!(world.b.count("once-2").await, 0);
}

pub(crate) async fn five_hundred_for_ever(world: &World) {
    world.a.answers("twice-1", 500).await;
    served(world.ask("twice").await, "b/twice-2", 3);
    assert_eq!(world.a.count("twice-1").await, 2, "once again, and no more");
}

pub(crate) async fn unavailable_for_ever(world: &World) {
    world.a.answers("down-1", 503).await;
    let answer = served(world.ask("down").await, "b/down-2", 2);
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains("sandbox vendor b"), "{answer}");
    streamed(world.stream("down").await, "b/down-2", 2);
    assert_eq!(world.a.count("down-1").await, 2, "once for each request: a 503 is failed over from at once");
    assert_eq!(world.b.requests("down-2").await[0].key(), "…bbbb", "each vendor gets its own key");
}

pub(crate) async fn every_status_of_a_broken_vendor(world: &World) {
    for status in [502, 503, 504, 529, 408, 302, 599] {
        world.a.answers_times("statuses-1", 1, status).await;
        served(world.ask("statuses").await, "b/statuses-2", 2);
    }
    assert_eq!(world.a.count("statuses-1").await, 7);
}

pub(crate) async fn reset_once(world: &World) {
    world.a.fault_times("reset-once-1", 1, json!({"kind": "reset"})).await;
    served(world.ask("reset-once").await, "a/reset-once-1", 2);
    assert_eq!(world.a.count("reset-once-1").await, 2);
}

pub(crate) async fn reset_for_ever(world: &World) {
    world.a.fault("reset-1", json!({"kind": "reset"})).await;
    served(world.ask("reset").await, "b/reset-2", 3);
    assert_eq!(world.a.count("reset-1").await, 2);
}

pub(crate) async fn nobody_listens(world: &World) {
    let reply = world.ask("connect").await.expect(200);
    assert_eq!(reply.header("x-tidegate-target"), "b/connect-2", "{reply}");
    assert_eq!(world.b.count("connect-2").await, 1);
}

pub(crate) async fn a_connection_is_not_waited_for(world: &World) {
    served(world.ask("unheard").await, "b/unheard-2", 2);
    let error = refused(world.ask("unheeding/unheard-1").await, 502, "upstream_error");
    assert_eq!(error["metadata"]["attempts"][0]["outcome"], "connect_failed", "no answer was waited for: {error}");
}

pub(crate) async fn hang(world: &World) {
    world.a.fault("hang-1", json!({"kind": "hang"})).await;
    served(world.ask("hang").await, "b/hang-2", 2);
    world.a.saw_cancellation("hang-1").await;
}

pub(crate) async fn hang_before_a_stream(world: &World) {
    world.a.fault("hang-stream-1", json!({"kind": "hang"})).await;
    streamed(world.stream("hang-stream").await, "b/hang-stream-2", 2);
    world.a.saw_cancellation("hang-stream-1").await;
}

pub(crate) async fn silent_alone_is_asked_once(world: &World) {
    world.a.fault("silent-1", json!({"kind": "hang"})).await;
    let error = refused_for_now(world.ask("silent").await, 504, "upstream_timeout", true);
    assert_eq!(error["metadata"]["attempts"][0]["outcome"], "silent", "{error}");
    assert_eq!(world.a.count("silent-1").await, 1, "never the same target again in this request");
}

pub(crate) async fn late_answer(world: &World) {
    world.a.fault("late-1", json!({"kind": "latency", "ms": 20_000})).await;
    served(world.ask("late").await, "b/late-2", 2);
}

pub(crate) async fn slow_first_token(world: &World) {
    world.a.fault("slow-token-1", json!({"kind": "slow_first_token", "ms": 20_000})).await;
    streamed(world.stream("slow-token").await, "b/slow-token-2", 2);
    world.a.saw_cancellation("slow-token-1").await;
}

pub(crate) async fn empty_200(world: &World) {
    world.a.fault("empty-1", json!({"kind": "empty_200"})).await;
    served(world.ask("empty").await, "b/empty-2", 2);
}

pub(crate) async fn not_json(world: &World) {
    world.a.fault("not-json-1", json!({"kind": "not_json"})).await;
    served(world.ask("not-json").await, "b/not-json-2", 2);
    streamed(world.stream("not-json").await, "b/not-json-2", 2);
}

pub(crate) async fn compressed_unasked(world: &World) {
    // A kind of compression that no runtime undoes.
    let packed = json!({"kind": "status", "status": 200, "headers": {"content-encoding": "zstd"}, "body": "(µ/ý"});
    world.a.fault("packed-1", packed.clone()).await;
    served(world.ask("packed").await, "b/packed-2", 2);
    assert_eq!(world.a.only("packed-1").await.headers()["accept-encoding"], "identity");
    world.b.fault("packed-2", packed).await;
    let error = refused_for_now(world.ask("packed").await, 502, "upstream_error", true);
    for attempt in error["metadata"]["attempts"].as_array().unwrap() {
        assert_eq!(attempt["outcome"], "compressed", "{error}");
    }
}

pub(crate) async fn error_in_a_200(world: &World) {
    world.a.fault("in-body-1", json!({"kind": "error_in_200"})).await;
    served(world.ask("in-body").await, "b/in-body-2", 2);
}

pub(crate) async fn cut_plain(world: &World) {
    world.a.fault("cut-plain-1", json!({"kind": "cut"})).await;
    served(world.ask("cut-plain").await, "b/cut-plain-2", 2);
}

pub(crate) async fn stall_plain(world: &World) {
    world.a.fault("stall-plain-1", json!({"kind": "stall"})).await;
    served(world.ask("stall-plain").await, "b/stall-plain-2", 2);
    world.a.saw_cancellation("stall-plain-1").await;
}

pub(crate) async fn malformed_plain(world: &World) {
    world.a.fault("malformed-1", json!({"kind": "malformed_chunk"})).await;
    served(world.ask("malformed").await, "b/malformed-2", 2);
}

pub(crate) async fn huge_reply(world: &World) {
    // Without `bytes` it never ends: whoever gathers it all runs out of memory.
    world.a.fault("huge-1", json!({"kind": "huge"})).await;
    served(world.ask("huge").await, "b/huge-2", 2);
    world.a.saw_cancellation("huge-1").await;

    world.b.fault("huge-2", json!({"kind": "huge", "bytes": 1 << 20})).await;
    let error = refused_for_now(world.ask("huge").await, 502, "upstream_error", true);
    assert_eq!(error["metadata"]["attempts"][1]["outcome"], "too_large", "{error}");
    served(world.ask("bare").await, "b/bare", 1);
}

pub(crate) async fn attempt_budget(world: &World) {
    world.a.answers("budget-1", 503).await;
    world.b.answers("budget-2", 503).await;
    refused_for_now(world.ask("budget").await, 502, "upstream_error", true);
    assert_eq!(world.c.count("budget-3").await, 0, "two attempts are what the route allows");
}

pub(crate) async fn retries_have_a_budget(world: &World) {
    world.a.answers("stormy-1", 500).await;
    let mut tried_again = 0;
    // A 500 may be this once, and is tried again; where all of them fail, that only doubles the load.
    wait::until("the budget to be spent", async || {
        let reply = world.ask("stormy").await.expect(502);
        let again = reply.header("x-tidegate-attempts") == "2";
        tried_again += u64::from(again);
        (!again).then_some(())
    })
    .await;
    assert!((10..50).contains(&tried_again), "ten in ten seconds are free: {tried_again}");
    assert_eq!(world.a.count("stormy-1").await, 2 * tried_again + 1);
}

pub(crate) async fn deadline(world: &World) {
    world.a.fault("deadline-1", json!({"kind": "hang"})).await;
    refused_for_now(world.ask("deadline").await, 504, "upstream_timeout", true);
    world.a.saw_cancellation("deadline-1").await;
    assert_eq!(world.a.count("deadline-1").await, 1);
}

pub(crate) async fn an_attempt_takes_no_longer_than_it_may(world: &World) {
    world.a.fault("total-1", json!({"kind": "latency", "ms": 20_000})).await;
    served(world.ask("total").await, "b/total-2", 2);
    // It speaks all the time, and for too long.
    let stream = world.send(chat(&long_streamed("total-stream"))).await;
    let (chunks, error) = interrupted(stream, "slow/total-3");
    assert!(!text_of(&chunks).is_empty());
    assert_eq!(error["metadata"]["attempts"].as_array().map(Vec::len), Some(1), "{error}");
    world.slow.saw_cancellation("total-3").await;
}

pub(crate) async fn a_kind_of_failure_leads_where_the_route_says(world: &World) {
    world.a.fault("led-1", json!({"kind": "hang"})).await;
    served(world.ask("led").await, "b/led-3", 2);
    served(world.ask("misled").await, "c/led-4", 2);
    // What is no such kind goes to the next, whose connection fails.
    world.a.heal("led-1").await;
    world.a.answers("led-1", 503).await;
    served(world.ask("led").await, "c/led-4", 3);
}

pub(crate) async fn everybody_fails(world: &World) {
    let secret = json!({"error": {"message": "our database at 10.0.0.7 is on fire", "type": "server_error"}});
    world.a.fault("exhausted-1", json!({"kind": "status", "status": 503, "body": secret})).await;
    world.b.fault("exhausted-2", json!({"kind": "status", "status": 502, "body": secret})).await;
    let reply = world.ask("exhausted").await;
    assert!(!reply.text().contains("10.0.0.7"), "a vendor's own words are for callers at fault only: {reply}");
    let error = refused_for_now(reply.clone(), 502, "upstream_error", true);
    assert_eq!(reply.header("x-tidegate-attempts"), "2", "{reply}");
    let attempts = error["metadata"]["attempts"].as_array().unwrap();
    let targets: Vec<&str> = attempts.iter().map(|attempt| attempt["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["a/exhausted-1", "b/exhausted-2"]);
    // Before a stream has begun it is refused like any other request.
    refused(world.stream("exhausted").await, 502, "upstream_error");
}
