//! How many attempts a target may have under way at once, found out by trying: the adaptive limit of one target.
//!
//! Vendors do not say how much they bear at once, and it changes. So the limit grows while answers come and it is made use
//! of, and shrinks when the vendor says that it was too much (429, 529). This is AIMD, as TCP has it, rather than one of the
//! schemes that read a limit from latency: how long an answer takes depends on how much is to be written.
//!
//! - **Growth.** By one for each answer up to what was last borne, which is as fast as TCP's slow start; by one for each
//!   round of answers beyond that.
//! - **Shrinking** once per round: a refusal of an attempt that was sent before the limit last shrank says nothing new.
//! - **A slot is a lease.** It is given back by any end of its attempt, and otherwise runs out, because a client at the edge
//!   can go away without a word.
//! - **A queue** holds who found no slot here or anywhere else, within a bound. A slot that is free belongs to the first in
//!   it: the most urgent, and among equals the one whose deadline is nearest.
//!
//! Exchanges cannot wake each other (on Workers a request may not touch another's I/O), so a waiter looks again by the
//! clock, when its turn may have come. One that does not return when it said loses its place.
//!
//! Time is passed in. Every step takes logarithmic time, but for a step into a queue, which moves a few kilobytes.

use crate::config::{ConcurrencyPolicy, KeyId};
use crate::quota::Remaining;
use crate::rng::Rng;
use crate::time::{Millis, Timestamp};

mod claim;
#[cfg(test)]
mod properties;
mod queue;
mod slots;
#[cfg(test)]
mod tests;

pub use claim::{Claim, Priority};
pub use slots::Slot;
pub(crate) use slots::Slots;

use queue::Queue;

/// How long an attempt is taken to last before one has been seen to end.
const SERVICE_ASSUMED: Millis = Millis(1000);

/// A waiter looks again after so long: not sooner, or it would spin, nor later, or a free slot would stand empty.
const LOOK_MIN: Millis = Millis(5);
const LOOK_MAX: Millis = Millis(100);

/// How long a waiter's place is kept for it beyond the moment at which it meant to look again: a busy machine is late, and
/// whoever goes away unseen leaves a slot empty for so long.
const GRACE: Millis = Millis(1500);

/// The longest wait that is told: a guess about more is none.
const WAIT_TOLD_MAX: Millis = Millis::from_secs(60);

/// A round of answers is so many at least: a vendor that bears two at once would otherwise be asked for three every other
/// time, and refuse.
const ROUND_MIN: u64 = 32;

/// The limit is kept in thousandths of an attempt: it grows by fractions.
const ONE: u64 = 1000;

/// One target's limit. The policy is passed to each call, as to a [`Breaker`](crate::breaker::Breaker).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limiter {
    /// In thousandths of an attempt.
    level: u64,
    /// What was borne before it first shrank, less one step: up to here it grows fast.
    borne: u64,
    /// Whether it has grown since it last shrank.
    has_grown: bool,
    /// Counts how often it has shrunk.
    generation: u64,
    slots: Slots,
    queue: Queue,
    /// What the vendor last said is left to a key.
    quota: Option<(KeyId, Remaining)>,
    /// How long answers hold their slots: a moving average, the latest weighing an eighth.
    service: Option<Millis>,
}

/// What an attempt's end says about the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The vendor has answered: it bears this much.
    Borne,
    /// The vendor has said that it was too much.
    TooMuch,
    /// Nothing.
    Nothing,
}

/// For status pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Load {
    /// Attempts that may be under way at once.
    pub limit: u64,
    /// Attempts that are.
    pub in_flight: u64,
    /// Requests that wait for a slot.
    pub waiting: u64,
}

impl Limiter {
    /// Nothing is under way and nothing has been learnt.
    pub fn new(policy: &ConcurrencyPolicy) -> Self {
        Self {
            level: u64::from(policy.start) * ONE,
            borne: u64::from(policy.max) * ONE,
            has_grown: true,
            generation: 0,
            slots: Slots::default(),
            queue: Queue::default(),
            quota: None,
            service: None,
        }
    }

    /// Whether a slot is free that is not another's by right; else how long it may take. Changes nothing.
    pub fn check(&self, now: Timestamp, policy: &ConcurrencyPolicy, key: KeyId, claim: &Claim) -> Result<(), Millis> {
        let limit = self.limit(now, policy, key);
        let free = limit.saturating_sub(self.slots.taken(now));
        let ahead = self.queue.ahead(now, claim);
        if ahead < free { Ok(()) } else { Err(self.wait_for(limit, ahead + 1 - free)) }
    }

    /// Takes a slot; [`check`](Self::check) has just said that there is one.
    pub fn take(&mut self, now: Timestamp, claim: &Claim) -> Slot {
        self.queue.leave(claim);
        self.slots.take(now, claim.lasts, self.generation)
    }

