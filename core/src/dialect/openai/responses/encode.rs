//! A stream in the shared terms, written as the events of a response.
//!
//! Every item is added before its deltas and done after them, and the last event repeats the whole answer: so the answer
//! is kept while it is streamed. Text and thinking come one item after another. The arguments of several calls may come
//! interleaved, so a call stays open until the answer ends, or until something else begins when its arguments are whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::echo::Echo;
use super::events::{Event, Events};
use super::items::{Item, Namer, Piece, Scored, Status};
use super::response::{End, Failure, Response};
use super::seal::Seal;
use crate::dialect::chat::{Delta, Encode, Json, Stamp, Stop};
use crate::price::{Price, Usage};

/// The longest answer that is kept for the end of its stream, in bytes: far more than any model writes at once. One that is
/// longer ends there, as one that met its limit of tokens, so that what was streamed and what is repeated never differ.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What an item or a part counts for beside its text, in bytes.
const PART_BYTES: usize = 256;

/// Writes one response as a stream.
#[derive(Debug)]
pub struct Encoder {
    echo: Echo,
    stamp: Stamp,
    model: String,
    events: Events,
    stage: Stage,
    items: Vec<Item>,
    /// The last item is text or thinking, and open.
    talking: bool,
    /// Where the open calls stand among the items, by the vendor's count.
    calls: BTreeMap<u32, usize>,
    /// The call that began last.
    latest_call: Option<u32>,
    /// The model declined in words.
    refused: bool,
    /// What the answer has taken of [`ANSWER_BYTES_MAX`].
    kept_bytes: usize,
    /// How the answer ended; nothing is added to it any more.
    end: Option<End<'static>>,
}

/// Which of a stream's events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// None.
    New,
    /// The first ones.
    Begun,
    /// The last one.
    Closed,
}

impl Encode for Encoder {
    fn encode(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        if self.stage == Stage::Closed {
            return;
        }
        match delta {
            Delta::Ping => return out.extend_from_slice(b": ping\n\n"),
            Delta::Begin { model, .. } => return self.begin(model, out),
            Delta::Usage(_) | Delta::Error(_) => return,
            _ => self.begin("", out),
        }
        if self.end.is_some() {
            return;
        }
        match delta {
            Delta::Text(text) => self.say(Piece::text(), text, out),
            Delta::Thinking(text) => self.say(Piece::summary(), text, out),
            Delta::Refusal(text) => self.say(Piece::refusal(), text, out),
            Delta::Logprobs(json) => self.add_logprobs(json, out),
            Delta::Signature(proof) => self.seal(&Seal::Thinking(proof.clone()), out),
            Delta::RedactedThinking(data) => {
                self.close_talk(Status::Completed, out);
                self.seal(&Seal::Redacted(data.clone()), out);
            }
            Delta::ToolCall { call, id, name, signature } => {
                if let Some(proof) = signature {
                    self.seal(&Seal::Call(proof.clone()), out);
                }
                self.open_call(*call, id, name, out);
            }
            Delta::Arguments { call, json } => self.add_arguments(*call, json, out),
            Delta::Stop(stop) => self.stop(stop, out),
            Delta::Ping | Delta::Begin { .. } | Delta::Usage(_) | Delta::Error(_) => {}
        }
    }

    fn end(&mut self, usage: Option<Usage>, out: &mut Vec<u8>) {
        if self.stage == Stage::Closed {
            return;
        }
        self.begin("", out);
        self.stop(&Stop::End, out);
        let end = self.end.unwrap_or(End::Whole);
        let name = if let End::Early(_) = end { "response.incomplete" } else { "response.completed" };
        self.write_response(name, end, usage, out);
        self.stage = Stage::Closed;
    }

    /// Writes the end of a stream that breaks off: an `error`, on which `OpenAI`'s SDKs raise, and `response.failed`, for
    /// which others wait.
    fn fail(&mut self, kind: &str, code: &str, message: &str, out: &mut Vec<u8>) -> bool {
        if self.stage == Stage::Closed {
            return true;
        }
        self.begin("", out);
        self.events.write_error(out, kind, code, message);
        let open = self.calls.values().copied().chain(self.talking.then(|| self.items.len() - 1));
        for place in open {
            self.items[place].set_status(Status::Incomplete);
        }
        self.write_response("response.failed", End::Broken(Failure { code, message }), None, out);
        self.stage = Stage::Closed;
        true
    }

    fn hand_over(&mut self, price: Option<Price>) {
        self.stamp.price = price;
    }
}

/// The beginning and the end.
impl Encoder {
    /// A stream that answers a request for `echo`.
    pub fn new(echo: Echo, stamp: Stamp) -> Self {
        Self {
            echo,
            stamp,
            model: String::new(),
            events: Events::default(),
            stage: Stage::New,
            items: Vec::new(),
            talking: false,
            calls: BTreeMap::new(),
            latest_call: None,
            refused: false,
            kept_bytes: 0,
            end: None,
        }
    }

