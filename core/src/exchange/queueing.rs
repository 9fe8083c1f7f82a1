//! Waiting for a slot, where every candidate that could serve has as much under way as it bears.
//!
//! A request waits in one queue, that of the candidate from which it expects a slot first, and looks at all that it has not
//! asked yet whenever it looks again. To wait is no retry: nobody has been asked for anything.

use super::choosing::LEASE_MARGIN;
use super::{Exchange, State};
use crate::concurrency::Claim;
use crate::config::TargetId;
use crate::gateway::Gateway;
use crate::route::Rejection;
use crate::time::Millis;

/// A place in a target's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    target: TargetId,
    /// By which the queue knows it.
    number: u64,
}

impl Exchange {
    /// What it asks a candidate for a slot with.
    pub(super) fn claim(&self, gateway: &Gateway, index: usize) -> Claim {
        let candidate = &self.plan.candidates[index];
        let (lasts, need) = (candidate.timeouts.total + LEASE_MARGIN, self.need(gateway, candidate.target));
        Claim { lasts, need, ..self.claim_on(candidate.target) }
    }

    fn claim_on(&self, target: TargetId) -> Claim {
        let place = self.walk.place.filter(|place| place.target == target).map(|place| place.number);
        Claim { priority: self.plan.priority, deadline: self.deadline(), place, ..Claim::LAST }
    }

    /// Whether a candidate has been asked in this lap, which a wait for a slot does not end: to ask it again would be a
    /// retry, unless it waits for its turn to be tried once more.
    pub(super) fn has_had_its_turn(&self, index: usize) -> bool {
        let target = self.plan.candidates[index].target;
        let was_asked = self.tried[self.walk.tried_before..].iter().any(|ending| ending.target == target);
        was_asked && !self.busy().any(|(busy, _)| busy == index)
    }

    /// Waits for a slot, if there is one to wait for. `false`: there is none, or no room to wait in.
    pub(super) fn wait_for_slot(&mut self, gateway: &mut Gateway) -> bool {
        let mut busy: Vec<(Millis, usize)> = self.busy().map(|(index, retry_in)| (retry_in, index)).collect();
        // It stays where it is, as long as that leads anywhere: in another queue it would begin at the end.
        let here = self.walk.place.map(|place| place.target);
        busy.sort_by_key(|(retry_in, index)| (Some(self.plan.candidates[*index].target) != here, *retry_in, *index));
        for (_, index) in busy {
            let target = self.plan.candidates[index].target;
            let (now, claim) = (self.now, self.claim(gateway, index));
            let Some((look_at, number)) = gateway.wait_for_slot(now, target, &claim, self.rng()) else { continue };
            if here != Some(target) {
                self.leave_queue(gateway);
            }
            self.walk.place = Some(Place { target, number });
            self.note_pause(look_at);
            self.walk.next = 0;
            self.state = State::Pausing(look_at);
            return true;
        }
        self.leave_queue(gateway);
        false
    }

    /// Gives up the place that it has in a queue, if it has one.
    pub(super) fn leave_queue(&mut self, gateway: &mut Gateway) {
        if let Some(place) = self.walk.place {
            gateway.leave_queue(place.target, &self.claim_on(place.target));
            self.walk.place = None;
        }
    }

    /// Candidates that were passed over because they have no slot free, and when one may be.
    fn busy(&self) -> impl Iterator<Item = (usize, Millis)> {
        self.walk.rejections.iter().filter_map(|(index, why)| match why {
            Rejection::Busy { retry_in_ms } => Some((*index, *retry_in_ms)),
            _ => None,
        })
    }
}
