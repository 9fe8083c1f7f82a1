//! Any client before any vendor: the same words come out, in the client's own API.

use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::world::World;

use crate::apis::{Api, End, Heard, QUESTION, with};
use crate::check::{complaint, marked};

/// A vendor of each dialect, with the name of its sandbox.
pub(crate) const VENDORS: [(&str, &str); 3] = [("a", "a"), ("anthropic", "b"), ("gemini", "c")];

/// Each client before each vendor.
pub(crate) fn pairs(apis: &'static [Api]) -> impl Iterator<Item = (Api, &'static str)> {
    apis.iter().flat_map(|api| VENDORS.map(|(vendor, _)| (*api, vendor)))
}

pub(crate) async fn words(world: &World) {
    for (api, vendor) in pairs(&Api::ALL) {
        let target = format!("{vendor}/words");
        let reply = world.send(api.ask(&api.question(&target))).await.expect(200);
        let cost = told(api, &reply, &target);
        assert_eq!(reply.header("content-type").split(';').next(), Some("application/json"), "{reply}");
        assert_eq!(reply.header("x-tidegate-cost"), cost.to_string(), "{api:?} {reply}");
    }
}

pub(crate) async fn streamed_words(world: &World) {
    for (api, vendor) in pairs(&Api::ALL) {
        let target = format!("{vendor}/words");
        let reply = world.send(api.ask(&api.streamed(&target))).await.expect(200);
        assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8", "{reply}");
        told(api, &reply, &target);
    }
}

pub(crate) async fn lengths_and_stops(world: &World) {
    for (api, vendor) in pairs(&Api::ALL) {
        let target = format!("{vendor}/words");
        for body in [api.question(&target), api.streamed(&target)] {
            let reply = world.send(api.ask(&with(body.clone(), &api.limit(17)))).await.expect(200);
            let heard = api.heard(&reply);
            assert_eq!((heard.output_tokens, heard.end.as_str()), (17, api.word(End::Length)), "{reply}");
            // The responses API has no stop sequences.
            let (stop, end) = match api {
                Api::Chat | Api::Completions => (json!({"stop": "simulated"}), "stop"),
                Api::Messages => (json!({"stop_sequences": ["simulated"]}), "stop_sequence"),
                Api::Responses => continue,
            };
            let reply = world.send(api.ask(&with(body, &stop))).await.expect(200);
            let heard = api.heard(&reply);
            let is_known = vendor == "anthropic" || api != Api::Messages;
            let end = if is_known { end } else { "end_turn" };
            assert_eq!((heard.text.as_str(), heard.end.as_str()), ("This is a ", end), "{vendor}: {reply}");
        }
    }
}

