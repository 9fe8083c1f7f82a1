//! A vendor's stream of chunks, read into the shared terms.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::read_chat::{Seen, WireCall, answer, broken_off, call_id, stop};
use super::read_messages::{WireFunction, signature};
use super::reasoning::{self, Piece};
use super::{read_error, read_usage};
use crate::dialect::chat::{Content, Decode, Delta, Json};
use crate::dialect::fields::{Fields, Text};
use crate::dialect::sse::{Block, EventTooLarge, Splitter};

/// Reads a stream's first choice, which in a stream that is translated is the only one.
#[derive(Debug, Default)]
pub struct Decoder {
    splitter: Splitter,
    /// What the last chunk came to and nobody has taken yet.
    deltas: VecDeque<Delta>,
    calls: Calls,
    seen: Seen,
    begun: bool,
    stopped: bool,
    done: bool,
    malformed: u32,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    model: Option<Text<'a>>,
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
    index: Option<u32>,
    #[serde(borrow, default)]
    delta: Option<Fields<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
}

impl Decode for Decoder {
    fn push(&mut self, piece: Bytes) {
        self.splitter.push(piece);
    }

    fn next_delta(&mut self) -> Result<Option<Delta>, EventTooLarge> {
        loop {
            if let Some(delta) = self.deltas.pop_front() {
                return Ok(Some(delta));
            }
            let Some(block) = self.splitter.next_block()? else { return Ok(None) };
            if !self.done {
                self.read(&block);
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
    /// For one stream.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&mut self, block: &Block) {
        let Some(data) = &block.data else {
            return self.deltas.push_back(Delta::Ping);
        };
        if &data[..] == b"[DONE]" {
            self.done = true;
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else {
            self.malformed = self.malformed.saturating_add(1);
            return;
        };
        if chunk.error.is_some() {
            return self.deltas.push_back(Delta::Error(read_error(data)));
        }
        let usage = read_usage(chunk.usage);
        let choices = chunk.choices.unwrap_or_default();
        // Azure begins with a chunk of its filter's results, which has neither an id nor a choice.
        if !self.begun && (usage.is_some() || !choices.is_empty()) {
            self.begun = true;
            let owned = |text: Option<Text<'_>>| text.map_or_else(String::new, |Text(text)| text.into_owned());
            let (id, model) = (owned(chunk.id), owned(chunk.model));
            self.deltas.push_back(Delta::Begin { id, model, usage: None });
        }
        for choice in choices {
            if choice.index.unwrap_or(0) == 0 && !self.stopped {
                self.read_choice(choice);
            }
        }
        self.deltas.extend(usage.map(Delta::Usage));
    }

    fn read_choice(&mut self, choice: Choice<'_>) {
        if let Some(mut delta) = choice.delta {
            self.read_thinking(&mut delta);
            if let Some(content) = delta.take_raw("content") {
                self.read_content(content);
            }
            if let Some(text) = delta.take_raw("refusal").and_then(reasoning::text).filter(|text| !text.is_empty()) {
                self.refuse(text);
            }
            self.read_calls(&mut delta);
        }
        self.deltas.extend(choice.logprobs.map(|logprobs| Delta::Logprobs(Json::keep(logprobs))));
        let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) else { return };
        self.stopped = true;
        self.deltas.push_back(stop(&reason, self.seen).map_or_else(|| Delta::Error(broken_off()), Delta::Stop));
    }

    fn read_thinking(&mut self, delta: &mut Fields<'_>) {
        for piece in reasoning::take(delta) {
            match piece {
                Piece::Encrypted(data) => self.deltas.push_back(Delta::RedactedThinking(data)),
                Piece::Text { text, signature, .. } => {
                    self.deltas.extend(Some(text).filter(|text| !text.is_empty()).map(Delta::Thinking));
                    self.deltas.extend(signature.map(Delta::Signature));
                }
            }
        }
    }

    fn read_content(&mut self, content: &RawValue) {
        // Nearly all of a stream is this.
        if content.get().starts_with('"') {
            let text = reasoning::text(content).filter(|text| !text.is_empty());
            return self.deltas.extend(text.map(Delta::Text));
        }
        for part in answer(content) {
            match part {
                Content::Text(text) => self.deltas.push_back(Delta::Text(text)),
                Content::Thinking { text, .. } => self.deltas.push_back(Delta::Thinking(text)),
                Content::Refusal(text) => self.refuse(text),
                _ => {}
            }
        }
    }

    fn refuse(&mut self, text: String) {
        self.seen.refusal = true;
        self.deltas.push_back(Delta::Refusal(text));
    }

    fn read_calls(&mut self, delta: &mut Fields<'_>) {
        let Ok(new) = delta.take::<Vec<WireCall<'_>>>("tool_calls") else {
            self.malformed = self.malformed.saturating_add(1);
            return;
        };
        let old: Option<WireFunction> = delta.take("function_call").ok().flatten();
        let old = old.map(|function| WireCall { index: None, id: None, function: Some(function), extra_content: None });
        for wire in new.unwrap_or_default().into_iter().chain(old) {
            let WireFunction { name, arguments } = wire.function.unwrap_or_default();
            let (id, name) = (wire.id.unwrap_or_default(), name.unwrap_or_default());
            let known = self.calls.find(wire.index, &id, &name);
            let begin = || self.begin_call(wire.index, id, name, wire.extra_content.and_then(signature));
            let Some(call) = known.or_else(begin) else {
                self.malformed = self.malformed.saturating_add(1);
                continue;
            };
            let json = arguments.filter(|json| !json.is_empty());
            self.deltas.extend(json.map(|json| Delta::Arguments { call, json }));
        }
    }

    /// `None` where there are too many.
    fn begin_call(&mut self, index: Option<u64>, id: String, name: String, signature: Option<String>) -> Option<u32> {
        let call = self.calls.begin(index, &id)?;
        self.seen.calls = true;
        let id = if id.is_empty() { call_id(call as usize) } else { id };
        self.deltas.push_back(Delta::ToolCall { call, id, name, signature });
        Some(call)
    }
}

/// The calls that have begun.
#[derive(Debug, Default)]
struct Calls(Vec<(Option<u64>, String)>);

impl Calls {
    /// More than any model makes at once: looking one up goes through all of them.
    const MAX: usize = 256;
    /// How much of an id is compared, in bytes.
    const ID_MAX: usize = 128;

