//! Requests as Anthropic documents them, and as nobody should send them.

use proptest::prelude::*;

use super::*;
use crate::dialect::chat::{Cache, Content, Other, Part, Source, Tool, ToolCall, ToolChoice};

const CONVERSATION: &str = include_str!("../../../../../tests/data/golden/anthropic-client/request-conversation.json");
const ONLY_HERE: &str = include_str!("../../../../../tests/data/golden/anthropic-client/request-only-here.json");
const COUNT: &str = include_str!("../../../../../tests/data/golden/anthropic-client/request-count.json");

fn part(content: Content) -> Part {
    Part { content, cache: None }
}

fn cached(content: Content, cache: Cache) -> Part {
    Part { content, cache: Some(cache) }
}

fn text(text: &str) -> Content {
    Content::Text(text.into())
}

fn base64(media_type: &str, data: &str) -> Source {
    Source::Base64 { media_type: media_type.into(), data: data.into() }
}

fn url(url: &str) -> Source {
    Source::Url(url.into())
}

fn image(source: Source) -> Content {
    Content::Image { source, detail: None }
}

fn thinking(text: &str, signature: Option<&str>) -> Content {
    Content::Thinking { text: text.into(), signature: signature.map(str::to_owned) }
}

fn call(id: &str, name: &str, arguments: &str) -> Content {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    Content::ToolCall(ToolCall { id, name, arguments, signature: None })
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Content {
    Content::ToolResult { id: id.into(), parts, is_error }
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

/// The messages of [`CONVERSATION`].
fn conversation() -> Vec<Message> {
    let system = vec![part(text("You are a gardener.")), cached(text("The whole catalogue…"), Cache::Long)];
    let question = vec![
        part(image(base64("image/png", "iVBORw0KGgo="))),
        part(image(url("https://example.com/fern.jpg"))),
        part(text("A survey of 2019.")),
        part(Content::Document { source: base64("application/pdf", "JVBERi0="), name: Some("Soil".into()) }),
        part(Content::Document { source: url("https://example.com/peat.pdf"), name: None }),
        part(text("Notes")),
        part(text("Ferns like shade.")),
        part(text("First leaf.")),
        cached(text("Second leaf."), Cache::Short),
        part(text("Will it grow here?")),
    ];
    let calls = vec![
        part(thinking("I need the weather.", Some("EqQB"))),
        part(thinking("As another vendor thought.", None)),
        part(Content::RedactedThinking("EmwK".into())),
        part(text("Let me look.")),
        part(call("toolu_01", "weather", r#"{"place": "Kyoto",  "days": [1, 2]}"#)),
        part(call("toolu_02", "clock", "{}")),
    ];
    let clock = vec![part(text("It stands still:")), part(image(base64("image/gif", "R0lGOD==")))];
    let results = vec![
        part(result("toolu_01", vec![part(text("18 degrees"))], false)),
        cached(result("toolu_02", clock, true), Cache::Short),
        part(result("toolu_03", Vec::new(), false)),
        part(text("Well?")),
    ];
    vec![
        Message { role: Role::System, parts: system },
        Message { role: Role::User, parts: question },
        Message { role: Role::Assistant, parts: calls },
        Message { role: Role::User, parts: results },
        Message { role: Role::System, parts: vec![part(text("Answer in one line."))] },
        Message { role: Role::Assistant, parts: vec![cached(text("It will"), Cache::Short)] },
    ]
}

#[test]
fn a_conversation_with_all_that_other_vendors_know() {
    let weather = r#"{"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "array"}}, "required": ["place"]}"#;
    let answer = r#"{"type": "object", "properties": {"answer": {"type": "boolean"}}, "additionalProperties": false}"#;
    let tools = vec![
        Tool {
            name: "weather".into(),
            description: Some("The weather of a place".into()),
            parameters: Some(json(weather)),
            strict: Some(true),
            cache: Some(Cache::Short),
        },
        Tool {
            name: "clock".into(),
            description: None,
            parameters: Some(json(r#"{"type": "object"}"#)),
            strict: None,
            cache: None,
        },
    ];
    let expected = Request {
        messages: conversation(),
        tools,
        tool_choice: Some(ToolChoice::Required),
        parallel_tools: Some(false),
        format: Some(Format::Schema { name: None, description: None, schema: json(answer), strict: Some(true) }),
        max_tokens: Some(4096),
        stop: vec!["END".into(), "\n\nHuman:".into()],
        temperature: serde_json::Number::from_f64(0.7),
        top_p: serde_json::Number::from_f64(0.9),
        top_k: Some(40),
        thinking: Some(Thinking { effort: Some(Effort::Max), budget_tokens: Some(2048) }),
        user: Some("13803d75-b4b5-4c3e-b2a2-6f21399b021b".into()),
        stream: true,
        ..Request::default()
    };
    assert_eq!(read_request(CONVERSATION.as_bytes()), Ok(expected));
}

#[test]
fn what_only_anthropic_has_is_named() {
    let request = read_request(ONLY_HERE.as_bytes()).unwrap();
    let blocks: Vec<_> = request.messages.iter().flat_map(|message| &message.parts).map(|part| &part.content).collect();
    let names = [
        "search_result",
        "image.file",
        "document.file",
        "container_upload",
        "Which is it?",
        "server_tool_use",
        "web_search_tool_result",
        "Go on.",
    ];
    for (content, name) in blocks.iter().zip(names) {
        assert!(matches!(content, Content::Other(found) | Content::Text(found) if found == name), "{content:?}");
    }
    assert_eq!(blocks.len(), names.len());
    let (essential, others): (Vec<Other>, Vec<Other>) = request.others.into_iter().partition(|other| other.essential);
    let names = |others: Vec<Other>| others.into_iter().map(|other| other.name).collect::<Vec<_>>();
    let expected = [
        "container",
        "inference_geo",
        "mcp_servers",
        "tools.bash",
        "tools.computer",
        "tools.mcp_toolset",
        "tools.web_search",
    ];
    assert_eq!(names(essential), expected);
    let expected = [
        "context_management",
        "document.citations",
        "image.transformations",
        "output_config.task_budget",
        "service_tier",
        "something_new",
        "speed",
        "thinking.display",
        "tools.allowed_callers",
        "tools.defer_loading",
        "tools.input_examples",
    ];
    assert_eq!(names(others), expected);
    assert_eq!(request.thinking, Some(Thinking { effort: Some(Effort::Low), budget_tokens: None }));
    assert_eq!((request.user, request.tools.len()), (None, 1));
}

#[test]
fn a_count_needs_no_limit() {
    let request = read_count_request(COUNT.as_bytes()).unwrap();
    assert_eq!((request.max_tokens, request.messages.len(), request.tools.len()), (None, 2, 1));
    assert_eq!(request.messages[0], Message { role: Role::System, parts: vec![part(text("You are a scientist"))] });
    assert_eq!(read_request(COUNT.as_bytes()).unwrap_err().param, Some("max_tokens"));
}

/// A request with `extra` members beside what it must have.
fn with(extra: &str) -> Result<Request, BadRequest> {
    let comma = if extra.is_empty() { "" } else { "," };
    read_request(
        format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"a"}}]{comma}{extra}}}"#)
            .as_bytes(),
    )
}

#[test]
fn ways_to_think() {
    let thinking = |extra: &str| with(extra).unwrap().thinking;
    let words = |effort| Some(Thinking { effort: Some(effort), budget_tokens: None });
    assert_eq!(thinking(""), None);
    assert_eq!(thinking(r#""output_config":{"effort":"medium"}"#), words(Effort::Medium));
    assert_eq!(thinking(r#""thinking":{"type":"adaptive"}"#), Some(Thinking::default()));
    assert_eq!(thinking(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"max"}"#), words(Effort::Max));
    let off = thinking(r#""thinking":{"type":"disabled"},"output_config":{"effort":"high"}"#).unwrap();
    assert!(off.is_off());
    assert_eq!(
        with(r#""thinking":{"type":"enabled","budget_tokens":1024,"display":"summarized"}"#).unwrap().others,
        []
    );
}

#[test]
fn the_format_of_old_is_read_too() {
    let request = with(r#""output_format":{"type":"json_schema","schema":{"type":"object"}}"#).unwrap();
    assert!(matches!(request.format, Some(Format::Schema { schema, .. }) if schema.text() == r#"{"type":"object"}"#));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let table = [
        ("{}", "You must provide `max_tokens`.", Some("max_tokens")),
        (r#"{"max_tokens":1}"#, "You must provide `messages`.", Some("messages")),
        (
            r#"{"max_tokens":"1","messages":[]}"#,
            "`max_tokens` cannot be read: invalid type: string \"1\", expected u64.",
            Some("max_tokens"),
        ),
        (
            r#"{"max_tokens":1,"messages":[]}"#,
            "At `messages`: It must be a list of at least one message.",
            Some("messages"),
        ),
        (
            r#"{"max_tokens":1,"messages":["a"]}"#,
            "At `messages.0`: It must be an object of at most 256 members.",
            Some("messages"),
        ),
        (
            r#"{"max_tokens":1,"messages":[{"role":"tool","content":"a"}]}"#,
            "At `messages.0.role`: It must be `user`, `assistant` or `system`.",
            Some("messages"),
        ),
        (
            r#"{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
            "At `messages.0.content.0`: You must provide `text`.",
            Some("messages"),
        ),
        (
            r#"{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[1]}]}]}"#,
            "At `messages.0.content.0.content.0`: It must be an object of at most 256 members.",
            Some("messages"),
        ),
        (
            r#"{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url"}}]}]}"#,
            "At `messages.0.content.0.source`: You must provide `url`.",
            Some("messages"),
        ),
        (
            r#"{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":"{}"}]}]}"#,
            "At `messages.0.content.0.input`: It must be an object.",
            Some("messages"),
        ),
        (
            r#"{"max_tokens":1,"system":1,"messages":[]}"#,
            "At `system`: It must be a text or a list of blocks.",
            Some("system"),
        ),
    ];
    for (body, message, param) in table {
        assert_eq!(read_request(body.as_bytes()).unwrap_err(), BadRequest { message: message.into(), param }, "{body}");
    }
    let params = [
        (r#""tools":{}"#, "tools"),
        (r#""tools":[{"name":"f"}]"#, "tools"),
        (r#""tool_choice":"auto""#, "tool_choice"),
        (r#""thinking":{"type":"enabled"}"#, "thinking"),
        (r#""thinking":{"type":"some"}"#, "thinking"),
        (r#""output_config":{"effort":"huge"}"#, "output_config"),
        (r#""output_config":{"format":{"type":"xml"}}"#, "output_config"),
        (r#""output_format":{"type":"json_schema"}"#, "output_format"),
        (r#""metadata":{"user_id":1}"#, "metadata"),
        (r#""stop_sequences":"END""#, "stop_sequences"),
        (r#""temperature":"1""#, "temperature"),
        (r#""cache_control":"ephemeral""#, "cache_control"),
        (r#""stream":1"#, "stream"),
    ];
    for (extra, param) in params {
        assert_eq!(with(extra).unwrap_err().param, Some(param), "{extra}");
    }
}

#[test]
fn blocks_do_not_nest_without_end() {
    let document = |inner: &str| format!(r#"{{"type":"document","source":{{"type":"content","content":[{inner}]}}}}"#);
    let nested = (0..10_000).fold(r#"{"type":"text","text":"a"}"#.to_owned(), |inner, _| document(&inner));
    let body = format!(r#"{{"max_tokens":1,"messages":[{{"role":"user","content":[{nested}]}}]}}"#);
    let request = read_request(body.as_bytes()).unwrap();
    assert_eq!(request.messages[0].parts, [part(Content::Other("document".into()))]);
}

proptest! {
    /// Any bytes are read or refused.
    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_request(&bytes);
    }

    /// A request that is cut, or in which a byte is another, is read or refused.
    #[test]
    fn a_damaged_request_is_an_answer(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        for body in [CONVERSATION, ONLY_HERE] {
            let mut body = body.as_bytes().to_vec();
            let at = at.index(body.len());
            if cut { body.truncate(at) } else { body[at] = byte }
            let read = read_request(&body);
            prop_assert!(!cut || at + 1 >= body.len() || read.is_err());
        }
    }
}
