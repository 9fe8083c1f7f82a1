//! The answers that clients get, whole and streamed: by the documentation's examples, and by the rules of the protocol.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ANSWER_BYTES_MAX, Echo, Encoder, error_event, read_request, write_reply};
use crate::dialect::VendorError;
use crate::dialect::chat::{Choice, Content, Delta, Encode, Json, Reply, Role, Stamp, Stop, ToolCall};
use crate::dialect::sse::Splitter;
use crate::price::{Picodollars, Price, Usage};
use crate::time::Timestamp;

const USAGE: Usage =
    Usage { input: 36, cached_input: 12, cache_write: 0, cache_write_1h: 0, output: 87, reasoning: 20, cost: None };

fn stamp() -> Stamp {
    let price = Price { input: Picodollars(2_000_000), output: Picodollars(8_000_000), ..Price::default() };
    Stamp { request_id: "67ccd2be".into(), at: Timestamp(1_741_476_542_000), price: Some(price), wants_usage: true }
}

fn whole(body: &[u8], parts: Vec<Content>, stop: Stop) -> Value {
    let choice = Choice { parts, stop, logprobs: None };
    let reply = Reply { id: "v1".into(), model: "gpt-x".into(), choices: vec![choice], usage: Some(USAGE) };
    serde_json::from_slice(&write_reply(&reply, &Echo::read(body), &stamp())).unwrap()
}

/// The stream's bytes, begun and ended.
fn stream(body: &[u8], deltas: &[Delta]) -> Vec<u8> {
    let mut encoder = Encoder::new(Echo::read(body), stamp());
    let mut out = Vec::new();
    encoder.encode(&begin(), &mut out);
    for delta in deltas {
        encoder.encode(delta, &mut out);
    }
    encoder.end(Some(USAGE), &mut out);
    out
}

fn begin() -> Delta {
    Delta::Begin { id: "v1".into(), model: "gpt-x".into(), usage: None }
}

fn events(bytes: &[u8]) -> Vec<Value> {
    let mut splitter = Splitter::default();
    splitter.push(Bytes::copy_from_slice(bytes));
    let mut events = Vec::new();
    while let Some(block) = splitter.next_block().unwrap() {
        let Some(data) = block.data else { continue };
        let event: Value = serde_json::from_slice(&data).unwrap();
        let name = format!("event: {}\n", event["type"].as_str().unwrap());
        assert!(block.raw.starts_with(name.as_bytes()), "{event}");
        events.push(event);
    }
    assert_eq!(splitter.rest(), b"");
    events
}

// === The rules of the protocol ===

/// An item as the events so far have built it.
#[derive(Default)]
struct Built {
    id: String,
    kind: String,
    parts: Vec<Value>,
    /// The last part takes deltas; its `.done` has come but not its `part.done`.
    part_open: bool,
    words_done: bool,
    arguments: String,
    arguments_done: bool,
    logprobs: usize,
    done: Option<Value>,
}

/// Follows a stream as a strict client does, and gives the final response.
fn follow(bytes: &[u8]) -> Value {
    let mut items: Vec<Built> = Vec::new();
    let events = events(bytes);
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], at, "{event}");
        let kind = event["type"].as_str().unwrap();
        match (at, kind) {
            (0, "response.created") | (1, "response.in_progress") => {
                assert_eq!(
                    (&event["response"]["status"], &event["response"]["output"]),
                    (&json!("in_progress"), &json!([]))
                );
            }
            (_, "response.completed" | "response.incomplete") => {
                assert_eq!(at + 1, events.len(), "the last event is the last");
                assert_eq!(format!("response.{}", event["response"]["status"].as_str().unwrap()), kind);
            }
            (2.., "response.output_item.added") => {
                assert_eq!(event["output_index"], items.len());
                items.push(added(&event["item"]));
            }
            (2.., _) => {
                let place = usize::try_from(event["output_index"].as_u64().unwrap()).unwrap();
                item_event(&mut items[place], kind, event);
            }
            _ => panic!("{event} is not how a stream begins"),
        }
    }
    let response = events.last().unwrap()["response"].clone();
    let done: Vec<_> = items.into_iter().map(|item| item.done.expect("every item is done")).collect();
    assert_eq!(response["output"], Value::Array(done));
    response
}

