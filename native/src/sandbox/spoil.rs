//! What a fault makes of an answer: the one place where both are known.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::answer::{Answer, Plain, Stream, VendorError};
use super::dialect::{Dialect, FrameOf, Trouble};
use super::fault::{Fault, wait};
use super::reply::{Reply, Step};

/// The vendor's own voice, in which an answer goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice<'a> {
    pub(super) dialect: &'a dyn Dialect,
    pub(super) request_id: &'a str,
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

const GARBAGE: &[u8] = b"{not json";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PAGE: &[u8] =
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in to continue.</body></html>\n";

impl Answer {
    /// The answer after `fault`.
    pub(super) fn spoil(self, fault: Option<&Fault>, voice: Voice<'_>) -> Act {
        let streamed = matches!(self, Self::Stream(_));
        Act::Play(match fault {
            Some(Fault::Hang {}) => return Act::Hang,
            Some(Fault::Reset {}) => return Act::Reset,
            Some(Fault::Status { status, headers, body }) => voice.status(*status, headers, body.as_ref()),
            Some(Fault::ContextLength {}) => voice.reply(voice.refusal(&Trouble::ContextLength)),
            Some(Fault::ContentFilter { finish_reason: false }) => match voice.dialect.prompt_refused() {
                Some(error) => voice.reply(voice.error(&error)),
                None => self.reply(None, voice),
            },
            Some(Fault::NotJson {}) => reply(StatusCode::OK, HTML, [Step::Send(Bytes::from_static(PAGE))]),
            Some(Fault::Huge { bytes }) => voice.huge(streamed, bytes.unwrap_or(u64::MAX)),
            Some(Fault::Latency { ms }) => {
                let mut reply = self.reply(None, voice);
                reply.wait += wait(*ms);
                reply
            }
            other => self.reply(other, voice),
        })
    }

    fn reply(self, fault: Option<&Fault>, voice: Voice<'_>) -> Reply {
        match self {
            Self::Plain(plain) => plain.spoiled(fault, voice),
            Self::Stream(stream) => voice.events(stream.spoiled(fault, voice)),
        }
    }
}

impl Voice<'_> {
    /// A refusal, at once.
    pub(super) fn refusal(self, trouble: &Trouble<'_>) -> Plain {
        self.error(&self.dialect.refuse(trouble))
    }

    /// An error, at once.
    pub(super) fn error(self, error: &VendorError) -> Plain {
        let body = self.dialect.envelope(&error.error, self.request_id);
        Plain { status: error.status, ..Plain::ok(&body, Duration::ZERO) }
    }

    fn reply(self, plain: Plain) -> Reply {
        let [json, _] = self.dialect.content_types();
        let length = plain.body.len() as u64;
        let mut reply = reply(plain.status, json, [Step::Send(plain.body)]);
        reply.length = Some(length);
        reply.wait = plain.wait;
        reply
    }

    fn events(self, steps: impl Into<VecDeque<Step>>) -> Reply {
        let [_, events] = self.dialect.content_types();
        let mut reply = reply(StatusCode::OK, events, steps);
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        reply
    }

    fn status(self, status: u16, headers: &BTreeMap<String, String>, body: Option<&Value>) -> Reply {
        let status = StatusCode::from_u16(status).expect("an order's status was checked");
        let retry_after = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        let plain = self.refusal(&Trouble::Status(status, retry_after.map(|(_, value)| value.as_str())));
        let mut reply = match body {
            None => self.reply(plain),
            Some(Value::String(text)) => {
                let mut reply = self.reply(Plain { body: text.clone().into(), ..plain });
                reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
                reply
            }
            Some(body) => self.reply(Plain { status, ..Plain::ok(body, Duration::ZERO) }),
        };
        for (name, value) in headers {
            let header = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
            if let (Ok(name), Ok(value)) = header {
                reply.headers.insert(name, value);
            }
        }
        reply
    }

    /// The error that comes with a 200.
    fn error_body(self, error: Option<&Value>) -> Value {
        match error {
            Some(error) => self.dialect.envelope(error, self.request_id),
            None => self.dialect.envelope(&self.dialect.refuse(&Trouble::MidAnswer).error, self.request_id),
        }
    }

    /// A valid answer around `bytes` of content, made while it is read; its length is not announced.
    fn huge(self, streamed: bool, bytes: u64) -> Reply {
        let [before, after] = self.dialect.around_content(streamed);
        let send = |text: &'static str| Step::Send(Bytes::from_static(text.as_bytes()));
        let steps = [send(before), Step::Fill(bytes), send(after)];
        let [json, _] = self.dialect.content_types();
        if streamed { self.events(steps) } else { reply(StatusCode::OK, json, steps) }
    }
}

