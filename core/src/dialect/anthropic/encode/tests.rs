//! Streams as a strict client reads them: one that raises where Anthropic's protocol is broken.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::Decoder;
use super::*;
use crate::dialect::chat::Decode;
use crate::price::{Picodollars, Price};
use crate::time::Timestamp;

const GOLDEN: &str = include_str!("../../../../../tests/data/golden/anthropic-client/stream.sse");

/// What a vendor says after its answer's end.
const LATE: &str = "nothing comes after the end";

fn stamp() -> Stamp {
    let price = Price {
        input: Picodollars(2_000_000),
        cached_input: Some(Picodollars(500_000)),
        output: Picodollars(8_000_000),
        ..Price::default()
    };
    Stamp { request_id: "7f3a".into(), at: Timestamp(0), price: Some(price), wants_usage: false }
}

fn usage() -> Usage {
    Usage { input: 100, cached_input: 40, output: 25, reasoning: 10, ..Usage::default() }
}

fn encode(deltas: &[Delta], usage: Option<Usage>) -> String {
    let mut encoder = Encoder::new(stamp());
    let mut out = Vec::new();
    for delta in deltas {
        encoder.encode(delta, &mut out);
    }
    encoder.end(usage, &mut out);
    String::from_utf8(out).unwrap()
}

/// What a decoder makes of a stream that arrives in pieces of so many bytes.
fn decode(stream: &str, bytes: usize) -> Vec<Delta> {
    let mut decoder = Decoder::default();
    let mut deltas = Vec::new();
    for piece in stream.as_bytes().chunks(bytes) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(delta) = decoder.next_delta().unwrap() {
            deltas.push(delta);
        }
    }
    assert!(decoder.is_done());
    assert_eq!(decoder.malformed(), 0);
    deltas
}

fn begin() -> Delta {
    Delta::Begin { id: "chatcmpl-1".into(), model: "deepseek-v4".into(), usage: None }
}

fn call(call: u32, name: &str) -> Delta {
    Delta::ToolCall { call, id: format!("call_{}", call + 1), name: name.into(), signature: None }
}

fn arguments(call: u32, json: &str) -> Delta {
    Delta::Arguments { call, json: json.into() }
}

/// Reads a stream as the SDKs do, and fails where they would or where the protocol is broken. Comes to the message.
fn read(stream: &str) -> Value {
    let mut message = Value::Null;
    let mut open: Option<usize> = None;
    let mut json = String::new();
    let (mut told, mut ended) = (false, false);
    assert!(stream.is_empty() || stream.ends_with("\n\n"));
    for event in stream.split_terminator("\n\n") {
        let (name, data) = event.split_once('\n').unwrap();
        let name = name.strip_prefix("event: ").unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["type"], name);
        assert!(!ended, "{name} after the end");
        if !matches!(name, "ping" | "message_start") {
            assert!(!message.is_null(), "{name} before message_start");
        }
        let index = data["index"].as_u64().map(|index| usize::try_from(index).unwrap());
        match name {
            "ping" => {}
            "message_start" => {
                assert!(message.is_null(), "a second message_start");
                message = data["message"].clone();
                assert_eq!(message["content"], json!([]));
                assert!(message["usage"]["input_tokens"].is_u64() && message["usage"]["output_tokens"].is_u64());
            }
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!((open, index, told), (None, Some(content.len()), false));
                content.push(data["content_block"].clone());
                open = index;
                json.clear();
            }
            "content_block_delta" => {
                assert!(open.is_some() && open == index, "a delta for a block that is not open");
                grow(&mut message["content"][index.unwrap()], &data["delta"], &mut json);
            }
            "content_block_stop" => {
                assert!(open.is_some() && open == index, "the end of a block that is not open");
                let block = &mut message["content"][index.unwrap()];
                if block["type"] == "tool_use" {
                    // The text, for the tests to compare: an SDK parses it.
                    block["input"] = json.as_str().into();
                }
                open = None;
            }
            "message_delta" => {
                assert_eq!((open, told), (None, false));
                told = true;
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                message["stop_sequence"] = data["delta"]["stop_sequence"].clone();
                message["usage"] = data["usage"].clone();
            }
            "message_stop" => {
                assert!(told, "no stop reason");
                ended = true;
            }
            _ => panic!("unknown event {name}"),
        }
    }
    assert!(ended, "no end");
    message
}

fn grow(block: &mut Value, delta: &Value, json: &mut String) {
    let kind = delta["type"].as_str().unwrap();
    let (of, member) = match kind {
        "text_delta" => ("text", "text"),
        "thinking_delta" => ("thinking", "thinking"),
        "signature_delta" => ("thinking", "signature"),
        "input_json_delta" => ("tool_use", "partial_json"),
        _ => panic!("unknown delta {kind}"),
    };
    assert_eq!(block["type"], of);
    let more = delta[member].as_str().unwrap();
    assert!(!more.is_empty(), "a {kind} of nothing");
    match kind {
        "input_json_delta" => json.push_str(more),
        "signature_delta" => {
            assert_eq!(block["signature"], "", "a second signature, which the SDKs would put in the first one's place");
            block["signature"] = more.into();
        }
        _ => block[member] = (block[member].as_str().unwrap().to_owned() + more).into(),
    }
}

