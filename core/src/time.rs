//! Time, as the adapters tell it.
//!
//! The core has no clock: every step is told `now`. Both types are plain integers, so that they mean the same on the
//! host, in wasm and in stored state, and all their arithmetic saturates, so that no clock can make it panic.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch.
///
/// Adapters advance it monotonically where they can; the [`Gateway`](crate::gateway::Gateway) treats a step back as
/// time standing still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Timestamp {
    /// The latest moment there is; adding to it changes nothing.
    pub const MAX: Self = Self(u64::MAX);

    /// How long ago `earlier` was: zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// How long until `later`: zero if it has passed.
    pub fn until(self, later: Self) -> Millis {
        later.since(self)
    }
}

impl Add<Millis> for Timestamp {
    type Output = Self;

    fn add(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl Sub<Millis> for Timestamp {
    type Output = Self;

    fn sub(self, length: Millis) -> Self {
        Self(self.0.saturating_sub(length.0))
    }
}

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A length given in seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Whole seconds, rounded up: what a `Retry-After` header says, so that no client comes back early.
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }
}

impl Add for Millis {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Millis {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// As in the config: the largest unit that divides it, `250ms`, `10s`, `2m`, `1d`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let whole = UNITS.iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match whole {
            Some((unit, suffix)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX + Millis(1), Timestamp::MAX);
        assert_eq!(Timestamp(5) - Millis(9), Timestamp(0));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Millis::ZERO);
        assert_eq!(Timestamp(5).until(Timestamp(9)), Millis(4));
        assert_eq!(Millis(u64::MAX) + Millis(1), Millis(u64::MAX));
    }

    #[test]
    fn lengths_print_as_the_config_writes_them() {
        for (ms, text) in
            [(0, "0ms"), (250, "250ms"), (1500, "1500ms"), (10_000, "10s"), (120_000, "2m"), (86_400_000, "1d")]
        {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }

    #[test]
    fn retry_after_seconds_round_up() {
        assert_eq!(Millis(1).as_secs_ceil(), 1);
        assert_eq!(Millis(2000).as_secs_ceil(), 2);
    }
}
