//! One attempt while it runs: its limits in time, and its response as it arrives.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};

use super::held::{Held, is_event_stream, read_until_token};
use crate::backoff::retry_after;
use crate::classify::{Failure, Fault, Outcome, classify_answer, classify_in_body, classify_status};
use crate::config::Timeouts;
use crate::dialect::sse::EventTooLarge;
use crate::dialect::{Event as StreamEvent, Reader, Reading, Remains, Rescue, Stream, Surface, VendorError};
use crate::drive::AttemptId;
use crate::gateway::Permit;
use crate::gathered::Gathered;
use crate::price::Usage;
use crate::quota::{self, Remaining};
use crate::reply::ApiError;
use crate::time::{Millis, Timestamp};

/// What is kept of an error's body: enough to classify it and to show it to a caller at fault.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: AttemptId,
    /// Its place in the plan.
    pub(super) candidate: usize,
    pub(super) permit: Permit,
    pub(super) sent_at: Timestamp,
    /// The response head: when it came, and its status.
    pub(super) head_at: Option<(Timestamp, u16)>,
    pub(super) first_token_at: Option<Timestamp>,
    /// What the vendor said is left of its quota.
    pub(super) quota: HeaderMap,
    /// The requests of it, where attempts are limited.
    pub(super) remaining: Option<Remaining>,
    /// Until when there is nothing left of it.
    pub(super) used_up: Option<Timestamp>,
    /// Whether the response says that its body is compressed.
    is_compressed: bool,
    terms: Terms,
    /// When anything came of it last.
    pub(super) last_at: Timestamp,
    stage: Stage,
    /// The client's stream that it is to go on with, until its own has begun.
    resumes: Option<(Remains, Rescue)>,
}

/// What does not change while an attempt runs.
#[derive(Debug)]
pub(super) struct Terms {
    /// Whether events were asked for.
    pub(super) stream: bool,
    /// How its answer is read.
    pub(super) reader: Arc<Reader>,
    pub(super) timeouts: Timeouts,
    /// The request's own: an answer must have begun by then.
    pub(super) deadline: Timestamp,
    /// Whether an answer that the vendor's filter stopped is asked of another target.
    pub(super) reroutes_filtered: bool,
    pub(super) reply_bytes_max: usize,
}

#[derive(Debug)]
enum Stage {
    /// For the head.
    Waiting,
    /// Gathering a reply that is not streamed, or an error. Blanks are not its beginning.
    Whole { status: StatusCode, headers: HeaderMap, body: Gathered, has_begun: bool },
    /// Before the first token: nothing has gone to the client yet.
    Held { stream: Stream, held: Gathered },
    /// The client is reading: this stream, or the one that it goes on with.
    Committed { stream: Stream },
}

/// What the exchange is to do about an event.
#[derive(Debug)]
pub(super) enum Progress {
    /// Begin the client's stream with these bytes.
    Commit(Bytes),
    /// Pass these bytes on.
    Write(Bytes),
    /// The attempt is over.
    Over(Box<Ended>),
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// The vendor's own hint, for failures that carry one.
    pub(super) retry_after: Option<Millis>,
    /// The vendor's whole reply, where there is one to show.
    pub(super) whole: Option<Whole>,
    pub(super) usage: Option<Usage>,
    /// Bytes of a stream that the client has not had yet.
    pub(super) last: Bytes,
}

/// A whole reply for the client.
#[derive(Debug)]
pub(super) enum Whole {
    /// In its own dialect already.
    Reply { status: StatusCode, headers: HeaderMap, body: Bytes },
    /// A vendor's refusal, to be said in the client's dialect.
    Error(ApiError),
}

/// The limit that runs out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Head,
    FirstToken,
    Gap,
    Total,
    Deadline,
}

impl Live {
    pub(super) fn new(id: AttemptId, candidate: usize, permit: Permit, terms: Terms, now: Timestamp) -> Self {
        let (quota, stage) = (HeaderMap::new(), Stage::Waiting);
        Self {
            id,
            candidate,
            permit,
            sent_at: now,
            head_at: None,
            first_token_at: None,
            quota,
            remaining: None,
            used_up: None,
            is_compressed: false,
            terms,
            last_at: now,
            stage,
            resumes: None,
        }
    }

    /// Has it go on with a stream of the client's that broke off.
    pub(super) fn resume(&mut self, remains: Remains, rescue: Rescue) {
        self.resumes = Some((remains, rescue));
    }

