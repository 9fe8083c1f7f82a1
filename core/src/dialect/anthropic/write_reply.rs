//! A reply in the shared terms, written for a client that speaks Anthropic's dialect.

use bytes::Bytes;
use serde_json::json;
use serde_json::value::RawValue;

use super::message::{Block, Ending, Message, WireUsage};
use crate::dialect::chat::{Content, Json, Reply, Stamp, ToolCall};

/// Writes a whole answer: its first choice, for Anthropic knows no others.
pub fn write_reply(reply: &Reply, stamp: &Stamp) -> Bytes {
    let usage = WireUsage::settled(reply.usage, stamp);
    let mut message = Message::begin(&reply.id, &reply.model, usage, stamp);
    if let Some(choice) = reply.choices.first() {
        let calls = choice.parts.iter().any(|part| matches!(part, Content::ToolCall(_)));
        let ending = Ending::of(&choice.stop, calls);
        message.content = choice.parts.iter().filter_map(block).collect();
        message.stop_reason = Some(ending.reason);
        message.stop_sequence = ending.sequence;
        message.stop_details = ending.details;
    }
    serde_json::to_vec(&message).expect("our own types always have a JSON form").into()
}

/// Writes how many tokens a prompt has.
pub fn write_count(tokens: u64) -> Bytes {
    format!(r#"{{"input_tokens":{tokens}}}"#).into()
}

/// A block for a part of an answer. An empty one is left out: Anthropic takes none back.
fn block(part: &Content) -> Option<Block<'_>> {
    match part {
        Content::Text(text) | Content::Refusal(text) => (!text.is_empty()).then_some(Block::Text { text }),
        Content::Thinking { text, signature } => {
            let signature = signature.as_deref().unwrap_or_default();
            (!text.is_empty() || !signature.is_empty()).then_some(Block::Thinking { thinking: text, signature })
        }
        Content::RedactedThinking(data) => Some(Block::RedactedThinking { data }),
        Content::ToolCall(call) => Some(Block::ToolUse { id: &call.id, name: &call.name, input: input(call) }),
        Content::Image { .. } | Content::Document { .. } | Content::ToolResult { .. } | Content::Other(_) => None,
    }
}

/// A call's arguments as the object that they must be. Where a model wrote none, the text stands in an object under the key that
/// Anthropic's documentation suggests for it: the client's tool refuses it, and the model sees why.
fn input(call: &ToolCall) -> Json {
    let text = call.arguments.trim();
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if text.starts_with('{') => Json::keep(raw),
        _ if text.is_empty() => Json::of(&json!({})),
        _ => Json::of(&json!({ "INVALID_JSON": call.arguments })),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::dialect::chat::{Choice, Source, Stop};
    use crate::price::{Picodollars, Price, Usage};
    use crate::time::Timestamp;

    const GOLDEN: &str = include_str!("../../../../tests/data/golden/anthropic-client/reply.json");

    fn stamp() -> Stamp {
        let price = Price {
            input: Picodollars(2_000_000),
            cached_input: Some(Picodollars(500_000)),
            output: Picodollars(8_000_000),
            ..Price::default()
        };
        Stamp { request_id: "7f3a".into(), at: Timestamp(0), price: Some(price), wants_usage: false }
    }

    fn thinking(text: &str, signature: Option<&str>) -> Content {
        Content::Thinking { text: text.into(), signature: signature.map(str::to_owned) }
    }

    fn call(id: &str, name: &str, arguments: &str) -> Content {
        let (id, name, arguments) = (id.into(), name.into(), arguments.into());
        Content::ToolCall(ToolCall { id, name, arguments, signature: None })
    }

    fn reply(parts: Vec<Content>, stop: Stop) -> Reply {
        let choice = Choice { parts, stop, logprobs: None };
        Reply { id: "chatcmpl-1".into(), model: "deepseek-v4".into(), choices: vec![choice], usage: None }
    }

    fn written(reply: &Reply) -> Value {
        serde_json::from_slice(&write_reply(reply, &stamp())).unwrap()
    }

    #[test]
    fn the_documented_message() {
        let parts = vec![
            thinking("The user wants the weather.", None),
            thinking("", Some("EqQB")),
            Content::RedactedThinking("EmwK".into()),
            Content::Text("Let me look.".into()),
            call("call_1", "weather", r#"{"place": "Kyoto", "days": [1, 2]}"#),
            call("call_2", "clock", ""),
            call("call_3", "weather", r#"{"place": "Os"#),
        ];
        let usage = Usage { input: 100, cached_input: 40, output: 25, reasoning: 10, ..Usage::default() };
        let reply = Reply { usage: Some(usage), ..reply(parts, Stop::Tools) };
        assert_eq!(written(&reply), serde_json::from_str::<Value>(GOLDEN).unwrap());
    }

    #[test]
    fn arguments_keep_their_order() {
        let reply = reply(vec![call("c", "f", r#"{"z":1,"a":1.50}"#)], Stop::End);
        let text = String::from_utf8(write_reply(&reply, &stamp()).to_vec()).unwrap();
        assert!(text.contains(r#""input":{"z":1,"a":1.50}"#), "{text}");
        assert!(text.contains(r#""stop_reason":"tool_use""#), "a call that is demanded may end in `stop`: {text}");
    }

    #[test]
    fn a_refusal_is_text_and_what_is_empty_is_left_out() {
        let image = Content::Image { source: Source::Url("u".into()), detail: None };
        let parts = vec![Content::Text(String::new()), thinking("", None), image, Content::Refusal("No.".into())];
        let message = written(&reply(parts, Stop::Refusal));
        assert_eq!(message["content"], json!([{"type": "text", "text": "No."}]));
        assert_eq!(message["stop_reason"], "refusal");
        assert_eq!(message["stop_details"], json!({"type": "refusal", "category": null, "explanation": null}));
        assert_eq!(message["usage"]["input_tokens"], 0);
        assert_eq!(message["usage"].get("cost"), None);
    }

    #[test]
    fn arguments_that_are_no_object_are_kept_as_text() {
        for text in ["[1]", "null", "\"a\"", "{]", "{\"a\":1} x"] {
            let message = written(&reply(vec![call("c", "f", text)], Stop::Tools));
            assert_eq!(message["content"][0]["input"], json!({ "INVALID_JSON": text }));
        }
    }

    #[test]
    fn a_reply_without_choices_is_a_message_without_content() {
        let message = written(&Reply::default());
        assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
        assert_eq!(&write_count(2095)[..], br#"{"input_tokens":2095}"#);
    }
}
