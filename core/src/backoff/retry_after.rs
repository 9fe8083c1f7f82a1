//! What a vendor says about when to come back.

use std::time::UNIX_EPOCH;

use http::HeaderMap;

use super::rfc3339;
use crate::dialect::Dialect;
use crate::quota::{Names, names};
use crate::time::{Millis, Timestamp};

/// The longest wait that is believed. What lies beyond says no more than "much later", and a vendor's slip of the pen
/// must not shut a key off for a year.
pub const RETRY_AFTER_MAX: Millis = Millis::from_secs(3600);

const NANOS_PER_MS: u64 = 1_000_000;
const NANOS_PER_S: u64 = 1_000_000_000;

/// How long to wait, as the headers of a reply say; `None` if they do not, or make no sense.
///
/// The most exact wins: `retry-after-ms` and `x-ms-retry-after-ms` (`OpenAI`, Azure), then `retry-after` (seconds, also
/// with a fraction, or an HTTP date), then the largest of `x-ratelimit-reset-requests` and `-tokens` (Go durations), or of
/// Anthropic's `anthropic-ratelimit-*-reset` (moments), among those that are used up. Rounded up to a millisecond, so as
/// never to come back early; capped at [`RETRY_AFTER_MAX`]; a date that has passed is zero.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Millis> {
    let wait = ["retry-after-ms", "x-ms-retry-after-ms"]
        .iter()
        .find_map(|name| decimal(text(headers, name)?, NANOS_PER_MS))
        .or_else(|| {
            let value = text(headers, "retry-after")?;
            decimal(value, NANOS_PER_S).or_else(|| until_date(value, headers, now))
        })
        .or_else(|| names(Dialect::OpenAi).iter().filter_map(|names| until_reset(headers, names)).max())
        .or_else(|| names(Dialect::Anthropic).iter().filter_map(|names| until_moment(headers, names, now)).max());
    wait.map(|wait| wait.min(RETRY_AFTER_MAX))
}

/// Until an HTTP date, by the vendor's own clock if the reply shows it: ours may be off.
fn until_date(value: &str, headers: &HeaderMap, now: Timestamp) -> Option<Millis> {
    let then = date(value)?;
    let now = text(headers, "date").and_then(date).unwrap_or(now);
    Some(now.until(then))
}

/// Until a quota that is used up is whole again; one with something left is not what refused the request.
fn until_reset(headers: &HeaderMap, names: &Names) -> Option<Millis> {
    let left = text(headers, names.remaining);
    if left.is_some_and(|left| decimal(left, NANOS_PER_S) != Some(Millis::ZERO)) {
        return None;
    }
    go_duration(text(headers, names.reset)?)
}

/// The same as Anthropic says it.
fn until_moment(headers: &HeaderMap, names: &Names, now: Timestamp) -> Option<Millis> {
    let left = text(headers, names.remaining)?;
    let is_used_up = decimal(left, NANOS_PER_S) == Some(Millis::ZERO);
    let then = rfc3339(text(headers, names.reset)?)?;
    is_used_up.then(|| text(headers, "date").and_then(date).unwrap_or(now).until(then))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn date(value: &str) -> Option<Timestamp> {
    let since_epoch = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)))
}

/// A plain number of units of `unit` nanoseconds: `20`, `1.5`.
fn decimal(value: &str, unit: u64) -> Option<Millis> {
    let (nanos, rest) = quantity(value)?;
    rest.is_empty().then(|| nanos.of(unit)).map(millis)
}

/// As Go prints a duration: `6m0s`, `1.5s`, `20ms`.
pub(crate) fn go_duration(value: &str) -> Option<Millis> {
    // The longer name first, where one begins with another.
    const UNITS: [(&str, u64); 6] = [
        ("ns", 1),
        ("us", 1000),
        ("ms", NANOS_PER_MS),
        ("s", NANOS_PER_S),
        ("m", 60 * NANOS_PER_S),
        ("h", 3600 * NANOS_PER_S),
    ];
    let (mut rest, mut total) = (value, 0_u128);
    loop {
        let (amount, after) = quantity(rest)?;
        let (name, unit) = UNITS.iter().find(|(name, _)| after.starts_with(name))?;
        total = total.saturating_add(amount.of(*unit));
        rest = &after[name.len()..];
        if rest.is_empty() {
            return Some(millis(total));
        }
    }
}

/// A number without a sign, in integers: whole and billionths.
struct Quantity {
    whole: u64,
    billionths: u32,
}

impl Quantity {
    /// In nanoseconds, if it counts units of `unit` nanoseconds.
    fn of(&self, unit: u64) -> u128 {
        let part = u128::from(self.billionths) * u128::from(unit);
        u128::from(self.whole) * u128::from(unit) + part.div_ceil(1_000_000_000)
    }
}

