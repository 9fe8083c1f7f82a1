//! The limits on attempts under way, for targets that have one.

use super::{Gateway, Permit, Settlement};
use crate::classify::Outcome;
use crate::concurrency::{Claim, Load, Slot, Told};
use crate::config::{KeyId, TargetId};
use crate::limit::Need;
use crate::rng::Rng;
use crate::route::Rejection;
use crate::time::Timestamp;

impl Gateway {
    /// Has a request wait for a slot, in the target's queue, and says when it is to look again and by which number its
    /// place is known. `None`: there is no slot to wait for, or no room in the queue.
    pub(crate) fn wait_for_slot(
        &mut self,
        now: Timestamp,
        id: TargetId,
        claim: &Claim,
        rng: &mut Rng,
    ) -> Option<(Timestamp, u64)> {
        let now = self.advance(now);
        let key = self.usable_key(now, id, &claim.need).ok()?;
        let policy = self.config.target(id).concurrency.as_ref()?;
        self.targets[id.0].limiter.as_mut()?.wait(now, policy, key, claim, rng)
    }

    /// Gives up a request's place in a target's queue.
    pub(crate) fn leave_queue(&mut self, id: TargetId, claim: &Claim) {
        if let Some(limiter) = &mut self.targets[id.0].limiter {
            limiter.leave(claim);
        }
    }

    /// How much is under way at a target, and how much may be; `None` where it has no limit. For status pages.
    pub(crate) fn load(&self, now: Timestamp, id: TargetId) -> Option<Load> {
        let policy = self.config.target(id).concurrency.as_ref()?;
        let now = self.now.max(now);
        let limiter = self.targets[id.0].limiter.as_ref()?;
        Some(limiter.load(now, policy, self.usable_key(now, id, &Need::default()).ok()))
    }

    pub(super) fn has_slot(&self, now: Timestamp, id: TargetId, key: KeyId, claim: &Claim) -> Result<(), Rejection> {
        let Some(limiter) = &self.targets[id.0].limiter else { return Ok(()) };
        let Some(policy) = &self.config.target(id).concurrency else { return Ok(()) };
        limiter.check(now, policy, key, claim).map_err(|retry_in_ms| Rejection::Busy { retry_in_ms })
    }

    pub(super) fn give_slot_back(
        &mut self,
        now: Timestamp,
        id: TargetId,
        key: KeyId,
        slot: Slot,
        settlement: &Settlement,
    ) {
        let Some(limiter) = &mut self.targets[id.0].limiter else { return };
        let Some(policy) = &self.config.target(id).concurrency else { return };
        if let Some(remaining) = settlement.remaining {
            limiter.note_quota(key, remaining);
        }
        let told = match settlement.outcome {
            Outcome::Success => Told::Borne,
            outcome if outcome.is_overload() => Told::TooMuch,
            _ => Told::Nothing,
        };
        limiter.give_back(now, policy, key, slot, told);
    }
}

impl Permit {
    /// Whether the target's attempts are counted: then what its vendor says of its quota matters.
    pub(crate) fn is_limited(&self) -> bool {
        self.slot.is_some()
    }
}
