//! Second attempts where the first is slow.

use super::*;
use crate::status::RouteStatus;

/// The usual world, whose route hedges after 100 ms, every request if need be.
fn hedging() -> World {
    hedging_with(|_| {})
}

fn hedging_with(change: impl FnOnce(&mut Value)) -> World {
    world_with(|document| {
        document["routes"]["chain"]["hedge"] = json!({"after": "100ms", "share": 1});
        change(document);
    })
}

fn hedges(world: &World) -> (u64, u64) {
    let now = world.now();
    let RouteStatus { hedges, hedges_won, .. } = world.gateway().status(now).routes[0];
    (hedges, hedges_won)
}

#[test]
fn a_slow_stream_is_hedged_and_whoever_speaks_first_is_heard() {
    let mut world = hedging();
    world.script("a/m", [Script::answer(400)]);
    let id = stream(&mut world);
    let story =
        ["0 send a/m", "100 send b/m", "150 cancel a/m", "150 relay 200 b/m attempts=2", "170 end 1 2 3 [DONE]"];
    assert_eq!(world.story(), story);
    assert_eq!(hedges(&world), (1, 1));
    assert_eq!(total(&world, 0, |tally| tally.neutral), 1);
    assert_eq!(world.gateway().stats(TargetId(0)).first_token().ewma(), None, "it says nothing about how fast it is");
    assert_eq!(world.gateway().spending(TargetId(0)).unpriced, 1, "what it did is to be paid for");
    assert_settled(&world);
    assert!(world.is_over(id));
}

#[test]
fn the_first_wins_if_it_is_faster_after_all() {
    let mut world = hedging();
    world.script("a/m", [Script::answer(130)]);
    world.script("b/m", [Script::answer(90)]);
    let id = plain(&mut world);
    let story = ["0 send a/m", "100 send b/m", "130 cancel b/m", "130 reply 200 a/m attempts=2"];
    assert_eq!(world.story(), story);
    assert_eq!(hedges(&world), (1, 0));
    assert_eq!(world.answer(id).header("x-tidegate-cost"), "unknown");
    assert_eq!(world.gateway().spending(TargetId(1)).unpriced, 1);
    assert_settled(&world);
}

#[test]
fn both_fail_and_the_next_is_asked() {
    let mut world = hedging_with(|document| {
        document["models"]["b/spare"] = json!({});
        document["routes"]["chain"]["models"] = json!(["a/m", "b/m", "b/spare"]);
    });
    world.script("a/m", [Script::status(503).after(200)]);
    world.script("b/m", [Script::status(503).after(20)]);
    stream(&mut world);
    let story = [
        "0 send a/m",
        "100 send b/m",
        "120 status 503 b/m",
        "200 status 503 a/m",
        "200 send b/spare",
        "250 relay 200 b/spare attempts=3",
    ];
    assert_eq!(world.story()[..story.len()], story);
    assert_settled(&world);
}
