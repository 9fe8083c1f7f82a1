//! A stream that goes through to a client of the same dialect: what goes on, and what it says about the answer.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::read_chat::{BROKEN_OFF, broken_off};
use super::usage::{find_usage_in, with_cost_at};
use super::{DATA, read_error};
use crate::dialect::Event;
use crate::dialect::scan::end_of_string;
use crate::dialect::sse::{Block, EventTooLarge, Splitter};
use crate::price::{Price, Usage};

/// Reads a stream as it arrives. Feed it with [`push`](Self::push), then take [`next_event`](Self::next_event) until there is none.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the stream")]
pub struct Watcher {
    splitter: Splitter,
    /// Whether the chunk that holds only the usage is kept from the client, who did not ask for it.
    strips_usage: bool,
    /// Whether the request asked for one choice alone: then, once it has said something, only its end is news.
    one_choice: bool,
    /// Whether there has been content.
    spoke: bool,
    /// What the tokens cost, to be told beside the usage; `None` tells nothing.
    price: Option<Price>,
    /// What the vendor counted, once it has said so.
    pub usage: Option<Usage>,
    /// Whether a finish reason has come for every choice that has begun.
    pub finished: bool,
    /// Whether that reason was the vendor's content filter.
    pub filtered: bool,
    /// Whether `[DONE]` has come.
    pub done: bool,
    /// Events that did not read, and were left out.
    pub malformed: u32,
    /// The choices that have begun and have ended, a bit for each index.
    begun: u128,
    ended: u128,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    audio: Option<&'a RawValue>,
}

impl Watcher {
    /// A decoder for one stream. `wants_usage`: the client asked for the usage at its end. `one_choice`: it asked for a
    /// single answer. `price`: what the target's tokens cost, for a client who wants the usage to be told with it.
    pub fn new(wants_usage: bool, one_choice: bool, price: Option<Price>) -> Self {
        Self {
            splitter: Splitter::default(),
            strips_usage: !wants_usage,
            one_choice,
            spoke: false,
            price: price.filter(|_| wants_usage),
            usage: None,
            finished: false,
            filtered: false,
            done: false,
            malformed: 0,
            begun: 0,
            ended: 0,
        }
    }

    /// Takes the next piece of the stream, of any size.
    pub fn push(&mut self, piece: Bytes) {
        self.splitter.push(piece);
    }

    /// The next event that is whole. Events that do not read are counted and left out; what follows `[DONE]` is for nobody.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(block) = self.splitter.next_block()? {
            if self.done {
                continue;
            }
            if let Some(event) = self.read(block) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn read(&mut self, block: Block) -> Option<Event> {
        let Some(data) = block.data else {
            return Some(Event::Other(block.raw));
        };
        if &data[..] == b"[DONE]" {
            self.done = true;
            return Some(Event::Other(block.raw));
        }
        if self.one_choice && self.spoke && says_nothing_new(&data) {
            return Some(Event::Content(block.raw));
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&data) else {
            self.malformed = self.malformed.saturating_add(1);
            return None;
        };
        if chunk.error.is_some() {
            return Some(Event::Error(read_error(&data)));
        }
        let mut raw = block.raw;
        if let Some((usage, place)) = find_usage_in(&data, chunk.usage) {
            self.usage = Some(usage);
            let cost = self.price.and_then(|price| price.cost(usage));
            if let Some((cost, at)) = cost.zip(place) {
                raw = event_with(&with_cost_at(&data, at, cost));
            }
        }
        let choices = chunk.choices.unwrap_or_default();
        if choices.is_empty() && chunk.usage.is_some() && self.strips_usage {
            return None;
        }
        let mut finishes = false;
        for choice in &choices {
            // `OpenAI` gives at most 128 choices; who gives more has the last ones counted as one.
            let bit = 1 << choice.index.min(u128::BITS - 1);
            self.begun |= bit;
            // Some say with each chunk that there is no reason yet by an empty one.
            if let Some(reason) = choice.finish_reason.as_deref().filter(|reason| !reason.is_empty()) {
                if reason == BROKEN_OFF {
                    return Some(Event::Error(broken_off()));
                }
                finishes = true;
                self.ended |= bit;
                self.filtered |= reason == "content_filter";
            }
        }
        self.finished = self.ended != 0 && self.ended == self.begun;
        if finishes {
            return Some(Event::Finish(raw));
        }
        let has_content = choices.iter().filter_map(|choice| choice.delta.as_ref()).any(Delta::has_content);
        self.spoke |= has_content;
        Some(if has_content { Event::Content(raw) } else { Event::Other(raw) })
    }
}

