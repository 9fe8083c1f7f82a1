//! Gemini's API: content, plain and streamed, embeddings, the count of tokens and the list of models.

mod ask;
mod contents;
mod embed;
mod error;
mod fields;
mod generate;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::answer::{Answer, Plain, VendorError};
use super::dialect::{Dialect, FrameOf, Head, Operation, Place, Request, Trouble, Turn};

/// The dialect.
#[derive(Debug)]
pub(super) struct Gemini;

impl Dialect for Gemini {
    fn key_places(&self) -> &'static [Place] {
        &[Place::XGoogApiKey, Place::Query]
    }

    fn admit(&self, _: &HeaderMap) -> Result<(), VendorError> {
        Ok(())
    }

    fn refuse(&self, trouble: &Trouble<'_>) -> VendorError {
        error::of(trouble)
    }

    fn prompt_refused(&self) -> Option<VendorError> {
        None
    }

    fn envelope(&self, error: &Value, _: &str) -> Value {
        json!({"error": error})
    }

    fn answer(&self, request: &Request<'_>, turn: &Turn<'_>) -> Result<Answer, VendorError> {
        match request.operation {
            Operation::Embed | Operation::EmbedMany => embed::answer(request, turn).map(Answer::Plain),
            Operation::CountTokens => {
                let tokens = ask::count(request)?;
                let details = json!([{"modality": "TEXT", "tokenCount": tokens}]);
                let count = json!({"totalTokens": tokens, "promptTokensDetails": details});
                Ok(Answer::Plain(Plain::ok(&count, turn.first_token)))
            }
            _ => Ok(ask::read(request)?.answer(turn)),
        }
    }

    fn models(&self, models: &[String], _: &str) -> Value {
        let model = |id: &String| {
            json!({
                "name": format!("models/{id}"),
                "displayName": id,
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent", "batchEmbedContents"],
            })
        };
        json!({"models": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn frame(&self, _: FrameOf, data: &[u8]) -> Bytes {
        [b"data: ", data, b"\n\n"].concat().into()
    }

    fn around_content(&self, streamed: bool) -> [&'static str; 2] {
        if streamed { HUGE_STREAM } else { HUGE_ANSWER }
    }

    fn content_types(&self) -> [&'static str; 2] {
        ["application/json; charset=UTF-8", "text/event-stream"]
    }

    fn headers(&self, head: &Head<'_>) -> Vec<(&'static str, String)> {
        vec![
            ("vary", "Origin, X-Origin, Referer".to_owned()),
            ("server-timing", format!("gfet4t7; dur={}", head.wait.as_millis())),
        ]
    }
}

const HUGE_STREAM: [&str; 2] = [
    r#"data: {"candidates":[{"content":{"parts":[{"text":""#,
    concat!(
        r#""}],"role":"model"},"finishReason":"STOP","index":0}],"#,
        r#""usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2},"modelVersion":"huge"}"#,
        "\n\n"
    ),
];

const HUGE_ANSWER: [&str; 2] = [
    r#"{"candidates":[{"content":{"parts":[{"text":""#,
    concat!(
        r#""}],"role":"model"},"finishReason":"STOP","index":0}],"#,
        r#""usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2},"modelVersion":"huge"}"#
    ),
];