/// OpenAI and Gemini count what they have read from a cache within the prompt, Anthropic beside it. It costs a tenth.
pub(crate) async fn cached_tokens(world: &World) {
    let prompt = "wave ".repeat(1200);
    let marked_for_cache = json!([{"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}]);
    for (api, vendor) in pairs(&[Api::Chat, Api::Messages]) {
        // Of the 48 tokens that were not read from it, Anthropic writes a half into its cache.
        let (content, fresh, written) =
            if vendor == "anthropic" { (&marked_for_cache, 24, 24) } else { (&json!(prompt), 48, 0) };
        let whole = api.saying(&format!("{vendor}/cached"), content);
        let reply = world.send(api.ask(&whole)).await.expect(200);
        let (usage, heard) = (&reply.json()["usage"], api.heard(&reply));
        let counts = match api {
            Api::Messages => [&usage["input_tokens"], &usage["cache_read_input_tokens"]],
            _ => [&usage["prompt_tokens"], &usage["prompt_tokens_details"]["cached_tokens"]],
        };
        let prompt_tokens = if api == Api::Messages { fresh } else { 1200 };
        assert_eq!(counts, [&json!(prompt_tokens), &json!(1152)], "{api:?} {reply}");
        // In tenths of a millionth of a dollar.
        let answer = u32::try_from(heard.output_tokens).expect("few words");
        let cost = f64::from(fresh * 10 + 1152 + written * 12 + answer * 20) / 1e7;
        assert_eq!((heard.cost, reply.header("x-tidegate-cost")), (Some(cost), cost.to_string().as_str()), "{reply}");
        let streamed = api.heard(&world.send(api.ask(&api.as_stream(whole))).await.expect(200));
        assert_eq!((streamed.cost, streamed.input_tokens), (heard.cost, heard.input_tokens), "{api:?} {vendor}");
    }
}

pub(crate) async fn several_choices(world: &World) {
    for target in ["a/words", "gemini/words"] {
        let reply = world.send(Api::Chat.ask(&with(Api::Chat.question(target), &json!({"n": 2})))).await.expect(200);
        let answer = reply.json();
        let text = |nth: usize| answer["choices"][nth]["message"]["content"].as_str().expect("words").to_owned();
        assert_eq!(text(1), format!("Answer 2: {}", text(0)), "{reply}");
        assert_eq!(answer["usage"]["completion_tokens"], 24 + 26, "both are paid for: {reply}");
    }
}

pub(crate) async fn vectors(world: &World) {
    let ask = async |input: Value| {
        let body = json!({"model": "gemini/vectors", "input": input});
        world.send(Request::post("/v1/embeddings", &body)).await.expect(200)
    };
    let one = ask(json!("ebb")).await;
    marked(&one, "gemini/vectors", 1);
    let (one, two) = (one.json(), ask(json!(["ebb", "flow"])).await.json());
    assert_eq!((&one["object"], &one["model"]), (&json!("list"), &json!("vectors")));
    assert_eq!(one["data"][0]["embedding"], two["data"][0]["embedding"], "the same text, in one call or in another");
    assert_eq!((&two["data"][1]["index"], &two["data"][1]["object"]), (&json!(1), &json!("embedding")));
    assert!(two["data"][1]["embedding"].as_array().unwrap().iter().all(Value::is_number), "{two}");

    let body = json!({"model": "anthropic/words", "input": "ebb"});
    let reply = world.send(Request::post("/v1/embeddings", &body)).await;
    let (kind, message) = complaint(Api::Chat, &reply.expect(400));
    assert_eq!(kind, "invalid_request_error");
    assert!(message.contains("anthropic/words has no `embeddings`"), "{message}");
}

pub(crate) async fn tokens_are_counted(world: &World) {
    let ask = async |target: &str| {
        let body = json!({"model": target, "messages": [{"role": "user", "content": QUESTION}]});
        world.send(Request::post("/v1/messages/count_tokens", &body)).await
    };
    for target in ["anthropic/words", "gemini/words"] {
        let reply = ask(target).await.expect(200);
        marked(&reply, target, 1);
        assert_eq!(reply.json(), json!({"input_tokens": 4}));
    }
    let estimated = ask("a/words").await.expect(200);
    assert_eq!(estimated.header("x-tidegate-estimated"), "true");
    let count = estimated.json()["input_tokens"].as_u64().unwrap();
    assert!((5..=15).contains(&count), "four words and a message around them: {count}");
}

pub(crate) async fn failover_crosses_dialects(world: &World) {
    world.a.answers("crossed-1", 503).await;
    world.b.answers("crossed-2", 529).await;
    for api in Api::ALL {
        for body in [api.question("crossed"), api.streamed("crossed")] {
            let reply = world.send(api.ask(&body)).await.expect(200);
            marked(&reply, "gemini/crossed-3", 3);
            assert_eq!(api.heard(&reply).end, api.word(End::Stop), "{reply}");
        }
    }
}

/// Anthropic says in the stream that it is overloaded, OpenAI's compatibles that something broke, Gemini that it is unavailable.
pub(crate) async fn errors_before_the_first_token(world: &World) {
    world.b.fault("early-1", json!({"kind": "error_in_200", "after_tokens": 0})).await;
    world.c.fault("early-2", json!({"kind": "error_in_200", "after_tokens": 0})).await;
    for api in Api::ALL {
        let reply = world.send(api.ask(&api.streamed("early"))).await.expect(200);
        marked(&reply, "a/early-3", 3);
        assert_eq!(api.heard(&reply).end, api.word(End::Stop), "{reply}");
    }
}

pub(crate) async fn cuts_are_told_in_the_clients_dialect(world: &World) {
    for vendor in [&world.a, &world.b, &world.c] {
        vendor.fault("cut", json!({"kind": "cut", "after_tokens": 3})).await;
    }
    for (api, vendor) in pairs(&Api::ALL) {
        let target = format!("{vendor}/cut");
        let reply = world.send(api.ask(&api.streamed(&target))).await.expect(200);
        marked(&reply, &target, 1);
        let whole = ["[DONE]", "message_stop", "response.completed"];
        assert!(!whole.iter().any(|end| reply.text().contains(end)), "{reply}");
        assert!(reply.text().contains("This "), "of what came, nothing is lost: {reply}");
        let events = reply.events();
        let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        let code = match api {
            Api::Chat | Api::Completions => &last["error"]["code"],
            Api::Messages => &last["error"]["type"],
            Api::Responses => &last["response"]["error"]["code"],
        };
        let expected = if api == Api::Messages { "api_error" } else { "stream_interrupted" };
        assert_eq!(code, expected, "{reply}");
    }
}

pub(crate) async fn quotas_in_the_clients_dialect(world: &World) {
    let figures = async |api: Api, target: &str| {
        let reply = world.send(api.ask(&api.question(target))).await.expect(200);
        ["x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining"]
            .map(|name| reply.header(name).to_owned())
    };
    assert_eq!(figures(Api::Chat, "a/words").await, ["9999", ""]);
    assert_eq!(figures(Api::Messages, "a/words").await, ["", "9999"]);
    assert_eq!(figures(Api::Messages, "anthropic/words").await, ["", "3999"]);
    assert_eq!(figures(Api::Chat, "anthropic/words").await, ["3999", ""]);
    assert_eq!(figures(Api::Chat, "gemini/words").await, ["", ""], "Gemini does not tell");
    let reply = world.send(Api::Chat.ask(&Api::Chat.question("anthropic/words"))).await;
    assert!(reply.header("x-ratelimit-reset-requests").ends_with('s'), "a length and no date: {reply}");
}

/// Checks an answer of `VENDORS` to the usual question, and says what it must have cost, in USD.
#[track_caller]
fn told(api: Api, reply: &Reply, target: &str) -> f64 {
    marked(reply, target, 1);
    let (vendor, model) = target.split_once('/').expect("a target");
    let (_, sandbox) = VENDORS.iter().find(|(name, _)| *name == vendor).expect("one of these");
    let expected = format!(
        "This is a simulated answer by the sandbox vendor {sandbox}, standing in for {model}; no model was called. You \
         asked: \"{QUESTION}\""
    );
    let heard: Heard = api.heard(reply);
    let tokens = expected.split(' ').count() as u64;
    assert_eq!(heard.text, expected, "{api:?} {reply}");
    assert_eq!((heard.model.as_str(), heard.end.as_str()), (model, api.word(End::Stop)), "{api:?} {reply}");
    assert_eq!((heard.input_tokens, heard.output_tokens), (4, tokens), "{api:?} {reply}");
    // Of USD 1 and 2 for a million: 4 tokens in, and so many out.
    let millionths = u32::try_from(4 + 2 * tokens).expect("few words");
    let cost = f64::from(millionths) / 1e6;
    assert_eq!(heard.cost, Some(cost), "{api:?} {reply}");
    cost
}
