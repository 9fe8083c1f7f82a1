//! The conversation of a chat completion request, read into the shared terms.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read_request::{Others, cache};
use super::reasoning;
use crate::dialect::BadRequest;
use crate::dialect::chat::{Cache, Content, Message, Part, Role, Source, ToolCall};
use crate::dialect::fields::{Fields, unreadable};

/// Reads the messages. Results of tools that follow each other become one message of the user's.
pub(super) fn read_messages(wires: Vec<Fields<'_>>, others: &mut Others) -> Result<Vec<Message>, BadRequest> {
    let mut messages: Vec<Message> = Vec::with_capacity(wires.len());
    // Whether the last message holds nothing but results.
    let mut gathers_results = false;
    // Calls of old have no ids. Each is answered before the next, so a count serves.
    let mut old_calls = 0_u32;
    for (at, mut wire) in wires.into_iter().enumerate() {
        let role: String = wire.require("role").map_err(|bad| within(at, &bad))?;
        let mut result = None;
        match role.as_str() {
            "system" | "developer" => messages.push(message(Role::System, content(at, &mut wire)?)),
            "user" => messages.push(message(Role::User, content(at, &mut wire)?)),
            "assistant" => {
                let parts = assistant(at, &mut wire, &mut old_calls)?;
                messages.push(message(Role::Assistant, parts));
            }
            "tool" => result = Some(wire.require("tool_call_id").map_err(|bad| within(at, &bad))?),
            "function" => result = Some(old_call_id(old_calls)),
            role => {
                let message = format!("`messages[{at}].role` is \"{role}\", which is none that a chat has.");
                return Err(BadRequest { message, param: Some("messages") });
            }
        }
        let is_result = result.is_some();
        if let Some(id) = result {
            // The tool's name is known by its call.
            wire.take_raw("name");
            let cache = wire.take_raw("cache_control").and_then(cache);
            let content = Content::ToolResult { id, parts: content(at, &mut wire)?, is_error: false };
            let part = Part { content, cache };
            match messages.last_mut() {
                Some(last) if gathers_results => last.parts.push(part),
                _ => messages.push(message(Role::User, vec![part])),
            }
        }
        gathers_results = is_result;
        for (name, _) in wire.rest().filter(|(name, _)| !is_of_an_answer(name)) {
            others.note(&format!("messages.{name}"));
        }
    }
    Ok(messages)
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts }
}

/// What stands in an answer alone: SDKs send answers back whole.
fn is_of_an_answer(name: &str) -> bool {
    matches!(name, "annotations" | "role" | "id" | "created" | "index" | "finish_reason")
}

fn within(at: usize, bad: &BadRequest) -> BadRequest {
    BadRequest { message: format!("In `messages[{at}]`: {}", bad.message), param: Some("messages") }
}

// === The model's messages ===

