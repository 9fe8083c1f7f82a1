//! What holds of limits under any interleaving of requests: that what was reserved is accounted for, that no window holds
//! more than the limit allows, and that another implementation of GCRA decides alike.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::{Quota as GovernorQuota, RateLimiter};
use proptest::prelude::*;

use super::*;
use crate::config::Limits;
use crate::price::Picodollars;

const LONG: Millis = Millis(u64::MAX);

/// What may happen to a bucket, one after the other: each request's end comes whenever it does.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Reserve(u64),
    /// The reservation with this place among those that are out, and what it has used of what it reserved, in 1/8.
    Settle(usize, u64),
    Refund(usize),
    Charge(u64),
}

fn steps(charges: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..20_000).prop_map(Step::Wait),
        4 => (0_u64..60).prop_map(Step::Reserve),
        3 => (any::<usize>(), 0..if charges { 12_u64 } else { 9 }).prop_map(|(nth, used)| Step::Settle(nth, used)),
        1 => any::<usize>().prop_map(Step::Refund),
        u32::from(charges) => (0_u64..100).prop_map(Step::Charge),
    ];
    prop::collection::vec(step, 1..200)
}

/// A reservation that was made: when, of how much, and what it came to as far as that is known.
struct Made {
    at: Timestamp,
    amount: u64,
}

/// Lives through the steps, and says what each reservation came to.
fn live(bucket: &mut Bucket, steps: &[Step], mut check: impl FnMut(&Bucket)) -> Vec<Made> {
    let mut now = Timestamp(1_000_000);
    let mut made: Vec<Made> = Vec::new();
    let mut out: Vec<(usize, Reservation)> = Vec::new();
    for step in steps {
        match *step {
            Step::Wait(ms) => now = now + Millis(ms),
            Step::Reserve(amount) => {
                let said = bucket.check(now, amount);
                let reserved = bucket.reserve(now, amount, LONG);
                assert_eq!(said.is_ok(), reserved.is_ok());
                if let Ok(reservation) = reserved {
                    made.push(Made { at: now, amount: reservation.amount });
                    out.push((made.len() - 1, reservation));
                }
            }
            Step::Settle(nth, eighths) if !out.is_empty() => {
                let (index, reservation) = out.swap_remove(nth % out.len());
                let used = made[index].amount * eighths / 8;
                made[index].amount = used;
                bucket.settle(now, reservation, used);
            }
            Step::Refund(nth) if !out.is_empty() => {
                let (index, reservation) = out.swap_remove(nth % out.len());
                made[index].amount = 0;
                bucket.refund(now, reservation);
            }
            Step::Charge(amount) => bucket.charge(now, amount),
            Step::Settle(..) | Step::Refund(_) => {}
        }
        check(bucket);
    }
    made
}

