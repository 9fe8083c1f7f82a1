//! Throttled vendors, refused keys, and limits in time.

use super::*;

fn throttled(after: &str) -> Script {
    Script::status(429).with_header("retry-after", after)
}

#[test]
fn throttled_another_key_is_used_first() {
    let mut world = world();
    world.script("a/m", [throttled("2")]);
    plain(&mut world);
    let expected =
        ["0 send a/m", "10 status 429 a/m", "10 throttle a/m A1 2000", "10 send a/m", "60 reply 200 a/m attempts=2"];
    assert_eq!(world.story(), expected);
    assert_eq!(world.seen("a/m"), [bearer("A1"), bearer("A2")]);
}

#[test]
fn with_no_key_left_another_target_is_asked() {
    let mut world = world();
    world.script("a/m", [throttled("2"), throttled("3")]);
    plain(&mut world);
    let expected = [
        "0 send a/m",
        "10 status 429 a/m",
        "10 throttle a/m A1 2000",
        "10 send a/m",
        "20 status 429 a/m",
        "20 throttle a/m A2 3000",
        "20 send b/m",
        "70 reply 200 b/m attempts=3",
    ];
    assert_eq!(world.story(), expected);
}

#[test]
fn a_short_wait_is_waited_out_on_the_spot() {
    let mut world = world_with(|document| document["routes"]["chain"]["retry"] = json!({"wait": "2s"}));
    world.script("a/m", [throttled("3"), throttled("2")]);
    plain(&mut world);
    let story = world.story();
    assert_eq!(story[6..], ["20 pause 2000", "2020 send a/m", "2070 reply 200 a/m attempts=3"]);
    assert_eq!(world.seen("a/m")[2], bearer("A2"), "the key that is free first");
}

#[test]
fn with_all_throttled_the_first_to_come_back_is_waited_for() {
    let mut world = world();
    world.script("a/m", [throttled("7"), throttled("7")]);
    world.script("b/m", [throttled("4")]);
    plain(&mut world);
    let story = world.story();
    assert_eq!(story[9..], ["30 pause 4000", "4030 send b/m", "4080 reply 200 b/m attempts=4"]);
}

#[test]
fn a_wait_beyond_the_deadline_is_a_429_at_once() {
    let mut world = world();
    world.usually("a/m", throttled("60"));
    world.usually("b/m", throttled("40"));
    let id = plain(&mut world);
    let story = world.story();
    assert_eq!(story.last().unwrap(), "30 reply 429 b/m attempts=3 rate_limit_exceeded retry-after=40");
    assert_eq!(world.answer(id).header("retry-after-ms"), "40000");
    let expected = "30 #1 reply 429 attempts=0 rate_limit_exceeded retry-after=40";
    plain(&mut world);
    assert_eq!(world.story().last().unwrap(), expected, "the next is not even sent");
}

#[test]
fn where_one_is_throttled_for_long_the_other_is_asked_again() {
    let mut world = world();
    world.usually("a/m", throttled("60"));
    world.script("b/m", [Script::status(503)]);
    plain(&mut world);
    assert!(world.story().last().unwrap().ends_with("reply 200 b/m attempts=4"), "{:?}", world.story());
}

#[test]
fn a_vendor_that_says_zero_is_not_hammered() {
    let mut world = world();
    world.usually("a/m", throttled("0"));
    let id = ask(&mut world, "a/m");
    world.run();
    assert_eq!(world.answer(id).status.unwrap(), 429);
    let story = world.story();
    assert!(story.iter().any(|line| line.contains("pause")), "{story:?}");
    assert_eq!(world.seen("a/m")[..2], [bearer("A1"), bearer("A2")]);
}

#[test]
fn throttling_does_not_open_a_breaker_by_itself() {
    let mut world = world_with(|document| document["defaults"]["breaker"]["failures"] = json!(1));
    world.usually("a/m", throttled("1"));
    plain(&mut world);
    assert_eq!(state(&world, 0), State::Closed);
}

#[test]
fn a_wait_that_outlasts_the_deadline_is_still_a_429() {
    // Both keys are shut for 6 s of the 10 s; those who wait come back to another 429, and then it is too late.
    let mut world = world();
    world.usually("a/m", throttled("6"));
    let first = ask(&mut world, "a/m");
    world.run_for(Millis(100));
    let second = ask(&mut world, "a/m");
    world.run();
    for id in [first, second] {
        assert_eq!(world.answer(id).status.unwrap(), 429, "{:?}", world.story());
        assert!(!world.answer(id).header("retry-after").is_empty());
    }
}

#[test]
fn a_refused_key_is_put_aside_and_the_next_is_used() {
    for script in [
        Script::status(401),
        Script::status(402),
        Script::status(403),
        Script::status(429).saying("insufficient_quota", "insufficient_quota"),
    ] {
        let mut world = world();
        world.script("a/m", [script]);
        plain(&mut world);
        let story = world.story();
        assert_eq!(story[2..], ["10 quarantine A1 60000", "10 send a/m", "60 reply 200 a/m attempts=2"]);
        world.run_for(seconds(30));
        plain(&mut world);
        assert_eq!(world.seen("a/m")[2], bearer("A2"), "not used again for a minute");
        world.run_for(seconds(31));
        plain(&mut world);
        assert_eq!(world.seen("a/m")[3], bearer("A1"));
        assert_eq!(state(&world, 0), State::Closed);
    }
}

#[test]
fn our_own_keys_fault_is_never_the_callers_401() {
    let mut world = world();
    world.usually("a/m", Script::status(401));
    world.usually("b/m", Script::status(403));
    let id = plain(&mut world);
    assert_eq!(world.story().last().unwrap(), "30 reply 502 b/m attempts=3 upstream_credentials retry-after=60");
    let body = String::from_utf8(world.answer(id).body).unwrap();
    assert!(!body.contains("as scripted") && !body.contains("made-up-secret"), "{body}");
    let next = plain(&mut world);
    assert_eq!(world.answer(next).status.unwrap(), 502, "without an attempt too");
    assert_eq!(world.answer(next).header("x-tidegate-attempts"), "0");
}

#[test]
fn the_deadline_ends_a_request_and_says_nothing_of_the_vendor() {
    let mut world = world_with(|document| {
        document["defaults"]["retry"]["deadline"] = json!("500ms");
        document["defaults"]["breaker"]["failures"] = json!(1);
    });
    world.usually("a/m", Script::hang());
    plain(&mut world);
    let expected = ["0 send a/m", "500 cancel a/m", "500 reply 504 a/m attempts=1 upstream_timeout retry-after=1"];
    assert_eq!(world.story(), expected);
    assert_eq!(total(&world, 0, |tally| tally.neutral), 1);
    assert_eq!(state(&world, 0), State::Closed);
}

#[test]
fn a_dribbling_body_does_not_outlast_the_deadline() {
    let mut world = world_with(|document| {
        document["defaults"]["timeouts"]["gap"] = json!("20s");
        document["defaults"]["retry"]["deadline"] = json!("3s");
    });
    world.usually("a/m", Script::answer(10).stall_after(0));
    let id = plain(&mut world);
    assert_eq!(world.answer(id).status.unwrap(), 504);
    assert!(world.story().last().unwrap().starts_with("3000 reply"));
}

#[test]
fn a_body_that_stalls_fails_over() {
    let mut world = world();
    world.script("a/m", [Script::answer(10).stall_after(0)]);
    plain(&mut world);
    let expected = ["0 send a/m", "1010 cancel a/m", "1010 send b/m", "1060 reply 200 b/m attempts=2"];
    assert_eq!(world.story(), expected);
}
