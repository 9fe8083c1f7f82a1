//! What a vendor did with a recorded attempt, as a script: the same at the same times, in made-up words.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::script::Step;
use super::wire::{self, Wanted};
use crate::classify::Fault;
use crate::dialect::sse::EVENT_BYTES_MAX;
use crate::record::Attempt;
use crate::time::Millis;

/// Between two pieces of a stream: well within any limit on gaps that its recording has kept.
const PIECE_EVERY: Millis = Millis(250);

/// Pieces of one stream, however long it was.
const PIECES_MAX: u64 = 1000;

/// What is larger than anything that the gateway holds, in pieces of this size.
const BULK: &[u8] = &[b'x'; 1 << 16];

/// What reaches the gateway of a recorded attempt, and how long after sending.
pub(super) fn steps(attempt: &Attempt, wanted: &Wanted) -> Vec<(Millis, Step)> {
    let sent = attempt.sent_ms;
    let ended = attempt.ended_ms - sent;
    let Some((head, status)) = attempt.head_ms.zip(attempt.status) else { return unanswered(&attempt.outcome, ended) };
    let head = head - sent;
    let Ok(status) = StatusCode::from_u16(status) else { return Vec::new() };
    let mut steps = vec![(head, Step::Head(status, headers(attempt, status, wanted)))];
    if !status.is_success() {
        let (kind, code) = words(&attempt.outcome);
        steps.push((head, Step::Piece(wire::error(kind, code).to_string().into())));
        // One that was given up is known to have said no more.
        let is_whole = attempt.outcome != "neutral";
        steps.extend(is_whole.then_some((ended, Step::End)));
    } else if is_stream(attempt, wanted) {
        stream(attempt, wanted, &mut steps);
    } else {
        whole(attempt, ended, wanted, &mut steps);
    }
    steps
}

/// Nothing came but the failure, if there was one.
fn unanswered(outcome: &str, ended: Millis) -> Vec<(Millis, Step)> {
    match outcome {
        "connect_failed" => vec![(ended, Step::Fail(Fault::Connect))],
        "connection_reset" => vec![(ended, Step::Fail(Fault::Broken))],
        _ => Vec::new(),
    }
}

