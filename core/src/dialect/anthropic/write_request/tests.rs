//! Requests of other dialects, as Anthropic takes them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::chat::{
    Cache, Content, Effort, Message, Other, Part, Role, Source, Thinking, Tool, ToolCall, ToolChoice,
};

/// A model of today.
const LATER: Abilities = Abilities {
    tools: true,
    vision: true,
    json_schema: true,
    prefill: false,
    thinking: true,
    thinking_off: true,
    forced_tools: true,
    max_output: 8192,
};
/// One up to Claude 4.5.
const EARLY: Abilities = Abilities { prefill: true, ..LATER };

fn part(content: Content) -> Part {
    Part { content, cache: None }
}

fn says(role: Role, content: impl IntoIterator<Item = Content>) -> Message {
    Message { role, parts: content.into_iter().map(part).collect() }
}

fn text(text: &str) -> Content {
    Content::Text(text.into())
}

fn call(id: &str, arguments: &str) -> Content {
    Content::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into(), signature: None })
}

fn result(id: &str, parts: Vec<Part>) -> Content {
    Content::ToolResult { id: id.into(), parts, is_error: false }
}

fn image(media_type: &str) -> Content {
    let source = Source::Base64 { media_type: media_type.into(), data: "AAAA".into() };
    Content::Image { source, detail: None }
}

fn tool() -> Tool {
    Tool { name: "f".into(), description: None, parameters: None, strict: None, cache: None }
}

/// A request that says hello, and what `change` makes of it.
fn hello(change: impl FnOnce(&mut Request)) -> Request {
    let mut request = Request { messages: vec![says(Role::User, [text("Hello")])], ..Request::default() };
    change(&mut request);
    request
}

fn write(request: &Request, abilities: &Abilities) -> (Value, Vec<String>) {
    let written = write_request(request, "upstream", abilities).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), written.dropped)
}

fn refusal(request: &Request, abilities: &Abilities) -> String {
    write_request(request, "upstream", abilities).unwrap_err().0
}

#[test]
fn the_smallest_request() {
    let written = write_request(&hello(|_| ()), "upstream", &LATER).unwrap();
    let expected = r#"{"model":"upstream","max_tokens":8192,"messages":[{"role":"user","content":[{"type":"text","text":"Hello"}]}]}"#;
    assert_eq!((&written.body[..], &written.dropped[..]), (expected.as_bytes(), &[][..]));
}

#[test]
fn what_has_no_form_is_named_or_refused() {
    let request = hello(|request| {
        request.seed = Some(1);
        request.frequency_penalty = Number::from_f64(0.5);
        request.presence_penalty = Number::from_f64(0.0);
        request.logprobs = Some(0);
        request.choices = Some(1);
        request.user = Some("ann@example.com".into());
        request.stop = vec![" ".into(), "END".into()];
        request.others = vec![Other { name: "logit_bias".into(), essential: false }];
    });
    let (body, dropped) = write(&request, &LATER);
    assert_eq!(dropped, ["frequency_penalty", "seed", "logprobs", "stop", "user", "logit_bias"]);
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert!(body.get("metadata").is_none());

    let no_tools = Abilities { tools: false, ..LATER };
    let no_vision = Abilities { vision: false, ..LATER };
    let no_schema = Abilities { json_schema: false, ..LATER };
    let schema = Format::Schema { name: None, description: None, schema: Json::of(&json!({})), strict: None };
    let with = |content: Content| hello(|request| request.messages.push(says(Role::User, [content])));
    for (request, abilities, name) in [
        (hello(|request| request.choices = Some(2)), LATER, "n"),
        (hello(|request| request.format = Some(Format::Json)), LATER, "response_format"),
        (hello(|request| request.format = Some(schema)), no_schema, "json_schema"),
        (hello(|request| request.tools.push(tool())), no_tools, "tools"),
        (with(result("a", vec![])), no_tools, "tools"),
        (with(image("image/png")), no_vision, "vision"),
        (with(result("a", vec![part(image("image/png"))])), no_vision, "vision"),
        (with(image("image/bmp")), LATER, "messages.image"),
        (with(Content::Other("input_audio".into())), LATER, "messages.input_audio"),
        (with(call("a", "[1]")), LATER, "messages.tool_calls.arguments"),
        (with(call("a", "{\"a\":")), LATER, "messages.tool_calls.arguments"),
        (with(result("a", vec![part(call("b", "{}"))])), LATER, "messages.tool"),
        (hello(|request| request.messages[0].parts[0] = part(text(" \n"))), LATER, "messages"),
        (hello(|request| request.messages.push(says(Role::Assistant, [text("So")]))), LATER, "prefill"),
        (hello(|request| request.messages.push(says(Role::Assistant, [image("image/png")]))), LATER, "messages.image"),
        (
            hello(|request| request.others = vec![Other { name: "modalities".into(), essential: true }]),
            LATER,
            "modalities",
        ),
        (
            hello(|request| request.tools.push(Tool { parameters: Some(Json::of(&json!([]))), ..tool() })),
            LATER,
            "tools",
        ),
    ] {
        assert_eq!(refusal(&request, &abilities), name);
    }
}

