//! Health as clients and vendors see it: who is asked last, who is let in again, and by whose request.

use serde_json::{Value, json};
use tidegate_tests::http::Request;
use tidegate_tests::wait;
use tidegate_tests::world::{World, question};

use crate::check::{served, streamed};

pub(crate) async fn standby_that_is_down_is_asked_last(world: &World) {
    // Nobody calls it, so nobody else finds out.
    world.a.path_answers("/v1beta/models", 503).await;
    becomes(world, "ailing/weak-1", "unhealthy").await;
    served(world.ask("weak").await, "b/weak-2", 1);
    assert_eq!(world.a.count("weak-1").await, 0, "it was passed over");
    let explained = world.admin(Request::post("/admin/explain", &question("weak"))).await.expect(200).json();
    let row = |index: usize| (&explained["candidates"][index]["target"], &explained["candidates"][index]["health"]);
    assert_eq!((row(0).0, row(1)), (&"b/weak-2".into(), (&"ailing/weak-1".into(), &"unhealthy".into())));
    for path in ["/healthz", "/readyz"] {
        let _ = Request::get(path).send(world.gateway.address).await.expect(200);
    }

    world.a.heal_path("/v1beta/models").await;
    becomes(world, "ailing/weak-1", "healthy").await;
    served(world.ask("weak").await, "ailing/weak-1", 1);
}

pub(crate) async fn probes_close_a_breaker_before_a_client_is_asked_to(world: &World) {
    let path = "/v1beta/models";
    world.b.path_answers(path, 503).await;
    world.b.answers("mended-1", 503).await;
    for _ in 0..2 {
        served(world.ask("mended").await, "c/mended-2", 2);
    }
    let breaker = world.target("mending/mended-1").await["breaker"].clone();
    assert!(breaker["retry_in_ms"].as_u64().unwrap() > 30_000, "{breaker}");
    // They tell as much as requests do: one has failed, and is over when the next has come.
    let before = world.b.path_count(path).await;
    wait::until("probes to fail", async || {
        let _ = world.breaker("mending/mended-1").await;
        (world.b.path_count(path).await >= before + 2).then_some(())
    })
    .await;
    world.b.heal("mended-1").await;
    world.b.heal_path(path).await;
    wait::until("probes to find it well", async || {
        (world.breaker("mending/mended-1").await == "half_open").then_some(())
    })
    .await;
    assert_eq!(world.b.count("mended-1").await, 2, "no client's request was a probe");
    served(world.ask("mended").await, "mending/mended-1", 1);
    assert_eq!(world.breaker("mending/mended-1").await, "closed", "and the first real success closes it");
}

pub(crate) async fn vendors_that_are_down_do_not_make_the_gateway_ill(world: &World) {
    for (vendor, model) in [(&world.a, "gone-1"), (&world.b, "gone-2")] {
        vendor.answers(model, 503).await;
    }
    for _ in 0..3 {
        let _ = world.ask("gone").await.expect(502);
    }
    for target in ["a/gone-1", "b/gone-2"] {
        becomes(world, target, "unhealthy").await;
    }
    assert_eq!(world.a.count("gone-1").await, 3, "who is not well is asked last, and is not left out");
    for (path, word) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let reply = Request::get(path).send(world.gateway.address).await.expect(200);
        assert!(reply.text().contains(word), "{}", reply.text());
    }
}

pub(crate) async fn a_probe_that_is_not_answered_is_a_bad_sign(world: &World) {
    world.c.path_fault("/v1beta/models", json!({"kind": "latency", "ms": 20_000})).await;
    becomes(world, "hushed/silenced-1", "unhealthy").await;
    served(world.ask("silenced").await, "b/silenced-2", 1);
    world.c.heal_path("/v1beta/models").await;
    becomes(world, "hushed/silenced-1", "healthy").await;
    served(world.ask("silenced").await, "hushed/silenced-1", 1);
}

