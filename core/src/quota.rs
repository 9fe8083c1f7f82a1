//! What a vendor says is left of its quota, passed on to the client in the client's own dialect: apps pace themselves by it.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::backoff::{go_duration, rfc3339, rfc3339_of};
use crate::dialect::Dialect;
use crate::limit::{Dimension, Room};
use crate::time::{Millis, Timestamp};

/// The headers in which a vendor tells one of its quotas.
pub(crate) struct Names {
    limit: &'static str,
    pub(crate) remaining: &'static str,
    pub(crate) reset: &'static str,
}

/// Requests and tokens come first in both, since both dialects count them.
static OPENAI: [Names; 2] = [
    Names {
        limit: "x-ratelimit-limit-requests",
        remaining: "x-ratelimit-remaining-requests",
        reset: "x-ratelimit-reset-requests",
    },
    Names {
        limit: "x-ratelimit-limit-tokens",
        remaining: "x-ratelimit-remaining-tokens",
        reset: "x-ratelimit-reset-tokens",
    },
];
static ANTHROPIC: [Names; 4] = [
    Names {
        limit: "anthropic-ratelimit-requests-limit",
        remaining: "anthropic-ratelimit-requests-remaining",
        reset: "anthropic-ratelimit-requests-reset",
    },
    Names {
        limit: "anthropic-ratelimit-tokens-limit",
        remaining: "anthropic-ratelimit-tokens-remaining",
        reset: "anthropic-ratelimit-tokens-reset",
    },
    Names {
        limit: "anthropic-ratelimit-input-tokens-limit",
        remaining: "anthropic-ratelimit-input-tokens-remaining",
        reset: "anthropic-ratelimit-input-tokens-reset",
    },
    Names {
        limit: "anthropic-ratelimit-output-tokens-limit",
        remaining: "anthropic-ratelimit-output-tokens-remaining",
        reset: "anthropic-ratelimit-output-tokens-reset",
    },
];

/// All that a dialect has.
pub(crate) fn names(dialect: Dialect) -> &'static [Names] {
    match dialect {
        Dialect::Anthropic => &ANTHROPIC,
        Dialect::OpenAi | Dialect::Gemini => &OPENAI,
    }
}

/// The headers in which vendors tell their quotas, for adapters to which headers are dear.
pub fn headers() -> impl Iterator<Item = &'static str> {
    OPENAI.iter().chain(&ANTHROPIC).flat_map(|names| [names.limit, names.remaining, names.reset])
}

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
            let text = |name| headers.get(name)?.to_str().ok();
            let requests = &names(dialect)[0];
            let until = moment(text(requests.reset)?, dialect, now)?;
            Some(Self { requests: text(requests.remaining)?.parse().ok()?, until, at: now })
        })
    }
}

/// The longest that a key rests because its vendor says that it is used up: a quota of a minute, as vendors tell them, is
/// whole again by then, and a longer one is told by a 429.
const REST_MAX: Millis = Millis::from_secs(60);

/// Until when a key is used up, by its vendor's own count; `None`: there is something left of all that it counts, or it
/// does not say.
pub(crate) fn used_up(quota: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    if quota.is_empty() {
        return None;
    }
    let is_anthropics = quota.keys().any(|name| name.as_str().starts_with("anthropic-"));
    let dialect = if is_anthropics { Dialect::Anthropic } else { Dialect::OpenAi };
    let text = |name| quota.get(name)?.to_str().ok();
    let is_spent = |names: &&Names| text(names.remaining).and_then(|left| left.parse::<u64>().ok()) == Some(0);
    let resets = names(dialect).iter().filter(is_spent).filter_map(|names| moment(text(names.reset)?, dialect, now));
    // All of it has to be there for the next request.
    resets.max().map(|until| until.min(now + REST_MAX)).filter(|until| *until > now)
}

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
    for (theirs, ours) in names(vendor).iter().zip(names(client)) {
        let text = |name| quota.get(name)?.to_str().ok();
        let number = |name| text(name).filter(|text| text.parse::<u64>().is_ok()).map(str::to_owned);
        let reset = text(theirs.reset).and_then(|text| moment(text, vendor, now));
        put(&mut headers, ours.limit, number(theirs.limit));
        put(&mut headers, ours.remaining, number(theirs.remaining));
        put(&mut headers, ours.reset, reset.map(|at| reset_text(at, client, now)));
    }
    headers
}