#[test]
fn a_conversation_alternates_and_begins_where_the_app_has_spoken() {
    let signed = |text: &str| Content::Thinking { text: text.into(), signature: Some("sig".into()) };
    let request = hello(|request| {
        request.messages = vec![
            says(Role::System, [text("Be brief.")]),
            says(Role::User, [text("a"), text("")]),
            says(Role::Assistant, [text(" ")]),
            says(Role::User, [text("b"), image("image/JPG")]),
            says(Role::Assistant, [signed(""), Content::RedactedThinking("r".into())]),
            says(Role::Assistant, [Content::Thinking { text: "lost".into(), signature: None }, call("x", "")]),
            says(Role::System, [text("Hurry.")]),
            says(Role::User, [text("c"), result("x", vec![part(text("1")), part(text(""))])]),
            says(Role::User, [Content::Refusal("No.".into()), result("y:1", vec![part(image("image/png"))])]),
        ];
    });
    let png = json!({"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}});
    let expected = json!([
        {"role":"user","content":[
            {"type":"text","text":"a"},
            {"type":"text","text":"b"},
            {"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AAAA"}},
        ]},
        {"role":"assistant","content":[
            {"type":"thinking","thinking":"","signature":"sig"},
            {"type":"redacted_thinking","data":"r"},
            {"type":"tool_use","id":"x","name":"f","input":{}},
        ]},
        {"role":"user","content":[
            {"type":"tool_result","tool_use_id":"x","content":[{"type":"text","text":"1"}]},
            {"type":"tool_result","tool_use_id":"y_1","content":[png]},
            {"type":"text","text":"Hurry."},
            {"type":"text","text":"c"},
            {"type":"text","text":"No."},
        ]},
    ]);
    let (body, dropped) = write(&request, &LATER);
    assert_eq!(body["messages"], expected);
    assert_eq!(body["system"], json!([{"type":"text","text":"Be brief."}]));
    assert!(dropped.is_empty());

    let alone = hello(|request| request.messages[0].role = Role::System);
    assert_eq!(
        write(&alone, &LATER).0["messages"],
        json!([{"role":"user","content":[{"type":"text","text":"Hello"}]}])
    );
}

#[test]
fn hints_for_the_cache_go_where_they_were() {
    let request = hello(|request| {
        request.messages[0].parts[0].cache = Some(Cache::Long);
        request.tools = vec![Tool { cache: Some(Cache::Short), ..tool() }];
    });
    let (body, _) = write(&request, &LATER);
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], json!({"type":"ephemeral","ttl":"1h"}));
    assert_eq!(body["tools"][0]["cache_control"], json!({"type":"ephemeral"}));
}

