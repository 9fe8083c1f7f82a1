//! Who suits a request: by what it will come to there, what that costs, and how long it takes.
//!
//! A client that names a cap means it: whoever is beyond it is not asked, and neither is one of whom it is not known.

use super::Gateway;
use crate::config::{Candidate, Strategy, TargetId};
use crate::dialect::Request;
use crate::price::{Picodollars, Usage};
use crate::rank;
use crate::route::{Basis, Rejection};
use crate::time::Timestamp;
use crate::tokens::Estimate;

/// What a request is taken to come to where there is none, as on a page.
const MIDDLING: Estimate = Estimate { input: 1000, output: 500 };

impl Gateway {
    /// What a request is expected to cost at each of these targets; `None` where the price is not known. Of one that has given
    /// no answers it is assumed that they are as long as the others': or whoever is asked would look cheap for being known.
    pub(crate) fn likely_costs(
        &self,
        targets: impl Iterator<Item = TargetId>,
        request: Option<&Request>,
    ) -> Vec<Option<Picodollars>> {
        let estimates = targets.map(|id| (id, request.map_or(MIDDLING, |request| self.estimate(id, request))));
        let estimates: Vec<(TargetId, Estimate)> = estimates.collect();
        let is_known = |id: TargetId| request.is_none() || self.targets[id.0].tokens.knows_answers();
        let known = estimates.iter().filter(|(id, _)| is_known(*id)).map(|(_, estimate)| estimate.output);
        let (sum, count) = known.fold((0_u64, 0), |(sum, count), output| (sum.saturating_add(output), count + 1));
        let assumed = sum.checked_div(count);
        let cost = |(id, estimate): &(TargetId, Estimate)| {
            let output = assumed.filter(|_| !is_known(*id)).unwrap_or(estimate.output);
            let usage = Usage { input: estimate.input, output, ..Usage::default() };
            self.config.price(*id, self.now)?.cost(usage)
        };
        estimates.iter().map(cost).collect()
    }

    /// Which of the candidates do not suit the request, as their places, and why.
    pub(crate) fn unsuited(
        &self,
        now: Timestamp,
        candidates: &[Candidate],
        strategy: Option<Strategy>,
        basis: &Basis,
        request: &Request,
    ) -> Vec<(usize, Rejection)> {
        let now = self.now.max(now);
        let mut unsuited = Vec::new();
        if strategy == Some(Strategy::Context) {
            unsuited = self.too_small(candidates, request);
        }
        let caps = &basis.caps;
        if let Some(most) = caps.cost {
            let costs = self.likely_costs(candidates.iter().map(|candidate| candidate.target), Some(request));
            let dear = costs.iter().enumerate().filter(|(_, cost)| cost.is_none_or(|cost| cost > most));
            unsuited.extend(dear.map(|(place, _)| (place, Rejection::TooDear)));
        }
        if let Some(longest) = caps.latency {
            let standings = self.standings(now, candidates, basis, Some(request));
            for (place, (candidate, standing)) in candidates.iter().zip(standings).enumerate() {
                if standing.faded > longest && self.has_a_known_pace(candidate.target, request.stream) {
                    unsuited.push((place, Rejection::TooSlow { expected_ms: standing.faded }));
                }
            }
        }
        unsuited
    }

    /// Those whose context would not hold the request, as far as it can be estimated. An estimate is none too sure: if
    /// nobody is left by it, their vendors are to say.
    fn too_small(&self, candidates: &[Candidate], request: &Request) -> Vec<(usize, Rejection)> {
        let is_small = |candidate: &Candidate| {
            let context = self.config.target(candidate.target).context;
            context.is_some_and(|context| context < self.estimate(candidate.target, request).total())
        };
        let small = candidates.iter().enumerate().filter(|(_, candidate)| is_small(candidate));
        let small: Vec<_> = small.map(|(place, _)| (place, Rejection::ContextTooSmall)).collect();
        if small.len() == candidates.len() { Vec::new() } else { small }
    }

    /// Whether anything is known of how long a target takes.
    fn has_a_known_pace(&self, id: TargetId, stream: bool) -> bool {
        self.stats(id).estimate(stream).is_measured() || self.config.target(id).typical(stream).is_some()
    }

    /// What each candidate scores for a request.
    pub(crate) fn scores(
        &self,
        now: Timestamp,
        candidates: &[Candidate],
        basis: &Basis,
        request: &Request,
    ) -> Vec<u64> {
        rank::scores(&self.standings(self.now.max(now), candidates, basis, Some(request)), &basis.score)
    }

    /// Notes that candidates were passed over for being slow: what is thought of them is to fade, or they would be for ever.
    pub(crate) fn pass_over_slow(&mut self, now: Timestamp, candidates: &[Candidate], stream: bool) {
        let now = self.advance(now);
        for candidate in candidates {
            self.targets[candidate.target.0].stats.pass_over(now, stream);
        }
    }
}