/// What a client has left of the limits that it has here, in its own dialect.
pub(crate) fn of_client(room: [(Dimension, Option<Room>); 2], client: Dialect, now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (dimension, room) in room {
        let ours = match dimension {
            Dimension::Requests => &names(client)[0],
            Dimension::Tokens => &names(client)[1],
            Dimension::Concurrency | Dimension::Money => continue,
        };
        let Some(room) = room else { continue };
        put(&mut headers, ours.limit, Some(room.limit.to_string()));
        put(&mut headers, ours.remaining, Some(room.remaining.to_string()));
        put(&mut headers, ours.reset, Some(reset_text(now + room.reset_in_ms, client, now)));
    }
    headers
}

fn put(headers: &mut HeaderMap, name: &'static str, text: Option<String>) {
    if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// When a quota is whole again: `OpenAI` says in how long, as Go writes it; Anthropic says when.
fn moment(text: &str, vendor: Dialect, now: Timestamp) -> Option<Timestamp> {
    match vendor {
        Dialect::Anthropic => rfc3339(text),
        Dialect::OpenAi | Dialect::Gemini => Some(now + go_duration(text)?),
    }
}

/// The same in a client's words.
fn reset_text(at: Timestamp, client: Dialect, now: Timestamp) -> String {
    match client {
        Dialect::Anthropic => rfc3339_of(at),
        Dialect::OpenAi | Dialect::Gemini => {
            let Millis(wait) = now.until(at);
            format!("{}.{:03}s", wait / 1000, wait % 1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NEW_YEAR: Timestamp = Timestamp(1_767_225_600_000);

    fn header_map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    const IN_OPENAIS: [(&str, &str); 3] = [
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-tokens", "6m0.5s"),
    ];
    const IN_ANTHROPICS: [(&str, &str); 3] = [
        ("anthropic-ratelimit-requests-limit", "500"),
        ("anthropic-ratelimit-tokens-remaining", "149984"),
        ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:06:01Z"),
    ];

    #[test]
    fn one_dialect_on_both_sides_is_passed_on_as_it_came() {
        let theirs = header_map(&[("x-ratelimit-limit-requests", "soon"), ("content-type", "text/plain")]);
        let told = told(select(&theirs), Dialect::OpenAi, Dialect::OpenAi, NEW_YEAR);
        assert_eq!(told, header_map(&[("x-ratelimit-limit-requests", "soon")]));
    }

    #[test]
    fn a_moment_becomes_a_length_and_a_length_a_moment() {
        let told_to =
            |quota: &[(&'static str, &str)], vendor, client| told(header_map(quota), vendor, client, NEW_YEAR);
        assert_eq!(told_to(&IN_OPENAIS, Dialect::OpenAi, Dialect::Anthropic), header_map(&IN_ANTHROPICS));
        let lengths = told_to(&IN_ANTHROPICS, Dialect::Anthropic, Dialect::OpenAi);
        assert_eq!(lengths["x-ratelimit-reset-tokens"], "361.000s");
        assert_eq!(lengths["x-ratelimit-limit-requests"], "500");
    }

    #[test]
    fn what_remains_is_read_in_both_spellings() {
        let read = |lines: &[(&'static str, &str)]| Remaining::read(&header_map(lines), NEW_YEAR);
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
            |lines: &[(&'static str, &str)]| used_up(&header_map(lines), NEW_YEAR).map(|until| NEW_YEAR.until(until));
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
        let odd = header_map(&[("x-ratelimit-limit-requests", "many"), ("x-ratelimit-reset-tokens", "soon")]);
        assert!(told(odd, Dialect::OpenAi, Dialect::Anthropic, NEW_YEAR).is_empty());
    }
}
