//! How much may be hedged, and when: each route that hedges has a budget, so that what it adds to the vendors' load stays
//! the share that its operator has set.

use super::Gateway;
use crate::config::{HedgeAfter, RouteId, TargetId};
use crate::dialect::Operation;
use crate::time::{Millis, Timestamp};

/// What one hedge costs of a [`Hedging`] balance, to which each request adds its thousandths.
const PRICE: u32 = 1000;

/// As much as can be saved up: a quiet hour does not pay for a storm.
const BALANCE_MAX: u32 = 10 * PRICE;

/// A quantile changes slowly, and takes microseconds to find: it is good for this long.
const GOOD_FOR: Millis = Millis(1000);

/// The second attempts of one route.
///
/// Nothing is free and nothing is lent: at any moment there have been at most `share` times as many as requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hedging {
    balance: u32,
    /// What has been found of the route's targets of late: for each one entry at most, for streams and for embeddings.
    found: Vec<Found>,
    /// How many were made.
    pub(crate) made: u64,
    /// How many of those said something before the first attempt did.
    pub(crate) won: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    target: TargetId,
    operation: Operation,
    p95: Millis,
    until: Timestamp,
}

impl Hedging {
    fn find(&self, now: Timestamp, target: TargetId, operation: Operation) -> Option<Millis> {
        let fits = |found: &&Found| (found.target, found.operation) == (target, operation) && now < found.until;
        self.found.iter().find(fits).map(|found| found.p95)
    }

    fn keep(&mut self, now: Timestamp, target: TargetId, operation: Operation, p95: Millis) {
        self.found.retain(|found| (found.target, found.operation) != (target, operation));
        self.found.push(Found { target, operation, p95, until: now + GOOD_FOR });
    }

    fn earn(&mut self, share_permille: u32) {
        self.balance = (self.balance + share_permille).min(BALANCE_MAX);
    }

    fn affords(&self) -> bool {
        self.balance >= PRICE
    }

    fn spend(&mut self) {
        self.balance = self.balance.saturating_sub(PRICE);
        self.made += 1;
    }
}

impl Gateway {
    /// Notes a request that may be hedged, which is what the budget is a share of.
    pub(crate) fn earn_hedge(&mut self, route: RouteId) {
        if let Some(policy) = self.config.routes[route.0].hedge {
            self.hedging[route.0].earn(policy.share_permille);
        }
    }

    /// How long an attempt at this target is given before it is hedged; `None`: it is not.
    ///
    /// The time to a stream's first token, and that of embeddings, say how slow the vendor is. How long a whole answer takes
    /// says above all how long it is, and a second one would take as long again: only a set time hedges those.
    pub(crate) fn hedge_after(
        &mut self,
        now: Timestamp,
        route: RouteId,
        target: TargetId,
        operation: Operation,
    ) -> Option<Millis> {
        let (min, samples_min) = match self.config.routes[route.0].hedge?.after {
            HedgeAfter::Fixed(after) => return Some(after),
            HedgeAfter::Measured { min, samples } => (min, samples),
        };
        let now = self.advance(now);
        if let Some(p95) = self.hedging[route.0].find(now, target, operation) {
            return Some(p95.max(min));
        }
        let stats = &self.targets[target.0].stats;
        let measured = match operation {
            Operation::Stream => stats.first_token(),
            Operation::Embed | Operation::EmbedMany => stats.total(),
            Operation::Chat | Operation::CountTokens => return None,
        };
        if measured.samples_of_late(now) < u64::from(samples_min) {
            return None;
        }
        let p95 = measured.quantile(now, 950)?;
        self.hedging[route.0].keep(now, target, operation, p95);
        Some(p95.max(min))
    }

    /// Whether a hedge can be afforded: by its route's budget, and by the one that all retries share.
    pub(crate) fn affords_hedge(&self, now: Timestamp, route: RouteId) -> bool {
        self.hedging[route.0].affords() && self.retries.affords(self.now.max(now))
    }

    /// Pays for a hedge.
    pub(crate) fn spend_hedge(&mut self, now: Timestamp, route: RouteId) {
        let now = self.advance(now);
        self.retries.note(now);
        self.hedging[route.0].spend();
    }

    /// A hedge has won.
    pub(crate) fn note_hedge_won(&mut self, route: RouteId) {
        self.hedging[route.0].won += 1;
    }

    /// A route's hedges, for status pages.
    pub(crate) fn hedging(&self, route: RouteId) -> &Hedging {
        &self.hedging[route.0]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hedges_never_exceed_their_share(share in 0..=1000_u32, wanted in prop::collection::vec(any::<bool>(), 1..2000)) {
            let mut hedging = Hedging::default();
            for (before, wanted) in (0_u64..).zip(wanted) {
                hedging.earn(share);
                if wanted && hedging.affords() {
                    hedging.spend();
                }
                prop_assert!(hedging.made * 1000 <= (before + 1) * u64::from(share));
            }
        }
    }

    #[test]
    fn what_is_saved_has_an_end() {
        let mut hedging = Hedging::default();
        for _ in 0..100_000 {
            hedging.earn(50);
        }
        while hedging.affords() {
            hedging.spend();
        }
        assert_eq!(hedging.made, 10);
    }
}
