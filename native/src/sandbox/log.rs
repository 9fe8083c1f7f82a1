//! What reached a vendor: a test's evidence of what a gateway really sent, and whether it hung up.
//!
//! Requests are counted on arrival, before any fault. Bodies are kept up to a size, as many of the last requests as a bound on
//! their bytes allows are kept in full, and keys are never kept: only their last four characters, to tell one key from
//! another, and where they stood.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::dialect::Place;
use super::serve::Server;

/// The requests of one vendor.
#[derive(Debug, Default)]
pub(super) struct Log {
    seen: VecDeque<Seen>,
    /// What they take together.
    seen_bytes: usize,
    /// Number of the next request; it goes on counting over a reset, so that a late ending finds its own request.
    next: u64,
    counts: BTreeMap<(String, Option<String>), u64>,
}

/// A request as it arrived.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A request being answered. Dropped before its [`end`](Visit::end), the client has left.
#[derive(Debug)]
pub(super) struct Visit {
    server: Arc<Server>,
    number: u64,
    over: bool,
}

#[derive(Debug)]
struct Seen {
    number: u64,
    arrival: Arrival,
    /// The body's real size: a large body itself is not kept.
    body_bytes: usize,
    /// As much of the key as may be shown, and all places where a key stood.
    key: Option<String>,
    key_in: Vec<&'static str>,
    fault: Option<&'static str>,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Aborted,
    Finished,
    Open,
}

/// Some ten thousand requests of the usual length: who asks about one may have been held up while many others came.
const SEEN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a request takes beside its body.
const HEAD_BYTES: usize = 1024;
const COUNTS_MAX: usize = 1024;
const BODY_KEPT_MAX: usize = 256 * 1024;
const NAME_KEPT_MAX: usize = 200;
const SECRETS: [&str; 6] = ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"];

impl Log {
    /// Notes a request and the fault it is about to meet; gives it its number.
    pub(super) fn arrive(&mut self, mut arrival: Arrival, fault: Option<&'static str>) -> u64 {
        let number = self.next;
        self.next += 1;
        arrival.path.truncate(arrival.path.floor_char_boundary(NAME_KEPT_MAX));
        if let Some(model) = &mut arrival.model {
            model.truncate(model.floor_char_boundary(NAME_KEPT_MAX));
        }
        let place = (arrival.path.clone(), arrival.model.clone());
        let known = self.counts.len() < COUNTS_MAX || self.counts.contains_key(&place);
        let place = if known { place } else { ("(other)".to_owned(), None) };
        *self.counts.entry(place).or_default() += 1;

        let keys: Vec<(Place, String)> =
            Place::ALL.into_iter().filter_map(|at| Some((at, at.key(&arrival.headers, &arrival.query)?))).collect();
        let key = keys.first().map(|(_, key)| hint(key));
        let key_in = keys.iter().map(|(place, _)| place.name()).collect();
        arrival.query = without_key(&arrival.query);
        for secret in SECRETS {
            arrival.headers.remove(secret);
        }
        let body_bytes = arrival.body.len();
        if body_bytes > BODY_KEPT_MAX {
            arrival.body = Bytes::new();
        }
        let seen = Seen { number, arrival, body_bytes, key, key_in, fault, ending: Ending::Open };
        self.seen_bytes += seen.bytes();
        self.seen.push_back(seen);
        while self.seen_bytes > SEEN_BYTES_MAX
            && let Some(oldest) = self.seen.pop_front()
        {
            self.seen_bytes -= oldest.bytes();
        }
        number
    }

    /// How many requests came, of one model or path or of all.
    pub(super) fn count(&self, model: Option<&str>, path: Option<&str>) -> u64 {
        let fits = |(at, of): &(String, Option<String>)| {
            path.is_none_or(|path| path == at) && model.is_none_or(|model| of.as_deref() == Some(model))
        };
        self.counts.iter().filter(|(place, _)| fits(place)).map(|(_, count)| count).sum()
    }