fn added(item: &Value) -> Built {
    assert_eq!(item["status"], "in_progress");
    let kind = item["type"].as_str().unwrap().to_owned();
    let empty = match kind.as_str() {
        "message" => item["content"] == json!([]) && item["role"] == "assistant",
        "reasoning" => item["summary"] == json!([]),
        "function_call" => item["arguments"] == "" && item["call_id"].as_str().is_some_and(|id| !id.is_empty()),
        _ => false,
    };
    assert!(empty, "{item}");
    Built { id: item["id"].as_str().unwrap().into(), kind, ..Built::default() }
}

fn item_event(item: &mut Built, kind: &str, event: &Value) {
    assert!(item.done.is_none(), "nothing comes after the item is done: {event}");
    if kind == "response.output_item.done" {
        assert_eq!(event["item"]["id"], item.id.as_str());
        assert_eq!(event["item"]["type"], item.kind.as_str());
        assert!(!item.part_open, "its parts are done: {event}");
        match item.kind.as_str() {
            "message" => {
                assert!(!item.parts.is_empty() && event["item"]["content"] == Value::Array(item.parts.clone()));
            }
            "reasoning" => assert_eq!(event["item"]["summary"], Value::Array(item.parts.clone())),
            _ => assert!(item.arguments_done && event["item"]["arguments"] == item.arguments.as_str()),
        }
        item.done = Some(event["item"].clone());
        return;
    }
    assert_eq!(event["item_id"], item.id.as_str());
    if item.kind == "function_call" {
        call_event(item, kind, event);
    } else {
        talk_event(item, kind, event);
    }
}

fn call_event(item: &mut Built, kind: &str, event: &Value) {
    assert!(!item.arguments_done, "{event}");
    match kind {
        "response.function_call_arguments.delta" => item.arguments += event["delta"].as_str().unwrap(),
        "response.function_call_arguments.done" => {
            assert_eq!(event["arguments"], item.arguments.as_str());
            item.arguments_done = true;
        }
        _ => panic!("{event} is none of a call's"),
    }
}

fn talk_event(item: &mut Built, kind: &str, event: &Value) {
    let index = if item.kind == "reasoning" { "summary_index" } else { "content_index" };
    match kind {
        "response.content_part.added" | "response.reasoning_summary_part.added" => {
            assert_eq!(kind.contains("summary"), item.kind == "reasoning");
            assert!(!item.part_open && event[index] == item.parts.len(), "{event}");
            (item.part_open, item.words_done, item.logprobs) = (true, false, 0);
            item.parts.push(event["part"].clone());
            return;
        }
        _ => assert!(item.part_open && event[index] == item.parts.len() - 1, "{event}"),
    }
    let part = item.parts.last_mut().unwrap();
    let (name, words) = match part["type"].as_str().unwrap() {
        "summary_text" => ("response.reasoning_summary_text", "text"),
        "output_text" => ("response.output_text", "text"),
        "refusal" => ("response.refusal", "refusal"),
        other => panic!("there is no part like {other}"),
    };
    if kind == format!("{name}.delta") {
        assert!(!item.words_done, "{event}");
        let text = part[words].as_str().unwrap().to_owned() + event["delta"].as_str().unwrap();
        part[words] = text.into();
        item.logprobs += event["logprobs"].as_array().map_or(0, Vec::len);
        assert_eq!(event["logprobs"].is_array(), name == "response.output_text");
    } else if kind == format!("{name}.done") {
        assert_eq!(event[words], part[words]);
        item.words_done = true;
    } else {
        assert!(matches!(kind, "response.content_part.done" | "response.reasoning_summary_part.done"), "{event}");
        assert!(item.words_done && event["part"][words] == part[words], "{event}");
        assert_eq!(event["part"]["logprobs"].as_array().map_or(0, Vec::len), item.logprobs);
        *part = event["part"].clone();
        item.part_open = false;
    }
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "tide\n", "é\"\\", "{\"x\":", "1}", "{}", "\u{2028}"]).prop_map(str::to_owned)
}

fn stop() -> impl Strategy<Value = Stop> {
    let all =
        vec![Stop::End, Stop::Sequence(None), Stop::Length, Stop::Tools, Stop::Filtered, Stop::Refusal, Stop::Pause];
    prop::sample::select(all)
}

