//! What goes through, byte for byte but for the cost, and what is noticed on the way.

use proptest::prelude::*;

use super::*;
use crate::dialect::VendorError;
use crate::dialect::anthropic::Decoder;
use crate::dialect::chat::{Decode, Delta};
use crate::price::{Picodollars, TIERS_MAX};

const TEXT: &str = include_str!("../../../../../tests/data/golden/anthropic-vendor/text.stream.txt");
const TOOLS: &str = include_str!("../../../../../tests/data/golden/anthropic-vendor/tools.stream.txt");
const SEARCH: &str = include_str!("../../../../../tests/data/golden/anthropic-vendor/search.stream.txt");
const THINKING: &str = include_str!("../../../../../tests/data/golden/anthropic-vendor/thinking.stream.txt");
const REFUSAL: &str = include_str!("../../../../../tests/data/golden/anthropic-vendor/refusal.stream.txt");
const OVERLOADED: &str = include_str!("../../../../../tests/data/golden/anthropic-vendor/overloaded.stream.txt");

const PRICE: Price = Price {
    input: Picodollars(1_000_000),
    cached_input: None,
    cache_write: None,
    cache_write_1h: None,
    output: Picodollars(2_000_000),
    tiers: [None; TIERS_MAX],
};

/// All events of a stream that arrives in pieces of `size` bytes, and the watcher after it.
fn watch(price: Option<Price>, stream: &str, size: usize) -> (Vec<Event>, Watcher) {
    let (mut watcher, mut events) = (Watcher::new(price), Vec::new());
    for piece in stream.as_bytes().chunks(size) {
        watcher.push(Bytes::copy_from_slice(piece));
        while let Some(event) = watcher.next_event().unwrap() {
            events.push(event);
        }
    }
    (events, watcher)
}

/// The bytes that go on, together.
fn passed(events: &[Event]) -> String {
    let bytes = events.iter().filter_map(|event| match event {
        Event::Content(raw) | Event::Finish(raw) | Event::Other(raw) => Some(&raw[..]),
        Event::Error(_) | Event::Diverged => None,
    });
    String::from_utf8(bytes.collect::<Vec<_>>().concat()).unwrap()
}

/// What kind of event each is, in a letter.
fn kinds(events: &[Event]) -> String {
    let letters = events.iter().map(|event| match event {
        Event::Content(_) => 'c',
        Event::Finish(_) => 'f',
        Event::Other(_) => 'o',
        Event::Error(_) | Event::Diverged => 'e',
    });
    letters.collect()
}

#[test]
fn without_a_price_every_byte_goes_through() {
    for (stream, expected) in [(TEXT, "oooccofo"), (TOOLS, "oococcccoccofo"), (SEARCH, "occocoooccofo")] {
        for size in [1, 7, 10_000] {
            let (events, watcher) = watch(None, stream, size);
            assert_eq!(passed(&events), stream, "in pieces of {size}");
            assert_eq!(kinds(&events), expected);
            assert!(watcher.finished && watcher.done && !watcher.filtered && watcher.malformed == 0);
        }
    }
}

#[test]
fn the_cost_stands_in_the_usage_at_the_end() {
    let (events, watcher) = watch(Some(PRICE), TEXT, 9);
    assert_eq!(watcher.usage, Some(Usage { input: 125, cached_input: 100, output: 15, ..Usage::default() }));
    let expected =
        TEXT.replace(r#""usage": {"output_tokens": 15}"#, r#""usage": {"cost":0.000155,"output_tokens": 15}"#);
    assert_ne!(expected, TEXT);
    assert_eq!(passed(&events), expected);
    // The price of what this one wrote to the cache is not known.
    assert_eq!(passed(&watch(Some(PRICE), THINKING, 99).0), THINKING);
}

#[test]
fn an_event_of_many_lines_goes_on_as_it_is() {
    let stream = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\ndata: \"usage\":{\"output_tokens\":1}}\n\n";
    let (events, watcher) = watch(Some(PRICE), stream, 5);
    assert_eq!(events, [Event::Finish(Bytes::from(stream))]);
    assert_eq!(watcher.usage.unwrap().output, 1);
}

#[test]
fn refusals_errors_and_garbage() {
    let (events, watcher) = watch(None, REFUSAL, 99);
    assert!(watcher.filtered && watcher.finished && passed(&events) == REFUSAL);
    let (events, watcher) = watch(None, OVERLOADED, 99);
    let error = VendorError { message: "Overloaded".into(), kind: "overloaded_error".into(), ..VendorError::default() };
    assert_eq!(events.last(), Some(&Event::Error(error)));
    assert!(!watcher.finished && !watcher.done);
    let garbage = [": hello\n\n", "data: {not json\n\n", "data: {\"type\":\"new\"}\n\n", "data: {}\n\n"].concat();
    let (events, watcher) = watch(None, &garbage, 99);
    assert_eq!((kinds(&events).as_str(), watcher.malformed), ("oo", 2));
}

#[test]
fn nothing_comes_after_the_end() {
    let (events, watcher) = watch(None, &[TEXT, TEXT, OVERLOADED].concat(), 99);
    assert_eq!(passed(&events), TEXT);
    assert!(watcher.splitter.rest().is_empty(), "it is taken in all the same");
}

/// What the short look lets pass is whole; what was cut or merged gets the long look, and is left out there.
#[test]
fn a_piece_that_is_cut_gets_a_long_look() {
    let quoting = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a \" } \\"}}"#;
    assert!(is_whole(quoting.as_bytes()));
    assert!((0..quoting.len()).all(|cut| !is_whole(&quoting.as_bytes()[..cut])));
    let piece = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#;
    assert!(is_whole(piece.as_bytes()));
    for cut in 0..piece.len() {
        assert!(!is_whole(&piece.as_bytes()[..cut]), "{}", &piece[..cut]);
        let merged = [&piece[..cut], piece].concat();
        assert!(cut == 0 || !is_whole(merged.as_bytes()), "{merged}");
    }
    for odd in ["", "[]", "hello", "{]", "\"a\"", "{} {}", "}", "{\"a"] {
        assert!(!is_whole(odd.as_bytes()), "{odd}");
    }
}

proptest! {
    /// The watcher and the decoder see the same in a stream.
    #[test]
    fn both_readers_agree(stream in prop::sample::select(vec![TEXT, TOOLS, SEARCH, THINKING, REFUSAL, OVERLOADED]), end in any::<prop::sample::Index>()) {
        let stream = &stream[..end.index(stream.len())];
        let (events, watcher) = watch(None, stream, 64);
        let mut decoder = Decoder::default();
        decoder.push(Bytes::copy_from_slice(stream.as_bytes()));
        let deltas: Vec<Delta> = std::iter::from_fn(|| decoder.next_delta().unwrap()).collect();
        prop_assert_eq!(watcher.finished, deltas.iter().any(|delta| matches!(delta, Delta::Stop(_))));
        prop_assert_eq!(watcher.done, decoder.is_done());
        let counted = deltas.iter().rev().find_map(|delta| match delta {
            Delta::Usage(usage) => Some(*usage),
            Delta::Begin { usage, .. } => *usage,
            _ => None,
        });
        prop_assert_eq!(watcher.usage, counted);
        let content = deltas.iter().any(Delta::is_content);
        prop_assert!(!content || events.iter().any(|event| matches!(event, Event::Content(_))));
    }

    #[test]
    fn any_bytes_decode(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let mut watcher = Watcher::new(Some(PRICE));
        for piece in pieces {
            watcher.push(piece.into());
            while let Ok(Some(_)) = watcher.next_event() {}
        }
    }
}
