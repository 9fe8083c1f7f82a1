//! Health as clients and vendors see it: who is asked last, who is let in again, and by whose request.

use tidegate_tests::http::Request;
use tidegate_tests::wait;
use tidegate_tests::world::{World, question};

use crate::check::served;

pub(crate) async fn standby_that_is_down_is_asked_last(world: &World) {
    // Nobody calls it, so nobody else finds out.
    world.a.path_answers_times("/v1beta/models", 8, 503).await;
    becomes(world, "ailing/weak-1", "unhealthy").await;
    served(world.ask("weak").await, "b/weak-2", 1);
    assert_eq!(world.a.count("weak-1").await, 0, "it was passed over");
    let explained = world.admin(Request::post("/admin/explain", &question("weak"))).await.expect(200).json();
    let row = |index: usize| (&explained["candidates"][index]["target"], &explained["candidates"][index]["health"]);
    assert_eq!((row(0).0, row(1)), (&"b/weak-2".into(), (&"ailing/weak-1".into(), &"unhealthy".into())));
    for path in ["/healthz", "/readyz"] {
        let _ = Request::get(path).send(world.gateway.address).await.expect(200);
    }

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

async fn becomes(world: &World, target: &str, health: &str) {
    wait::until(&format!("{target} to be {health}"), async || {
        (world.target(target).await["health"] == health).then_some(())
    })
    .await;
}
