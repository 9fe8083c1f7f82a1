//! A vendor's stream on its way to a client: passed through where both speak one dialect, translated where they do not.

use bytes::Bytes;

use super::chat::{Decode, Delta, Encode, Stop};
use super::rescue::{self, Diverged, Remains, Rescue, Track};
use super::sse::EventTooLarge;
use super::{Event, Surface, VendorError, anthropic, openai};
use crate::price::Usage;
use crate::reply::ApiError;

/// A stream under way. Feed it with [`push`](Self::push), then take [`next_event`](Self::next_event) until there is none.
#[derive(Debug)]
pub enum Stream {
    /// `OpenAI`'s to a client of `OpenAI`'s.
    OpenAi(openai::Watcher),
    /// Anthropic's to a client of Anthropic's.
    Anthropic(anthropic::Watcher),
    /// One dialect's to a client of another.
    Translated(Translation),
}

/// A stream that is read in one dialect and written in another.
#[derive(Debug)]
pub struct Translation {
    decoder: Box<dyn Decode>,
    encoder: Box<dyn Encode>,
    /// What the client has been sent, where another vendor may have to go on from there.
    track: Option<Box<Track>>,
    usage: Option<Usage>,
    /// How what has been said would end, if its vendor should say that this was all, and not why.
    unsaid: Option<Stop>,
    finished: bool,
    filtered: bool,
    /// Whether the client has been sent the stream's good end.
    ended: bool,
    /// An error that came behind what is still to go out.
    error: Option<VendorError>,
    /// Where events are written. It grows once, and each event leaves it as a copy of its own size.
    out: Vec<u8>,
}

/// What is kept of `out` between two events, in bytes: an event that was larger than all others are does not stay.
const OUT_BYTES_KEPT: usize = 16 << 10;

impl Stream {
    /// A stream to be read by `decoder` and written by `encoder`.
    pub(super) fn translated(decoder: Box<dyn Decode>, encoder: Box<dyn Encode>) -> Self {
        Self::Translated(Translation::new(decoder, encoder, None))
    }

    /// The same, kept track of: should it break off, another vendor may go on with it.
    pub(super) fn tracked(decoder: Box<dyn Decode>, encoder: Box<dyn Encode>) -> Self {
        Self::Translated(Translation::new(decoder, encoder, Some(Box::default())))
    }

    /// A stream that goes on where another broke off.
    pub(super) fn resumed(decoder: Box<dyn Decode>, remains: Remains, rescue: Rescue) -> Self {
        let Remains { encoder, track } = remains;
        Self::Translated(Translation::new(decoder, encoder, Some(Box::new(track.succeeded(rescue)))))
    }

    /// Whether another vendor may go on with it.
    pub fn is_tracked(&self) -> bool {
        matches!(self, Self::Translated(Translation { track: Some(_), .. }))
    }

    /// What is left of it, for another vendor to go on with. `None`: it was not kept track of.
    pub fn into_remains(self) -> Option<Remains> {
        match self {
            Self::Translated(Translation { encoder, track: Some(track), .. }) => {
                Some(Remains { encoder, track: *track })
            }
            _ => None,
        }
    }

    /// Takes the next piece of the vendor's stream, of any size.
    pub fn push(&mut self, piece: Bytes) {
        match self {
            Self::OpenAi(watcher) => watcher.push(piece),
            Self::Anthropic(watcher) => watcher.push(piece),
            Self::Translated(translation) => translation.decoder.push(piece),
        }
    }