impl Plain {
    fn spoiled(self, fault: Option<&Fault>, voice: Voice<'_>) -> Reply {
        match fault {
            Some(Fault::Empty200 {}) => {
                let [json, _] = voice.dialect.content_types();
                reply(StatusCode::OK, json, [])
            }
            Some(Fault::SlowFirstToken { ms }) => voice.reply(Self { wait: self.wait + wait(*ms), ..self }),
            Some(Fault::Cut { .. }) => self.half_then(Step::Cut, voice),
            Some(Fault::Stall { .. }) => self.half_then(Step::Silence, voice),
            Some(Fault::MalformedChunk { .. }) => voice.reply(Self { body: Bytes::from_static(GARBAGE), ..self }),
            Some(Fault::ErrorIn200 { error, .. }) => {
                voice.reply(Self::ok(&voice.error_body(error.as_ref()), self.wait))
            }
            _ => voice.reply(self),
        }
    }

    /// The whole length announced, half of the body sent, and then `step`.
    fn half_then(self, step: Step, voice: Voice<'_>) -> Reply {
        let half = self.body.slice(..self.body.len() / 2);
        Reply { steps: [Step::Send(half), step].into(), ..voice.reply(self) }
    }
}

impl Stream {
    fn spoiled(self, fault: Option<&Fault>, voice: Voice<'_>) -> VecDeque<Step> {
        if matches!(fault, Some(Fault::Empty200 {})) {
            return self.done.into_iter().map(Step::Send).collect();
        }
        let mut first_wait = self.first_token;
        if let Some(Fault::SlowFirstToken { ms }) = fault {
            first_wait += wait(*ms);
        }
        let mut steps = VecDeque::with_capacity(2 * self.tokens.len() + 4);
        if !self.opening.is_empty() {
            steps.push_back(Step::Send(self.opening));
        }
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
        steps.extend([self.finish].into_iter().chain(self.usage).map(Step::Send));
        if !matches!(fault, Some(Fault::NoDone {})) {
            steps.extend(self.done.map(Step::Send));
        }
        let mut end_at = |place, last: Option<Step>| {
            steps.truncate(place);
            steps.extend(last);
        };
        match fault {
            Some(Fault::Cut { after_tokens }) => end_at(mark(*after_tokens), Some(Step::Cut)),
            Some(Fault::Stall { after_tokens }) => end_at(mark(*after_tokens), Some(Step::Silence)),
            Some(Fault::ErrorIn200 { after_tokens, error }) => {
                let body = voice.error_body(error.as_ref()).to_string();
                let event = voice.dialect.frame(FrameOf::Error, body.as_bytes());
                end_at(mark(*after_tokens), Some(Step::Send(event)));
            }
            Some(Fault::MalformedChunk { after_tokens }) => {
                steps.insert(mark(*after_tokens), Step::Send(voice.dialect.frame(FrameOf::Content, GARBAGE)));
            }
            Some(Fault::NoFinish {}) => end_at(all, None),
            _ => {}
        }
        steps
    }
}

fn reply(status: StatusCode, content_type: &'static str, steps: impl Into<VecDeque<Step>>) -> Reply {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Reply { wait: Duration::ZERO, status, headers, length: None, steps: steps.into() }
}

#[cfg(test)]
mod tests {
    use super::super::anthropic::Anthropic;
    use super::super::gemini::Gemini;
    use super::super::openai::OpenAi;
    use super::*;

    fn stream() -> Stream {
        Stream {
            opening: "role".into(),
            tokens: vec!["one".into(), "two".into()],
            finish: "finish".into(),
            usage: Some("usage".into()),
            done: Some("done".into()),
            first_token: Duration::from_millis(20),
            token_gap: Duration::from_millis(1),
        }
    }