/// Anything, in any order: also what no decoder should bring forth.
fn delta() -> impl Strategy<Value = Delta> {
    let logprobs = r#"{"content":[{"token":"a","logprob":-0.5,"bytes":null,"top_logprobs":[]}]}"#;
    prop_oneof![
        8 => text().prop_map(Delta::Text),
        5 => text().prop_map(Delta::Thinking),
        2 => text().prop_map(Delta::Refusal),
        2 => text().prop_map(Delta::Signature),
        1 => text().prop_map(Delta::RedactedThinking),
        4 => (0..4_u32, text(), text(), prop::option::of(text()))
            .prop_map(|(call, id, name, signature)| Delta::ToolCall { call, id, name, signature }),
        8 => (0..4_u32, text()).prop_map(|(call, json)| Delta::Arguments { call, json }),
        1 => Just(Delta::Ping),
        1 => Just(Delta::Logprobs(serde_json::from_str(logprobs).unwrap())),
        1 => Just(Delta::Logprobs(serde_json::from_str("7").unwrap())),
        1 => Just(Delta::Usage(USAGE)),
        1 => Just(Delta::Error(VendorError::default())),
        1 => Just(Delta::Begin { id: "again".into(), model: "other".into(), usage: None }),
        1 => stop().prop_map(Delta::Stop),
    ]
}

fn said<'a>(response: &'a Value, kind: &'a str, words: &'a str) -> impl Iterator<Item = String> + 'a {
    let parts = response["output"].as_array().unwrap().iter().flat_map(|item| {
        let parts = if item["type"] == "reasoning" { &item["summary"] } else { &item["content"] };
        parts.as_array().into_iter().flatten()
    });
    parts.filter(move |part| part["type"] == kind).map(move |part| part[words].as_str().unwrap().to_owned())
}

proptest! {
    #[test]
    fn the_protocol_holds_whatever_the_vendor_does(deltas in prop::collection::vec(delta(), 0..40)) {
        let response = follow(&stream(b"{}", &deltas));
        let mut expected: BTreeMap<&str, String> = BTreeMap::new();
        for delta in deltas.iter().take_while(|delta| !matches!(delta, Delta::Stop(_))) {
            match delta {
                Delta::Text(text) => expected.entry("output_text").or_default().push_str(text),
                Delta::Thinking(text) => expected.entry("summary_text").or_default().push_str(text),
                Delta::Refusal(text) => expected.entry("refusal").or_default().push_str(text),
                _ => {}
            }
        }
        for (kind, words) in [("output_text", "text"), ("summary_text", "text"), ("refusal", "refusal")] {
            prop_assert_eq!(said(&response, kind, words).collect::<String>(), expected.remove(kind).unwrap_or_default());
        }
    }

    /// A stream that breaks off anywhere ends in an error that has its number, and a failed response.
    #[test]
    fn a_stream_that_breaks_off_says_so(deltas in prop::collection::vec(delta(), 0..20)) {
        let mut encoder = Encoder::new(Echo::read(b"{}"), stamp());
        let mut out = Vec::new();
        for delta in &deltas {
            encoder.encode(delta, &mut out);
        }
        encoder.fail("upstream_error", "stream_cut", "cut", &mut out);
        let length = out.len();
        encoder.encode(&Delta::Text("late".into()), &mut out);
        encoder.end(None, &mut out);
        encoder.fail("upstream_error", "again", "again", &mut out);
        prop_assert_eq!(out.len(), length, "nothing comes after the end");
        let events = events(&out);
        for (at, event) in events.iter().enumerate() {
            prop_assert_eq!(&event["sequence_number"], &json!(at));
        }
        let [.., error, failed] = &events[..] else { panic!("{events:?}") };
        prop_assert_eq!(&error["error"]["message"], "cut");
        prop_assert_eq!(&failed["response"]["error"], &json!({"code": "stream_cut", "message": "cut"}));
        prop_assert_eq!(&failed["response"]["status"], "failed");
        for item in failed["response"]["output"].as_array().unwrap() {
            prop_assert_ne!(&item["status"], "in_progress");
        }
    }

    /// The same answer is the same object, streamed or not; and what the client sends back of it is what the vendor said.
    #[test]
    fn a_stream_ends_in_what_would_have_been_sent_whole(parts in prop::collection::vec(part(), 0..8), stop in stop()) {
        let parts = distinct(parts);
        let mut deltas: Vec<Delta> = parts.iter().enumerate().flat_map(|(at, part)| deltas_of(at, part)).collect();
        deltas.push(Delta::Stop(stop.clone()));
        let streamed = follow(&stream(b"{}", &deltas));
        prop_assert_eq!(&streamed, &whole(b"{}", parts.clone(), stop));
        let next = json!({"model": "m", "input": streamed["output"]}).to_string();
        let messages = read_request(next.as_bytes()).unwrap().messages;
        let read: Vec<_> = messages.into_iter().flat_map(|message| {
            assert_eq!(message.role, Role::Assistant);
            message.parts.into_iter().map(|part| part.content)
        }).collect();
        prop_assert_eq!(read, parts);
    }
}

