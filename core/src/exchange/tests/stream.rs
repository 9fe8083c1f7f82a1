//! Streams: before the first token a failure is unseen, after it the answer is committed.

use super::*;

#[test]
fn a_stream_is_passed_on_as_it_comes() {
    let mut world = world();
    let id = stream(&mut world);
    assert_eq!(world.story(), ["0 send a/m", "50 relay 200 a/m attempts=1", "70 end 1 2 3 [DONE]"]);
    let answer = world.answer(id);
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert!(!String::from_utf8(answer.body).unwrap().contains("usage"), "the client did not ask for it");
    let cost = world.gateway().spending(TargetId(0)).known;
    assert_eq!(cost.to_string(), "0.000013", "and yet it was counted");
    assert_settled(&world);
}

#[test]
fn usage_is_passed_on_to_those_who_ask() {
    let mut world = world();
    world.ask(Surface::Chat, r#"{"model":"chain","stream":true,"stream_options":{"include_usage":true}}"#);
    world.run();
    assert_eq!(world.story().last().unwrap(), "70 end 1 2 3 usage=3 [DONE]");
}

#[test]
fn before_the_first_token_a_failure_is_unseen() {
    for (script, at) in [
        (Script::answer(10).cut_after(0), 10),
        (Script::answer(10).tokens(0).without_finish(), 10),
        (Script::answer(10).error_after(0, "server_error", "server_error"), 10),
        (Script::answer(10).stall_after(0), 1010),
        (Script::hang(), 1000),
        (Script::body(200, "{\"choices\":[]}"), 10),
    ] {
        let mut world = world();
        world.script("a/m", [script.clone()]);
        stream(&mut world);
        let story = world.story();
        assert_eq!(story.last().unwrap(), &format!("{} end 1 2 3 [DONE]", at + 70), "{script:?}: {story:?}");
        assert!(story.contains(&format!("{} relay 200 b/m attempts=2", at + 50)), "{script:?}: {story:?}");
    }
}

#[test]
fn a_role_is_no_first_token() {
    let mut world = world_with(|document| document["defaults"]["timeouts"]["gap"] = json!("1m"));
    world.script("a/m", [Script::answer(10).first_token_after(5000)]);
    stream(&mut world);
    let expected =
        ["0 send a/m", "2000 cancel a/m", "2000 send b/m", "2050 relay 200 b/m attempts=2", "2070 end 1 2 3 [DONE]"];
    assert_eq!(world.story(), expected);
    assert_eq!(total(&world, 0, |tally| tally.failures), 1, "it spoke, but not in time");
}

#[test]
fn after_the_first_token_it_ends_in_an_error_and_never_cleanly() {
    for (script, at) in [
        (Script::answer(10).cut_after(2), 20),
        (Script::answer(10).stall_after(2), 1020),
        (Script::answer(10).error_after(2, "server_error", "server_error"), 20),
        (Script::answer(10).error_after(2, "rate_limit_error", ""), 20),
        (Script::answer(10).error_after(2, "invalid_request_error", "content_filter"), 20),
        (Script::answer(10).error_after(2, "invalid_request_error", "context_length_exceeded"), 20),
        (Script::answer(10).tokens(2).without_finish(), 20),
    ] {
        let mut world = world();
        world.script("a/m", [script.clone()]);
        let id = stream(&mut world);
        let story = world.story();
        assert_eq!(story.last().unwrap(), &format!("{at} end 1 2 error=stream_interrupted"), "{script:?}: {story:?}");
        assert_eq!(world.seen("b/m").len(), 0, "what was said cannot be taken back: {script:?}");
        assert!(!String::from_utf8(world.answer(id).body).unwrap().contains("as scripted"), "{script:?}");
        assert_settled(&world);
    }
}

#[test]
fn a_finish_reason_without_done_is_a_good_end() {
    let mut world = world();
    world.usually("a/m", Script::answer(10).without_done());
    stream(&mut world);
    assert_eq!(world.story().last().unwrap(), "30 end 1 2 3 [DONE]", "the client is told what the vendor forgot");
    assert_eq!(total(&world, 0, |tally| tally.successes), 1);
}

#[test]
fn done_on_a_connection_that_stays_open_is_a_good_end() {
    let mut world = world();
    world.usually("a/m", Script::answer(10).left_open());
    stream(&mut world);
    assert_eq!(world.story().last().unwrap(), "1030 end 1 2 3 [DONE]");
    assert_eq!(total(&world, 0, |tally| tally.successes), 1);
    assert_eq!(world.gateway().spending(TargetId(0)).known.to_string(), "0.000013");
}

#[test]
fn a_malformed_event_is_left_out_and_counted() {
    for (after, at) in [(0, 10), (2, 20)] {
        let mut world = world();
        world.script("a/m", [Script::answer(10).malformed_after(after)]);
        let id = stream(&mut world);
        let story = world.story();
        assert!(story.contains(&"30 skip a/m 1".to_owned()), "{at}: {story:?}");
        assert_eq!(story.last().unwrap(), "30 end 1 2 3 [DONE]");
        assert!(!String::from_utf8(world.answer(id).body).unwrap().contains("not json"));
    }
}

#[test]
fn a_whole_stream_has_its_own_limit() {
    let mut world = world_with(|document| document["defaults"]["timeouts"]["total"] = json!("3s"));
    world.script("a/m", [Script::answer(10).tokens(100).pace(900)]);
    stream(&mut world);
    assert_eq!(world.story().last().unwrap(), "3000 end 1 2 3 4 error=stream_interrupted");
}

#[test]
fn the_deadline_does_not_end_a_stream_that_has_begun() {
    let mut world = world();
    world.script("a/m", [Script::answer(10).tokens(20).pace(900)]);
    stream(&mut world);
    let story = world.story();
    assert!(story.last().unwrap().starts_with("17110 end 1 2 3"), "{story:?}");
    assert!(story.last().unwrap().ends_with("20 [DONE]"), "{story:?}");
}

#[test]
fn a_broken_stream_is_charged_as_far_as_the_vendor_counted() {
    let mut world = world();
    world.script("a/m", [Script::body(200, "").with_header("content-type", "text/event-stream")]);
    stream(&mut world);
    assert_eq!(world.gateway().spending(TargetId(0)).unpriced, 0, "nothing came of it");
    assert_eq!(world.story().last().unwrap(), "80 end 1 2 3 [DONE]");
}
