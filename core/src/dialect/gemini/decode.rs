//! Gemini's stream, read into the shared terms.

use std::collections::VecDeque;

use bytes::Bytes;

use super::read_error;
use super::wire::{Answer, Candidate, LogprobsResult, Parts, read_usage};
use crate::dialect::VendorError;
use crate::dialect::chat::{Decode, Delta, Stop};
use crate::dialect::sse::{Block, EventTooLarge, Splitter};

/// Reads `streamGenerateContent?alt=sse` as it arrives. Without `alt=sse` the stream is one JSON array, which is never asked for.
///
/// Function calls come whole: pieces of arguments (`partialArgs`) are Vertex AI's alone.
#[derive(Debug, Default)]
pub struct Decoder {
    splitter: Splitter,
    /// What the last event came to and was not taken yet.
    deltas: VecDeque<Delta>,
    parts: Parts,
    begun: bool,
    /// Whether a finish reason has come. What follows is usage at most.
    stopped: bool,
    malformed: u32,
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
            self.read(&block);
        }
    }

    /// Never: the stream has no terminator, and usage may follow the finish reason.
    fn is_done(&self) -> bool {
        false
    }

    fn malformed(&self) -> u32 {
        self.malformed
    }
}

impl Decoder {
    fn read(&mut self, block: &Block) {
        let Some(data) = &block.data else { return self.deltas.push_back(Delta::Ping) };
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(data) else {
            // An error may come in a list of one, as it does where no stream was ever begun.
            return match read_error(data) {
                nothing if nothing == VendorError::default() => self.skip(),
                error => self.deltas.push_back(Delta::Error(error)),
            };
        };
        if answer.error.is_some() {
            return self.deltas.push_back(Delta::Error(read_error(data)));
        }
        if !answer.says_something() {
            return self.skip();
        }
        self.answer(answer);
    }

    /// Leaves out an event that does not read.
    fn skip(&mut self) {
        self.malformed = self.malformed.saturating_add(1);
    }

    fn answer(&mut self, answer: Answer<'_>) {
        let (blocked, usage) = (answer.is_blocked(), read_usage(answer.usage_metadata));
        if !self.begun {
            self.begun = true;
            let id = answer.response_id.unwrap_or_default();
            let model = answer.model_version.unwrap_or_default();
            self.parts = Parts::new(id.clone());
            self.deltas.push_back(Delta::Begin { id, model, usage: None });
        }
        // One answer is all that is asked for in a stream.
        let first = answer.candidates.into_iter().flatten().find(|candidate| candidate.index.unwrap_or(0) == 0);
        match first {
            _ if self.stopped => {}
            Some(candidate) => self.candidate(candidate),
            None if blocked => self.stop(Delta::Stop(Stop::Filtered)),
            None => {}
        }
        self.deltas.extend(usage.map(Delta::Usage));
    }

    fn candidate(&mut self, candidate: Candidate<'_>) {
        let parts = candidate.content.and_then(|content| content.parts).unwrap_or_default();
        for part in parts {
            self.parts.read(part, |delta| self.deltas.push_back(delta));
        }
        let logprobs = candidate.logprobs_result.as_ref().and_then(LogprobsResult::json);
        self.deltas.extend(logprobs.map(Delta::Logprobs));
        if let Some(reason) = candidate.finish_reason {
            let ending = self.parts.ending(reason, candidate.finish_message);
            self.stop(ending.map_or_else(Delta::Error, Delta::Stop));
        }
    }

