//! Strategies of routes, by what has been measured.

use serde_json::{Value, json};
use tidegate_tests::http::Request;
use tidegate_tests::wait;
use tidegate_tests::world::{World, chat, question, streamed as streamed_question};

use crate::apis::with;
use crate::check::{refused, served, streamed};

/// Who serves the next `times` requests, as how many of them are by `target`.
async fn by(world: &World, route: &str, target: &str, times: u32) -> u32 {
    let mut by_target = 0;
    for _ in 0..times {
        let reply = world.ask(route).await.expect(200);
        by_target += u32::from(reply.header("x-tidegate-target") == target);
    }
    by_target
}

pub(crate) async fn ordered_keeps_to_its_order(world: &World) {
    for _ in 0..10 {
        served(world.ask("in-order").await, "a/in-order-1", 1);
    }
    world.b.answers("in-order-2", 503).await;
    assert_eq!(by(world, "in-order", "a/in-order-1", 5).await, 5, "of the others nobody is asked");
    assert_eq!((world.b.count("in-order-2").await, world.c.count("in-order-3").await), (0, 0));
    world.a.answers("in-order-1", 503).await;
    served(world.ask("in-order").await, "c/in-order-3", 3);
    let explained = world.admin(Request::post("/admin/explain", &question("in-order"))).await.expect(200).json();
    let order = ["a/in-order-1", "b/in-order-2", "c/in-order-3"];
    for (nth, target) in order.into_iter().enumerate() {
        assert_eq!(explained["candidates"][nth]["target"], target, "{explained}");
    }
    // Back again step by step, each as soon as it can serve: the first comes before the second for good.
    world.b.heal("in-order-2").await;
    serves_again(world, "b/in-order-2").await;
    world.a.heal("in-order-1").await;
    serves_again(world, "a/in-order-1").await;
    assert_eq!(by(world, "in-order", "a/in-order-1", 10).await, 10);
}

async fn serves_again(world: &World, target: &str) {
    wait::until(target, async || (by(world, "in-order", target, 1).await == 1).then_some(())).await;
}

pub(crate) async fn latency_moves_to_the_faster(world: &World) {
    world.a.fault("quick-1", json!({"kind": "latency", "ms": 3000})).await;
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

pub(crate) async fn whoever_is_said_to_be_slow_is_not_tried_for_it(world: &World) {
    // Nothing has been measured: by chance alone each would be asked.
    for _ in 0..10 {
        streamed(world.stream("presumed").await, "b/presumed-2", 1);
    }
    assert_eq!(world.a.count("presumed-1").await, 0);
}

/// Who serves a question with this more in its body.
async fn serves(world: &World, route: &str, more: &Value) -> String {
    let reply = world.send(chat(&with(question(route), more))).await.expect(200);
    reply.header("x-tidegate-target").to_owned()
}

pub(crate) async fn cost_is_that_of_the_request(world: &World) {
    // A long question and a short answer: what a token of the question costs is what counts.
    let long = json!({"messages": [{"role": "user", "content": "tide ".repeat(2000)}], "max_tokens": 5});
    assert_eq!(serves(world, "frugal", &long).await, "c/frugal-3");
    let brief = json!({"max_tokens": 400});
    assert_eq!(serves(world, "frugal", &brief).await, "a/frugal-1");
    let explained = world.admin(Request::post("/admin/explain", &with(question("frugal"), &brief))).await.expect(200);
    let candidates = &explained.json()["candidates"];
    let row = |nth: usize| (candidates[nth]["target"].clone(), candidates[nth]["cost_usd"].is_string());
    assert_eq!(
        [row(0), row(1), row(2)],
        [("a/frugal-1", true), ("c/frugal-3", true), ("b/frugal-2", false)]
            .map(|(target, known)| (json!(target), known))
    );
    world.a.answers("frugal-1", 503).await;
    world.c.answers("frugal-3", 503).await;
    assert_eq!(serves(world, "frugal", &brief).await, "b/frugal-2", "what nobody can price comes last, and comes");
    let capped = chat(&question("frugal")).header("x-tidegate-max-cost", "0.000000001");
    refused(world.send(capped).await, 400, "no_target_left");
}

pub(crate) async fn context_is_fit_and_score(world: &World) {
    let short = json!({"max_tokens": 5});
    assert_eq!(serves(world, "fitting", &short).await, "a/fitting-1", "the cheapest");
    let hurried = json!({"max_tokens": 5, "tidegate": {"task": "code", "max_latency_ms": 9000}});
    assert_ne!(serves(world, "fitting", &hurried).await, "b/fitting-2", "too slow, whatever it is good at");
    let code = json!({"max_tokens": 5, "tidegate": {"task": "code"}});
    assert_eq!(serves(world, "fitting", &code).await, "b/fitting-2", "its strength");
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    let able = json!({"max_tokens": 400, "tools": tools});
    assert_eq!(serves(world, "fitting", &able).await, "b/fitting-2", "one has no tools, and one too small a context");
    let explained = world.admin(Request::post("/admin/explain", &with(question("fitting"), &able))).await.expect(200);
    let candidates = explained.json()["candidates"].as_array().expect("a list").clone();
    let why = |target: &str| {
        let row = candidates.iter().find(|row| row["target"] == target).expect("each is considered");
        assert!(row["score"].is_u64(), "{row}");
        row["rejected"]["reason"].clone()
    };
    assert_eq!(
        ["a/fitting-1", "b/fitting-2", "c/fitting-3"].map(why),
        [json!("unsupported"), Value::Null, json!("context_too_small")]
    );
}

pub(crate) async fn a_route_has_caps_of_its_own(world: &World) {
    streamed(world.stream("capped").await, "c/capped-3", 1);
    let explain = Request::post("/admin/explain", &streamed_question("capped"));
    let explained = world.admin(explain).await.expect(200).json();
    let candidates = explained["candidates"].as_array().expect("a list");
    let why = |target: &str| {
        let row = candidates.iter().find(|row| row["target"] == target).expect("each is considered");
        row["rejected"]["reason"].clone()
    };
    assert_eq!(
        ["a/capped-1", "b/capped-2", "c/capped-3"].map(why),
        [json!("too_slow"), json!("too_dear"), Value::Null],
        "{explained}"
    );
    // How long it takes for an answer in whole nobody has said.
    served(world.ask("capped").await, "a/capped-1", 1);
}
