//! Answers that are kept for whoever asks exactly the same again.
//!
//! One for each route that wants it, in the gateway's own memory: of this process, or of this isolate. What is kept is what
//! the client was sent, byte by byte but for its cost, which is paid once, under a hash of all that the answer may depend on. Bounded by its bytes: what has not been
//! asked for longest goes first.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

use crate::config::TargetId;
use crate::dialect::Request;
use crate::time::{Millis, Timestamp};

/// What an entry takes beside its body, about: so that many empty ones are bounded too.
const ENTRY_BYTES: usize = 256;

/// What a request asks, and who asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key([u8; 32]);

/// What a client wants of the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    /// An answer that is kept will do.
    #[default]
    Any,
    /// A new answer, to be kept instead of the old one.
    Refresh,
    /// Nothing to do with it.
    NoStore,
}

impl Wish {
    /// As the headers of a request say it; our own has the last word.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let says = |name: &str, word: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            value.split(',').any(|said| said.trim().eq_ignore_ascii_case(word))
        };
        let wish = |name: &str, refresh: &str| match (says(name, "no-store"), says(name, refresh)) {
            (true, _) => Some(Self::NoStore),
            (false, true) => Some(Self::Refresh),
            (false, false) => None,
        };
        wish("x-tidegate-cache", "refresh").or_else(|| wish("cache-control", "no-cache")).unwrap_or_default()
    }
}

/// An answer that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Who gave it.
    pub(crate) target: TargetId,
    /// None for a stream.
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
    pub(crate) at: Timestamp,
}

/// The answers of one route.
#[derive(Debug)]
pub(crate) struct Cache {
    ttl: Millis,
    bytes_max: usize,
    bytes: usize,
    entries: BTreeMap<Key, (u64, Kept)>,
    /// By when they were last asked for.
    order: BTreeMap<u64, Key>,
    turn: u64,
}

