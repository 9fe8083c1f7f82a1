//! Server-sent events, split without copying.
//!
//! The gateway passes a vendor's own bytes on, so this splitter keeps each event's raw bytes beside its data. It follows
//! the WHATWG event stream format: lines end in LF, CR LF or CR, a blank line ends an event, `:` begins a comment.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// The largest event that is held while it arrives, in bytes.
pub const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event, or a run of comments, up to and including the blank line that ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The bytes as they came.
    pub raw: Bytes,
    /// The event's data: its `data` lines joined by LF. `None` for a block of comments alone.
    pub data: Option<Bytes>,
}

/// The stream holds an event of more than [`EVENT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTooLarge;

/// Splits a byte stream, fed in pieces of any size, into blocks.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The piece being split; used up before the next is taken.
    piece: Bytes,
    /// An event that began in an earlier piece.
    partial: BytesMut,
    /// How far `partial` has been looked at without finding the end of a block.
    seen: Seen,
    /// The last piece ended in CR: an LF at the start of the next belongs to it.
    after_cr: bool,
}

impl Splitter {
    /// Takes the next piece. Call [`next_block`](Self::next_block) until it yields nothing before pushing another.
    pub fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "the piece before was not used up");
        self.piece = piece;
    }

    /// The next whole block.
    pub fn next_block(&mut self) -> Result<Option<Block>, EventTooLarge> {
        if self.piece.is_empty() {
            return Ok(None);
        }
        if self.partial.is_empty() {
            if self.after_cr {
                // The LF of a CR LF that was split: the block before has been handed out with its CR alone.
                self.after_cr = false;
                if self.piece[0] == b'\n' {
                    let _ = self.piece.split_to(1);
                }
            }
            if let Ok(end) = block_end(&self.piece, Seen::default()) {
                return Ok(Some(self.whole(end)));
            }
        }
        self.partial.extend_from_slice(&self.piece);
        self.piece = Bytes::new();
        match block_end(&self.partial, self.seen) {
            Ok(end) => {
                self.seen = Seen::default();
                let raw = self.partial.split_to(end).freeze();
                // What is left is split without the copy: it becomes the piece again.
                self.piece = std::mem::take(&mut self.partial).freeze();
                self.after_cr = raw.ends_with(b"\r") && self.piece.is_empty();
                return Ok(Some(block(raw)));
            }
            Err(seen) => self.seen = seen,
        }
        if self.partial.len() > EVENT_BYTES_MAX { Err(EventTooLarge) } else { Ok(None) }
    }

    /// What came after the last whole block: not empty when the stream was cut inside an event.
    pub fn rest(&self) -> &[u8] {
        &self.partial
    }

    fn whole(&mut self, end: usize) -> Block {
        let raw = self.piece.split_to(end);
        self.after_cr = raw.ends_with(b"\r") && self.piece.is_empty();
        block(raw)
    }
}

/// How far bytes have been looked at. A line may be megabytes that arrive in crumbs: no byte is looked at twice.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Where the last, unfinished line begins.
    line_start: usize,
    /// Up to where that line is known not to end.
    to: usize,
}

/// The place just past the first blank line, or else how far there is none.
fn block_end(bytes: &[u8], Seen { mut line_start, mut to }: Seen) -> Result<usize, Seen> {
    while let Some(at) = memchr2(b'\n', b'\r', &bytes[to..]) {
        let end_of_line = to + at;
        let after = match bytes.get(end_of_line..end_of_line + 2) {
            Some(b"\r\n") => end_of_line + 2,
            _ => end_of_line + 1,
        };
        if end_of_line == line_start {
            return Ok(after);
        }
        if after == bytes.len() && bytes[end_of_line] == b'\r' {
            // Whether this CR stands alone shows in the next piece; it is looked at again then.
            return Err(Seen { line_start, to: end_of_line });
        }
        (line_start, to) = (after, after);
    }
    Err(Seen { line_start, to: bytes.len() })
}

fn block(raw: Bytes) -> Block {
    let mut lines = Lines { bytes: &raw, at: 0 }.filter_map(|line| data_of(&raw, line));
    let data = match (lines.next(), lines.next()) {
        (None, _) => None,
        (Some(only), None) => Some(raw.slice(only)),
        (Some(first), Some(second)) => {
            let mut joined = BytesMut::from(&raw[first]);
            for line in std::iter::once(second).chain(lines) {
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&raw[line]);
            }
            Some(joined.freeze())
        }
    };
    Block { raw, data }
}