    /// What is left of the client's stream, for another to go on with. `None`: nobody can.
    pub(super) fn take_remains(&mut self) -> Option<Remains> {
        if let Some((remains, _)) = self.resumes.take() {
            return Some(remains);
        }
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Committed { stream } if stream.is_tracked() => stream.into_remains(),
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    /// Whether bytes of it have gone to the client.
    pub(super) fn is_committed(&self) -> bool {
        matches!(self.stage, Stage::Committed { .. })
    }

    /// Whether its vendor has answered: with a whole reply or an error that is being read, or with a token.
    pub(super) fn has_answered(&self) -> bool {
        matches!(self.stage, Stage::Whole { .. } | Stage::Committed { .. })
    }

    /// Whether the client has been sent a whole answer: the vendor said why it stopped, or that it is done.
    pub(super) fn is_whole(&self) -> bool {
        matches!(&self.stage, Stage::Committed { stream } if stream.is_finished() || stream.is_done())
    }

    /// Whether the client has had its dialect's last word.
    pub(super) fn is_done(&self) -> bool {
        matches!(&self.stage, Stage::Committed { stream } if stream.is_done())
    }

    /// Events of the client's stream that did not read, and were left out.
    pub(super) fn malformed(&self) -> u32 {
        match &self.stage {
            Stage::Committed { stream } => stream.malformed(),
            _ => 0,
        }
    }

    /// When to stop waiting for it.
    pub(super) fn until(&self) -> Timestamp {
        self.limit().0
    }

    /// A response head has come.
    pub(super) fn head(&mut self, now: Timestamp, status: StatusCode, headers: HeaderMap) {
        if !matches!(self.stage, Stage::Waiting) {
            return;
        }
        self.last_at = now;
        self.head_at = Some((now, status.as_u16()));
        self.quota = quota::select(&headers);
        self.used_up = quota::used_up(&self.quota, now);
        self.is_compressed = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
        if self.permit.is_limited() {
            self.remaining = Remaining::read(&self.quota, now);
        }
        let body = Gathered::default();
        self.stage = if !(status.is_success() && self.terms.stream && is_event_stream(&headers)) {
            Stage::Whole { status, headers, body, has_begun: false }
        } else if let Some((remains, rescue)) = self.resumes.take() {
            Stage::Committed { stream: self.terms.reader.resume(remains, rescue) }
        } else {
            Stage::Held { stream: self.terms.reader.stream(), held: body }
        };
    }

    /// A piece of the body has come.
    pub(super) fn piece(&mut self, now: Timestamp, bytes: Bytes) -> Option<Progress> {
        self.last_at = now;
        match &mut self.stage {
            Stage::Waiting => None,
            Stage::Whole { status, body, has_begun, .. } => {
                *has_begun |= !bytes.trim_ascii_start().is_empty();
                let is_error = !status.is_success();
                let max = if is_error { ERROR_BYTES_MAX } else { self.terms.reply_bytes_max };
                if body.len() + bytes.len() <= max {
                    body.push(bytes);
                    None
                } else if is_error {
                    // The status and the beginning say enough.
                    Some(self.whole_is_over(now))
                } else {
                    Some(failed(Failure::TooLarge))
                }
            }
            Stage::Held { stream, held } => {
                stream.push(bytes);
                let first_token_at = &mut self.first_token_at;
                match read_until_token(stream, held) {
                    Ok(Held::Nothing) => None,
                    // Filtered before a word was said: as long as nothing is committed, there is still a choice.
                    Ok(Held::Filtered) if self.terms.reroutes_filtered => None,
                    Ok(Held::Token | Held::Filtered) => {
                        *first_token_at = Some(now);
                        Some(self.commit())
                    }
                    Err(over) => Some(over),
                }
            }
            Stage::Committed { .. } if now >= self.sent_at + self.terms.timeouts.total => self.timeout(now),
            Stage::Committed { .. } => self.relay(now, bytes),
        }
    }

    /// The body has ended as its framing promised.
    pub(super) fn end(&mut self, now: Timestamp) -> Progress {
        match &mut self.stage {
            Stage::Waiting => failed(Failure::Reset),
            Stage::Whole { .. } => self.whole_is_over(now),
            Stage::Held { stream, held } if stream.is_filtered() => {
                if let Some(farewell) = stream.farewell() {
                    held.push(farewell);
                }
                let last = std::mem::take(held).join();
                Progress::Over(Box::new(Ended { last, ..Ended::of(Outcome::Filtered, stream.usage()) }))
            }
            Stage::Held { held, .. } if held.is_empty() && self.is_compressed => failed(Failure::Compressed),
            Stage::Held { stream, .. } if stream.is_done() => failed(Failure::Empty),
            Stage::Held { .. } => failed(Failure::Cut),
            Stage::Committed { stream } if stream.is_finished() || stream.is_done() => {
                over(if stream.is_filtered() { Outcome::Filtered } else { Outcome::Success }, stream.usage())
            }
            Stage::Committed { stream } => cut(stream),
        }
    }

    /// The connection failed.
    pub(super) fn fail(&mut self, now: Timestamp, fault: Fault) -> Progress {
        match (&self.stage, fault) {
            (Stage::Waiting, Fault::Connect) => failed(Failure::Connect),
            (Stage::Waiting, Fault::Broken) => failed(Failure::Reset),
            (Stage::Whole { status, .. }, _) if !status.is_success() => self.whole_is_over(now),
            // Everything that was promised had been said; only the goodbye is missing.
            (Stage::Committed { .. }, _) if self.is_whole() => self.end(now),
            (Stage::Committed { stream }, _) => cut(stream),
            (Stage::Whole { .. } | Stage::Held { .. }, _) => failed(Failure::Cut),
        }
    }

    /// Nobody wants it any more. An answer that the client has had in whole is a success all the same: readers of a
    /// stream hang up as soon as they have seen its end.
    pub(super) fn abandon(&mut self) -> Box<Ended> {
        let Stage::Committed { stream } = &self.stage else {
            return Box::new(Ended::of(Outcome::Neutral, None));
        };
        let outcome = match (self.is_whole(), stream.is_filtered()) {
            (false, _) => Outcome::Neutral,
            (true, true) => Outcome::Filtered,
            (true, false) => Outcome::Success,
        };
        Box::new(Ended::of(outcome, stream.usage()))
    }

    /// The time that was waited for has come. `None`: too early, and nothing happens.
    pub(super) fn timeout(&mut self, now: Timestamp) -> Option<Progress> {
        let (until, limit) = self.limit();
        if now < until {
            return None;
        }
        if let Stage::Whole { status, .. } = &self.stage
            && !status.is_success()
        {
            return Some(self.whole_is_over(now));
        }
        if self.is_whole() {
            // All has been said; only the connection stays open.
            return Some(self.end(now));
        }
        let usage = match &self.stage {
            Stage::Held { stream, .. } | Stage::Committed { stream } => stream.usage(),
            Stage::Waiting | Stage::Whole { .. } => None,
        };
        Some(match limit {
            Limit::Head => over(Outcome::Silent, None),
            Limit::FirstToken => failed(Failure::FirstToken),
            Limit::Gap => over(Outcome::HardFailure(Failure::Stalled), usage),
            Limit::Total => over(Outcome::HardFailure(Failure::Total), usage),
            // The vendor was within all of its own limits: that tells nothing about it.
            Limit::Deadline => over(Outcome::Neutral, None),
        })
    }

    /// What the client still has to be sent when a stream has ended well: the end that its vendor forgot.
    pub(super) fn farewell(&mut self) -> Option<Bytes> {
        match &mut self.stage {
            Stage::Committed { stream } => stream.farewell(),
            _ => None,
        }
    }

    /// How the client's stream ends when it breaks off.
    pub(super) fn broken(&mut self, error: &ApiError, surface: Surface, request_id: &str) -> Bytes {
        match &mut self.stage {
            Stage::Committed { stream } => stream.broken(error, surface, request_id),
            _ => error.event(surface, request_id),
        }
    }

    /// The first of its limits to run out. On a tie the vendor's own limit speaks, since it says more.
    fn limit(&self) -> (Timestamp, Limit) {
        let Terms { timeouts, deadline, stream, .. } = &self.terms;
        let total = (self.sent_at + timeouts.total, Limit::Total);
        let gap = (self.last_at + timeouts.gap, Limit::Gap);
        let deadline = (*deadline, Limit::Deadline);
        let head = if *stream { timeouts.head } else { timeouts.answer };
        let limits = match &self.stage {
            Stage::Waiting if *stream => {
                let first_token = (self.sent_at + timeouts.first_token, Limit::Head);
                [(self.sent_at + head, Limit::Head), first_token, total, deadline]
            }
            Stage::Waiting => [(self.sent_at + head, Limit::Head), total, deadline, deadline],
            // Some vendors send the head at once, and blanks to keep the connection open until there is an answer.
            Stage::Whole { has_begun: false, .. } => [(self.sent_at + head, Limit::Head), gap, total, deadline],
            Stage::Whole { .. } => [gap, total, deadline, deadline],
            Stage::Held { .. } => [(self.sent_at + timeouts.first_token, Limit::FirstToken), gap, total, deadline],
            // One that goes on with another's has yet to say something.
            Stage::Committed { .. } if self.first_token_at.is_none() => {
                [(self.sent_at + timeouts.first_token, Limit::FirstToken), gap, total, deadline]
            }
            Stage::Committed { .. } => [gap, total, total, total],
        };
        limits.into_iter().min_by_key(|(until, _)| *until).expect("there are four")
    }

    fn commit(&mut self) -> Progress {
        let Stage::Held { stream, held } = std::mem::replace(&mut self.stage, Stage::Waiting) else {
            unreachable!("only a held stream is committed");
        };
        self.stage = Stage::Committed { stream };
        Progress::Commit(held.join())
    }

    /// Passes on what a piece holds; many events become one run of bytes.
    fn relay(&mut self, now: Timestamp, bytes: Bytes) -> Option<Progress> {
        let Stage::Committed { stream } = &mut self.stage else {
            unreachable!("only a committed stream is relayed");
        };
        stream.push(bytes);
        let mut passed = Gathered::default();
        let broken = loop {
            match stream.next_event() {
                Ok(None) => break None,
                Ok(Some(StreamEvent::Error(error))) => break Some(classify_in_body(&error)),
                Ok(Some(StreamEvent::Content(raw))) => {
                    self.first_token_at.get_or_insert(now);
                    passed.push(raw);
                }
                Ok(Some(StreamEvent::Finish(raw) | StreamEvent::Other(raw))) => passed.push(raw),
                // The vendor did nothing wrong by answering otherwise.
                Ok(Some(StreamEvent::Diverged)) => break Some(Outcome::Neutral),
                Err(EventTooLarge) => break Some(Outcome::HardFailure(Failure::TooLarge)),
            }
        };
        match broken {
            Some(outcome) => {
                let ended = Ended::of(outcome, stream.usage());
                Some(Progress::Over(Box::new(Ended { last: passed.join(), ..ended })))
            }
            None if passed.is_empty() => None,
            None => Some(Progress::Write(passed.join())),
        }
    }

    fn whole_is_over(&mut self, now: Timestamp) -> Progress {
        let Stage::Whole { status, headers, body, .. } = std::mem::replace(&mut self.stage, Stage::Waiting) else {
            unreachable!("only a whole reply is over in this way");
        };
        let body = body.join();
        if status.is_success() {
            return self.answer_is_over(status, headers, body);
        }
        let error = self.terms.reader.error(&body);
        let outcome = classify_status(status, &headers, &error, now);
        // Said under another status, a refusal of the request would look like a fault of the caller's key, or of ours.
        let is_refusal = matches!(outcome, Outcome::Filtered | Outcome::TooLong);
        let status = if is_refusal { refusal_status(status) } else { status };
        let retry_after = retry_after(&headers, now).or(error.retry_in);
        // What a proxy in front of the vendor says is a page, or a line of text.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let whole = match (self.terms.reader.goes_through(), is_object) {
            (true, true) => Whole::Reply { status, headers, body },
            (true, false) => Whole::Error(ApiError::unexplained(status)),
            (false, _) => Whole::Error(ApiError::of_vendor(status, error)),
        };
        Progress::Over(Box::new(Ended { retry_after, whole: Some(whole), ..Ended::of(outcome, None) }))
    }

