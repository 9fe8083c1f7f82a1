//! A vendor's answer before anything goes wrong with it: a refusal, a whole body, or the events of a stream.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

/// What a vendor would answer if nothing went wrong.
#[derive(Debug)]
pub(super) enum Answer {
    Plain(Plain),
    Stream(Stream),
}

/// A whole body.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// The wait before the head.
    pub(super) wait: Duration,
}

/// The events of a stream, grouped by what they are for, so that a fault strikes the same place in every dialect. A
/// group may hold several events.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// What comes before any content, if anything does: the role chunk, `message_start`.
    pub(super) opening: Bytes,
    /// One group per token.
    pub(super) tokens: Vec<Bytes>,
    /// What says why the answer is over.
    pub(super) finish: Bytes,
    /// What the answer cost, where that is an event of its own.
    pub(super) usage: Option<Bytes>,
    /// What says that the stream is over, where a dialect has such a thing: `[DONE]`, `message_stop`.
    pub(super) done: Option<Bytes>,
    pub(super) first_token: Duration,
    pub(super) token_gap: Duration,
}

/// A refusal: the status, and the error object that the dialect wraps.
#[derive(Debug, Clone)]
pub(super) struct VendorError {
    pub(super) status: StatusCode,
    pub(super) error: Value,
}

impl Plain {
    /// A 200 with `body` as JSON, `wait` after the request.
    pub(super) fn ok(body: &impl Serialize, wait: Duration) -> Self {
        let body = serde_json::to_vec(body).expect("these types have string keys only");
        Self { status: StatusCode::OK, body: body.into(), wait }
    }
}

/// One event of a stream that has no names for its events.
pub(super) fn event(data: &impl Serialize) -> Bytes {
    written(b"data: ".to_vec(), data)
}

/// One event of a stream that names its events.
pub(super) fn named_event(name: &str, data: &impl Serialize) -> Bytes {
    written(format!("event: {name}\ndata: ").into_bytes(), data)
}

fn written(mut bytes: Vec<u8>, data: &impl Serialize) -> Bytes {
    serde_json::to_writer(&mut bytes, data).expect("a Vec takes all, and these types have string keys only");
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}
