//! The time, as the worker can tell it: it stands still but for I/O, which is soon enough for every decision.

use tidegate_core::time::Timestamp;

/// The time now.
pub(crate) fn now() -> Timestamp {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole milliseconds since 1970")]
    let ms = js_sys::Date::now() as u64;
    Timestamp(ms)
}

/// A number of milliseconds or bytes as JavaScript counts. Exact for all that can come up: up to 2^53.
pub(crate) fn to_js(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "what is so far away need not be exact")]
    let count = count as f64;
    count
}
