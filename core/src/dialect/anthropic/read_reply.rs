//! Anthropic's replies and errors that are not streamed.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::usage::Counted;
use crate::dialect::chat::{Choice, Content, Reply, Stop, ToolCall};
use crate::dialect::{Reading, VendorError};

/// Reads the body of a reply whose status promised an answer. One whose tokens alone were counted is an answer, too, and
/// took none.
///
/// A `refusal` is what Anthropic's classifiers did, not what the model said: they stop an answer for a policy that
/// `stop_details` names, and the documentation has the client turn to another model. So it counts as filtered.
pub fn read_reply(body: &[u8]) -> Reading {
    #[derive(Deserialize)]
    struct Light<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        content: Option<Vec<IgnoredAny>>,
        input_tokens: Option<IgnoredAny>,
        #[serde(borrow)]
        stop_reason: Option<Cow<'a, str>>,
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
    }
    if body.trim_ascii().is_empty() {
        return Reading::Empty;
    }
    let Ok(reply) = serde_json::from_slice::<Light<'_>>(body) else {
        return Reading::Malformed;
    };
    if reply.error.is_some() {
        return Reading::Error(read_error(body));
    }
    let usage = Counted::read(reply.usage).map(Counted::usage);
    match (reply.content, reply.input_tokens) {
        (None, None) => Reading::Empty,
        _ if reply.stop_reason.as_deref() == Some("refusal") => Reading::Filtered(usage),
        _ => Reading::Answer(usage),
    }
}

/// Reads an answer in full. `None` where [`read_reply`] finds none either.
pub fn read_chat(body: &[u8]) -> Option<Reply> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(default)]
        id: String,
        #[serde(default)]
        model: String,
        #[serde(borrow)]
        content: Vec<&'a RawValue>,
        #[serde(borrow)]
        stop_reason: Option<Cow<'a, str>>,
        stop_sequence: Option<String>,
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
    }
    let message: Message<'_> = serde_json::from_slice(body).ok()?;
    let parts: Vec<_> = message.content.into_iter().filter_map(read_block).collect();
    let stop = match message.stop_reason {
        Some(reason) => read_stop(&reason, message.stop_sequence),
        None if parts.iter().any(|part| matches!(part, Content::ToolCall(_))) => Stop::Tools,
        None => Stop::End,
    };
    Some(Reply {
        id: message.id,
        model: message.model,
        choices: vec![Choice { parts, stop, logprobs: None }],
        usage: Counted::read(message.usage).map(Counted::usage),
    })
}

/// A block of an answer's content. One of a kind that has no form here is left out, as are the tools that the vendor ran.
#[derive(Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow)]
    pub(super) r#type: Cow<'a, str>,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) thinking: String,
    #[serde(default)]
    pub(super) signature: String,
    #[serde(default)]
    pub(super) data: String,
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

fn read_block(raw: &RawValue) -> Option<Content> {
    let block: Block<'_> = serde_json::from_str(raw.get()).ok()?;
    match &*block.r#type {
        "text" if block.text.is_empty() => None,
        "text" => Some(Content::Text(block.text)),
        "thinking" => {
            let signature = (!block.signature.is_empty()).then_some(block.signature);
            Some(Content::Thinking { text: block.thinking, signature })
        }
        "redacted_thinking" => Some(Content::RedactedThinking(block.data)),
        "tool_use" => {
            let arguments = block.input.map_or("{}", RawValue::get).to_owned();
            Some(Content::ToolCall(ToolCall { id: block.id, name: block.name, arguments, signature: None }))
        }
        _ => None,
    }
}

/// Why an answer ended. A reason that is not known yet is taken for a good end.
pub(super) fn read_stop(reason: &str, sequence: Option<String>) -> Stop {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "stop_sequence" => Stop::Sequence(sequence),
        "tool_use" => Stop::Tools,
        "pause_turn" => Stop::Pause,
        "refusal" => Stop::Filtered,
        _ => Stop::End,
    }
}

