//! What a vendor says is left of its quota, passed on to the client in the client's own dialect: apps pace themselves by it.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::backoff::{go_duration, rfc3339, rfc3339_of};
use crate::dialect::Dialect;
use crate::limit::{Dimension, Room};
use crate::time::{Millis, Timestamp};

/// The headers in which vendors tell their quotas, for adapters to which headers are dear.
pub const HEADERS: [&str; 18] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
];

/// How many requests a vendor still takes from a key, by its own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// So many.
    pub requests: u64,
    /// When it counts anew.
    pub until: Timestamp,
    /// When it said so.
    pub at: Timestamp,
}

impl Remaining {
    /// What a response's headers say, in any vendor's spelling. `None`: nothing, or nothing that reads.
    pub fn read(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        [Dialect::OpenAi, Dialect::Anthropic].into_iter().find_map(|dialect| {
            let text = |figure| headers.get(name(dialect, "requests", figure))?.to_str().ok();
            let until = match dialect {
                Dialect::Anthropic => rfc3339(text("reset")?)?,
                Dialect::OpenAi | Dialect::Gemini => now + go_duration(text("reset")?)?,
            };
            Some(Self { requests: text("remaining")?.parse().ok()?, until, at: now })
        })
    }
}

/// The longest that a key rests because its vendor says that it is used up: a quota of a minute, as vendors tell them, is
/// whole again by then, and a longer one is told by a 429.
const REST_MAX: Millis = Millis::from_secs(60);

/// Until when a key is used up, by its vendor's own count; `None`: there is something left of all that it counts, or it
/// does not say.
pub(crate) fn used_up(quota: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    const ANTHROPICS: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];
    if quota.is_empty() {
        return None;
    }
    let is_anthropics = quota.keys().any(|name| name.as_str().starts_with("anthropic-"));
    let (dialect, dimensions): (_, &[&str]) =
        if is_anthropics { (Dialect::Anthropic, &ANTHROPICS) } else { (Dialect::OpenAi, &DIMENSIONS) };
    let resets = dimensions.iter().filter_map(|dimension| {
        let text = |figure| quota.get(name(dialect, dimension, figure))?.to_str().ok();
        if text("remaining")?.parse::<u64>() != Ok(0) {
            return None;
        }
        let reset = text("reset")?;
        Some(if is_anthropics { rfc3339(reset)? } else { now + go_duration(reset)? })
    });
    // All of it has to be there for the next request.
    resets.max().map(|until| until.min(now + REST_MAX)).filter(|until| *until > now)
}

/// What both dialects count.
const DIMENSIONS: [&str; 2] = ["requests", "tokens"];
const FIGURES: [&str; 3] = ["limit", "remaining", "reset"];

/// Those of a vendor's headers that tell its quota.
pub fn select(headers: &HeaderMap) -> HeaderMap {
    let tells = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-ratelimit-") || name.starts_with("anthropic-ratelimit-")
    };
    headers.iter().filter(|(name, _)| tells(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A vendor's quota in a client's dialect: as it came where both speak one, and otherwise what both can say. What does not
/// read is left out.
pub fn told(quota: HeaderMap, vendor: Dialect, client: Dialect, now: Timestamp) -> HeaderMap {
    if vendor == client {
        return quota;
    }
    let mut headers = HeaderMap::new();
    for dimension in DIMENSIONS {
        for figure in FIGURES {
            let text = quota.get(name(vendor, dimension, figure)).and_then(|value| value.to_str().ok());
            let translated = text.and_then(|text| match figure {
                "reset" => reset(text, vendor, now),
                _ => text.parse::<u64>().is_ok().then(|| text.to_owned()),
            });
            let value = translated.and_then(|text| HeaderValue::from_str(&text).ok());
            let name = HeaderName::from_bytes(name(client, dimension, figure).as_bytes());
            if let (Some(value), Ok(name)) = (value, name) {
                headers.insert(name, value);
            }
        }
    }
    headers
}

/// What a client has left of the limits that it has here, in its own dialect.
pub(crate) fn of_client(room: [(Dimension, Option<Room>); 2], client: Dialect, now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (dimension, room) in room {
        let (Some(room), Some(dimension)) = (room, word(dimension)) else { continue };
        let reset = match client {
            Dialect::Anthropic => rfc3339_of(now + room.reset_in_ms),
            Dialect::OpenAi | Dialect::Gemini => seconds(room.reset_in_ms),
        };
        let figures = [room.limit.to_string(), room.remaining.to_string(), reset];
        for (figure, text) in FIGURES.into_iter().zip(figures) {
            let name = HeaderName::from_bytes(name(client, dimension, figure).as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&text)) {
                headers.insert(name, value);
            }
        }
    }
    headers
}

fn word(dimension: Dimension) -> Option<&'static str> {
    match dimension {
        Dimension::Requests => Some("requests"),
        Dimension::Tokens => Some("tokens"),
        Dimension::Concurrency | Dimension::Money => None,
    }
}