#[test]
fn tools_and_which_of_them() {
    let choose = |choice, parallel| {
        let request = hello(|request| {
            request.tools = vec![tool()];
            request.tool_choice = choice;
            request.parallel_tools = parallel;
        });
        write(&request, &LATER).0.get("tool_choice").cloned()
    };
    assert_eq!(choose(None, Some(true)), None);
    assert_eq!(choose(None, Some(false)), Some(json!({"type":"auto","disable_parallel_tool_use":true})));
    assert_eq!(choose(Some(ToolChoice::Auto), None), Some(json!({"type":"auto"})));
    assert_eq!(choose(Some(ToolChoice::Forbidden), Some(false)), Some(json!({"type":"none"})));
    assert_eq!(choose(Some(ToolChoice::Required), None), Some(json!({"type":"any"})));
    assert_eq!(choose(Some(ToolChoice::Tool("f".into())), None), Some(json!({"type":"tool","name":"f"})));
    let choice_of_none = hello(|request| request.tool_choice = Some(ToolChoice::Required));
    assert!(write(&choice_of_none, &LATER).0.get("tool_choice").is_none());

    let strict = hello(|request| request.tools = vec![Tool { strict: Some(true), ..tool() }]);
    assert_eq!(write(&strict, &LATER).0["tools"][0]["strict"], json!(true));
    let (body, dropped) = write(&strict, &Abilities { json_schema: false, ..LATER });
    assert!(body["tools"][0].get("strict").is_none() && dropped == ["strict"]);
    for (parameters, schema) in [
        (json!({}), json!({"type":"object"})),
        (json!({"properties":{}}), json!({"type":"object","properties":{}})),
        (json!({"type":"object","x":1}), json!({"type":"object","x":1})),
    ] {
        let request = hello(|request| request.tools = vec![Tool { parameters: Some(Json::of(&parameters)), ..tool() }]);
        assert_eq!(write(&request, &LATER).0["tools"][0]["input_schema"], schema);
    }
    // No member stands there twice, of which the vendor might see the one and we the other.
    let null = Json::of(&json!({"type": null}));
    let request = hello(|request| request.tools = vec![Tool { parameters: Some(null.clone()), ..tool() }]);
    let body = write_request(&request, "claude", &LATER).unwrap().body;
    let written = format!("\"input_schema\":{}", null.text());
    assert!(String::from_utf8_lossy(&body).contains(&written));
}

#[test]
fn early_models_are_sampled_as_asked_and_later_ones_as_they_like() {
    let number = Number::from_f64;
    for (temperature, top_p, abilities, written, left_out) in [
        (number(0.7), None, EARLY, json!([0.7, null]), vec![]),
        (number(1.5), None, EARLY, json!([1, null]), vec!["temperature"]),
        (number(0.0), number(0.9), EARLY, json!([0.0, null]), vec!["top_p"]),
        (None, number(0.9), EARLY, json!([null, 0.9]), vec![]),
        (number(0.7), number(0.9), LATER, json!([null, null]), vec!["temperature", "top_p"]),
        (number(1.0), number(1.0), LATER, json!([null, null]), vec![]),
    ] {
        let request = hello(|request| (request.temperature, request.top_p) = (temperature.clone(), top_p.clone()));
        let (body, dropped) = write(&request, &abilities);
        assert_eq!(
            (json!([body["temperature"], body["top_p"]]), dropped),
            (written, left_out.iter().map(|name| (*name).to_owned()).collect())
        );
    }
    let request = hello(|request| request.top_k = Some(40));
    assert_eq!(write(&request, &EARLY).0["top_k"], json!(40));
    assert_eq!(write(&request, &LATER).1, ["top_k"]);
}

