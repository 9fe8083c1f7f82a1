//! Headers of clients and vendors: hints, quotas, and when to come back.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tidegate_core::backoff::{RETRY_AFTER_MAX, retry_after};
use tidegate_core::dialect::Dialect;
use tidegate_core::hints::{self, Hints};
use tidegate_core::quota;
use tidegate_core::time::Timestamp;

const RETRY: [&str; 4] = ["retry-after", "retry-after-ms", "x-ms-retry-after-ms", "date"];

/// Reads headers: of each line, the first byte picks the name and the rest is the value.
pub(crate) fn headers(input: &[u8]) {
    let names: Vec<&str> = hints::HEADERS.into_iter().chain(quota::headers()).chain(RETRY).collect();
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some((pick, value)) = line.split_first() else { continue };
        let name = HeaderName::from_static(names[usize::from(*pick) % names.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let _ = Hints::read(&headers, &Vec::new());
    for now in [Timestamp(0), Timestamp(1_800_000_000_000), Timestamp(u64::MAX)] {
        assert!(retry_after(&headers, now).is_none_or(|wait| wait <= RETRY_AFTER_MAX));
        for (vendor, client) in [(Dialect::OpenAi, Dialect::Anthropic), (Dialect::Anthropic, Dialect::OpenAi)] {
            let told = quota::told(quota::select(&headers), vendor, client, now);
            // What we say ourselves is what we would understand.
            let back = quota::told(told.clone(), client, vendor, now);
            assert_eq!(back.len(), told.len(), "{told:?} reads as {back:?}");
        }
    }
}
