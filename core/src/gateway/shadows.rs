//! Shadows: what another policy would have decided, beside each decision that is made. Nothing is sent.

use super::Gateway;
use crate::config::{Choice, RouteId, TargetId};
use crate::dialect::Request;
use crate::price::Picodollars;
use crate::rng::Rng;
use crate::route::{Basis, RankBy, Ranking};
use crate::time::Timestamp;

/// How the shadow of one route compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shadowing {
    /// Requests for which it would have asked the same target first.
    pub(crate) same: u64,
    /// Requests for which it would have asked another.
    pub(crate) different: u64,
    /// Requests for which it had nobody to ask.
    pub(crate) nobody: u64,
    /// What those that were asked were expected to cost, where both costs are known,
    pub(crate) live_cost: Picodollars,
    /// and those that would have been.
    pub(crate) shadow_cost: Picodollars,
    /// Requests for which one of the two is not known.
    pub(crate) unpriced: u64,
}

impl Gateway {
    /// Whom a choice would have asked first. Changes nothing, and its draws are its own.
    pub(crate) fn shadow_choice(
        &self,
        now: Timestamp,
        choice: &Choice,
        basis: &Basis,
        request: &Request,
        rng: &mut Rng,
    ) -> Option<TargetId> {
        let now = self.now.max(now);
        let mut candidates = choice.candidates.clone();
        let by = RankBy::Strategy(choice.strategy);
        let ranking = Ranking { by, first: candidates.len(), only_best: false };
        self.put_in_order(now, &mut candidates, ranking, basis, Some(request), rng);
        let unsuited = self.unsuited(now, &candidates, Some(choice.strategy), basis, request);
        let suits = |place: usize| unsuited.iter().all(|(unsuited, _)| *unsuited != place);
        let asked = candidates.iter().enumerate().filter(|(place, _)| suits(*place)).map(|(_, candidate)| candidate);
        let mut admitted: Vec<_> = asked.filter(|candidate| self.would_admit(now, candidate).is_ok()).collect();
        // As for those that are asked: who is in doubt comes last.
        admitted.sort_by_key(|candidate| self.is_doubtful(now, candidate));
        admitted.first().map(|candidate| candidate.target)
    }

    /// Counts what a route's shadow would have done where `live` was asked.
    pub(crate) fn note_shadow(&mut self, route: RouteId, live: TargetId, shadow: Option<TargetId>, request: &Request) {
        let Some(shadow) = shadow else {
            let nobody = &mut self.shadows[route.0].nobody;
            *nobody = nobody.saturating_add(1);
            return;
        };
        let costs = self.likely_costs([live, shadow].into_iter(), Some(request));
        let counted = &mut self.shadows[route.0];
        let count = if shadow == live { &mut counted.same } else { &mut counted.different };
        *count = count.saturating_add(1);
        if let [Some(of_live), Some(of_shadow)] = costs[..] {
            counted.live_cost = counted.live_cost.plus(of_live);
            counted.shadow_cost = counted.shadow_cost.plus(of_shadow);
        } else {
            counted.unpriced = counted.unpriced.saturating_add(1);
        }
    }

    /// How a route's shadow compares, for status pages.
    pub(crate) fn shadowing(&self, route: RouteId) -> &Shadowing {
        &self.shadows[route.0]
    }
}
