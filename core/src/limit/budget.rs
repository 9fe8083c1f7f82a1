//! So much money in a period, such as a day: what a request is expected to cost is earmarked before it is sent, so that
//! requests at one moment cannot all spend the same rest.
//!
//! A budget does not drain as a [`Bucket`](super::Bucket) does: of fifty dollars a day, a full bucket that refills would
//! allow nearly a hundred in one day. It begins anew with each period, counted from the Unix epoch: a period of `1d` is a
//! day in UTC.

use std::collections::BTreeMap;

use crate::price::Picodollars;
use crate::time::{Millis, Timestamp};

/// Earmarks that are remembered; beyond them the oldest counts as spent.
const EARMARKS_MAX: usize = 1 << 16;

/// What may be spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    limit: Picodollars,
    /// At least 1 ms.
    period: Millis,
    /// When the present period began.
    began: Timestamp,
    spent: Picodollars,
    /// What others have spent in this period, as far as they have told.
    elsewhere: Picodollars,
    /// Earmarks of this period, the oldest first, and when each of them counts as spent.
    held: BTreeMap<u64, (Picodollars, Timestamp)>,
    earmarked: Picodollars,
    issued: u64,
    /// Whether the soft limit of this period has been told of.
    warned: bool,
}

/// Money that is set aside until it is known what a request has cost.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is not settled counts as spent"]
pub struct Earmark {
    number: u64,
    amount: Picodollars,
    /// The period that pays, however long the request takes.
    began: Timestamp,
}

/// There is not enough left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// Until the next period begins.
    pub retry_in: Millis,
}

impl Budget {
    /// Nothing has been spent.
    pub fn new(limit: Picodollars, period: Millis) -> Self {
        Self {
            limit,
            period: period.max(Millis(1)),
            began: Timestamp(0),
            spent: Picodollars(0),
            elsewhere: Picodollars(0),
            held: BTreeMap::new(),
            earmarked: Picodollars(0),
            issued: 0,
            warned: false,
        }
    }

    /// Whether so much can be spent. Changes nothing.
    pub fn check(&self, now: Timestamp, cost: Picodollars) -> Result<(), OverBudget> {
        let began = self.beginning(now);
        let gone = if began > self.began { Picodollars(0) } else { self.gone() };
        // What costs nothing may be had even by whoever has nothing left.
        if cost == Picodollars(0) || gone.plus(cost) <= self.limit {
            Ok(())
        } else {
            Err(OverBudget { retry_in: now.until(began + self.period) })
        }
    }

    /// Sets so much aside. It counts as spent after `lasts`, if nobody settles it before.
    pub fn earmark(&mut self, now: Timestamp, cost: Picodollars, lasts: Millis) -> Result<Earmark, OverBudget> {
        self.check(now, cost)?;
        self.turn(now);
        while let Some(oldest) = self.held.first_entry()
            && (oldest.get().1 <= now || self.held.len() >= EARMARKS_MAX)
        {
            let Some((_, (amount, _))) = self.held.pop_first() else { break };
            self.earmarked = Picodollars(self.earmarked.0 - amount.0);
            self.spent = self.spent.plus(amount);
        }
        self.held.insert(self.issued, (cost, now + lasts));
        self.earmarked = self.earmarked.plus(cost);
        self.issued += 1;
        Ok(Earmark { number: self.issued - 1, amount: cost, began: self.began })
    }

    /// Says what a request has cost: in the period in which it began. `None` is what was set aside for it.
    #[expect(clippy::needless_pass_by_value, reason = "an earmark is used up: settling it twice must not compile")]
    pub fn settle(&mut self, now: Timestamp, earmark: Earmark, cost: Option<Picodollars>) {
        self.turn(now);
        if earmark.began != self.began {
            return;
        }
        let cost = cost.unwrap_or(earmark.amount);
        match self.held.remove(&earmark.number) {
            Some((amount, _)) => {
                self.earmarked = Picodollars(self.earmarked.0 - amount.0);
                self.spent = self.spent.plus(cost);
            }
            // It counts as spent already.
            None => self.spent = Picodollars(self.spent.0.saturating_sub(earmark.amount.0)).plus(cost),
        }
    }

    /// Adds what was spent before this gateway began, if that was in the present period.
    pub fn restore(&mut self, now: Timestamp, period_start: Timestamp, spent: Picodollars) {
        self.turn(now);
        if self.beginning(period_start) == self.began {
            self.spent = self.spent.plus(spent);
        }
    }

    /// What has been spent in the present period, and is known to be.
    pub fn spent(&self, now: Timestamp) -> Picodollars {
        if self.beginning(now) > self.began { Picodollars(0) } else { self.spent.plus(self.elsewhere) }
    }

    /// What is set aside.
    pub fn earmarked(&self, now: Timestamp) -> Picodollars {
        if self.beginning(now) > self.began { Picodollars(0) } else { self.earmarked }
    }

