//! Whether an attempt may be made now, and the permit for it; and what a route does where nobody may.

use super::{Gateway, Permit};
use crate::breaker::Refused;
use crate::concurrency::Claim;
use crate::config::{BreakerId, Candidate};
use crate::route::Rejection;
use crate::time::{Millis, Timestamp};

impl Gateway {
    /// Whether [`hasten`](Self::hasten) would do anything: an operator's order stands above it.
    pub fn hastens(&self, now: Timestamp, id: BreakerId) -> bool {
        !self.breaker(id).is_by_order(self.now.max(now))
    }

    /// Lets an open breaker's probes through now, where nobody else can be asked.
    pub fn hasten(&mut self, now: Timestamp, id: BreakerId) {
        let now = self.advance(now);
        self.breakers[id.0].breaker.hasten(now);
    }

    /// Makes a breaker as new, where nobody else can be asked, unless an operator keeps it open.
    pub fn relent(&mut self, now: Timestamp, id: BreakerId) {
        let now = self.advance(now);
        if let Some(transition) = self.breakers[id.0].breaker.relent(now) {
            self.note_transition(id, transition);
        }
    }

    /// Whether an attempt at this candidate would be admitted, by whoever comes after all others. Changes nothing.
    pub fn would_admit(&self, now: Timestamp, candidate: &Candidate) -> Result<(), Rejection> {
        self.would_admit_claim(now, candidate, &Claim::LAST)
    }

    /// Whether this claimant's attempt would be admitted. Changes nothing.
    pub fn would_admit_claim(&self, now: Timestamp, candidate: &Candidate, claim: &Claim) -> Result<(), Rejection> {
        let now = self.now.max(now);
        let key = self.usable_key(now, candidate.target, &claim.need)?;
        self.has_room(now, candidate.target, &claim.need)?;
        let policy = &self.config.guard(candidate.breaker).policy;
        self.breaker(candidate.breaker).would_admit(now, policy).map_err(breaker_open)?;
        self.has_slot(now, candidate.target, key, claim)
    }

    /// Admits an attempt. `lease` is how long a probe holds its place if its settlement never comes.
    pub fn admit(
        &mut self,
        now: Timestamp,
        candidate: &Candidate,
        lease: Millis,
        claim: &Claim,
    ) -> Result<Permit, Rejection> {
        let now = self.advance(now);
        let &Candidate { target, breaker: id, .. } = candidate;
        let key = self.usable_key(now, target, &claim.need)?;
        self.has_room(now, target, &claim.need)?;
        self.has_slot(now, target, key, claim)?;
        let policy = &self.config.guard(id).policy;
        let state = &mut self.breakers[id.0];
        let (ticket, transition) = state.breaker.admit(now, policy, lease, &mut state.rng).map_err(breaker_open)?;
        let state = &mut self.targets[target.0];
        // Taken last: an attempt that the breaker refuses has no slot to give back.
        let slot = state.limiter.as_mut().map(|limiter| limiter.take(now, claim));
        let begun = state.stats.begin(now);
        let held = self.take_room(now, target, key, claim);
        if let Some(transition) = transition {
            self.note_transition(id, transition);
        }
        Ok(Permit { target, breaker: id, key, ticket, begun, slot, held, turn: self.turn })
    }
}

fn breaker_open(refused: Refused) -> Rejection {
    Rejection::BreakerOpen { retry_in_ms: refused.retry_in }
}