#[test]
fn thinking_as_the_model_takes_it() {
    let effort = |effort| Some(Thinking { effort: Some(effort), budget_tokens: None });
    let budget = |tokens| Some(Thinking { effort: None, budget_tokens: Some(tokens) });
    let adaptive = json!({"type":"adaptive","display":"summarized"});
    let enabled = |tokens: u64| json!({"type":"enabled","budget_tokens":tokens,"display":"summarized"});
    let off = json!({"type":"disabled"});
    for (thinking, max_tokens, abilities, written, level) in [
        (None, None, LATER, json!(null), json!(null)),
        (Some(Thinking::default()), None, LATER, adaptive.clone(), json!(null)),
        (effort(Effort::Minimal), None, LATER, adaptive.clone(), json!("low")),
        (effort(Effort::Max), None, LATER, adaptive.clone(), json!("max")),
        (budget(5000), None, LATER, adaptive.clone(), json!("medium")),
        (effort(Effort::None), None, LATER, off.clone(), json!(null)),
        (budget(0), None, EARLY, off.clone(), json!(null)),
        (budget(5000), None, EARLY, enabled(5000), json!(null)),
        (budget(10), None, EARLY, enabled(1024), json!(null)),
        (Some(Thinking::default()), Some(9000), EARLY, enabled(8192), json!(null)),
        (effort(Effort::High), None, EARLY, enabled(4096), json!(null)),
    ] {
        let request = hello(|request| (request.thinking, request.max_tokens) = (thinking, max_tokens));
        let (body, dropped) = write(&request, &abilities);
        assert_eq!((&body["thinking"], &body["output_config"]["effort"]), (&written, &level), "{thinking:?}");
        assert!(dropped.is_empty());
    }
}

#[test]
fn thinking_gives_way_to_what_it_cannot_go_with() {
    let thinks = |change: fn(&mut Request)| {
        hello(|request| {
            request.thinking = Some(Thinking { effort: Some(Effort::High), budget_tokens: None });
            request.temperature = Number::from_f64(0.5);
            change(request);
        })
    };
    let forced = thinks(|request| {
        request.tools = vec![tool()];
        request.tool_choice = Some(ToolChoice::Required);
    });
    let small = thinks(|request| request.max_tokens = Some(2000));
    let prefilled = thinks(|request| request.messages.push(says(Role::Assistant, [text("So: ")])));
    let lost = thinks(|request| {
        request.messages.push(says(Role::Assistant, [call("a", "{}")]));
        request.messages.push(says(Role::User, [result("a", vec![])]));
    });
    for request in [&forced, &small, &prefilled, &lost] {
        let (body, dropped) = write(request, &EARLY);
        assert_eq!((&body["thinking"], dropped), (&json!({"type":"disabled"}), vec!["reasoning_effort".to_owned()]));
        assert_eq!(body["temperature"], json!(0.5), "without thinking there may be a temperature");
    }
    assert_eq!(write(&prefilled, &EARLY).0["messages"][1]["content"][0]["text"], json!("So:"));
    // A later model thinks on without what it thought before.
    let (body, dropped) = write(&lost, &LATER);
    assert_eq!((&body["thinking"]["type"], dropped), (&json!("adaptive"), vec!["temperature".to_owned()]));
    // One that thinks unasked could not be forced.
    let forced = hello(|request| {
        request.tools = vec![tool()];
        request.tool_choice = Some(ToolChoice::Tool("f".into()));
    });
    assert_eq!(write(&forced, &LATER).0["thinking"], json!({"type":"disabled"}));
    assert!(write(&forced, &EARLY).0.get("thinking").is_none());
}

#[test]
fn schemas_are_closed_and_those_that_are_open_by_intent_are_not_asked_for() {
    let (closable, open) = (json!({"type":"object","properties":{"a":{}}}), json!({"type":"object"}));
    let closed = json!({"type":"object","properties":{"a":{}},"additionalProperties":false});
    let formed = |schema: &Value, strict| {
        let format = Format::Schema { name: None, description: None, schema: Json::of(schema), strict };
        hello(|request| request.format = Some(format))
    };
    for strict in [None, Some(false), Some(true)] {
        let (body, dropped) = write(&formed(&closable, strict), &LATER);
        assert_eq!((&body["output_config"]["format"]["schema"], dropped.len()), (&closed, 0));
        assert_eq!(refusal(&formed(&open, strict), &LATER), "json_schema");
    }
    let called = |schema: &Value, strict| {
        let tool = Tool { parameters: Some(Json::of(schema)), strict, ..tool() };
        write(&hello(|request| request.tools = vec![tool]), &LATER)
    };
    let (body, dropped) = called(&closable, Some(true));
    assert_eq!((&body["tools"][0]["input_schema"], dropped.len()), (&closed, 0));
    assert_eq!(called(&closable, None).0["tools"][0]["input_schema"], closable, "nobody asked to be strict");
    let (body, dropped) = called(&open, Some(true));
    assert_eq!((&body["tools"][0]["input_schema"], dropped), (&open, vec!["strict".to_owned()]));
    assert_eq!(body["tools"][0].get("strict"), None);
}

