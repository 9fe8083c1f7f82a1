//! What holds for every answer of a kind, so that a scenario says only what is its own.

use serde_json::Value;
use tidegate_tests::http::Reply;

use crate::apis::Api;

/// Targets whose vendor calls the model something else.
const UPSTREAM: [(&str, &str); 2] = [("a/plain-1", "plain-2025-04-14"), ("a/stream-1", "stream-2025-04-14")];

/// The text of a chunk or of a whole answer.
pub(crate) fn text_of(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

/// A whole answer by `target` after so many attempts; returns its body.
#[track_caller]
pub(crate) fn served(reply: Reply, target: &str, attempts: u32) -> Value {
    let reply = reply.expect(200);
    marked(&reply, target, attempts);
    // A vendor may name a character set, too.
    assert!(reply.header("content-type").starts_with("application/json"), "{reply}");
    let body = reply.json();
    if body["object"] == "chat.completion" {
        assert_eq!(body["choices"][0]["finish_reason"], "stop", "{reply}");
    }
    model_is_of(&body, target, &reply);
    body
}

/// A whole stream by `target`, after so many attempts, that nobody asked to report its usage; returns its chunks.
#[track_caller]
pub(crate) fn streamed(reply: Reply, target: &str, attempts: u32) -> Vec<Value> {
    let reply = reply.expect(200);
    marked(&reply, target, attempts);
    assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8", "{reply}");
    let mut events = reply.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{reply}");
    let chunks = read_chunks(&events, target, &reply);
    let last = chunks.last().unwrap_or_else(|| panic!("an empty stream: {reply}"));
    assert_eq!(last["choices"][0]["finish_reason"], "stop", "the usage that nobody asked for is gone: {reply}");
    assert!(!text_of(&chunks).is_empty(), "{reply}");
    chunks
}

/// A stream by `target` that broke off after it had begun: it ends in an error event and never in `[DONE]`. Returns the
/// chunks before the error, and the error.
#[track_caller]
pub(crate) fn interrupted(reply: Reply, target: &str) -> (Vec<Value>, Value) {
    let reply = reply.expect(200);
    marked(&reply, target, 1);
    let mut events = reply.events();
    let last = events.pop().unwrap_or_else(|| panic!("an empty stream: {reply}"));
    let error: Value = serde_json::from_str(&last).unwrap_or_else(|_| panic!("the last event is no error: {reply}"));
    assert_eq!(error["error"]["code"], "stream_interrupted", "{reply}");
    assert_eq!(error["error"]["type"], "upstream_error", "{reply}");
    let chunks = read_chunks(&events, target, &reply);
    assert!(chunks.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()), "{reply}");
    (chunks, error["error"].clone())
}

/// A refusal by the gateway itself, in the API's shape; returns the error.
#[track_caller]
pub(crate) fn refused(reply: Reply, status: u16, code: &str) -> Value {
    let reply = reply.expect(status);
    assert_eq!(reply.header("content-type"), "application/json", "{reply}");
    named(&reply);
    let body = reply.json();
    for key in ["message", "type", "param", "code"] {
        assert!(body["error"].get(key).is_some(), "`{key}` is missing: {reply}");
    }
    assert_eq!(body["error"]["code"], code, "{reply}");
    body["error"].clone()
}

/// A refusal after which coming back helps: it says when, and the SDKs are told not to hurry if `tried`.
#[track_caller]
pub(crate) fn refused_for_now(reply: Reply, status: u16, code: &str, tried: bool) -> Value {
    let seconds = reply.header("retry-after").parse::<u64>();
    let millis = reply.header("retry-after-ms").parse::<u64>();
    assert!(seconds.is_ok_and(|seconds| seconds >= 1), "a refused client is told when to come back: {reply}");
    assert!(millis.is_ok_and(|millis| millis >= 1000), "{reply}");
    let should_retry = if tried { "false" } else { "" };
    assert_eq!(reply.header("x-should-retry"), should_retry, "{reply}");
    refused(reply, status, code)
}

/// An error in the client's own shape, whoever it is from; returns its class and its message.
#[track_caller]
pub(crate) fn complaint(api: Api, reply: &Reply) -> (String, String) {
    let body = reply.json();
    let error = &body["error"];
    if api == Api::Messages {
        assert_eq!(body["type"], "error", "{reply}");
        assert!(body["request_id"].is_string(), "{reply}");
    } else {
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "`{key}` is missing: {reply}");
        }
    }
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("no `{name}`: {reply}")).to_owned();
    (text("type"), text("message"))
}

/// Who served and in how many attempts, and the request's name.
#[track_caller]
pub(crate) fn marked(reply: &Reply, target: &str, attempts: u32) {
    assert_eq!(reply.header("x-tidegate-target"), target, "{reply}");
    assert_eq!(reply.header("x-tidegate-attempts"), attempts.to_string(), "{reply}");
    named(reply);
}

#[track_caller]
fn named(reply: &Reply) {
    let id = reply.header("x-tidegate-request-id");
    assert!(id.starts_with("tg-"), "{reply}");
    assert_eq!(reply.header("x-request-id"), id, "the name that OpenAI's SDKs read: {reply}");
    assert_eq!(reply.header("request-id"), id, "and the one that Anthropic's do: {reply}");
}

#[track_caller]
fn read_chunks(events: &[String], target: &str, reply: &Reply) -> Vec<Value> {
    let read = |event: &String| serde_json::from_str(event).unwrap_or_else(|_| panic!("not JSON: {event} in {reply}"));
    let chunks: Vec<Value> = events.iter().map(read).collect();
    for chunk in &chunks {
        model_is_of(chunk, target, reply);
        assert_eq!(chunk["id"], chunks[0]["id"], "all chunks are of one answer: {reply}");
    }
    chunks
}

/// `model` in the body is what served, by the name that its vendor has for it.
#[track_caller]
fn model_is_of(body: &Value, target: &str, reply: &Reply) {
    let renamed = UPSTREAM.iter().find(|(renamed, _)| *renamed == target).map(|(_, upstream)| *upstream);
    let model = renamed.or_else(|| Some(target.split_once('/')?.1));
    assert_eq!(body["model"].as_str(), model, "{reply}");
}