#[derive(Deserialize)]
struct WireCall<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    function: Option<WireFunction>,
    #[serde(borrow, default)]
    extra_content: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireFunction {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

fn assistant(at: usize, wire: &mut Fields<'_>, old_calls: &mut u32) -> Result<Vec<Part>, BadRequest> {
    let mut parts: Vec<Part> = reasoning::join(reasoning::take(wire)).into_iter().map(plain).collect();
    parts.extend(content(at, wire)?);
    let refusal: Option<String> = wire.take("refusal").map_err(|bad| within(at, &bad))?;
    parts.extend(refusal.map(|text| plain(Content::Refusal(text))));
    if wire.take_raw("audio").is_some() {
        parts.push(plain(Content::Other("audio".into())));
    }
    let calls: Option<Vec<WireCall<'_>>> = wire.take("tool_calls").map_err(|bad| within(at, &bad))?;
    for call in calls.unwrap_or_default() {
        parts.push(plain(match (call.r#type.as_deref(), call.function) {
            (None | Some("function"), Some(function)) => Content::ToolCall(ToolCall {
                id: call.id.unwrap_or_default(),
                name: function.name.unwrap_or_default(),
                arguments: function.arguments.unwrap_or_default(),
                signature: call.extra_content.and_then(signature),
            }),
            (kind, _) => Content::Other(format!("tool_calls.{}", kind.unwrap_or("function"))),
        }));
    }
    if let Some(call) = wire.take::<WireFunction>("function_call").map_err(|bad| within(at, &bad))? {
        *old_calls = old_calls.saturating_add(1);
        parts.push(plain(Content::ToolCall(ToolCall {
            id: old_call_id(*old_calls),
            name: call.name.unwrap_or_default(),
            arguments: call.arguments.unwrap_or_default(),
            signature: None,
        })));
    }
    Ok(parts)
}

fn old_call_id(count: u32) -> String {
    format!("call_{count}")
}

/// Gemini's proof of the thinking behind a call, where its `OpenAI` compatibility puts it.
pub(super) fn signature(extra_content: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Extra {
        google: Google,
    }

    #[derive(Deserialize)]
    struct Google {
        thought_signature: String,
    }

    serde_json::from_str::<Extra>(extra_content.get()).ok().map(|extra| extra.google.thought_signature)
}

// === Content ===

fn plain(content: Content) -> Part {
    Part { content, cache: None }
}

/// A message's `content`: a string or a list of parts. An empty string says nothing, and is no part.
fn content(at: usize, wire: &mut Fields<'_>) -> Result<Vec<Part>, BadRequest> {
    let Some(raw) = wire.take_raw("content") else { return Ok(Vec::new()) };
    parts(raw).map_err(|bad| within(at, &bad))
}

pub(super) fn parts(content: &RawValue) -> Result<Vec<Part>, BadRequest> {
    let unreadable = |error| unreadable("content", &error);
    if content.get().starts_with('"') {
        let text: String = serde_json::from_str(content.get()).map_err(unreadable)?;
        return Ok(if text.is_empty() { Vec::new() } else { vec![plain(Content::Text(text))] });
    }
    let wires: Vec<Fields<'_>> = serde_json::from_str(content.get()).map_err(unreadable)?;
    wires.into_iter().map(part).collect()
}

fn part(mut wire: Fields<'_>) -> Result<Part, BadRequest> {
    let kind: String = wire.require("type")?;
    let cache = cache_hint(&mut wire);
    let content = match kind.as_str() {
        "text" => Content::Text(wire.require("text")?),
        "refusal" => Content::Refusal(wire.require("refusal")?),
        "image_url" => image(&mut wire)?,
        "file" => file(wire.require("file")?)?,
        // Mistral's.
        "thinking" => Content::Thinking { text: thinking(&mut wire), signature: None },
        _ => Content::Other(kind),
    };
    Ok(Part { content, cache })
}

/// In Anthropic's words, or in `OpenAI`'s own.
fn cache_hint(wire: &mut Fields<'_>) -> Option<Cache> {
    let raw = [wire.take_raw("cache_control"), wire.take_raw("prompt_cache_breakpoint")];
    raw.into_iter().flatten().find_map(cache)
}

fn image(wire: &mut Fields<'_>) -> Result<Content, BadRequest> {
    #[derive(Deserialize)]
    struct Image {
        url: String,
        #[serde(default)]
        detail: Option<String>,
    }

    let missing = || BadRequest { message: "You must provide `image_url`.".into(), param: Some("image_url") };
    let raw = wire.take_raw("image_url").ok_or_else(missing)?;
    let image = if let Some(url) = reasoning::text(raw) {
        // Mistral takes the URL alone.
        Image { url, detail: None }
    } else {
        serde_json::from_str(raw.get()).map_err(|error| unreadable("image_url", &error))?
    };
    Ok(Content::Image { source: Source::of_url(image.url), detail: image.detail })
}

fn file(mut wire: Fields<'_>) -> Result<Content, BadRequest> {
    let name = wire.take("filename")?;
    Ok(match wire.take::<String>("file_data")? {
        // Where it is stored only its vendor can find it.
        None => Content::Other("file.file_id".into()),
        Some(data) if data.starts_with("data:") || data.starts_with("http") => {
            Content::Document { source: Source::of_url(data), name }
        }
        Some(data) => Content::Document { source: Source::Base64 { media_type: "application/pdf".into(), data }, name },
    })
}

/// The text of a part of Mistral's, which holds a list of parts.
fn thinking(wire: &mut Fields<'_>) -> String {
    let Some(raw) = wire.take_raw("thinking") else { return String::new() };
    let parts = parts(raw).unwrap_or_default();
    let texts = parts.iter().filter_map(|part| match &part.content {
        Content::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(messages: &str) -> (Vec<Message>, Vec<String>) {
        let mut others = Others::default();
        let messages = read_messages(serde_json::from_str(messages).unwrap(), &mut others).unwrap();
        (messages, others.0.into_iter().map(|other| other.name).collect())
    }

    fn refused(messages: &str) -> String {
        read_messages(serde_json::from_str(messages).unwrap(), &mut Others::default()).unwrap_err().message
    }

    fn text(text: &str) -> Part {
        plain(Content::Text(text.into()))
    }

    fn call(id: &str, name: &str, arguments: &str) -> Content {
        Content::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature: None })
    }

    fn result(id: &str, parts: Vec<Part>) -> Part {
        plain(Content::ToolResult { id: id.into(), parts, is_error: false })
    }

    #[test]
    fn a_conversation_with_tools() {
        let (messages, others) = read(
            r#"[{"role":"system","content":"s"},{"role":"developer","content":[{"type":"text","text":"d","cache_control":{"type":"ephemeral"}}]},
                {"role":"user","content":"u","name":"Ann"},
                {"role":"assistant","content":null,"refusal":null,"annotations":[],"tool_calls":[
                  {"id":"a","type":"function","function":{"name":"f","arguments":"{}"},
                   "extra_content":{"google":{"thought_signature":"sig"}}},
                  {"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\":"}}]},
                {"role":"tool","tool_call_id":"a","content":"1"},
                {"role":"tool","tool_call_id":"b","content":[{"type":"text","text":"2"}]},
                {"role":"user","content":""}]"#,
        );
        let signed = Content::ToolCall(ToolCall {
            id: "a".into(),
            name: "f".into(),
            arguments: "{}".into(),
            signature: Some("sig".into()),
        });
        let cached = Part { content: Content::Text("d".into()), cache: Some(Cache::Short) };
        let expected = [
            message(Role::System, vec![text("s")]),
            message(Role::System, vec![cached]),
            message(Role::User, vec![text("u")]),
            message(Role::Assistant, vec![plain(signed), plain(call("b", "g", "{\"x\":"))]),
            message(Role::User, vec![result("a", vec![text("1")]), result("b", vec![text("2")])]),
            message(Role::User, vec![]),
        ];
        assert_eq!(messages, expected);
        assert_eq!(others, ["messages.name"]);
    }

    #[test]
    fn the_models_thinking_stands_before_its_words_and_calls() {
        let (messages, others) = read(
            r#"[{"role":"assistant","reasoning_content":"hm","content":"so","refusal":"no","prefix":true,
                 "tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"c","type":"custom","custom":{}}],
                 "audio":{"id":"x"}}]"#,
        );
        let thinking = Content::Thinking { text: "hm".into(), signature: None };
        let contents: Vec<_> = messages[0].parts.iter().map(|part| part.content.clone()).collect();
        let expected = [
            thinking,
            Content::Text("so".into()),
            Content::Refusal("no".into()),
            Content::Other("audio".into()),
            call("a", "f", "{}"),
            Content::Other("tool_calls.custom".into()),
        ];
        assert_eq!(contents, expected);
        assert_eq!(others, ["messages.prefix"]);
    }

    #[test]
    fn functions_of_old_get_ids() {
        let (messages, _) = read(
            r#"[{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"1"},
                {"role":"assistant","function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"2"}]"#,
        );
        let expected = [
            message(Role::Assistant, vec![plain(call("call_1", "f", "{}"))]),
            message(Role::User, vec![result("call_1", vec![text("1")])]),
            message(Role::Assistant, vec![plain(call("call_2", "f", "{}"))]),
            message(Role::User, vec![result("call_2", vec![text("2")])]),
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn every_kind_of_part() {
        let image = |source, detail: Option<&str>| Content::Image { source, detail: detail.map(Into::into) };
        let base64 = |kind: &str| Source::Base64 { media_type: kind.into(), data: "QUJD".into() };
        for (part, expected) in [
            (
                r#"{"type":"image_url","image_url":{"url":"https://a/b.png","detail":"low"}}"#,
                image(Source::Url("https://a/b.png".into()), Some("low")),
            ),
            (r#"{"type":"image_url","image_url":"data:image/png;base64,QUJD"}"#, image(base64("image/png"), None)),
            (
                r#"{"type":"image_url","image_url":{"url":"data:image/svg+xml;charset=utf-8;base64,QUJD"}}"#,
                image(base64("image/svg+xml"), None),
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"data:text/plain,hi"}}"#,
                image(Source::Url("data:text/plain,hi".into()), None),
            ),
            (
                r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,QUJD","filename":"a.pdf"}}"#,
                Content::Document { source: base64("application/pdf"), name: Some("a.pdf".into()) },
            ),
            (
                r#"{"type":"file","file":{"file_data":"QUJD"}}"#,
                Content::Document { source: base64("application/pdf"), name: None },
            ),
            (
                r#"{"type":"file","file":{"file_data":"https://a/b.pdf"}}"#,
                Content::Document { source: Source::Url("https://a/b.pdf".into()), name: None },
            ),
            (r#"{"type":"file","file":{"file_id":"file-1"}}"#, Content::Other("file.file_id".into())),
            (
                r#"{"type":"input_audio","input_audio":{"data":"QUJD","format":"wav"}}"#,
                Content::Other("input_audio".into()),
            ),
            (r#"{"type":"refusal","refusal":"no"}"#, Content::Refusal("no".into())),
            (
                r#"{"type":"thinking","thinking":[{"type":"text","text":"h"},{"type":"text","text":"m"}]}"#,
                Content::Thinking { text: "hm".into(), signature: None },
            ),
            (
                r#"{"type":"text","text":"t","prompt_cache_breakpoint":{"mode":"explicit","ttl":"30m"}}"#,
                Content::Text("t".into()),
            ),
        ] {
            let (messages, _) = read(&format!(r#"[{{"role":"user","content":[{part}]}}]"#));
            assert_eq!(messages[0].parts[0].content, expected, "{part}");
            assert_eq!(messages[0].parts[0].cache.is_some(), part.contains("cache"), "{part}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (messages, expected) in [
            (r#"[{"content":"x"}]"#, "In `messages[0]`: You must provide `role`."),
            (
                r#"[{"role":"user"},{"role":"robot"}]"#,
                "`messages[1].role` is \"robot\", which is none that a chat has.",
            ),
            (r#"[{"role":"tool","content":"x"}]"#, "In `messages[0]`: You must provide `tool_call_id`."),
            (r#"[{"role":"user","content":[{"text":"x"}]}]"#, "In `messages[0]`: You must provide `type`."),
            (
                r#"[{"role":"user","content":[{"type":"image_url"}]}]"#,
                "In `messages[0]`: You must provide `image_url`.",
            ),
        ] {
            assert_eq!(refused(messages), expected);
        }
        assert!(refused(r#"[{"role":"user","content":7}]"#).starts_with("In `messages[0]`: `content` cannot be read"));
    }
}