    /// An attempt is over. One whose slot has run out says nothing any more.
    pub fn give_back(&mut self, now: Timestamp, policy: &ConcurrencyPolicy, key: KeyId, slot: Slot, told: Told) {
        let taken = self.slots.taken(now);
        if !self.slots.give_back(slot) {
            return;
        }
        match told {
            Told::Borne => {
                let took = now.since(slot.taken_at);
                let mean = self.service.map_or(took.0, |mean| (mean.0.saturating_mul(7)).saturating_add(took.0) / 8);
                self.service = Some(Millis(mean));
                let limit = self.limit(now, policy, key);
                let is_used = taken.saturating_mul(2) >= limit;
                // As long as the vendor's own count holds it down, growing would be for nothing.
                let is_capped = limit < self.level / ONE;
                if is_used && !is_capped {
                    self.grow(policy);
                }
            }
            Told::TooMuch if slot.generation == self.generation => self.shrink(policy),
            Told::TooMuch | Told::Nothing => {}
        }
    }

    /// The vendor has said what is left to a key. The latest word counts.
    pub fn note_quota(&mut self, key: KeyId, remaining: Remaining) {
        if self.quota.is_none_or(|(_, known)| known.at <= remaining.at) {
            self.quota = Some((key, remaining));
        }
    }

    /// Joins the queue, or keeps the place in it, and says when to look again and by which number the place is known.
    /// `None`: the queue is full, and nobody in it is less urgent.
    pub fn wait(
        &mut self,
        now: Timestamp,
        policy: &ConcurrencyPolicy,
        key: KeyId,
        claim: &Claim,
        rng: &mut Rng,
    ) -> Option<(Timestamp, u64)> {
        self.slots.sweep(now);
        let ahead = self.queue.ahead(now, claim);
        let limit = self.limit(now, policy, key);
        let free = limit.saturating_sub(self.slots.taken(now));
        let expected = self.wait_for(limit, (ahead + 1).saturating_sub(free));
        // Somewhere in the middle of what is expected: the average errs, and those who look together should not stay so.
        let look_in = rng.between(Millis(expected.0 / 4), Millis(expected.0.saturating_mul(3) / 4));
        let look_at = (now + look_in.clamp(LOOK_MIN, LOOK_MAX)).min(claim.deadline);
        let room = usize::try_from(policy.queue).unwrap_or(usize::MAX);
        let number = self.queue.join(now, claim, look_at + GRACE, room)?;
        Some((look_at, number))
    }

    /// Gives up a place in the queue.
    pub fn leave(&mut self, claim: &Claim) {
        self.queue.leave(claim);
    }

    /// Whether it cannot shrink any more.
    pub fn is_at_floor(&self, policy: &ConcurrencyPolicy) -> bool {
        self.level < (u64::from(policy.min) + 1) * ONE
    }

    /// For status pages, as `key` meets it.
    pub fn load(&self, now: Timestamp, policy: &ConcurrencyPolicy, key: Option<KeyId>) -> Load {
        let limit = key.map_or_else(|| self.adapted(policy), |key| self.limit(now, policy, key));
        Load { limit, in_flight: self.slots.taken(now), waiting: self.queue.waiting(now) }
    }

    /// What has been learnt, within what the policy allows.
    fn adapted(&self, policy: &ConcurrencyPolicy) -> u64 {
        (self.level / ONE).clamp(policy.min.into(), policy.max.max(policy.min).into())
    }

    /// Attempts that may be under way now. What the vendor said is left caps it until the vendor's count begins anew: no
    /// more than that many are sent before one of them has brought newer word.
    fn limit(&self, now: Timestamp, policy: &ConcurrencyPolicy, key: KeyId) -> u64 {
        let adapted = self.adapted(policy);
        match self.quota {
            Some((of, quota)) if of == key && now < quota.until => adapted.min(quota.requests.max(policy.min.into())),
            _ => adapted,
        }
    }

    fn grow(&mut self, policy: &ConcurrencyPolicy) {
        let round = (self.level / ONE).max(ROUND_MIN);
        let step = if self.level < self.borne { ONE } else { (ONE / round).max(1) };
        self.level = self.level.saturating_add(step).min(u64::from(policy.max) * ONE);
        self.has_grown = true;
    }

    fn shrink(&mut self, policy: &ConcurrencyPolicy) {
        let floor = u64::from(policy.min) * ONE;
        let less = self.level.saturating_mul(policy.decrease_to_permille.into()) / 1000;
        // By a whole attempt at least: a fraction of one would be grown again at once.
        self.level = less.min(self.level.saturating_sub(ONE)).max(floor);
        // In a row of refusals it falls far below what was borne before them, and finds back quickly when they end.
        if std::mem::replace(&mut self.has_grown, false) {
            self.borne = self.level;
        }
        self.generation = self.generation.wrapping_add(1);
    }

    /// How long until so many slots have come free.
    fn wait_for(&self, limit: u64, count: u64) -> Millis {
        let service = self.service.unwrap_or(SERVICE_ASSUMED);
        Millis((service.0.saturating_mul(count) / limit.max(1)).max(LOOK_MIN.0)).min(WAIT_TOLD_MAX)
    }
}