    /// The steps that a fault leaves of the stream above, one word each.
    fn story(fault: &str) -> String {
        told(stream(), fault, &OpenAi)
    }

    fn told(stream: Stream, fault: &str, dialect: &dyn Dialect) -> String {
        let fault: Option<Fault> = (!fault.is_empty()).then(|| serde_json::from_str(fault).unwrap());
        let voice = Voice { dialect, request_id: "r1" };
        let Act::Play(reply) = Answer::Stream(stream).spoil(fault.as_ref(), voice) else { panic!("no reply") };
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
        let voice = Voice { dialect: &OpenAi, request_id: "r1" };
        let error = voice.error_body(None).to_string();
        for (fault, expected) in [
            ("", "role 20ms one 1ms two finish usage done"),
            (r#"{"kind": "latency", "ms": 70}"#, "(70ms) role 20ms one 1ms two finish usage done"),
            (r#"{"kind": "slow_first_token", "ms": 70}"#, "role 90ms one 1ms two finish usage done"),
            (r#"{"kind": "cut"}"#, "role cut"),
            (r#"{"kind": "cut", "after_tokens": 1}"#, "role 20ms one cut"),
            (r#"{"kind": "cut", "after_tokens": 99}"#, "role 20ms one 1ms two cut"),
            (r#"{"kind": "stall", "after_tokens": 1}"#, "role 20ms one silence"),
            (r#"{"kind": "malformed_chunk", "after_tokens": 1}"#, "role 20ms one {not json 1ms two finish usage done"),
            (r#"{"kind": "no_done"}"#, "role 20ms one 1ms two finish usage"),
            (r#"{"kind": "no_finish"}"#, "role 20ms one 1ms two"),
            (r#"{"kind": "error_in_200", "after_tokens": 1}"#, &format!("role 20ms one {error}")),
            (r#"{"kind": "error_in_200", "error": {"code": "x"}}"#, r#"role {"error":{"code":"x"}}"#),
            (r#"{"kind": "empty_200"}"#, "done"),
            (r#"{"kind": "content_filter", "finish_reason": true}"#, "role 20ms one 1ms two finish usage done"),
        ] {
            assert_eq!(story(fault), expected, "{fault}");
        }
    }

    #[test]
    fn other_dialects_fail_in_their_own_words() {
        let anthropic = |fault: &str| told(stream(), fault, &Anthropic);
        assert_eq!(
            anthropic(r#"{"kind": "malformed_chunk"}"#),
            "role event: content_block_delta\n{not json 20ms one 1ms two finish usage done"
        );
        assert_eq!(
            anthropic(r#"{"kind": "error_in_200"}"#),
            "role event: error\n\
             {\"error\":{\"message\":\"Overloaded\",\"type\":\"overloaded_error\"},\"request_id\":\"r1\",\"type\":\"error\"}"
        );
        let bare = || Stream { opening: Bytes::new(), usage: None, done: None, ..stream() };
        let gemini = |fault: &str| told(bare(), fault, &Gemini);
        assert_eq!(gemini(""), "20ms one 1ms two finish");
        assert_eq!(gemini(r#"{"kind": "cut"}"#), "cut");
        assert_eq!(gemini(r#"{"kind": "no_done"}"#), "20ms one 1ms two finish");
        assert_eq!(gemini(r#"{"kind": "empty_200"}"#), "");
        assert_eq!(gemini(r#"{"kind": "error_in_200", "error": {"code": 500}}"#), r#"{"error":{"code":500}}"#);
    }

    #[test]
    fn a_scripted_retry_after_is_in_geminis_details_too() {
        let fault = serde_json::from_str(r#"{"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}"#);
        let voice = Voice { dialect: &Gemini, request_id: "r1" };
        let Act::Play(mut reply) = Answer::Stream(stream()).spoil(fault.ok().as_ref(), voice) else {
            panic!("no reply")
        };
        let Some(Step::Send(body)) = reply.steps.pop_front() else { panic!("no body") };
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(error["error"]["details"][0]["retryDelay"], "7s");
    }
}