fn part() -> impl Strategy<Value = Content> {
    let word = || text().prop_filter("says something", |text| !text.is_empty());
    prop_oneof![
        word().prop_map(Content::Text),
        word().prop_map(Content::Refusal),
        (text(), word()).prop_map(|(text, proof)| Content::Thinking { text, signature: Some(proof) }),
        word().prop_map(Content::RedactedThinking),
        (word(), text(), prop::option::of(word())).prop_map(|(name, arguments, signature)| {
            Content::ToolCall(ToolCall { id: String::new(), name, arguments, signature })
        }),
    ]
}

/// Names the calls, and leaves out what a vendor would have said in one part.
fn distinct(parts: Vec<Content>) -> Vec<Content> {
    let mut parts = parts;
    parts.dedup_by(|later, earlier| {
        matches!((later, earlier), (Content::Text(_), Content::Text(_)) | (Content::Refusal(_), Content::Refusal(_)))
    });
    for (at, part) in parts.iter_mut().enumerate() {
        if let Content::ToolCall(call) = part {
            call.id = format!("call_{at}");
        }
    }
    parts
}

fn deltas_of(at: usize, part: &Content) -> Vec<Delta> {
    match part.clone() {
        Content::Text(text) => text.chars().map(|each| Delta::Text(each.into())).collect(),
        Content::Refusal(text) => vec![Delta::Refusal(text)],
        Content::Thinking { text, signature } => {
            vec![Delta::Thinking(text), Delta::Signature(signature.unwrap_or_default())]
        }
        Content::RedactedThinking(data) => vec![Delta::RedactedThinking(data)],
        Content::ToolCall(ToolCall { id, name, arguments, signature }) => {
            let call = u32::try_from(at).unwrap();
            vec![Delta::ToolCall { call, id, name, signature }, Delta::Arguments { call, json: arguments }]
        }
        other => panic!("no model says {other:?}"),
    }
}

// === Particular answers ===

fn call(call: u32, id: &str) -> Delta {
    Delta::ToolCall { call, id: id.into(), name: "f".into(), signature: None }
}

fn arguments(call: u32, json: &str) -> Delta {
    Delta::Arguments { call, json: json.into() }
}

#[test]
fn arguments_of_several_calls_may_come_interleaved() {
    let deltas = [
        call(0, "a"),
        arguments(0, "{\"x\""),
        call(1, "b"),
        arguments(1, "{}"),
        arguments(0, ":1}"),
        Delta::Stop(Stop::Tools),
    ];
    let response = follow(&stream(b"{}", &deltas));
    let arguments: Vec<_> = response["output"].as_array().unwrap().iter().map(|item| &item["arguments"]).collect();
    assert_eq!(arguments, ["{\"x\":1}", "{}"]);
}

#[test]
fn a_call_whose_arguments_are_whole_is_done_when_the_next_thing_begins() {
    let out = stream(b"{}", &[call(0, "a"), arguments(0, "{}"), call(1, "b"), arguments(1, "{}")]);
    let names: Vec<_> = events(&out).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    let place = |name: &str, skip| names.iter().enumerate().filter(|(_, found)| *found == name).nth(skip).unwrap().0;
    assert!(place("response.output_item.done", 0) < place("response.output_item.added", 1));
}

