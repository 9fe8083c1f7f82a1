//! A stream that goes through to a client of the same dialect: what goes on, and what it says about the answer.

use bytes::Bytes;

use super::event::{Event as Data, Malformed, Piece};
use super::read_reply::read_error;
use super::usage::{Counted, splice_cost};
use crate::dialect::Event;
use crate::dialect::scan::end_of_string;
use crate::dialect::sse::{Block, EventTooLarge, Splitter};
use crate::price::{Price, Usage};

/// Reads a stream as it arrives. Feed it with [`push`](Self::push), then take [`next_event`](Self::next_event) until there is none.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the stream")]
pub struct Watcher {
    splitter: Splitter,
    /// What the target's tokens cost, for `usage.cost`.
    price: Option<Price>,
    tokens: Counted,
    /// What the vendor has counted so far: the prompt as the stream begins, all of it as it ends.
    pub usage: Option<Usage>,
    /// Whether a stop reason has come.
    pub finished: bool,
    /// Whether that reason was a refusal: see [`read_reply`](super::read_reply).
    pub filtered: bool,
    /// Whether `message_stop` has come.
    pub done: bool,
    /// Events that did not read, and were left out.
    pub malformed: u32,
    /// Whether a piece of the answer has come: from then on, one more is no news.
    begun: bool,
}

impl Watcher {
    /// For a stream of a target whose tokens cost `price`; where that is known, the client is told what the answer cost.
    pub fn new(price: Option<Price>) -> Self {
        Self {
            splitter: Splitter::default(),
            price,
            tokens: Counted::default(),
            usage: None,
            finished: false,
            filtered: false,
            done: false,
            malformed: 0,
            begun: false,
        }
    }

    /// Takes the next piece of the stream, of any size.
    pub fn push(&mut self, piece: Bytes) {
        self.splitter.push(piece);
    }

    /// The next event that is whole. Events that do not read are counted and left out; what follows `message_stop` is for
    /// nobody.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(block) = self.splitter.next_block()? {
            if self.done {
                continue;
            }
            match self.read(block) {
                Ok(event) => return Ok(Some(event)),
                Err(Malformed) => self.malformed = self.malformed.saturating_add(1),
            }
        }
        Ok(None)
    }

    fn read(&mut self, block: Block) -> Result<Event, Malformed> {
        let Block { raw, data } = block;
        let Some(data) = data else {
            return Ok(Event::Other(raw));
        };
        if self.begun && is_named_delta(&raw) && is_whole(&data) {
            return Ok(Event::Content(raw));
        }
        let event = Data::read(&data)?;
        if event.is_error() {
            return Ok(Event::Error(read_error(&data)));
        }
        let is_content = match &*event.r#type {
            "message_start" => {
                self.count(Counted::read(event.start()?.usage));
                false
            }
            // A block of text is empty when it begins. All others are calls of tools, of the client's or of the vendor's.
            "content_block_start" => !matches!(&*event.block_type()?.r#type, "text" | "thinking"),
            "content_block_delta" => has_content(&event.piece()?),
            "message_delta" => return self.end(raw, &event),
            "message_stop" => {
                self.done = true;
                false
            }
            _ => false,
        };
        self.begun |= is_content;
        Ok(if is_content { Event::Content(raw) } else { Event::Other(raw) })
    }

    fn end(&mut self, raw: Bytes, event: &Data<'_>) -> Result<Event, Malformed> {
        let reason = event.ending()?.stop_reason;
        self.count(Counted::read(event.usage));
        let cost = self.price.zip(self.usage).and_then(|(price, usage)| price.cost(usage));
        let raw = match (event.usage, cost) {
            (Some(usage), Some(cost)) => splice_cost(&raw, usage, cost).unwrap_or(raw),
            _ => raw,
        };
        let Some(reason) = reason else { return Ok(Event::Other(raw)) };
        self.finished = true;
        self.filtered |= reason == "refusal";
        Ok(Event::Finish(raw))
    }

    fn count(&mut self, tokens: Option<Counted>) {
        if let Some(tokens) = tokens {
            self.tokens.update(tokens);
            self.usage = Some(self.tokens.usage());
        }
    }
}

/// Empty pieces are not content, nor is the proof of thinking: the answer has not begun by them.
fn has_content(piece: &Piece) -> bool {
    match piece {
        Piece::Text(text) | Piece::Thinking(text) | Piece::Input(text) => !text.is_empty(),
        Piece::Signature(_) | Piece::Other => false,
    }
}

/// Whether an event is called `content_block_delta`. Nearly all of a stream is like that, and only has to be whole to go on.
fn is_named_delta(raw: &[u8]) -> bool {
    let after = raw.strip_prefix(b"event: content_block_delta");
    after.is_some_and(|after| matches!(after.first(), Some(b'\n' | b'\r')))
}

/// Whether data is an object that closes where it should. One look at its strings and brackets finds it out in a fraction
/// of the time that reading it takes; what was cut or merged does not pass.
fn is_whole(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    if !data.starts_with(b"{") {
        return false;
    }
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(byte) = data.get(at) {
        at += 1;
        match byte {
            b'"' => match end_of_string(data, at) {
                Some(end) => at = end + 1,
                None => return false,
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return at == data.len() && *byte == b'}',
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