    /// The call that a piece belongs to, if it has begun. Gemini's `OpenAI` compatibility leaves the index out or gives 0 to each;
    /// then a new id or, without one, a name begins a new call.
    fn find(&self, index: Option<u64>, id: &str, name: &str) -> Option<u32> {
        let id = short(id);
        let is_it = |(known_index, known_id): &(Option<u64>, String)| match index {
            Some(_) => *known_index == index && (id.is_empty() || name.is_empty() || known_id == id),
            None if !id.is_empty() => known_id == id,
            None => name.is_empty(),
        };
        self.0.iter().rposition(is_it).and_then(|at| u32::try_from(at).ok())
    }

    /// Begins another; `None` where there are too many.
    fn begin(&mut self, index: Option<u64>, id: &str) -> Option<u32> {
        let call = u32::try_from(self.0.len()).ok().filter(|_| self.0.len() < Self::MAX)?;
        self.0.push((index, short(id).to_owned()));
        Some(call)
    }
}

fn short(id: &str) -> &str {
    &id[..id.floor_char_boundary(Calls::ID_MAX)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::VendorError;
    use crate::dialect::chat::Stop;
    use crate::price::Usage;

    /// All deltas of a stream of these chunks that arrives in pieces of `size` bytes.
    fn decode_in(size: usize, stream: &str) -> (Vec<Delta>, Decoder) {
        let mut decoder = Decoder::new();
        let mut deltas = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(delta) = decoder.next_delta().unwrap() {
                deltas.push(delta);
            }
        }
        (deltas, decoder)
    }

    fn chunk(delta: &str) -> String {
        format!(
            "data: {{\"id\":\"x\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"
        )
    }

    fn finish(reason: &str) -> String {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n")
    }

    /// The deltas after the beginning.
    fn decode(stream: &str) -> Vec<Delta> {
        let (mut deltas, decoder) = decode_in(9999, stream);
        assert_eq!(decoder.malformed(), 0, "{stream}");
        assert_eq!(deltas.remove(0), Delta::Begin { id: "x".into(), model: "m".into(), usage: None });
        deltas
    }

    fn call(call: u32, id: &str, name: &str) -> Delta {
        Delta::ToolCall { call, id: id.into(), name: name.into(), signature: None }
    }

    fn arguments(call: u32, json: &str) -> Delta {
        Delta::Arguments { call, json: json.into() }
    }

    #[test]
    fn a_whole_stream_however_it_arrives() {
        let stream = [
            "data: {\"id\":\"\",\"choices\":[],\"prompt_filter_results\":[]}\n\n",
            ": ping\n\n",
            &chunk(r#"{"role":"assistant","content":"","refusal":null}"#),
            &chunk(r#"{"content":"hi"}"#),
            &finish("stop"),
            &chunk(r#"{"content":"late"}"#),
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n",
            "data: [DONE]\n\n",
            &chunk(r#"{"content":"later"}"#),
        ]
        .concat();
        let usage = Usage { input: 5, output: 2, ..Usage::default() };
        let expected = [
            Delta::Ping,
            Delta::Begin { id: "x".into(), model: "m".into(), usage: None },
            Delta::Text("hi".into()),
            Delta::Stop(Stop::End),
            Delta::Usage(usage),
        ];
        for size in [1, 7, 9999] {
            let (deltas, decoder) = decode_in(size, &stream);
            assert_eq!(deltas, expected, "in pieces of {size}");
            assert!(decoder.is_done() && decoder.malformed() == 0);
        }
    }

    #[test]
    fn one_chunk_may_say_it_all() {
        let stream = "data: {\"id\":\"x\",\"model\":\"m\",\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\",\"content\":\"so\"},\
             \"logprobs\":{\"content\":[]},\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":1}}\n\n";
        let logprobs = Json::of(&serde_json::json!({"content": []}));
        let expected = [
            Delta::Thinking("hm".into()),
            Delta::Text("so".into()),
            Delta::Logprobs(logprobs),
            Delta::Stop(Stop::Length),
            Delta::Usage(Usage { input: 1, ..Usage::default() }),
        ];
        assert_eq!(decode(stream), expected);
    }

    #[test]
    fn calls_as_openai_streams_them() {
        let stream = [
            chunk(r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#),
            chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#),
            chunk(
                r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{}"}},{"index":0,"function":{"arguments":"1}"}}]}"#,
            ),
            finish("tool_calls"),
        ]
        .concat();
        let expected = [
            call(0, "a", "f"),
            arguments(0, "{\"x\":"),
            call(1, "b", "g"),
            arguments(1, "{}"),
            arguments(0, "1}"),
            Delta::Stop(Stop::Tools),
        ];
        assert_eq!(decode(&stream), expected[..]);
    }

    #[test]
    fn calls_as_others_stream_them() {
        // Gemini's compatibility: no index, or 0 for each; whole calls.
        let whole = |id: &str, name: &str, index: &str| {
            chunk(&format!(
                r#"{{"tool_calls":[{{{index}"id":"{id}","function":{{"name":"{name}","arguments":"{{}}"}},"extra_content":{{"google":{{"thought_signature":"s"}}}}}}]}}"#
            ))
        };
        let signed = |call, id: &str, name: &str| Delta::ToolCall {
            call,
            id: id.into(),
            name: name.into(),
            signature: Some("s".into()),
        };
        for index in ["", "\"index\":0,"] {
            let stream = whole("a", "f", index) + &whole("b", "f", index);
            let expected = [signed(0, "a", "f"), arguments(0, "{}"), signed(1, "b", "f"), arguments(1, "{}")];
            assert_eq!(decode(&stream), expected, "{index}");
        }
        // No ids at all; and an id and a name that are said again with each piece.
        let stream = chunk(r#"{"tool_calls":[{"function":{"name":"f","arguments":"{"}}]}"#)
            + &chunk(r#"{"tool_calls":[{"function":{"arguments":"}"}}]}"#)
            + &chunk(r#"{"tool_calls":[{"function":{"name":"f"}}]}"#);
        assert_eq!(
            decode(&stream),
            [call(0, "call_0", "f"), arguments(0, "{"), arguments(0, "}"), call(1, "call_1", "f")]
        );
        let again = chunk(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"x"}}]}"#);
        assert_eq!(decode(&again.repeat(2)), [call(0, "a", "f"), arguments(0, "x"), arguments(0, "x")]);
        // The functions of old.
        let stream = chunk(r#"{"function_call":{"name":"f","arguments":""}}"#)
            + &chunk(r#"{"function_call":{"arguments":"{}"}}"#);
        assert_eq!(decode(&stream), [call(0, "call_0", "f"), arguments(0, "{}")]);
    }

    #[test]
    fn thinking_with_its_proof() {
        let stream = chunk(
            r#"{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","index":0}]}"#,
        ) + &chunk(
            r#"{"reasoning_details":[{"type":"reasoning.text","signature":"s","index":0},{"type":"reasoning.encrypted","data":"e"}]}"#,
        ) + &chunk(
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"more"}]},{"type":"text","text":"so"}]}"#,
        ) + &chunk(r#"{"refusal":"no"}"#)
            + &finish("stop");
        let expected = [
            Delta::Thinking("hm".into()),
            Delta::Signature("s".into()),
            Delta::RedactedThinking("e".into()),
            Delta::Thinking("more".into()),
            Delta::Text("so".into()),
            Delta::Refusal("no".into()),
            Delta::Stop(Stop::Refusal),
        ];
        assert_eq!(decode(&stream), expected);
    }

    #[test]
    fn only_the_first_choice_counts() {
        let other = chunk(r#"{"content":"other"}"#).replace("\"index\":0", "\"index\":1");
        assert_eq!(decode(&(other + &chunk(r#"{"content":"first"}"#))), [Delta::Text("first".into())]);
    }

    #[test]
    fn errors_and_garbage() {
        let stream =
            chunk(r#"{"content":"hi"}"#) + "data: {oops\n\n" + "data: {\"error\":{\"message\":\"m\",\"code\":502}}\n\n";
        let (deltas, decoder) = decode_in(5, &stream);
        let error = VendorError { message: "m".into(), code: "502".into(), ..VendorError::default() };
        assert_eq!(deltas[1..], [Delta::Text("hi".into()), Delta::Error(error)]);
        assert_eq!((decoder.malformed(), decoder.is_done()), (1, false));
        assert!(matches!(decode(&(chunk("{}") + &finish("error")))[..], [Delta::Error(_)]));
    }

    #[test]
    fn calls_have_a_bound() {
        let call =
            |at: u32| chunk(&format!(r#"{{"tool_calls":[{{"index":{at},"id":"{at}","function":{{"name":"f"}}}}]}}"#));
        let stream = (0..300).map(call).collect::<Vec<_>>().concat();
        let (deltas, decoder) = decode_in(9999, &stream);
        assert_eq!((deltas.len(), decoder.malformed()), (1 + Calls::MAX, 44));
    }

    proptest! {
        #[test]
        fn any_bytes_decode(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut decoder = Decoder::new();
            for piece in pieces {
                decoder.push(piece.into());
                while let Ok(Some(_)) = decoder.next_delta() {}
            }
        }

        /// A stream that is cut gives a prefix of what the whole one gives.
        #[test]
        fn a_cut_stream_is_a_prefix(
            parts in prop::collection::vec(prop::sample::select(vec![
                r#"{"content":"hi é"}"#, r#"{"reasoning_content":"hm"}"#, r#"{"role":"assistant"}"#, r#"{"content":7}"#, "[]", "7",
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#, r#"{"tool_calls":[{}]}"#,
                r#"{"tool_calls":7}"#, r#"{"reasoning_details":[{"type":"reasoning.text","signature":"s"}]}"#, r#"{"refusal":{}}"#,
            ]), 0..8),
            cut in any::<prop::sample::Index>(), size in 1_usize..50,
        ) {
            let stream = parts.iter().map(|part| chunk(part)).collect::<Vec<_>>().concat() + &finish("stop") + "data: [DONE]\n\n";
            let (whole, _) = decode_in(9999, &stream);
            prop_assert_eq!(&decode_in(size, &stream).0, &whole);
            let (cut, _) = decode_in(9999, std::str::from_utf8(&stream.as_bytes()[..stream.floor_char_boundary(cut.index(stream.len()))]).unwrap());
            prop_assert_eq!(&cut[..], &whole[..cut.len()]);
        }
    }
}
