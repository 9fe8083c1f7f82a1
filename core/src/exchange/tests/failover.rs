//! Hard failures: tried again, failed over from, or given up on.

use super::*;

#[test]
fn a_good_answer_is_passed_on_as_it_came() {
    let mut world = world();
    let id = plain(&mut world);
    assert_eq!(world.story(), ["0 send a/m", "50 reply 200 a/m attempts=1"]);
    let answer = world.answer(id);
    assert_eq!(answer.json()["model"], "m", "the body says who served, as the vendor calls it");
    assert_eq!(answer.header("x-tidegate-cost"), "0.000013", "7 tokens in, 3 out");
    assert!(answer.header("x-tidegate-request-id").starts_with("tg-"));
    assert_eq!(answer.header("x-request-id"), answer.header("x-tidegate-request-id"));
    assert_settled(&world);
}

#[test]
fn a_500_is_tried_once_more_on_the_same_target() {
    let mut world = world();
    world.script("a/m", [Script::status(500)]);
    plain(&mut world);
    let expected = ["0 send a/m", "10 status 500 a/m", "10 pause 10", "20 send a/m", "70 reply 200 a/m attempts=2"];
    assert_eq!(world.story(), expected);
}

#[test]
fn a_second_500_fails_over() {
    let mut world = world();
    world.usually("a/m", Script::status(500));
    plain(&mut world);
    let expected = [
        "0 send a/m",
        "10 status 500 a/m",
        "10 pause 10",
        "20 send a/m",
        "30 status 500 a/m",
        "30 send b/m",
        "80 reply 200 b/m attempts=3",
    ];
    assert_eq!(world.story(), expected);
    assert_settled(&world);
}

/// A route over three targets whose failures of some kinds have a target of their own.
fn world_with_after() -> World {
    world_with(|document| {
        document["vendors"]["c"] = json!({"dialect": "openai", "base_url": "http://c.test/v1"});
        document["models"]["c/m"] = json!({});
        document["models"]["c/n"] = json!({});
        document["routes"]["chain"] = json!({
            "models": ["a/m", "b/m", "c/m", "c/n"], "after": {"timeout": "c/m", "connection": "c/n"},
        });
        document["defaults"]["retry"]["same_target"] = json!(0);
    })
}

fn asked(world: &World) -> Vec<String> {
    let sent = |line: &String| line.split_once(" send ").map(|(_, target)| target.to_owned());
    world.story().iter().filter_map(sent).collect()
}

#[test]
fn a_kind_of_failure_may_lead_to_a_target_of_its_own() {
    for (script, next) in [
        (Script::hang(), "c/m"),
        (Script::answer(10).stall_after(0), "c/m"),
        (Script::refuse(5), "c/n"),
        (Script::reset(5), "c/n"),
        (Script::status(503), "b/m"),
    ] {
        let mut world = world_with_after();
        world.usually("a/m", script.clone());
        plain(&mut world);
        assert_eq!(asked(&world), ["a/m", next], "{script:?}");
        assert_settled(&world);
    }
}

#[test]
fn whoever_was_led_to_is_not_asked_again_when_its_turn_comes() {
    let mut world = world_with_after();
    world.usually("a/m", Script::refuse(5));
    world.usually("c/n", Script::hang());
    world.usually("c/m", Script::refuse(5));
    plain(&mut world);
    assert_eq!(
        asked(&world),
        ["a/m", "c/n", "c/m", "b/m"],
        "refused, silent, refused, and then the first that is left"
    );
    assert_settled(&world);
}

#[test]
fn a_reset_is_tried_once_more_on_the_same_target() {
    let mut world = world();
    world.script("a/m", [Script::reset(40)]);
    plain(&mut world);
    let expected = ["0 send a/m", "40 fail a/m broken", "40 pause 10", "50 send a/m", "100 reply 200 a/m attempts=2"];
    assert_eq!(world.story(), expected);
}

