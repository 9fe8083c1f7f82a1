//! Candidates in the order in which they are to be asked, by what the gateway knows of them.

use std::cmp::Reverse;

use super::Gateway;
use crate::breaker::State;
use crate::config::{Candidate, Choice, ScorePolicy, Strategy};
use crate::dialect::Request;
use crate::health::Status;
use crate::hints::Sort;
use crate::rank::{self, Known, Standing, TRIAL_MAX, Tier};
use crate::rng::{Rng, hash};
use crate::route::{Basis, RankBy, Ranking};
use crate::time::{Millis, Timestamp};

impl Gateway {
    /// Ranks candidates, and remembers who had to stand back.
    pub fn rank(
        &mut self,
        now: Timestamp,
        candidates: &mut Vec<Candidate>,
        ranking: Ranking,
        (basis, request): (&Basis, &Request),
        rng: &mut Rng,
    ) {
        let now = self.advance(now);
        self.put_in_order(now, candidates, ranking, basis, Some(request), rng);
        let by_pace =
            matches!(ranking.by, RankBy::Strategy(Strategy::Latency | Strategy::InverseLatency | Strategy::Context));
        if by_pace {
            let others = candidates.get(1..ranking.first.min(candidates.len())).unwrap_or_default();
            self.pass_over_slow(now, others, request.stream);
        }
    }

    /// Ranks candidates as a request might have them whose draws were the next. Changes nothing.
    pub(crate) fn preview(
        &self,
        now: Timestamp,
        candidates: &mut Vec<Candidate>,
        ranking: Ranking,
        (basis, request): (&Basis, &Request),
    ) {
        let now = self.now.max(now);
        self.put_in_order(now, candidates, ranking, basis, Some(request), &mut self.rng.clone());
    }

    /// The candidates of a route, those first that its strategy favours, and those last that cannot be asked.
    pub(crate) fn favour<'c>(
        &self,
        now: Timestamp,
        Choice { strategy, candidates }: &'c Choice,
        score: &ScorePolicy,
    ) -> Vec<&'c Candidate> {
        let basis = Basis { weighs: true, ..Basis::default() };
        let order = rank::favour(&self.standings(self.now.max(now), candidates, &basis, None), *strategy, score);
        order.into_iter().map(|place| &candidates[place]).collect()
    }

    pub(super) fn put_in_order(
        &self,
        now: Timestamp,
        candidates: &mut Vec<Candidate>,
        ranking: Ranking,
        basis: &Basis,
        request: Option<&Request>,
        rng: &mut Rng,
    ) {
        let ranked = &mut candidates[..ranking.first];
        match ranking.by {
            RankBy::Sort(sort) => self.sort(ranked, sort),
            RankBy::Strategy(Strategy::Ordered) => {}
            RankBy::Strategy(strategy) => {
                let standings = self.standings(now, ranked, basis, request);
                let order = match basis.stick.filter(|_| strategy == Strategy::Weighted) {
                    Some(stick) => rank::stay(&standings, &self.names(ranked), stick),
                    None => rank::order(&standings, strategy, &basis.score, rng),
                };
                let in_order: Vec<Candidate> = order.into_iter().map(|place| ranked[place]).collect();
                ranked.copy_from_slice(&in_order);
            }
        }
        if ranking.only_best {
            candidates.truncate(1);
        }
    }

    /// By what has been measured, those that have not been last.
    fn sort(&self, candidates: &mut [Candidate], sort: Sort) {
        let stats = |candidate: &Candidate| self.stats(candidate.target);
        match sort {
            // Settled by the config alone, when the request was planned.
            Sort::Price => {}
            Sort::Latency => candidates.sort_by_key(|candidate| {
                let stats = stats(candidate);
                stats.first_token().ewma().or(stats.total().ewma()).unwrap_or(Millis(u64::MAX))
            }),
            Sort::Throughput => candidates.sort_by_key(|candidate| Reverse(stats(candidate).pace())),
        }
    }

    /// A number for each candidate's name.
    fn names(&self, candidates: &[Candidate]) -> Vec<u64> {
        candidates.iter().map(|candidate| hash(&self.config.target(candidate.target).name)).collect()
    }

    /// How candidates stand to a request, or to any stream where there is none.
    pub(super) fn standings(
        &self,
        now: Timestamp,
        candidates: &[Candidate],
        basis: &Basis,
        request: Option<&Request>,
    ) -> Vec<Standing> {
        let stream = request.is_none_or(|request| request.stream);
        let tiers: Vec<Tier> = candidates.iter().map(|candidate| self.tier(now, candidate, stream)).collect();
        let known = |(candidate, tier): (&Candidate, &Tier)| {
            let estimate = self.stats(candidate.target).estimate(stream);
            // What one that is shut off last took says nothing about the others.
            let measured = estimate.is_measured() && *tier != Tier::Shut;
            Known {
                measured: measured.then(|| estimate.expected(Millis::ZERO)),
                typical: self.config.target(candidate.target).typical(stream),
            }
        };
        let known: Vec<Known> = candidates.iter().zip(&tiers).map(known).collect();
        let costs = if basis.weighs {
            self.likely_costs(candidates.iter().map(|candidate| candidate.target), request)
        } else {
            vec![None; candidates.len()]
        };
        let standing = |(((candidate, tier), assumed), cost): (((&Candidate, &Tier), rank::Assumption), _)| {
            let stats = self.stats(candidate.target);
            let estimate = stats.estimate(stream);
            Standing {
                tier: *tier,
                expected: estimate.expected(assumed.typical),
                faded: estimate.faded(now, assumed.typical, assumed.floor),
                pending: stats.pending(now),
                weight: candidate.weight,
                cost,
                strong: basis
                    .task
                    .as_ref()
                    .is_some_and(|task| self.config.target(candidate.target).strengths.contains(task)),
            }
        };
        candidates.iter().zip(&tiers).zip(rank::assume(&known)).zip(costs).map(standing).collect()
    }

    fn tier(&self, now: Timestamp, candidate: &Candidate, stream: bool) -> Tier {
        let stats = self.stats(candidate.target);
        if self.would_admit(now, candidate).is_err() {
            Tier::Shut
        } else if self.is_doubtful(now, candidate) {
            Tier::Unwell
        } else if self.breaker(candidate.breaker).state(now) == State::HalfOpen {
            Tier::Probe
        } else if !stats.estimate(stream).is_measured() && stats.pending(now) >= TRIAL_MAX {
            Tier::OnTrial
        } else if self.health(now, candidate.target) == Status::Degraded {
            Tier::Degraded
        } else {
            Tier::Well
        }
    }
}

#[cfg(all(test, feature = "toml"))]
mod tests;
