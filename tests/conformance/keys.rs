//! A vendor that throttles, or refuses the gateway's key: neither is a failure of the vendor, and neither is the client's.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_tests::vendors::Seen;
use tidegate_tests::wait;
use tidegate_tests::world::World;

use crate::check::{refused_for_now, served};

pub(crate) async fn throttled_with_retry_after(world: &World) {
    world.a.fault_times("throttled-1", 1, throttle(&[("retry-after", "60")])).await;
    served(world.ask("throttled").await, "b/throttled-2", 2);
    served(world.ask("throttled").await, "b/throttled-2", 1);
    assert_eq!(world.a.count("throttled-1").await, 1, "it is not asked again until its Retry-After is over");
    assert_eq!(world.breaker("a/throttled-1").await, "closed");
}

pub(crate) async fn throttled_for_a_moment(world: &World) {
    world.a.fault_times("moment-1", 1, throttle(&[("retry-after-ms", "300"), ("retry-after", "1")])).await;
    served(world.ask("moment").await, "b/moment-2", 2);
    wait::until("the first vendor to be asked again", async || {
        let reply = world.ask("moment").await.expect(200);
        (reply.header("x-tidegate-target") == "a/moment-1").then_some(())
    })
    .await;
    assert_eq!(world.a.count("moment-1").await, 2, "not before its time was over");
}

pub(crate) async fn throttled_without_a_hint(world: &World) {
    world.a.fault_times("unhinted-1", 1, throttle(&[])).await;
    served(world.ask("unhinted").await, "b/unhinted-2", 2);
    served(world.ask("unhinted").await, "b/unhinted-2", 1);
    assert_eq!(world.a.count("unhinted-1").await, 1);
}

pub(crate) async fn everybody_throttles(world: &World) {
    world.a.fault("all-throttled-1", throttle(&[("retry-after", "90")])).await;
    world.b.fault("all-throttled-2", throttle(&[("retry-after", "30")])).await;
    let reply = world.ask("all-throttled").await;
    assert_eq!(reply.header("retry-after"), "30", "the sooner of the two: {reply}");
    assert_eq!(reply.header("x-should-retry"), "", "the SDKs may wait for it: {reply}");
    let error = refused_for_now(reply, 429, "rate_limit_exceeded", false);
    assert_eq!(error["type"], "rate_limit_error", "{error}");

    refused_for_now(world.ask("all-throttled").await, 429, "rate_limit_exceeded", false);
    assert_eq!(world.a.count("all-throttled-1").await, 1);
    assert_eq!(world.b.count("all-throttled-2").await, 1);
}

pub(crate) async fn waits_if_the_route_says_so(world: &World) {
    world.a.fault_times("patient-1", 1, throttle(&[("retry-after-ms", "200")])).await;
    served(world.ask("patient").await, "a/patient-1", 2);
    assert_eq!(world.b.count("patient-2").await, 0);
}

pub(crate) async fn throttled_key_makes_way_for_another(world: &World) {
    world.a.fault_times("other-key-1", 1, throttle(&[("retry-after", "60")])).await;
    served(world.ask("other-key").await, "pair/other-key-1", 2);
    served(world.ask("other-key").await, "pair/other-key-1", 1);
    let requests = world.a.requests("other-key-1").await;
    let keys: Vec<&str> = requests.iter().map(Seen::key).collect();
    assert_eq!(keys, ["…1111", "…2222", "…2222"]);
}

pub(crate) async fn keys_are_drawn_by_their_weights(world: &World) {
    for _ in 0..40 {
        served(world.ask("drawing/drawing-1").await, "drawing/drawing-1", 1);
    }
    let requests = world.a.requests("drawing-1").await;
    let by_first = requests.iter().filter(|seen| seen.key() == "…1111").count();
    // Fewer than 15 or all 40 come by chance once in a hundred thousand runs.
    assert!((15..40).contains(&by_first), "three in four: {by_first} of 40");
}

pub(crate) async fn a_busy_key_makes_way_for_another(world: &World) {
    world.slow.holds("busy-key-1").await;
    let release = async {
        world.slow.is_reached("busy-key-1", 3).await;
        world.slow.heal("busy-key-1").await;
    };
    let ask = || world.ask("busy/busy-key-1");
    let replies = tokio::join!(ask(), ask(), ask(), release);
    for reply in [replies.0, replies.1, replies.2] {
        served(reply, "busy/busy-key-1", 1);
    }
    let requests = world.slow.requests("busy-key-1").await;
    let mut keys: Vec<&str> = requests.iter().map(Seen::key).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["…1111", "…2222", "…2222"]);
}

pub(crate) async fn refused_key_is_left_alone(world: &World) {
    let reply = world.ask("barred").await;
    assert!(!reply.text().contains("3333"), "not even the end of a key is told: {reply}");
    refused_for_now(reply, 502, "upstream_credentials", true);
    refused_for_now(world.ask("barred").await, 502, "upstream_credentials", false);
    assert_eq!(world.a.count("barred-1").await, 1, "a refused key is not tried again for a while");
    let target = world.target("barred/barred-1").await;
    assert_eq!((&target["keys"], &target["keys_usable"]), (&json!(1), &json!(0)), "{target}");
    assert_eq!(target["breaker"]["state"], "closed", "the vendor itself is well: {target}");
}

pub(crate) async fn refused_key_is_tried_again_in_time(world: &World) {
    world.a.answers_times("pardoned-1", 1, 401).await;
    let started = Instant::now();
    served(world.ask("pardoned").await, "b/pardoned-2", 2);
    wait::until("the key to be tried again", async || {
        let reply = world.ask("pardoned").await.expect(200);
        (reply.header("x-tidegate-target") == "pardoned/pardoned-1").then_some(())
    })
    .await;
    assert!(started.elapsed() >= Duration::from_secs(1), "not before its time was over: {:?}", started.elapsed());
    assert_eq!(world.a.count("pardoned-1").await, 2);
}

pub(crate) async fn refused_key_fails_over(world: &World) {
    served(world.ask("revoked").await, "b/revoked-2", 2);
    served(world.ask("revoked").await, "b/revoked-2", 1);
    assert_eq!(world.a.count("revoked-1").await, 1);
}

pub(crate) async fn spent_quota_fails_over(world: &World) {
    // It comes as a 429, but waiting will not help.
    served(world.ask("broke").await, "b/broke-2", 2);
    served(world.ask("broke").await, "b/broke-2", 1);
    assert_eq!(world.a.count("broke-1").await, 1);
    let target = world.target("broke/broke-1").await;
    assert_eq!(target["attempts"]["credential_faults"], 1, "{target}");
}

pub(crate) async fn refused_key_makes_way_for_another(world: &World) {
    served(world.ask("mixed").await, "mixed/mixed-1", 2);
    served(world.ask("mixed").await, "mixed/mixed-1", 1);
    let requests = world.a.requests("mixed-1").await;
    let keys: Vec<&str> = requests.iter().map(Seen::key).collect();
    assert_eq!(keys, ["…3333", "…2222", "…2222"]);
}

fn throttle(headers: &[(&str, &str)]) -> Value {
    let headers: serde_json::Map<String, Value> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    json!({"kind": "status", "status": 429, "headers": headers})
}
