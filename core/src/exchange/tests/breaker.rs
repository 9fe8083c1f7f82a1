//! The breaker at work, over many requests.

use super::*;

fn fragile() -> World {
    world_with(|document| {
        document["defaults"]["breaker"] = json!({
            "failures": 3, "failure_rate": 0, "open": "4s", "open_max": "4s", "probes": 2, "successes": 2,
            "slow_first_token": "500ms", "slow_rate": 0.5, "min_requests": 4,
        });
        document["defaults"]["retry"]["same_target"] = json!(0);
    })
}

/// Opens the breaker of `a/m` at 30 ms.
fn opened() -> World {
    let mut world = fragile();
    world.usually("a/m", Script::status(503));
    for _ in 0..3 {
        ask(&mut world, "chain");
        world.run_for(Millis(10));
    }
    world.run();
    assert_eq!(state(&world, 0), State::Open, "{:?}", world.story());
    world
}

#[test]
fn open_means_that_no_request_gets_through() {
    let mut world = opened();
    let reached = world.seen("a/m").len();
    for _ in 0..10 {
        let id = plain(&mut world);
        assert_eq!(world.answer(id).header("x-tidegate-target"), "b/m");
        assert_eq!(world.answer(id).header("x-tidegate-attempts"), "1", "an attempt not made is none");
    }
    assert_eq!(world.seen("a/m").len(), reached);
}

#[test]
fn probes_close_it_and_traffic_returns() {
    let mut world = opened();
    world.usually("a/m", Script::answer(50));
    world.run_for(seconds(5));
    world.take_story();
    for _ in 0..4 {
        ask(&mut world, "chain");
    }
    world.run();
    let targets = |world: &mut World| -> Vec<String> {
        world.take_story().into_iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    };
    let expected = [
        "#3 send a/m",
        "half-open a/m",
        "#4 send a/m",
        "#5 send b/m",
        "#6 send b/m",
        "#3 reply 200 a/m attempts=1",
        "close a/m",
        "#4 reply 200 a/m attempts=1",
        "#5 reply 200 b/m attempts=1",
        "#6 reply 200 b/m attempts=1",
    ];
    let mut told = targets(&mut world);
    told.sort();
    let mut expected: Vec<String> = expected.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(told, expected, "two probes, and nobody beside them");
    plain(&mut world);
    assert_eq!(targets(&mut world), ["#7 send a/m", "#7 reply 200 a/m attempts=1"]);
}

#[test]
fn a_failed_probe_opens_it_again_and_its_request_is_served_elsewhere() {
    let mut world = opened();
    world.run_for(seconds(5));
    let id = plain(&mut world);
    assert_eq!(state(&world, 0), State::Open);
    assert_eq!(world.answer(id).header("x-tidegate-target"), "b/m");
}

#[test]
fn a_one_off_failure_that_opens_it_fails_over_without_a_pause() {
    let mut world = fragile();
    world.usually("a/m", Script::status(503));
    plain(&mut world);
    plain(&mut world);
    world.script("a/m", [Script::status(500)]);
    world.take_story();
    ask(&mut world, "chain");
    world.run();
    assert!(!world.story().iter().any(|line| line.contains("pause")), "{:?}", world.story());
}

#[test]
fn with_all_open_the_client_is_told_when_to_come_back() {
    let mut world = opened();
    let id = ask(&mut world, "a/m");
    let answer = world.answer(id);
    assert_eq!(answer.status.unwrap(), 503);
    assert_eq!(answer.json()["error"]["code"], "circuit_open");
    let retry_ms: u64 = answer.header("retry-after-ms").parse().unwrap();
    assert!((1..=4000).contains(&retry_ms), "{retry_ms}");
    assert_eq!(answer.header("x-should-retry"), "", "nothing was tried: the client may");
}

#[test]
fn the_callers_faults_and_our_keys_never_open_it() {
    let mut world = fragile();
    for script in [Script::status(400), Script::status(401), Script::status(422)] {
        world.usually("b/m", script);
        for _ in 0..5 {
            ask(&mut world, "b/m");
            world.run_for(seconds(70));
        }
    }
    assert_eq!(state(&world, 1), State::Closed);
}

#[test]
fn slow_first_tokens_open_it_though_every_answer_was_good() {
    let mut world = fragile();
    world.usually("a/m", Script::answer(10).first_token_after(700));
    for _ in 0..4 {
        let id = stream(&mut world);
        assert_eq!(world.answer(id).header("x-tidegate-target"), "a/m");
    }
    assert_eq!(state(&world, 0), State::Open);
    assert!(world.story().iter().any(|line| line.contains("SlowRate")), "{:?}", world.story());
}

#[test]
fn what_began_before_the_outage_does_not_close_it() {
    let mut world = fragile();
    world.script("a/m", [Script::answer(10).tokens(50).pace(100)]);
    let early = ask_stream(&mut world, "chain");
    world.run_for(Millis(50));
    world.usually("a/m", Script::status(503));
    for _ in 0..3 {
        ask(&mut world, "chain");
        world.run_for(Millis(10));
    }
    assert_eq!(state(&world, 0), State::Open);
    world.run_for(seconds(3));
    assert!(!world.is_over(early), "still telling");
    world.run_for(seconds(3));
    assert!(world.is_over(early));
    assert_ne!(state(&world, 0), State::Closed);
}

/// Answers that take longer than a lease, one after the other without a gap: the target is well and must be seen to be.
#[test]
fn long_streams_close_it_too() {
    let mut world = opened();
    world.usually("a/m", Script::answer(10).tokens(30).pace(900));
    for _ in 0..120 {
        ask_stream(&mut world, "chain");
        world.run_for(seconds(1));
    }
    assert_eq!(state(&world, 0), State::Closed);
}
