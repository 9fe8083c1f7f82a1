//! The process's clock: it goes as the monotonic one does, follows the wall clock, and never steps back.
//!
//! Limits in time need the first, which no operator and no time server moves. Budgets' periods and the ledger's days need the
//! second: a machine that was suspended wakes hours later, and the monotonic clock knows nothing of it. Where the wall clock is set
//! forward this one goes with it; where it is set back, this one goes a little slower until they agree.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_core::time::Timestamp;
use tracing::warn;

/// How often the wall clock is looked at, in ms. To do so costs as much as to read the time does, and what it says is news once
/// in months.
const LOOK_EVERY_MS: u64 = 100;

/// One part in so many is what the clock loses while it is ahead of the wall's: no limit in time lasts noticeably longer for it.
const SLOWER_BY: u64 = 20;

/// The wall clock has been set, rather than kept right, if it moves by more than this, in ms.
const TOLD_MS: u64 = 1000;

/// A clock that is read with what the two others say, in ms. Of threads that read it at once, one looks at the wall.
#[derive(Debug)]
struct Clock {
    /// How far it is ahead of the monotonic clock.
    ahead: AtomicU64,
    /// How far the wall clock was, when it was looked at last.
    wall_ahead: AtomicU64,
    /// When that was, by the monotonic clock.
    looked_at: AtomicU64,
    /// The latest time that it has told.
    told: AtomicU64,
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    static CLOCK: LazyLock<(Instant, Clock)> = LazyLock::new(|| (Instant::now(), Clock::new(wall())));
    let (start, clock) = &*CLOCK;
    Timestamp(clock.read(millis(start.elapsed()), wall))
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

fn wall() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

impl Clock {
    /// One that begins with the wall clock, where the monotonic one says 0.
    fn new(wall: u64) -> Self {
        let [ahead, wall_ahead] = [wall, wall].map(AtomicU64::new);
        let [looked_at, told] = [0, wall].map(AtomicU64::new);
        Self { ahead, wall_ahead, looked_at, told }
    }

    fn read(&self, steady: u64, wall: impl FnOnce() -> u64) -> u64 {
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        let since = steady.saturating_sub(looked_at);
        if since >= LOOK_EVERY_MS
            && self.looked_at.compare_exchange(looked_at, steady, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.follow(since, wall().saturating_sub(steady));
        }
        let time = steady.saturating_add(self.ahead.load(Ordering::Relaxed));
        // Losing a few milliseconds, or a thread that was held up between two lines, must not be seen.
        let told = self.told.load(Ordering::Relaxed);
        if time <= told { told } else { self.told.fetch_max(time, Ordering::Relaxed).max(time) }
    }

    /// Comes closer to the wall clock, which was looked at so long ago.
    fn follow(&self, since: u64, wall_ahead: u64) {
        let before = self.wall_ahead.swap(wall_ahead, Ordering::Relaxed);
        if wall_ahead > before.saturating_add(TOLD_MS) {
            let by = Duration::from_millis(wall_ahead - before);
            warn!("the system's clock has gone forward by {by:?}, and so has the gateway's");
        } else if before > wall_ahead.saturating_add(TOLD_MS) {
            let by = Duration::from_millis(before - wall_ahead);
            warn!(
                "the system's clock was set back by {by:?}: the gateway's goes 1/{SLOWER_BY} slower until they agree, and at \
                 once after a restart"
            );
        }
        let ahead = self.ahead.load(Ordering::Relaxed);
        self.ahead.store(wall_ahead.max(ahead.saturating_sub(since / SLOWER_BY)), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wall clock when the monotonic one says 0.
    const START: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;

    /// Reads it every so many milliseconds of a length of time, with the wall clock so far off; checks that it never goes back
    /// nor stands still for long, and returns how far it is ahead of the wall in the end.
    fn go(clock: &Clock, steady: &mut u64, length: u64, every: u64, wall_ahead: u64) -> u64 {
        let mut last = clock.told.load(Ordering::Relaxed);
        let begun = (*steady, last);
        for _ in 0..length / every {
            *steady += every;
            let time = clock.read(*steady, || *steady + wall_ahead);
            assert!(time >= last, "{time} comes after {last}");
            last = time;
        }
        let (passed, told) = (*steady - begun.0, last - begun.1);
        assert!(told + passed / SLOWER_BY + LOOK_EVERY_MS >= passed, "{told} ms in {passed}");
        last.checked_sub(*steady + wall_ahead).expect("it is not behind")
    }

    #[test]
    fn it_goes_forward_with_the_wall_clock() {
        let (clock, mut steady) = (Clock::new(START), 0);
        assert_eq!(go(&clock, &mut steady, HOUR, 10, START), 0);
        // Suspended for ten hours: the monotonic clock has not moved.
        assert_eq!(go(&clock, &mut steady, LOOK_EVERY_MS, 10, START + 10 * HOUR), 0);
        assert_eq!(go(&clock, &mut steady, HOUR, 10, START + 10 * HOUR), 0);
        // As a time server keeps it right, by a millisecond each minute.
        for minute in 1..10 {
            assert_eq!(go(&clock, &mut steady, 60_000, 100, START + 10 * HOUR + minute), 0);
        }
    }

    #[test]
    fn it_waits_for_the_wall_clock_without_standing_still() {
        for every in [10, 250, 90_000] {
            let (clock, mut steady) = (Clock::new(START), 0);
            go(&clock, &mut steady, HOUR, every, START);
            let left = go(&clock, &mut steady, 10 * HOUR, every, START - HOUR);
            assert!(left.abs_diff(HOUR / 2) < 120_000, "half of it is made up for: {left}");
            assert_eq!(go(&clock, &mut steady, 11 * HOUR, every, START - HOUR), 0, "all of it, every {every} ms");
            assert_eq!(go(&clock, &mut steady, LOOK_EVERY_MS.max(every), every, START), 0, "and forward again");
        }
    }

    #[test]
    fn it_is_looked_at_seldom() {
        let clock = Clock::new(START);
        let mut looks = 0;
        for steady in 0..10_000 {
            clock.read(steady, || {
                looks += 1;
                START + steady
            });
        }
        assert_eq!(looks, 99);
    }

    #[test]
    fn no_thread_sees_it_go_back() {
        let clock = Clock::new(START);
        let started = Instant::now();
        std::thread::scope(|threads| {
            for nth in 0..4 {
                let clock = &clock;
                threads.spawn(move || {
                    let mut last = 0;
                    for step in 0..200_000_u64 {
                        let steady = millis(started.elapsed()) * 100;
                        // Set back and forward, ever again.
                        let time = clock.read(steady, || START + steady - (step + nth) % 50);
                        assert!(time >= last, "{time} comes after {last}");
                        last = time;
                    }
                });
            }
        });
    }
}
