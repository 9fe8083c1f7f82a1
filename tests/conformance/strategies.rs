//! Strategies of routes, by what has been measured.

use serde_json::json;
use tidegate_tests::http::Request;
use tidegate_tests::wait;
use tidegate_tests::world::{World, question};

use crate::check::served;

/// Who serves the next `times` requests, as how many of them are by `target`.
async fn by(world: &World, route: &str, target: &str, times: u32) -> u32 {
    let mut by_target = 0;
    for _ in 0..times {
        let reply = world.ask(route).await.expect(200);
        by_target += u32::from(reply.header("x-tidegate-target") == target);
    }
    by_target
}

pub(crate) async fn latency_moves_to_the_faster(world: &World) {
    world.a.fault("quick-1", json!({"kind": "latency", "ms": 1000})).await;
    // Whoever has not been measured is asked too.
    wait::until("both to be measured", async || {
        let _ = world.ask("quick").await.expect(200);
        (world.a.count("quick-1").await > 0 && world.b.count("quick-2").await > 0).then_some(())
    })
    .await;
    let by_b = by(world, "quick", "b/quick-2", 10).await;
    assert!(by_b >= 9, "the slower is asked now and then: {by_b} of 10");
    let before = world.b.count("quick-2").await;
    let explained = world.admin(Request::post("/admin/explain", &question("quick"))).await.expect(200).json();
    assert_eq!(explained["target"], "b/quick-2", "{explained}");
    assert_eq!(explained["candidates"][1]["target"], "a/quick-1", "{explained}");
    assert_eq!(world.b.count("quick-2").await, before, "a dry run sends nothing");
}

pub(crate) async fn inverse_latency_probes_first(world: &World) {
    // By chance alone, it would be asked first in one round of two.
    for _ in 0..4 {
        world.a.answers_times("drawn-1", 1, 503).await;
        wait::until("the breaker to open", async || {
            let _ = world.ask("drawn").await.expect(200);
            (world.breaker("a/drawn-1").await != "closed").then_some(())
        })
        .await;
        wait::until("the breaker to be half-open", async || {
            (world.breaker("a/drawn-1").await == "half_open").then_some(())
        })
        .await;
        served(world.ask("drawn").await, "a/drawn-1", 1);
        assert_eq!(world.breaker("a/drawn-1").await, "closed");
    }
    let by_a = by(world, "drawn", "a/drawn-1", 40).await;
    assert!((1..40).contains(&by_a), "both have their share: {by_a} of 40");
}

pub(crate) async fn weights_are_shares(world: &World) {
    // Fewer than 15 or more than 40 of 40 come by chance once in a million runs.
    let by_a = by(world, "weighed", "a/weighed-1", 40).await;
    assert!((16..40).contains(&by_a), "three in four: {by_a} of 40");
    world.a.answers("weighed-1", 503).await;
    let explained = world.admin(Request::post("/admin/explain", &question("weighed"))).await.expect(200).json();
    assert_eq!(explained["strategy"], "weighted", "{explained}");
    assert_eq!(by(world, "weighed", "b/weighed-2", 5).await, 5, "whoever is drawn first, the other takes over");
}
