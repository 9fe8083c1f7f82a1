//! A stream in the shared terms, written for a client that speaks Anthropic's dialect.
//!
//! Anthropic's stream is one block after another: each begins, grows and ends before the next begins, and none begins again.
//! Other vendors may go back and forth between calls of tools. So while a call's arguments are unfinished, what belongs to other
//! blocks waits, within a bound, and is written in blocks of its own when the call is done.

use std::collections::VecDeque;

use serde::Serialize;

use super::arguments::Progress;
use super::message::{Block, Ending, Message, WireUsage};
use crate::dialect::chat::{Delta, Encode, Json, Stamp, Stop};
use crate::price::{Price, Usage};

/// The most that waits for a call to be done: in bytes, and in blocks. What is more ends the wait: the call's block is closed, and
/// what comes for it later is lost. No vendor that is well needs more.
const HELD_BYTES_MAX: usize = 1 << 20;
const HELD_BLOCKS_MAX: usize = 64;

/// Writes a stream as it happens.
#[derive(Debug)]
pub struct Encoder {
    stamp: Stamp,
    /// `message_start` has been written.
    begun: bool,
    /// What the vendor counted at the beginning.
    usage: Option<Usage>,
    /// The block that is being written. Its index is one less than `next_index`.
    open: Option<Open>,
    next_index: u32,
    /// The call after the last that has begun: calls are counted from 0, in their order.
    next_call: u32,
    /// Blocks that wait for the open one. Empty unless that is an unfinished call.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Why the answer ended, once it has: to be told at the end of the stream.
    stop: Option<Stop>,
    /// `message_stop` has been written.
    ended: bool,
}

#[derive(Debug)]
enum Open {
    Text,
    Thinking,
    Call { call: u32, arguments: Progress },
}

/// A block that waits.
#[derive(Debug)]
struct Held {
    kind: Kind,
    /// Its text, its data, or its arguments.
    text: String,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Text,
    Thinking { signature: String },
    Redacted,
    Call { call: u32, id: String, name: String },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: Message<'a> },
    Ping,
    ContentBlockStart { index: u32, content_block: Block<'a> },
    ContentBlockDelta { index: u32, delta: Piece<'a> },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: Ending<'a>, usage: WireUsage },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Piece<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

impl Encode for Encoder {
    fn encode(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        if self.ended || self.stop.is_some() {
            return;
        }
        match delta {
            Delta::Begin { id, model, usage } => self.begin(id, model, *usage, out),
            Delta::Ping => Event::Ping.write(out),
            Delta::Text(text) | Delta::Refusal(text) => self.text(text, out),
            Delta::Thinking(text) => self.thinking(text, out),
            Delta::Signature(signature) => self.signature(signature, out),
            Delta::RedactedThinking(data) => self.redacted(data, out),
            Delta::ToolCall { call, id, name, signature: _ } => self.call(*call, id, name, out),
            Delta::Arguments { call, json } => self.arguments(*call, json, out),
            Delta::Stop(stop) => self.stop = Some(stop.clone()),
            Delta::Logprobs(_) | Delta::Usage(_) | Delta::Error(_) => {}
        }
    }

    fn end(&mut self, usage: Option<Usage>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.begin("", "", None, out);
        self.flush(out);
        self.close(out);
        let stop = self.stop.take().unwrap_or(Stop::End);
        let delta = Ending::of(&stop, self.next_call > 0);
        Event::MessageDelta { delta, usage: WireUsage::settled(usage.or(self.usage), &self.stamp) }.write(out);
        Event::MessageStop.write(out);
    }

    fn hand_over(&mut self, price: Option<Price>) {
        self.stamp.price = price;
        self.usage = None;
    }
}

/// What deltas come to.
impl Encoder {
    /// An encoder for one stream.
    pub fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            begun: false,
            usage: None,
            open: None,
            next_index: 0,
            next_call: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            stop: None,
            ended: false,
        }
    }

    /// The message begins, unless it has.
    fn begin(&mut self, id: &str, model: &str, usage: Option<Usage>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.usage = usage;
        let usage = WireUsage::of(usage.unwrap_or_default());
        Event::MessageStart { message: Message::begin(id, model, usage, &self.stamp) }.write(out);
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.is_busy() {
            return self.hold(Kind::Text, text, out);
        }
        if !matches!(self.open, Some(Open::Text)) {
            self.start(Block::Text { text: "" }, Some(Open::Text), out);
        }
        self.grow(Piece::Text { text }, out);
    }

    fn thinking(&mut self, thinking: &str, out: &mut Vec<u8>) {
        if thinking.is_empty() {
            return;
        }
        if self.is_busy() {
            return self.hold(Kind::Thinking { signature: String::new() }, thinking, out);
        }
        self.start_thinking(out);
        self.grow(Piece::Thinking { thinking }, out);
    }

    /// A signature is for the thinking before it, and closes that block: thinking that follows has its own.
    fn signature(&mut self, signature: &str, out: &mut Vec<u8>) {
        if signature.is_empty() {
            return;
        }
        if self.is_busy() {
            if let Some(Held { kind: Kind::Thinking { signature: last }, .. }) = self.held.back_mut()
                && last.is_empty()
            {
                last.push_str(signature);
                return self.held_more(signature.len(), out);
            }
            return self.hold(Kind::Thinking { signature: signature.to_owned() }, "", out);
        }
        self.start_thinking(out);
        self.grow(Piece::Signature { signature }, out);
        self.close(out);
    }

