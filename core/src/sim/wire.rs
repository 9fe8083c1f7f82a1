//! The bytes of every dialect, as a vendor of the world writes them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::dialect::{Dialect, Operation, openai};

/// Tokens of every prompt.
const PROMPT_TOKENS: u32 = 7;

/// What an attempt asks for.
pub(super) struct Wanted {
    dialect: Dialect,
    operation: Operation,
    pub(super) stream: bool,
    wants_usage: bool,
    model: String,
}

impl Wanted {
    pub(super) fn read(dialect: Dialect, operation: Operation, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            dialect,
            operation,
            stream: operation == Operation::Stream,
            wants_usage: body["stream_options"]["include_usage"] == true,
            model: body["model"].as_str().unwrap_or("").to_owned(),
        }
    }

    /// A whole answer of so many tokens.
    pub(super) fn answer(&self, tokens: u32, reason: &str) -> String {
        let text: String = (1..=tokens).map(word).collect();
        let body = match (self.operation, self.dialect) {
            (Operation::CountTokens, _) => json!({"input_tokens": PROMPT_TOKENS, "totalTokens": PROMPT_TOKENS}),
            (Operation::Embed, Dialect::Gemini) => json!({"embedding": {"values": [0.5, -0.5]}}),
            (Operation::Embed | Operation::EmbedMany, _) => {
                let vector = json!({"object": "embedding", "index": 0, "embedding": [0.5, -0.5]});
                json!({"object": "list", "data": [vector], "model": self.model, "usage": usage(tokens)})
            }
            (_, Dialect::OpenAi) => {
                let message = json!({"role": "assistant", "content": text});
                let choice = json!({"index": 0, "message": message, "finish_reason": reason});
                json!({
                    "id": "c", "object": "chat.completion", "model": self.model, "choices": [choice],
                    "usage": usage(tokens),
                })
            }
            (_, Dialect::Anthropic) => json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": self.model,
                "content": [{"type": "text", "text": text}], "stop_reason": anthropics(reason), "stop_sequence": null,
                "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": tokens},
            }),
            (_, Dialect::Gemini) => gemini_chunk(&text, Some(reason), tokens),
        };
        body.to_string()
    }

    /// The chunk before all words.
    pub(super) fn role(&self) -> Bytes {
        match self.dialect {
            Dialect::OpenAi => self.chunk(&json!({"role": "assistant", "content": ""}), None),
            Dialect::Anthropic => {
                let message = json!({
                    "id": "msg_1", "type": "message", "role": "assistant", "model": self.model, "content": [],
                    "stop_reason": null, "stop_sequence": null,
                    "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": 1},
                });
                let block = json!({"type": "text", "text": ""});
                let begin = [
                    event(&json!({"type": "message_start", "message": message})),
                    event(&json!({"type": "content_block_start", "index": 0, "content_block": block})),
                ];
                begin.concat().into()
            }
            Dialect::Gemini => Bytes::from_static(b": nothing yet\n\n"),
        }
    }

    /// The `nth` word, from 1.
    pub(super) fn token(&self, nth: u32) -> Bytes {
        match self.dialect {
            Dialect::OpenAi => self.chunk(&json!({"content": word(nth)}), None),
            Dialect::Anthropic => {
                let delta = json!({"type": "text_delta", "text": word(nth)});
                event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
            }
            Dialect::Gemini => event(&gemini_chunk(&word(nth), None, nth)),
        }
    }

    /// Why it ended, and what it took where that was asked for or is always told.
    pub(super) fn finish(&self, reason: &str, tokens: u32) -> Vec<Bytes> {
        match self.dialect {
            Dialect::OpenAi => {
                let last = json!({
                    "object": "chat.completion.chunk", "model": self.model, "choices": [], "usage": usage(tokens),
                });
                let finish = self.chunk(&json!({}), Some(reason));
                [finish].into_iter().chain(self.wants_usage.then(|| event(&last))).collect()
            }
            Dialect::Anthropic => vec![
                event(&json!({"type": "content_block_stop", "index": 0})),
                event(&json!({
                    "type": "message_delta", "delta": {"stop_reason": anthropics(reason), "stop_sequence": null},
                    "usage": {"output_tokens": tokens},
                })),
            ],
            Dialect::Gemini => vec![event(&gemini_chunk("", Some(reason), tokens))],
        }
    }

    /// The last word of a stream.
    pub(super) fn done(&self) -> Option<Bytes> {
        match self.dialect {
            Dialect::OpenAi => Some(Bytes::from_static(openai::DONE)),
            Dialect::Anthropic => Some(event(&json!({"type": "message_stop"}))),
            Dialect::Gemini => None,
        }
    }

    /// An error inside an answer.
    pub(super) fn error(&self, kind: &str, code: &str) -> Value {
        match self.dialect {
            Dialect::OpenAi | Dialect::Gemini => error(kind, code),
            Dialect::Anthropic => json!({"type": "error", "error": {"type": kind, "message": "as scripted"}}),
        }
    }

    fn chunk(&self, delta: &Value, reason: Option<&str>) -> Bytes {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        event(&json!({"id": "c", "object": "chat.completion.chunk", "model": self.model, "choices": [choice]}))
    }
}

fn gemini_chunk(text: &str, reason: Option<&str>, tokens: u32) -> Value {
    let reason = reason.map(|reason| match reason {
        "length" => "MAX_TOKENS",
        "content_filter" => "SAFETY",
        _ => "STOP",
    });
    let content = json!({"role": "model", "parts": [{"text": text}]});
    json!({
        "candidates": [{"content": content, "finishReason": reason, "index": 0}],
        "usageMetadata": {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": tokens},
        "modelVersion": "g", "responseId": "r",
    })
}

/// Anthropic's word for one of `OpenAI`'s finish reasons.
fn anthropics(reason: &str) -> &str {
    match reason {
        "length" => "max_tokens",
        "content_filter" => "refusal",
        _ => "end_turn",
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
