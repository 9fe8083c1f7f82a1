//! A client's stream that outlives its vendor's: what is kept of it, so that another vendor can go on where it broke off.
//!
//! One encoder writes the whole of a client's stream, whoever speaks, so that ids, indices and the model's name go on as they
//! began. Of a successor only what the client has not had yet passes: an answer told anew is held against the text sent so far,
//! letter by letter, and one that goes on from that text may repeat the white space at its end, which vendors do not take.

use bytes::Bytes;

use super::Surface;
use super::chat::{Delta, Encode, Stop};
use crate::reply::ApiError;

/// How another vendor takes over a stream that broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescue {
    /// It goes on from the text sent so far.
    Continue,
    /// It answers anew, and what it says is dropped as long as it is what the client has had.
    Restart,
}

impl Rescue {
    /// As the config calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Restart => "restart",
        }
    }
}

/// The longest answer that is kept for a rescue, in bytes. A stream that broke off after more ends in an error.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// What is left of a stream: enough to go on with it, or to end it.
#[derive(Debug)]
pub struct Remains {
    pub(super) encoder: Box<dyn Encode>,
    pub(super) track: Track,
}

impl Remains {
    /// The text that the client has been sent, if that is all it has to know for another to go on.
    pub fn text(&self, rescue: Rescue) -> Option<&str> {
        let text = Some(self.track.text.as_str()).filter(|_| !self.track.is_lost)?;
        let given = if rescue == Rescue::Continue { text.trim_end() } else { text };
        (!given.is_empty()).then_some(given)
    }

    /// How the stream ends that nobody goes on with.
    pub fn broken(&mut self, error: &ApiError, surface: Surface, request_id: &str) -> Bytes {
        broken(&mut *self.encoder, error, surface, request_id)
    }
}

/// How a stream ends in an error, in the words of its encoder where it has any.
pub(super) fn broken(encoder: &mut dyn Encode, error: &ApiError, surface: Surface, request_id: &str) -> Bytes {
    let mut out = Vec::new();
    let code = error.code.as_deref().unwrap_or_default();
    if encoder.fail(error.kind, code, &error.message, &mut out) {
        return out.into();
    }
    error.event(surface, request_id)
}

/// Keeps what the client is sent, and keeps back what of a successor's answer it has had.
#[derive(Debug, Default)]
pub(super) struct Track {
    text: String,
    /// The client has been sent more than text, or more of it than is kept, or its end: nobody can go on from there.
    is_lost: bool,
    place: Place,
}

/// Where the vendor at hand is in the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// It is the first: all that it says is new.
    #[default]
    First,
    /// It tells the answer anew, and has come so far, in bytes.
    Again(usize),
    /// It goes on, and has said nothing yet. Of the text, what stands from here on is white space that it was not given.
    Ahead(usize),
    /// It has said all that the client had: what follows is new.
    Beyond,
}

/// A successor tells another answer than the client has begun to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Diverged;

impl Track {
    /// For the stream of a successor.
    pub(super) fn succeeded(mut self, rescue: Rescue) -> Self {
        self.place = match rescue {
            Rescue::Continue => Place::Ahead(self.text.trim_end().len()),
            Rescue::Restart => Place::Again(0),
        };
        self
    }

    /// What of a delta the client is to be sent.
    pub(super) fn pass(&mut self, delta: Delta) -> Result<Option<Delta>, Diverged> {
        match (self.place, delta) {
            (Place::First, delta) => self.note(delta),
            // The client's answer has begun, and it has had what thinking there was.
            (_, Delta::Begin { .. } | Delta::Thinking(_) | Delta::Signature(_) | Delta::RedactedThinking(_)) => {
                Ok(None)
            }
            (Place::Again(at), Delta::Text(text)) => self.compare(at, &text),
            (Place::Ahead(at), Delta::Text(text)) => self.overlap(at, &text),
            // Nothing new has come of it so far.
            (Place::Again(_) | Place::Ahead(_), Delta::Ping) => Ok(None),
            // An answer that is shorter than what the client has had, or that turns into something else; one not gone on with.
            (Place::Again(_), _)
            | (Place::Ahead(_), Delta::Refusal(_) | Delta::Stop(Stop::Filtered | Stop::Refusal)) => Err(Diverged),
            (Place::Ahead(_) | Place::Beyond, delta) => {
                self.place = Place::Beyond;
                self.note(delta)
            }
        }
    }