    fn redacted(&mut self, data: &str, out: &mut Vec<u8>) {
        if self.is_busy() {
            return self.hold(Kind::Redacted, data, out);
        }
        self.start(Block::RedactedThinking { data }, None, out);
        self.stop_block(out);
    }

    fn call(&mut self, call: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        if call < self.next_call {
            return;
        }
        self.next_call = call.saturating_add(1);
        if self.is_busy() {
            return self.hold(Kind::Call { call, id: id.to_owned(), name: name.to_owned() }, "", out);
        }
        self.start_call(call, id, name, out);
    }

    fn arguments(&mut self, call: u32, json: &str, out: &mut Vec<u8>) {
        if json.is_empty() {
            return;
        }
        if matches!(self.open, Some(Open::Call { call: open, .. }) if open == call) {
            self.grow_call(json, out);
            return self.release(out);
        }
        let of_call = |held: &&mut Held| matches!(held.kind, Kind::Call { call: of, .. } if of == call);
        if let Some(held) = self.held.iter_mut().find(of_call) {
            held.text.push_str(json);
            self.held_more(json.len(), out);
        }
    }
}

/// Blocks.
impl Encoder {
    fn start_thinking(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Thinking)) {
            self.start(Block::Thinking { thinking: "", signature: "" }, Some(Open::Thinking), out);
        }
    }

    fn start_call(&mut self, call: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        let open = Open::Call { call, arguments: Progress::default() };
        self.start(Block::ToolUse { id, name, input: Json::of(&serde_json::Map::new()) }, Some(open), out);
    }

    /// Begins a block, and ends the one before it.
    fn start(&mut self, content_block: Block<'_>, open: Option<Open>, out: &mut Vec<u8>) {
        self.begin("", "", None, out);
        self.close(out);
        Event::ContentBlockStart { index: self.next_index, content_block }.write(out);
        self.next_index = self.next_index.saturating_add(1);
        self.open = open;
    }

    fn grow(&self, delta: Piece<'_>, out: &mut Vec<u8>) {
        Event::ContentBlockDelta { index: self.next_index.saturating_sub(1), delta }.write(out);
    }

    /// More of the arguments of the call that is open.
    fn grow_call(&mut self, json: &str, out: &mut Vec<u8>) {
        if let Some(Open::Call { arguments, .. }) = &mut self.open
            && !json.is_empty()
        {
            arguments.push(json);
            self.grow(Piece::InputJson { partial_json: json }, out);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            self.stop_block(out);
        }
    }

    fn stop_block(&self, out: &mut Vec<u8>) {
        Event::ContentBlockStop { index: self.next_index.saturating_sub(1) }.write(out);
    }
}

/// What waits.
impl Encoder {
    /// Whether the open block is a call whose arguments are unfinished: anything else has to wait.
    fn is_busy(&self) -> bool {
        matches!(&self.open, Some(Open::Call { arguments, .. }) if !arguments.is_complete())
    }

    /// Keeps a piece of a block, joined to the piece before it where both are one block.
    fn hold(&mut self, kind: Kind, text: &str, out: &mut Vec<u8>) {
        let mut bytes = text.len();
        match self.held.back_mut() {
            Some(last) if last.kind == kind && last.kind.grows() => last.text.push_str(text),
            _ => {
                bytes += kind.bytes();
                self.held.push_back(Held { kind, text: text.to_owned() });
            }
        }
        self.held_more(bytes, out);
    }

    fn held_more(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.held_bytes += bytes;
        if self.held_bytes > HELD_BYTES_MAX || self.held.len() > HELD_BLOCKS_MAX {
            self.flush(out);
        }
    }

    /// Writes what waits, up to the next unfinished call.
    fn release(&mut self, out: &mut Vec<u8>) {
        while !self.is_busy()
            && let Some(Held { kind, text }) = self.held.pop_front()
        {
            self.held_bytes -= kind.bytes() + text.len();
            match kind {
                Kind::Text => self.text(&text, out),
                Kind::Thinking { signature } => {
                    self.thinking(&text, out);
                    self.signature(&signature, out);
                }
                Kind::Redacted => self.redacted(&text, out),
                Kind::Call { call, id, name } => {
                    self.start_call(call, &id, &name, out);
                    self.grow_call(&text, out);
                }
            }
        }
    }

    /// Writes all that waits. Calls that are unfinished stay so.
    fn flush(&mut self, out: &mut Vec<u8>) {
        while !self.held.is_empty() {
            self.close(out);
            self.release(out);
        }
    }
}

impl Kind {
    /// Whether a piece of the same kind goes on with the same block.
    fn grows(&self) -> bool {
        match self {
            Self::Text => true,
            Self::Thinking { signature } => signature.is_empty(),
            Self::Redacted | Self::Call { .. } => false,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text | Self::Redacted => 0,
            Self::Thinking { signature } => signature.len(),
            Self::Call { id, name, .. } => id.len() + name.len(),
        }
    }
}

impl Event<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::Ping => "ping",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(self.name().as_bytes());
        out.extend_from_slice(b"\ndata: ");
        serde_json::to_writer(&mut *out, self).expect("our own types always have a JSON form");
        out.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests;