/// An event for data that has changed.
fn event_with(data: &[u8]) -> Bytes {
    let mut event = [DATA, data, b"\n\n"].concat();
    // Data of several lines becomes one of a single line. In JSON a line's end is as good as a blank.
    let last = event.len() - 2;
    event[..last].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    event.into()
}

/// Whether a chunk is whole and holds no error, no usage and no finish reason. Nearly all of a stream is like that, and one
/// look at its strings and brackets finds it out in a fraction of the time that reading it takes.
///
/// It errs to the safe side: an object that closes where it should, with none of those keys, whatever else is in it.
fn says_nothing_new(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(byte) = data.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let Some(end) = end_of_string(data, at) else { return false };
                match &data[at..end] {
                    b"error" => return false,
                    b"finish_reason" | b"usage" if !is_null(&data[end + 1..]) => return false,
                    _ => at = end + 1,
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => match depth {
                0 => return false,
                1 => return at == data.len() && data.starts_with(b"{") && *byte == b'}',
                _ => depth -= 1,
            },
            _ => {}
        }
    }
    false
}

/// Whether what follows a key gives it `null`.
fn is_null(after_key: &[u8]) -> bool {
    let value = after_key.trim_ascii_start().strip_prefix(b":");
    value.is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
}

impl Delta<'_> {
    /// A role alone, or an empty string, is not content: vendors send those before they have begun to think.
    fn has_content(&self) -> bool {
        let parts = [
            self.content,
            self.tool_calls,
            self.function_call,
            self.refusal,
            self.reasoning_content,
            self.reasoning,
            self.audio,
        ];
        parts.into_iter().flatten().any(|part| !matches!(part.get(), "null" | "\"\"" | "[]" | "{}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::dialect::VendorError;
    use crate::price::Picodollars;

    const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    const HI: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n";
    const END: &str = "data: [DONE]\n\n";

    /// All events of a stream that arrives in pieces of `size` bytes, and the decoder after it.
    fn decode(stream: &str, wants_usage: bool, size: usize) -> (Vec<Event>, Watcher) {
        decode_with(Watcher::new(wants_usage, false, None), stream, size)
    }

    fn decode_with(mut decoder: Watcher, stream: &str, size: usize) -> (Vec<Event>, Watcher) {
        let mut events = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(event) = decoder.next_event().unwrap() {
                events.push(event);
            }
        }
        (events, decoder)
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_whole_stream() {
        let stream = [ROLE, HI, STOP, USAGE, END].concat();
        for size in [1, 7, 10_000] {
            let (events, decoder) = decode(&stream, false, size);
            let expected = [
                Event::Other(bytes(ROLE)),
                Event::Content(bytes(HI)),
                Event::Finish(bytes(STOP)),
                Event::Other(bytes(END)),
            ];
            assert_eq!(events, expected, "usage is stripped, everything else passes, in pieces of {size}");
            assert_eq!(decoder.usage, Some(Usage { input: 5, output: 2, ..Usage::default() }));
            assert!(decoder.finished && decoder.done && decoder.malformed == 0);
        }
        let (events, _) = decode(&stream, true, 9);
        assert!(events.contains(&Event::Other(bytes(USAGE))), "asked for, so passed on");
    }

    #[test]
    fn usage_beside_choices_is_read_and_passed_on() {
        let last = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\n";
        let (events, decoder) = decode(last, false, 11);
        assert_eq!(events.len(), 1);
        assert_eq!(decoder.usage.unwrap().input, 1);
    }

    #[test]
    fn the_cost_is_told_beside_the_usage_where_both_are_wanted_and_known() {
        let price = Price { input: Picodollars(1_000_000), output: Picodollars(2_000_000), ..Price::default() };
        let told =
            "data: {\"choices\":[],\"usage\":{\"cost\":0.000009,\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n";
        let stream = [HI, USAGE].concat();
        for size in [1, 10_000] {
            let (events, decoder) = decode_with(Watcher::new(true, true, Some(price)), &stream, size);
            assert_eq!(events, [Event::Content(bytes(HI)), Event::Other(bytes(told))]);
            assert_eq!(decoder.usage.unwrap().output, 2);
        }
        let (events, _) = decode_with(Watcher::new(true, true, None), &stream, 99);
        assert_eq!(events[1], Event::Other(bytes(USAGE)), "a price that is not known tells nothing");
        let beside =
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\n";
        let (events, _) = decode_with(Watcher::new(false, true, Some(price)), beside, 99);
        assert_eq!(events, [Event::Finish(bytes(beside))], "nobody asked");
        let theirs = "data: {\"choices\":[],\n\r\ndata: \"usage\":{\"prompt_tokens\":1,\"cost\":7}}\n\n";
        let theirs = theirs.replace("\n\r\n", "\r\n");
        let (events, _) = decode_with(Watcher::new(true, true, Some(price)), &theirs, 99);
        assert_eq!(events, [Event::Other(theirs.into())], "the vendor's own word stands");
        let lines = "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":1}}\n\n";
        let joined = "data: {\"choices\":[], \"usage\":{\"cost\":0.000001,\"prompt_tokens\":1}}\n\n";
        assert_eq!(decode_with(Watcher::new(true, true, Some(price)), lines, 99).0, [Event::Other(bytes(joined))]);
    }

    #[test]
    fn content_is_more_than_text() {
        for delta in [
            r#"{"tool_calls":[{"index":0}]}"#,
            r#"{"reasoning_content":"hm"}"#,
            r#"{"refusal":"no"}"#,
            r#"{"content":[{"type":"text"}]}"#,
        ] {
            let stream = format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
            assert!(matches!(decode(&stream, false, 99).0[..], [Event::Content(_)]), "{delta}");
        }
        for delta in [r#"{"role":"assistant"}"#, r#"{"content":null}"#, r#"{"tool_calls":[]}"#, "{}"] {
            let stream = format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
            assert!(matches!(decode(&stream, false, 99).0[..], [Event::Other(_)]), "{delta}");
        }
    }

    /// Some vendors repeat the role with every chunk until the model speaks.
    #[test]
    fn a_role_that_is_said_again_is_no_content() {
        let (events, _) = decode_with(Watcher::new(false, true, None), &[ROLE, ROLE, HI, ROLE].concat(), 99);
        let silent = || Event::Other(bytes(ROLE));
        assert_eq!(events[..3], [silent(), silent(), Event::Content(bytes(HI))]);
    }

    #[test]
    fn garbage_is_left_out_and_errors_are_held_back() {
        let stream = [HI, "data: {not json\n\n", "data: {\"error\":{\"message\":\"m\",\"code\":503}}\n\n"].concat();
        let (events, decoder) = decode(&stream, false, 64);
        let error = VendorError { message: "m".into(), kind: String::new(), code: "503".into(), retry_in: None };
        assert_eq!(events, [Event::Content(bytes(HI)), Event::Error(error)]);
        assert_eq!(decoder.malformed, 1);
    }

    #[test]
    fn it_is_finished_when_every_choice_is() {
        let chunk = |index: u32, delta: &str, reason: &str| {
            format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{delta},\"finish_reason\":{reason}}}]}}\n\n")
        };
        let hi = r#"{"content":"hi"}"#;
        let both = [chunk(0, hi, "null"), chunk(1, hi, "null"), chunk(0, "{}", "\"stop\"")].concat();
        assert!(!decode(&both, false, 99).1.finished, "one of two may yet be cut");
        assert!(decode(&(both + &chunk(1, "{}", "\"stop\"")), false, 99).1.finished);
        assert!(decode(&chunk(u32::MAX, "{}", "\"stop\""), false, 99).1.finished);
    }

    #[test]
    fn nothing_comes_after_done() {
        let (events, decoder) = decode(&[HI, END, HI, "data: {\"error\":{}}\n\n", END].concat(), false, 99);
        assert_eq!(events, [Event::Content(bytes(HI)), Event::Other(bytes(END))]);
        assert!(decoder.splitter.rest().is_empty(), "it is taken in all the same");
    }

    #[test]
    fn the_filter_is_seen() {
        let stream = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n";
        let (_, decoder) = decode(stream, false, 99);
        assert!(decoder.filtered && decoder.finished);
    }

    /// What the short look lets pass is whole; what was cut or merged gets the long look, and is left out there.
    #[test]
    fn a_chunk_that_is_cut_gets_a_long_look() {
        let chunk = HI.trim_end().strip_prefix("data: ").unwrap();
        assert!(says_nothing_new(chunk.as_bytes()));
        for cut in 0..chunk.len() {
            assert!(!says_nothing_new(&chunk.as_bytes()[..cut]), "{}", &chunk[..cut]);
            let merged = [&chunk[..cut], chunk].concat();
            assert!(cut == 0 || !says_nothing_new(merged.as_bytes()), "{merged}");
        }
        for odd in ["", "[]", "hello", "{]", "\"a\"", "{} {}"] {
            assert!(!says_nothing_new(odd.as_bytes()), "{odd}");
        }
    }

    proptest! {
        /// Once the answer has begun, the short look at a chunk sees all that the long one does.
        #[test]
        fn nothing_that_counts_is_overlooked(
            parts in prop::collection::vec(prop::sample::select(vec![
                r#""usage":null"#, r#""usage" : {"prompt_tokens":3}"#, r#""error":{"message":"m"}"#, r#""error":null"#,
                r#""choices":[{"delta":{"content":"\"error\""},"finish_reason":null}]"#,
                r#""choices":[{"delta":{"content":"error"}}]"#, r#""choices":[{"finish_reason" :"stop"}]"#,
                r#""choices":[{"delta":{"content":"usage"},"finish_reason": null},{"finish_reason":"stop"}]"#,
                r#""x":"finish_reason""#, r#""v":"a\\\\""#, r#""w":"}""#, r#""y":[[],{}]"#,
            ]), 1..4),
        ) {
            // A key that stands twice is refused by the long look; nobody sends that.
            let mut keys = BTreeSet::new();
            let parts: Vec<&str> = parts.into_iter().filter(|part| keys.insert(&part[..4])).collect();
            let chunk = format!("data: {{{}}}\n\n", parts.join(","));
            let (mut short, short_state) = decode_with(Watcher::new(true, true, None), &[HI, &chunk].concat(), 999);
            let (mut long, long_state) = decode(&chunk, true, 999);
            short.remove(0);
            // A role or an empty chunk is content to the short look: both go on to the client.
            for events in [&mut short, &mut long] {
                for event in events.iter_mut() {
                    if let Event::Other(raw) = event {
                        *event = Event::Content(raw.clone());
                    }
                }
            }
            prop_assert_eq!(short, long, "{}", chunk);
            prop_assert_eq!(short_state.usage, long_state.usage);
            prop_assert_eq!(short_state.malformed, long_state.malformed);
            prop_assert_eq!(short_state.finished, long_state.finished);
        }

        #[test]
        fn any_bytes_decode(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut decoder = Watcher::new(false, true, None);
            for piece in pieces {
                decoder.push(piece.into());
                while let Ok(Some(_)) = decoder.next_event() {}
            }
        }
    }
}
