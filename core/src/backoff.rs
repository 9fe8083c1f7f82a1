//! How long to wait before trying again, and whether trying again is affordable at all.

use crate::config::RetryPolicy;
use crate::rng::Rng;
use crate::time::Millis;

mod budget;
mod retry_after;
mod rfc3339;

pub use budget::RetryBudget;
pub(crate) use retry_after::go_duration;
pub use retry_after::{RETRY_AFTER_MAX, retry_after};
pub(crate) use rfc3339::{rfc3339, rfc3339_of};

/// The pause before the `nth` retry (from 0): anything from nothing to `base`·2ⁿ, at most `max`.
///
/// Full jitter: of the usual schemes it spreads clients that failed at one instant the widest, with the fewest calls
/// in all (Brooker, "Exponential Backoff and Jitter", AWS 2015).
pub fn delay(rng: &mut Rng, policy: &RetryPolicy, nth: u32) -> Millis {
    rng.between(Millis::ZERO, doubled(policy.base, nth, policy.max))
}

/// `base`·2ⁿ, at most `max`, for any `n`.
pub(crate) fn doubled(base: Millis, times: u32, max: Millis) -> Millis {
    let factor = 1_u64.checked_shl(times).unwrap_or(u64::MAX);
    Millis(base.0.saturating_mul(factor)).min(max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        deadline: Millis(120_000),
        same_target: 1,
        wait: Millis(0),
        base: Millis(500),
        max: Millis(10_000),
        quarantine: Millis(300_000),
    };

    #[test]
    fn doubling_stops_at_the_cap_and_never_overflows() {
        let lengths: Vec<u64> = (0..7).map(|n| doubled(POLICY.base, n, POLICY.max).0).collect();
        assert_eq!(lengths, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(doubled(Millis(3), u32::MAX, Millis(u64::MAX)), Millis(u64::MAX));
        assert_eq!(doubled(Millis(0), u32::MAX, POLICY.max), Millis(0));
    }

    #[test]
    fn delays_spread_over_the_whole_range() {
        let mut rng = Rng::from_seed(1);
        let drawn: Vec<u64> = (0..1000).map(|_| delay(&mut rng, &POLICY, 1).0).collect();
        assert!(drawn.iter().any(|&ms| ms < 50) && drawn.iter().any(|&ms| ms > 950));
        assert!(drawn.iter().all(|&ms| ms <= 1000));
    }

    proptest! {
        #[test]
        fn a_delay_is_within_base_doubled_and_the_cap(seed: u64, base: u64, max: u64, nth: u32) {
            let policy = RetryPolicy { base: Millis(base), max: Millis(max), ..POLICY };
            let exact = u128::from(base) << nth.min(64);
            let drawn = delay(&mut Rng::from_seed(seed), &policy, nth);
            prop_assert!(u128::from(drawn.0) <= exact.min(u128::from(max)));
        }
    }
}
