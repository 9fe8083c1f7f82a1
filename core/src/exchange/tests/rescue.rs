//! Streams that break off while the client reads them, and who goes on with them.

use proptest::prelude::*;

use super::*;
use crate::notice::Notice;

/// The route `chain`, rescued so; `b/m` can go on from a beginning.
fn rescuing_with(how: &str, change: impl FnOnce(&mut Value)) -> World {
    world_with(|document| {
        document["routes"]["chain"]["stream_cut"] = json!(how);
        document["models"]["b/m"]["capabilities"] = json!(["tools", "prefill"]);
        change(document);
    })
}

fn rescuing(how: &str) -> World {
    rescuing_with(how, |_| {})
}

/// All that breaks a stream off after so many tokens.
fn breaks(tokens: u32) -> [Script; 5] {
    let answer = || Script::answer(10);
    [
        answer().cut_after(tokens),
        answer().stall_after(tokens),
        answer().tokens(tokens).without_finish(),
        answer().error_after(tokens, "server_error", "server_error"),
        answer().error_after(tokens, "rate_limit_error", "rate_limit_exceeded"),
    ]
}

fn written(world: &World, id: RequestId) -> String {
    String::from_utf8(world.answer(id).body).unwrap()
}

/// The error that ends a stream.
fn error(world: &World, id: RequestId) -> Value {
    let (events, _) = world.answer(id).events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    last["error"].clone()
}

#[test]
fn whoever_can_goes_on_from_where_it_broke_off() {
    for script in breaks(2) {
        let mut world = rescuing("continue");
        world.script("a/m", [script.clone()]);
        let id = stream(&mut world);
        let story = world.story();
        assert_eq!(story.iter().filter(|line| line.contains(" send ")).count(), 2, "{script:?}: {story:?}");
        assert!(story.last().unwrap().ends_with(" end 1 2 3 [DONE]"), "{script:?}: {story:?}");
        let written = written(&world, id);
        assert_eq!(written.matches(": tidegate rescued by b/m\n\n").count(), 1, "{written}");
        assert!(!written.contains("error") && written.contains("\"content\":\"3 \""), "{written}");
        assert_settled(&world);
    }
}

#[test]
fn whoever_answers_anew_is_heard_from_where_it_broke_off() {
    for script in breaks(2) {
        let mut world = rescuing("restart");
        world.script("a/m", [script.clone()]);
        world.usually("a/m", Script::answer(10).tokens(4));
        world.usually("b/m", Script::answer(10).tokens(4));
        stream(&mut world);
        assert!(world.story().last().unwrap().ends_with(" end 1 2 3 4 [DONE]"), "{script:?}: {:?}", world.story());
        assert_settled(&world);
    }
}

#[test]
fn a_rescue_is_told_of_once_it_has_brought_the_answer_to_its_end() {
    let mut world = rescuing("restart");
    world.script("a/m", [Script::answer(10).cut_after(2)]);
    let (id, mut told) = (ask_stream(&mut world, "chain"), Vec::new());
    while !world.is_over(id) {
        world.run_for(Millis(1));
        told.extend(world.take_story());
    }
    let rescues: Vec<_> = told.iter().filter(|line| line.contains("rescued")).collect();
    assert_eq!(rescues, ["90 rescued a/m b/m restart"]);
    let now = world.now();
    assert_eq!(world.gateway().status(now).routes[0].streams_rescued, 1);
}

