//! What a scripted vendor does with one attempt.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::replayed;
use super::wire::{self, Wanted};
use crate::classify::Fault;
use crate::drive::{AttemptId, Event};
use crate::health::Finding;
use crate::record::Attempt;
use crate::time::{Millis, Timestamp};

/// A vendor's behaviour for one attempt, whether it asks for a whole answer or a stream.
#[derive(Debug, Clone)]
pub struct Script {
    /// Until the response head, or what comes instead of it.
    after: Millis,
    act: Act,
}

#[derive(Debug, Clone)]
enum Act {
    Answer(Telling),
    Fail(Fault),
    Hang,
    /// Blank lines, and no answer.
    Murmur,
    Reply {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// What it did before.
    Again(Arc<Attempt>),
}

/// How an answer is told.
#[derive(Debug, Clone)]
struct Telling {
    tokens: u32,
    /// What stands before each word of a stream.
    voice: &'static str,
    /// Tokens of the prompt and of the answer, as its usage tells them.
    counts: (u32, u32),
    /// Until the head of a stream, where that is sooner than a whole answer.
    stream_after: Option<Millis>,
    /// From the head to the first token of a stream.
    first_token: Millis,
    /// Between tokens of a stream.
    pace: Millis,
    reason: &'static str,
    twist: Option<(u32, Twist)>,
    ending: Ending,
}

/// What happens instead of, or before, what comes after so many tokens. A whole answer is spoilt in its middle.
#[derive(Debug, Clone)]
enum Twist {
    /// The connection breaks.
    Cut,
    /// An error arrives in the body, of this type and code.
    Error(&'static str, &'static str),
    /// An event that is no JSON arrives, and the stream goes on.
    Malformed,
    /// Nothing more arrives.
    Stall,
}

/// How a stream ends that was told in whole.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Whole,
    NoDone,
    NoFinish,
    /// All is said, and the connection stays open.
    Open,
}

/// Something on the wire.
pub(super) enum Step {
    Head(StatusCode, HeaderMap),
    Piece(Bytes),
    End,
    Fail(Fault),
}

impl Script {
    /// A good answer of three tokens, its head after `ms`. A stream has its first token with the head, the others 10 ms
    /// apart.
    pub fn answer(ms: u64) -> Self {
        let telling = Telling {
            tokens: 3,
            voice: "",
            counts: (wire::PROMPT_TOKENS, 3),
            stream_after: None,
            first_token: Millis::ZERO,
            pace: Millis(10),
            reason: "stop",
            twist: None,
            ending: Ending::Whole,
        };
        Self { after: Millis(ms), act: Act::Answer(telling) }
    }

    /// The same as a recorded attempt.
    pub(super) fn replay(attempt: Arc<Attempt>) -> Self {
        Self { after: Millis::ZERO, act: Act::Again(attempt) }
    }

