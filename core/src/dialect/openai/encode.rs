//! A stream in the shared terms, written as chunks of a chat completion.

use serde::Serialize;

use super::reasoning::Detail;
use super::usage::WireUsage;
use super::write_reply::{ExtraContent, finish_reason, id};
use super::{DATA, DONE};
use crate::dialect::chat::{Delta, Encode, Json, Stamp};
use crate::price::{Price, Usage};

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    stamp: Stamp,
    /// What every chunk begins with: `data: {"id":…,"choices":`.
    head: Vec<u8>,
    /// Which block of thinking is being written.
    thought: usize,
    /// Whether it has begun, and nothing has ended it.
    thinks: bool,
    /// Whether a refusal has been written.
    refused: bool,
}

/// `delta`, with what it may hold.
#[derive(Debug, Default, Serialize)]
struct WireDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_details: Option<[Detail<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[Call<'a>; 1]>,
}

#[derive(Debug, Serialize)]
struct Call<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraContent<'a>>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: WireDelta<'a>,
    logprobs: Option<&'a Json>,
    finish_reason: Option<&'static str>,
}

impl Encode for Encoder {
    fn encode(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        // A proof that comes after something else is not the proof of the thinking before that.
        if self.thinks && matches!(delta, Delta::Text(_) | Delta::Refusal(_) | Delta::ToolCall { .. }) {
            self.next_thought();
        }
        self.thinks |= matches!(delta, Delta::Thinking(_));
        let wire = match delta {
            Delta::Begin { id, model, .. } => {
                self.head = head(id, model, &self.stamp);
                WireDelta { role: Some("assistant"), content: Some(""), ..WireDelta::default() }
            }
            Delta::Text(text) => WireDelta { content: Some(text), ..WireDelta::default() },
            Delta::Refusal(text) => {
                self.refused = true;
                WireDelta { refusal: Some(text), ..WireDelta::default() }
            }
            Delta::Thinking(text) => WireDelta {
                reasoning_content: Some(text),
                reasoning_details: Some([Detail::text(self.thought, text, None)]),
                ..WireDelta::default()
            },
            Delta::Signature(signature) => self.end_thought(Detail::signature(self.thought, signature)),
            Delta::RedactedThinking(data) => self.end_thought(Detail::encrypted(self.thought, data)),
            Delta::ToolCall { call, id, name, signature } => {
                let function = Function { name: Some(name), arguments: "" };
                let extra_content = signature.as_deref().map(ExtraContent::new);
                let call = Call { index: *call, id: Some(id), r#type: Some("function"), function, extra_content };
                WireDelta { tool_calls: Some([call]), ..WireDelta::default() }
            }
            Delta::Arguments { call, json } => {
                let function = Function { name: None, arguments: json };
                let call = Call { index: *call, id: None, r#type: None, function, extra_content: None };
                WireDelta { tool_calls: Some([call]), ..WireDelta::default() }
            }
            Delta::Logprobs(logprobs) => return self.write(WireDelta::default(), Some(logprobs), None, out),
            Delta::Stop(stop) => {
                return self.write(WireDelta::default(), None, Some(finish_reason(stop, self.refused)), out);
            }
            Delta::Ping => return out.extend_from_slice(b": tidegate\n\n"),
            Delta::Usage(_) | Delta::Error(_) => return,
        };
        self.write(wire, None, None, out);
    }

    fn end(&mut self, usage: Option<Usage>, out: &mut Vec<u8>) {
        if let Some(usage) = usage.filter(|_| self.stamp.wants_usage) {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"[],\"usage\":");
            append(&WireUsage::new(usage, &self.stamp), out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(DONE);
    }

    fn hand_over(&mut self, price: Option<Price>) {
        self.stamp.price = price;
    }
}

impl Encoder {
    /// For the stream of one answer.
    pub fn new(stamp: Stamp) -> Self {
        Self { head: head("", "", &stamp), stamp, thought: 0, thinks: false, refused: false }
    }

    fn end_thought<'a>(&mut self, detail: Detail<'a>) -> WireDelta<'a> {
        self.next_thought();
        WireDelta { reasoning_details: Some([detail]), ..WireDelta::default() }
    }

    fn next_thought(&mut self) {
        self.thought += 1;
        self.thinks = false;
    }

    fn write(&self, delta: WireDelta<'_>, logprobs: Option<&Json>, finish: Option<&'static str>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        append(&[Choice { index: 0, delta, logprobs, finish_reason: finish }], out);
        // Who asked for the usage is told in every chunk that it is still to come.
        out.extend_from_slice(if self.stamp.wants_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" });
    }
}

/// What every chunk of an answer begins with.
fn head(vendors_id: &str, model: &str, stamp: &Stamp) -> Vec<u8> {
    chunk_head(&id(vendors_id, "chatcmpl", stamp), "chat.completion.chunk", model, stamp)
}

/// `data: {"id":…,"object":…,"created":…,"model":…,"choices":`
pub(super) fn chunk_head(id: &str, object: &str, model: &str, stamp: &Stamp) -> Vec<u8> {
    let mut head = DATA.to_vec();
    head.extend_from_slice(b"{\"id\":");
    append(&id, &mut head);
    head.extend_from_slice(b",\"object\":");
    append(&object, &mut head);
    head.extend_from_slice(b",\"created\":");
    append(&stamp.created(), &mut head);
    head.extend_from_slice(b",\"model\":");
    append(&model, &mut head);
    head.extend_from_slice(b",\"choices\":");
    head
}

pub(super) fn append(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("our own types always have a JSON form, and a Vec takes it");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::chat::{Decode, Stop};
    use crate::dialect::openai::Decoder;
    use crate::dialect::openai::tests::stamp;

    fn begin() -> Delta {
        Delta::Begin { id: "x".into(), model: "m".into(), usage: None }
    }

    fn encoded(deltas: &[Delta], usage: Option<Usage>, stamp: Stamp) -> String {
        let mut encoder = Encoder::new(stamp);
        let mut out = Vec::new();
        for delta in deltas {
            encoder.encode(delta, &mut out);
        }
        encoder.end(usage, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The chunks of a stream, less what all have in common.
    fn chunks(stream: &str) -> Vec<Value> {
        let events = stream.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        let chunks = events.filter(|data| *data != "[DONE]").map(|data| {
            let mut chunk: Value = serde_json::from_str(data).unwrap();
            let fields = chunk.as_object_mut().unwrap();
            assert_eq!(fields.remove("id"), Some(json!("x")));
            assert_eq!(fields.remove("object"), Some(json!("chat.completion.chunk")));
            assert_eq!(fields.remove("created"), Some(json!(1_700_000_000)));
            assert_eq!(fields.remove("model"), Some(json!("m")));
            chunk
        });
        chunks.collect()
    }

    #[test]
    fn a_stream_in_openais_form() {
        let deltas = [begin(), Delta::Ping, Delta::Text("hi".into()), Delta::Stop(Stop::End)];
        let usage = Usage { input: 10, output: 3, ..Usage::default() };
        let stream = encoded(&deltas, Some(usage), stamp());
        let choice = |delta: Value, finish: Value| json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        let expected = [
            json!({"choices": [choice(json!({"role": "assistant", "content": ""}), Value::Null)], "usage": null}),
            json!({"choices": [choice(json!({"content": "hi"}), Value::Null)], "usage": null}),
            json!({"choices": [choice(json!({}), json!("stop"))], "usage": null}),
            json!({"choices": [], "usage": {
                "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13,
                "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0}, "cost": 0.000_016,
            }}),
        ];
        assert_eq!(chunks(&stream), expected);
        assert!(stream.contains("\n\n: tidegate\n\ndata: ") && stream.ends_with("\n\ndata: [DONE]\n\n"), "{stream}");
        let stream = encoded(&deltas, Some(usage), Stamp { wants_usage: false, ..stamp() });
        assert!(!stream.contains("usage") && stream.ends_with("data: [DONE]\n\n"), "{stream}");
    }

    #[test]
    fn an_answer_without_a_name_gets_ours() {
        let nameless = Delta::Begin { id: String::new(), model: "m\"".into(), usage: None };
        let stream = encoded(&[nameless], None, stamp());
        assert!(stream.starts_with(
            r#"data: {"id":"chatcmpl-req","object":"chat.completion.chunk","created":1700000000,"model":"m\"","#
        ));
    }

    #[test]
    fn a_call_and_the_thinking_before_it() {
        let deltas = [
            begin(),
            Delta::Thinking("hm".into()),
            Delta::Signature("s".into()),
            Delta::RedactedThinking("e".into()),
            Delta::ToolCall { call: 0, id: "a".into(), name: "f".into(), signature: Some("sig".into()) },
            Delta::Arguments { call: 0, json: "{}".into() },
            Delta::Stop(Stop::Tools),
        ];
        let chunks = chunks(&encoded(&deltas, None, Stamp { wants_usage: false, ..stamp() }));
        let deltas: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
        let text = json!({"type": "reasoning.text", "text": "hm", "index": 0});
        assert_eq!(deltas[1], &json!({"reasoning_content": "hm", "reasoning_details": [text]}));
        assert_eq!(
            deltas[2],
            &json!({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]})
        );
        assert_eq!(
            deltas[3],
            &json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "e", "index": 1}]})
        );
        let call = json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""},
                          "extra_content": {"google": {"thought_signature": "sig"}}});
        assert_eq!(deltas[4], &json!({"tool_calls": [call]}));
        assert_eq!(deltas[5], &json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}));
        assert_eq!(chunks[6]["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn a_proof_after_the_text_is_not_of_the_thinking_before_it() {
        let deltas = [begin(), Delta::Thinking("hm".into()), Delta::Text("So".into()), Delta::Signature("s".into())];
        let stream = encoded(&deltas, None, stamp());
        let index = |chunk: &Value| chunk["choices"][0]["delta"]["reasoning_details"][0]["index"].as_u64();
        assert_eq!(chunks(&stream).iter().map(index).collect::<Vec<_>>(), [None, Some(0), None, Some(1)]);
    }

    /// What happens in streams, in any order but for calls, which begin before their arguments come.
    fn happenings() -> impl Strategy<Value = Vec<Delta>> {
        let one = prop_oneof![
            Just(Delta::Ping),
            "\\PC{1,8}".prop_map(Delta::Text),
            "\\PC{1,8}".prop_map(Delta::Thinking),
            "[a-z]{1,4}".prop_map(Delta::Signature),
            "[a-z]{1,4}".prop_map(Delta::RedactedThinking),
            "\\PC{1,8}".prop_map(Delta::Refusal),
            Just(Delta::Logprobs(Json::of(&json!({"content": []})))),
            (prop::option::of("[a-z]{1,4}"), any::<bool>()).prop_map(|(signature, _)| {
                Delta::ToolCall { call: 0, id: "id".into(), name: "f".into(), signature }
            }),
            "\\PC{1,8}".prop_map(|json| Delta::Arguments { call: 0, json }),
        ];
        prop::collection::vec(one, 0..12).prop_map(|mut deltas| {
            let mut calls = 0;
            deltas.retain_mut(|delta| match delta {
                Delta::ToolCall { call, id, .. } => {
                    *call = calls;
                    *id = format!("id{calls}");
                    calls += 1;
                    true
                }
                Delta::Arguments { call, .. } => {
                    *call = calls.saturating_sub(1);
                    calls > 0
                }
                _ => true,
            });
            deltas
        })
    }

    proptest! {
        /// What is written and read again is the same, in whatever pieces it arrives.
        #[test]
        fn what_is_written_reads_the_same(deltas in happenings(), size in 1_usize..80, wants_usage in any::<bool>()) {
            let usage = Usage { input: 7, output: 2, ..Usage::default() };
            let mut whole = vec![begin()];
            whole.extend(deltas);
            let has_calls = whole.iter().any(|delta| matches!(delta, Delta::ToolCall { .. }));
            whole.push(Delta::Stop(if has_calls { Stop::Tools } else { Stop::Length }));
            let stream = encoded(&whole, Some(usage), Stamp { wants_usage, ..stamp() });
            let mut decoder = Decoder::new();
            let mut read = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                decoder.push(bytes::Bytes::copy_from_slice(piece));
                while let Some(delta) = decoder.next_delta().unwrap() {
                    read.push(delta);
                }
            }
            let told = Usage { cost: stamp().cost(usage), ..usage };
            whole.extend(wants_usage.then_some(Delta::Usage(told)));
            prop_assert_eq!(read, whole);
            prop_assert!(decoder.is_done() && decoder.malformed() == 0);
        }
    }
}
