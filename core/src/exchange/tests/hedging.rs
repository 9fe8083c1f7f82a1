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

/// The world of [`hedging`], hedging by what it has measured: 25 streams of 50 ms at `a`.
fn measured(change: impl FnOnce(&mut Value)) -> World {
    let mut world = hedging_with(|document| {
        document["routes"]["chain"]["hedge"] = json!({"share": 1});
        change(document);
    });
    for _ in 0..25 {
        stream(&mut world);
    }
    world.take_story();
    world
}

/// The next stream, whose first attempt hangs: how long after it the second was sent.
fn hedged_after(world: &mut World) -> Option<u64> {
    let asked_at = world.now();
    world.script("a/m", [Script::hang()]);
    let id = ask_stream(world, "chain");
    world.run_for(Millis(900));
    let story = world.take_story();
    world.leave(id);
    world.take_story();
    let sent = story.iter().find_map(|line| line.strip_suffix(&format!(" #{} send b/m", id.0)))?;
    Some(sent.parse::<u64>().unwrap() - asked_at.since(crate::sim::BEGINNING).0)
}

#[test]
fn the_measured_time_is_the_targets_own_p95() {
    let mut world = measured(|_| {});
    assert_eq!(hedged_after(&mut world), Some(50));
    for _ in 0..10 {
        world.script("a/m", [Script::answer(200)]);
        stream(&mut world);
    }
    // Those that took 200 ms lost to a hedge, but what was learnt of them counts.
    world.run_for(seconds(1));
    let after = hedged_after(&mut world).unwrap();
    assert!(after > 90, "{after}");
}

#[test]
fn what_is_not_known_well_hedges_nothing_and_what_is_quick_not_at_once() {
    let mut unknown = measured(|document| document["routes"]["chain"]["hedge"]["min_samples"] = json!(26));
    assert_eq!(hedged_after(&mut unknown), None);
    let mut quick = measured(|document| document["routes"]["chain"]["hedge"]["after_min"] = json!("300ms"));
    assert_eq!(hedged_after(&mut quick), Some(300));
}