    /// A refusal with the type and code that are usual for its status, after 10 ms.
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("the story tells of a status that exists");
        let (kind, code) = wire::usual_error(status);
        Self::refusal(status, kind, code)
    }

    /// Another status or body altogether, after 10 ms.
    pub fn body(status: u16, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("the story tells of a status that exists");
        let act = Act::Reply { status, headers: wire::headers("application/json"), body: body.into() };
        Self { after: Millis(10), act }
    }

    /// Never says anything.
    pub fn hang() -> Self {
        Self { after: Millis::ZERO, act: Act::Hang }
    }

    /// Sends a good head and then blank lines, half a second apart, for ten minutes.
    pub fn murmur() -> Self {
        Self { after: Millis(10), act: Act::Murmur }
    }

    /// Breaks the connection after `ms`, before the head.
    pub fn reset(ms: u64) -> Self {
        Self { after: Millis(ms), act: Act::Fail(Fault::Broken) }
    }

    /// Refuses the connection after `ms`.
    pub fn refuse(ms: u64) -> Self {
        Self { after: Millis(ms), act: Act::Fail(Fault::Connect) }
    }

    /// A refusal with this type and code.
    #[must_use]
    pub fn saying(self, kind: &str, code: &str) -> Self {
        match self.act {
            Act::Reply { status, .. } => Self::refusal(status, kind, code),
            _ => self,
        }
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Act::Reply { headers, .. } = &mut self.act {
            let value = HeaderValue::from_str(value).expect("the story tells of a header that can be sent");
            headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// The head after `ms`.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self { after: Millis(ms), ..self }
    }

    /// So many tokens.
    #[must_use]
    pub fn tokens(self, tokens: u32) -> Self {
        self.telling(|telling| {
            telling.tokens = tokens;
            telling.counts.1 = tokens;
        })
    }

    /// So many tokens by its usage, of the prompt and of the answer, however many are told.
    #[must_use]
    pub fn counting(self, prompt: u32, tokens: u32) -> Self {
        self.telling(|telling| telling.counts = (prompt, tokens))
    }

    /// The head of a stream after `ms`, whenever a whole answer comes.
    #[must_use]
    pub fn streaming_after(self, ms: u64) -> Self {
        self.telling(|telling| telling.stream_after = Some(Millis(ms)))
    }

    /// A stream in another voice: other words than all others say.
    #[must_use]
    pub fn voice(self, voice: &'static str) -> Self {
        self.telling(|telling| telling.voice = voice)
    }

    /// The first token of a stream so long after the head, which comes with a role and no word.
    #[must_use]
    pub fn first_token_after(self, ms: u64) -> Self {
        self.telling(|telling| telling.first_token = Millis(ms))
    }

    /// The tokens of a stream so far apart.
    #[must_use]
    pub fn pace(self, ms: u64) -> Self {
        self.telling(|telling| telling.pace = Millis(ms))
    }

    /// Ended by the vendor's content filter after the last token.
    #[must_use]
    pub fn filtered(self) -> Self {
        self.telling(|telling| telling.reason = "content_filter")
    }

    /// The connection breaks after so many tokens.
    #[must_use]
    pub fn cut_after(self, tokens: u32) -> Self {
        self.telling(|telling| telling.twist = Some((tokens, Twist::Cut)))
    }

    /// Nothing arrives after so many tokens.
    #[must_use]
    pub fn stall_after(self, tokens: u32) -> Self {
        self.telling(|telling| telling.twist = Some((tokens, Twist::Stall)))
    }

    /// An event that is no JSON after so many tokens; a whole answer is torn.
    #[must_use]
    pub fn malformed_after(self, tokens: u32) -> Self {
        self.telling(|telling| telling.twist = Some((tokens, Twist::Malformed)))
    }

    /// An error inside the body after so many tokens.
    #[must_use]
    pub fn error_after(self, tokens: u32, kind: &'static str, code: &'static str) -> Self {
        self.telling(|telling| telling.twist = Some((tokens, Twist::Error(kind, code))))
    }

    /// A stream that ends without `[DONE]`.
    #[must_use]
    pub fn without_done(self) -> Self {
        self.telling(|telling| telling.ending = Ending::NoDone)
    }

    /// A stream that ends without a finish reason and without `[DONE]`.
    #[must_use]
    pub fn without_finish(self) -> Self {
        self.telling(|telling| telling.ending = Ending::NoFinish)
    }

    /// A stream that is told to its end, on a connection that then stays open.
    #[must_use]
    pub fn left_open(self) -> Self {
        self.telling(|telling| telling.ending = Ending::Open)
    }

    fn refusal(status: StatusCode, kind: &str, code: &str) -> Self {
        Self::body(status.as_u16(), wire::error(kind, code).to_string())
    }

    fn telling(mut self, change: impl FnOnce(&mut Telling)) -> Self {
        if let Act::Answer(telling) = &mut self.act {
            change(telling);
        }
        self
    }

    /// What reaches the gateway of it, and when, if it is sent at `now`.
    pub(super) fn play(&self, now: Timestamp, attempt: AttemptId, wanted: &Wanted) -> Play {
        let steps = match &self.act {
            Act::Hang => Vec::new(),
            Act::Murmur => {
                let head = (Millis::ZERO, Step::Head(StatusCode::OK, wire::headers("application/json")));
                let blank = |at: u64| (Millis(at * 500), Step::Piece(Bytes::from_static(b"\n")));
                std::iter::once(head).chain((1..=1200).map(blank)).collect()
            }
            Act::Fail(fault) => vec![(Millis::ZERO, Step::Fail(*fault))],
            Act::Reply { status, headers, body } => whole(*status, headers.clone(), body.clone()),
            Act::Again(attempt) => replayed::steps(attempt, wanted),
            Act::Answer(telling) if wanted.is_stream() => telling.stream(wanted),
            Act::Answer(telling) => telling.whole(wanted),
        };
        let after = match &self.act {
            Act::Answer(Telling { stream_after: Some(after), .. }) if wanted.is_stream() => *after,
            _ => self.after,
        };
        Play { attempt, began_at: now + after, steps: steps.into_iter() }
    }

    /// What comes of it for a client that asks the vendor itself.
    pub(super) fn directly(&self, stream: bool) -> Directly {
        let nothing = Directly {
            first_after: None,
            ends_after: Some(self.after),
            status: None,
            headers: HeaderMap::new(),
            counts: None,
        };
        match &self.act {
            // What was recorded of a gateway's attempts is never asked for here.
            Act::Hang | Act::Murmur | Act::Again(_) => Directly { ends_after: None, ..nothing },
            Act::Fail(_) => nothing,
            Act::Reply { status, headers, .. } => {
                Directly { status: Some(*status), headers: headers.clone(), ..nothing }
            }
            Act::Answer(telling) => {
                let writing = Millis(telling.pace.0 * u64::from(telling.tokens.saturating_sub(1)));
                let head_after = telling.stream_after.filter(|_| stream).unwrap_or(self.after);
                let first_after = if stream { head_after + telling.first_token } else { head_after };
                Directly {
                    first_after: Some(first_after),
                    ends_after: Some(if stream { first_after + writing } else { first_after }),
                    status: Some(StatusCode::OK),
                    // What breaks off is no answer, whatever it has begun with.
                    counts: telling.twist.is_none().then_some(telling.counts),
                    ..nothing
                }
            }
        }
    }

    /// What a free probe finds meanwhile, and after how long; none if it finds nothing. A vendor that answers at all
    /// answers a probe well, whatever becomes of its answers.
    pub(super) fn finding(&self) -> Option<(Millis, Finding)> {
        let finding = match &self.act {
            Act::Hang | Act::Murmur => return None,
            Act::Fail(fault) => Finding::Fault(*fault),
            Act::Reply { status, headers, body } => {
                Finding::Reply { status: *status, headers: headers.clone(), body: body.clone() }
            }
            Act::Answer(_) | Act::Again(_) => {
                Finding::Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from_static(b"{}") }
            }
        };
        Some((self.after, finding))
    }

    /// What a probe finds that asks for an answer, and after how long; none if it finds nothing.
    pub(super) fn whole_finding(&self, wanted: &Wanted) -> Option<(Millis, Finding)> {
        let Act::Answer(telling) = &self.act else { return self.finding() };
        let (mut status, mut headers, mut body) = (StatusCode::OK, HeaderMap::new(), Vec::new());
        for (at, step) in telling.whole(wanted) {
            match step {
                Step::Head(theirs, said) => (status, headers) = (theirs, said),
                Step::Piece(bytes) => body.extend_from_slice(&bytes),
                Step::Fail(fault) => return Some((self.after + at, Finding::Fault(fault))),
                Step::End => return Some((self.after + at, Finding::Reply { status, headers, body: body.into() })),
            }
        }
        None
    }

    /// Whether it is an answer, however it ends.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.act, Act::Answer(_))
    }
}

