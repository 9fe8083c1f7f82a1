//! The events of a response's stream, each with its number.

use serde::Serialize;

use super::items::{Item, Piece, Scored};
use super::response::Response;

/// Writes events and counts them. The numbers begin at 0 and leave none out: clients find gaps by them.
#[derive(Debug, Default)]
pub(super) struct Events {
    next: u64,
}

/// An event, but for its name and number. Each kind has some of these.
#[derive(Default, Serialize)]
pub(super) struct Event<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<&'a Response<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<&'a Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<&'a Piece>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<&'a [Scored]>,
}

/// The error event. Its documentation has the members flat; `OpenAI` sends them in `error`, which is what the SDKs raise on.
#[derive(Serialize)]
struct ErrorEvent<'a> {
    r#type: &'static str,
    sequence_number: u64,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    r#type: &'a str,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
}

impl Events {
    pub(super) fn write(&mut self, out: &mut Vec<u8>, name: &str, event: &Event<'_>) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: {\"type\":\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\",\"sequence_number\":");
        out.extend_from_slice(self.number().to_string().as_bytes());
        // The members follow in the same object: a comma stands where they would open their own.
        let opening = out.len();
        serde_json::to_writer(&mut *out, event).expect("our own types always have a JSON form");
        debug_assert!(out.len() > opening + 2, "every event has a member of its own");
        out[opening] = b',';
        out.extend_from_slice(b"\n\n");
    }

    pub(super) fn write_error(&mut self, out: &mut Vec<u8>, kind: &str, code: &str, message: &str) {
        let error = ErrorBody { r#type: kind, code, message, param: None };
        let sequence_number = self.number();
        out.extend_from_slice(b"event: error\ndata: ");
        let event = ErrorEvent { r#type: "error", sequence_number, code, message, param: None, error };
        serde_json::to_writer(&mut *out, &event).expect("our own types always have a JSON form");
        out.extend_from_slice(b"\n\n");
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}
