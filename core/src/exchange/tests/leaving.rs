//! Clients that leave, at any moment, and both ways of noticing it.

use super::*;

/// A world whose `a/m` is half-open with a single place, so that a lease that is not given back shows.
fn probing() -> World {
    let mut world = world_with(|document| {
        document["defaults"]["breaker"] = json!({
            "failures": 1, "failure_rate": 0, "open": "1s", "open_max": "1s", "probes": 1, "successes": 1,
        });
        document["defaults"]["retry"] = json!({"same_target": 0, "deadline": "10s", "base": "0ms"});
    });
    world.script("a/m", [Script::status(503)]);
    let first = ask(&mut world, "a/m");
    world.run();
    assert!(world.is_over(first));
    world.run_for(seconds(1));
    world.take_story();
    world
}

fn place_is_free(world: &World) -> bool {
    let now = world.now();
    let candidate = world.gateway().config().candidate(TargetId(0));
    world.gateway().would_admit(now, &candidate).is_ok()
}

type Goodbye = fn(&mut World, RequestId);

const BOTH: [Goodbye; 2] = [World::leave, World::hang_up];

#[test]
fn while_waiting_for_the_head_reading_the_body_or_the_stream() {
    let stalls = [
        (Script::hang(), false),
        (Script::answer(10).stall_after(0), false),
        (Script::answer(10).stall_after(0), true),
        (Script::answer(10).stall_after(2), true),
    ];
    for ((script, streamed), goodbye) in stalls.into_iter().flat_map(|case| BOTH.map(|goodbye| (case.clone(), goodbye)))
    {
        let mut world = probing();
        world.script("a/m", [script.clone()]);
        let id = if streamed { ask_stream(&mut world, "a/m") } else { ask(&mut world, "a/m") };
        world.run_for(Millis(100));
        assert!(!place_is_free(&world), "{script:?}");
        goodbye(&mut world, id);
        assert!(place_is_free(&world), "{script:?}");
        assert!(world.is_over(id));
        assert_eq!(state(&world, 0), State::HalfOpen, "it says nothing about the target");
        assert_settled(&world);
        world.run();
    }
}

#[test]
fn while_pausing() {
    for goodbye in BOTH {
        let mut world = world();
        world.script("a/m", [Script::status(500)]);
        let id = ask(&mut world, "a/m");
        world.run_for(Millis(15));
        assert_eq!(world.story().last().unwrap(), "10 pause 10");
        goodbye(&mut world, id);
        world.run();
        assert!(world.is_over(id));
        assert_eq!(world.seen("a/m").len(), 1, "nothing is sent for nobody");
        assert_settled(&world);
    }
}

/// The SDKs hang up as soon as they have read `[DONE]`, often before the vendor's connection has ended.
#[test]
fn after_done_it_was_a_success() {
    for goodbye in BOTH {
        let mut world = probing();
        world.script("a/m", [Script::answer(10).left_open()]);
        let id = ask_stream(&mut world, "a/m");
        world.run_for(Millis(100));
        assert!(!world.is_over(id));
        goodbye(&mut world, id);
        assert_eq!(state(&world, 0), State::Closed, "the probe succeeded");
        assert_eq!(total(&world, 0, |tally| tally.successes), 1);
        assert_eq!(world.gateway().spending(TargetId(0)).known.to_string(), "0.000013");
        assert_settled(&world);
    }
}

#[test]
fn nothing_is_written_for_a_client_that_has_left() {
    let mut world = world();
    world.script("a/m", [Script::answer(10).without_done().stall_after(2)]);
    let id = ask_stream(&mut world, "a/m");
    world.run_for(Millis(100));
    let before = world.answer(id).body;
    world.leave(id);
    world.run();
    assert_eq!(world.answer(id).body, before);
    assert!(!world.gateway().poll_notice().is_some_and(|notice| format!("{notice:?}").contains("StreamBroken")));
}

#[test]
fn leaving_twice_or_after_the_end_is_nothing() {
    let mut world = world();
    let id = plain(&mut world);
    world.leave(id);
    world.hang_up(id);
    assert_eq!(world.story(), ["0 send a/m", "50 reply 200 a/m attempts=1"]);
    assert_settled(&world);
}

#[test]
fn what_a_cancelled_attempt_still_sends_changes_nothing() {
    let mut world = world();
    // The head comes after its limit, with a whole answer behind it.
    world.script("a/m", [Script::answer(1500)]);
    world.script("b/m", [Script::answer(900)]);
    plain(&mut world);
    let expected = ["0 send a/m", "1000 cancel a/m", "1000 send b/m", "1900 reply 200 b/m attempts=2"];
    assert_eq!(world.story(), expected);
    assert_eq!(total(&world, 0, |tally| tally.silent), 1);
    assert_eq!(total(&world, 0, |tally| tally.successes), 0);
}

/// A client that wants its first token sooner than any vendor has one fails over, and shuts nobody else off. One that waits
/// until the vendor is slow by the operator's measure has found something out.
#[test]
fn a_clients_haste_is_no_vendors_fault() {
    for (script, patience, is_blamed) in [
        (Script::answer(10).first_token_after(500), 100, false),
        (Script::hang(), 100, false),
        (Script::hang(), 900, true),
        (Script::answer(10).first_token_after(1500), 900, true),
    ] {
        let mut world = world_with(|document| {
            document["defaults"]["breaker"] = json!({"failures": 1, "failure_rate": 0, "slow_first_token": "800ms"});
        });
        world.usually("a/m", script.clone());
        let body =
            format!(r#"{{"model":"chain","messages":[],"stream":true,"tidegate":{{"ttft_timeout_ms":{patience}}}}}"#);
        let id = world.ask(Surface::Chat, body);
        world.run();
        assert_eq!(world.answer(id).header("x-tidegate-target"), "b/m", "it fails over all the same: {script:?}");
        assert_eq!(state(&world, 0) != State::Closed, is_blamed, "{script:?}, {patience}");
        assert_settled(&world);
    }
}
