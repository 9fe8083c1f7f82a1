//! A vendor's chat completion, read into the shared terms.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read_messages::{WireFunction, parts, signature};
use super::{read_usage, reasoning};
use crate::dialect::VendorError;
use crate::dialect::chat::{Choice, Content, Json, Reply, Stop, ToolCall};
use crate::dialect::fields::Fields;

#[derive(Deserialize)]
struct WireReply<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow)]
    choices: Vec<WireChoice<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireChoice<'a> {
    #[serde(borrow)]
    message: Fields<'a>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct WireCall<'a> {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<WireFunction>,
    #[serde(borrow, default)]
    pub(super) extra_content: Option<&'a RawValue>,
}

/// Reads a whole answer; `None` where there is none. What a vendor has added to it is left out, and so is what does not read.
pub fn read_chat(body: &[u8]) -> Option<Reply> {
    let wire: WireReply<'_> = serde_json::from_slice(body).ok()?;
    let choices: Vec<Choice> = wire.choices.into_iter().map(choice).collect::<Option<_>>()?;
    if choices.is_empty() {
        return None;
    }
    let usage = read_usage(wire.usage);
    Some(Reply { id: wire.id.unwrap_or_default(), model: wire.model.unwrap_or_default(), choices, usage })
}

fn choice(wire: WireChoice<'_>) -> Option<Choice> {
    let mut message = wire.message;
    let mut parts = reasoning::join(reasoning::take(&mut message));
    parts.extend(message.take_raw("content").map(answer).unwrap_or_default());
    let refusal: Option<String> = message.take("refusal").ok().flatten();
    parts.extend(refusal.filter(|text| !text.is_empty()).map(Content::Refusal));
    parts.extend(calls(&mut message));
    let seen = Seen::of(&parts);
    let stop = stop(wire.finish_reason.as_deref().unwrap_or_default(), seen)?;
    Some(Choice { parts, stop, logprobs: wire.logprobs.map(Json::keep) })
}

/// What `content` says: a string, or a list of parts, as Mistral writes its thinking.
pub(super) fn answer(content: &RawValue) -> Vec<Content> {
    let parts = parts(content).unwrap_or_default().into_iter().map(|part| part.content);
    parts.filter(|part| matches!(part, Content::Text(_) | Content::Refusal(_) | Content::Thinking { .. })).collect()
}

fn calls(message: &mut Fields<'_>) -> Vec<Content> {
    let new: Vec<WireCall<'_>> = message.take("tool_calls").ok().flatten().unwrap_or_default();
    let old: Option<WireFunction> = message.take("function_call").ok().flatten();
    let old = old.map(|function| WireCall { index: None, id: None, function: Some(function), extra_content: None });
    let read = |(at, call): (usize, WireCall<'_>)| {
        let function = call.function?;
        Some(Content::ToolCall(ToolCall {
            id: call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| call_id(at)),
            name: function.name.unwrap_or_default(),
            arguments: function.arguments.unwrap_or_default(),
            signature: call.extra_content.and_then(signature),
        }))
    };
    new.into_iter().chain(old).enumerate().filter_map(read).collect()
}

/// What a call is called whose vendor gave it no name.
pub(super) fn call_id(at: usize) -> String {
    format!("call_{at}")
}

/// What an answer holds that tells why it stopped.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) calls: bool,
    pub(super) refusal: bool,
}

impl Seen {
    fn of(parts: &[Content]) -> Self {
        Self {
            calls: parts.iter().any(|part| matches!(part, Content::ToolCall(_))),
            refusal: parts.iter().any(|part| matches!(part, Content::Refusal(_))),
        }
    }
}

/// The reason with which `OpenRouter` ends an answer whose vendor failed.
pub(super) const BROKEN_OFF: &str = "error";

/// What is said of that: no more than that it is so.
pub(super) fn broken_off() -> VendorError {
    let message = "The vendor broke its answer off with an error.".into();
    VendorError { message, kind: "server_error".into(), ..VendorError::default() }
}