#[test]
fn another_answer_is_not_passed_off_as_this_one() {
    let mut world = rescuing("restart");
    world.script("a/m", [Script::answer(10).cut_after(2)]);
    world.usually("a/m", Script::answer(10).voice("y"));
    world.usually("b/m", Script::answer(10).voice("x"));
    let id = stream(&mut world);
    assert_eq!(world.answer(id).stream_summary().unwrap(), "1 2 error=stream_interrupted");
    let error = error(&world, id);
    assert!(error["message"].as_str().unwrap().starts_with("The stream from a/m broke off (cut)"), "{error}");
    assert!(!written(&world, id).contains("rescued"), "nothing came of it");
    let asked: Vec<_> =
        error["metadata"]["attempts"].as_array().unwrap().iter().map(|tried| &tried["target"]).collect();
    assert_eq!(asked, ["a/m", "b/m", "a/m"], "each is heard out once, and a/m once more: {error}");
    assert_eq!(total(&world, 1, |tally| tally.failures), 0, "it answered well, only otherwise");
    assert_settled(&world);
}

#[test]
fn what_befalls_a_rescue_never_hides_the_first_error() {
    let answer = || Script::answer(10);
    for how in ["continue", "restart"] {
        for second in [
            Script::status(503),
            Script::status(400),
            Script::status(400).saying("invalid_request_error", "context_length_exceeded"),
            Script::status(401),
            Script::status(429),
            Script::hang(),
            Script::refuse(5),
            Script::body(200, "{\"choices\":[]}"),
            answer().cut_after(0),
            answer().error_after(0, "invalid_request_error", "content_filter"),
            answer().tokens(0).filtered(),
            answer().first_token_after(3000),
        ] {
            let mut world = rescuing_with(how, |document| document["defaults"]["retry"]["attempts"] = json!(2));
            world.script("a/m", [answer().stall_after(2)]);
            world.usually("b/m", second.clone());
            let id = stream(&mut world);
            let said = world.answer(id).stream_summary().unwrap();
            assert_eq!(said, "1 2 error=stream_interrupted", "{how} {second:?}");
            let error = error(&world, id);
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with("The stream from a/m broke off (stalled)"), "{how} {second:?}: {error}");
            assert_eq!(error["metadata"]["attempts"].as_array().unwrap().len(), 2, "{how} {second:?}: {error}");
            assert_settled(&world);
        }
    }
}

#[test]
fn who_cannot_go_on_from_a_beginning_is_not_asked_to() {
    let mut world = rescuing_with("continue", |document| {
        document["models"]["b/able"] = document["models"]["b/m"].take();
        document["models"]["b/m"] = json!({"capabilities": []});
        document["routes"]["chain"]["models"] = json!(["a/m", "b/m", "b/able"]);
    });
    world.script("a/m", [Script::answer(10).cut_after(2)]);
    world.script("b/able", [Script::answer(10).cut_after(0)]);
    stream(&mut world);
    let sends: Vec<_> = world.story().into_iter().filter(|line| line.contains(" send ")).collect();
    assert_eq!(sends, ["0 send a/m", "20 send b/able", "40 send b/able"], "{:?}", world.story());
    assert_eq!(world.story().last().unwrap(), "90 end 1 2 3 [DONE]");
}

#[test]
fn a_rescue_may_need_another() {
    for how in ["continue", "restart"] {
        let mut world = rescuing_with(how, |document| document["models"]["a/m"]["capabilities"] = json!(["prefill"]));
        world.script("a/m", [Script::answer(10).tokens(5).cut_after(2), Script::answer(10).tokens(5)]);
        let after = if how == "continue" { 1 } else { 3 };
        world.script("b/m", [Script::answer(10).tokens(5).cut_after(after)]);
        let id = stream(&mut world);
        assert_eq!(world.answer(id).stream_summary().unwrap(), "1 2 3 4 5 [DONE]", "{how}: {:?}", world.story());
        let written = written(&world, id);
        assert_eq!(written.matches("rescued by b/m").count() + written.matches("rescued by a/m").count(), 2, "{how}");
    }
}

