//! What is the caller's to see: faults of the request, contexts too small, content filters.

use super::*;

fn too_long() -> Script {
    Script::status(400).saying("invalid_request_error", "context_length_exceeded")
}

#[test]
fn the_callers_fault_is_returned_once_as_the_vendor_said_it() {
    for status in [400, 404, 413, 422] {
        let mut world = world_with(|document| document["defaults"]["breaker"]["failures"] = json!(1));
        world.script("a/m", [Script::status(status)]);
        let id = plain(&mut world);
        let story = world.story();
        assert_eq!(story.last().unwrap(), &format!("10 reply {status} a/m attempts=1 invalid_value"));
        let answer = world.answer(id);
        assert_eq!(answer.json()["error"]["message"], "as scripted");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(state(&world, 0), State::Closed);
    }
}

/// Such as a page of the proxy in front of it: the SDKs could make nothing of that.
#[test]
fn a_refusal_that_is_no_json_is_said_as_the_api_says_errors() {
    for body in ["<html>no such page</html>", "404 page not found", ""] {
        let mut world = world();
        world.script("a/m", [Script::body(404, body)]);
        let id = plain(&mut world);
        let answer = world.answer(id);
        assert_eq!(answer.status.unwrap(), 404);
        assert_eq!(answer.header("content-type"), "application/json");
        let error = &answer.json()["error"];
        assert_eq!(error["message"], "The vendor refused this request with status 404, and did not say why.");
        assert_eq!(error["type"], "invalid_request_error");
    }
}

#[test]
fn a_request_that_is_too_long_goes_to_a_larger_context_only() {
    let mut world = world();
    world.script("a/m", [too_long()]);
    plain(&mut world);
    let expected = ["0 send a/m", "10 status 400 a/m", "10 send b/m", "60 reply 200 b/m attempts=2"];
    assert_eq!(world.story(), expected);
}

#[test]
fn too_long_for_all_is_the_vendors_400_at_once() {
    let mut world = world_with(|document| {
        document["routes"]["chain"]["models"] = json!(["b/m", "a/m"]);
        document["defaults"]["retry"]["base"] = json!("5s");
    });
    world.usually("b/m", too_long());
    plain(&mut world);
    let expected = ["0 send b/m", "10 status 400 b/m", "10 reply 400 b/m attempts=1 context_length_exceeded"];
    assert_eq!(world.story(), expected);
}

#[test]
fn a_refusal_that_stands_says_whose_it_is() {
    let mut world = world();
    world.usually("a/m", too_long());
    world.usually("b/m", Script::status(401));
    plain(&mut world);
    assert_eq!(world.story().last().unwrap(), "20 reply 400 a/m attempts=2 context_length_exceeded");
}

#[test]
fn too_long_inside_a_200_is_a_400_to_the_caller() {
    let script = || Script::answer(10).error_after(0, "invalid_request_error", "context_length_exceeded");
    for streamed in [false, true] {
        let mut world = world_with(|document| document["routes"]["chain"]["models"] = json!(["b/m", "a/m"]));
        world.usually("b/m", script());
        let id = if streamed { stream(&mut world) } else { plain(&mut world) };
        assert_eq!(world.story().last().unwrap(), "10 reply 400 b/m attempts=1 context_length_exceeded");
        assert_eq!(world.answer(id).json()["error"]["message"], "as scripted");
        let mut world = super::world();
        world.usually("a/m", script());
        let id = if streamed { stream(&mut world) } else { plain(&mut world) };
        assert_eq!(world.answer(id).header("x-tidegate-target"), "b/m", "a larger context is asked all the same");
    }
}

#[test]
fn a_filtered_request_is_returned_and_not_asked_elsewhere() {
    let scripts = [
        Script::status(400).saying("invalid_request_error", "content_filter"),
        Script::answer(10).error_after(0, "invalid_request_error", "content_filter"),
    ];
    for (script, streamed) in scripts.into_iter().flat_map(|script| [(script.clone(), false), (script, true)]) {
        let mut world = world();
        world.script("a/m", [script]);
        let id = if streamed { stream(&mut world) } else { plain(&mut world) };
        assert_eq!(world.story().last().unwrap(), "10 reply 400 a/m attempts=1 content_filter");
        assert_eq!(world.answer(id).json()["error"]["message"], "as scripted");
        assert_eq!(total(&world, 0, |tally| tally.filtered), 1);
    }
}

