//! Answers of vendors that are not streamed, and their errors.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tidegate_core::classify::classify_status;
use tidegate_core::dialect::{Dialect, Reading, Surface, anthropic, gemini, openai};
use tidegate_core::reply::ApiError;
use tidegate_core::time::Timestamp;

use crate::{check, world};

/// Reads an answer, and writes it for each kind of client.
pub(crate) fn reply(dialect: Dialect, input: &[u8]) {
    for (surface, reader) in world::readers(dialect, false) {
        let (reading, sent) = reader.whole(Bytes::copy_from_slice(input));
        let is_answer = matches!(reading, Reading::Answer(_) | Reading::Filtered(_));
        if !is_answer {
            continue;
        }
        check::json(&sent);
        if !reader.goes_through() {
            check::object(&sent);
            reads_back(*surface, &sent);
        }
    }
}

/// What a client is sent is an answer in its own dialect.
fn reads_back(surface: Surface, sent: &[u8]) {
    let reading = match surface {
        Surface::Chat => openai::read_chat(sent).map(drop),
        Surface::Messages => anthropic::read_chat(sent).map(drop),
        Surface::CountTokens => anthropic::read_count(sent).map(drop),
        Surface::Completions | Surface::Responses | Surface::Embeddings => Some(()),
    };
    assert!(reading.is_some(), "what {surface:?} is sent is no answer: {}", sent.escape_ascii());
}

/// Reads an error, judges it, and tells each kind of client.
pub(crate) fn error(input: &[u8]) {
    for error in [openai::read_error(input), anthropic::read_error(input), gemini::read_error(input)] {
        let status = StatusCode::BAD_REQUEST;
        let _ = classify_status(status, &HeaderMap::new(), &error, Timestamp(1_800_000_000_000));
        let told = ApiError::of_vendor(status, error);
        for surface in [Surface::Chat, Surface::Responses, Surface::Messages] {
            check::object(&told.reply(surface.dialect(), "tg-1").body);
            check::events(&told.event(surface, "tg-1"));
        }
    }
}
