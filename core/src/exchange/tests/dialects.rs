//! One request, vendors of three dialects: the client sees its own throughout.

use super::*;

/// `a` speaks `OpenAI`'s dialect, `b` Anthropic's, `c` Gemini's; the route `mixed` is over all three.
fn mixed_with(change: impl FnOnce(&mut Value)) -> World {
    world_with(|document| {
        document["vendors"]["b"] = json!({"dialect": "anthropic", "base_url": "http://b.test", "keys": [{"env": "B"}]});
        document["vendors"]["c"] =
            json!({"dialect": "gemini", "base_url": "http://c.test/v1beta", "keys": [{"env": "C"}]});
        document["models"]["c/m"] = json!({"price": {"input": 1.0, "output": 2.0}});
        document["routes"]["mixed"] = json!({"models": ["a/m", "b/m", "c/m"]});
        change(document);
    })
}

fn mixed() -> World {
    mixed_with(|_| {})
}

fn request(model: &str, more: &Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn ask_of(world: &mut World, surface: Surface, body: String) -> RequestId {
    let id = world.ask(surface, body);
    world.run();
    id
}

#[test]
fn every_surface_reaches_every_vendor() {
    for model in ["a/m", "b/m", "c/m"] {
        let mut world = mixed();
        let chat = ask_of(&mut world, Surface::Chat, request(model, &json!({})));
        let chat = world.answer(chat);
        assert_eq!(chat.json()["choices"][0]["message"]["content"], "1 2 3 ", "{model}");
        assert_eq!(chat.json()["choices"][0]["finish_reason"], "stop", "{model}");
        assert_eq!(chat.json()["usage"]["prompt_tokens"], 7, "{model}");
        assert_eq!(chat.json()["usage"]["cost"], 0.000_013, "{model}");
        assert_eq!(chat.header("x-tidegate-cost"), "0.000013", "{model}");
        let message = ask_of(&mut world, Surface::Messages, request(model, &json!({})));
        let message = world.answer(message);
        assert_eq!(message.json()["content"][0]["text"], "1 2 3 ", "{model}");
        assert_eq!(message.json()["stop_reason"], "end_turn", "{model}");
        let body = json!({"model": model, "input": "hi"}).to_string();
        let response = ask_of(&mut world, Surface::Responses, body);
        let response = world.answer(response);
        assert_eq!(response.json()["output"][0]["content"][0]["text"], "1 2 3 ", "{model}");
        let body = json!({"model": model, "prompt": "hi"}).to_string();
        let completion = ask_of(&mut world, Surface::Completions, body);
        assert_eq!(world.answer(completion).json()["choices"][0]["text"], "1 2 3 ", "{model}");
        assert_settled(&world);
    }
}

#[test]
fn a_stream_comes_in_the_clients_words_whoever_speaks() {
    for model in ["a/m", "b/m", "c/m"] {
        let mut world = mixed();
        let more = json!({"stream": true, "stream_options": {"include_usage": true}});
        let chat = ask_of(&mut world, Surface::Chat, request(model, &more));
        let said = world.answer(chat).stream_summary();
        assert_eq!(said.as_deref(), Some("1 2 3 usage=3 [DONE]"), "{model}");
        let message = ask_of(&mut world, Surface::Messages, request(model, &json!({"stream": true})));
        let (events, rest) = world.answer(message).events();
        assert!(rest.is_empty());
        assert!(events.last().is_some_and(|last| last.contains("message_stop")), "{model}: {events:?}");
        let text: String = events.iter().filter_map(|event| text_of(event)).collect();
        assert_eq!(text, "1 2 3 ", "{model}");
        assert_settled(&world);
    }
}

fn text_of(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    event["delta"]["text"].as_str().map(str::to_owned)
}

#[test]
fn failover_crosses_dialects_within_one_request() {
    let mut world = mixed();
    world.script("a/m", [Script::status(503)]);
    world.script("b/m", [Script::answer(50).error_after(0, "overloaded_error", "")]);
    let id = ask_of(&mut world, Surface::Chat, request("mixed", &json!({"stream": true})));
    let answer = world.answer(id);
    assert_eq!(answer.header("x-tidegate-target"), "c/m");
    assert_eq!(answer.header("x-tidegate-attempts"), "3");
    assert_eq!(answer.stream_summary().as_deref(), Some("1 2 3 [DONE]"));
    assert_settled(&world);
}

#[test]
fn a_cut_stream_ends_in_an_error_of_the_clients_dialect() {
    for (model, surface, sign) in [
        ("c/m", Surface::Messages, "\"type\":\"error\""),
        ("b/m", Surface::Chat, "stream_interrupted"),
        ("a/m", Surface::Responses, "stream_interrupted"),
    ] {
        let mut world = mixed();
        world.script(model, [Script::answer(50).cut_after(2)]);
        let body = match surface {
            Surface::Responses => json!({"model": model, "input": "hi", "stream": true}).to_string(),
            _ => request(model, &json!({"stream": true})),
        };
        let id = ask_of(&mut world, surface, body);
        let (events, _) = world.answer(id).events();
        let last = events.last().cloned().unwrap_or_default();
        assert!(last.contains(sign), "{model}: {last}");
        let whole = ["[DONE]", "message_stop", "response.completed"];
        assert!(events.iter().all(|event| !whole.iter().any(|end| event.contains(end))), "{model}: {events:?}");
    }
}

#[test]
fn a_refusal_is_told_in_the_clients_shape() {
    let mut world = mixed();
    world.usually("b/m", Script::status(400));
    let id = ask_of(&mut world, Surface::Chat, request("b/m", &json!({})));
    let answer = world.answer(id);
    assert_eq!(answer.status.map(|status| status.as_u16()), Some(400));
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    let id = ask_of(&mut world, Surface::Messages, request("nowhere", &json!({})));
    let answer = world.answer(id);
    assert_eq!(answer.json()["error"]["type"], "not_found_error");
    assert_eq!(answer.header("request-id"), answer.json()["request_id"].as_str().unwrap_or("none"));
}

#[test]
fn what_a_vendor_has_no_form_for_is_dropped_and_named() {
    let mut world = mixed();
    let id = ask_of(&mut world, Surface::Chat, request("b/m", &json!({"seed": 7, "frequency_penalty": 0.5})));
    let mut dropped: Vec<_> = world.answer(id).header("x-tidegate-dropped").split(", ").map(str::to_owned).collect();
    dropped.sort();
    assert_eq!(dropped, ["frequency_penalty", "seed"]);
}

#[test]
fn strict_passes_over_whoever_cannot_honour_everything() {
    let mut world = mixed_with(|document| {
        document["routes"]["mixed"] = json!({"models": ["b/m", "a/m"], "parameters": "strict"});
    });
    let id = ask_of(&mut world, Surface::Chat, request("mixed", &json!({"seed": 7})));
    assert_eq!(world.answer(id).header("x-tidegate-target"), "a/m");
    assert_eq!(world.answer(id).header("x-tidegate-dropped"), "");
    assert_eq!(world.seen("b/m").len(), 0);
}

#[test]
fn what_must_not_be_dropped_goes_to_whoever_can() {
    let mut world = mixed_with(|document| {
        document["routes"]["mixed"] = json!({"models": ["b/m", "c/m", "a/m"]});
        document["models"]["c/m"]["capabilities"] = json!(["vision"]);
    });
    let audio = json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}});
    let id = ask_of(&mut world, Surface::Chat, request("mixed", &audio));
    assert_eq!(world.answer(id).header("x-tidegate-target"), "a/m", "only OpenAI's own dialect has a voice");
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    let id = ask_of(&mut world, Surface::Chat, request("c/m", &tools));
    let answer = world.answer(id);
    assert_eq!(answer.status.map(|status| status.as_u16()), Some(400));
    assert_eq!(answer.json()["error"]["code"], "unsupported_parameter");
    assert!(answer.json()["error"]["message"].as_str().is_some_and(|text| text.contains("tools")));
    assert_eq!(world.seen("c/m").len(), 0, "it was not even asked");
}

