//! The slots of a target's attempts, each a lease.

use std::collections::BTreeSet;

use crate::time::{Millis, Timestamp};

/// The right to have one attempt under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    expires: Timestamp,
    number: u64,
    pub(super) taken_at: Timestamp,
    /// The limiter's, when it was taken.
    pub(super) generation: u64,
}

/// Slots that are taken, the first to run out first. No more than the largest limit: who has run out is swept away
/// before the next is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    taken: BTreeSet<(Timestamp, u64)>,
    issued: u64,
}

impl Slots {
    /// How many are taken and have not run out.
    pub(crate) fn taken(&self, now: Timestamp) -> u64 {
        let over = self.taken.range(..=(now, u64::MAX)).count();
        (self.taken.len() - over) as u64
    }

    pub(crate) fn take(&mut self, now: Timestamp, lasts: Millis, generation: u64) -> Slot {
        self.sweep(now);
        self.issued = self.issued.wrapping_add(1);
        let slot = Slot { expires: now + lasts, number: self.issued, taken_at: now, generation };
        self.taken.insert((slot.expires, slot.number));
        slot
    }

    /// False if it has been given back before, or has run out and been swept away.
    pub(crate) fn give_back(&mut self, slot: Slot) -> bool {
        self.taken.remove(&(slot.expires, slot.number))
    }

    /// Forgets those that have run out.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        while self.taken.first().is_some_and(|(expires, _)| *expires <= now) {
            self.taken.pop_first();
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.taken.len()
    }
}