#[test]
fn a_rescue_is_within_the_requests_attempts_and_its_deadline() {
    let mut world = rescuing_with("restart", |document| document["defaults"]["retry"]["attempts"] = json!(1));
    world.script("a/m", [Script::answer(10).cut_after(2)]);
    stream(&mut world);
    assert_eq!(world.seen("b/m").len(), 0, "{:?}", world.story());
    let mut world = rescuing_with("restart", |document| document["defaults"]["retry"]["deadline"] = json!("500ms"));
    world.script("a/m", [Script::answer(10).pace(600).cut_after(2)]);
    stream(&mut world);
    assert_eq!(world.seen("b/m").len(), 0, "{:?}", world.story());
}

#[test]
fn a_client_that_waits_for_a_rescue_is_sent_comments() {
    let mut world = rescuing_with("restart", |document| document["server"] = json!({"keep_alive": "500ms"}));
    world.script("a/m", [Script::answer(10).cut_after(2)]);
    world.script("b/m", [Script::answer(900)]);
    let id = stream(&mut world);
    assert_eq!(world.answer(id).stream_summary().unwrap(), "1 2 3 [DONE]");
    assert_eq!(written(&world, id).matches(": tidegate\n\n").count(), 1);
}

#[test]
fn each_attempt_costs_what_it_took() {
    let mut world = rescuing_with("continue", |document| {
        document["models"]["b/m"]["price"] = json!({"input": 100.0, "output": 200.0});
    });
    world.script("a/m", [Script::answer(10).cut_after(2)]);
    let body = r#"{"model":"chain","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
    let id = world.ask(Surface::Chat, body);
    world.run();
    let (events, _) = world.answer(id).events();
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!((&usage["usage"]["completion_tokens"], &usage["usage"]["cost"]), (&json!(1), &json!(0.0009)), "{usage}");
    assert_eq!(world.gateway().spending(TargetId(0)).known.to_string(), "0", "a/m never said what it took");
    assert_eq!(world.gateway().spending(TargetId(1)).known.to_string(), "0.0009");
}

