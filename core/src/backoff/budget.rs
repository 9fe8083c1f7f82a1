//! The process-wide retry budget.
//!
//! A limit per request does not stop a retry storm: when everything fails, four tries each make four times the load. A
//! budget over all requests does, and it binds only when failures are many.

use crate::buckets::Buckets;
use crate::time::{Millis, Timestamp};

/// Over how long retries are set against requests. Finagle's and linkerd's.
const SPAN: Millis = Millis::from_secs(10);

/// Retries that are always free in a span, so that a quiet gateway may retry its only request.
const RESERVE: u64 = 10;

/// Allows a retry while retries ≤ share · requests + a reserve of 10, over the last ten seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryBudget {
    share_permille: u32,
    recent: Buckets<Tally>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    requests: u32,
    retries: u32,
}

impl RetryBudget {
    /// `share_permille` of the traffic: 200 is one retry to five requests.
    pub fn new(share_permille: u32) -> Self {
        Self { share_permille, recent: Buckets::new(SPAN) }
    }

    /// Notes a client's request: its first attempt, not its retries.
    pub fn request(&mut self, now: Timestamp) {
        let tally = self.recent.current(now);
        tally.requests = tally.requests.saturating_add(1);
    }

    /// Notes a retry that nobody has asked about.
    pub fn note(&mut self, now: Timestamp) {
        let tally = self.recent.current(now);
        tally.retries = tally.retries.saturating_add(1);
    }

    /// Whether a retry is affordable now, without spending it.
    pub fn affords(&self, now: Timestamp) -> bool {
        let (requests, retries) = self.recent.live(now).fold((0_u64, 0_u64), |(requests, retries), tally| {
            (requests + u64::from(tally.requests), retries + u64::from(tally.retries))
        });
        // Exact, not by a rounded "one in n": with that, tower's budget turns 60 % into 100 %.
        let earned = u128::from(requests) * u128::from(self.share_permille);
        u128::from((retries + 1).saturating_sub(RESERVE)) * 1000 <= earned
    }

    /// Spends a retry, if it is affordable.
    #[must_use = "a retry that is refused must not be made"]
    pub fn spend(&mut self, now: Timestamp) -> bool {
        let affordable = self.affords(now);
        if affordable {
            self.note(now);
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn granted(budget: &mut RetryBudget, now: Timestamp, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(budget.spend(now))).sum()
    }

    #[test]
    fn a_quiet_gateway_has_the_reserve_and_gets_it_back() {
        let mut budget = RetryBudget::new(0);
        assert_eq!(granted(&mut budget, Timestamp(0), 100), 10);
        assert_eq!(granted(&mut budget, Timestamp(9_999), 100), 0);
        assert_eq!(granted(&mut budget, Timestamp(10_000), 100), 10);
    }

    #[test]
    fn every_share_is_exact() {
        for (share, expected) in [(0, 10), (1, 11), (200, 210), (300, 310), (600, 610), (900, 910), (1000, 1010)] {
            let mut budget = RetryBudget::new(share);
            for _ in 0..1000 {
                budget.request(Timestamp(1));
            }
            assert_eq!(granted(&mut budget, Timestamp(1), 5000), expected, "{share} permille");
        }
    }

    proptest! {
        /// Against a list of everything that happened, recounted at each grant.
        #[test]
        fn retries_never_exceed_the_share(
            share in 0..=1000_u32,
            steps in prop::collection::vec((0..3_000_u64, 0..40_u32, 0..40_u32), 1..40),
        ) {
            let mut budget = RetryBudget::new(share);
            let (mut now, mut requests, mut retries) = (Timestamp(0), Vec::new(), Vec::new());
            for (wait, asked, wanted) in steps {
                now = now + Millis(wait);
                (0..asked).for_each(|_| { budget.request(now); requests.push(now.0); });
                for _ in 0..wanted {
                    let recent = |times: &[u64]| {
                        u64::try_from(times.iter().filter(|&&at| now.0 / 1000 - at / 1000 < 10).count()).unwrap()
                    };
                    let fits = (recent(&retries) + 1) * 1000 <= u64::from(share) * recent(&requests) + 10_000;
                    prop_assert_eq!(budget.spend(now), fits);
                    if fits {
                        retries.push(now.0);
                    }
                }
            }
        }
    }
}