    /// The next event, in the client's dialect. Events that do not read are counted and left out.
    ///
    /// # Errors
    ///
    /// An event that is larger than an event may be.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        match self {
            Self::OpenAi(watcher) => watcher.next_event(),
            Self::Anthropic(watcher) => watcher.next_event(),
            Self::Translated(translation) => translation.next_event(),
        }
    }

    /// What the vendor counted, as far as it has said.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::OpenAi(watcher) => watcher.usage,
            Self::Anthropic(watcher) => watcher.usage,
            Self::Translated(translation) => translation.usage,
        }
    }

    /// Whether the vendor has said why the answer ended.
    pub fn is_finished(&self) -> bool {
        match self {
            Self::OpenAi(watcher) => watcher.finished,
            Self::Anthropic(watcher) => watcher.finished,
            Self::Translated(translation) => translation.finished,
        }
    }

    /// Whether that reason was its content filter.
    pub fn is_filtered(&self) -> bool {
        match self {
            Self::OpenAi(watcher) => watcher.filtered,
            Self::Anthropic(watcher) => watcher.filtered,
            Self::Translated(translation) => translation.filtered,
        }
    }

    /// Whether the client has been sent its dialect's last word.
    pub fn is_done(&self) -> bool {
        match self {
            Self::OpenAi(watcher) => watcher.done,
            Self::Anthropic(watcher) => watcher.done,
            Self::Translated(translation) => translation.ended,
        }
    }

    /// Events that did not read, and were left out.
    pub fn malformed(&self) -> u32 {
        match self {
            Self::OpenAi(watcher) => watcher.malformed,
            Self::Anthropic(watcher) => watcher.malformed,
            Self::Translated(translation) => translation.decoder.malformed(),
        }
    }

    /// What the client still has to be sent when its stream has ended well: the end that the vendor forgot, or that its
    /// dialect does not have.
    pub fn farewell(&mut self) -> Option<Bytes> {
        if self.is_done() {
            return None;
        }
        Some(match self {
            Self::OpenAi(_) => Bytes::from_static(openai::DONE),
            Self::Anthropic(_) => Bytes::from_static(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
            Self::Translated(translation) => {
                let mut end = Vec::new();
                translation.end(&mut end);
                end.into()
            }
        })
    }

    /// How the client's stream ends when it breaks off.
    pub fn broken(&mut self, error: &ApiError, surface: Surface, request_id: &str) -> Bytes {
        match self {
            Self::Translated(translation) => rescue::broken(&mut *translation.encoder, error, surface, request_id),
            Self::OpenAi(_) | Self::Anthropic(_) => error.event(surface, request_id),
        }
    }
}

impl Translation {
    fn new(decoder: Box<dyn Decode>, encoder: Box<dyn Encode>, track: Option<Box<Track>>) -> Self {
        let (usage, unsaid, error, out) = (None, None, None, Vec::new());
        let (finished, filtered, ended) = (false, false, false);
        Self { decoder, encoder, track, usage, unsaid, finished, filtered, ended, error, out }
    }