#[test]
fn every_surface_is_rescued_by_every_dialect() {
    let bodies = [
        (Surface::Chat, r#"{"model":"chain","stream":true,"messages":[{"role":"user","content":"hi"}]}"#),
        (
            Surface::Messages,
            r#"{"model":"chain","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        ),
        (Surface::Responses, r#"{"model":"chain","stream":true,"input":"hi"}"#),
        (Surface::Completions, r#"{"model":"chain","stream":true,"prompt":"hi"}"#),
    ];
    for (how, dialect) in
        ["continue", "restart"].iter().flat_map(|how| ["openai", "anthropic", "gemini"].map(|to| (how, to)))
    {
        for (surface, body) in bodies {
            let mut world = rescuing_with(how, |document| document["vendors"]["b"]["dialect"] = json!(dialect));
            world.script("a/m", [Script::answer(10).cut_after(2)]);
            let id = world.ask(surface, body);
            world.run();
            let (events, rest) = world.answer(id).events();
            let text: String = events.iter().filter_map(|event| text_of(surface, event)).collect();
            assert_eq!((text.as_str(), rest.len()), ("1 2 3 ", 0), "{how} {dialect} {surface:?}: {events:?}");
            assert!(
                !events.iter().any(|event| event.contains("\"error\":{")),
                "{how} {dialect} {surface:?}: {events:?}"
            );
        }
    }
}

fn text_of(surface: Surface, event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    let text = match surface {
        Surface::Messages => &event["delta"]["text"],
        Surface::Responses if event["type"] == "response.output_text.delta" => &event["delta"],
        Surface::Responses => &Value::Null,
        Surface::Completions => &event["choices"][0]["text"],
        _ => &event["choices"][0]["delta"]["content"],
    };
    text.as_str().map(str::to_owned)
}

#[test]
fn who_rescued_whom_is_said_in_words() {
    let (from, to) = ("a/m".to_owned(), "b/m".to_owned());
    let notice = Notice::StreamRescued { request_id: "tg-1".into(), from, to, how: "restart" };
    assert_eq!(notice.to_string(), "tg-1: the stream that a/m broke off was brought to its end by b/m (restart)");
}

/// The words of the whole answer.
const TOKENS: u32 = 6;

/// What a vendor may do with an attempt, in one voice or another.
fn scripts() -> impl Strategy<Value = Script> {
    let voice = prop::sample::select(&["", "", "", "x"][..]);
    let answer = (0..200_u64, 0..300_u64, voice)
        .prop_map(|(ms, pace, voice)| Script::answer(ms).pace(pace).tokens(TOKENS).voice(voice));
    (answer, 0..TOKENS, 0..12_u32).prop_map(|(answer, token, kind)| match kind {
        0..=2 => answer.cut_after(token),
        3 => answer.stall_after(token),
        4 => answer.error_after(token, "server_error", "server_error"),
        5 => answer.error_after(token, "rate_limit_error", ""),
        6 => answer.tokens(token).without_finish(),
        7 => Script::status(503),
        8 => Script::hang(),
        9 => answer.first_token_after(1500),
        _ => answer,
    })
}

proptest! {
    /// Whatever befalls whom: the client has the beginning of one answer, and nothing of it twice; it has all of it, with one
    /// good end, or an error that says who failed it first; and nobody is asked more often than is allowed.
    #[test]
    fn the_client_has_one_answer_or_the_first_error(
        how in prop::sample::select(&["continue", "restart"][..]),
        to in prop::sample::select(&["openai", "anthropic", "gemini"][..]),
        attempts in 1..6_usize,
        of_a in prop::collection::vec(scripts(), 1..4),
        of_b in prop::collection::vec(scripts(), 1..4),
    ) {
        let mut world = rescuing_with(how, |document| {
            document["defaults"]["retry"]["attempts"] = json!(attempts);
            document["models"]["a/m"]["capabilities"] = json!(["prefill"]);
            document["vendors"]["b"]["dialect"] = json!(to);
        });
        world.script("a/m", of_a);
        world.script("b/m", of_b);
        for target in ["a/m", "b/m"] {
            world.usually(target, Script::answer(10).tokens(TOKENS));
        }
        let id = world.ask(Surface::Chat, r#"{"model":"chain","stream":true,"messages":[{"role":"user","content":"hi"}]}"#);
        world.run();
        prop_assert!(world.is_over(id));
        assert_settled(&world);
        let sent = world.story().iter().filter(|line| line.contains(" send ")).count();
        prop_assert!(sent <= attempts, "{:?}", world.story());
        let answer = world.answer(id);
        if !answer.streamed {
            return Ok(());
        }
        let (events, rest) = answer.events();
        prop_assert!(rest.is_empty());
        let words: String = events.iter().filter_map(|event| text_of(Surface::Chat, event)).collect();
        let words: Vec<&str> = words.split_whitespace().collect();
        for (nth, word) in (1..).zip(&words) {
            prop_assert_eq!(word.trim_start_matches('x').parse(), Ok(nth), "{:?}", &words);
            prop_assert!(how == "continue" || word.starts_with('x') == words[0].starts_with('x'), "{:?}", &words);
        }
        let errors = events.iter().filter(|event| event.contains("\"error\":{")).count();
        let ends = events.iter().filter(|event| event.contains("\"finish_reason\":\"stop\"")).count();
        if events.last().map(String::as_str) == Some("[DONE]") {
            prop_assert_eq!((errors, ends, words.len()), (0, 1, usize::try_from(TOKENS).unwrap()), "{:?}", events);
        } else {
            prop_assert_eq!((errors, ends), (1, 0), "{:?}", events);
            let error = error(&world, id);
            let first = format!("The stream from {} broke off", answer.header("x-tidegate-target"));
            prop_assert!(error["message"].as_str().unwrap().starts_with(&first), "{}", error);
            prop_assert_eq!(error["metadata"]["attempts"].as_array().unwrap().len(), sent);
        }
    }
}
