//! What holds across the dialect: the documented examples, and that what is written reads the same.

use proptest::prelude::*;
use serde_json::{Number, Value, json};

use super::*;
use crate::dialect::chat::{
    Abilities, Content, Decode, Effort, Encode, Format, Json, Message, Other, Part, Request, Role, Source, Stamp,
    Thinking, Tool, ToolCall, ToolChoice, Unsupported,
};
use crate::price::{Picodollars, Price};
use crate::time::Timestamp;

/// What answers are marked with in these tests.
pub(super) fn stamp() -> Stamp {
    let price = Price {
        input: Picodollars(1_000_000),
        cache_write: Some(Picodollars(1_000_000)),
        cache_write_1h: Some(Picodollars(1_000_000)),
        output: Picodollars(2_000_000),
        ..Price::default()
    };
    Stamp { request_id: "req".into(), at: Timestamp(1_700_000_000_123), price: Some(price), wants_usage: true }
}

/// A target that can do everything.
fn able() -> Abilities {
    Abilities { prefill: true, max_output: 4096, ..Abilities::default() }
}

// === Golden files ===

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/data/golden/openai/", $name))
    };
}

fn value(text: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(text.as_ref()).unwrap()
}

#[test]
fn golden_requests() {
    for (name, client, vendor) in [
        ("tools", golden!("request-tools.json"), golden!("request-tools.written.json")),
        ("image", golden!("request-image.json"), golden!("request-image.written.json")),
        ("schema", golden!("request-schema.json"), golden!("request-schema.written.json")),
        ("old", golden!("request-old.json"), golden!("request-old.written.json")),
    ] {
        let request = read_request(client.as_bytes()).unwrap();
        let written = write_request(&request, "upstream-model", &able()).unwrap();
        assert_eq!(value(&written.body), value(vendor), "{name}");
    }
}

#[test]
fn golden_replies() {
    for (name, vendor, client) in [
        ("openai", golden!("reply-openai.json"), golden!("reply-openai.written.json")),
        ("deepseek", golden!("reply-deepseek.json"), golden!("reply-deepseek.written.json")),
        ("openrouter", golden!("reply-openrouter.json"), golden!("reply-openrouter.written.json")),
        ("mistral", golden!("reply-mistral.json"), golden!("reply-mistral.written.json")),
    ] {
        let reply = read_chat(vendor.as_bytes()).unwrap();
        assert_eq!(value(write_reply(&reply, &stamp())), value(client), "{name}");
    }
}

#[test]
fn golden_streams() {
    for (name, vendor, client) in [
        ("openai", golden!("stream-openai.sse"), golden!("stream-openai.written.sse")),
        ("deepseek", golden!("stream-deepseek.sse"), golden!("stream-deepseek.written.sse")),
        ("gemini", golden!("stream-gemini.sse"), golden!("stream-gemini.written.sse")),
    ] {
        for size in [1, 13, 1 << 20] {
            let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new(stamp()));
            let (mut out, mut usage) = (Vec::new(), None);
            for piece in vendor.as_bytes().chunks(size) {
                decoder.push(bytes::Bytes::copy_from_slice(piece));
                while let Some(delta) = decoder.next_delta().unwrap() {
                    encoder.encode(&delta, &mut out);
                    if let crate::dialect::chat::Delta::Usage(counted) = delta {
                        usage = Some(counted);
                    }
                }
            }
            assert!(decoder.is_done() && decoder.malformed() == 0, "{name}");
            encoder.end(usage, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), client, "{name} in pieces of {size}");
        }
    }
}

// === What is written for a vendor ===

fn text(text: &str) -> Part {
    part(Content::Text(text.into()))
}

fn part(content: Content) -> Part {
    Part { content, cache: None }
}

fn image() -> Part {
    let source = Source::Base64 { media_type: "image/png".into(), data: "QUJD".into() };
    part(Content::Image { source, detail: None })
}

fn saying(role: Role, parts: Vec<Part>) -> Request {
    Request { messages: vec![Message { role, parts }], ..Request::default() }
}

fn written(request: &Request) -> Value {
    value(write_request(request, "m", &able()).unwrap().body)
}

