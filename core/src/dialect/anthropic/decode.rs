//! Anthropic's stream, read into the shared terms.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::event::{Event, Malformed, Piece};
use super::read_reply::{Block, read_error, read_stop};
use super::usage::Counted;
use crate::dialect::chat::{Decode, Delta};
use crate::dialect::sse::{EventTooLarge, Splitter};

/// Reads a stream as it arrives. Blocks of kinds that have no form here, as of tools that the vendor runs, are left out.
#[derive(Debug, Default)]
pub struct Decoder {
    splitter: Splitter,
    /// What the last event came to and has not been taken yet.
    ready: VecDeque<Delta>,
    /// What has been counted so far.
    tokens: Counted,
    begun: bool,
    stopped: bool,
    done: bool,
    malformed: u32,
    /// How many calls of tools have begun.
    calls: u32,
    /// Those of them that have not ended. Anthropic sends one block after the other, so it is hardly ever more than one.
    open: Vec<OpenCall>,
}

#[derive(Debug)]
struct OpenCall {
    /// The block's place in the message.
    index: u64,
    call: u32,
    arguments: Arguments,
}

/// Where the arguments of a call come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    /// Nothing has come yet.
    None,
    /// They stood in the block as it began. Anthropic begins with `{}`; some who speak its dialect send all at once.
    Whole,
    /// They come in pieces.
    Pieces,
}

/// More blocks than anybody leaves open at once.
const OPEN_MAX: usize = 128;

impl Decode for Decoder {
    fn push(&mut self, piece: Bytes) {
        self.splitter.push(piece);
    }

    fn next_delta(&mut self) -> Result<Option<Delta>, EventTooLarge> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Ok(Some(delta));
            }
            let Some(block) = self.splitter.next_block()? else { return Ok(None) };
            if let Some(data) = block.data
                && !self.done
                && self.read(&data).is_err()
            {
                self.malformed = self.malformed.saturating_add(1);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn malformed(&self) -> u32 {
        self.malformed
    }
}

impl Decoder {
    fn read(&mut self, data: &[u8]) -> Result<(), Malformed> {
        let event = Event::read(data)?;
        if event.is_error() {
            self.ready.push_back(Delta::Error(read_error(data)));
            return Ok(());
        }
        match &*event.r#type {
            "message_start" => self.begin(&event)?,
            "ping" => self.ready.push_back(Delta::Ping),
            "content_block_start" => self.start(&event)?,
            "content_block_delta" => self.add(event.index()?, event.piece()?),
            "content_block_stop" => self.stop(event.index()?),
            "message_delta" => self.end(&event)?,
            "message_stop" => self.done = true,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, event: &Event<'_>) -> Result<(), Malformed> {
        let start = event.start()?;
        let counted = Counted::read(start.usage);
        self.tokens.update(counted.unwrap_or_default());
        if !std::mem::replace(&mut self.begun, true) {
            let usage = counted.map(Counted::usage);
            self.ready.push_back(Delta::Begin { id: start.id, model: start.model, usage });
        }
        Ok(())
    }

    fn start(&mut self, event: &Event<'_>) -> Result<(), Malformed> {
        match &*event.block_type()?.r#type {
            "text" => self.say_text(Delta::Text, event.block()?.text),
            "thinking" => {
                let block = event.block()?;
                self.say_text(Delta::Thinking, block.thinking);
                self.say_text(Delta::Signature, block.signature);
            }
            "redacted_thinking" => self.say(Delta::RedactedThinking(event.block()?.data)),
            "tool_use" => self.call(event.index()?, event.block()?)?,
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, index: u64, block: Block<'_>) -> Result<(), Malformed> {
        if self.open.len() == OPEN_MAX {
            return Err(Malformed);
        }
        let call = self.calls;
        self.calls = self.calls.saturating_add(1);
        self.say(Delta::ToolCall { call, id: block.id, name: block.name, signature: None });
        let mut arguments = Arguments::None;
        if let Some(input) = block.input.map(RawValue::get).filter(|input| !is_blank(input)) {
            arguments = Arguments::Whole;
            self.say(Delta::Arguments { call, json: input.to_owned() });
        }
        self.open.push(OpenCall { index, call, arguments });
        Ok(())
    }

    fn add(&mut self, index: u64, piece: Piece) {
        match piece {
            Piece::Text(text) => self.say_text(Delta::Text, text),
            Piece::Thinking(text) => self.say_text(Delta::Thinking, text),
            Piece::Signature(text) => self.say_text(Delta::Signature, text),
            Piece::Input(json) => {
                // A block that is not open is of a tool that the vendor runs.
                let open = self.open.iter_mut().find(|open| open.index == index);
                let Some(open) = open.filter(|open| open.arguments != Arguments::Whole) else { return };
                if !json.is_empty() {
                    open.arguments = Arguments::Pieces;
                    let call = open.call;
                    self.say(Delta::Arguments { call, json });
                }
            }
            Piece::Other => {}
        }
    }

    fn stop(&mut self, index: u64) {
        let Some(at) = self.open.iter().position(|open| open.index == index) else { return };
        let OpenCall { call, arguments, .. } = self.open.remove(at);
        if arguments == Arguments::None {
            // A tool without arguments is called with none, which is an object all the same.
            self.say(Delta::Arguments { call, json: "{}".into() });
        }
    }

    fn end(&mut self, event: &Event<'_>) -> Result<(), Malformed> {
        let ending = event.ending()?;
        if let Some(reason) = ending.stop_reason
            && !self.stopped
        {
            self.say(Delta::Stop(read_stop(&reason, ending.stop_sequence)));
            self.stopped = true;
        }
        if let Some(tokens) = Counted::read(event.usage) {
            self.tokens.update(tokens);
            self.ready.push_back(Delta::Usage(self.tokens.usage()));
        }
        Ok(())
    }

    fn say_text(&mut self, delta: fn(String) -> Delta, text: String) {
        if !text.is_empty() {
            self.say(delta(text));
        }
    }

    /// Says a piece of the answer: not before its beginning, which some who speak the dialect leave out, nor after its end.
    fn say(&mut self, delta: Delta) {
        if self.stopped {
            return;
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.ready.push_back(Delta::Begin { id: String::new(), model: String::new(), usage: None });
        }
        self.ready.push_back(delta);
    }
}

/// Whether a tool's input, as text, is none: `{}` or `null`.
fn is_blank(input: &str) -> bool {
    input == "null" || input.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"{}")
}

#[cfg(test)]
mod tests;
