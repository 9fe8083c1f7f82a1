//! The process's clock: the wall clock at start, and from then on the monotonic one, so that it never steps back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use once_cell::sync::Lazy;
use tidegate_core::time::Timestamp;

static START: Lazy<(Instant, u64)> = Lazy::new(|| {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), millis(wall.as_millis()))
});

/// The time now.
pub(crate) fn now() -> Timestamp {
    let (instant, wall) = *START;
    Timestamp(wall.saturating_add(millis(instant.elapsed().as_millis())))
}

/// The runtime's name for a moment of this clock.
pub(crate) fn instant(moment: Timestamp) -> tokio::time::Instant {
    let ahead = std::time::Duration::from_millis(now().until(moment).0);
    let now = tokio::time::Instant::now();
    // A moment too far ahead to be named is as good as a day, and the wait is renewed then.
    now.checked_add(ahead).unwrap_or(now + std::time::Duration::from_secs(86_400))
}

fn millis(all: u128) -> u64 {
    u64::try_from(all).unwrap_or(u64::MAX)
}