    /// A whole reply under a good status, which may yet be none.
    fn answer_is_over(&self, status: StatusCode, headers: HeaderMap, body: Bytes) -> Progress {
        let (reading, body) = self.terms.reader.whole(body);
        let (outcome, usage) = match reading {
            Reading::Error(error) => return error_in_body(error, None),
            Reading::Malformed if self.is_compressed => (Outcome::HardFailure(Failure::Compressed), None),
            // A stream was asked for: a whole answer is not what its reader can read.
            reading if self.terms.stream && reading != Reading::Empty => {
                (Outcome::HardFailure(Failure::Malformed), None)
            }
            reading => classify_answer(&reading),
        };
        let whole = Some(Whole::Reply { status, headers, body });
        Progress::Over(Box::new(Ended { whole, ..Ended::of(outcome, usage) }))
    }
}

impl Ended {
    pub(super) fn of(outcome: Outcome, usage: Option<Usage>) -> Self {
        Self { outcome, retry_after: None, whole: None, usage, last: Bytes::new() }
    }
}

/// An error inside a success. One that is the caller's to see is shown under the status that it should have had.
pub(super) fn error_in_body(error: VendorError, usage: Option<Usage>) -> Progress {
    let outcome = classify_in_body(&error);
    let code = match outcome {
        Outcome::TooLong => "context_length_exceeded",
        Outcome::Filtered => "content_filter",
        Outcome::CallerFault => "invalid_request",
        outcome => return over(outcome, usage),
    };
    let error = ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, error.message);
    Progress::Over(Box::new(Ended { whole: Some(Whole::Error(error)), ..Ended::of(outcome, usage) }))
}

/// The status under which the caller is shown that the request cannot be served as it is.
fn refusal_status(theirs: StatusCode) -> StatusCode {
    match theirs {
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => theirs,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// A stream that broke off while the client was reading: what had been counted is still owed.
fn cut(stream: &Stream) -> Progress {
    over(Outcome::HardFailure(Failure::Cut), stream.usage())
}

pub(super) fn over(outcome: Outcome, usage: Option<Usage>) -> Progress {
    Progress::Over(Box::new(Ended::of(outcome, usage)))
}

pub(super) fn failed(failure: Failure) -> Progress {
    over(Outcome::HardFailure(failure), None)
}