/// `OpenRouter` says 403 to a prompt that its moderation stops; shown as it is, it would blame the caller's key.
#[test]
fn a_refusal_of_the_request_is_a_400_whatever_its_vendor_makes_of_it() {
    for (status, shown) in [(403, 400), (401, 400), (500, 400), (429, 400), (413, 413), (422, 422)] {
        for code in ["content_filter", "context_length_exceeded"] {
            let mut world = world_with(|document| document["routes"]["chain"]["models"] = json!(["b/m"]));
            world.script("b/m", [Script::status(status).saying("", code)]);
            let id = plain(&mut world);
            assert_eq!(world.story().last().unwrap(), &format!("10 reply {shown} b/m attempts=1 {code}"));
            assert_eq!(world.answer(id).json()["error"]["message"], "as scripted");
        }
    }
}

#[test]
fn a_filtered_answer_is_returned_as_it_came() {
    let mut world = world();
    world.usually("a/m", Script::answer(10).filtered());
    let id = plain(&mut world);
    assert_eq!(world.story().last().unwrap(), "10 reply 200 a/m attempts=1");
    assert_eq!(world.answer(id).json()["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(world.answer(id).header("x-tidegate-cost"), "0.000013");
    stream(&mut world);
    assert_eq!(world.story().last().unwrap(), "40 #1 end 1 2 3 [DONE]");
}

fn rerouting() -> World {
    world_with(|document| document["routes"]["chain"]["content_filter"] = json!("reroute"))
}

#[test]
fn on_request_a_filtered_answer_is_asked_elsewhere() {
    for script in [
        Script::answer(10).filtered(),
        Script::status(400).saying("invalid_request_error", "content_filter"),
        Script::answer(10).error_after(0, "invalid_request_error", "content_filter"),
    ] {
        let mut world = rerouting();
        world.usually("a/m", script);
        plain(&mut world);
        assert_eq!(world.story().last().unwrap(), "60 reply 200 b/m attempts=2");
    }
}

#[test]
fn filtered_by_all_is_the_last_ones_answer_and_nobody_is_asked_twice() {
    let mut world = rerouting();
    world.usually("a/m", Script::answer(10).filtered());
    world.usually("b/m", Script::answer(10).filtered());
    let id = plain(&mut world);
    assert_eq!(world.story(), ["0 send a/m", "10 send b/m", "20 reply 200 b/m attempts=2"]);
    assert_eq!(world.answer(id).header("x-tidegate-cost"), "0.000013", "it is known, and was charged");
}

#[test]
fn a_stream_that_is_filtered_before_its_first_word_is_rerouted_unseen() {
    let mut world = rerouting();
    world.script("a/m", [Script::answer(10).tokens(0).filtered()]);
    stream(&mut world);
    let expected = ["0 send a/m", "10 send b/m", "60 relay 200 b/m attempts=2", "80 end 1 2 3 [DONE]"];
    assert_eq!(world.story(), expected);
}

#[test]
fn a_stream_that_all_filter_is_shown_as_the_last_one_sent_it() {
    let mut world = rerouting();
    world.usually("a/m", Script::answer(10).tokens(0).filtered());
    world.usually("b/m", Script::answer(10).tokens(0).filtered().without_done());
    let id = stream(&mut world);
    let expected = ["0 send a/m", "10 send b/m", "20 relay 200 b/m attempts=2", "20 end [DONE]"];
    assert_eq!(world.story(), expected);
    assert!(String::from_utf8(world.answer(id).body).unwrap().contains(r#""finish_reason":"content_filter""#));
}

#[test]
fn a_filter_amid_the_words_is_the_streams_own_end() {
    let mut world = rerouting();
    world.script("a/m", [Script::answer(10).filtered()]);
    stream(&mut world);
    assert_eq!(world.story().last().unwrap(), "30 end 1 2 3 [DONE]");
}

#[test]
fn an_unknown_model_is_a_404_that_lists_the_known() {
    let mut world = world();
    let id = ask(&mut world, "nope");
    assert_eq!(world.story(), ["0 reply 404 attempts= model_not_found"]);
    let message = world.answer(id).json()["error"]["message"].to_string();
    assert!(message.contains("a/m, b/m, chain"), "{message}");
}
