//! Alerts as an operator hears of them: once each, and once more when they are over.

use serde_json::{Value, json};
use tidegate_tests::http::Request;
use tidegate_tests::wait;
use tidegate_tests::world::{ALERTS, BUDGET_KEY, World, chat, question};

use crate::check::served;

const TARGET: &str = "a/alarmed-1";

pub(crate) async fn an_alert_is_raised_told_once_and_cleared(world: &World) {
    world.a.answers("alarmed-1", 503).await;
    for _ in 0..2 {
        served(world.ask("alarmed").await, "b/alarmed-2", 2);
    }
    assert!(on_the_page(world, TARGET, "last").await.is_none(), "two in a row are not three");
    served(world.ask("alarmed").await, "b/alarmed-2", 2);
    // It goes on failing for as long as this is looked at, or else it might be all over by then. By its own name: a route
    // would soon ask others first.
    let fails = async || drop(world.ask(TARGET).await.expect(502));
    let open = wait::until("the alert to be shown", async || {
        fails().await;
        on_the_page(world, TARGET, "open").await
    })
    .await;
    assert_eq!(
        (&open["kind"], &open["subject"], &open["state"]),
        (&"failures".into(), &"target".into(), &"raised".into())
    );
    assert_eq!(open["text"], "target a/alarmed-1: 3 failures in a row");
    wait::until("the webhook to be told", async || {
        fails().await;
        (told(world).await == ["raised"]).then_some(())
    })
    .await;

    world.a.heal("alarmed-1").await;
    served(world.ask("alarmed").await, TARGET, 1);
    wait::until("the alert to be over", async || {
        let last = on_the_page(world, TARGET, "last").await?;
        (last["state"] == "cleared").then_some(())
    })
    .await;
    assert!(on_the_page(world, TARGET, "open").await.is_none());
    wait::until("the webhook to be told that it is over", async || {
        // At the edge it is the next request after it that sees to it.
        let _ = on_the_page(world, TARGET, "open").await;
        (told(world).await == ["raised", "cleared"]).then_some(())
    })
    .await;
    for message in world.slow.path_requests(ALERTS).await {
        let signature = message.headers()["x-tidegate-signature"].as_str().expect("a signature");
        assert!(signature.starts_with("sha256=") && signature.len() == 7 + 64, "{signature}");
    }
    let status = world.admin(Request::get("/admin/status")).await.expect(200).json();
    assert!(status["alerts_open"].is_u64(), "{status}");
}

pub(crate) async fn each_threshold_has_an_alert_of_its_own(world: &World) {
    for fails in [true, false, true] {
        if fails {
            world.a.answers_times("erring-1", 1, 503).await;
        }
        let _ = world.ask("erring").await.expect(200);
    }
    assert_eq!(on_the_page(world, "a/erring-1", "last").await, None, "three are too few to tell a share");
    served(world.ask("erring").await, "a/erring-1", 1);

    world.a.fault("tarrying-1", json!({"kind": "latency", "ms": 400})).await;
    let ask = || world.ask("a/tarrying-1");
    let _ = tokio::join!(ask(), ask(), ask(), ask());
    world.a.fault("faltering-1", json!({"kind": "slow_first_token", "ms": 400})).await;
    let stream = || world.stream("a/faltering-1");
    let _ = tokio::join!(stream(), stream(), stream(), stream());
    let costly = chat(&question("a/costly-1")).header("authorization", &format!("Bearer {BUDGET_KEY}"));
    let _ = world.send(costly).await.expect(200);

    for (name, subject, kind) in [
        ("a/erring-1", "target", "error_rate"),
        ("a/tarrying-1", "target", "answer"),
        ("a/faltering-1", "target", "first_token"),
        ("thrifty", "client", "budget"),
    ] {
        // A machine that is busy may be slow as well: there is one of this kind among those about it.
        wait::until(&format!("an alert of {kind} about {name}"), async || {
            let page = world.admin(Request::get("/admin/alerts")).await.expect(200).json();
            let is_it = |alert: &Value| alert["name"] == name && alert["subject"] == subject && alert["kind"] == kind;
            page["open"].as_array().unwrap().iter().any(is_it).then_some(())
        })
        .await;
    }
}

/// The latest alert of this name, among those that are open or the last of all.
async fn on_the_page(world: &World, name: &str, which: &str) -> Option<Value> {
    let page = world.admin(Request::get("/admin/alerts")).await.expect(200).json();
    page[which].as_array().unwrap().iter().find(|alert| alert["name"] == name).cloned()
}

/// What the webhook was told about the target.
async fn told(world: &World) -> Vec<String> {
    let messages = world.slow.path_requests(ALERTS).await;
    let mut told = Vec::new();
    for message in &messages {
        let text = message.body()["text"].as_str().expect("a text, as chat services take it");
        let alerts = message.body()["alerts"].as_array().expect("a list");
        for alert in alerts.iter().filter(|alert| alert["name"] == TARGET) {
            assert!(text.contains(alert["text"].as_str().unwrap()), "{text}");
            told.push(alert["state"].as_str().unwrap().to_owned());
        }
    }
    told
}
