//! `OpenAI`'s bytes, as a vendor of the world writes them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::dialect::Operation;

/// Tokens of every prompt.
const PROMPT_TOKENS: u32 = 7;

/// What an attempt asks for.
pub(super) struct Wanted {
    pub(super) operation: Operation,
    pub(super) stream: bool,
    wants_usage: bool,
    model: String,
}

impl Wanted {
    pub(super) fn read(operation: Operation, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            operation,
            stream: body["stream"] == true,
            wants_usage: body["stream_options"]["include_usage"] == true,
            model: body["model"].as_str().unwrap_or("").to_owned(),
        }
    }

    /// A whole answer of so many tokens.
    pub(super) fn answer(&self, tokens: u32, reason: &str) -> String {
        let usage = usage(tokens);
        let body = match self.operation {
            Operation::Chat | Operation::Stream => {
                let text: String = (1..=tokens).map(word).collect();
                let message = json!({"role": "assistant", "content": text});
                let choice = json!({"index": 0, "message": message, "finish_reason": reason});
                json!({"id": "c", "object": "chat.completion", "model": self.model, "choices": [choice], "usage": usage})
            }
            Operation::Embed | Operation::EmbedMany | Operation::CountTokens => {
                let vector = json!({"object": "embedding", "index": 0, "embedding": [0.5, -0.5]});
                json!({"object": "list", "data": [vector], "model": self.model, "usage": usage})
            }
        };
        body.to_string()
    }

    /// The chunk before all words.
    pub(super) fn role(&self) -> Bytes {
        self.chunk(&json!({"role": "assistant", "content": ""}), None)
    }

    /// The `nth` word, from 1.
    pub(super) fn token(&self, nth: u32) -> Bytes {
        self.chunk(&json!({"content": word(nth)}), None)
    }

    pub(super) fn finish(&self, reason: &str) -> Bytes {
        self.chunk(&json!({}), Some(reason))
    }

    /// The chunk that holds only the usage, if it was asked for.
    pub(super) fn usage(&self, tokens: u32) -> Option<Bytes> {
        let chunk =
            json!({"object": "chat.completion.chunk", "model": self.model, "choices": [], "usage": usage(tokens)});
        self.wants_usage.then(|| event(&chunk))
    }

    fn chunk(&self, delta: &Value, reason: Option<&str>) -> Bytes {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        event(&json!({"id": "c", "object": "chat.completion.chunk", "model": self.model, "choices": [choice]}))
    }
}

/// `data: …` with a blank line.
pub(super) fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// An error in the API's shape.
pub(super) fn error(kind: &str, code: &str) -> Value {
    json!({"error": {"message": "as scripted", "type": kind, "param": null, "code": code}})
}

pub(super) fn headers(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
}

/// The type and code that `OpenAI` sends with a status.
pub(super) fn usual_error(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        401 => ("invalid_request_error", "invalid_api_key"),
        429 => ("rate_limit_error", "rate_limit_exceeded"),
        400..=499 => ("invalid_request_error", "invalid_value"),
        _ => ("server_error", "server_error"),
    }
}

fn word(nth: u32) -> String {
    format!("{nth} ")
}

fn usage(tokens: u32) -> Value {
    json!({"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens})
}
