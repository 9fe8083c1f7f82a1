//! Streams that wait long: their clients are kept, and nothing of what is decided behind them changes.

use super::*;

/// A comment is due after each second; vendors may take a minute.
fn patient() -> World {
    world_with(|document| {
        document["server"] = json!({"keep_alive": "1s"});
        document["defaults"]["timeouts"] =
            json!({"head": "1m", "answer": "1m", "first_token": "1m", "gap": "1m", "total": "5m"});
        document["defaults"]["retry"]["deadline"] = json!("2m");
    })
}

fn comments(world: &World, id: RequestId) -> usize {
    String::from_utf8_lossy(&world.answer(id).body).matches(": tidegate\n\n").count()
}

#[test]
fn a_first_token_that_takes_its_time_is_waited_for_aloud() {
    let mut world = patient();
    world.script("a/m", [Script::answer(50).first_token_after(3500)]);
    let id = stream(&mut world);
    assert_eq!(comments(&world, id), 3);
    assert_eq!(world.answer(id).stream_summary().as_deref(), Some("1 2 3 [DONE]"));
    assert_eq!(world.answer(id).header("x-tidegate-request-id").len(), "tg-0123456789abcdef".len());
    assert_settled(&world);
}

#[test]
fn a_gap_within_an_answer_too() {
    let mut world = patient();
    world.script("a/m", [Script::answer(50).pace(2500)]);
    let id = stream(&mut world);
    assert_eq!(comments(&world, id), 4, "two in each of the gaps between three tokens");
}

#[test]
fn failover_goes_on_behind_the_comments() {
    let mut world = patient();
    world.script("a/m", [Script::reset(2500), Script::reset(10)]);
    let id = stream(&mut world);
    assert_eq!(comments(&world, id), 2);
    assert_eq!(world.answer(id).stream_summary().as_deref(), Some("1 2 3 [DONE]"));
    assert_eq!(world.seen("b/m").len(), 1);
    assert_settled(&world);
}

#[test]
fn when_everybody_fails_the_stream_says_so() {
    let mut world = patient();
    for target in ["a/m", "b/m"] {
        world.usually(target, Script::status(503).after(1200));
    }
    let id = stream(&mut world);
    let (events, rest) = world.answer(id).events();
    assert!(rest.is_empty());
    assert!(events.last().is_some_and(|last| last.contains("upstream_error")), "{events:?}");
    assert!(events.iter().all(|event| event != "[DONE]"));
    assert_settled(&world);
}

#[test]
fn a_refusal_comes_as_the_vendor_said_it_in_the_stream() {
    let mut world = patient();
    world.usually("a/m", Script::status(400).after(1500));
    let id = stream(&mut world);
    let (events, _) = world.answer(id).events();
    assert_eq!(world.answer(id).status.map(|status| status.as_u16()), Some(200), "it had gone out already");
    let error: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(error["error"]["code"], "invalid_value");
}

#[test]
fn a_refusal_without_words_gets_some() {
    for body in ["", "<html>Bad Request</html>", "{}"] {
        let mut world = patient();
        world.script("a/m", [Script::body(400, body).after(1500)]);
        let id = stream(&mut world);
        let (events, _) = world.answer(id).events();
        assert!(events.len() == 1 && events[0].contains("refused this request with status 400"), "{events:?}");
    }
}

#[test]
fn whoever_wants_no_stream_gets_no_comments() {
    let mut world = patient();
    world.usually("a/m", Script::answer(5000));
    let id = plain(&mut world);
    assert_eq!(comments(&world, id), 0);
    assert_eq!(world.answer(id).status.map(|status| status.as_u16()), Some(200));
}