#[test]
fn each_vendor_gets_its_key_its_own_way() {
    let mut world = mixed();
    for model in ["a/m", "b/m", "c/m"] {
        ask_of(&mut world, Surface::Chat, request(model, &json!({})));
    }
    assert_eq!(world.seen("a/m"), [bearer("A1")]);
    assert_eq!(world.seen("b/m"), [bearer("B").replace("Bearer ", "")]);
    assert_eq!(world.seen("c/m"), [bearer("C").replace("Bearer ", "")]);
}

#[test]
fn a_request_that_makes_no_sense_is_the_callers_fault_before_anyone_is_asked() {
    let mut world = mixed();
    let body = json!({"model": "b/m", "messages": "hi"}).to_string();
    let id = ask_of(&mut world, Surface::Chat, body);
    assert_eq!(world.answer(id).status.map(|status| status.as_u16()), Some(400));
    assert_eq!(world.answer(id).json()["error"]["param"], "messages");
    assert_eq!(world.seen("b/m").len(), 0);
}

#[test]
fn what_is_dropped_is_named_as_the_client_named_it() {
    let mut world = mixed();
    let more = json!({"metadata": {"user_id": "u-1"}, "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}]});
    let id = ask_of(&mut world, Surface::Messages, request("c/m", &more));
    let mut dropped: Vec<_> = world.answer(id).header("x-tidegate-dropped").split(", ").map(str::to_owned).collect();
    dropped.sort();
    assert_eq!(dropped, ["metadata.user_id", "tool_choice.disable_parallel_tool_use"]);
    let body = json!({"model": "b/m", "input": "hi", "top_logprobs": 2}).to_string();
    let id = ask_of(&mut world, Surface::Responses, body);
    assert_eq!(world.answer(id).header("x-tidegate-dropped"), "top_logprobs");
}