    /// The count and the last requests, oldest first.
    pub(super) fn show(&self, model: Option<&str>, path: Option<&str>) -> Value {
        let fits = |seen: &&Seen| {
            path.is_none_or(|path| path == seen.arrival.path)
                && model.is_none_or(|model| seen.arrival.model.as_deref() == Some(model))
        };
        let requests: Vec<Value> = self.seen.iter().filter(fits).map(Seen::show).collect();
        json!({"count": self.count(model, path), "requests": requests})
    }

    /// Forgets all requests.
    pub(super) fn reset(&mut self) {
        self.seen.clear();
        self.seen_bytes = 0;
        self.counts.clear();
    }

    fn end(&mut self, number: u64, ending: Ending) {
        if let Some(seen) = self.seen.iter_mut().rev().find(|seen| seen.number == number) {
            seen.ending = ending;
        }
    }
}

impl Visit {
    pub(super) fn new(server: Arc<Server>, number: u64) -> Self {
        Self { server, number, over: false }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The vendor is through with this request: all was sent, or it cut the client off itself.
    pub(super) fn end(&mut self) {
        if !self.over {
            self.over = true;
            self.server.state().log.end(self.number, Ending::Finished);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.over {
            self.server.state().log.end(self.number, Ending::Aborted);
        }
    }
}

impl Seen {
    fn bytes(&self) -> usize {
        HEAD_BYTES + self.arrival.body.len()
    }

    fn show(&self) -> Value {
        let Arrival { method, path, query, model, stream, headers, body } = &self.arrival;
        let headers: BTreeMap<&str, String> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        json!({
            "number": self.number,
            "method": method.as_str(),
            "path": path,
            "query": query,
            "model": model,
            "stream": stream,
            "headers": headers,
            "key": self.key,
            "key_in": self.key_in,
            "body": body_shown(body),
            "body_text": String::from_utf8_lossy(body),
            "body_bytes": self.body_bytes,
            "fault": self.fault,
            "open": self.ending == Ending::Open,
            "aborted": self.ending == Ending::Aborted,
        })
    }
}

/// As much of a key as may be shown.
pub(super) fn hint(key: &str) -> String {
    let count = key.chars().count();
    let last: String = key.chars().skip(count.saturating_sub(4)).collect();
    if count < 8 { "…".to_owned() } else { format!("…{last}") }
}

/// A query, without the key that may be in it.
fn without_key(query: &str) -> String {
    let is_key = |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| name == Place::Query.name());
    let mut kept = query.split('&').filter(|pair| !is_key(pair)).collect::<Vec<_>>().join("&");
    kept.truncate(kept.floor_char_boundary(NAME_KEPT_MAX));
    kept
}

fn body_shown(body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_the_latest_stay() {
        let mut log = Log::default();
        let mut arrive = |body: Vec<u8>| {
            let arrival = Arrival {
                method: Method::POST,
                path: "/v1/embeddings".to_owned(),
                query: String::new(),
                model: None,
                stream: false,
                headers: HeaderMap::new(),
                body: body.into(),
            };
            log.arrive(arrival, None)
        };
        // Each takes a quarter of a mebibyte, which makes sixty-four of them.
        let body = || vec![0; BODY_KEPT_MAX - HEAD_BYTES];
        for number in 0..70 {
            assert_eq!(arrive(body()), number);
        }
        // Of a larger one the body is not kept, and so it takes the room of a small one.
        arrive(vec![0; BODY_KEPT_MAX + 1]);
        let numbers: Vec<u64> = log.seen.iter().map(|seen| seen.number).collect();
        assert_eq!(numbers, (7..=70).collect::<Vec<u64>>());
        assert!(log.seen_bytes <= SEEN_BYTES_MAX);
        assert_eq!(log.count(None, None), 71, "all are counted");
        log.reset();
        assert_eq!((log.seen_bytes, log.count(None, None)), (0, 0));
    }
}
