//! Targets that bear one attempt at once: who goes elsewhere, who waits, who goes first, and who is turned away.

use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::wait;
use tidegate_tests::world::{World, chat, question};

use crate::check::{refused, refused_for_now, served};

pub(crate) async fn excess_goes_to_the_next_target(world: &World) {
    world.a.holds("narrow-1").await;
    let second = async {
        becomes(world, "a/narrow-1", "in_flight", 1).await;
        let explained = world.admin(Request::post("/admin/explain", &question("narrow"))).await.expect(200).json();
        assert_eq!(explained["target"], "b/narrow-2", "{explained}");
        assert_eq!(explained["candidates"][0]["rejected"]["reason"], "busy", "{explained}");
        let second = world.ask("narrow").await;
        world.a.heal("narrow-1").await;
        second
    };
    let (first, second) = tokio::join!(world.ask("narrow"), second);
    served(first, "a/narrow-1", 1);
    served(second, "b/narrow-2", 1);
    assert_eq!(world.a.count("narrow-1").await, 1);
    becomes(world, "a/narrow-1", "in_flight", 0).await;
}

pub(crate) async fn excess_waits_where_there_is_no_other(world: &World) {
    world.a.holds("lone").await;
    let second = async {
        becomes(world, "a/lone", "in_flight", 1).await;
        world.ask("a/lone").await
    };
    let look = async {
        becomes(world, "a/lone", "waiting", 1).await;
        assert_eq!(world.a.count("lone").await, 1, "it waits here, not there");
        world.a.heal("lone").await;
    };
    let (first, second, ()) = tokio::join!(world.ask("a/lone"), second, look);
    served(first, "a/lone", 1);
    served(second, "a/lone", 1);
    let load = load(world, "a/lone").await;
    assert_eq!(load, json!({"limit": 1, "in_flight": 0, "waiting": 0}));
}

pub(crate) async fn the_urgent_overtake(world: &World) {
    world.a.holds("overtaken").await;
    let first = ask(world, "a/overtaken", "first", "3");
    let patient = async {
        becomes(world, "a/overtaken", "in_flight", 1).await;
        ask(world, "a/overtaken", "patient", "5").await
    };
    let urgent = async {
        becomes(world, "a/overtaken", "waiting", 1).await;
        ask(world, "a/overtaken", "urgent", "1").await
    };
    let release = async {
        becomes(world, "a/overtaken", "waiting", 2).await;
        world.a.heal("overtaken").await;
    };
    let (first, patient, urgent, ()) = tokio::join!(first, patient, urgent, release);
    for reply in [first, patient, urgent] {
        served(reply, "a/overtaken", 1);
    }
    let seen = world.a.requests("overtaken").await;
    let users: Vec<_> = seen.iter().map(|seen| seen.body()["user"].as_str().unwrap()).collect();
    assert_eq!(users, ["first", "urgent", "patient"]);
    assert!(seen.iter().all(|seen| seen.headers()["x-tidegate-priority"].is_null()), "no vendor sees it");
    for priority in ["0", "6", "1.5"] {
        let error = refused(ask(world, "a/overtaken", "nobody", priority).await, 400, "invalid_request");
        assert_eq!(error["param"], "x-tidegate-priority");
    }
}

pub(crate) async fn a_full_queue_refuses(world: &World) {
    world.a.holds("crowded").await;
    let first = ask(world, "a/crowded", "first", "3");
    let waiting = async {
        becomes(world, "a/crowded", "in_flight", 1).await;
        let waiting = ask(world, "a/crowded", "waiting", "4").await;
        world.a.heal("crowded").await;
        waiting
    };
    let late = async {
        becomes(world, "a/crowded", "waiting", 1).await;
        refused_for_now(ask(world, "a/crowded", "late", "4").await, 503, "overloaded", false);
        // One that is more urgent takes the place of the one that waits.
        ask(world, "a/crowded", "urgent", "1").await
    };
    let (first, waiting, urgent) = tokio::join!(first, waiting, late);
    served(first, "a/crowded", 1);
    refused_for_now(waiting, 503, "overloaded", false);
    served(urgent, "a/crowded", 1);
    assert_eq!(world.a.count("crowded").await, 2);
}

pub(crate) async fn throttling_shrinks_the_limit(world: &World) {
    // One attempt at once makes no use of such a limit, so that it does not grow again at the next answer.
    for (status, limit) in [(429, 20), (529, 10), (529, 8)] {
        world.a.answers_times("shrinking", 1, status).await;
        let _ = world.ask("a/shrinking").await;
        becomes(world, "a/shrinking", "limit", limit).await;
    }
}

pub(crate) async fn answers_let_the_limit_grow(world: &World) {
    assert_eq!(load(world, "a/growing").await["limit"], 1);
    wait::until("it to grow", async || {
        served(world.ask("a/growing").await, "a/growing", 1);
        (load(world, "a/growing").await["limit"] == 2).then_some(())
    })
    .await;
    // As many again would have it grow once more, if it might.
    for _ in 0..world.a.count("growing").await + 5 {
        served(world.ask("a/growing").await, "a/growing", 1);
    }
    assert_eq!(load(world, "a/growing").await["limit"], 2);
}

/// A chat on behalf of `user`, at this priority.
async fn ask(world: &World, model: &str, user: &str, priority: &str) -> Reply {
    let mut body = question(model);
    body["user"] = json!(user);
    world.send(chat(&body).header("x-tidegate-priority", priority)).await
}

async fn load(world: &World, target: &str) -> Value {
    world.target(target).await["concurrency"].clone()
}

async fn becomes(world: &World, target: &str, figure: &str, count: u64) {
    wait::until(&format!("{figure} {count} at {target}"), async || {
        (load(world, target).await[figure] == count).then_some(())
    })
    .await;
}
