//! The bytes of every dialect, as a vendor of the world writes them.

use std::fmt::Display;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use memchr::memmem;
use serde_json::{Value, json};

use crate::config::Config;
use crate::dialect::{Dialect, Operation, openai};
use crate::drive::Attempt;

/// Tokens of a prompt, unless it is told otherwise.
pub(super) const PROMPT_TOKENS: u32 = 7;

/// What an attempt asks for.
///
/// Bodies are put together as text: a day of a drill writes hundreds of thousands of them.
pub(super) struct Wanted {
    dialect: Dialect,
    operation: Operation,
    wants_usage: bool,
    /// The model, as JSON.
    model: String,
    /// How many words of the answer it is given to go on from.
    pub(super) begun: u32,
}

impl Wanted {
    pub(super) fn read(config: &Config, attempt: &Attempt) -> Self {
        Self {
            dialect: config.vendor_of(attempt.target).dialect,
            operation: attempt.operation,
            wants_usage: wants_usage(&attempt.body),
            model: quoted(&config.target(attempt.target).upstream),
            begun: begun(&attempt.body),
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.operation == Operation::Stream
    }

    /// A whole answer of so many words, and of so many tokens of the prompt and the answer.
    pub(super) fn answer(&self, words: u32, counts: (u32, u32), reason: &str) -> String {
        let model = &self.model;
        let (prompt, tokens) = counts;
        let text: String = (1..=words).map(word).collect();
        match (self.operation, self.dialect) {
            (Operation::CountTokens, _) => {
                format!(r#"{{"input_tokens":{prompt},"totalTokens":{prompt}}}"#)
            }
            (Operation::Embed, Dialect::Gemini) => r#"{"embedding":{"values":[0.5,-0.5]}}"#.to_owned(),
            (Operation::Embed | Operation::EmbedMany, _) => {
                let vector = r#"{"object":"embedding","index":0,"embedding":[0.5,-0.5]}"#;
                let usage = usage(counts);
                format!(r#"{{"object":"list","data":[{vector}],"model":{model},"usage":{usage}}}"#)
            }
            (_, Dialect::OpenAi) => {
                let message = format!(r#"{{"role":"assistant","content":"{text}"}}"#);
                let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":"{reason}"}}"#);
                let usage = usage(counts);
                format!(
                    r#"{{"id":"c","object":"chat.completion","model":{model},"choices":[{choice}],"usage":{usage}}}"#
                )
            }
            (_, Dialect::Anthropic) => {
                let content = format!(r#"[{{"type":"text","text":"{text}"}}]"#);
                let usage = format!(r#"{{"input_tokens":{prompt},"output_tokens":{tokens}}}"#);
                let stop = anthropics(reason);
                format!(
                    r#"{{"id":"msg_1","type":"message","role":"assistant","model":{model},"content":{content},"stop_reason":"{stop}","stop_sequence":null,"usage":{usage}}}"#
                )
            }
            (_, Dialect::Gemini) => gemini_chunk(&text, Some(reason), counts),
        }
    }

    /// The chunk before all words.
    pub(super) fn role(&self, prompt: u32) -> Bytes {
        match self.dialect {
            Dialect::OpenAi => self.chunk(r#"{"role":"assistant","content":""}"#, None),
            Dialect::Anthropic => {
                let model = &self.model;
                let usage = format!(r#"{{"input_tokens":{prompt},"output_tokens":1}}"#);
                let message = format!(
                    r#"{{"id":"msg_1","type":"message","role":"assistant","model":{model},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{usage}}}"#
                );
                let block = r#"{"type":"text","text":""}"#;
                format!(
                    "data: {{\"type\":\"message_start\",\"message\":{message}}}\n\n\
                     data: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{block}}}\n\n"
                )
                .into()
            }
            Dialect::Gemini => Bytes::from_static(b": nothing yet\n\n"),
        }
    }

    /// The `nth` word of its own, from 1, in this voice. What it is given to go on from ends without a space.
    pub(super) fn token(&self, nth: u32, voice: &str, prompt: u32) -> Bytes {
        let space = if self.begun > 0 && nth == 1 { " " } else { "" };
        let word = format!("{space}{voice}{}", word(self.begun + nth));
        match self.dialect {
            Dialect::OpenAi => self.chunk(&format!(r#"{{"content":"{word}"}}"#), None),
            Dialect::Anthropic => {
                let delta = format!(r#"{{"type":"text_delta","text":"{word}"}}"#);
                event(format_args!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#))
            }
            Dialect::Gemini => event(gemini_chunk(&word, None, (prompt, nth))),
        }
    }

    /// Why it ended, and what it took where that was asked for or is always told.
    pub(super) fn finish(&self, reason: &str, counts: (u32, u32)) -> Vec<Bytes> {
        let model = &self.model;
        match self.dialect {
            Dialect::OpenAi => {
                let usage = usage(counts);
                let last =
                    format!(r#"{{"object":"chat.completion.chunk","model":{model},"choices":[],"usage":{usage}}}"#);
                let finish = self.chunk("{}", Some(reason));
                [finish].into_iter().chain(self.wants_usage.then(|| event(last))).collect()
            }
            Dialect::Anthropic => {
                let tokens = counts.1;
                let delta = format!(r#"{{"stop_reason":"{}","stop_sequence":null}}"#, anthropics(reason));
                vec![
                    event(r#"{"type":"content_block_stop","index":0}"#),
                    event(format_args!(
                        r#"{{"type":"message_delta","delta":{delta},"usage":{{"output_tokens":{tokens}}}}}"#
                    )),
                ]
            }
            Dialect::Gemini => vec![event(gemini_chunk("", Some(reason), counts))],
        }
    }

    /// The last word of a stream.
    pub(super) fn done(&self) -> Option<Bytes> {
        match self.dialect {
            Dialect::OpenAi => Some(Bytes::from_static(openai::DONE)),
            Dialect::Anthropic => Some(event(r#"{"type":"message_stop"}"#)),
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

    fn chunk(&self, delta: &str, reason: Option<&str>) -> Bytes {
        let model = &self.model;
        let reason = reason.map_or("null".to_owned(), quoted);
        let choice = format!(r#"{{"index":0,"delta":{delta},"finish_reason":{reason}}}"#);
        event(format_args!(r#"{{"id":"c","object":"chat.completion.chunk","model":{model},"choices":[{choice}]}}"#))
    }
}

/// `stream_options.include_usage`: looked for rather than read, since nothing else in a body of ours has that name.
fn wants_usage(body: &[u8]) -> bool {
    const NAME: &[u8] = br#""include_usage""#;
    let found = memmem::find(body, NAME).map(|at| &body[at + NAME.len()..]);
    found.is_some_and(|rest| {
        let value = rest.iter().position(|byte| !matches!(byte, b' ' | b':')).map_or(rest, |at| &rest[at..]);
        value.starts_with(b"true")
    })
}

fn gemini_chunk(text: &str, reason: Option<&str>, (prompt, tokens): (u32, u32)) -> String {
    let reason = reason.map_or("null", |reason| match reason {
        "length" => r#""MAX_TOKENS""#,
        "content_filter" => r#""SAFETY""#,
        _ => r#""STOP""#,
    });
    let content = format!(r#"{{"role":"model","parts":[{{"text":"{text}"}}]}}"#);
    let usage = format!(r#"{{"promptTokenCount":{prompt},"candidatesTokenCount":{tokens}}}"#);
    format!(
        r#"{{"candidates":[{{"content":{content},"finishReason":{reason},"index":0}}],"usageMetadata":{usage},"modelVersion":"g","responseId":"r"}}"#
    )
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
pub(super) fn event(data: impl Display) -> Bytes {
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

/// How many words of an answer a vendor is given to go on from. Hardly ever any: the rest need not be read.
fn begun(body: &[u8]) -> u32 {
    let may_begin =
        [&b"\"assistant\""[..], b"\"model\",\"parts\""].iter().any(|role| memmem::find(body, role).is_some());
    let Some(body) = may_begin.then(|| serde_json::from_slice::<Value>(body).ok()).flatten() else { return 0 };
    let last = body["messages"].as_array().or(body["contents"].as_array()).and_then(|turns| turns.last());
    let Some(turn) = last.filter(|turn| turn["role"] == "assistant" || turn["role"] == "model") else { return 0 };
    let text = turn["content"].as_str().or(turn["content"][0]["text"].as_str()).or(turn["parts"][0]["text"].as_str());
    u32::try_from(text.unwrap_or_default().split_whitespace().count()).unwrap_or(u32::MAX)
}

fn word(nth: u32) -> String {
    format!("{nth} ")
}

fn usage((prompt, tokens): (u32, u32)) -> String {
    let total = prompt.saturating_add(tokens);
    format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{tokens},"total_tokens":{total}}}"#)
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