/// What `OpenAI`'s clients ask, and what Anthropic is asked: `tests/data/golden/anthropic-vendor/NAME.{chat,messages}.json`.
macro_rules! golden {
    ($($name:literal),*) => {
        [$((
            $name,
            include_str!(concat!("../../../../../tests/data/golden/anthropic-vendor/", $name, ".chat.json")),
            include_str!(concat!("../../../../../tests/data/golden/anthropic-vendor/", $name, ".messages.json")),
        )),*]
    };
}

#[test]
fn documented_requests() {
    for (name, chat, messages) in golden!["conversation", "tools", "schema"] {
        let request = crate::dialect::openai::read_request(chat.as_bytes()).unwrap();
        let (body, dropped) = write(&request, &LATER);
        assert_eq!(body, serde_json::from_str::<Value>(messages).unwrap(), "{name}");
        let expected: &[&str] = match name {
            "conversation" => &["frequency_penalty", "seed", "logprobs", "temperature", "stop", "messages.name"],
            _ => &[],
        };
        assert_eq!(dropped, expected, "{name}");
    }
}

#[test]
fn what_anthropic_can_say_comes_back_as_it_was() {
    for (name, _, messages) in golden!["conversation", "tools", "schema"] {
        let request = crate::dialect::anthropic::read_request(messages.as_bytes()).unwrap();
        let (body, _) = write(&request, &LATER);
        assert_eq!(body, serde_json::from_str::<Value>(messages).unwrap(), "{name}");
    }
}

fn content() -> impl Strategy<Value = Content> {
    let texts = prop::sample::select(vec!["", " ", "a", "b\n", "\u{e9}"]);
    let ids = prop::sample::select(vec!["", "a", "b:1"]);
    prop_oneof![
        texts.clone().prop_map(text),
        texts.clone().prop_map(|text| Content::Thinking { text: text.into(), signature: None }),
        texts.prop_map(|text| Content::Thinking { text: text.into(), signature: Some("s".into()) }),
        ids.clone().prop_map(|id| call(id, "{}")),
        ids.prop_map(|id| result(id, vec![part(text("r"))])),
    ]
}

proptest! {
    /// Whatever a conversation is like, what is written is one that Anthropic takes.
    #[test]
    fn turns_alternate_and_hold_what_they_may(messages in prop::collection::vec(
        (prop::sample::select(vec![Role::System, Role::User, Role::Assistant]), prop::collection::vec(content(), 0..4)), 0..8,
    )) {
        let messages = messages.into_iter().map(|(role, content)| says(role, content)).collect();
        let request = Request { messages, ..Request::default() };
        if let Ok(written) = write_request(&request, "upstream", &EARLY) {
            let body: Value = serde_json::from_slice(&written.body).unwrap();
            let turns = body["messages"].as_array().unwrap();
            prop_assert!(!turns.is_empty());
            for pair in turns.windows(2) {
                prop_assert_ne!(&pair[0]["role"], &pair[1]["role"]);
            }
            for turn in turns {
                let blocks = turn["content"].as_array().unwrap();
                prop_assert!(!blocks.is_empty());
                let is_result: Vec<bool> = blocks.iter().map(|block| block["type"] == "tool_result").collect();
                if turn["role"] == "user" {
                    prop_assert!(is_result.windows(2).all(|pair| pair[0] || !pair[1]), "results first");
                }
                for block in blocks.iter().filter(|block| block["type"] == "text") {
                    prop_assert!(!block["text"].as_str().unwrap().trim().is_empty());
                }
            }
        }
    }
}
