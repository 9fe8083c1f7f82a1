//! A reply in the shared terms, written as a chat completion.

use bytes::Bytes;
use serde::Serialize;

use super::reasoning::{self, Detail};
use super::usage::WireUsage;
use crate::dialect::chat::{Choice, Content, Json, Reply, Stamp, Stop, ToolCall};

/// Writes a whole answer.
pub fn write_reply(reply: &Reply, stamp: &Stamp) -> Bytes {
    let wire = WireReply {
        id: id(&reply.id, "chatcmpl", stamp),
        object: "chat.completion",
        created: stamp.created(),
        model: &reply.model,
        choices: reply.choices.iter().enumerate().map(WireChoice::of).collect(),
        usage: reply.usage.map(|usage| WireUsage::new(usage, stamp)),
    };
    serde_json::to_vec(&wire).expect("our own types always have a JSON form").into()
}

/// The vendor's id for an answer, or ours where it gave none.
pub(super) fn id(vendors: &str, kind: &str, stamp: &Stamp) -> String {
    if vendors.is_empty() { format!("{kind}-{}", stamp.request_id) } else { vendors.to_owned() }
}

#[derive(Serialize)]
struct WireReply<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<WireUsage>,
}

#[derive(Serialize)]
struct WireChoice<'a> {
    index: usize,
    message: Message<'a>,
    logprobs: Option<&'a Json>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<Detail<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

impl<'a> WireChoice<'a> {
    fn of((index, choice): (usize, &'a Choice)) -> Self {
        let message = Message::of(&choice.parts);
        let finish_reason = finish_reason(&choice.stop, message.refusal.is_some());
        Self { index, message, logprobs: choice.logprobs.as_ref(), finish_reason }
    }
}

impl<'a> Message<'a> {
    fn of(parts: &'a [Content]) -> Self {
        let mut message = Self {
            role: "assistant",
            content: None,
            refusal: None,
            reasoning_content: None,
            reasoning_details: reasoning::details(parts),
            tool_calls: Vec::new(),
        };
        for part in parts {
            match part {
                Content::Text(text) => message.content.get_or_insert_default().push_str(text),
                Content::Refusal(text) => message.refusal.get_or_insert_default().push_str(text),
                Content::Thinking { text, .. } => message.reasoning_content.get_or_insert_default().push_str(text),
                Content::ToolCall(call) => message.tool_calls.push(Call::of(call)),
                // The last are not of an answer.
                Content::RedactedThinking(_)
                | Content::Image { .. }
                | Content::Document { .. }
                | Content::ToolResult { .. }
                | Content::Other(_) => {}
            }
        }
        // Nothing at all was said: that is an empty text. `null` is for calls and refusals.
        if message.tool_calls.is_empty() && message.refusal.is_none() {
            message.content.get_or_insert_default();
        }
        message
    }
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraContent<'a>>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Call<'a> {
    fn of(call: &'a ToolCall) -> Self {
        let function = Function { name: &call.name, arguments: &call.arguments };
        let extra_content = call.signature.as_deref().map(ExtraContent::new);
        Self { id: &call.id, r#type: "function", function, extra_content }
    }
}

/// Where Google's `OpenAI` compatibility puts the proof of the thinking behind a call; clients send it back.
#[derive(Debug, Serialize)]
pub(super) struct ExtraContent<'a> {
    google: Google<'a>,
}

#[derive(Debug, Serialize)]
struct Google<'a> {
    thought_signature: &'a str,
}

impl<'a> ExtraContent<'a> {
    pub(super) fn new(thought_signature: &'a str) -> Self {
        Self { google: Google { thought_signature } }
    }
}

/// `OpenAI`'s word for why an answer ended. `refused`: the refusal stands in the answer, in words.
pub(super) fn finish_reason(stop: &Stop, refused: bool) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Pause => "stop",
        Stop::Refusal if refused => "stop",
        Stop::Length => "length",
        Stop::Tools => "tool_calls",
        Stop::Filtered | Stop::Refusal => "content_filter",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::openai::read_chat;
    use crate::dialect::openai::tests::stamp;
    use crate::price::Usage;

    fn written(parts: Vec<Content>, stop: Stop) -> Value {
        let choices = vec![Choice { parts, stop, logprobs: None }];
        let reply = Reply { id: "x".into(), model: "m".into(), choices, usage: None };
        serde_json::from_slice(&write_reply(&reply, &stamp())).unwrap()
    }

    fn call(signature: Option<&str>) -> Content {
        let signature = signature.map(Into::into);
        Content::ToolCall(ToolCall { id: "a".into(), name: "f".into(), arguments: "{}".into(), signature })
    }

