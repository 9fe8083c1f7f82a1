//! A second vendor is asked where the first is slow.

use serde_json::json;
use tidegate_tests::wait;
use tidegate_tests::world::World;

use crate::check::{served, streamed};

/// The hedges of a route, and how many of them won.
async fn hedges(world: &World, route: &str) -> (u64, u64) {
    let status = world.admin(tidegate_tests::http::Request::get("/admin/status")).await.expect(200).json();
    let routes = status["routes"].as_array().unwrap();
    let route = routes.iter().find(|known| known["route"] == route).unwrap();
    (route["hedges"].as_u64().unwrap(), route["hedges_won"].as_u64().unwrap())
}

pub(crate) async fn slow_stream_is_hedged(world: &World) {
    world.a.fault("hedged-1", json!({"kind": "slow_first_token", "ms": 20_000})).await;
    streamed(world.stream("hedged").await, "b/hedged-2", 2);
    world.a.saw_cancellation("hedged-1").await;
    let slow = world.target("a/hedged-1").await;
    assert_eq!((&slow["attempts"]["neutral"], &slow["unpriced"]), (&json!(1), &json!(1)), "{slow}");
    assert_eq!(hedges(world, "hedged").await, (1, 1));
}

pub(crate) async fn slow_answer_is_hedged(world: &World) {
    world.a.fault("hedged-plain-1", json!({"kind": "latency", "ms": 20_000})).await;
    let reply = world.ask("hedged-plain").await;
    assert_eq!(reply.header("x-tidegate-cost"), "unknown", "what the other has done nobody says: {reply}");
    served(reply, "b/hedged-plain-2", 2);
    world.a.saw_cancellation("hedged-plain-1").await;
}

pub(crate) async fn first_is_faster_than_its_hedge(world: &World) {
    world.a.holds("hedge-loses-1").await;
    world.c.fault("hedge-loses-2", json!({"kind": "slow_first_token", "ms": 20_000})).await;
    let release = async {
        world.c.is_reached("hedge-loses-2", 1).await;
        world.a.heal("hedge-loses-1").await;
    };
    let (reply, ()) = tokio::join!(world.stream("hedge-loses"), release);
    streamed(reply, "a/hedge-loses-1", 2);
    world.c.saw_cancellation("hedge-loses-2").await;
    assert_eq!(hedges(world, "hedge-loses").await, (1, 0));
    let lost = world.target("c/hedge-loses-2").await;
    assert_eq!((&lost["attempts"]["neutral"], &lost["breaker"]["state"]), (&json!(1), &json!("closed")), "{lost}");
}

pub(crate) async fn hedges_have_a_budget(world: &World) {
    // Slow each time, and where there is to be a hedge, slower than any hedge.
    for ms in [600, 20_000, 600] {
        world.a.fault_times("hedge-budget-1", 1, json!({"kind": "slow_first_token", "ms": ms})).await;
    }
    streamed(world.stream("hedge-budget").await, "a/hedge-budget-1", 1);
    streamed(world.stream("hedge-budget").await, "b/hedge-budget-2", 2);
    streamed(world.stream("hedge-budget").await, "a/hedge-budget-1", 1);
    assert_eq!(hedges(world, "hedge-budget").await, (1, 1));
}

pub(crate) async fn both_fail_and_the_next_is_asked(world: &World) {
    world.a.fault("hedge-fails-1", json!({"kind": "hang"})).await;
    world.b.answers("hedge-fails-2", 503).await;
    streamed(world.stream("hedge-fails").await, "c/hedge-fails-3", 3);
    assert_eq!((world.a.count("hedge-fails-1").await, world.b.count("hedge-fails-2").await), (1, 1));
}

pub(crate) async fn slow_is_no_less_than_the_route_says(world: &World) {
    for _ in 0..4 {
        let _ = world.stream("hedge-least").await.expect(200);
    }
    // Far slower than any of those, and still not slow.
    world.a.fault_times("hedge-least-1", 1, json!({"kind": "slow_first_token", "ms": 500})).await;
    streamed(world.stream("hedge-least").await, "a/hedge-least-1", 1);
    assert_eq!(hedges(world, "hedge-least").await, (0, 0));
    world.a.fault("hedge-least-1", json!({"kind": "slow_first_token", "ms": 20_000})).await;
    let _ = world.stream("hedge-least").await.expect(200);
    assert_eq!(hedges(world, "hedge-least").await, (1, 1));
}

pub(crate) async fn slow_is_what_was_measured(world: &World) {
    for _ in 0..3 {
        streamed(world.stream("hedge-measured").await, "a/hedge-measured-1", 1);
    }
    // Three say little: nobody knows yet that this one is slow, and it is waited for.
    world.a.fault_times("hedge-measured-1", 1, json!({"kind": "slow_first_token", "ms": 700})).await;
    streamed(world.stream("hedge-measured").await, "a/hedge-measured-1", 1);
    assert_eq!(hedges(world, "hedge-measured").await, (0, 0));
    wait::until("the slowest of four to be known", async || {
        let target = world.target("a/hedge-measured-1").await;
        (target["first_token"]["p95_ms"].as_u64() > Some(600)).then_some(())
    })
    .await;
    // Four are as many as it takes, and nothing has taken as long as this.
    world.a.fault("hedge-measured-1", json!({"kind": "slow_first_token", "ms": 20_000})).await;
    streamed(world.stream("hedge-measured").await, "b/hedge-measured-2", 2);
    world.a.saw_cancellation("hedge-measured-1").await;
    assert_eq!(hedges(world, "hedge-measured").await, (1, 1));
}
