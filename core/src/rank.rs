//! In which order candidates are asked, from what is known of each: the strategies of routes.
//!
//! Whom nobody asks, nothing is learnt about. So a strategy must neither leave a candidate alone for ever because it was
//! slow once, nor throw all traffic at one because it is new. Three things see to that: the estimate of a candidate that
//! others are preferred to fades towards what would win again ([`Estimate::faded`](crate::stats::Estimate::faded)), one
//! that has never been measured holds few requests at once, and a half-open breaker admits its probes and no more.

use std::cmp::Reverse;

use crate::chance::exponential;
use crate::config::{ScorePolicy, Strategy};
use crate::price::Picodollars;
use crate::rng::Rng;
use crate::time::Millis;

/// What is known of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether it may be asked, and how gladly.
    pub(crate) tier: Tier,
    /// What an answer is expected to take.
    pub(crate) expected: Millis,
    /// The same, fading the longer others are preferred.
    pub(crate) faded: Millis,
    /// Attempts under way.
    pub(crate) pending: u32,
    /// Its weight on the route.
    pub(crate) weight: u32,
    /// What the request is expected to cost there; `None` where that is not known.
    pub(crate) cost: Option<Picodollars>,
    /// Whether the request's task is among its strengths.
    pub(crate) strong: bool,
}

/// Kinds of candidates, in the order in which they are asked whatever they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// Its breaker is half-open and has a place for a probe: unless it is asked first, it never closes.
    Probe,
    /// It can be asked, and nothing speaks against it.
    Well,
    /// It answers, slowly.
    Degraded,
    /// It has never been measured, and holds as many requests as may find out what it takes.
    OnTrial,
    /// It is not well, or probes are about to find out whether it is.
    Unwell,
    /// It cannot be asked now.
    Shut,
}

/// How many requests a candidate that has never been measured holds at once, while others can be asked.
pub(crate) const TRIAL_MAX: u32 = 3;

/// What is assumed where nothing at all is known.
const ASSUMED: Millis = Millis::from_secs(1);

/// The order in which the candidates are asked, as their places in `standings`.
pub(crate) fn order(standings: &[Standing], strategy: Strategy, score: &ScorePolicy, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..standings.len()).collect();
    match strategy {
        Strategy::Ordered => {}
        Strategy::Latency => {
            order.sort_by_key(|place| (standings[*place].tier, standings[*place].load()));
            if let Some(winner) = better_of_two(standings, &order, rng) {
                order[..=winner].rotate_right(1);
            }
        }
        Strategy::InverseLatency => {
            draw_by_tiers(&mut order, |place| standings[place].tier, |place| standings[place].inverse(), rng);
        }
        Strategy::Weighted => {
            draw_by_tiers(&mut order, |place| standings[place].rated(), |place| standings[place].weight.into(), rng);
        }
        Strategy::Cost | Strategy::Context => return favour(standings, strategy, score),
    }
    order
}

/// The order in which a conversation asks the candidates, by its number and theirs: each has its own, so that one that is
/// left sends its conversations to the others, and no other conversation moves. By weights, over all conversations.
pub(crate) fn stay(standings: &[Standing], names: &[u64], stick: u64) -> Vec<usize> {
    // Whoever of several clocks rings first, each at a random time with a mean of 1/weight: the weights are their shares.
    const MEAN: u64 = 1 << 40;
    let ring = |place: usize| {
        let mut own = Rng::from_seed(stick ^ names[place]);
        exponential(&mut own, MEAN).checked_div(u64::from(standings[place].weight)).unwrap_or(u64::MAX)
    };
    let mut order: Vec<usize> = (0..standings.len()).collect();
    order.sort_by_cached_key(|place| (standings[*place].steady(), ring(*place)));
    order
}

/// The order in which candidates are favoured, without a draw: what a page shows.
pub(crate) fn favour(standings: &[Standing], strategy: Strategy, score: &ScorePolicy) -> Vec<usize> {
    let mut order: Vec<usize> = (0..standings.len()).collect();
    match strategy {
        Strategy::Ordered => order.sort_by_key(|place| standings[*place].tier >= Tier::Unwell),
        Strategy::Latency => order.sort_by_key(|place| (standings[*place].tier, standings[*place].load())),
        Strategy::InverseLatency => {
            order.sort_by_key(|place| (standings[*place].tier, Reverse(standings[*place].inverse())));
        }
        Strategy::Weighted => {
            order.sort_by_key(|place| (standings[*place].rated(), Reverse(standings[*place].weight)));
        }
        Strategy::Cost => {
            order.sort_by_key(|place| {
                (standings[*place].steady(), standings[*place].cost.is_none(), standings[*place].cost)
            });
        }
        Strategy::Context => {
            let scores = scores(standings, score);
            order.sort_by_key(|place| (standings[*place].steady(), Reverse(scores[*place])));
        }
    }
    order
}

