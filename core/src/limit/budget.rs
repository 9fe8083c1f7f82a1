//! So much money in a period, such as a day: what a request is expected to cost is earmarked before it is sent, so that
//! requests at one moment cannot all spend the same rest.
//!
//! A budget does not drain as a [`Bucket`](super::Bucket) does: of fifty dollars a day, a full bucket that refills would
//! allow nearly a hundred in one day. It begins anew with each period, counted from the Unix epoch: a period of `1d` is a
//! day in UTC.

use std::collections::BTreeMap;

use crate::keeper::Grant;
use crate::price::Picodollars;
use crate::time::{Millis, Timestamp};

/// How long a share may be spent from. The keeper holds it longer, so that what is spent at the last moment is told in time.
const SHARE_LASTS: Millis = Millis::from_secs(5);

/// When a share may be larger: others are heard of every second or two.
const SHARE_RETRY: Millis = Millis::from_secs(1);

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
    /// What this gateway may spend of it, where several keep it together.
    share: Option<Share>,
    /// The number of the report after which that was set aside.
    heard: u64,
    /// Whether that took back half of its share or more. The others have it only once it is known to have been heard.
    gives_back: bool,
    /// Whether the soft limit of this period has been told of.
    warned: bool,
}

/// What has been set aside for one of several gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    left: Picodollars,
    until: Timestamp,
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

impl Earmark {
    /// What is set aside.
    pub fn amount(&self) -> Picodollars {
        self.amount
    }
}