#[test]
fn a_function_in_a_namespace_is_called_by_both_names() {
    let body = br#"{"tools":[{"type":"namespace","name":"crm","tools":[{"type":"function","name":"find"}]}]}"#;
    let name = read_request(&[&br#"{"input":"hi","#[..], &body[1..]].concat()).unwrap().tools.remove(0).name;
    let called = ToolCall { id: "a".into(), name: name.clone(), arguments: "{}".into(), signature: None };
    let begin = Delta::ToolCall { call: 0, id: "a".into(), name, signature: None };
    let streamed = follow(&stream(body, &[begin, arguments(0, "{}"), Delta::Stop(Stop::Tools)]));
    assert_eq!(streamed, whole(body, vec![Content::ToolCall(called.clone())], Stop::Tools));
    let item = &streamed["output"][0];
    assert_eq!((&item["namespace"], &item["name"]), (&json!("crm"), &json!("find")));
    let next = json!({"input": streamed["output"]}).to_string();
    let messages = read_request(next.as_bytes()).unwrap().messages;
    assert_eq!(messages[0].parts[0].content, Content::ToolCall(called));
}

#[test]
fn how_an_answer_ends() {
    let refusal = Content::Refusal("no".into());
    for (parts, stop, status, reason) in [
        (vec![Content::Text("a".into())], Stop::Length, "incomplete", json!({"reason": "max_output_tokens"})),
        (vec![], Stop::Filtered, "incomplete", json!({"reason": "content_filter"})),
        (vec![], Stop::Refusal, "incomplete", json!({"reason": "content_filter"})),
        (vec![refusal], Stop::Refusal, "completed", Value::Null),
        (vec![], Stop::Sequence(Some("x".into())), "completed", Value::Null),
    ] {
        let response = whole(b"{}", parts.clone(), stop.clone());
        assert_eq!((&response["status"], &response["incomplete_details"]), (&json!(status), &reason), "{stop:?}");
        if !parts.is_empty() {
            assert_eq!(response["output"][0]["status"], status);
        }
    }
}

#[test]
fn an_answer_beyond_the_bound_ends_there_as_too_long() {
    let piece = "x".repeat(1 << 20);
    let out = stream(b"{}", &vec![Delta::Text(piece); (ANSWER_BYTES_MAX >> 20) + 3]);
    let response = follow(&out);
    assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
    let length = said(&response, "output_text", "text").collect::<String>().len();
    assert_eq!(length, ANSWER_BYTES_MAX - (1 << 20), "the last piece that fits is the last");
}

#[test]
fn a_flood_of_calls_is_bounded_too() {
    let mut encoder = Encoder::new(Echo::read(b"{}"), stamp());
    let mut out = Vec::new();
    let mut length = 0;
    for count in 0..u32::try_from(ANSWER_BYTES_MAX / 256 + 10).unwrap() {
        encoder.encode(&call(count, "a"), &mut out);
        length += out.len();
        out.clear();
    }
    encoder.encode(&Delta::Stop(Stop::Tools), &mut out);
    encoder.end(None, &mut out);
    assert!(length > 0 && out.ends_with(b"\n\n"));
    let last = out.windows(7).rposition(|window| window == b"event: ").unwrap();
    assert!(out[last..].starts_with(b"event: response.incomplete"));
}

#[test]
fn log_probabilities_go_with_the_text() {
    let logprobs = r#"{"content":[{"token":"hé","logprob":-0.25,"bytes":null,"top_logprobs":[{"token":"a","logprob":-2.5,"bytes":[97]}]}]}"#;
    let logprobs: Json = serde_json::from_str(logprobs).unwrap();
    let expected = json!([{"token": "hé", "logprob": -0.25, "bytes": [104, 195, 169],
        "top_logprobs": [{"token": "a", "logprob": -2.5, "bytes": [97], "top_logprobs": []}]}]);
    let deltas = [Delta::Text("hé".into()), Delta::Logprobs(logprobs.clone()), Delta::Stop(Stop::End)];
    let streamed = follow(&stream(b"{}", &deltas));
    let choice = Choice { parts: vec![Content::Text("hé".into())], stop: Stop::End, logprobs: Some(logprobs) };
    let reply = Reply { choices: vec![choice], ..Reply::default() };
    let whole: Value = serde_json::from_slice(&write_reply(&reply, &Echo::read(b"{}"), &stamp())).unwrap();
    for response in [streamed, whole] {
        let found = &response["output"][0]["content"][0]["logprobs"];
        assert_eq!(found[0]["token"], expected[0]["token"]);
        assert_eq!(found[0]["bytes"], expected[0]["bytes"]);
        assert_eq!(found[0]["top_logprobs"][0]["logprob"], -2.5);
    }
}

#[test]
fn a_reply_without_a_choice_or_a_price_is_an_object_all_the_same() {
    let stamp = Stamp { price: None, ..stamp() };
    let reply = Reply { usage: Some(USAGE), ..Reply::default() };
    let response: Value = serde_json::from_slice(&write_reply(&reply, &Echo::read(b""), &stamp)).unwrap();
    assert_eq!((&response["output"], response["usage"].get("cost")), (&json!([]), None));
}

#[test]
fn an_error_before_the_stream_is_in_both_forms() {
    let [event] = &events(&error_event("upstream_error", "stream_cut", "cut\nhere"))[..] else { panic!() };
    let body = json!({"type": "upstream_error", "code": "stream_cut", "message": "cut\nhere", "param": null});
    let expected = json!({"type": "error", "sequence_number": 0, "code": "stream_cut", "message": "cut\nhere", "param": null, "error": body});
    assert_eq!(event, &expected);
}

// === The documentation's examples ===

/// The request, the response and the stream of a name.
macro_rules! golden {
    ($name:literal) => {
        [golden!($name, ".request.json"), golden!($name, ".response.json"), golden!($name, ".stream")]
    };
    ($name:literal, $kind:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/golden/responses/", $name, $kind))
    };
}

/// Compares with golden files, both whole and streamed. The request is the documentation's.
fn compare([request, response, events]: [&str; 3], parts: Vec<Content>, deltas: &[Delta]) {
    read_request(request.as_bytes()).unwrap();
    let response: Value = serde_json::from_str(response).unwrap();
    let Some(Delta::Stop(stop)) = deltas.last() else { panic!("the answer ends") };
    assert_eq!(whole(request.as_bytes(), parts, stop.clone()), response);
    let streamed = stream(request.as_bytes(), deltas);
    assert_eq!(follow(&streamed), response);
    assert_eq!(String::from_utf8(streamed).unwrap(), events);
}

#[test]
fn documented_text() {
    let words = ["In a peaceful grove", " beneath a silver moon,", " a unicorn named Lumina"];
    let mut deltas = words.map(|word| Delta::Text(word.into())).to_vec();
    deltas.push(Delta::Stop(Stop::End));
    compare(golden!("text"), vec![Content::Text(words.concat())], &deltas);
}

#[test]
fn documented_call() {
    let id = "call_unLAR8MvFNptuiZK6K6HCy5k";
    let (name, json) = ("get_current_weather", "{\"location\":\"Boston, MA\",\"unit\":\"celsius\"}");
    let call = ToolCall { id: id.into(), name: name.into(), arguments: json.into(), signature: None };
    let (first, second) = json.split_at(12);
    let begin = Delta::ToolCall { call: 0, id: id.into(), name: name.into(), signature: None };
    let deltas = [begin, arguments(0, first), arguments(0, second), Delta::Stop(Stop::Tools)];
    compare(golden!("call"), vec![Content::ToolCall(call)], &deltas);
}

#[test]
fn documented_reasoning_and_a_cut_answer() {
    let (thought, proof) = ("**Counting**\n\nA chuck at a time.", "EqQB");
    let parts = vec![
        Content::Thinking { text: thought.into(), signature: Some(proof.into()) },
        Content::Text("A woodchuck would chuck".into()),
    ];
    let (first, second) = thought.split_at(14);
    let deltas = [
        Delta::Thinking(first.into()),
        Delta::Thinking(second.into()),
        Delta::Signature(proof.into()),
        Delta::Text("A woodchuck would chuck".into()),
        Delta::Stop(Stop::Length),
    ];
    compare(golden!("reasoning"), parts, &deltas);
}