/// What each candidate scores: its parts go up to 1000 each, times their weights. Against the best of all candidates, so that
/// what is best for one request is measured by what there is, and a price that is not known scores nothing.
pub(crate) fn scores(standings: &[Standing], policy: &ScorePolicy) -> Vec<u64> {
    let cheapest = standings.iter().filter_map(|standing| standing.cost).min().unwrap_or_default();
    let quickest = standings.iter().map(|standing| standing.faded).min().unwrap_or_default();
    let score = |standing: &Standing| {
        let strength = if standing.strong { 1000 } else { 0 };
        let price = standing.cost.map_or(0, |cost| share_of_best(cheapest.0, cost.0));
        let latency = share_of_best(quickest.0, standing.faded.0);
        let parts = [(policy.strengths, strength), (policy.price, price), (policy.latency, latency)];
        parts.iter().map(|(weight, part)| u64::from(*weight) * part).sum()
    };
    standings.iter().map(score).collect()
}

/// How the best compares to this, in 1/1000: 500 is half as good.
fn share_of_best(best: u64, own: u64) -> u64 {
    let share = (u128::from(best) + 1) * 1000 / (u128::from(own) + 1);
    u64::try_from(share).expect("no more than 1000: nothing is better than the best")
}

/// What is known of a candidate's speed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// As measured.
    pub(crate) measured: Option<Millis>,
    /// As the config has it: `typical_first_token`.
    pub(crate) typical: Option<Millis>,
}

/// What is assumed of a candidate, going by what is known of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assumption {
    /// What it takes, until it has been measured.
    pub(crate) typical: Millis,
    /// How far its estimate may fade: a little below the others, so that it wins some day.
    pub(crate) floor: Millis,
}

/// What is assumed of each of the candidates.
pub(crate) fn assume(known: &[Known]) -> Vec<Assumption> {
    let mut sorted: Vec<Millis> = known.iter().filter_map(Known::value).collect();
    sorted.sort_unstable();
    let assume = |known: &Known| {
        let others = median_without(&sorted, known.value());
        let typical = known.typical.or(others).unwrap_or(ASSUMED);
        Assumption { typical, floor: Millis(typical.min(others.unwrap_or(typical)).0 * 3 / 4) }
    };
    known.iter().map(assume).collect()
}

impl Standing {
    /// What a further request would have to expect, in any unit.
    fn load(&self) -> u64 {
        // Less than a millisecond is no time: nobody is infinitely good.
        self.faded.0.saturating_add(1).saturating_mul(u64::from(self.pending) + 1)
    }

    /// Its tier where its operator has rated it: nobody need find out what it takes.
    fn rated(&self) -> Tier {
        if self.tier == Tier::OnTrial { Tier::Well } else { self.tier }
    }

    /// Its tier where it is known whom to ask first: nothing is to be found out, and whoever can be asked is as good as any.
    fn steady(&self) -> Tier {
        if self.tier < Tier::Unwell { Tier::Well } else { self.tier }
    }

    /// `1 / (latency + 1)`, in any unit.
    fn inverse(&self) -> u64 {
        (1 << 32) / self.expected.0.saturating_add(1)
    }
}

impl Known {
    fn value(&self) -> Option<Millis> {
        self.measured.or(self.typical)
    }
}

/// The median of `sorted` without one `own`; the lower of two.
fn median_without(sorted: &[Millis], own: Option<Millis>) -> Option<Millis> {
    let Some(own) = own else { return sorted.get(sorted.len().checked_sub(1)? / 2).copied() };
    let middle = sorted.len().checked_sub(2)? / 2;
    let place = sorted.partition_point(|known| *known < own);
    sorted.get(if place <= middle { middle + 1 } else { middle }).copied()
}

/// Power of two choices: of two candidates drawn from the first tier, the one with the lower load, as its place in `order`.
/// The best of all would get all requests at once from everybody who thinks so.
fn better_of_two(standings: &[Standing], order: &[usize], rng: &mut Rng) -> Option<usize> {
    let tier = standings[*order.first()?].tier;
    let size = order.iter().take_while(|place| standings[**place].tier == tier).count();
    let below = |rng: &mut Rng, n: usize| {
        let n = u64::try_from(n).expect("a route has fewer candidates than that");
        usize::try_from(rng.below(n)).expect("less than the number of candidates")
    };
    let one = below(rng, size);
    let other = below(rng, size - 1);
    let other = if other >= one { other + 1 } else { other };
    let load = |nth: usize| standings[order[nth]].load();
    Some(if other < size && load(other) < load(one) { other } else { one })
}

/// Draws all of `places`, those of the first tier first.
fn draw_by_tiers(places: &mut [usize], tier: impl Fn(usize) -> Tier, weight: impl Fn(usize) -> u64, rng: &mut Rng) {
    places.sort_by_key(|place| tier(*place));
    for places in places.chunk_by_mut(|a, b| tier(*a) == tier(*b)) {
        draw_by_weight(places, &weight, rng);
    }
}

/// Draws all of `places` one by one, each in proportion to its weight among those that are left.
fn draw_by_weight(places: &mut [usize], weight: impl Fn(usize) -> u64, rng: &mut Rng) {
    for first in 0..places.len() {
        let left = (first..places.len()).map(|nth| (nth, weight(places[nth])));
        // None is drawn where all that are left weigh nothing.
        let nth = rng.draw(left).unwrap_or(first);
        places[first..=nth].rotate_right(1);
    }
}

#[cfg(test)]
mod tests;