fn seconds(Millis(wait): Millis) -> String {
    format!("{}.{:03}s", wait / 1000, wait % 1000)
}

fn name(dialect: Dialect, dimension: &str, figure: &str) -> String {
    match dialect {
        Dialect::Anthropic => format!("anthropic-ratelimit-{dimension}-{figure}"),
        Dialect::OpenAi | Dialect::Gemini => format!("x-ratelimit-{figure}-{dimension}"),
    }
}

/// `OpenAI` says in how long, as Go writes it; Anthropic says when.
fn reset(text: &str, vendor: Dialect, now: Timestamp) -> Option<String> {
    match vendor {
        Dialect::Anthropic => Some(seconds(now.until(rfc3339(text)?))),
        Dialect::OpenAi | Dialect::Gemini => Some(rfc3339_of(now + go_duration(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NEW_YEAR: Timestamp = Timestamp(1_767_225_600_000);

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    const OPENAI: [(&str, &str); 3] = [
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-tokens", "6m0.5s"),
    ];
    const ANTHROPIC: [(&str, &str); 3] = [
        ("anthropic-ratelimit-requests-limit", "500"),
        ("anthropic-ratelimit-tokens-remaining", "149984"),
        ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:06:01Z"),
    ];

    #[test]
    fn one_dialect_on_both_sides_is_passed_on_as_it_came() {
        let theirs = headers(&[("x-ratelimit-limit-requests", "soon"), ("content-type", "text/plain")]);
        let told = told(select(&theirs), Dialect::OpenAi, Dialect::OpenAi, NEW_YEAR);
        assert_eq!(told, headers(&[("x-ratelimit-limit-requests", "soon")]));
    }

    #[test]
    fn a_moment_becomes_a_length_and_a_length_a_moment() {
        let told_to = |quota: &[(&'static str, &str)], vendor, client| told(headers(quota), vendor, client, NEW_YEAR);
        assert_eq!(told_to(&OPENAI, Dialect::OpenAi, Dialect::Anthropic), headers(&ANTHROPIC));
        let lengths = told_to(&ANTHROPIC, Dialect::Anthropic, Dialect::OpenAi);
        assert_eq!(lengths["x-ratelimit-reset-tokens"], "361.000s");
        assert_eq!(lengths["x-ratelimit-limit-requests"], "500");
    }

    #[test]
    fn what_remains_is_read_in_both_spellings() {
        let read = |lines: &[(&'static str, &str)]| Remaining::read(&headers(lines), NEW_YEAR);
        let openai = [("x-ratelimit-remaining-requests", "7"), ("x-ratelimit-reset-requests", "1m")];
        let anthropic = [
            ("anthropic-ratelimit-requests-remaining", "7"),
            ("anthropic-ratelimit-requests-reset", "2026-01-01T00:01:00Z"),
        ];
        let expected = Remaining { requests: 7, until: NEW_YEAR + Millis(60_000), at: NEW_YEAR };
        assert_eq!((read(&openai), read(&anthropic)), (Some(expected), Some(expected)));
        assert_eq!(read(&openai[..1]), None, "without its end it would hold for ever");
        for text in ["-1", "", "many", "99999999999999999999"] {
            assert_eq!(read(&[("x-ratelimit-remaining-requests", text), openai[1]]), None, "{text}");
        }
    }

    #[test]
    fn a_key_is_used_up_until_all_that_it_lacks_is_there_again_and_for_a_minute_at_most() {
        let until =
            |lines: &[(&'static str, &str)]| used_up(&headers(lines), NEW_YEAR).map(|until| NEW_YEAR.until(until));
        let requests = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "2s")];
        let tokens = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "20s")];
        assert_eq!(until(&requests), Some(Millis(2000)));
        assert_eq!(until(&[requests, tokens].concat()), Some(Millis(20_000)));
        assert_eq!(until(&[requests[0], ("x-ratelimit-reset-requests", "1h")]), Some(REST_MAX));
        let output = [
            ("anthropic-ratelimit-requests-remaining", "9"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-01-01T00:00:07Z"),
        ];
        assert_eq!(until(&output), Some(Millis(7000)));
        let left = [("x-ratelimit-remaining-requests", "1"), ("x-ratelimit-reset-requests", "2s")];
        for nothing in [&left[..], &requests[..1], &[], &[requests[0], ("x-ratelimit-reset-requests", "0s")]] {
            assert_eq!(until(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn what_does_not_read_is_left_out() {
        let odd = headers(&[("x-ratelimit-limit-requests", "many"), ("x-ratelimit-reset-tokens", "soon")]);
        assert!(told(odd, Dialect::OpenAi, Dialect::Anthropic, NEW_YEAR).is_empty());
    }
}