proptest! {
    /// Invariant 12: reserved = settled + refunded + outstanding, at all times.
    #[test]
    fn what_was_reserved_is_settled_refunded_or_outstanding(amount in 1_u64..100, steps in steps(true)) {
        let mut bucket = Bucket::new(Quota { amount, period: Millis(60_000) });
        live(&mut bucket, &steps, |bucket| {
            let Account { reserved, settled, refunded, .. } = bucket.account();
            assert_eq!(reserved, settled + refunded + bucket.outstanding());
            let held: Water = bucket.held.values().map(|held| held.rest).sum();
            assert_eq!(held, bucket.reserved);
            assert!(bucket.settled + bucket.reserved <= 2 * bucket.capacity());
        });
    }

    /// Whatever ends when, no window holds more than its limit: what is at once, and what drains in it.
    #[test]
    fn no_window_holds_more_than_the_limit_allows(amount in 1_u64..100, steps in steps(false)) {
        let period = 60_000;
        let mut bucket = Bucket::new(Quota { amount, period: Millis(period) });
        let made = live(&mut bucket, &steps, |_| {});
        for (first, from) in made.iter().enumerate() {
            let mut used = 0;
            for to in &made[first..] {
                used += to.amount;
                // In water, so that nothing is rounded.
                let allowed = u128::from(amount * period) + u128::from(to.at.since(from.at).0 * amount);
                prop_assert!(u128::from(used * period) <= allowed, "{used} from {} to {}", from.at.0, to.at.0);
            }
        }
    }

    /// Who comes back when it was told is let in, and not a millisecond before.
    #[test]
    fn the_wait_that_is_told_is_exact(amount in 1_u64..100, period in 1_u64..100_000, wanted in 1_u64..100, steps in steps(true)) {
        let mut bucket = Bucket::new(Quota { amount, period: Millis(period) });
        live(&mut bucket, &steps, |_| {});
        let now = bucket.at;
        if let Err(wait) = bucket.check(now, wanted) {
            prop_assert!(wait > Millis::ZERO);
            prop_assert_eq!(bucket.check(now + Millis(wait.0 - 1), wanted), Err(Millis(1)));
            prop_assert_eq!(bucket.check(now + wait, wanted), Ok(()));
        }
    }

    /// governor as the oracle, where both can say it: its time is in nanoseconds, so a cell takes a whole number of them.
    #[test]
    fn governor_decides_alike(
        amount in 1_u32..200,
        cell_ms in 1_u64..5000,
        asks in prop::collection::vec((0_u64..10_000, 1_u32..200), 1..100),
    ) {
        let quota = Quota { amount: amount.into(), period: Millis(cell_ms * u64::from(amount)) };
        let mut ours = Bucket::new(quota);
        let burst = NonZeroU32::new(amount).unwrap();
        let theirs = GovernorQuota::with_period(Duration::from_millis(cell_ms)).unwrap().allow_burst(burst);
        let clock = FakeRelativeClock::default();
        let theirs = RateLimiter::direct_with_clock(theirs, clock.clone());
        let mut now = Timestamp(0);
        for (wait, wanted) in asks {
            // What is more than the whole bucket, governor never lets in.
            let wanted = wanted.min(amount);
            clock.advance(Duration::from_millis(wait));
            now = now + Millis(wait);
            let reserved = ours.reserve(now, wanted.into(), LONG);
            let admitted = theirs.check_n(NonZeroU32::new(wanted).unwrap()).unwrap().is_ok();
            prop_assert_eq!(reserved.is_ok(), admitted);
            if let Ok(reservation) = reserved {
                ours.settle(now, reservation, wanted.into());
            }
        }
    }

    /// All dimensions are charged or none.
    #[test]
    fn an_allowance_never_charges_in_part(asks in prop::collection::vec((0_u64..3000, 0_u64..80, any::<bool>()), 1..100)) {
        let limits = Limits { rpm: Some(20), tpm: Some(200), concurrency: Some(3) };
        let mut allowance = Allowance::new(&limits);
        let mut now = Timestamp(1_000_000);
        let mut out = Vec::new();
        for (wait, tokens, ends) in asks {
            now = now + Millis(wait);
            let before = allowance.clone();
            match allowance.take(now, tokens, LONG) {
                Ok(hold) => out.push(hold),
                Err(refused) => {
                    prop_assert!(refused.retry_in > Millis::ZERO);
                    prop_assert_eq!(&allowance, &before);
                }
            }
            prop_assert!(allowance.under_way(now).unwrap().0 <= 3);
            if ends && !out.is_empty() {
                allowance.settle(now, out.swap_remove(0), Use::Tokens(tokens / 2));
            }
        }
    }

    /// However requests interleave, what they are expected to cost never exceeds the budget, and what they have cost
    /// exceeds it by no more than they were expected wrongly.
    #[test]
    fn a_budget_is_never_promised_twice(
        events in prop::collection::vec((0_u64..4000, 0_u64..40, 0_u64..60, any::<bool>()), 1..200),
    ) {
        let (limit, period) = (Picodollars(100), Millis(60_000));
        let mut budget = Budget::new(limit, period);
        let mut now = Timestamp(1_000_000);
        let mut out: Vec<(u64, u64, Earmark)> = Vec::new();
        let (mut began, mut spent) = (0, 0);
        for (wait, expected, cost, ends) in events {
            now = now + Millis(wait);
            if now.0 / period.0 > began {
                (began, spent) = (now.0 / period.0, 0);
            }
            if let Ok(earmark) = budget.earmark(now, Picodollars(expected), LONG) {
                let promised: u64 =
                    out.iter().filter(|(of, ..)| *of == began).map(|(_, expected, _)| *expected).sum();
                prop_assert!(expected == 0 || spent + promised + expected <= limit.0);
                out.push((began, expected, earmark));
            }
            if ends && !out.is_empty() {
                let (of, _, earmark) = out.swap_remove(0);
                budget.settle(now, earmark, Some(Picodollars(cost)));
                spent += if of == began { cost } else { 0 };
            }
            prop_assert_eq!(budget.spent(now), Picodollars(spent));
        }
    }
}
