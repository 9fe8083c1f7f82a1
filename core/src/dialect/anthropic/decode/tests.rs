//! Streams as Anthropic documents them, whole, in pieces and cut.

use proptest::prelude::*;

use super::*;
use crate::dialect::VendorError;
use crate::dialect::chat::Stop;
use crate::price::Usage;

/// A stream as Anthropic documents it, and what it says: `tests/data/golden/anthropic-vendor/NAME.{stream,deltas}.txt`.
macro_rules! golden {
    ($($name:literal),*) => {
        [$((
            $name,
            include_str!(concat!("../../../../../tests/data/golden/anthropic-vendor/", $name, ".stream.txt")),
            include_str!(concat!("../../../../../tests/data/golden/anthropic-vendor/", $name, ".deltas.txt")),
        )),*]
    };
}

const GOLDEN: [(&str, &str, &str); 6] = golden!["text", "tools", "thinking", "search", "refusal", "overloaded"];

/// What `pieces` say, and the decoder after them.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Delta>, Decoder) {
    let (mut decoder, mut deltas) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(delta) = decoder.next_delta().unwrap() {
            deltas.push(delta);
        }
    }
    (deltas, decoder)
}

/// What events with `data` say.
fn say(data: &[&str]) -> (Vec<Delta>, Decoder) {
    let events: Vec<String> = data.iter().map(|data| format!("data: {data}\n\n")).collect();
    decode([events.concat().as_bytes()])
}

fn begin() -> Delta {
    Delta::Begin { id: String::new(), model: String::new(), usage: None }
}

#[test]
fn documented_streams() {
    for (name, stream, expected) in GOLDEN {
        let (deltas, decoder) = decode([stream.as_bytes()]);
        let lines: Vec<String> = deltas.iter().map(|delta| format!("{delta:?}")).collect();
        assert_eq!(lines, expected.lines().collect::<Vec<_>>(), "{name}");
        assert_eq!(decoder.malformed(), 0, "{name}");
        assert_eq!(decoder.is_done(), name != "overloaded", "{name}");
    }
}

#[test]
fn every_byte_may_come_alone_and_a_cut_stream_says_a_part() {
    for (name, stream, _) in GOLDEN {
        let (whole, _) = decode([stream.as_bytes()]);
        assert_eq!(decode(stream.as_bytes().chunks(1)).0, whole, "{name}");
        for end in 0..stream.len() {
            let (cut, decoder) = decode([&stream.as_bytes()[..end]]);
            assert!(whole.starts_with(&cut), "{name} cut at {end}");
            assert_eq!((decoder.malformed(), decoder.is_done()), (0, false), "{name} cut at {end}");
        }
    }
}

#[test]
fn an_answer_begins_before_it_says_anything_and_says_nothing_after_its_end() {
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#;
    let start = r#"{"type":"message_start","message":{"id":"m","model":"x","usage":{"input_tokens":3}}}"#;
    let stop = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#;
    let usage = Usage { input: 3, output: 2, ..Usage::default() };
    let (deltas, _) = say(&[text, start, stop, text, stop]);
    let hi = Delta::Text("hi".into());
    assert_eq!(deltas, [begin(), hi, Delta::Stop(Stop::End), Delta::Usage(usage), Delta::Usage(usage)]);
    let (deltas, decoder) = say(&[r#"{"type":"message_stop"}"#, text, stop]);
    assert!(deltas.is_empty() && decoder.is_done() && decoder.splitter.rest().is_empty());
}

#[test]
fn a_call_whose_arguments_come_at_once_is_not_told_them_twice() {
    let (deltas, _) = say(&[
        r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"a","name":"f","input":{"x": 1}}}"#,
        r#"{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"content_block_stop","index":4}"#,
        r#"{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
    ]);
    let call = Delta::ToolCall { call: 0, id: "a".into(), name: "f".into(), signature: None };
    assert_eq!(deltas, [begin(), call, Delta::Arguments { call: 0, json: r#"{"x": 1}"#.into() }]);
}

#[test]
fn what_does_not_read_is_left_out_and_counted() {
    let (deltas, decoder) = say(&[
        "{not json",
        "[DONE]",
        "{}",
        r#"{"type":"message_start"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":7}}"#,
        r#"{"type":"content_block_delta","index":"first","delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta"}}"#,
        r#"{"type":"message_delta","delta":[]}"#,
    ]);
    assert_eq!((deltas, decoder.malformed()), (vec![], 8));
}

#[test]
fn errors_in_other_forms() {
    let error = |message: &str, kind: &str| {
        Delta::Error(VendorError { message: message.into(), kind: kind.into(), ..VendorError::default() })
    };
    let (deltas, _) = say(&[r#"{"error":{"message":"m","type":"t"}}"#, r#"{"type":"error"}"#]);
    assert_eq!(deltas, [error("m", "t"), error("", "error")]);
}

#[test]
fn blocks_that_never_end_are_bounded() {
    let events: Vec<String> = (0..1000)
        .map(|index| format!(r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"a","name":"f"}}}}"#))
        .collect();
    let (_, decoder) = say(&events.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((decoder.open.len(), decoder.malformed()), (OPEN_MAX, 1000 - 128));
}

proptest! {
    #[test]
    fn cuts_change_nothing(name in 0..GOLDEN.len(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let stream = GOLDEN[name].1.as_bytes();
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        bounds.extend([0, stream.len()]);
        bounds.sort_unstable();
        let pieces = bounds.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(decode(pieces).0, decode([stream]).0);
    }

    /// Whatever events come in whatever order, an answer begins first, ends at most once, and says nothing after that.
    #[test]
    fn the_order_of_deltas_holds(events in prop::collection::vec(prop::sample::select(vec![
        r#"{"type":"message_start","message":{"id":"m","model":"x"}}"#, r#"{"type":"ping"}"#, r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
        r#"{"type":"content_block_stop","index":0}"#, r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
    ]), 0..12)) {
        let mut deltas = say(&events).0;
        deltas.retain(|delta| *delta != Delta::Ping);
        let begins = |deltas: &[Delta]| deltas.iter().filter(|delta| matches!(delta, Delta::Begin { .. })).count();
        prop_assert!(begins(&deltas) <= 1);
        if let Some(stop) = deltas.iter().position(|delta| matches!(delta, Delta::Stop(_))) {
            prop_assert!(deltas[stop + 1..].iter().all(|delta| !delta.is_content() && !matches!(delta, Delta::Stop(_))));
        }
        if let Some(content) = deltas.iter().position(Delta::is_content) {
            prop_assert_eq!(begins(&deltas[..content]), 1);
        }
    }

    #[test]
    fn any_bytes_decode(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let mut decoder = Decoder::default();
        for piece in pieces {
            decoder.push(piece.into());
            while let Ok(Some(_)) = decoder.next_delta() {}
        }
    }
}