/// There is not enough left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// Until the next period begins, or until others may have left more.
    pub retry_in: Millis,
    /// Whether it is only this gateway's share that is too small for now.
    pub is_share: bool,
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
            share: None,
            heard: 0,
            gives_back: false,
            warned: false,
        }
    }

    /// Whether so much can be spent. Changes nothing.
    pub fn check(&self, now: Timestamp, cost: Picodollars) -> Result<(), OverBudget> {
        let began = self.beginning(now);
        if began > self.began {
            return self.anew(began).check(now, cost);
        }
        // What costs nothing may be had even by whoever has nothing left.
        if cost == Picodollars(0) {
            return Ok(());
        }
        if self.gone().plus(cost) > self.limit {
            return Err(OverBudget { retry_in: now.until(began + self.period), is_share: false });
        }
        match self.share {
            // Whoever has not heard of the others for long does not know what is left.
            Some(share) if share.until <= now => Err(OverBudget { retry_in: SHARE_RETRY, is_share: false }),
            Some(share) if cost > share.left => Err(OverBudget { retry_in: SHARE_RETRY, is_share: true }),
            _ => Ok(()),
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
            self.earmarked = self.earmarked.less(amount);
            self.spent = self.spent.plus(amount);
        }
        self.held.insert(self.issued, (cost, now + lasts));
        self.earmarked = self.earmarked.plus(cost);
        self.spend_share(Picodollars(0), cost);
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
        self.spend_share(earmark.amount, cost);
        match self.held.remove(&earmark.number) {
            Some((amount, _)) => {
                self.earmarked = self.earmarked.less(amount);
                self.spent = self.spent.plus(cost);
            }
            // It counts as spent already.
            None => self.spent = self.spent.less(earmark.amount).plus(cost),
        }
    }

    /// Adds what was spent before this gateway began, if that was in the present period.
    pub fn restore(&mut self, now: Timestamp, period_start: Timestamp, spent: Picodollars) {
        self.turn(now);
        if self.beginning(period_start) == self.began {
            self.spent = self.spent.plus(spent);
        }
    }

    /// From now on the budget is kept together with other gateways: nothing is spent before they have been heard of.
    pub fn await_others(&mut self) {
        self.share = Some(Share { left: Picodollars(0), until: Timestamp(0) });
    }

    /// Takes in what other gateways have spent, and what has been set aside for this one when it told of itself. The answer to
    /// what was told in one period is of no use in the next, nor is one that the answer to a later report has overtaken:
    /// what was set aside then may be another's by now.
    pub fn hear(&mut self, now: Timestamp, told_at: Timestamp, spent: Picodollars, grant: &Grant) {
        self.turn(now);
        if grant.sequence < self.heard {
            return;
        }
        self.heard = grant.sequence;
        let (period, own) = self.told(now);
        let is_of_now = grant.period == period;
        self.elsewhere = if is_of_now { spent } else { Picodollars(0) };
        // What has been spent since it told is of this share.
        let left = grant.share.saturating_sub(own.saturating_sub(grant.told));
        let left = Picodollars(if is_of_now { left } else { 0 });
        let had = self.share.map_or(Picodollars(0), |share| share.left);
        self.gives_back |= had.less(left) >= left && had > left;
        self.share = Some(Share { left, until: told_at + SHARE_LASTS });
    }

    /// Whether there are others, and they have not been heard of for too long to spend anything.
    pub fn lacks_share(&self, now: Timestamp) -> bool {
        self.share.is_some_and(|share| share.until <= now)
    }

    /// The present period's number, and what this gateway has spent or set aside in it: what others are told.
    pub fn told(&self, now: Timestamp) -> (u64, u64) {
        let began = self.beginning(now);
        let own = if began > self.began { 0 } else { self.spent.plus(self.earmarked).0 };
        (began.0 / self.period.0, own)
    }

    /// The same, to be told now, and that the last answer has been heard.
    pub fn tell(&mut self, now: Timestamp) -> (u64, u64) {
        self.gives_back = false;
        self.told(now)
    }

    /// Whether there is to be told that a share, half of which or more was taken back, is not this gateway's any more.
    pub fn gives_back(&self) -> bool {
        self.gives_back
    }

    /// What has been spent in the present period, and is known to be.
    pub fn spent(&self, now: Timestamp) -> Picodollars {
        if self.beginning(now) > self.began { Picodollars(0) } else { self.spent.plus(self.elsewhere) }
    }

    /// What is set aside.
    pub fn earmarked(&self, now: Timestamp) -> Picodollars {
        if self.beginning(now) > self.began { Picodollars(0) } else { self.earmarked }
    }

    /// The number of the report by whose answer this gateway goes.
    pub fn heard(&self) -> u64 {
        self.heard
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
            *self = self.anew(began);
        }
    }

    /// As it is when a period begins. What was set aside for this gateway was the old one's.
    fn anew(&self, began: Timestamp) -> Self {
        let share = self.share.map(|share| Share { left: Picodollars(0), ..share });
        Self { began, share, heard: self.heard, ..Self::new(self.limit, self.period) }
    }

    fn spend_share(&mut self, expected: Picodollars, cost: Picodollars) {
        if let Some(share) = &mut self.share {
            share.left = share.left.plus(expected).less(cost);
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
        assert_eq!(budget.check(NOON, cents(50)), Err(OverBudget { retry_in: HALF_A_DAY, is_share: false }));
        budget.settle(NOON, one, Some(cents(10)));
        let two = budget.earmark(NOON, cents(50), LONG).unwrap();
        budget.settle(NOON, two, None);
        assert_eq!((budget.spent(NOON), budget.earmarked(NOON)), (cents(60), cents(0)));
    }

    #[test]
    fn a_period_begins_anew_and_owes_nothing_for_the_last() {
        let mut budget = budget();
        let late = budget.earmark(NOON, cents(100), LONG).unwrap();
        assert_eq!((budget.limit(), budget.earmarked(NOON)), (cents(100), cents(100)));
        assert_eq!(budget.earmarked(NOON + HALF_A_DAY), cents(0));
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
    fn absurd_amounts_are_borne() {
        let most = Picodollars(u64::MAX);
        let mut budget = Budget::new(most, DAY);
        let earmarks = [(); 2].map(|()| budget.earmark(NOON, most, LONG).unwrap());
        for earmark in earmarks {
            budget.settle(NOON, earmark, Some(most));
        }
        assert_eq!((budget.spent(NOON), budget.earmarked(NOON)), (most, Picodollars(0)));
    }

    #[test]
    fn what_was_spent_before_a_restart_is_spent() {
        let mut budget = budget();
        let today = NOON - HALF_A_DAY;
        budget.restore(NOON, today, cents(70));
        budget.restore(NOON, today - Millis(1), cents(20));
        assert_eq!(budget.spent(NOON), cents(70));
        assert!(budget.check(NOON, cents(31)).is_err() && budget.check(NOON, cents(30)).is_ok());
    }

    #[test]
    fn kept_together_nothing_is_spent_unheard_and_no_more_than_a_share_until_it_is_heard_again() {
        let mut budget = budget();
        assert!(!budget.lacks_share(NOON));
        budget.await_others();
        assert!(budget.lacks_share(NOON));
        let refused = |is_share| Err(OverBudget { retry_in: SHARE_RETRY, is_share });
        assert_eq!(budget.check(NOON, cents(1)), refused(false));
        assert!(budget.check(NOON, cents(0)).is_ok());
        let today = NOON.0 / DAY.0;
        let grant = |period, share, told| Grant { period, share: cents(share).0, told: cents(told).0, sequence: 1 };
        budget.hear(NOON, NOON, cents(40), &grant(today, 30, 0));
        let one = budget.earmark(NOON, cents(30), LONG).unwrap();
        assert!(!budget.lacks_share(NOON) && budget.lacks_share(NOON + SHARE_LASTS));
        assert_eq!(budget.check(NOON, cents(1)), refused(true));
        budget.settle(NOON, one, Some(cents(10)));
        assert_eq!(budget.check(NOON, cents(20)), Ok(()), "what was not needed of it");
        assert_eq!(budget.told(NOON), (today, cents(10).0));
        assert_eq!(budget.check(NOON + SHARE_LASTS, cents(1)), refused(false), "an old share is none");
        budget.hear(NOON, NOON, cents(40), &grant(today, 15, 0));
        assert_eq!(budget.check(NOON, cents(6)), refused(true), "ten of these fifteen are spent");
        budget.hear(NOON, NOON, cents(80), &grant(today, 50, 10));
        assert!(budget.check(NOON, cents(10)).is_ok() && budget.check(NOON, cents(11)).is_err());
        assert_eq!(budget.spent(NOON), cents(90));
        let tomorrow = NOON + DAY;
        assert_eq!((budget.told(tomorrow), budget.spent(tomorrow)), ((today + 1, 0), cents(0)));
        budget.hear(tomorrow, tomorrow, cents(80), &grant(today, 10, 10));
        assert_eq!((budget.spent(tomorrow), budget.check(tomorrow, cents(1))), (cents(0), refused(true)), "old news");
        budget.hear(tomorrow, tomorrow, cents(0), &grant(today + 1, 100, 0));
        assert!(budget.check(tomorrow, cents(100)).is_ok());
    }

    #[test]
    fn a_share_is_of_its_period() {
        let mut budget = budget();
        let midnight = NOON + HALF_A_DAY;
        let before = midnight - Millis(1);
        let grant = Grant { period: NOON.0 / DAY.0, share: cents(50).0, told: 0, sequence: 1 };
        budget.hear(before, before, cents(0), &grant);
        assert_eq!(budget.check(before, cents(50)), Ok(()));
        assert_eq!(budget.check(midnight, cents(1)), Err(OverBudget { retry_in: SHARE_RETRY, is_share: true }));
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