#[test]
fn what_is_no_accident_fails_over_at_once() {
    for script in [
        Script::status(502),
        Script::status(503),
        Script::status(504),
        Script::status(529),
        Script::body(200, ""),
        Script::body(200, "<html>"),
        Script::body(200, &b"(\xb5/\xfd"[..]).with_header("content-encoding", "zstd"),
        Script::body(200, &b"{\"choices\":[{\"message\":{\"content\":\"\xff\"},\"finish_reason\":\"stop\"}]}"[..]),
        Script::answer(10).cut_after(1),
        Script::answer(10).error_after(0, "server_error", "server_error"),
        Script::refuse(10),
    ] {
        let mut world = world();
        world.script("a/m", [script.clone()]);
        plain(&mut world);
        let story = world.story();
        assert_eq!(story.last().unwrap(), "60 reply 200 b/m attempts=2", "{script:?}: {story:?}");
        assert_eq!(total(&world, 0, |tally| tally.failures), 1, "{script:?}");
    }
}

#[test]
fn what_is_compressed_unasked_is_told_as_that() {
    let packed = Script::body(200, &b"\x1f\x8b\x08"[..]).with_header("content-encoding", "gzip");
    let events = packed.clone().with_header("content-type", "text/event-stream");
    for (is_stream, script) in [(false, &packed), (true, &packed), (true, &events)] {
        let mut world = world();
        world.usually("a/m", script.clone());
        world.usually("b/m", script.clone());
        let id = if is_stream { stream(&mut world) } else { plain(&mut world) };
        let body = String::from_utf8(world.answer(id).body).unwrap();
        assert_eq!(body.matches(r#""outcome":"compressed""#).count(), 4, "{script:?}: {body}");
    }
    let mut world = world();
    world.script("a/m", [Script::answer(10).with_header("content-encoding", "identity")]);
    plain(&mut world);
    assert_eq!(total(&world, 0, |tally| tally.successes), 1);
    // What an adapter has undone is an answer, whatever it still says.
    let answer = Script::body(200, r#"{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}"#);
    world.script("a/m", [answer.with_header("content-encoding", "gzip")]);
    plain(&mut world);
    assert_eq!(total(&world, 0, |tally| tally.successes), 2);
}

#[test]
fn a_silent_target_is_never_asked_twice() {
    let mut world = world();
    world.usually("a/m", Script::hang());
    world.usually("b/m", Script::status(503));
    let id = plain(&mut world);
    assert_eq!(world.seen("a/m").len(), 1, "{:?}", world.story());
    assert_eq!(world.seen("b/m").len(), 3, "the rest of the budget goes to the one that answers");
    assert_eq!(world.answer(id).status.unwrap(), 502);
    assert_eq!(total(&world, 0, |tally| tally.silent), 1);
}

#[test]
fn alone_and_silent_is_a_504_without_a_pause() {
    let mut world = world();
    world.usually("a/m", Script::hang());
    let id = ask(&mut world, "a/m");
    world.run();
    let expected = ["0 send a/m", "1000 cancel a/m", "1000 reply 504 a/m attempts=1 upstream_timeout retry-after=1"];
    assert_eq!(world.story(), expected);
    let answer = world.answer(id);
    assert_eq!(
        answer.json()["error"]["metadata"]["attempts"],
        json!([{"target": "a/m", "outcome": "silent", "ms": 1000}])
    );
    assert_eq!(answer.header("x-should-retry"), "false");
}

/// `DeepSeek` and proxies send blank lines for as long as an answer takes.
#[test]
fn blanks_that_keep_a_connection_open_are_no_answer() {
    let mut world = world();
    world.usually("a/m", Script::murmur());
    plain(&mut world);
    assert_eq!(world.story()[..3], ["0 send a/m", "1000 cancel a/m", "1000 send b/m"]);
    assert_eq!(total(&world, 0, |tally| tally.silent), 1);
}

#[test]
fn who_runs_into_the_deadline_is_told_so() {
    let mut world = world_with(|document| document["defaults"]["timeouts"]["answer"] = json!("1m"));
    world.usually("a/m", Script::murmur());
    let id = plain(&mut world);
    let error = &world.answer(id).json()["error"];
    assert_eq!(error["message"], "The time for this request ran out before a target of `chain` had answered.");
    assert_eq!(error["code"], "upstream_timeout");
    assert_settled(&world);
}

#[test]
fn when_all_fail_softly_they_are_asked_again_after_a_pause() {
    let mut world = world_with(|document| document["defaults"]["retry"]["base"] = json!("400ms"));
    world.script("a/m", [Script::status(503)]);
    world.script("b/m", [Script::status(503)]);
    plain(&mut world);
    let story = world.story();
    assert_eq!(story[..4], ["0 send a/m", "10 status 503 a/m", "10 send b/m", "20 status 503 b/m"]);
    assert!(story[4].starts_with("20 pause "), "{story:?}");
    assert!(story[6].ends_with("reply 200 a/m attempts=3"), "{story:?}");
}

#[test]
fn a_lap_waits_for_as_long_as_the_vendors_ask() {
    let mut world = world();
    world.script("a/m", [Script::status(503).with_header("retry-after", "3")]);
    world.script("b/m", [Script::status(503).with_header("retry-after", "2")]);
    plain(&mut world);
    let story = world.story();
    assert_eq!(story[4], "20 pause 2000", "until the first of them may be asked again: {story:?}");
}

#[test]
fn the_attempt_budget_holds_over_everything() {
    let mut world = world();
    world.usually("a/m", Script::status(500));
    world.usually("b/m", Script::reset(10));
    let id = plain(&mut world);
    assert_eq!(world.seen("a/m").len() + world.seen("b/m").len(), 4);
    assert_eq!(world.story().last().unwrap(), "60 reply 502 b/m attempts=4 upstream_error retry-after=1");
    assert_eq!(world.answer(id).json()["error"]["metadata"]["attempts"].as_array().unwrap().len(), 4);
}

#[test]
fn the_last_attempt_is_not_followed_by_a_pause() {
    let mut world = world_with(|document| document["defaults"]["retry"]["attempts"] = json!(1));
    world.usually("a/m", Script::status(500));
    plain(&mut world);
    let expected = ["0 send a/m", "10 status 500 a/m", "10 reply 502 a/m attempts=1 upstream_error retry-after=1"];
    assert_eq!(world.story(), expected);
}

#[test]
fn retries_stop_when_the_process_has_made_too_many_and_failover_goes_on() {
    let mut world = world_with(|document| document["defaults"]["retry"]["share"] = json!(0));
    world.usually("a/m", Script::status(500));
    for _ in 0..20 {
        ask(&mut world, "chain");
        world.run();
    }
    assert_eq!(world.seen("a/m").len(), 30, "one each, and the reserve of ten retries");
    assert_eq!(world.seen("b/m").len(), 20, "nobody goes without an answer");
}

#[test]
fn the_budget_also_holds_where_all_targets_fail() {
    let mut world = world_with(|document| document["defaults"]["retry"]["share"] = json!(0));
    world.usually("a/m", Script::status(503));
    world.usually("b/m", Script::status(503));
    for _ in 0..20 {
        ask(&mut world, "chain");
        world.run_for(Millis(100));
    }
    assert_eq!(world.seen("a/m").len() + world.seen("b/m").len(), 2 * 20 + 2 * 10, "ten laps, free of charge");
}

#[test]
fn embeddings_fail_over_too() {
    let mut world = world();
    world.script("a/m", [Script::status(503)]);
    let id = world.ask(Surface::Embeddings, r#"{"model":"chain","input":"x"}"#);
    world.run();
    assert_eq!(world.answer(id).json()["data"][0]["embedding"], json!([0.5, -0.5]));
    assert_eq!(world.answer(id).header("x-tidegate-target"), "b/m");
}

/// Found by a mock vendor that grades its clients: the lap after asked everybody once the first of them was ready.
#[test]
fn a_target_that_said_when_to_come_back_is_left_alone_until_then() {
    let mut world = world();
    world.script("a/m", [Script::status(503).with_header("retry-after", "1")]);
    world.script("b/m", [Script::status(503), Script::status(503)]);
    plain(&mut world);
    let expected = [
        "0 send a/m",
        "10 status 503 a/m",
        "10 send b/m",
        "20 status 503 b/m",
        "20 pause 10",
        "30 send b/m",
        "40 status 503 b/m",
        "40 pause 10",
        "50 send b/m",
        "100 reply 200 b/m attempts=4",
    ];
    assert_eq!(world.story(), expected);
}
