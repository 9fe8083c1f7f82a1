//! What a fault makes of an answer: the one place where both are known.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::chat::event;
use super::error::VendorError;
use super::fault::{Fault, wait};
use super::reply::{Reply, Step};

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

/// The events of a stream; `[DONE]` goes without saying.
#[derive(Debug)]
pub(super) struct Stream {
    /// The role chunk.
    pub(super) opening: Bytes,
    pub(super) tokens: Vec<Bytes>,
    /// The chunk with the finish reason.
    pub(super) finish: Bytes,
    pub(super) usage: Option<Bytes>,
    pub(super) first_token: Duration,
    pub(super) token_gap: Duration,
}

/// What the vendor does with a request.
#[derive(Debug)]
pub(super) enum Act {
    /// Sends nothing, and keeps the socket open.
    Hang,
    Play(Reply),
    /// Resets the connection.
    Reset,
}

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");
const GARBAGE: &[u8] = b"{not json";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const PAGE: &[u8] =
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in to continue.</body></html>\n";

impl Answer {
    /// The answer after `fault`.
    pub(super) fn spoil(self, fault: Option<&Fault>) -> Act {
        let streamed = matches!(self, Self::Stream(_));
        Act::Play(match fault {
            Some(Fault::Hang {}) => return Act::Hang,
            Some(Fault::Reset {}) => return Act::Reset,
            Some(Fault::Status { status, headers, body }) => status_reply(*status, headers, body.as_ref()),
            Some(Fault::ContextLength {}) => Plain::error(&VendorError::context_length()).reply(),
            Some(Fault::ContentFilter { finish_reason: false }) => Plain::error(&VendorError::content_filter()).reply(),
            Some(Fault::NotJson {}) => reply(StatusCode::OK, HTML, [Step::Send(Bytes::from_static(PAGE))]),
            Some(Fault::Huge { bytes }) => huge(streamed, bytes.unwrap_or(u64::MAX)),
            Some(Fault::Empty200 {}) if streamed => events([Step::Send(DONE)]),
            Some(Fault::Empty200 {}) => reply(StatusCode::OK, JSON, []),
            Some(Fault::Latency { ms }) => {
                let mut reply = self.reply(None);
                reply.wait += wait(*ms);
                reply
            }
            other => self.reply(other),
        })
    }

    fn reply(self, fault: Option<&Fault>) -> Reply {
        match self {
            Self::Plain(plain) => plain.spoiled(fault),
            Self::Stream(stream) => stream.spoiled(fault),
        }
    }
}

impl Plain {
    /// A 200 with `body` as JSON, `wait` after the request.
    pub(super) fn ok(body: &impl Serialize, wait: Duration) -> Self {
        let body = serde_json::to_vec(body).expect("these types have string keys only");
        Self { status: StatusCode::OK, body: body.into(), wait }
    }

    /// A refusal, at once.
    pub(super) fn error(error: &VendorError) -> Self {
        Self { status: error.status, ..Self::ok(&error.body(), Duration::ZERO) }
    }

    fn reply(self) -> Reply {
        let length = self.body.len() as u64;
        let mut reply = reply(self.status, JSON, [Step::Send(self.body)]);
        reply.length = Some(length);
        reply.wait = self.wait;
        reply
    }

    fn spoiled(self, fault: Option<&Fault>) -> Reply {
        match fault {
            Some(Fault::Cut { .. }) => self.half_then(Step::Cut),
            Some(Fault::Stall { .. }) => self.half_then(Step::Silence),
            Some(Fault::SlowFirstToken { ms }) => Self { wait: self.wait + wait(*ms), ..self }.reply(),
            Some(Fault::MalformedChunk { .. }) => Self { body: Bytes::from_static(GARBAGE), ..self }.reply(),
            Some(Fault::ErrorIn200 { error, .. }) => Self::ok(&error_body(error.as_ref()), self.wait).reply(),
            _ => self.reply(),
        }
    }

    /// The whole length announced, half of the body sent, and then `step`.
    fn half_then(self, step: Step) -> Reply {
        let half = self.body.slice(..self.body.len() / 2);
        Reply { steps: [Step::Send(half), step].into(), ..self.reply() }
    }
}

impl Stream {
    fn spoiled(self, fault: Option<&Fault>) -> Reply {
        let mut first_wait = self.first_token;
        if let Some(Fault::SlowFirstToken { ms }) = fault {
            first_wait += wait(*ms);
        }
        let mut steps = VecDeque::with_capacity(2 * self.tokens.len() + 4);
        steps.push_back(Step::Send(self.opening));
        // Where each count of tokens ends: `marks[n]` is the number of steps up to and with token n.
        let mut marks = vec![steps.len()];
        for token in self.tokens {
            let gap = if marks.len() == 1 { first_wait } else { self.token_gap };
            if gap > Duration::ZERO {
                steps.push_back(Step::Wait(gap));
            }
            steps.push_back(Step::Send(token));
            marks.push(steps.len());
        }
        let all = steps.len();
        let mark = |after_tokens: usize| marks.get(after_tokens).copied().unwrap_or(all);
        steps.extend([self.finish].into_iter().chain(self.usage).chain([DONE]).map(Step::Send));
        let mut end_at = |place, last: Option<Step>| {
            steps.truncate(place);
            steps.extend(last);
        };
        match fault {
            Some(Fault::Cut { after_tokens }) => end_at(mark(*after_tokens), Some(Step::Cut)),
            Some(Fault::Stall { after_tokens }) => end_at(mark(*after_tokens), Some(Step::Silence)),
            Some(Fault::ErrorIn200 { after_tokens, error }) => {
                end_at(mark(*after_tokens), Some(Step::Send(event(&error_body(error.as_ref())))));
            }
            Some(Fault::MalformedChunk { after_tokens }) => {
                steps.insert(mark(*after_tokens), Step::Send([b"data: ", GARBAGE, b"\n\n"].concat().into()));
            }
            Some(Fault::NoFinish {}) => end_at(all, None),
            Some(Fault::NoDone {}) => drop(steps.pop_back()),
            _ => {}
        }
        events(steps)
    }
}