/// What a client gets that asks a vendor itself.
pub(super) struct Directly {
    /// Until there is something to read.
    pub(super) first_after: Option<Millis>,
    /// None if it never ends.
    pub(super) ends_after: Option<Millis>,
    /// None if there is no answer.
    pub(super) status: Option<StatusCode>,
    pub(super) headers: HeaderMap,
    /// Tokens of the prompt and of the answer, where that is whole.
    pub(super) counts: Option<(u32, u32)>,
}

/// What a vendor does with an attempt, as far as it has not done it yet.
pub(super) struct Play {
    attempt: AttemptId,
    /// What the times of the steps are counted from.
    began_at: Timestamp,
    steps: std::vec::IntoIter<(Millis, Step)>,
}

impl Play {
    /// When the next of it reaches the gateway; none when there is nothing more.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.steps.as_slice().first().map(|(at, _)| self.began_at + *at)
    }

    /// All that reaches the gateway at that moment.
    pub(super) fn next_events(&mut self) -> impl Iterator<Item = Event> {
        let due = self.next_at();
        std::iter::from_fn(move || {
            self.next_at().filter(|at| Some(*at) == due)?;
            self.steps.next().map(|(_, step)| step.event(self.attempt))
        })
    }
}

impl Telling {
    fn whole(&self, wanted: &Wanted) -> Vec<(Millis, Step)> {
        let body = Bytes::from(wanted.answer(self.tokens, self.counts, self.reason));
        let headers = wire::headers("application/json");
        let middle = body.slice(..body.len() / 2);
        let mut steps = match &self.twist {
            None => return whole(StatusCode::OK, headers, body),
            Some((_, Twist::Malformed)) => return whole(StatusCode::OK, headers, middle),
            Some((_, Twist::Error(kind, code))) => {
                return whole(StatusCode::OK, headers, wanted.error(kind, code).to_string().into());
            }
            Some((_, Twist::Cut | Twist::Stall)) => vec![Step::Head(StatusCode::OK, headers), Step::Piece(middle)],
        };
        if matches!(self.twist, Some((_, Twist::Cut))) {
            steps.push(Step::Fail(Fault::Broken));
        }
        steps.into_iter().map(|step| (Millis::ZERO, step)).collect()
    }

