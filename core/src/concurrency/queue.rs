//! Who waits for a slot, in the order in which they are to have one.

use super::claim::{Claim, Rank};
use crate::time::Timestamp;

/// Waiters in order. A sorted list: who is ahead of whom is one binary search, and a step in or out moves a few kilobytes
/// at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queue {
    waiters: Vec<Waiter>,
    /// No waiter is overdue before this moment.
    quiet_until: Timestamp,
    issued: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiter {
    rank: Rank,
    /// It has looked again by then, or it is gone.
    back_by: Timestamp,
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiters: Vec::new(), quiet_until: Timestamp::MAX, issued: 0 }
    }
}

impl Queue {
    /// How many come before a claim.
    pub(super) fn ahead(&self, now: Timestamp, claim: &Claim) -> u64 {
        let rank = claim.rank();
        let ahead = self.waiters.partition_point(|waiter| waiter.rank < rank);
        self.present(now, &self.waiters[..ahead])
    }

    /// How many wait.
    pub(super) fn waiting(&self, now: Timestamp) -> u64 {
        self.present(now, &self.waiters)
    }

    /// Takes in a waiter, or notes that it is still there, and says by which number its place is known. In a full queue it
    /// takes the place of the last, if that is less urgent. Who has lost its place finds out when it looks again.
    pub(super) fn join(&mut self, now: Timestamp, claim: &Claim, back_by: Timestamp, room: usize) -> Option<u64> {
        self.sweep(now);
        if let Some(at) = self.find(claim) {
            self.waiters[at].back_by = back_by;
            self.quiet_until = self.quiet_until.min(back_by);
            return claim.place;
        }
        if self.waiters.len() >= room {
            let last = self.waiters.last()?;
            if self.waiters.len() > room || last.rank.0 <= claim.priority {
                return None;
            }
            self.waiters.pop();
        }
        let number = claim.place.unwrap_or(self.issued);
        self.issued = self.issued.max(number).wrapping_add(1);
        let rank = Claim { place: Some(number), ..*claim }.rank();
        let at = self.waiters.partition_point(|waiter| waiter.rank < rank);
        self.waiters.insert(at, Waiter { rank, back_by });
        self.quiet_until = self.quiet_until.min(back_by);
        Some(number)
    }

    /// Lets a waiter go.
    pub(super) fn leave(&mut self, claim: &Claim) {
        if let Some(at) = self.find(claim) {
            self.waiters.remove(at);
        }
    }

    fn find(&self, claim: &Claim) -> Option<usize> {
        claim.place?;
        self.waiters.binary_search_by_key(&claim.rank(), |waiter| waiter.rank).ok()
    }

    /// How many of these are not overdue.
    fn present(&self, now: Timestamp, waiters: &[Waiter]) -> u64 {
        if now < self.quiet_until {
            return waiters.len() as u64;
        }
        waiters.iter().filter(|waiter| now < waiter.back_by).count() as u64
    }

    /// Forgets those that are overdue. Looks at all of them, but only when one may be.
    fn sweep(&mut self, now: Timestamp) {
        if now < self.quiet_until {
            return;
        }
        self.waiters.retain(|waiter| now < waiter.back_by);
        self.quiet_until = self.waiters.iter().map(|waiter| waiter.back_by).min().unwrap_or(Timestamp::MAX);
    }
}