    fn begin(&mut self, model: &str, out: &mut Vec<u8>) {
        if self.stage != Stage::New {
            return;
        }
        self.stage = Stage::Begun;
        model.clone_into(&mut self.model);
        self.write_response("response.created", End::NotYet, None, out);
        self.write_response("response.in_progress", End::NotYet, None, out);
    }

    /// Closes all items. The last one is where an answer that ends early was cut.
    fn stop(&mut self, stop: &Stop, out: &mut Vec<u8>) {
        if self.end.is_some() {
            return;
        }
        let end = End::of(stop, self.refused);
        let last = self.items.len().saturating_sub(1);
        for place in std::mem::take(&mut self.calls).into_values() {
            let status = if place == last { end.status() } else { Status::Completed };
            self.close_call(place, status, out);
        }
        self.close_talk(end.status(), out);
        self.end = Some(end);
    }

    fn namer(&self) -> Namer<'_> {
        Namer { stamp: &self.stamp, echo: &self.echo }
    }

    fn write_response(&mut self, name: &str, end: End<'_>, usage: Option<Usage>, out: &mut Vec<u8>) {
        let response = Response::new(&self.echo, &self.stamp, &self.model, &self.items, end, usage);
        self.events.write(out, name, &Event { response: Some(&response), ..Event::default() });
    }

    /// Whether so much more can be kept. The answer ends where it cannot.
    fn has_room(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool {
        self.kept_bytes = self.kept_bytes.saturating_add(bytes);
        if self.kept_bytes > ANSWER_BYTES_MAX {
            self.stop(&Stop::Length, out);
        }
        self.end.is_none()
    }
}

/// Text, thinking and refusals.
impl Encoder {
    fn say(&mut self, piece: Piece, words: &str, out: &mut Vec<u8>) {
        if words.is_empty() || !self.has_room(words.len(), out) {
            return;
        }
        self.refused |= matches!(piece, Piece::Refusal { .. });
        if !self.open_talk(matches!(piece, Piece::SummaryText { .. }), out) || !self.open_piece(piece, out) {
            return;
        }
        self.talk_delta(words, &[], out);
        if let Some(piece) = self.items.last_mut().and_then(Item::pieces_mut).and_then(|pieces| pieces.last_mut()) {
            piece.words_mut().push_str(words);
        }
    }

    /// Tokens' alternatives come after their text, so they go out with a piece of text that is empty.
    fn add_logprobs(&mut self, json: &Json, out: &mut Vec<u8>) {
        let is_text = self.items.last().and_then(|item| item.pieces().last()).is_some_and(Piece::is_text);
        if !self.talking || !is_text || !self.has_room(json.text().len(), out) {
            return;
        }
        let mut logprobs = Scored::read(json);
        self.talk_delta("", &logprobs, out);
        let pieces = self.items.last_mut().and_then(Item::pieces_mut);
        if let Some(all) = pieces.and_then(|pieces| pieces.last_mut()).and_then(Piece::logprobs_mut) {
            all.append(&mut logprobs);
        }
    }

    /// Marks the thinking so far, or thinking that is not shown, with a vendor's proof: nothing is added to it after that.
    fn seal(&mut self, seal: &Seal, out: &mut Vec<u8>) {
        let written = seal.write();
        if self.has_room(written.len(), out) && self.open_talk(true, out) {
            if let Some(item) = self.items.last_mut() {
                item.set_encrypted(written);
            }
            self.close_talk(Status::Completed, out);
        }
    }

    /// Makes the last item one of thinking or of text, whichever is wanted.
    fn open_talk(&mut self, thinking: bool, out: &mut Vec<u8>) -> bool {
        if self.talking && matches!(self.items.last(), Some(Item::Reasoning { .. })) == thinking {
            return true;
        }
        if !self.make_way(out) {
            return false;
        }
        let new = if thinking { Item::reasoning } else { Item::message };
        self.add(new(&self.namer(), self.items.len()), out);
        self.talking = true;
        true
    }

    /// Makes the last part of the open item one like `piece`.
    fn open_piece(&mut self, piece: Piece, out: &mut Vec<u8>) -> bool {
        let last = self.items.last().and_then(|item| item.pieces().last());
        if last.is_some_and(|last| last.is_like(&piece)) {
            return true;
        }
        if !self.has_room(PART_BYTES, out) {
            return false;
        }
        self.close_piece(out);
        let Some(pieces) = self.items.last_mut().and_then(Item::pieces_mut) else { return false };
        pieces.push(piece);
        self.talk_event(out, |piece| (piece.names().added, Event { part: Some(piece), ..Event::default() }));
        true
    }

    fn talk_delta(&mut self, words: &str, logprobs: &[Scored], out: &mut Vec<u8>) {
        self.talk_event(out, |piece| {
            let logprobs = piece.is_text().then_some(logprobs);
            (piece.names().delta, Event { delta: Some(words), logprobs, ..Event::default() })
        });
    }