fn headers(attempt: &Attempt, status: StatusCode, wanted: &Wanted) -> HeaderMap {
    let is_stream = status.is_success() && is_stream(attempt, wanted);
    let mut headers = wire::headers(if is_stream { "text/event-stream" } else { "application/json" });
    if attempt.outcome == "compressed" {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.extend(attempt.retry_after_ms.map(|wait| (crate::reply::RETRY_AFTER_MS, HeaderValue::from(wait.0))));
    headers
}

/// Whether events came where they were asked for: what could not be read at all was something else.
fn is_stream(attempt: &Attempt, wanted: &Wanted) -> bool {
    wanted.is_stream() && (attempt.first_token_ms.is_some() || !matches!(&*attempt.outcome, "malformed" | "compressed"))
}

fn whole(attempt: &Attempt, ended: Millis, wanted: &Wanted, steps: &mut Vec<(Millis, Step)>) {
    let good = |reason| Bytes::from(wanted.answer(3, counts(attempt), reason));
    let middle = || good("stop").slice(..good("stop").len() / 2);
    let body = match attempt.outcome.as_str() {
        "success" => good("stop"),
        "content_filter" => good("content_filter"),
        "malformed" | "compressed" => middle(),
        "empty" => Bytes::new(),
        "cut" => {
            steps.push((ended, Step::Piece(middle())));
            return steps.push((ended, Step::Fail(Fault::Broken)));
        }
        "too_large" => return steps.extend(bulk(1 << 30).map(|piece| (ended, piece))),
        // Blanks hold a connection open, and are no answer; anything else is the beginning of one.
        "silent" => return steps.extend(murmur(attempt, b"\n")),
        "stalled" | "total_timeout" | "neutral" => return steps.extend(murmur(attempt, b"{")),
        error => wanted.error(words(error).0, words(error).1).to_string().into(),
    };
    steps.extend([(ended, Step::Piece(body)), (ended, Step::End)]);
}

fn stream(attempt: &Attempt, wanted: &Wanted, steps: &mut Vec<(Millis, Step)>) {
    let since = |at: Millis| at - attempt.sent_ms;
    let ended = since(attempt.ended_ms);
    steps.push((since(attempt.head_ms.unwrap_or_default()), Step::Piece(wanted.role(counts(attempt).0))));
    if let Some(first) = attempt.first_token_ms {
        steps.extend(tokens(since(first), since(attempt.last_ms), wanted, counts(attempt).0));
    }
    let finish = |reason| wanted.finish(reason, counts(attempt)).into_iter().chain(wanted.done()).map(Step::Piece);
    let last: Vec<Step> = match attempt.outcome.as_str() {
        "success" => finish("stop").chain([Step::End]).collect(),
        "content_filter" => finish("content_filter").chain([Step::End]).collect(),
        "cut" => vec![Step::Fail(Fault::Broken)],
        "empty" => wanted.done().map(Step::Piece).into_iter().chain([Step::End]).collect(),
        "too_large" => bulk(EVENT_BYTES_MAX + 1).collect(),
        "stalled" | "first_token_timeout" | "total_timeout" | "neutral" | "silent" => Vec::new(),
        error => vec![Step::Piece(wire::event(wanted.error(words(error).0, words(error).1))), Step::End],
    };
    steps.extend(last.into_iter().map(|step| (ended, step)));
}

/// Tokens of the prompt and of the answer, as the vendor counted them.
fn counts(attempt: &Attempt) -> (u32, u32) {
    let count = |tokens| u32::try_from(tokens).unwrap_or(u32::MAX);
    attempt.usage.map_or((0, 0), |usage| (count(usage.input), count(usage.output)))
}

/// Words from the first token to the last.
fn tokens(first: Millis, last: Millis, wanted: &Wanted, prompt: u32) -> impl Iterator<Item = (Millis, Step)> {
    moments(first, last).map(move |(nth, at)| (at, Step::Piece(wanted.token(nth, "", prompt))))
}

/// A whole answer that never came to its end: this, again and again, from the head to the last that was heard.
fn murmur(attempt: &Attempt, said: &'static [u8]) -> impl Iterator<Item = (Millis, Step)> {
    let head = attempt.head_ms.unwrap_or_default() - attempt.sent_ms;
    let last = attempt.last_ms - attempt.sent_ms;
    moments(head, last.max(head)).map(move |(_, at)| (at, Step::Piece(Bytes::from_static(said))))
}

/// From the first to the last, counted from 1 and so close to each other that no gap is too long.
fn moments(first: Millis, last: Millis) -> impl Iterator<Item = (u32, Millis)> {
    let length = last - first;
    let count = (length.0 / PIECE_EVERY.0).min(PIECES_MAX).max(u64::from(length > Millis::ZERO));
    (0..=count).map(move |nth| {
        let after = u128::from(length.0) * u128::from(nth) / u128::from(count.max(1));
        let at = first + Millis(u64::try_from(after).unwrap_or(u64::MAX));
        (u32::try_from(nth + 1).unwrap_or(u32::MAX), at)
    })
}

/// So many bytes that mean nothing, and a few more; all of them are the same bytes.
fn bulk(bytes: usize) -> impl Iterator<Item = Step> {
    (0..=bytes / BULK.len()).map(|_| Step::Piece(Bytes::from_static(BULK)))
}

/// The type and code of an error that is classified like this.
fn words(outcome: &str) -> (&'static str, &'static str) {
    match outcome {
        "rate_limited" => ("rate_limit_error", "rate_limit_exceeded"),
        "credential_fault" => ("authentication_error", "invalid_api_key"),
        "caller_fault" => ("invalid_request_error", "invalid_value"),
        "content_filter" => ("invalid_request_error", "content_filter"),
        "too_long" => ("exceed_context_size_error", "context_length_exceeded"),
        _ => ("server_error", "server_error"),
    }
}