#[test]
fn results_of_tools_are_messages_and_what_they_show_is_shown_by_the_user() {
    let result = |id: &str, parts, is_error| part(Content::ToolResult { id: id.into(), parts, is_error });
    let parts = vec![
        result("a", vec![text("1"), image()], false),
        result("b", vec![text("no such file")], true),
        result("c", vec![text("ERROR 7")], true),
        result("d", vec![], false),
        text("go on"),
    ];
    let expected = json!([
        {"role": "tool", "content": "1", "tool_call_id": "a"},
        {"role": "tool", "content": "Error: no such file", "tool_call_id": "b"},
        {"role": "tool", "content": "ERROR 7", "tool_call_id": "c"},
        {"role": "tool", "content": "", "tool_call_id": "d"},
        {"role": "user", "content": [
            {"type": "text", "text": "The tool call a returned this:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            {"type": "text", "text": "go on"},
        ]},
    ]);
    assert_eq!(written(&saying(Role::User, parts))["messages"], expected);
}

#[test]
fn thinking_goes_back_only_where_a_call_needs_it() {
    let thinking =
        |signature: Option<&str>| part(Content::Thinking { text: "hm".into(), signature: signature.map(Into::into) });
    let call = || {
        let call = ToolCall { id: "a".into(), name: "f".into(), arguments: String::new(), signature: Some("s".into()) };
        part(Content::ToolCall(call))
    };
    let calls = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for (parts, expected) in [
        (
            vec![thinking(None), call()],
            json!({"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": calls}),
        ),
        (
            vec![thinking(Some("s")), part(Content::RedactedThinking("e".into())), text("so"), call()],
            json!({"role": "assistant", "content": "so", "tool_calls": calls}),
        ),
        (vec![thinking(None), text("so")], json!({"role": "assistant", "content": "so"})),
        (vec![], json!({"role": "assistant", "content": ""})),
        (vec![part(Content::Refusal("no".into()))], json!({"role": "assistant", "content": null, "refusal": "no"})),
    ] {
        let mut request = saying(Role::Assistant, parts);
        request.messages.push(Message { role: Role::User, parts: vec![text("go on")] });
        let written = write_request(&request, "m", &able()).unwrap();
        assert_eq!(value(&written.body)["messages"][0], expected);
        assert_eq!(written.dropped, [""; 0]);
    }
}

#[test]
fn what_a_target_cannot_do_is_refused_by_name() {
    let tool = Tool { name: "f".into(), description: None, parameters: None, strict: None, cache: None };
    let plain = saying(Role::User, vec![text("hi")]);
    let with_tools = Request { tools: vec![tool], ..plain.clone() };
    let schema = Format::Schema { name: None, description: None, schema: Json::of(&json!({})), strict: None };
    let with_schema = Request { format: Some(schema), ..plain.clone() };
    let shown = part(Content::ToolResult { id: "a".into(), parts: vec![image()], is_error: false });
    let document = Content::Document { source: Source::Url("https://a/b.pdf".into()), name: None };
    let audio = Other { name: "audio".into(), essential: true };
    let many = Request { stream: true, choices: Some(2), ..plain.clone() };
    for (request, abilities, what) in [
        (with_tools, Abilities { tools: false, ..able() }, "tools"),
        (saying(Role::User, vec![image()]), Abilities { vision: false, ..able() }, "vision"),
        (saying(Role::User, vec![shown]), Abilities { vision: false, ..able() }, "vision"),
        (with_schema, Abilities { json_schema: false, ..able() }, "json_schema"),
        (saying(Role::Assistant, vec![text("{")]), Abilities { prefill: false, ..able() }, "prefill"),
        (saying(Role::User, vec![part(document)]), able(), "messages.document"),
        (saying(Role::User, vec![part(Content::Other("input_audio".into()))]), able(), "messages.input_audio"),
        (Request { others: vec![audio], ..plain.clone() }, able(), "audio"),
        (many, able(), "n"),
    ] {
        assert_eq!(write_request(&request, "m", &abilities), Err(Unsupported(what.into())));
    }
    let others = vec![Other { name: "metadata".into(), essential: false }];
    let written = write_request(&Request { others, top_k: Some(4), ..plain }, "m", &able()).unwrap();
    assert_eq!(written.dropped, ["metadata", "top_k"]);
}

#[test]
fn a_stream_always_tells_its_usage_and_tools_are_spoken_of_only_where_there_are_some() {
    let request = Request {
        stream: true,
        tool_choice: Some(ToolChoice::Auto),
        parallel_tools: Some(true),
        logprobs: Some(0),
        ..saying(Role::User, vec![text("hi")])
    };
    let expected = json!({
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "logprobs": true,
        "stream": true, "stream_options": {"include_usage": true},
    });
    assert_eq!(written(&request), expected);
}

#[test]
fn thinking_is_asked_for_by_effort() {
    let asked = |effort, budget_tokens| {
        let thinking = Some(Thinking { effort, budget_tokens });
        written(&Request { thinking, ..saying(Role::User, vec![text("hi")]) }).get("reasoning_effort").cloned()
    };
    assert_eq!(asked(Some(Effort::Max), None), Some(json!("xhigh")));
    assert_eq!(asked(None, Some(2000)), Some(json!("medium")));
    assert_eq!(asked(None, Some(0)), Some(json!("none")));
    assert_eq!(asked(None, None), None);
}

#[test]
fn what_leaves_something_open_is_asked_for_less_strictly() {
    let open = || serde_json::from_str(r#"{"type":"object","properties":{"x":{}}}"#).unwrap();
    let tool = |strict| Tool { name: "f".into(), description: None, parameters: Some(open()), strict, cache: None };
    let format = |strict| Some(Format::Schema { name: None, description: None, schema: open(), strict });
    let plain = saying(Role::User, vec![text("hi")]);
    for (given, expected, dropped) in
        [(Some(true), json!(false), vec!["strict"]), (Some(false), json!(false), vec![]), (None, Value::Null, vec![])]
    {
        let with_tool = Request { tools: vec![tool(given)], ..plain.clone() };
        let with_format = Request { format: format(given), ..plain.clone() };
        for (request, place) in
            [(with_tool, "/tools/0/function/strict"), (with_format, "/response_format/json_schema/strict")]
        {
            let written = write_request(&request, "m", &able()).unwrap();
            assert_eq!(value(&written.body).pointer(place).unwrap_or(&Value::Null), &expected, "{place}");
            assert_eq!(written.dropped, dropped, "{place}");
        }
    }
}

// === Round trips ===

/// A schema that `OpenAI` can be strict about, as somebody wrote it.
const STRICT: &str = r#"{"type": "object", "properties":{"x":{}}, "required":[ "x" ], "additionalProperties":false}"#;

fn word() -> impl Strategy<Value = String> {
    "[a-z]{1,6}"
}

fn said() -> impl Strategy<Value = String> {
    "\\PC{1,12}"
}

/// What a user may say.
fn users() -> impl Strategy<Value = Part> {
    let source = prop_oneof![
        word().prop_map(|name| Source::Url(format!("https://{name}.example/a.png"))),
        word().prop_map(|data| Source::Base64 { media_type: "image/png".into(), data }),
    ];
    let document = ("[a-z]{1,6}", prop::option::of(word())).prop_map(|(data, name)| Content::Document {
        source: Source::Base64 { media_type: "application/pdf".into(), data },
        name,
    });
    let image = (source, prop::option::of(word())).prop_map(|(source, detail)| Content::Image { source, detail });
    prop_oneof![said().prop_map(Content::Text), image, document].prop_map(part)
}

fn message() -> impl Strategy<Value = Message> {
    let texts = || prop::collection::vec(said().prop_map(Content::Text).prop_map(part), 0..3);
    let call = (word(), word(), said())
        .prop_map(|(id, name, arguments)| part(Content::ToolCall(ToolCall { id, name, arguments, signature: None })));
    let result = (word(), texts()).prop_map(|(id, parts)| part(Content::ToolResult { id, parts, is_error: false }));
    let thinking = said().prop_map(|text| part(Content::Thinking { text, signature: None }));
    let assistant = (prop::option::of(thinking), texts(), prop::option::of(said()), prop::collection::vec(call, 0..3));
    let assistant = assistant.prop_map(|(thinking, texts, refusal, calls)| {
        // Thinking goes back with the calls that it led to, and only there.
        let thinking = thinking.filter(|_| !calls.is_empty());
        let refusal = refusal.map(|text| part(Content::Refusal(text)));
        thinking.into_iter().chain(texts).chain(refusal).chain(calls).collect()
    });
    prop_oneof![
        texts().prop_map(|parts| Message { role: Role::System, parts }),
        prop::collection::vec(users(), 0..4).prop_map(|parts| Message { role: Role::User, parts }),
        prop::collection::vec(result, 1..3).prop_map(|parts| Message { role: Role::User, parts }),
        assistant.prop_map(|parts| Message { role: Role::Assistant, parts }),
    ]
}

/// A conversation in which results of tools follow their calls at once, in one message, as the shared terms have them.
fn messages() -> impl Strategy<Value = Vec<Message>> {
    prop::collection::vec(message(), 1..6).prop_map(|mut messages| {
        let is_results =
            |message: &Message| matches!(message.parts.first(), Some(Part { content: Content::ToolResult { .. }, .. }));
        messages.dedup_by(|next, last| is_results(next) && is_results(last));
        messages
    })
}

fn tools() -> impl Strategy<Value = (Vec<Tool>, Option<ToolChoice>, Option<bool>)> {
    let tool = (word(), prop::option::of(said()), any::<bool>(), prop::option::of(any::<bool>()));
    let tool = tool.prop_map(|(name, description, has_parameters, strict)| {
        let parameters = has_parameters.then(|| serde_json::from_str(STRICT).unwrap());
        Tool { name, description, parameters, strict, cache: None }
    });
    let choice = prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::Forbidden),
        Just(ToolChoice::Required),
        word().prop_map(ToolChoice::Tool),
    ];
    (prop::collection::vec(tool, 0..3), prop::option::of(choice), prop::option::of(any::<bool>())).prop_map(
        |(tools, choice, parallel)| {
            let has_tools = !tools.is_empty();
            (tools, choice.filter(|_| has_tools), parallel.filter(|_| has_tools))
        },
    )
}