    #[test]
    fn an_answer_in_openais_form() {
        let reply = Reply {
            id: String::new(),
            model: "m".into(),
            choices: vec![Choice { parts: vec![Content::Text("hi".into())], stop: Stop::End, logprobs: None }],
            usage: Some(Usage {
                input: 10,
                cached_input: 4,
                cache_write: 1,
                cache_write_1h: 2,
                output: 3,
                reasoning: 1,
                cost: None,
            }),
        };
        let expected = json!({
            "id": "chatcmpl-req", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": "hi", "refusal": null},
                "logprobs": null, "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 1},
                "cost": 0.000_016,
            },
        });
        assert_eq!(serde_json::from_slice::<Value>(&write_reply(&reply, &stamp())).unwrap(), expected);
    }

    #[test]
    fn a_cost_that_is_not_known_is_not_said() {
        let choices = vec![Choice { parts: vec![], stop: Stop::End, logprobs: None }];
        let reply = Reply { choices, usage: Some(Usage::default()), ..Reply::default() };
        let body: Value = serde_json::from_slice(&write_reply(&reply, &Stamp { price: None, ..stamp() })).unwrap();
        assert_eq!(body["usage"].get("cost"), None);
        assert_eq!(body["choices"][0]["message"]["content"], "");
    }

    #[test]
    fn calls_refusals_and_thinking() {
        let body = written(vec![call(Some("sig"))], Stop::Tools);
        let message = &body["choices"][0]["message"];
        assert_eq!(message["content"], Value::Null);
        let call = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"},
                           "extra_content": {"google": {"thought_signature": "sig"}}}]);
        assert_eq!(message["tool_calls"], call);

        let body = written(vec![Content::Refusal("no".into())], Stop::Refusal);
        assert_eq!(body["choices"][0]["message"], json!({"role": "assistant", "content": null, "refusal": "no"}));
        assert_eq!(body["choices"][0]["finish_reason"], "stop");

        let thinking =
            |signature: Option<&str>| Content::Thinking { text: "hm".into(), signature: signature.map(Into::into) };
        let body = written(vec![thinking(None), Content::Text("so".into())], Stop::End);
        let plain = json!({"role": "assistant", "content": "so", "refusal": null, "reasoning_content": "hm"});
        assert_eq!(body["choices"][0]["message"], plain);
        let body = written(vec![thinking(Some("s")), Content::RedactedThinking("e".into())], Stop::End);
        let details = json!([{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0},
                             {"type": "reasoning.encrypted", "data": "e", "index": 1}]);
        assert_eq!(body["choices"][0]["message"]["reasoning_details"], details);
    }

    #[test]
    fn why_it_ended() {
        for (stop, word) in [
            (Stop::End, "stop"),
            (Stop::Sequence(Some("x".into())), "stop"),
            (Stop::Pause, "stop"),
            (Stop::Length, "length"),
            (Stop::Tools, "tool_calls"),
            (Stop::Filtered, "content_filter"),
            (Stop::Refusal, "content_filter"),
        ] {
            assert_eq!(written(vec![], stop.clone())["choices"][0]["finish_reason"], word, "{stop:?}");
        }
    }

    fn content() -> impl Strategy<Value = Content> {
        prop_oneof![
            ("\\PC{1,8}", prop::option::of("[a-z]{1,4}"))
                .prop_map(|(text, signature)| Content::Thinking { text, signature }),
            "[a-z]{1,4}".prop_map(Content::RedactedThinking),
            "\\PC{1,8}".prop_map(Content::Text),
            ("[a-z]{1,4}", "\\PC{0,8}", prop::option::of("[a-z]{1,4}")).prop_map(|(id, arguments, signature)| {
                Content::ToolCall(ToolCall { name: format!("do_{id}"), id, arguments, signature })
            }),
        ]
    }

    /// What a message keeps of its order: thinking, then one text, then the calls. Thinking without any proof is one run.
    fn normal(parts: Vec<Content>) -> Vec<Content> {
        let rank = |part: &Content| match part {
            Content::Thinking { .. } | Content::RedactedThinking(_) => 0,
            Content::ToolCall(_) => 2,
            _ => 1,
        };
        let is_proof = |part: &Content| {
            matches!(part, Content::RedactedThinking(_) | Content::Thinking { signature: Some(_), .. })
        };
        let has_proof = parts.iter().any(is_proof);
        let mut sorted = parts;
        sorted.sort_by_key(rank);
        let mut joined: Vec<Content> = Vec::new();
        for part in sorted {
            match (joined.last_mut(), part) {
                (Some(Content::Text(text)), Content::Text(more)) => text.push_str(&more),
                (Some(Content::Thinking { text, .. }), Content::Thinking { text: more, .. }) if !has_proof => {
                    text.push_str(&more);
                }
                (_, part) => joined.push(part),
            }
        }
        joined
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(parts in prop::collection::vec(content(), 0..6), counts in prop::array::uniform4(0_u64..1000)) {
            let [input, cached_input, output, reasoning] = counts;
            let parts = normal(parts);
            let stop = if parts.iter().any(|part| matches!(part, Content::ToolCall(_))) { Stop::Tools } else { Stop::Length };
            let reply = Reply {
                id: "x".into(),
                model: "m".into(),
                choices: vec![Choice { parts, stop, logprobs: Some(Json::of(&json!({"content": []}))) }],
                usage: Some(Usage { input, cached_input, output, reasoning, ..Usage::default() }),
            };
            // The cost is in what is written.
            let usage = reply.usage.map(|usage| Usage { cost: stamp().cost(usage), ..usage });
            prop_assert_eq!(read_chat(&write_reply(&reply, &stamp())), Some(Reply { usage, ..reply }));
        }
    }
}
