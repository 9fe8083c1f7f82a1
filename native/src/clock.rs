//! The process's clock: the wall clock at start, and from then on the monotonic one, so that it never steps back.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_core::time::Timestamp;

static START: LazyLock<(Instant, u64)> = LazyLock::new(|| {
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
    // A moment too far ahead for the runtime is cut to seven weeks: whoever waits looks at the clock and waits again.
    let ahead = now().until(moment).0.min(u64::from(u32::MAX));
    tokio::time::Instant::now() + Duration::from_millis(ahead)
}

/// Waits until then; for ever, where there is no such moment.
pub(crate) async fn reached(moment: Option<Timestamp>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(instant(moment)).await,
        None => std::future::pending().await,
    }
}

fn millis(all: u128) -> u64 {
    u64::try_from(all).unwrap_or(u64::MAX)
}