    /// Drops what of `text` the client has had, which is all that it may say until then.
    fn compare(&mut self, at: usize, text: &str) -> Result<Option<Delta>, Diverged> {
        let known = &self.text[at..];
        if let Some(new) = text.strip_prefix(known) {
            self.place = Place::Beyond;
            return if new.is_empty() { Ok(None) } else { self.note(Delta::Text(new.to_owned())) };
        }
        if !known.starts_with(text) {
            return Err(Diverged);
        }
        self.place = Place::Again(at + text.len());
        Ok(None)
    }

    /// Drops the white space that the client has had and the vendor was not given, as far as it says it again.
    fn overlap(&mut self, at: usize, text: &str) -> Result<Option<Delta>, Diverged> {
        let blank = &self.text[at..];
        let same = blank.bytes().zip(text.bytes()).take_while(|(blank, new)| blank == new).count();
        // White space may have more than one byte, of which two kinds may share the first.
        let same = (0..=same).rfind(|same| text.is_char_boundary(*same)).unwrap_or(0);
        if same == text.len() {
            self.place = Place::Ahead(at + same);
            return Ok(None);
        }
        self.place = Place::Beyond;
        self.note(Delta::Text(text[same..].to_owned()))
    }

    /// Keeps what goes to the client.
    #[expect(clippy::unnecessary_wraps, reason = "what is noted passes, and is returned by those who may refuse")]
    fn note(&mut self, delta: Delta) -> Result<Option<Delta>, Diverged> {
        match &delta {
            Delta::Text(text) if !self.is_lost && self.text.len() + text.len() <= TEXT_BYTES_MAX => {
                self.text.push_str(text);
            }
            Delta::Thinking(_) | Delta::RedactedThinking(_) if self.text.is_empty() => {}
            delta if delta.is_content() || matches!(delta, Delta::Logprobs(_) | Delta::Stop(_)) => {
                self.is_lost = true;
                self.text = String::new();
            }
            _ => {}
        }
        Ok(Some(delta))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::chat::Stamp;
    use crate::dialect::sse::Splitter;
    use crate::dialect::{Dialect, Event, Operation, Prepared, Reader, Request, Stream};
    use crate::price::{Picodollars, Price};
    use crate::time::Timestamp;

    const SURFACES: [Surface; 4] = [Surface::Chat, Surface::Completions, Surface::Responses, Surface::Messages];

    fn request(surface: Surface) -> Request {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let mut body =
            json!({"model": "m", "stream": true, "max_tokens": 9, "stream_options": {"include_usage": true}});
        let (name, asked) = match surface {
            Surface::Completions => ("prompt", json!("hi")),
            Surface::Responses => ("input", json!("hi")),
            _ => ("messages", messages),
        };
        body[name] = asked;
        if surface == Surface::Responses {
            body.as_object_mut().unwrap().retain(|name, _| matches!(name.as_str(), "model" | "stream" | "input"));
        }
        Request::read(surface, body.to_string().into()).unwrap()
    }

    fn reader(surface: Surface, dialect: Dialect, dollars: u64) -> Reader {
        let price = Price { output: Picodollars(dollars * 1_000_000), ..Price::default() };
        let stamp = Stamp { request_id: "req".into(), at: Timestamp(0), price: Some(price), wants_usage: true };
        let asked = Prepared { operation: Operation::Stream, body: Bytes::new(), dropped: Vec::new() };
        Reader::new(&request(surface), &asked, dialect, "m", stamp).tracking()
    }

    /// The events of an answer that says `pieces`, and that ends if `ends`.
    fn vendors(dialect: Dialect, pieces: &[&str], ends: bool) -> Vec<Value> {
        let mut events = Vec::new();
        if dialect == Dialect::OpenAi {
            let chunk = |delta: Value, finish: Value| json!({"id": "c", "model": "gpt", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            events.push(chunk(json!({"role": "assistant", "content": ""}), Value::Null));
            events.extend(pieces.iter().map(|text| chunk(json!({"content": text}), Value::Null)));
            if ends {
                events.push(chunk(json!({}), json!("stop")));
                events.push(json!({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 2}}));
            }
        } else {
            let usage = json!({"input_tokens": 0, "output_tokens": 1});
            let message = json!({"id": "msg", "role": "assistant", "model": "claude", "content": [], "usage": usage});
            events.push(json!({"type": "message_start", "message": message}));
            events.push(
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            );
            events.extend(pieces.iter().map(|text| {
                    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
                }));
            if ends {
                events.push(json!({"type": "content_block_stop", "index": 0}));
                let delta = json!({"stop_reason": "end_turn"});
                events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}}));
                events.push(json!({"type": "message_stop"}));
            }
        }
        events
    }

    /// Feeds a vendor's events to a stream. `None`: it diverged.
    fn feed(stream: &mut Stream, events: &[Value], written: &mut Vec<u8>) -> Option<()> {
        for event in events {
            stream.push(format!("data: {event}\n\n").into());
            while let Some(event) = stream.next_event().unwrap() {
                match event {
                    Event::Content(bytes) | Event::Finish(bytes) | Event::Other(bytes) => written.extend(bytes),
                    Event::Diverged => return None,
                    Event::Error(error) => panic!("{error:?}"),
                }
            }
        }
        Some(())
    }

    fn events(written: &[u8]) -> Vec<Value> {
        let mut splitter = Splitter::default();
        splitter.push(Bytes::copy_from_slice(written));
        let mut events = Vec::new();
        while let Some(block) = splitter.next_block().unwrap() {
            events.extend(block.data.and_then(|data| serde_json::from_slice(&data).ok()));
        }
        events
    }

    /// What a client of the surface has read.
    fn text(surface: Surface, written: &[u8]) -> String {
        let text = |event: &Value| {
            let text = match surface {
                Surface::Chat => &event["choices"][0]["delta"]["content"],
                Surface::Completions => &event["choices"][0]["text"],
                Surface::Responses if event["type"] == "response.output_text.delta" => &event["delta"],
                Surface::Messages => &event["delta"]["text"],
                _ => &Value::Null,
            };
            text.as_str().map(str::to_owned)
        };
        events(written).iter().filter_map(text).collect()
    }

    /// What the client has after `first` broke off and `second` was asked, or nothing where that told another answer.
    fn rescued(
        surface: Surface,
        rescue: Rescue,
        (from, first): (Dialect, &[&str]),
        (to, second): (Dialect, &[&str]),
    ) -> Option<Vec<u8>> {
        let mut written = Vec::new();
        let mut stream = reader(surface, from, 1).stream();
        feed(&mut stream, &vendors(from, first, false), &mut written).unwrap();
        let remains = stream.into_remains().unwrap();
        assert!(remains.text(rescue).is_some());
        let mut stream = reader(surface, to, 100).resume(remains, rescue);
        feed(&mut stream, &vendors(to, second, true), &mut written)?;
        assert!(stream.is_finished());
        written.extend(stream.farewell().unwrap_or_default());
        Some(written)
    }

    #[test]
    fn one_stream_spans_two_vendors_on_every_surface() {
        let dialects = [(Dialect::OpenAi, Dialect::Anthropic), (Dialect::Anthropic, Dialect::OpenAi)];
        for (surface, (from, to)) in SURFACES.into_iter().flat_map(|surface| dialects.map(|pair| (surface, pair))) {
            let told = (from, &["one ", "two "][..]);
            let restarted = rescued(surface, Rescue::Restart, told, (to, &["one t", "wo three", " four"])).unwrap();
            let continued = rescued(surface, Rescue::Continue, told, (to, &[" ", "three", " four"])).unwrap();
            for written in [restarted, continued] {
                assert_eq!(text(surface, &written), "one two three four", "{surface:?}");
                let events = events(&written);
                let of = |name: &str, key: &str| events.iter().filter(|event| event[key] == name).count();
                let chunks = || events.iter().filter(|event| !event["choices"].is_null());
                match surface {
                    Surface::Messages => {
                        let kinds = ["message_start", "content_block_start", "content_block_stop", "message_stop"];
                        assert_eq!(kinds.map(|kind| of(kind, "type")), [1; 4], "{events:?}");
                    }
                    Surface::Responses => {
                        let kinds = ["response.created", "response.output_item.added", "response.completed"];
                        assert_eq!(kinds.map(|kind| of(kind, "type")), [1; 3], "{events:?}");
                        let whole = &events.last().unwrap()["response"]["output"][0]["content"][0]["text"];
                        assert_eq!(whole, "one two three four");
                    }
                    _ => {
                        let first = &events[0];
                        assert!(chunks().all(|chunk| chunk["id"] == first["id"] && chunk["model"] == first["model"]));
                        assert_eq!(chunks().filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop").count(), 1);
                        assert!(written.ends_with(b"data: [DONE]\n\n"));
                        let costs: Vec<_> = chunks().filter_map(|chunk| chunk["usage"]["cost"].as_f64()).collect();
                        assert_eq!(costs, [0.0002], "two tokens, at the price of who ended it");
                    }
                }
            }
        }
    }

    #[test]
    fn another_answer_is_none() {
        let told = (Dialect::OpenAi, &["one ", "two "][..]);
        for other in [&["one ", "three"][..], &["one"], &["One two three"], &[]] {
            let second = (Dialect::OpenAi, other);
            assert_eq!(rescued(Surface::Chat, Rescue::Restart, told, second), None, "{other:?}");
        }
        let same = rescued(Surface::Chat, Rescue::Restart, told, told).unwrap();
        assert_eq!(text(Surface::Chat, &same), "one two ", "it had been whole");
    }

    #[test]
    fn white_space_is_not_said_twice() {
        for (second, expected) in [
            (&["\n", "\nnext"][..], "so\n\nnext"),
            (&["\n\n\nnext"], "so\n\n\nnext"),
            (&["\nnext"], "so\n\nnext"),
            (&["next"], "so\n\nnext"),
            (&[" next"], "so\n\n next"),
            (&[], "so\n\n"),
        ] {
            let told = (Dialect::OpenAi, &["so", "\n\n"][..]);
            let written = rescued(Surface::Chat, Rescue::Continue, told, (Dialect::Anthropic, second)).unwrap();
            assert_eq!(text(Surface::Chat, &written), expected, "{second:?}");
        }
        let wide = Track { text: "so\u{2003}".into(), is_lost: false, place: Place::First };
        let passed = wide.succeeded(Rescue::Continue).pass(Delta::Text("\u{2002}x".into()));
        assert_eq!(passed, Ok(Some(Delta::Text("\u{2002}x".into()))), "half a letter is none");
    }

    #[test]
    fn what_is_more_than_text_is_not_gone_on_from() {
        let text = || Delta::Text("so".into());
        let call = || Delta::ToolCall { call: 0, id: "i".into(), name: "f".into(), signature: None };
        let thinking = || Delta::Thinking("hm".into());
        for (deltas, expected) in [
            (vec![thinking(), Delta::Signature("s".into()), text()], Some("so")),
            (vec![text(), Delta::Ping], Some("so")),
            (vec![thinking()], None),
            (vec![text(), Delta::Stop(Stop::End)], None),
            (vec![text(), thinking()], None),
            (vec![text(), call()], None),
            (vec![Delta::Refusal("no".into())], None),
            (vec![text(), Delta::Logprobs(crate::dialect::chat::Json::of(&1))], None),
            (vec![Delta::Text("x".repeat(TEXT_BYTES_MAX)), text()], None),
            (vec![Delta::Text("x".repeat(TEXT_BYTES_MAX + 1)), text()], None),
        ] {
            let mut track = Track::default();
            for delta in deltas {
                assert_eq!(track.pass(delta.clone()), Ok(Some(delta)));
            }
            let encoder = Box::new(crate::dialect::openai::Encoder::new(Stamp {
                request_id: String::new(),
                at: Timestamp(0),
                price: None,
                wants_usage: false,
            }));
            let remains = Remains { encoder, track };
            assert_eq!((remains.text(Rescue::Continue), remains.text(Rescue::Restart)), (expected, expected));
            assert!(remains.track.text.len() <= TEXT_BYTES_MAX);
        }
    }

    #[test]
    fn an_error_ends_what_remains_in_the_surfaces_words() {
        for surface in SURFACES {
            let mut stream = reader(surface, Dialect::OpenAi, 1).stream();
            let mut written = Vec::new();
            feed(&mut stream, &vendors(Dialect::OpenAi, &["one"], false), &mut written).unwrap();
            let error = ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", "stream_interrupted", "cut");
            written.extend(stream.into_remains().unwrap().broken(&error, surface, "req"));
            let events = events(&written);
            let told = events.iter().filter(|event| event.to_string().contains("\"message\":\"cut\"")).count();
            let expected = if surface == Surface::Responses { 2 } else { 1 };
            assert_eq!(told, expected, "{surface:?}: {events:?}");
        }
    }

    #[test]
    fn a_continued_request_ends_in_the_answers_beginning() {
        for surface in SURFACES {
            let request = request(surface).continued("one two \n").unwrap();
            assert!(!request.goes_through(Dialect::OpenAi) && !request.goes_through(Dialect::Anthropic));
            let last = request.chat().unwrap().messages.last().unwrap();
            assert_eq!(last.role, crate::dialect::chat::Role::Assistant, "{surface:?}");
            assert_eq!(last.parts[0].content, crate::dialect::chat::Content::Text("one two".into()));
        }
        let begun = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Dear"}]});
        let request = Request::read(Surface::Chat, begun.to_string().into()).unwrap().continued(" Sir").unwrap();
        let [_, last] = &request.chat().unwrap().messages[..] else { panic!("one turn, not two") };
        assert_eq!(last.parts[0].content, crate::dialect::chat::Content::Text("Dear Sir".into()));
    }

    proptest! {
        /// However the pieces fall, and wherever the first was cut: what passes is the rest of the answer, or nothing.
        #[test]
        fn the_client_has_one_answer(
            answer in "[ab ]{1,12}", other in "[ab ]{0,12}", cut in 1..12_usize, sizes in prop::collection::vec(1..4_usize, 1..20),
        ) {
            let told = &answer[..cut.min(answer.len())];
            for second in [&answer, &other] {
                let mut track = Track::default();
                track.pass(Delta::Text(told.to_owned())).unwrap();
                let mut track = track.succeeded(Rescue::Restart);
                let (mut has, mut rest, mut diverged) = (told.to_owned(), second.as_str(), false);
                for size in sizes.iter().cycle() {
                    let (piece, after) = rest.split_at((*size).min(rest.len()));
                    rest = after;
                    match track.pass(Delta::Text(piece.to_owned())) {
                        Ok(Some(Delta::Text(new))) => has.push_str(&new),
                        Ok(_) => {}
                        Err(Diverged) => { diverged = true; break }
                    }
                    if rest.is_empty() { break }
                }
                diverged = diverged || track.pass(Delta::Stop(Stop::End)).is_err();
                prop_assert_eq!(diverged, !second.starts_with(told));
                prop_assert_eq!(&has, if diverged { told } else { second });
            }
        }
    }
}