    fn stream(&self, wanted: &Wanted) -> Vec<(Millis, Step)> {
        let mut at = Millis::ZERO;
        let mut steps = vec![
            (at, Step::Head(StatusCode::OK, wire::headers("text/event-stream; charset=utf-8"))),
            (at, Step::Piece(wanted.role(self.counts.0))),
        ];
        let tokens = self.tokens.saturating_sub(wanted.begun);
        for said in 0..=tokens {
            if let Some((_, twist)) = self.twist.as_ref().filter(|(after, _)| *after == said) {
                match twist {
                    Twist::Stall => return steps,
                    Twist::Malformed => steps.push((at, Step::Piece(Bytes::from_static(b"data: {not json\n\n")))),
                    Twist::Cut => {
                        steps.push((at, Step::Fail(Fault::Broken)));
                        return steps;
                    }
                    Twist::Error(kind, code) => {
                        steps.push((at, Step::Piece(wire::event(wanted.error(kind, code)))));
                        steps.push((at, Step::End));
                        return steps;
                    }
                }
            }
            if said < tokens {
                at = at + if said == 0 { self.first_token } else { self.pace };
                steps.push((at, Step::Piece(wanted.token(said + 1, self.voice, self.counts.0))));
            }
        }
        steps.extend(self.ending(wanted).into_iter().map(|step| (at, step)));
        steps
    }

    fn ending(&self, wanted: &Wanted) -> Vec<Step> {
        let mut steps = Vec::new();
        if !matches!(self.ending, Ending::NoFinish) {
            // What it is given to go on from, it does not count.
            let counts = (self.counts.0, self.counts.1.saturating_sub(wanted.begun));
            steps.extend(wanted.finish(self.reason, counts).into_iter().map(Step::Piece));
        }
        if matches!(self.ending, Ending::Whole | Ending::Open) {
            steps.extend(wanted.done().map(Step::Piece));
        }
        if !matches!(self.ending, Ending::Open) {
            steps.push(Step::End);
        }
        steps
    }
}

impl Step {
    fn event(self, attempt: AttemptId) -> Event {
        match self {
            Self::Head(status, headers) => Event::Head { attempt, status, headers },
            Self::Piece(bytes) => Event::Piece { attempt, bytes },
            Self::End => Event::End { attempt },
            Self::Fail(fault) => Event::Fail { attempt, fault },
        }
    }
}

fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> Vec<(Millis, Step)> {
    let steps = [Step::Head(status, headers), Step::Piece(body), Step::End];
    steps.into_iter().map(|step| (Millis::ZERO, step)).collect()
}
