//! Whom this request suits, and what another policy would have chosen for it.

use http::StatusCode;

use super::Exchange;
use super::allowing::unpriced;
use crate::config::{Candidate, TargetId};
use crate::gateway::Gateway;
use crate::reply::{ApiError, quoted};
use crate::rng::Rng;
use crate::route::{RankBy, Ranking, Rejection, Way};

/// The name of the draws that shadows make, so that those of the requests stay what they are.
const SHADOWS_DRAWS: u64 = 1;

impl Exchange {
    /// Puts the candidates in their order, and leaves out those that do not suit the request.
    pub(super) fn rank(&mut self, gateway: &mut Gateway, ranking: Ranking) {
        let mut candidates = std::mem::take(&mut self.plan.candidates);
        let mut rng = self.rng().clone();
        gateway.rank(self.now, &mut candidates, ranking, (&self.plan.basis, &self.request), &mut rng);
        self.rng = Some(rng);
        self.plan.candidates = candidates;
        self.plan.put_canary_first();
        let strategy = match ranking.by {
            RankBy::Strategy(strategy) => Some(strategy),
            RankBy::Sort(_) => None,
        };
        let candidates = &self.plan.candidates;
        let unsuited = gateway.unsuited(self.now, candidates, strategy, &self.plan.basis, &self.request);
        let slow = unsuited.iter().filter(|(_, why)| matches!(why, Rejection::TooSlow { .. }));
        let slow: Vec<Candidate> = slow.map(|(place, _)| candidates[*place]).collect();
        gateway.pass_over_slow(self.now, &slow, self.request.stream);
        self.walk.spent.extend(unsuited);
    }

    /// Compares the first target that is asked with the one that the route's shadow would have asked.
    pub(super) fn note_shadow(&mut self, gateway: &mut Gateway, live: TargetId) {
        let Some(route) = self.plan.route.filter(|_| self.begun == 0) else { return };
        let Some(shadow) = &self.config.routes[route.0].choices.shadow else { return };
        if matches!(self.plan.way, Way::Condition(_)) {
            return;
        }
        let mut rng = Rng::from_name(SHADOWS_DRAWS, &self.request_id);
        self.shadow = gateway.shadow_choice(self.now, shadow, &self.plan.basis, &self.request, &mut rng);
        gateway.note_shadow(route, live, self.shadow, &self.request);
    }

    /// The error where no candidate suits the request.
    pub(super) fn nobody_suits(&self) -> ApiError {
        let (rejections, model) = (&self.walk.rejections, quoted(&self.request.model));
        let all = |is: fn(&Rejection) -> bool| rejections.iter().all(|(_, rejection)| is(rejection));
        if all(|rejection| matches!(rejection, Rejection::Unpriced)) {
            return unpriced(&model);
        }
        let told = rejections.iter().map(|(index, rejection)| {
            let why = match rejection {
                Rejection::ContextTooSmall => "has too small a context".to_owned(),
                Rejection::TooDear => "costs more than it may, or nobody knows what".to_owned(),
                Rejection::TooSlow { expected_ms } => format!("is expected to take {expected_ms}"),
                Rejection::Unpriced => "has no price, and the client has a budget".to_owned(),
                Rejection::Unsupported { what } => format!("has no `{}`", quoted(what)),
                _ => "is not wanted".to_owned(),
            };
            format!("{} {why}", self.config.target(self.plan.candidates[*index].target).name)
        });
        let told: Vec<_> = told.collect();
        let told = told.join(", ");
        let (code, message) = if all(|rejection| matches!(rejection, Rejection::Unsupported { .. })) {
            ("unsupported_parameter", format!("No target of `{model}` can serve this request as it is: {told}."))
        } else {
            ("no_target_left", format!("What the request asks for leaves no target of `{model}`: {told}."))
        };
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message)
    }
}
