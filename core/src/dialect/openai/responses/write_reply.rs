//! A reply in the shared terms, written as a response.

use bytes::Bytes;

use super::echo::Echo;
use super::items::{Item, Namer, Piece, Scored, Status};
use super::response::{End, Response};
use super::seal::Seal;
use crate::dialect::chat::{Choice, Content, Reply, Stamp};

/// Writes a reply as the object that answers a request for `echo`. This API has one answer: the first.
pub fn write_reply(reply: &Reply, echo: &Echo, stamp: &Stamp) -> Bytes {
    let (output, end) = match reply.choices.first() {
        Some(choice) => items(choice, &Namer { stamp, echo }),
        None => (Vec::new(), End::Whole),
    };
    let response = Response::new(echo, stamp, &reply.model, &output, end, reply.usage);
    serde_json::to_vec(&response).expect("our own types always have a JSON form").into()
}

fn items(choice: &Choice, namer: &Namer<'_>) -> (Vec<Item>, End<'static>) {
    let mut items = Vec::new();
    for part in &choice.parts {
        append(&mut items, part, namer);
    }
    if let Some(logprobs) = choice.logprobs.as_ref().map(Scored::read) {
        let mut pieces = items.iter_mut().filter_map(Item::pieces_mut).flatten();
        // Which piece each token is of is not said; there is hardly ever more than one.
        if let Some(all) = pieces.find_map(Piece::logprobs_mut) {
            *all = logprobs;
        }
    }
    let refused = choice.parts.iter().any(|part| matches!(part, Content::Refusal(text) if !text.is_empty()));
    let end = End::of(&choice.stop, refused);
    for item in &mut items {
        item.set_status(Status::Completed);
    }
    if let Some(last) = items.last_mut().filter(|last| !last.is_sealed()) {
        last.set_status(end.status());
    }
    (items, end)
}

fn append(items: &mut Vec<Item>, part: &Content, namer: &Namer<'_>) {
    let place = items.len();
    match part {
        Content::Text(text) => say(items, Piece::text(), text, namer),
        Content::Refusal(text) => say(items, Piece::refusal(), text, namer),
        Content::Thinking { text, signature } => {
            let mut item = Item::reasoning(namer, place);
            if let Some(pieces) = item.pieces_mut().filter(|_| !text.is_empty()) {
                pieces.push(Piece::summary().saying(text));
            }
            if let Some(proof) = signature {
                item.set_encrypted(Seal::Thinking(proof.clone()).write());
            }
            items.push(item);
        }
        Content::RedactedThinking(data) => {
            let mut item = Item::reasoning(namer, place);
            item.set_encrypted(Seal::Redacted(data.clone()).write());
            items.push(item);
        }
        Content::ToolCall(call) => {
            if let Some(proof) = &call.signature {
                let mut item = Item::reasoning(namer, place);
                item.set_encrypted(Seal::Call(proof.clone()).write());
                items.push(item);
            }
            items.push(Item::call(namer, items.len(), &call.id, &call.name, call.arguments.clone()));
        }
        // No model answers with these.
        Content::Image { .. } | Content::Document { .. } | Content::ToolResult { .. } | Content::Other(_) => {}
    }
}

/// Adds to the message at the end, or begins one.
fn say(items: &mut Vec<Item>, piece: Piece, text: &str, namer: &Namer<'_>) {
    if text.is_empty() {
        return;
    }
    if !matches!(items.last(), Some(Item::Message { .. })) {
        items.push(Item::message(namer, items.len()));
    }
    let Some(pieces) = items.last_mut().and_then(Item::pieces_mut) else { return };
    match pieces.last_mut() {
        Some(last) if last.is_like(&piece) => last.words_mut().push_str(text),
        _ => pieces.push(piece.saying(text)),
    }
}