fn reply(status: StatusCode, content_type: HeaderValue, steps: impl Into<VecDeque<Step>>) -> Reply {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
    Reply { wait: Duration::ZERO, status, headers, length: None, steps: steps.into() }
}

fn events(steps: impl Into<VecDeque<Step>>) -> Reply {
    let mut reply = reply(StatusCode::OK, HeaderValue::from_static("text/event-stream; charset=utf-8"), steps);
    reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

fn status_reply(status: u16, headers: &BTreeMap<String, String>, body: Option<&Value>) -> Reply {
    let status = StatusCode::from_u16(status).expect("an order's status was checked");
    let plain = Plain::error(&VendorError::fitting(status));
    let mut reply = match body {
        None => plain.reply(),
        Some(Value::String(text)) => {
            let mut reply = Plain { body: text.clone().into(), ..plain }.reply();
            reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            reply
        }
        Some(body) => Plain { status, ..Plain::ok(body, Duration::ZERO) }.reply(),
    };
    for (name, value) in headers {
        let header = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
        if let (Ok(name), Ok(value)) = header {
            reply.headers.insert(name, value);
        }
    }
    reply
}

fn error_body(error: Option<&Value>) -> Value {
    match error {
        Some(error) => json!({"error": error}),
        None => VendorError::fitting(StatusCode::INTERNAL_SERVER_ERROR).body(),
    }
}

/// A valid answer around `bytes` of content, made while it is read; its length is not announced.
fn huge(streamed: bool, bytes: u64) -> Reply {
    let send = |text: &'static str| Step::Send(Bytes::from_static(text.as_bytes()));
    let filled = |before, after| [send(before), Step::Fill(bytes), send(after)];
    if streamed {
        let before = concat!(
            r#"data: {"id":"chatcmpl-huge","object":"chat.completion.chunk","created":0,"model":"huge","#,
            r#""choices":[{"index":0,"delta":{"role":"assistant","content":""#
        );
        return events(filled(before, concat!(r#""},"finish_reason":"stop"}]}"#, "\n\ndata: [DONE]\n\n")));
    }
    let before = concat!(
        r#"{"id":"chatcmpl-huge","object":"chat.completion","created":0,"model":"huge","#,
        r#""choices":[{"index":0,"message":{"role":"assistant","content":""#
    );
    let after = concat!(
        r#""},"finish_reason":"stop"}],"#,
        r#""usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#
    );
    reply(StatusCode::OK, JSON, filled(before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream {
            opening: "role".into(),
            tokens: vec!["one".into(), "two".into()],
            finish: "finish".into(),
            usage: Some("usage".into()),
            first_token: Duration::from_millis(20),
            token_gap: Duration::from_millis(1),
        }
    }

    /// The steps that a fault leaves of the stream above, one word each.
    fn story(fault: &str) -> String {
        let fault: Option<Fault> = (!fault.is_empty()).then(|| serde_json::from_str(fault).unwrap());
        let Act::Play(reply) = Answer::Stream(stream()).spoil(fault.as_ref()) else { panic!("no reply") };
        let word = |step: &Step| match step {
            Step::Send(bytes) => String::from_utf8_lossy(bytes).trim_end().replace("data: ", ""),
            Step::Fill(bytes) => format!("fill:{bytes}"),
            Step::Wait(length) => format!("{}ms", length.as_millis()),
            Step::Silence => "silence".to_owned(),
            Step::Cut => "cut".to_owned(),
        };
        let head = if reply.wait > Duration::ZERO { format!("({}ms) ", reply.wait.as_millis()) } else { String::new() };
        head + &reply.steps.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_fault_edits_the_stream_where_it_says() {
        let error = VendorError::fitting(StatusCode::INTERNAL_SERVER_ERROR).body().to_string();
        for (fault, expected) in [
            ("", "role 20ms one 1ms two finish usage [DONE]"),
            (r#"{"kind": "latency", "ms": 70}"#, "(70ms) role 20ms one 1ms two finish usage [DONE]"),
            (r#"{"kind": "slow_first_token", "ms": 70}"#, "role 90ms one 1ms two finish usage [DONE]"),
            (r#"{"kind": "cut"}"#, "role cut"),
            (r#"{"kind": "cut", "after_tokens": 1}"#, "role 20ms one cut"),
            (r#"{"kind": "cut", "after_tokens": 99}"#, "role 20ms one 1ms two cut"),
            (r#"{"kind": "stall", "after_tokens": 1}"#, "role 20ms one silence"),
            (
                r#"{"kind": "malformed_chunk", "after_tokens": 1}"#,
                "role 20ms one {not json 1ms two finish usage [DONE]",
            ),
            (r#"{"kind": "no_done"}"#, "role 20ms one 1ms two finish usage"),
            (r#"{"kind": "no_finish"}"#, "role 20ms one 1ms two"),
            (r#"{"kind": "error_in_200", "after_tokens": 1}"#, &format!("role 20ms one {error}")),
            (r#"{"kind": "error_in_200", "error": {"code": "x"}}"#, r#"role {"error":{"code":"x"}}"#),
            (r#"{"kind": "empty_200"}"#, "[DONE]"),
            (r#"{"kind": "content_filter", "finish_reason": true}"#, "role 20ms one 1ms two finish usage [DONE]"),
        ] {
            assert_eq!(story(fault), expected, "{fault}");
        }
    }
}
