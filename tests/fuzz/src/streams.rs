//! Streams of vendors, in arbitrary pieces: however a stream is cut, the same comes out of it.

use bytes::Bytes;
use http::StatusCode;
use tidegate_core::dialect::chat::{Decode, Delta};
use tidegate_core::dialect::sse::{Block, Splitter};
use tidegate_core::dialect::{Dialect, Event, Stream, Surface, VendorError, anthropic, gemini, openai};
use tidegate_core::price::Usage;
use tidegate_core::reply::ApiError;

use crate::{check, world};

/// Inputs are a small part of what an event may hold.
const FITS: &str = "an event this small fits";

/// Splits events: nothing is lost, and a cut changes nothing.
pub(crate) fn sse(input: &[u8]) {
    let (blocks, rest) = split([Bytes::copy_from_slice(input)].into_iter());
    let raw: Vec<u8> = blocks.iter().flat_map(|block| block.raw.to_vec()).chain(rest.iter().copied()).collect();
    assert!(raw == input, "bytes were lost: {}", raw.escape_ascii());
    let data: Vec<_> = blocks.into_iter().map(|block| block.data).collect();
    for cuts in [Cuts::bytewise(input), Cuts::anywhere(input)] {
        let (blocks, left) = split(cuts);
        assert_eq!(data, blocks.into_iter().map(|block| block.data).collect::<Vec<_>>(), "in pieces");
        assert_eq!(rest, left, "what is left of pieces");
    }
}

fn split(pieces: impl Iterator<Item = Bytes>) -> (Vec<Block>, Vec<u8>) {
    let mut splitter = Splitter::default();
    let mut blocks = Vec::new();
    for piece in pieces {
        splitter.push(piece);
        while let Some(block) = splitter.next_block().expect(FITS) {
            blocks.push(block);
        }
    }
    (blocks, splitter.rest().to_vec())
}

/// Reads a vendor's stream, and writes it for each kind of client.
pub(crate) fn stream(dialect: Dialect, input: &[u8]) {
    let whole = decode(dialect, Cuts::whole(input));
    let deltas = &whole.0;
    let begins = |delta: &&Delta| matches!(delta, Delta::Begin { .. });
    assert!(deltas.iter().filter(begins).count() <= 1, "it begins twice: {deltas:?}");
    // An encoder is told neither of errors nor of usage.
    let first = deltas.iter().find(|delta| !matches!(delta, Delta::Ping | Delta::Error(_) | Delta::Usage(_)));
    assert!(first.is_none_or(|first| begins(&first)), "something comes before its beginning: {deltas:?}");
    assert_eq!(whole, decode(dialect, Cuts::anywhere(input)), "in pieces");
    // For one kind of client, whom the input picks: for each in turn it would be a quarter of the inputs.
    let readers = world::readers(dialect, true);
    let (surface, reader) = &readers[deltas.len() % readers.len()];
    let told = relay(reader.stream(), *surface, Cuts::whole(input));
    let pieces = relay(reader.stream(), *surface, Cuts::anywhere(input));
    assert_eq!(told.shown(), pieces.shown(), "to a client of {surface:?}, in pieces");
    if !reader.goes_through() {
        check::events(&told.sent);
        reads_back(*surface, &told);
    }
}

/// What a decoder makes of a stream: its deltas, whether it is done, and the events that did not read.
fn decode(dialect: Dialect, pieces: Cuts<'_>) -> (Vec<Delta>, bool, u32) {
    let mut decoder: Box<dyn Decode> = match dialect {
        Dialect::OpenAi => Box::new(openai::Decoder::default()),
        Dialect::Anthropic => Box::new(anthropic::Decoder::default()),
        Dialect::Gemini => Box::new(gemini::Decoder::default()),
    };
    let mut deltas = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(delta) = decoder.next_delta().expect(FITS) {
            deltas.push(delta);
        }
    }
    (deltas, decoder.is_done(), decoder.malformed())
}