fn texts(message: &Value, kind: &str, member: &str) -> Vec<String> {
    let blocks = message["content"].as_array().unwrap().iter();
    blocks.filter(|block| block["type"] == kind).map(|block| block[member].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_documented_stream() {
    let deltas = [
        begin(),
        Delta::Ping,
        Delta::Text(String::new()),
        Delta::Thinking("The user wants ".into()),
        Delta::Thinking("the weather.".into()),
        Delta::Signature("EqQB".into()),
        Delta::RedactedThinking("EmwK".into()),
        Delta::Text("Let me look.".into()),
        call(0, "weather"),
        arguments(0, r#"{"place":"#),
        arguments(0, r#""Kyoto"}"#),
        call(1, "clock"),
        arguments(1, "{}"),
        Delta::Stop(Stop::Tools),
        Delta::Text(LATE.into()),
        Delta::Usage(usage()),
    ];
    let stream = encode(&deltas, Some(usage()));
    assert_eq!(stream, GOLDEN);
    read(&stream);
    let told =
        deltas.into_iter().filter(|delta| !matches!(delta, Delta::Text(text) if text.is_empty() || text == LATE));
    let begin = Delta::Begin { id: "msg_7f3a".into(), model: "deepseek-v4".into(), usage: Some(Usage::default()) };
    assert_eq!(decode(&stream, 1), std::iter::once(begin).chain(told.skip(1)).collect::<Vec<_>>());
}

#[test]
fn a_stream_of_nothing_is_whole_all_the_same() {
    let message = read(&encode(&[], None));
    assert_eq!((&message["id"], &message["content"]), (&json!("msg_7f3a"), &json!([])));
    assert_eq!((&message["stop_reason"], &message["usage"]["output_tokens"]), (&json!("end_turn"), &json!(0)));
}

#[test]
fn what_the_vendor_counted_first_is_told_first() {
    let begin = Delta::Begin { id: "msg_01".into(), model: "m".into(), usage: Some(usage()) };
    let stream = encode(&[begin, Delta::Text("a".into()), Delta::Stop(Stop::Sequence(Some("b".into())))], None);
    let first: Value = serde_json::from_str(stream.lines().nth(1).unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&first["message"]["id"], &first["message"]["usage"]["input_tokens"]), (&json!("msg_01"), &json!(60)));
    let message = read(&stream);
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("stop_sequence"), &json!("b")));
    assert_eq!((&message["usage"]["input_tokens"], &message["usage"]["cost"]), (&json!(60), &json!(0.00034)));
}

#[test]
fn the_end_comes_once() {
    let mut encoder = Encoder::new(stamp());
    let mut out = Vec::new();
    encoder.end(None, &mut out);
    let length = out.len();
    encoder.end(None, &mut out);
    encoder.encode(&Delta::Text("late".into()), &mut out);
    assert_eq!(out.len(), length);
}

#[test]
fn calls_that_interleave_are_written_one_after_another() {
    let deltas = [
        call(0, "weather"),
        arguments(0, r#"{"a""#),
        call(1, "clock"),
        arguments(1, r#"{"b""#),
        arguments(0, ":1"),
        Delta::Text("between".into()),
        arguments(1, ":2}"),
        arguments(0, "}"),
        Delta::Text(" and after".into()),
    ];
    let message = read(&encode(&deltas, None));
    let content = json!([
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": r#"{"a":1}"#},
        {"type": "tool_use", "id": "call_2", "name": "clock", "input": r#"{"b":2}"#},
        {"type": "text", "text": "between and after"},
    ]);
    assert_eq!(message["content"], content);
    assert_eq!(message["stop_reason"], "tool_use");
}

#[test]
fn a_finished_call_keeps_nothing_waiting() {
    let mut encoder = Encoder::new(stamp());
    let mut out = Vec::new();
    for delta in [call(0, "f"), arguments(0, "{"), call(1, "g")] {
        encoder.encode(&delta, &mut out);
    }
    assert!(!String::from_utf8_lossy(&out).contains("call_2"));
    encoder.encode(&arguments(0, "}"), &mut out);
    assert!(String::from_utf8_lossy(&out).contains("call_2"));
    assert_eq!(encoder.held_bytes, 0);
}

#[test]
fn what_waits_has_a_bound() {
    let mut encoder = Encoder::new(stamp());
    let mut out = Vec::new();
    encoder.encode(&call(0, "f"), &mut out);
    encoder.encode(&arguments(0, "{"), &mut out);
    let text = "x".repeat(10_000);
    for _ in 0..300 {
        encoder.encode(&Delta::Text(text.clone()), &mut out);
        assert!(encoder.held_bytes <= HELD_BYTES_MAX);
    }
    for nth in 1..1000 {
        encoder.encode(&call(nth, "g"), &mut out);
        assert!(encoder.held.len() <= HELD_BLOCKS_MAX);
    }
    encoder.end(None, &mut out);
    let message = read(&String::from_utf8(out).unwrap());
    assert_eq!(texts(&message, "text", "text").concat().len(), 3_000_000);
    assert_eq!(texts(&message, "tool_use", "id").len(), 1000);
}

/// Deltas in any order at all.
fn any_delta() -> impl Strategy<Value = Delta> {
    let text = prop::sample::select(vec!["", "a", "é\n", "{", "}", r#"{"a":1}"#, "\"", "\\"]);
    (0..11_u8, 0..5_u32, text).prop_map(|(kind, nth, text)| match kind {
        0 => begin(),
        1 => Delta::Ping,
        2 | 3 => Delta::Text(text.into()),
        4 => Delta::Thinking(text.into()),
        5 => Delta::Signature(text.into()),
        6 => Delta::RedactedThinking(text.into()),
        7 => Delta::Refusal(text.into()),
        8 => call(nth, "f"),
        _ => arguments(nth, text),
    })
}

/// Answers of a vendor that is well: whole calls, in any mixture with each other, with text and with thinking.
fn mixed_answer() -> impl Strategy<Value = (Vec<Delta>, Vec<String>)> {
    let json = prop::sample::select(vec!["{}", r#"{"a":"}"}"#, r#" {"b": [1, {"c": "\"{"}]} "#, r#"{"é":{}}"#, ""]);
    (prop::collection::vec(json, 0..5), prop::collection::vec(0..9_usize, 0..80)).prop_map(|(calls, turns)| {
        let mut left: Vec<Vec<char>> = calls.iter().map(|json| json.chars().rev().collect()).collect();
        let (mut deltas, mut begun) = (vec![begin()], 0);
        for turn in turns.into_iter().chain((0..5).flat_map(|call| [call; 30])) {
            let of = u32::try_from(turn).unwrap();
            match turn {
                5 => deltas.push(Delta::Text("t".into())),
                6 => deltas.push(Delta::Thinking("h".into())),
                7 => deltas.push(Delta::Signature("s".into())),
                8 => deltas.push(Delta::Text("é".into())),
                _ if turn < begun => {
                    deltas.extend(left[turn].pop().map(|next| arguments(of, &next.to_string())));
                }
                _ if begun < left.len() => {
                    deltas.push(call(u32::try_from(begun).unwrap(), "f"));
                    begun += 1;
                }
                _ => {}
            }
        }
        (deltas, calls.into_iter().map(str::to_owned).collect())
    })
}

fn joined(deltas: &[Delta], pick: impl Fn(&Delta) -> Option<&String>) -> String {
    deltas.iter().filter_map(pick).map(String::as_str).collect()
}

proptest! {
    /// Whatever comes in whatever order, the protocol is kept and no text is lost.
    #[test]
    fn any_deltas_make_a_stream_that_reads(deltas in prop::collection::vec(any_delta(), 0..60)) {
        let message = read(&encode(&deltas, None));
        let text = joined(&deltas, |delta| match delta {
            Delta::Text(text) | Delta::Refusal(text) => Some(text),
            _ => None,
        });
        prop_assert_eq!(texts(&message, "text", "text").concat(), text);
        let thinking = joined(&deltas, |delta| if let Delta::Thinking(text) = delta { Some(text) } else { None });
        prop_assert_eq!(texts(&message, "thinking", "thinking").concat(), thinking);
        let signatures = joined(&deltas, |delta| if let Delta::Signature(text) = delta { Some(text) } else { None });
        prop_assert_eq!(texts(&message, "thinking", "signature").concat(), signatures);
    }

    /// However calls are mixed, each has its arguments to the letter.
    #[test]
    fn calls_survive_any_mixture((deltas, calls) in mixed_answer()) {
        let message = read(&encode(&deltas, None));
        // Space after the end of an object may come when its block is closed.
        let trimmed = |texts: Vec<String>| texts.iter().map(|text| text.trim_end().to_owned()).collect::<Vec<_>>();
        prop_assert_eq!(trimmed(texts(&message, "tool_use", "input")), trimmed(calls));
        let text = joined(&deltas, |delta| if let Delta::Text(text) = delta { Some(text) } else { None });
        prop_assert_eq!(texts(&message, "text", "text").concat(), text);
    }
    /// What is written reads as deltas that write the same message, but that a call without arguments has an empty object.
    #[test]
    fn a_stream_that_is_read_writes_the_same_message(
        deltas in prop::collection::vec(any_delta(), 0..40),
        stop in prop::sample::select(vec![Stop::End, Stop::Length, Stop::Tools, Stop::Refusal, Stop::Pause]),
        bytes in 1..50_usize,
    ) {
        let begin = Delta::Begin { id: "msg_01".into(), model: "m".into(), usage: Some(usage()) };
        let deltas: Vec<_> = [vec![begin], deltas, vec![Delta::Stop(stop)]].concat();
        let stream = encode(&deltas, Some(usage()));
        let mut message = read(&stream);
        for block in message["content"].as_array_mut().unwrap() {
            if block["input"] == "" {
                block["input"] = "{}".into();
            }
        }
        prop_assert_eq!(read(&encode(&decode(&stream, bytes), Some(usage()))), message);
    }
}
