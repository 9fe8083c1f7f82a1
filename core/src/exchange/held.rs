//! A stream before its first token, of which nothing has gone to the client yet.

use http::HeaderMap;

use super::live::{Progress, error_in_body, failed, over};
use crate::classify::{Failure, Outcome};
use crate::dialect::sse::EventTooLarge;
use crate::dialect::{Event, Stream};
use crate::gathered::Gathered;

/// The most that is held: role chunks and comments are far smaller.
const HELD_BYTES_MAX: usize = 256 << 10;

/// What a piece of it came to.
pub(super) enum Held {
    Nothing,
    Token,
    Filtered,
}

/// Whether a response is events, by what it says of itself.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    content_type.len() >= 17 && content_type[..17].eq_ignore_ascii_case(b"text/event-stream")
}

/// Reads on until there is something that cannot be taken back: a token, or the answer's end.
pub(super) fn read_until_token(stream: &mut Stream, held: &mut Gathered) -> Result<Held, Progress> {
    let mut found = Held::Nothing;
    loop {
        match stream.next_event() {
            Ok(None) => return Ok(found),
            Ok(Some(Event::Error(error))) => {
                return Err(error_in_body(error, stream.usage()));
            }
            Ok(Some(Event::Content(raw))) => {
                held.push(raw);
                found = Held::Token;
            }
            Ok(Some(Event::Finish(raw))) => {
                held.push(raw);
                if matches!(found, Held::Nothing) {
                    found = if stream.is_filtered() { Held::Filtered } else { Held::Token };
                }
            }
            Ok(Some(Event::Other(raw))) => held.push(raw),
            Ok(Some(Event::Diverged)) => return Err(over(Outcome::Neutral, stream.usage())),
            Err(EventTooLarge) => return Err(failed(Failure::TooLarge)),
        }
        if held.len() > HELD_BYTES_MAX && matches!(found, Held::Nothing) {
            return Err(failed(Failure::TooLarge));
        }
    }
}
