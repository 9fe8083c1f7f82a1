//! The splitter of server-sent events finds what `eventsource-stream` and npm's `eventsource-parser` find, wherever the bytes
//! are cut.

use std::cell::RefCell;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use proptest::prelude::*;
use serde_json::json;
use tidegate_core::dialect::sse::Splitter;
use tidegate_tests::world::root;

/// A stream, in the pieces that it comes in.
type Pieces = Vec<Bytes>;

/// npm's parser, in one process for all cases: a line with a stream's pieces in, a line with its events out.
struct Node {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

fn ours(pieces: &Pieces) -> Vec<String> {
    let mut splitter = Splitter::default();
    let mut events = Vec::new();
    for piece in pieces {
        splitter.push(piece.clone());
        while let Some(block) = splitter.next_block().expect("no event is so large") {
            events.extend(block.data.map(|data| String::from_utf8(data.to_vec()).expect("UTF-8 went in")));
        }
    }
    events
}

/// What `eventsource-stream` finds.
fn of_the_crate(pieces: &Pieces) -> Vec<String> {
    let pieces = futures_util::stream::iter(pieces.iter().cloned().map(Ok::<_, std::convert::Infallible>));
    let events = pieces.eventsource().map(|event| event.expect("UTF-8 went in").data).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(events)
}

impl Node {
    fn start() -> Self {
        let node = env::var_os("TIDEGATE_NODE").map(PathBuf::from).filter(|path| path.is_file());
        let node = node.expect("TIDEGATE_NODE names no program: run `cargo xtask test`");
        let mut command = Command::new(node);
        command.env_clear().arg(root().join("tests/node/events.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("node starts");
        let to = process.stdin.take().expect("it is piped");
        let from = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, to, from }
    }

    fn events(&mut self, pieces: &Pieces) -> Vec<String> {
        let pieces: Vec<&[u8]> = pieces.iter().map(AsRef::as_ref).collect();
        writeln!(self.to, "{}", json!(pieces)).expect("node reads");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("node answers");
        serde_json::from_str(&line).expect("a list of texts")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A line of a stream, without its end.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "data: ?[a-z{}\":é€😀 ]{0,12}",
        1 => "data",
        2 => Just(String::new()),
        1 => "(event|id|retry): ?[a-z0-9]{1,5}",
        1 => ": ?[a-z ]{0,8}",
        1 => "[a-z]{1,6}(: ?[a-z]{0,4})?",
        1 => " data: [a-z]{1,3}",
    ]
}

/// Streams as vendors send them and as they might, whole or cut off at the end, in pieces of any size; `marked` ones begin with
/// a byte order mark.
fn stream(marked: impl Strategy<Value = bool>) -> impl Strategy<Value = Pieces> {
    let end = prop_oneof![4 => Just("\n"), 2 => Just("\r\n"), 1 => Just("\r")];
    let lines = prop::collection::vec((line(), end, 1..3_usize), 0..24);
    let text = (marked, lines).prop_map(|(marked, lines)| {
        let mut text = String::from(if marked { "\u{feff}" } else { "" });
        for (line, end, ends) in lines {
            text += &line;
            text += &end.repeat(ends);
        }
        text
    });
    (text, prop::collection::vec(1..40_usize, 1..30)).prop_map(|(text, sizes)| {
        let mut rest = Bytes::from(text);
        let mut pieces = Pieces::new();
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            pieces.push(rest.split_to(size.min(rest.len())));
        }
        pieces
    })
}

#[test]
fn events_are_those_of_npm_s_parser() {
    let node = RefCell::new(Node::start());
    proptest!(ProptestConfig::with_cases(2000), |(pieces in stream(any::<bool>()))| {
        prop_assert_eq!(ours(&pieces), node.borrow_mut().events(&pieces));
    });
}

#[test]
fn events_are_those_of_the_crate() {
    // It leaves out events whose data is empty, though the standard has them, and panics at a byte order mark.
    let told = |events: Vec<String>| events.into_iter().filter(|data| !data.is_empty()).collect::<Vec<_>>();
    proptest!(ProptestConfig::with_cases(2000), |(mut pieces in stream(Just(false)))| {
        // After a CR it waits for what comes next, in case it is an LF.
        pieces.push(Bytes::from_static(b":\n"));
        prop_assert_eq!(told(ours(&pieces)), told(of_the_crate(&pieces)));
    });
}