#[test]
fn a_whole_answer_is_hedged_after_a_set_time_only_and_embeddings_by_what_is_measured() {
    let mut world = measured(|document| document["routes"]["chain"]["hedge"]["after_min"] = json!("60ms"));
    world.script("a/m", [Script::answer(900)]);
    plain(&mut world);
    assert_eq!(hedges(&world), (0, 0), "its time says how long it is, not how slow the vendor");
    for _ in 0..25 {
        world.ask(Surface::Embeddings, r#"{"model":"chain","input":"x"}"#);
        world.run();
    }
    world.script("a/m", [Script::hang()]);
    world.ask(Surface::Embeddings, r#"{"model":"chain","input":"x"}"#);
    world.run();
    assert_eq!(hedges(&world), (1, 1));
}

#[test]
fn the_budget_is_a_share_of_the_requests() {
    let mut world = hedging_with(|document| document["routes"]["chain"]["hedge"]["share"] = json!(0.25));
    world.usually("a/m", Script::answer(400));
    for nth in 1..=40 {
        stream(&mut world);
        assert_eq!(hedges(&world).0, nth / 4);
    }
    let mut none = hedging_with(|document| document["routes"]["chain"]["hedge"]["share"] = json!(0));
    none.usually("a/m", Script::answer(400));
    stream(&mut none);
    assert_eq!(hedges(&none), (0, 0));
}

#[test]
fn no_hedge_without_the_table_or_an_attempt_left_or_time_or_somebody_to_ask() {
    let without: [fn(&mut Value); 5] = [
        |document| document["routes"]["chain"] = json!({"models": ["a/m", "b/m"]}),
        |document| document["defaults"]["retry"]["attempts"] = json!(1),
        |document| document["defaults"]["retry"]["deadline"] = json!("100ms"),
        |document| document["routes"]["chain"]["models"] = json!(["a/m"]),
        |document| document["defaults"]["retry"]["share"] = json!(0),
    ];
    for (nth, without) in without.into_iter().enumerate() {
        let mut world = hedging_with(without);
        // With no share of the traffic, ten retries are free.
        let before = if nth == 4 { 10 } else { 0 };
        world.usually("a/m", Script::answer(400));
        for _ in 0..=before {
            stream(&mut world);
        }
        assert_eq!((nth, hedges(&world).0), (nth, before));
    }
}

#[test]
fn a_candidate_that_is_shut_off_is_no_hedge() {
    let mut world = hedging_with(|document| document["defaults"]["breaker"] = json!({"failures": 1, "open": "1m"}));
    world.script("b/m", [Script::status(503)]);
    ask(&mut world, "b/m");
    world.run();
    assert_eq!(state(&world, 1), State::Open);
    world.script("a/m", [Script::answer(400)]);
    let id = stream(&mut world);
    assert_eq!(world.answer(id).header("x-tidegate-target"), "a/m");
    assert_eq!(hedges(&world), (0, 0));
}

#[test]
fn a_client_that_leaves_ends_both() {
    for leave in [World::leave, World::hang_up] {
        let mut world = hedging();
        world.script("a/m", [Script::hang()]);
        world.script("b/m", [Script::hang()]);
        let id = ask_stream(&mut world, "chain");
        world.run_for(Millis(150));
        leave(&mut world, id);
        assert!(world.is_over(id));
        assert_eq!((total(&world, 0, |tally| tally.neutral), total(&world, 1, |tally| tally.neutral)), (1, 1));
        assert_settled(&world);
    }
}

#[test]
fn a_failure_of_the_first_leaves_the_second_to_go_on() {
    let mut world = hedging();
    world.script("a/m", [Script::status(503).after(120)]);
    world.script("b/m", [Script::answer(200)]);
    stream(&mut world);
    let story = ["0 send a/m", "100 send b/m", "120 status 503 a/m", "300 relay 200 b/m attempts=2"];
    assert_eq!(world.story()[..4], story);
    assert_eq!(hedges(&world), (1, 0), "it was not faster, only whole");
    assert_eq!((total(&world, 0, |tally| tally.failures), total(&world, 1, |tally| tally.successes)), (1, 1));
}

#[test]
fn a_refusal_of_the_second_does_not_end_the_first() {
    let mut world = hedging();
    world.script("a/m", [Script::answer(300)]);
    world.script("b/m", [Script::status(400)]);
    let id = plain(&mut world);
    assert_eq!(world.answer(id).header("x-tidegate-target"), "a/m");
    assert_eq!(world.answer(id).header("x-tidegate-cost"), "0.000013", "a refusal costs nothing, and that is known");

    let mut world = hedging();
    world.usually("a/m", Script::status(503).after(300));
    world.usually("b/m", Script::status(400));
    let id = plain(&mut world);
    assert_eq!(world.answer(id).status.unwrap(), 400, "nobody has anything better to say");
}

#[test]
fn a_refusal_of_the_first_is_the_answer() {
    let mut world = hedging();
    world.script("a/m", [Script::status(400).after(120)]);
    world.script("b/m", [Script::answer(100)]);
    let id = plain(&mut world);
    assert_eq!(world.answer(id).status.unwrap(), 400);
    assert_eq!(world.story()[2..4], ["120 status 400 a/m", "120 cancel b/m"]);
    assert_settled(&world);
}

#[test]
fn an_answer_that_the_filter_stopped_does_not_win() {
    for streamed in [true, false] {
        let mut world = hedging();
        world.script("a/m", [Script::answer(300)]);
        world.script("b/m", [Script::answer(20).tokens(0).filtered()]);
        let id = if streamed { stream(&mut world) } else { plain(&mut world) };
        assert_eq!(world.answer(id).header("x-tidegate-target"), "a/m");
        assert_settled(&world);
    }
}

#[test]
fn what_loses_gives_its_probes_place_back_and_moves_no_breaker() {
    let mut world = hedging_with(|document| {
        document["defaults"]["breaker"] = json!({"failures": 1, "open": "1s", "open_max": "1s", "probes": 1});
    });
    world.script("b/m", [Script::status(503)]);
    ask(&mut world, "b/m");
    world.run();
    world.run_for(seconds(2));
    world.script("a/m", [Script::answer(200)]);
    world.script("b/m", [Script::answer(900)]);
    stream(&mut world);
    assert_eq!(hedges(&world), (1, 0));
    assert_eq!(state(&world, 1), State::HalfOpen);
    let now = world.now();
    let candidate = world.gateway().config().routes[0].candidates[1];
    assert!(world.gateway().would_admit(now, &candidate).is_ok(), "the only probe's place is free again");
}

#[test]
fn an_operator_is_told() {
    use crate::notice::Notice;
    let notice = Notice::Hedged { request_id: "tg-1".into(), slow: "a/m".into(), asked: "b/m".into() };
    assert_eq!(notice.to_string(), "tg-1: a/m is slow, asked b/m as well");
    assert!(!notice.is_warning());
}