/// What a client is sent, and what is known at the end.
#[derive(Debug, Default)]
struct Told {
    sent: Vec<u8>,
    error: Option<VendorError>,
    usage: Option<Usage>,
    /// Whether it is finished, filtered, done.
    ends: [bool; 3],
    malformed: u32,
}

impl Told {
    /// As it is compared: what was sent less line ends, since a CR LF that is cut loses its LF.
    fn shown(&self) -> impl PartialEq + std::fmt::Debug + use<'_> {
        let sent: Bytes = self.sent.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
        (sent, &self.error, self.usage, self.ends, self.malformed)
    }
}

/// Brings a stream to its client as the exchange does, to a good end or a bad one.
fn relay(mut stream: Stream, surface: Surface, pieces: Cuts<'_>) -> Told {
    let mut told = Told::default();
    'pieces: for piece in pieces {
        stream.push(piece);
        while let Some(event) = stream.next_event().expect(FITS) {
            match event {
                Event::Content(bytes) | Event::Finish(bytes) | Event::Other(bytes) => {
                    told.sent.extend_from_slice(&bytes);
                }
                Event::Error(error) => {
                    told.error = Some(error);
                    break 'pieces;
                }
                Event::Diverged => unreachable!("no stream came before it"),
            }
        }
    }
    told.ends = [stream.is_finished(), stream.is_filtered(), stream.is_done()];
    (told.usage, told.malformed) = (stream.usage(), stream.malformed());
    let is_whole = told.error.is_none() && (stream.is_finished() || stream.is_done());
    let last = if is_whole {
        stream.farewell()
    } else {
        let error = ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", "stream_interrupted", "It broke off.");
        (!stream.is_done()).then(|| stream.broken(&error, surface, "tg-1"))
    };
    told.sent.extend(last.unwrap_or_default());
    told
}

/// What was written for a client reads, in its dialect, without a fault.
fn reads_back(surface: Surface, told: &Told) {
    let dialect = match surface {
        Surface::Chat => Dialect::OpenAi,
        Surface::Messages => Dialect::Anthropic,
        _ => return,
    };
    let (deltas, done, malformed) = decode(dialect, Cuts::whole(&told.sent));
    let sent = || told.sent.escape_ascii();
    assert_eq!(malformed, 0, "what {surface:?} is sent does not read: {}", sent());
    let [finished, _, ended] = told.ends;
    let is_whole = told.error.is_none() && (finished || ended);
    let has_error = deltas.iter().any(|delta| matches!(delta, Delta::Error(_)));
    assert_eq!(has_error, !is_whole && !ended, "whether {surface:?} is told of an error: {}", sent());
    assert!(done || has_error, "{surface:?} is told no end: {}", sent());
}

/// A stream in pieces.
#[derive(Debug, Clone)]
struct Cuts<'a> {
    rest: &'a [u8],
    /// What the sizes of the pieces come from, and what they are at most.
    state: u64,
    size_max: u64,
}

impl<'a> Cuts<'a> {
    fn whole(input: &'a [u8]) -> Self {
        Self { rest: input, state: 0, size_max: u64::MAX }
    }

    fn bytewise(input: &'a [u8]) -> Self {
        Self { rest: input, state: 0, size_max: 1 }
    }

    /// In pieces of up to 1, 2, 4 .. 128 bytes. Their sizes follow from the input, so that it alone says what happens.
    fn anywhere(input: &'a [u8]) -> Self {
        let state = input.iter().fold(1, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        Self { rest: input, state, size_max: 1 << (state % 8) }
    }
}

impl Iterator for Cuts<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        // Knuth's generator; its high bits are the good ones.
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let size = match self.size_max {
            u64::MAX => self.rest.len(),
            size_max => {
                usize::try_from(1 + (self.state >> 33) % size_max).expect("pieces are small").min(self.rest.len())
            }
        };
        let (piece, rest) = self.rest.split_at(size);
        self.rest = rest;
        (!piece.is_empty()).then(|| Bytes::copy_from_slice(piece))
    }
}
