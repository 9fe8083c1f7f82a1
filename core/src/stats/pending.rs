//! How many attempts at a target are under way, told so that none is counted for ever.
//!
//! An attempt that is never settled (on a worker nothing runs when a client goes away) must not weigh on its target for
//! good. So attempts are counted by the stretch of time in which they began, and those that began more than two
//! stretches ago are forgotten: whatever runs so long says nothing about what a new request has to expect.

use crate::time::Timestamp;

/// Attempts under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Which stretch `younger` counts; `older` counts the one before.
    turn: u64,
    younger: u32,
    older: u32,
}

/// When an attempt began, as far as [`Pending`] needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun(u64);

/// Longer than nearly every answer takes.
const TURN_MS: u64 = 5 * 60 * 1000;

impl Pending {
    /// Counts an attempt that begins.
    pub fn begin(&mut self, now: Timestamp) -> Begun {
        let turn = self.turn.max(now.0 / TURN_MS);
        if turn > self.turn {
            self.older = if turn == self.turn + 1 { self.younger } else { 0 };
            (self.turn, self.younger) = (turn, 0);
        }
        self.younger = self.younger.saturating_add(1);
        Begun(turn)
    }

    /// An attempt is over.
    pub fn end(&mut self, begun: Begun) {
        if begun.0 == self.turn {
            self.younger = self.younger.saturating_sub(1);
        } else if begun.0 + 1 == self.turn {
            self.older = self.older.saturating_sub(1);
        }
    }

    /// How many are under way.
    pub fn count(&self, now: Timestamp) -> u32 {
        match self.turn.max(now.0 / TURN_MS) - self.turn {
            0 => self.younger.saturating_add(self.older),
            1 => self.younger,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_is_counted_until_it_ends() {
        let mut pending = Pending::default();
        let now = Timestamp(TURN_MS - 1);
        let (first, second) = (pending.begin(now), pending.begin(now));
        assert_eq!(pending.count(now), 2);
        let later = Timestamp(TURN_MS);
        let third = pending.begin(later);
        pending.end(first);
        assert_eq!(pending.count(later), 2);
        pending.end(second);
        pending.end(third);
        pending.end(third);
        assert_eq!(pending.count(later), 0);
    }

    #[test]
    fn what_never_ends_is_forgotten_and_its_late_end_counts_nothing() {
        let mut pending = Pending::default();
        let lost = pending.begin(Timestamp(0));
        assert_eq!(pending.count(Timestamp(2 * TURN_MS - 1)), 1);
        assert_eq!(pending.count(Timestamp(2 * TURN_MS)), 0);
        pending.begin(Timestamp(3 * TURN_MS));
        pending.end(lost);
        assert_eq!(pending.count(Timestamp(3 * TURN_MS)), 1);
        pending.begin(Timestamp(u64::MAX));
        assert_eq!(pending.count(Timestamp(0)), 1, "time that goes back stands still");
    }
}