    /// All that can be read now becomes one event: what a piece held goes on in one piece.
    fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        if let Some(error) = self.error.take() {
            return Ok(Some(Event::Error(error)));
        }
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let (mut has_content, mut finishes) = (false, false);
        while let Some(delta) = self.next_delta()? {
            match &delta {
                // What comes after its end is for nobody, but it is taken in.
                _ if self.ended => continue,
                Delta::Error(error) => {
                    self.error = Some(error.clone());
                    break;
                }
                Delta::Usage(usage) => {
                    self.usage = Some(*usage);
                    continue;
                }
                Delta::Begin { usage: Some(usage), .. } => self.usage = Some(*usage),
                // Nothing of the answer comes after its end.
                _ if self.finished => continue,
                Delta::Stop(stop) => {
                    finishes = true;
                    self.finished = true;
                    self.filtered = *stop == Stop::Filtered;
                }
                delta if delta.is_content() => {
                    has_content = true;
                    self.note(delta);
                }
                _ => {}
            }
            match self.pass(delta) {
                Ok(Some(delta)) => self.encoder.encode(&delta, &mut out),
                Ok(None) => {}
                Err(Diverged) => {
                    self.finished = false;
                    return Ok(Some(Event::Diverged));
                }
            }
        }
        if self.finished && self.error.is_none() && self.decoder.is_done() {
            self.end(&mut out);
        }
        let event = if has_content {
            Some(Event::Content(Bytes::copy_from_slice(&out)))
        } else if finishes {
            Some(Event::Finish(Bytes::copy_from_slice(&out)))
        } else if out.is_empty() {
            self.error.take().map(Event::Error)
        } else {
            Some(Event::Other(Bytes::copy_from_slice(&out)))
        };
        if out.capacity() <= OUT_BYTES_KEPT {
            self.out = out;
        }
        Ok(event)
    }

    /// What comes next. `[DONE]` and `message_stop` are the vendor's word that all has been said, as good as a reason: some
    /// servers that speak these dialects give none.
    fn next_delta(&mut self) -> Result<Option<Delta>, EventTooLarge> {
        let delta = self.decoder.next_delta()?;
        if delta.is_some() || self.finished || !self.decoder.is_done() {
            return Ok(delta);
        }
        Ok(self.unsaid.take().map(Delta::Stop))
    }

    fn note(&mut self, content: &Delta) {
        match content {
            Delta::ToolCall { .. } => self.unsaid = Some(Stop::Tools),
            Delta::Refusal(_) if self.unsaid != Some(Stop::Tools) => self.unsaid = Some(Stop::Refusal),
            _ if self.unsaid.is_none() => self.unsaid = Some(Stop::End),
            _ => {}
        }
    }

    /// What of a delta is for the client: all of it, unless another vendor has told a part before.
    fn pass(&mut self, delta: Delta) -> Result<Option<Delta>, Diverged> {
        match &mut self.track {
            None => Ok(Some(delta)),
            Some(track) => track.pass(delta),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if !self.ended {
            self.ended = true;
            self.encoder.end(self.usage, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chat::Stamp;
    use super::*;
    use crate::time::Timestamp;

    const HI: &str = r#"{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
    const CALL: &str =
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"1","function":{"name":"f","arguments":"{}"}}]}}]}"#;
    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const MESSAGE: [&str; 2] = [
        r#"{"type":"message_start","message":{"id":"1","model":"m","usage":{"input_tokens":1,"output_tokens":1}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#,
    ];
    const MESSAGE_STOP: &str = r#"{"type":"message_stop"}"#;

    fn stamp() -> Stamp {
        Stamp { request_id: "r".to_owned(), at: Timestamp(0), price: None, wants_usage: false }
    }

    /// What became of a stream of these events: what the client was sent, and whether that is a whole answer.
    fn told(mut stream: Stream, events: &[&str]) -> (String, bool) {
        let mut sent = Vec::new();
        for data in events {
            stream.push(format!("data: {data}\n\n").into());
            while let Some(event) = stream.next_event().unwrap() {
                match event {
                    Event::Content(raw) | Event::Finish(raw) | Event::Other(raw) => sent.extend(raw),
                    Event::Error(_) | Event::Diverged => return (String::from_utf8(sent).unwrap(), false),
                }
            }
        }
        let is_whole = stream.is_finished() || stream.is_done();
        sent.extend(stream.farewell().filter(|_| is_whole).unwrap_or_default());
        (String::from_utf8(sent).unwrap(), is_whole)
    }

    /// The same as a client of `OpenAI`'s dialect gets it as it comes, and translated.
    fn from_openai(events: &[&str]) -> [(String, bool); 2] {
        let watched = Stream::OpenAi(openai::Watcher::new(false, true, None));
        let (decoder, encoder) = (openai::Decoder::new(), openai::Encoder::new(stamp()));
        let translated = Stream::translated(Box::new(decoder), Box::new(encoder));
        [told(watched, events), told(translated, events)]
    }

    #[test]
    fn whoever_says_that_this_was_all_need_not_say_why() {
        for (stream, reason) in [([HI, "[DONE]"], "stop"), ([CALL, "[DONE]"], "tool_calls")] {
            let [as_it_came, translated] = from_openai(&stream);
            assert!(as_it_came.1 && translated.1, "{stream:?}");
            assert_eq!(as_it_came.0, stream.map(|data| format!("data: {data}\n\n")).concat(), "the vendor's own bytes");
            let end = format!("\"finish_reason\":\"{reason}\"");
            assert!(translated.0.contains(&end) && translated.0.ends_with("data: [DONE]\n\n"), "{}", translated.0);
        }
        let events = [MESSAGE[0], MESSAGE[1], MESSAGE_STOP];
        let (decoder, encoder) = (anthropic::Decoder::default(), openai::Encoder::new(stamp()));
        for stream in
            [Stream::Anthropic(anthropic::Watcher::new(None)), Stream::translated(Box::new(decoder), Box::new(encoder))]
        {
            assert!(told(stream, &events).1);
        }
    }

    #[test]
    fn whoever_says_neither_has_not_said_all() {
        let empty = HI.replace("null", "\"\"");
        let error = HI.replace("null", "\"error\"");
        for events in [&[HI][..], &[&empty], &[&error, "[DONE]"]] {
            assert_eq!(from_openai(events).map(|(_, is_whole)| is_whole), [false; 2], "{events:?}");
        }
        assert_eq!(from_openai(&[&empty, STOP]).map(|(_, is_whole)| is_whole), [true; 2]);
    }

    #[test]
    fn nothing_that_ends_is_no_answer() {
        let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
        let (sent, is_whole) = from_openai(&[role, "[DONE]"])[1].clone();
        assert!(!is_whole && !sent.contains("finish_reason\":\"stop"), "{sent}");
    }

    #[test]
    fn what_is_no_text_is_left_out_and_counted() {
        let broken = || Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n");
        let (decoder, encoder) = (openai::Decoder::new(), openai::Encoder::new(stamp()));
        for mut stream in [
            Stream::OpenAi(openai::Watcher::new(false, false, None)),
            Stream::translated(Box::new(decoder), Box::new(encoder)),
        ] {
            stream.push(broken());
            assert_eq!((stream.next_event(), stream.malformed()), (Ok(None), 1));
        }
    }
}
