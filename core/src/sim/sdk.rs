//! What the vendors' own SDKs do with a call that failed: nearly every app retries by itself, whoever stands behind it.

use http::header::{HeaderMap, HeaderValue};
use http::status::StatusCode;

use crate::backoff::{doubled, retry_after};
use crate::reply::SHOULD_RETRY;
use crate::rng::Rng;
use crate::time::{Millis, Timestamp};

/// How an SDK retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sdk {
    /// At most so often.
    pub retries: u32,
    /// How long it waits for an answer.
    pub timeout: Millis,
}

/// Before the first retry; it doubles with each.
const BASE: Millis = Millis(500);

/// The longest backoff.
const BACKOFF_MAX: Millis = Millis(8000);

/// A `Retry-After` beyond this is not heeded.
const HINT_MAX: Millis = Millis::from_secs(60);

impl Sdk {
    /// As OpenAI's and Anthropic's come (`_base_client.py` of either).
    pub const DEFAULT: Self = Self { retries: 2, timeout: Millis::from_secs(600) };

    /// When it sends a call once more that it has retried so often; `status` is none where no answer came at all.
    pub fn retry_in(
        &self,
        rng: &mut Rng,
        now: Timestamp,
        retried: u32,
        status: Option<StatusCode>,
        headers: &HeaderMap,
    ) -> Option<Millis> {
        let again = match headers.get(SHOULD_RETRY).map(HeaderValue::as_bytes) {
            Some(b"true") => true,
            Some(b"false") => false,
            _ => status.is_none_or(|status| matches!(status.as_u16(), 408 | 409 | 429 | 500..)),
        };
        if !again || retried >= self.retries {
            return None;
        }
        let hint = retry_after(headers, now).filter(|hint| (Millis(1)..=HINT_MAX).contains(hint));
        Some(hint.unwrap_or_else(|| {
            let backoff = doubled(BASE, retried, BACKOFF_MAX);
            backoff - Millis(rng.below(backoff.0 / 4))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::BEGINNING;

    fn retry_in(retried: u32, status: u16, header: Option<(&'static str, &'static str)>) -> Option<Millis> {
        let headers = header.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let status = StatusCode::from_u16(status).ok();
        let mut rng = Rng::from_seed(1);
        Sdk::DEFAULT.retry_in(&mut rng, BEGINNING, retried, status, &HeaderMap::from_iter(headers))
    }

    #[test]
    fn what_may_pass_is_retried_twice_and_nothing_else() {
        for status in [0, 408, 409, 429, 500, 503, 529] {
            assert!(retry_in(0, status, None).is_some() && retry_in(1, status, None).is_some(), "{status}");
            assert_eq!(retry_in(2, status, None), None, "{status}");
        }
        for status in [400, 401, 403, 404, 413, 422] {
            assert_eq!(retry_in(0, status, None), None, "{status}");
        }
        assert!(retry_in(0, 400, Some(("x-should-retry", "true"))).is_some());
        assert_eq!(retry_in(0, 503, Some(("x-should-retry", "false"))), None);
    }

    #[test]
    fn a_hint_is_heeded_and_otherwise_the_backoff_doubles_less_up_to_a_quarter() {
        assert_eq!(retry_in(0, 429, Some(("retry-after", "7"))), Some(Millis(7000)));
        assert_eq!(retry_in(0, 429, Some(("retry-after-ms", "70"))), Some(Millis(70)));
        for header in [None, Some(("retry-after", "61")), Some(("retry-after", "0"))] {
            assert!((Millis(375)..=Millis(500)).contains(&retry_in(0, 429, header).unwrap()));
            assert!((Millis(750)..=Millis(1000)).contains(&retry_in(1, 429, header).unwrap()));
        }
    }
}