fn format() -> impl Strategy<Value = Option<Format>> {
    let schema =
        (word(), prop::option::of(said()), prop::option::of(any::<bool>())).prop_map(|(name, description, strict)| {
            let schema = serde_json::from_str(STRICT).unwrap();
            Format::Schema { name: Some(name), description, schema, strict }
        });
    prop::option::of(prop_oneof![Just(Format::Json), schema])
}

fn number() -> impl Strategy<Value = Option<Number>> {
    prop::option::of(prop_oneof![
        (0_u32..200).prop_map(|hundredths| Number::from_f64(f64::from(hundredths) / 100.0).unwrap()),
        (0_u32..3).prop_map(Number::from),
        prop::num::f64::NORMAL.prop_map(|any| Number::from_f64(any).unwrap()),
    ])
}

/// All that `OpenAI` has a form for.
fn request() -> impl Strategy<Value = Request> {
    let effort = prop::sample::select(vec![
        Effort::None,
        Effort::Minimal,
        Effort::Low,
        Effort::Medium,
        Effort::High,
        Effort::Max,
    ]);
    let thinking = prop::option::of(effort.prop_map(|effort| Thinking { effort: Some(effort), budget_tokens: None }));
    let numbers = (number(), number(), number(), number());
    let counts = (
        prop::option::of(1..9999_u64),
        prop::option::of(any::<i64>()),
        prop::option::of(1..5_u32),
        prop::option::of(0..20_u32),
    );
    let rest = (prop::collection::vec(said(), 0..3), thinking, prop::option::of(word()), any::<bool>());
    (messages(), tools(), format(), numbers, counts, rest).prop_map(
        |(messages, (tools, tool_choice, parallel_tools), format, numbers, counts, (stop, thinking, user, stream))| {
            let (temperature, top_p, frequency_penalty, presence_penalty) = numbers;
            let (max_tokens, seed, choices, logprobs) = counts;
            let choices = choices.filter(|choices| !stream || *choices == 1);
            Request {
                messages,
                tools,
                tool_choice,
                parallel_tools,
                format,
                max_tokens,
                stop,
                temperature,
                top_p,
                top_k: None,
                frequency_penalty,
                presence_penalty,
                seed,
                choices,
                logprobs,
                thinking,
                user,
                stream,
                others: vec![],
            }
        },
    )
}

proptest! {
    #[test]
    fn a_request_that_is_written_reads_the_same(request in request()) {
        let written = write_request(&request, "m", &able()).unwrap();
        prop_assert_eq!(&written.dropped, &[""; 0]);
        prop_assert_eq!(read_request(&written.body).unwrap(), request);
    }
}
