//! The encoders of clients' streams, driven by stories that no vendor would tell.

use std::fmt::Debug;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use tidegate_core::dialect::chat::{self, Decode, Delta, Encode, Json, Stamp};
use tidegate_core::dialect::openai::{completions, responses};
use tidegate_core::dialect::{anthropic, openai};
use tidegate_core::price::{Picodollars, Price, Usage};
use tidegate_core::time::Timestamp;

use crate::check;

/// A stream as it might happen, in the fuzzer's words.
#[derive(Debug, Arbitrary)]
struct Story {
    id: String,
    model: String,
    wants_usage: bool,
    steps: Vec<Step>,
    stop: Option<Stop>,
    usage: Option<[u64; 6]>,
    /// How it breaks off, if it does.
    fails: Option<[String; 3]>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Ping,
    Text(String),
    Thinking(String),
    Signature(String),
    RedactedThinking(String),
    Refusal(String),
    Call {
        id: String,
        name: String,
        signature: Option<String>,
    },
    /// For one of the calls that have begun.
    Arguments(u8, String),
    Logprobs(String),
}

#[derive(Debug, Arbitrary)]
enum Stop {
    End,
    Sequence(Option<String>),
    Length,
    Tools,
    Filtered,
    Refusal,
    Pause,
}

/// Tells a story to each encoder.
pub(crate) fn encoders(input: &[u8]) {
    let Ok(story) = Story::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let price = Price { input: Picodollars(1), output: Picodollars(2), ..Price::default() };
    let stamp = Stamp {
        request_id: "tg-1".to_owned(),
        at: Timestamp(1_800_000_000_000),
        price: Some(price),
        wants_usage: story.wants_usage,
    };
    let deltas = deltas(&story);
    let _ = tell(completions::Encoder::new(stamp.clone()), &deltas, &story);
    let echo = responses::Echo::read(br#"{"model":"m","input":"Hi"}"#);
    let _ = tell(responses::Encoder::new(echo, stamp.clone()), &deltas, &story);
    let chat = tell(openai::Encoder::new(stamp.clone()), &deltas, &story);
    reads_back(openai::Decoder::default(), chat, &deltas, &story);
    let messages = tell(anthropic::Encoder::new(stamp), &deltas, &story);
    reads_back(anthropic::Decoder::default(), messages, &deltas, &story);
}

fn tell(mut encoder: impl Encode, deltas: &[Delta], story: &Story) -> Vec<u8> {
    let mut out = Vec::new();
    for delta in deltas {
        encoder.encode(delta, &mut out);
    }
    match &story.fails {
        Some([kind, code, message]) => drop(encoder.fail(kind, code, message, &mut out)),
        None => encoder.end(usage(story), &mut out),
    }
    check::events(&out);
    out
}

/// A decoder of the same dialect understands every event, and hears the same words.
fn reads_back(mut decoder: impl Decode, stream: Vec<u8>, deltas: &[Delta], story: &Story) {
    let stream = Bytes::from(stream);
    decoder.push(stream.clone());
    let mut heard = Vec::new();
    while let Some(delta) = decoder.next_delta().expect("an event this small fits") {
        heard.push(delta);
    }
    assert_eq!(decoder.malformed(), 0, "{}", stream.escape_ascii());
    assert_eq!(decoder.is_done(), story.fails.is_none(), "{}", stream.escape_ascii());
    let (heard, said) = (text(&heard), text(deltas));
    // What is held back until a call is whole is lost when the stream breaks off.
    let is_all = if story.fails.is_some() { said.starts_with(&heard) } else { said == heard };
    assert!(is_all, "{heard:?} is heard of {said:?}: {}", stream.escape_ascii());
}

/// All that is said aloud: Anthropic has no refusals in words, so that they are text there.
fn text(deltas: &[Delta]) -> String {
    let text = |delta: &Delta| match delta {
        Delta::Text(text) | Delta::Refusal(text) => Some(text.clone()),
        _ => None,
    };
    deltas.iter().filter_map(text).collect()
}

fn deltas(story: &Story) -> Vec<Delta> {
    let (id, model) = (story.id.clone(), story.model.clone());
    let mut calls = 0_u32;
    let mut deltas = vec![Delta::Begin { id, model, usage: usage(story).filter(|_| !story.wants_usage) }];
    for step in &story.steps {
        deltas.push(match step {
            Step::Ping => Delta::Ping,
            Step::Text(text) => Delta::Text(text.clone()),
            Step::Thinking(text) => Delta::Thinking(text.clone()),
            Step::Signature(text) => Delta::Signature(text.clone()),
            Step::RedactedThinking(text) => Delta::RedactedThinking(text.clone()),
            Step::Refusal(text) => Delta::Refusal(text.clone()),
            Step::Call { id, name, signature } => {
                calls += 1;
                let (id, name, signature) = (id.clone(), name.clone(), signature.clone());
                Delta::ToolCall { call: calls - 1, id, name, signature }
            }
            Step::Arguments(..) if calls == 0 => continue,
            Step::Arguments(call, json) => Delta::Arguments { call: u32::from(*call) % calls, json: json.clone() },
            Step::Logprobs(token) => {
                let token = serde_json::json!({"token": token, "logprob": -1, "bytes": null, "top_logprobs": []});
                Delta::Logprobs(Json::of(&serde_json::json!({ "content": [token] })))
            }
        });
    }
    deltas.extend(story.stop.as_ref().map(|stop| Delta::Stop(stopped(stop))));
    deltas
}

fn stopped(stop: &Stop) -> chat::Stop {
    match stop {
        Stop::End => chat::Stop::End,
        Stop::Sequence(text) => chat::Stop::Sequence(text.clone()),
        Stop::Length => chat::Stop::Length,
        Stop::Tools => chat::Stop::Tools,
        Stop::Filtered => chat::Stop::Filtered,
        Stop::Refusal => chat::Stop::Refusal,
        Stop::Pause => chat::Stop::Pause,
    }
}

fn usage(story: &Story) -> Option<Usage> {
    let [input, cached_input, cache_write, cache_write_1h, output, reasoning] = story.usage?;
    Some(Usage { input, cached_input, cache_write, cache_write_1h, output, reasoning, cost: None })
}