/// Why an answer ended; `None` where it broke off in an error.
pub(super) fn stop(finish_reason: &str, seen: Seen) -> Option<Stop> {
    Some(match finish_reason {
        BROKEN_OFF => return None,
        "tool_calls" | "function_call" => Stop::Tools,
        // The second is Mistral's; the third is said by `DeepSeek` when it runs short of machines.
        "length" | "model_length" | "insufficient_system_resource" => Stop::Length,
        "content_filter" => Stop::Filtered,
        // Where a tool was forced by its name, `OpenAI` calls that a plain stop.
        _ if seen.calls => Stop::Tools,
        _ if seen.refusal => Stop::Refusal,
        _ => Stop::End,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::price::Usage;

    fn only(message: &str, finish_reason: &str) -> Choice {
        let body = format!(r#"{{"choices":[{{"index":0,"message":{message},"finish_reason":{finish_reason}}}]}}"#);
        read_chat(body.as_bytes()).unwrap().choices.remove(0)
    }

    #[test]
    fn a_whole_answer() {
        let body = br#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-5","choices":[
            {"index":0,"message":{"role":"assistant","content":"hi","refusal":null,"annotations":[]},
             "logprobs":{"content":[{"token":"hi","logprob":-0.5,"bytes":null,"top_logprobs":[]}]},"finish_reason":"stop"},
            {"index":1,"message":{"role":"assistant","content":"ho"},"logprobs":null,"finish_reason":"length"}],
            "usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,
                     "prompt_tokens_details":{"cached_tokens":3,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":2}},
            "service_tier":"default"}"#;
        let reply = read_chat(body).unwrap();
        assert_eq!((reply.id.as_str(), reply.model.as_str()), ("chatcmpl-1", "gpt-5"));
        assert_eq!(reply.usage, Some(Usage { input: 9, cached_input: 3, output: 4, reasoning: 2, ..Usage::default() }));
        assert_eq!(reply.choices[0].parts, [Content::Text("hi".into())]);
        assert!(reply.choices[0].logprobs.as_ref().unwrap().text().starts_with(r#"{"content":[{"token":"hi""#));
        assert_eq!((&reply.choices[1].stop, &reply.choices[1].logprobs), (&Stop::Length, &None));
    }

    #[test]
    fn every_part_of_an_answer_in_its_order() {
        let message = r#"{"reasoning_content":"hm","content":"so","refusal":"no","tool_calls":[
            {"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}},
            {"id":"","function":{"name":"g"}}],"function_call":{"name":"h","arguments":"{}"}}"#;
        let call = |id: &str, name: &str, arguments: &str, signature: Option<&str>| {
            let signature = signature.map(Into::into);
            Content::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature })
        };
        let expected = [
            Content::Thinking { text: "hm".into(), signature: None },
            Content::Text("so".into()),
            Content::Refusal("no".into()),
            call("a", "f", "{}", Some("s")),
            call("call_1", "g", "", None),
            call("call_2", "h", "{}", None),
        ];
        assert_eq!(only(message, "\"tool_calls\"").parts, expected);
    }

    #[test]
    fn thinking_within_the_content() {
        let message =
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"so"}]}"#;
        let expected = [Content::Thinking { text: "hm".into(), signature: None }, Content::Text("so".into())];
        assert_eq!(only(message, "\"stop\"").parts, expected);
    }

    #[test]
    fn why_it_ended() {
        let (plain, refusal) = (r#"{"content":"x"}"#, r#"{"refusal":"no"}"#);
        let calls = r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}"#;
        for (message, reason, expected) in [
            (plain, "\"stop\"", Stop::End),
            (plain, "null", Stop::End),
            (plain, "\"eos\"", Stop::End),
            (plain, "\"length\"", Stop::Length),
            (plain, "\"content_filter\"", Stop::Filtered),
            (refusal, "\"stop\"", Stop::Refusal),
            (calls, "\"tool_calls\"", Stop::Tools),
            (calls, "\"function_call\"", Stop::Tools),
            (calls, "\"stop\"", Stop::Tools),
            (calls, "\"length\"", Stop::Length),
        ] {
            assert_eq!(only(message, reason).stop, expected, "{message} {reason}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        let failed = r#"{"choices":[{"message":{"content":""},"finish_reason":"error"}]}"#;
        for body in ["", "{}", r#"{"choices":[]}"#, r#"{"choices":[{}]}"#, r#"{"error":{"message":"m"}}"#, failed] {
            assert_eq!(read_chat(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_read_as_something(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_chat(&body);
        }
    }
}