/// Reads an error: `{"type":"error","error":{"type","message"}}`. A body of another shape, as a proxy may send, gives what
/// it has of these, or an error without words.
pub fn read_error(body: &[u8]) -> VendorError {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return VendorError::default();
    };
    let error = body.get("error").unwrap_or(&body);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if error.is_string() {
        return VendorError { message: text(error), ..VendorError::default() };
    }
    VendorError {
        message: text(&error["message"]),
        kind: text(&error["type"]),
        code: text(&error["details"]["error_code"]),
        retry_in: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::price::Usage;

    fn error(message: &str, kind: &str, code: &str) -> VendorError {
        VendorError { message: message.into(), kind: kind.into(), code: code.into(), retry_in: None }
    }

    #[test]
    fn answers_and_what_only_looks_like_one() {
        let usage = Some(Usage { input: 12, output: 6, ..Usage::default() });
        for (body, reading) in [
            (
                r#"{"content":[{"type":"text","text":"Hello!"}],"stop_reason":"end_turn","usage":{"input_tokens":12,"output_tokens":6}}"#,
                Reading::Answer(usage),
            ),
            (
                r#"{"content":[],"stop_reason":"end_turn","usage":{"input_tokens":12,"output_tokens":6}}"#,
                Reading::Answer(usage),
            ),
            (r#"{"content":[{"type":"text","text":"Hello.."}],"stop_reason":"refusal"}"#, Reading::Filtered(None)),
            (r#"{"content":[],"stop_reason":"end_turn","usage":{"input_tokens":"many"}}"#, Reading::Answer(None)),
            (r#"{"input_tokens":2095}"#, Reading::Answer(None)),
            ("", Reading::Empty),
            (" \n", Reading::Empty),
            ("{}", Reading::Empty),
            (r#"{"content":null}"#, Reading::Empty),
            ("<html>", Reading::Malformed),
            (r#"{"content":[{"type":"te"#, Reading::Malformed),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Reading::Error(error("Overloaded", "overloaded_error", "")),
            ),
        ] {
            assert_eq!(read_reply(body.as_bytes()), reading, "{body}");
        }
    }

    #[test]
    fn an_answer_keeps_its_parts_in_their_order() {
        let body = br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
            {"type":"thinking","thinking":"Let me see.","signature":"EqQB"},
            {"type":"redacted_thinking","data":"EmwK"},
            {"type":"text","text":"I'll look."},
            {"type":"text","text":""},
            {"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"x"}},
            {"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","text":7}]},
            {"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"location": "Paris"}}],
            "stop_reason":"tool_use","stop_sequence":null,"stop_details":null,"usage":{"input_tokens":5,"output_tokens":2}}"#;
        let call = ToolCall {
            id: "toolu_1".into(),
            name: "get_weather".into(),
            arguments: r#"{"location": "Paris"}"#.into(),
            signature: None,
        };
        let choice = Choice {
            parts: vec![
                Content::Thinking { text: "Let me see.".into(), signature: Some("EqQB".into()) },
                Content::RedactedThinking("EmwK".into()),
                Content::Text("I'll look.".into()),
                Content::ToolCall(call),
            ],
            stop: Stop::Tools,
            logprobs: None,
        };
        let usage = Some(Usage { input: 5, output: 2, ..Usage::default() });
        let reply = Reply { id: "msg_1".into(), model: "claude-x".into(), choices: vec![choice], usage };
        assert_eq!(read_chat(body), Some(reply));
        assert_eq!(read_chat(b"{}"), None);
    }

    #[test]
    fn every_stop_reason() {
        for (reason, stop) in [
            ("end_turn", Stop::End),
            ("max_tokens", Stop::Length),
            ("model_context_window_exceeded", Stop::Length),
            ("stop_sequence", Stop::Sequence(Some("END".into()))),
            ("tool_use", Stop::Tools),
            ("pause_turn", Stop::Pause),
            ("refusal", Stop::Filtered),
            ("something_new", Stop::End),
        ] {
            let body = format!(r#"{{"content":[],"stop_reason":"{reason}","stop_sequence":"END"}}"#);
            assert_eq!(read_chat(body.as_bytes()).unwrap().choices[0].stop, stop, "{reason}");
        }
        let unsaid = br#"{"content":[{"type":"tool_use","id":"a","name":"b"}]}"#;
        assert_eq!(read_chat(unsaid).unwrap().choices[0].stop, Stop::Tools);
    }

    #[test]
    fn errors_in_every_shape() {
        for (body, expected) in [
            (
                r#"{"type":"error","error":{"type":"not_found_error","message":"No such model."},"request_id":"req_1"}"#,
                error("No such model.", "not_found_error", ""),
            ),
            (
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
                error("m", "rate_limit_error", "enforced_spend_limit_reached"),
            ),
            (r#"{"error":"m"}"#, error("m", "", "")),
            (r#"{"message":"m"}"#, error("m", "", "")),
            ("oops", error("", "", "")),
            ("[]", error("", "", "")),
        ] {
            assert_eq!(read_error(body.as_bytes()), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_read_as_something(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_reply(&body), read_chat(&body), read_error(&body));
        }
    }
}