pub(crate) async fn paid_probes_ask_for_words(world: &World) {
    world.a.answers("asked-1", 503).await;
    becomes(world, "consulted/asked-1", "unhealthy").await;
    served(world.ask("asked").await, "b/asked-2", 1);
    world.a.heal("asked-1").await;
    becomes(world, "consulted/asked-1", "healthy").await;
    for probe in world.a.requests("asked-1").await {
        assert_eq!((probe.path(), &probe.body()["max_tokens"]), ("/v1/chat/completions", &json!(10)), "no client's");
        assert_eq!(probe.key(), "…aaaa");
    }
    served(world.ask("asked").await, "consulted/asked-1", 1);
    // Each of its answers is booked as an attempt of the gateway's own.
    let booked = wait::until("the ledger to know", async || {
        let ledger = world.admin(Request::get("/admin/ledger?by=client,model,probe")).await.expect(200).json();
        let of_probes = |row: &&Value| row["model"] == "consulted/asked-1" && row["probe"] == true;
        ledger["rows"].as_array().unwrap().iter().find(of_probes).cloned()
    })
    .await;
    assert!(booked["client"].is_null() && booked["cost_usd"] != "0", "{booked}");
}

pub(crate) async fn another_address_tells_how_a_vendor_is(world: &World) {
    becomes(world, "observed/observed-1", "unhealthy").await;
    served(world.ask("observed").await, "b/observed-2", 1);
    assert_eq!(world.a.path_count("/health").await, 0, "the vendor itself is not asked");
    served(world.ask("observed/observed-1").await, "observed/observed-1", 1);
}

pub(crate) async fn who_fails_too_often_is_asked_last(world: &World) {
    // Every third answer is bad, and never two in a row.
    for _ in 0..3 {
        world.a.answers_times("moody-1", 1, 503).await;
        served(world.ask("moody").await, "b/moody-2", 2);
        for _ in 0..2 {
            served(world.ask("moody").await, "a/moody-1", 1);
        }
    }
    assert_eq!(world.target("a/moody-1").await["health"], "unknown", "nine results are too few to tell a share");
    world.a.answers_times("moody-1", 1, 503).await;
    served(world.ask("moody").await, "b/moody-2", 2);
    let moody = world.target("a/moody-1").await;
    assert_eq!((&moody["health"], &moody["breaker"]["state"]), (&json!("unhealthy"), &json!("closed")), "{moody}");
    served(world.ask("moody").await, "b/moody-2", 1);
    assert_eq!(world.a.count("moody-1").await, 10, "it would answer, as often as not");
}

pub(crate) async fn slow_is_degraded_and_too_slow_is_asked_last(world: &World) {
    for (model, target, health) in [("dawdling", "a/dawdling-1", "degraded"), ("crawling", "a/crawling-1", "unhealthy")]
    {
        world.a.fault(target.trim_start_matches("a/"), json!({"kind": "slow_first_token", "ms": 600})).await;
        let replies = tokio::join!(world.stream(model), world.stream(model), world.stream(model));
        for reply in [replies.0, replies.1, replies.2] {
            streamed(reply, target, 1);
        }
        becomes(world, target, health).await;
    }
    streamed(world.stream("crawling").await, "b/crawling-2", 1);
    // Who is merely slow keeps its place, until it is known to be quick.
    let explained = world.admin(Request::post("/admin/explain", &question("dawdling"))).await.expect(200).json();
    let first = &explained["candidates"][0];
    assert_eq!((&first["target"], &first["health"]), (&json!("a/dawdling-1"), &json!("degraded")), "{explained}");
    world.a.heal("dawdling-1").await;
    wait::until("it to be quick", async || {
        streamed(world.stream("dawdling").await, "a/dawdling-1", 1);
        (world.target("a/dawdling-1").await["health"] == "healthy").then_some(())
    })
    .await;
}

async fn becomes(world: &World, target: &str, health: &str) {
    wait::until(&format!("{target} to be {health}"), async || {
        (world.target(target).await["health"] == health).then_some(())
    })
    .await;
}