    /// What may be spent in a period.
    pub fn limit(&self) -> Picodollars {
        self.limit
    }

    /// Whether this share of it has been spent, in 1/1000. Says so once in each period.
    pub fn warns(&mut self, now: Timestamp, permille: u32) -> bool {
        self.turn(now);
        let reached = u128::from(self.spent(now).0) * 1000 >= u128::from(self.limit.0) * u128::from(permille);
        reached && !std::mem::replace(&mut self.warned, reached)
    }

    // === Within ===

    fn gone(&self) -> Picodollars {
        self.spent.plus(self.elsewhere).plus(self.earmarked)
    }

    /// When the period began in which `now` lies.
    fn beginning(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0 - now.0 % self.period.0)
    }

    /// Begins a new period, if its time has come. What is still set aside is the old one's to pay.
    fn turn(&mut self, now: Timestamp) {
        let began = self.beginning(now);
        if began > self.began {
            *self = Self { began, issued: self.issued, ..Self::new(self.limit, self.period) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = Millis::from_secs(86_400);
    /// Noon of some day.
    const NOON: Timestamp = Timestamp(1_000 * 86_400_000 + 43_200_000);
    const LONG: Millis = Millis(600_000);
    const HALF_A_DAY: Millis = Millis(43_200_000);

    fn cents(cents: u64) -> Picodollars {
        Picodollars(cents * 10_000_000_000)
    }

    fn budget() -> Budget {
        Budget::new(cents(100), DAY)
    }

    #[test]
    fn what_is_set_aside_cannot_be_spent_twice() {
        let mut budget = budget();
        let one = budget.earmark(NOON, cents(60), LONG).unwrap();
        assert_eq!(budget.check(NOON, cents(50)), Err(OverBudget { retry_in: HALF_A_DAY }));
        budget.settle(NOON, one, Some(cents(10)));
        let two = budget.earmark(NOON, cents(50), LONG).unwrap();
        budget.settle(NOON, two, None);
        assert_eq!((budget.spent(NOON), budget.earmarked(NOON)), (cents(60), cents(0)));
    }

    #[test]
    fn a_period_begins_anew_and_owes_nothing_for_the_last() {
        let mut budget = budget();
        let late = budget.earmark(NOON, cents(100), LONG).unwrap();
        assert!(budget.check(NOON + Millis(HALF_A_DAY.0 - 1), cents(1)).is_err());
        let midnight = NOON + HALF_A_DAY;
        assert!(budget.check(midnight, cents(100)).is_ok());
        budget.settle(midnight, late, Some(cents(100)));
        assert_eq!(budget.spent(midnight), cents(0));
    }

    #[test]
    fn what_cost_more_than_expected_leaves_less_than_nothing_and_no_more_is_let_in() {
        let mut budget = budget();
        let earmark = budget.earmark(NOON, cents(1), LONG).unwrap();
        budget.settle(NOON, earmark, Some(cents(500)));
        assert!(budget.check(NOON, cents(1)).is_err());
        assert!(budget.check(NOON, cents(0)).is_ok(), "but for what costs nothing");
    }

    #[test]
    fn an_earmark_that_is_never_settled_counts_as_spent_until_it_is() {
        let mut budget = budget();
        let lost = budget.earmark(NOON, cents(30), Millis(5)).unwrap();
        let later = NOON + Millis(5);
        let _other = budget.earmark(later, cents(1), LONG).unwrap();
        assert_eq!((budget.spent(later), budget.earmarked(later)), (cents(30), cents(1)));
        budget.settle(later, lost, Some(cents(20)));
        assert_eq!(budget.spent(later), cents(20));
    }

    #[test]
    fn what_was_spent_before_a_restart_is_spent() {
        let mut budget = budget();
        let today = NOON - HALF_A_DAY;
        budget.restore(NOON, today, cents(70));
        budget.restore(NOON, today - Millis(1), cents(70));
        assert_eq!(budget.spent(NOON), cents(70));
        assert!(budget.check(NOON, cents(31)).is_err() && budget.check(NOON, cents(30)).is_ok());
    }

    #[test]
    fn the_soft_limit_is_told_of_once_in_each_period() {
        let mut budget = budget();
        let spend = |budget: &mut Budget, now, amount| {
            let earmark = budget.earmark(now, amount, LONG).unwrap();
            budget.settle(now, earmark, None);
            budget.warns(now, 800)
        };
        assert!(!spend(&mut budget, NOON, cents(79)));
        assert!(spend(&mut budget, NOON, cents(1)));
        assert!(!spend(&mut budget, NOON, cents(10)));
        assert!(!budget.warns(NOON + DAY, 800));
        assert!(spend(&mut budget, NOON + DAY, cents(100)));
    }
}