/// Reads digits, perhaps with a point and more digits, and returns what follows. Digits past the ninth place are cut.
fn quantity(text: &str) -> Option<(Quantity, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let value =
        |digits: &str| digits.bytes().fold(0_u64, |n, b| n.saturating_mul(10).saturating_add(u64::from(b - b'0')));
    let billionths =
        (0..9).fold(0, |n, place| n * 10 + u32::from(fraction.as_bytes().get(place).map_or(0, |b| b - b'0')));
    Some((Quantity { whole: value(whole), billionths }, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn millis(nanos: u128) -> Millis {
    Millis(u64::try_from(nanos.div_ceil(u128::from(NANOS_PER_MS))).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    /// 2026-01-01 00:00:00 GMT.
    const NEW_YEAR: Timestamp = Timestamp(1_767_225_600_000);

    fn wait(lines: &[(&str, &str)]) -> Option<u64> {
        let header = |&(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        retry_after(&lines.iter().map(header).collect(), NEW_YEAR).map(|wait| wait.0)
    }

    #[test]
    fn seconds_and_dates() {
        for (value, expected) in [
            ("20", Some(20_000)),
            ("0", Some(0)),
            (" 7 ", Some(7000)),
            ("1.5", Some(1500)),
            (".25", Some(250)),
            ("0.0001", Some(1)),
            ("0.0000000001", Some(0)),
            ("99999999999999999999999999", Some(3_600_000)),
            ("Thu, 01 Jan 2026 00:00:30 GMT", Some(30_000)),
            ("Thursday, 01-Jan-26 00:00:30 GMT", Some(30_000)),
            ("Thu Jan  1 00:00:30 2026", Some(30_000)),
            ("Wed, 31 Dec 2025 23:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(3_600_000)),
            ("Thu, 01 Jan 2026 00:00:61 GMT", None),
            ("Thu, 32 Jan 2026 00:00:00 GMT", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("1 s", None),
            ("1,5", None),
            (".", None),
            ("", None),
            ("NaN", None),
            ("inf", None),
            ("soon", None),
        ] {
            assert_eq!(wait(&[("retry-after", value)]), expected, "{value:?}");
        }
    }

    #[test]
    fn a_date_is_read_by_the_vendors_clock() {
        let late = ("retry-after", "Thu, 01 Jan 2026 01:00:30 GMT");
        assert_eq!(wait(&[late, ("date", "Thu, 01 Jan 2026 01:00:00 GMT")]), Some(30_000));
        assert_eq!(wait(&[late, ("date", "yesterday")]), Some(3_600_000));
    }

    #[test]
    fn the_most_exact_header_wins_and_garbage_falls_through() {
        let all = [("retry-after-ms", "1234"), ("x-ms-retry-after-ms", "50"), ("retry-after", "2")];
        assert_eq!(wait(&all), Some(1234));
        assert_eq!(wait(&all[1..]), Some(50));
        assert_eq!(wait(&[("retry-after-ms", "soon"), ("retry-after", "2")]), Some(2000));
        assert_eq!(wait(&[("retry-after-ms", "12.3")]), Some(13));
        assert_eq!(wait(&[("retry-after", "later"), ("x-ratelimit-reset-tokens", "3s")]), Some(3000));
    }

    #[test]
    fn resets_are_go_durations() {
        for (value, expected) in [
            ("6m0s", Some(360_000)),
            ("1.5s", Some(1500)),
            ("20ms", Some(20)),
            ("1h2m3.004s", Some(3_600_000)),
            ("2m59.56s", Some(179_560)),
            ("17us", Some(1)),
            ("0s", Some(0)),
            ("1m", Some(60_000)),
            ("5", None),
            ("s", None),
            ("1s2", None),
            ("1d", None),
            ("-1s", None),
            ("", None),
        ] {
            assert_eq!(wait(&[("x-ratelimit-reset-requests", value)]), expected, "{value:?}");
        }
    }

    #[test]
    fn only_a_quota_that_is_used_up_counts() {
        let resets = [("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-reset-tokens", "9s")];
        let with = |requests, tokens| {
            let left = [("x-ratelimit-remaining-requests", requests), ("x-ratelimit-remaining-tokens", tokens)];
            wait(&[resets, left].concat())
        };
        assert_eq!(wait(&resets), Some(9000));
        assert_eq!(with("0", "0"), Some(9000));
        assert_eq!(with("0", "150"), Some(1000));
        assert_eq!(with("3", "150"), None);
        assert_eq!(with("many", "0"), Some(9000));
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn anthropics_quotas_say_when() {
        let with = |left, more: &[(&'static str, &str)]| {
            let reset = ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:00:09Z");
            wait(&[&[("anthropic-ratelimit-tokens-remaining", left), reset], more].concat())
        };
        let theirs = ("date", "Thu, 01 Jan 2026 00:00:02 GMT");
        assert_eq!(with("0", &[theirs]), Some(7000));
        assert_eq!(with("5", &[theirs]), None);
        assert_eq!(with("0", &[]), Some(9000));
    }

    proptest! {
        #[test]
        fn nothing_a_vendor_says_panics_or_exceeds_the_cap(value in prop::collection::vec(32..=255_u8, 0..60), now: u64) {
            for name in ["retry-after-ms", "retry-after", "date", "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"] {
                let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
                let mut headers = HeaderMap::new();
                headers.insert("x-ratelimit-reset-tokens", HeaderValue::from_static("1s"));
                headers.insert(name, value);
                if let Some(wait) = retry_after(&headers, Timestamp(now)) {
                    prop_assert!(wait <= RETRY_AFTER_MAX);
                }
            }
        }

        #[test]
        fn numbers_round_up_to_a_millisecond(micros in 0..3_600_000_000_u64) {
            let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            prop_assert_eq!(wait(&[("retry-after", &seconds)]), Some(micros.div_ceil(1000)));
            prop_assert_eq!(wait(&[("x-ratelimit-reset-tokens", &format!("{seconds}s"))]), Some(micros.div_ceil(1000)));
        }
    }
}