/// The place of the value, if this line is a `data` field.
fn data_of(raw: &[u8], line: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
    // A byte order mark may stand before the first line.
    let start = if line.start == 0 && raw.starts_with(b"\xEF\xBB\xBF") { 3 } else { line.start };
    let text = &raw[start..line.end];
    let value = text.strip_prefix(b"data")?;
    match value {
        [] => Some(line.end..line.end),
        [b':', b' ', ..] => Some(start + 6..line.end),
        [b':', ..] => Some(start + 5..line.end),
        _ => None,
    }
}

/// The lines of a block, without their ends.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = std::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let length = memchr2(b'\n', b'\r', self.bytes.get(start..)?)?;
        let end = start + length;
        self.at = if self.bytes[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data of every event when `stream` arrives in pieces cut at `cuts`, and all raw bytes joined.
    fn split(stream: &[u8], cuts: &[usize]) -> (Vec<Option<String>>, Vec<u8>) {
        let mut splitter = Splitter::default();
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        bounds.extend([0, stream.len()]);
        bounds.sort_unstable();
        let (mut data, mut raw) = (Vec::new(), Vec::new());
        for pair in bounds.windows(2) {
            splitter.push(Bytes::copy_from_slice(&stream[pair[0]..pair[1]]));
            while let Some(block) = splitter.next_block().unwrap() {
                raw.extend_from_slice(&block.raw);
                data.push(block.data.map(|data| String::from_utf8_lossy(&data).into_owned()));
            }
        }
        raw.extend_from_slice(splitter.rest());
        (data, raw)
    }

    fn texts(stream: &str) -> Vec<Option<String>> {
        split(stream.as_bytes(), &[]).0
    }

    #[test]
    fn events_comments_and_many_lines() {
        let found = texts("data: a\n\n: ping\n\nevent: x\ndata:b\ndata: c\n\ndata\n\ndatum: no\n\n");
        let expected = [Some("a"), None, Some("b\nc"), Some(""), None];
        assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn every_kind_of_line_end() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = format!("data: a{end}{end}data: b{end}{end}");
            assert_eq!(texts(&stream), [Some("a".into()), Some("b".into())], "{end:?}");
        }
    }

    #[test]
    fn an_unfinished_event_is_the_rest() {
        let mut splitter = Splitter::default();
        splitter.push(Bytes::from_static(b"data: a\n\ndata: b\n"));
        assert!(splitter.next_block().unwrap().is_some());
        assert_eq!(splitter.next_block(), Ok(None));
        assert_eq!(splitter.rest(), b"data: b\n");
    }

    #[test]
    fn a_whole_piece_is_passed_on_uncopied() {
        let piece = Bytes::from_static(b"data: a\n\ndata: b\n\n");
        let start = piece.as_ptr();
        let mut splitter = Splitter::default();
        splitter.push(piece);
        let first = splitter.next_block().unwrap().unwrap();
        assert_eq!(first.raw.as_ptr(), start);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::default();
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let refused = (0..6).find_map(|_| {
            splitter.push(piece.clone());
            splitter.next_block().err()
        });
        assert_eq!(refused, Some(EventTooLarge));
    }

    proptest! {
        /// However the bytes are cut, the same events come out, and no byte but the LF of a split CR LF is lost.
        #[test]
        fn cuts_change_nothing(
            parts in prop::collection::vec(prop::sample::select(vec!["data: a", "data:b", ": c", "\n", "\n\n", "\r\n\r\n", "\r\r", "x", "é"]), 0..24),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let stream = parts.concat();
            let (whole, whole_raw) = split(stream.as_bytes(), &[]);
            let (cut, cut_raw) = split(stream.as_bytes(), &cuts);
            prop_assert_eq!(whole.iter().flatten().collect::<Vec<_>>(), cut.iter().flatten().collect::<Vec<_>>());
            prop_assert_eq!(&whole_raw[..], stream.as_bytes());
            prop_assert!(cut_raw.len() <= stream.len());
        }
    }
}
