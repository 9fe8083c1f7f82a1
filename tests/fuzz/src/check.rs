//! What must hold for whatever is sent, to vendors and to clients.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use tidegate_core::dialect::sse::Splitter;

/// It is JSON.
#[track_caller]
pub(crate) fn json(text: &[u8]) {
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
        panic!("not JSON: {error}: {}", text.escape_ascii());
    }
}

/// It is a JSON object that has no member twice: readers differ in which of the two they see.
#[track_caller]
pub(crate) fn object(text: &[u8]) {
    let Names(mut names) = match serde_json::from_slice(text) {
        Ok(names) => names,
        Err(error) => panic!("not a JSON object: {error}: {}", text.escape_ascii()),
    };
    names.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "a member stands there twice: {}", text.escape_ascii());
    }
}

/// It is a whole number of server-sent events, of JSON each, or `[DONE]`.
#[track_caller]
pub(crate) fn events(stream: &[u8]) {
    let mut splitter = Splitter::default();
    splitter.push(Bytes::copy_from_slice(stream));
    while let Some(block) = splitter.next_block().expect("what we write is smaller than an event may be") {
        for line in block.raw.split(|byte| *byte == b'\n') {
            let is_field = line.starts_with(b"data: ") || line.starts_with(b"event: ") || line.starts_with(b":");
            assert!(line.is_empty() || is_field, "not a line of an event: {}", line.escape_ascii());
        }
        match &block.data {
            Some(data) if &data[..] != b"[DONE]" => json(data),
            _ => {}
        }
    }
    assert!(splitter.rest().is_empty(), "the last event has no end: {}", stream.escape_ascii());
}

/// The names of an object's members, as often as they stand there.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Names;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