    fn close_piece(&mut self, out: &mut Vec<u8>) {
        self.talk_event(out, |piece| {
            let words = Some(piece.words());
            let event = match piece {
                Piece::SummaryText { .. } => Event { text: words, ..Event::default() },
                Piece::OutputText { logprobs, .. } => {
                    Event { text: words, logprobs: Some(logprobs), ..Event::default() }
                }
                Piece::Refusal { .. } => Event { refusal: words, ..Event::default() },
            };
            (piece.names().done, event)
        });
        self.talk_event(out, |piece| (piece.names().part_done, Event { part: Some(piece), ..Event::default() }));
    }

    fn close_talk(&mut self, status: Status, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.talking) {
            self.close_piece(out);
            self.finish(self.items.len() - 1, status, out);
        }
    }

    /// Writes an event about the last part of the last item, if it has one.
    fn talk_event<'a>(&'a mut self, out: &mut Vec<u8>, event: impl FnOnce(&'a Piece) -> (&'static str, Event<'a>)) {
        let Some(item) = self.items.last() else { return };
        let Some(piece) = item.pieces().last() else { return };
        let index = Some(item.pieces().len() - 1);
        let (name, event) = event(piece);
        let (content_index, summary_index) =
            if matches!(item, Item::Reasoning { .. }) { (None, index) } else { (index, None) };
        let output_index = Some(self.items.len() - 1);
        let event = Event { output_index, item_id: Some(item.id()), content_index, summary_index, ..event };
        self.events.write(out, name, &event);
    }
}

/// Calls.
impl Encoder {
    fn open_call(&mut self, call: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        if !self.has_room(id.len().saturating_add(name.len()), out) || !self.make_way(out) {
            return;
        }
        let place = self.items.len();
        self.add(Item::call(&self.namer(), place, id, name, String::new()), out);
        self.latest_call = Some(call);
        if let Some(older) = self.calls.insert(call, place) {
            self.close_call(older, Status::Completed, out);
        }
    }

    fn add_arguments(&mut self, call: u32, json: &str, out: &mut Vec<u8>) {
        let Some(place) = self.calls.get(&call).copied() else { return };
        if json.is_empty() || !self.has_room(json.len(), out) {
            return;
        }
        let Item::FunctionCall { id, arguments, .. } = &mut self.items[place] else { return };
        arguments.push_str(json);
        let event = Event { output_index: Some(place), item_id: Some(id), delta: Some(json), ..Event::default() };
        self.events.write(out, "response.function_call_arguments.delta", &event);
    }

    fn close_call(&mut self, place: usize, status: Status, out: &mut Vec<u8>) {
        let Item::FunctionCall { id, name, arguments, .. } = &self.items[place] else { return };
        let event = Event {
            output_index: Some(place),
            item_id: Some(id),
            name: Some(name),
            arguments: Some(arguments),
            ..Event::default()
        };
        self.events.write(out, "response.function_call_arguments.done", &event);
        self.finish(place, status, out);
    }

    /// Closes the latest call if nothing can be added to its arguments: clients need not wait for the others. Each call is looked at
    /// once, when the next item begins.
    fn close_whole_call(&mut self, out: &mut Vec<u8>) {
        let Some(call) = self.latest_call.take() else { return };
        let Some(place) = self.calls.get(&call).copied() else { return };
        let Item::FunctionCall { arguments, .. } = &self.items[place] else { return };
        if arguments.starts_with('{') && serde_json::from_str::<IgnoredAny>(arguments).is_ok() {
            self.calls.remove(&call);
            self.close_call(place, Status::Completed, out);
        }
    }
}

/// Items.
impl Encoder {
    /// Closes what need not stay open when another item begins, if there is room for one.
    fn make_way(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.has_room(PART_BYTES, out) {
            return false;
        }
        self.close_talk(Status::Completed, out);
        self.close_whole_call(out);
        true
    }

    fn add(&mut self, item: Item, out: &mut Vec<u8>) {
        let event = Event { output_index: Some(self.items.len()), item: Some(&item), ..Event::default() };
        self.events.write(out, "response.output_item.added", &event);
        self.items.push(item);
    }

    fn finish(&mut self, place: usize, status: Status, out: &mut Vec<u8>) {
        let item = &mut self.items[place];
        item.set_status(status);
        let event = Event { output_index: Some(place), item: Some(item), ..Event::default() };
        self.events.write(out, "response.output_item.done", &event);
    }
}

/// The error with which a stream ends of which nothing was written yet. One that has begun ends with [`Encoder::fail`].
pub fn error_event(kind: &str, code: &str, message: &str) -> Bytes {
    let mut out = Vec::new();
    Events::default().write_error(&mut out, kind, code, message);
    out.into()
}