impl Key {
    /// The key of a request. `asker` stands for whoever may share the answer, `beside` for what else is asked than the body says.
    /// `None`: the body is nested deeper than any conversation.
    pub(crate) fn of(request: &Request, asker: &str, beside: &str) -> Option<Self> {
        // Members in the order of their names, without white space: the same to any vendor.
        let body: serde_json::Value = serde_json::from_slice(request.body()).ok()?;
        let mut hash = Sha256::new();
        // Of a member that is there twice, one vendor reads the first and another the last: that is another question.
        hash.update(members(request.body()).to_be_bytes());
        for part in [request.surface.path(), asker, beside, &body.to_string()] {
            // With their lengths, so that no two lists of parts are the same bytes.
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        for (name, value) in &request.forwarded {
            hash.update(name.as_str());
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
        Some(Self(hash.finalize().into()))
    }
}

/// How many members there are in all objects of a JSON text, each as often as it is there.
fn members(json: &[u8]) -> u64 {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// A copy of an answer in which it cost nothing: who adds up `usage.cost` has paid for it already.
///
/// The last number under this key is the usage's, which comes last; a text of the answer has its quotes escaped.
fn at_no_cost(body: &[u8]) -> Vec<u8> {
    const COST: &[u8] = b"\"cost\":";
    let number = |at: usize| {
        let from = at + COST.len();
        let is_digit = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        from..from + body[from..].iter().take_while(is_digit).count()
    };
    match memchr::memmem::rfind(body, COST).map(number) {
        Some(number) if !number.is_empty() => [&body[..number.start], b"0", &body[number.end..]].concat(),
        _ => body.to_vec(),
    }
}

impl Cache {
    pub(crate) fn new(ttl: Millis, bytes_max: usize) -> Self {
        Self { ttl, bytes_max, bytes: 0, entries: BTreeMap::new(), order: BTreeMap::new(), turn: 0 }
    }

    /// The answer that is kept, if it is not too old.
    pub(crate) fn find(&mut self, now: Timestamp, key: Key) -> Option<Kept> {
        let kept = self.entries.get(&key).map(|(_, kept)| kept)?;
        if now.since(kept.at) > self.ttl {
            self.remove(key);
            return None;
        }
        self.turn += 1;
        let (turn, kept) = self.entries.get_mut(&key).expect("it was found above");
        self.order.remove(&std::mem::replace(turn, self.turn));
        self.order.insert(self.turn, key);
        Some(kept.clone())
    }

    /// Keeps an answer; one that alone is larger than all may be is not kept.
    pub(crate) fn keep(&mut self, key: Key, kept: Kept) {
        self.remove(key);
        let size = kept.body.len() + ENTRY_BYTES;
        if size > self.bytes_max {
            return;
        }
        while self.bytes + size > self.bytes_max {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            self.remove(*oldest);
        }
        self.turn += 1;
        self.bytes += size;
        self.order.insert(self.turn, key);
        // Its own bytes, and not a slice that keeps a larger buffer.
        let kept = Kept { body: at_no_cost(&kept.body).into(), ..kept };
        self.entries.insert(key, (self.turn, kept));
    }

    fn remove(&mut self, key: Key) {
        if let Some((turn, kept)) = self.entries.remove(&key) {
            self.order.remove(&turn);
            self.bytes -= kept.body.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::Surface;

    fn key(body: &str, asker: &str) -> Key {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Key::of(&Request::read(Surface::Chat, body).unwrap(), asker, "").unwrap()
    }

    fn kept(at: u64, body: &str) -> Kept {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Kept { target: TargetId(0), content_type: None, body, at: Timestamp(at) }
    }

    #[test]
    fn the_same_question_has_the_same_key_however_it_is_written() {
        let one = key(r#"{"model":"m","n":1,"messages":[{"role":"user","content":"é"}]}"#, "a");
        assert_eq!(
            one,
            key("{\"messages\" : [{\"content\":\"\\u00e9\", \"role\":\"user\"}],\"n\":1,\"model\":\"m\"}", "a")
        );
        assert_ne!(one, key(r#"{"model":"m","n":1,"messages":[{"role":"user","content":"e"}]}"#, "a"));
        assert_ne!(
            one,
            key(r#"{"model":"m","n":1,"messages":[{"role":"user","content":"é"}]}"#, "b"),
            "another client"
        );
    }

    #[test]
    fn what_is_kept_costs_nothing() {
        for (sent, again) in [
            (r#"{"usage":{"cost":0.000015,"prompt_tokens":7}}"#, r#"{"usage":{"cost":0,"prompt_tokens":7}}"#),
            (r#"{"usage":{"output_tokens":7,"cost":1.5e-05}}"#, r#"{"usage":{"output_tokens":7,"cost":0}}"#),
            (r#"{"cost":1,"usage":{"cost":2}}"#, r#"{"cost":1,"usage":{"cost":0}}"#),
            (r#"{"text":"\"cost\":5","usage":{}}"#, r#"{"text":"\"cost\":5","usage":{}}"#),
            (r#"{"usage":{"cost":null}}"#, r#"{"usage":{"cost":null}}"#),
            (r#"{"metadata":{"cost":"5"}}"#, r#"{"metadata":{"cost":"5"}}"#),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8(at_no_cost(sent.as_bytes())).unwrap(), again);
        }
    }

    /// Or whoever shares a cache could have the answer to one question kept for another.
    #[test]
    fn what_is_said_twice_is_another_question() {
        let twice = r#"{"model":"m","messages":[{"content":"what others would ask","content":"\"a:b"}]}"#;
        let once = r#"{"model":"m","messages":[{"content":"\"a:b"}]}"#;
        assert_ne!(key(twice, "a"), key(once, "a"));
        assert_eq!((members(twice.as_bytes()), members(once.as_bytes())), (4, 3));
    }

    #[test]
    fn what_is_too_old_is_not_found() {
        let mut cache = Cache::new(Millis(100), 10_000);
        cache.keep(key(r#"{"model":"m"}"#, ""), kept(5, "x"));
        assert!(cache.find(Timestamp(105), key(r#"{"model":"m"}"#, "")).is_some());
        assert!(cache.find(Timestamp(106), key(r#"{"model":"m"}"#, "")).is_none());
        assert_eq!((cache.bytes, cache.entries.len(), cache.order.len()), (0, 0, 0));
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let mut cache = Cache::new(Millis(100), 3 * (ENTRY_BYTES + 1));
        let keys = ["a", "b", "c", "d"].map(|asker| key(r#"{"model":"m"}"#, asker));
        for key in &keys[..3] {
            cache.keep(*key, kept(0, "x"));
        }
        cache.find(Timestamp(1), keys[0]);
        cache.keep(keys[3], kept(0, "x"));
        let mut is_there = |at: usize| cache.find(Timestamp(1), keys[at]).is_some();
        assert_eq!((is_there(0), is_there(1), is_there(2), is_there(3)), (true, false, true, true));
        cache.keep(keys[0], kept(0, &"x".repeat(10_000)));
        assert!(cache.find(Timestamp(1), keys[0]).is_none(), "larger than all may be");
        assert!(cache.find(Timestamp(1), keys[2]).is_some());
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may(steps in prop::collection::vec((0_usize..6, 0_usize..900, any::<bool>()), 0..60)) {
            let mut cache = Cache::new(Millis(10), 2_000);
            for (now, (asker, size, keeps)) in steps.into_iter().enumerate() {
                let (key, now) = (key(r#"{"model":"m"}"#, &asker.to_string()), now as u64);
                if keeps {
                    cache.keep(key, kept(now, &"x".repeat(size)));
                } else {
                    cache.find(Timestamp(now), key);
                }
                let sum: usize = cache.entries.values().map(|(_, kept)| kept.body.len() + ENTRY_BYTES).sum();
                prop_assert!(sum == cache.bytes && sum <= 2_000 && cache.order.len() == cache.entries.len());
            }
        }
    }
}