    fn stop(&mut self, last: Delta) {
        self.stopped = true;
        self.deltas.push_back(last);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::price::Usage;

    const STREAM: &str = include_str!("../../../../tests/data/golden/gemini/stream.sse");
    const TOOLS: &str = include_str!("../../../../tests/data/golden/gemini/stream_tools.sse");
    const BLOCKED: &str = include_str!("../../../../tests/data/golden/gemini/stream_blocked.sse");
    const ERROR: &str = include_str!("../../../../tests/data/golden/gemini/stream_error.sse");

    /// What a stream comes to that arrives in pieces cut at `cuts`, and how many events did not read.
    fn decode(stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> (Vec<Delta>, u32) {
        let mut decoder = Decoder::default();
        let mut deltas = Vec::new();
        let mut bounds: Vec<usize> = cuts.into_iter().map(|cut| cut % (stream.len() + 1)).collect();
        bounds.extend([0, stream.len()]);
        bounds.sort_unstable();
        for pair in bounds.windows(2) {
            decoder.push(Bytes::copy_from_slice(&stream[pair[0]..pair[1]]));
            while let Some(delta) = decoder.next_delta().unwrap() {
                assert!(!decoder.is_done());
                deltas.push(delta);
            }
        }
        (deltas, decoder.malformed())
    }

    fn whole(stream: &str) -> Vec<Delta> {
        let (deltas, malformed) = decode(stream.as_bytes(), []);
        assert_eq!(malformed, 0);
        deltas
    }

    fn begin(id: &str, model: &str) -> Delta {
        Delta::Begin { id: id.into(), model: model.into(), usage: None }
    }

    fn usage(input: u64, text: u64, reasoning: u64) -> Delta {
        Delta::Usage(Usage { input, output: text + reasoning, reasoning, ..Usage::default() })
    }

    #[test]
    fn thinking_and_text() {
        let expected = [
            begin("sTrEam1", "gemini-3.8-flash"),
            Delta::Thinking("**Counting**\n\nOne, two.".into()),
            usage(11, 0, 41),
            Delta::Text("One".into()),
            usage(11, 1, 41),
            Delta::Text(", two – 三.".into()),
            usage(11, 5, 41),
            Delta::Signature("gemini:EpQCCpECAXLI2nw=".into()),
            Delta::Stop(Stop::End),
            usage(11, 6, 41),
        ];
        assert_eq!(whole(STREAM), expected);
        let in_lines = STREAM.replace('\n', "\r\n");
        assert_eq!(whole(&in_lines), expected, "Google's own lines end in CR LF");
    }

    #[test]
    fn calls_are_counted_across_events() {
        let call = |call: u32, id: &str, signature: Option<&str>| Delta::ToolCall {
            call,
            id: id.into(),
            name: "get_weather".into(),
            signature: signature.map(str::to_owned),
        };
        let expected = [
            begin("tOoLs", "gemini-4-argon"),
            call(0, "k7w2", Some("CiQB0e2Kbw==")),
            Delta::Arguments { call: 0, json: r#"{"city": "Zürich"}"#.into() },
            usage(80, 12, 0),
            Delta::Ping,
            call(1, "call_tOoLs_1", None),
            Delta::Arguments { call: 1, json: r#"{"city": "Bern"}"#.into() },
            Delta::Stop(Stop::Tools),
            usage(80, 24, 0),
        ];
        assert_eq!(whole(TOOLS), expected);
    }

    #[test]
    fn a_refused_prompt_and_an_error_end_it() {
        let blocked = [begin("bL", "gemini-3.8-flash"), Delta::Stop(Stop::Filtered), usage(9, 0, 0)];
        assert_eq!(whole(BLOCKED), blocked);
        let overloaded = VendorError {
            message: "The model is overloaded. Please try again later.".into(),
            kind: "UNAVAILABLE".into(),
            code: "503".into(),
            retry_in: None,
        };
        assert_eq!(whole(ERROR).last(), Some(&Delta::Error(overloaded)));
        let listed = "data: [{\"error\":{\"code\":500,\"status\":\"INTERNAL\"}}]\n\n";
        assert!(matches!(&whole(listed)[..], [Delta::Error(error)] if error.kind == "INTERNAL"));
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        let event = concat!(
            r#"data: {"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"Malformed function call: f("}]}"#,
            "\n\n"
        );
        let [_, Delta::Error(error)] = &whole(event)[..] else { panic!("no stop, and one error") };
        assert_eq!(
            (error.kind.as_str(), error.message.as_str()),
            ("MALFORMED_FUNCTION_CALL", "Malformed function call: f(")
        );
    }

    #[test]
    fn nothing_but_usage_comes_after_the_end() {
        let stream = [
            r#"data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"MAX_TOKENS"}]}"#,
            r#"data: {"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}]}"#,
            r#"data: {"promptFeedback":{"blockReason":"OTHER"},"usageMetadata":{"promptTokenCount":2}}"#,
            "",
        ];
        let expected = [begin("", ""), Delta::Text("a".into()), Delta::Stop(Stop::Length), usage(2, 0, 0)];
        assert_eq!(whole(&stream.join("\n\n")), expected);
    }

    #[test]
    fn one_answer_is_read_and_its_probabilities() {
        let event = concat!(
            r#"data: {"candidates":[{"index":1,"content":{"parts":[{"text":"b"}]}},{"index":0,"content":{"parts":[{"text":"a"}]},"#,
            r#""logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-1.5}]}}]}"#,
            "\n\n"
        );
        let [_, Delta::Text(text), Delta::Logprobs(json)] = &whole(event)[..] else { panic!("{:?}", whole(event)) };
        assert_eq!(text, "a");
        assert_eq!(json.text(), r#"{"content":[{"token":"a","logprob":-1.5,"bytes":[97],"top_logprobs":[]}]}"#);
    }

    #[test]
    fn what_does_not_read_is_counted() {
        let stream = ["data: {not json", "data: {}", "data: {\"candidates\":7}", "data: []", STREAM].join("\n\n");
        let (deltas, malformed) = decode(stream.as_bytes(), []);
        assert_eq!(malformed, 4);
        assert_eq!(deltas, whole(STREAM));
    }

    #[test]
    fn byte_by_byte_it_is_the_same() {
        for stream in [STREAM, TOOLS, BLOCKED, ERROR] {
            assert_eq!(decode(stream.as_bytes(), 0..stream.len()), (whole(stream), 0));
        }
    }

    /// A cut may take from the end of what happened; it never adds to it, least of all an end.
    #[test]
    fn a_cut_is_no_end() {
        for stream in [STREAM, TOOLS, BLOCKED, ERROR] {
            let full = whole(stream);
            for cut in 0..stream.len() {
                let (deltas, malformed) = decode(&stream.as_bytes()[..cut], []);
                assert_eq!(malformed, 0, "an event that is not whole was not sent");
                assert!(full.starts_with(&deltas), "cut at {cut}: {deltas:?}");
                let ended = deltas.iter().any(|delta| matches!(delta, Delta::Stop(_)));
                // What is missing at the very end is the last line end alone, and the CR LF that it might have been.
                assert!(!ended || cut + 1 >= stream.len(), "an end at {cut} of {}", stream.len());
            }
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            stream in prop::sample::select(vec![STREAM, TOOLS, BLOCKED, ERROR]),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            prop_assert_eq!(decode(stream.as_bytes(), cuts), (whole(stream), 0));
        }

        #[test]
        fn any_bytes_come_to_something(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cuts in prop::collection::vec(any::<usize>(), 0..4),
        ) {
            let mut changed = [STREAM, TOOLS].concat().into_bytes();
            for (at, byte) in changes {
                let place = at.index(changed.len());
                changed[place] = byte;
            }
            changed.extend(noise);
            let (deltas, _) = decode(&changed, cuts);
            let ends = deltas.iter().filter(|delta| matches!(delta, Delta::Stop(_))).count();
            let begins = deltas.iter().filter(|delta| matches!(delta, Delta::Begin { .. })).count();
            prop_assert!(ends <= 1 && begins <= 1);
        }
    }
}
