//! OpenAI's API, with the thinking of its compatible vendors: chat completions, embeddings and the list of models.

mod ask;
mod chat;
mod embed;
mod error;
mod messages;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::answer::{Answer, VendorError};
use super::dialect::{Dialect, FrameOf, Head, Operation, Place, Request, Trouble, Turn};

/// The dialect.
#[derive(Debug)]
pub(super) struct OpenAi;

impl Dialect for OpenAi {
    fn key_places(&self) -> &'static [Place] {
        &[Place::Bearer]
    }

    fn admit(&self, _: &HeaderMap) -> Result<(), VendorError> {
        Ok(())
    }

    fn refuse(&self, trouble: &Trouble<'_>) -> VendorError {
        error::of(trouble)
    }

    fn prompt_refused(&self) -> Option<VendorError> {
        Some(error::content_filter())
    }

    fn envelope(&self, error: &Value, _: &str) -> Value {
        json!({"error": error})
    }

    fn answer(&self, request: &Request<'_>, turn: &Turn<'_>) -> Result<Answer, VendorError> {
        if request.operation == Operation::Embed {
            return embed::answer(request, turn).map(Answer::Plain);
        }
        Ok(ask::read(request.body, request.model)?.answer(turn))
    }

    fn models(&self, models: &[String], vendor: &str) -> Value {
        let model = |id: &String| json!({"id": id, "object": "model", "created": 0, "owned_by": vendor});
        json!({"object": "list", "data": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn frame(&self, _: FrameOf, data: &[u8]) -> Bytes {
        [b"data: ", data, b"\n\n"].concat().into()
    }

    fn around_content(&self, streamed: bool) -> [&'static str; 2] {
        if streamed { HUGE_STREAM } else { HUGE_ANSWER }
    }

    fn content_types(&self) -> [&'static str; 2] {
        ["application/json", "text/event-stream; charset=utf-8"]
    }

    fn headers(&self, head: &Head<'_>) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("openai-organization", head.vendor.to_owned()),
            ("openai-version", "2020-10-01".to_owned()),
            ("openai-processing-ms", head.wait.as_millis().to_string()),
            ("x-request-id", head.request_id.to_owned()),
        ];
        // Only on success: on a refusal they would say when to come back, which is for the script to say.
        if head.success {
            headers.extend(RATE_LIMITS.map(|(name, value)| (name, value.to_owned())));
        }
        headers
    }
}

const RATE_LIMITS: [(&str, &str); 6] = [
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-limit-tokens", "2000000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-remaining-tokens", "1999000"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-reset-tokens", "30ms"),
];

const HUGE_STREAM: [&str; 2] = [
    concat!(
        r#"data: {"id":"chatcmpl-huge","object":"chat.completion.chunk","created":0,"model":"huge","#,
        r#""choices":[{"index":0,"delta":{"role":"assistant","content":""#
    ),
    concat!(r#""},"finish_reason":"stop"}]}"#, "\n\ndata: [DONE]\n\n"),
];

const HUGE_ANSWER: [&str; 2] = [
    concat!(
        r#"{"id":"chatcmpl-huge","object":"chat.completion","created":0,"model":"huge","#,
        r#""choices":[{"index":0,"message":{"role":"assistant","content":""#
    ),
    concat!(
        r#""},"finish_reason":"stop"}],"#,
        r#""usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#
    ),
];
