//! Prices that change: from a date on, or by the time of day.

use std::fmt;

use super::Price;
use crate::backoff::rfc3339_of;
use crate::time::Timestamp;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a target's tokens cost, at any time. Made of at least one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tariff {
    periods: Vec<Period>,
}

/// A price, and when it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) when: When,
    pub(crate) price: Price,
}

/// When a price holds; all in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Where no other does.
    Always,
    /// From this moment on.
    From(Timestamp),
    /// Every day, in milliseconds since midnight; past midnight where the end is before the beginning.
    Daily(u64, u64),
}

impl Tariff {
    /// `None` where there is no period at all.
    pub(crate) fn new(periods: Vec<Period>) -> Option<Self> {
        (!periods.is_empty()).then_some(Self { periods })
    }

    /// The price at a moment: of the last period that holds then, or else of the first.
    pub fn at(&self, now: Timestamp) -> Price {
        let holding = self.periods.iter().rev().find(|period| period.when.holds(now));
        let period = holding.or(self.periods.first()).expect("a tariff has a period");
        period.price
    }

    /// The most that its tokens cost at any time of this day, for those who cap a price: one that is no more, or is only
    /// announced, keeps nobody from being asked now.
    pub fn ceiling(&self, now: Timestamp) -> Price {
        let is_daily = |period: &Period| matches!(period.when, When::Daily(..));
        let in_force = self.periods.iter().rposition(|period| !is_daily(period) && period.when.holds(now)).unwrap_or(0);
        let (first, later) = self.periods[in_force..].split_first().expect("a tariff has a period");
        let rest = std::iter::once(first).chain(later.iter().filter(|period| is_daily(period)));
        let rest = rest.map(|period| period.price);
        rest.reduce(|most, price| Price {
            input: most.input.max(price.input),
            output: most.output.max(price.output),
            ..most
        })
        .expect("a tariff has a period")
    }
}

/// A line for each period.
impl fmt::Display for Tariff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, Period { when, price }) in self.periods.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "\n" };
            write!(f, "{separator}{when}{price}")?;
        }
        Ok(())
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: u64| format!("{:02}:{:02}", ms / 3_600_000, ms / 60_000 % 60);
        match self {
            Self::Always => Ok(()),
            Self::From(begin) => write!(f, "from {}: ", &rfc3339_of(*begin)[..10]),
            Self::Daily(begin, end) => write!(f, "{} to {} UTC: ", time(*begin), time(*end)),
        }
    }
}

/// One price at all times.
impl From<Price> for Tariff {
    fn from(price: Price) -> Self {
        Self { periods: vec![Period { when: When::Always, price }] }
    }
}

impl When {
    fn holds(self, now: Timestamp) -> bool {
        let time = now.0 % DAY_MS;
        match self {
            Self::Always => true,
            Self::From(begin) => now >= begin,
            Self::Daily(begin, end) if end < begin => time >= begin || time < end,
            Self::Daily(begin, end) => (begin..end).contains(&time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::Picodollars;

    const HOUR: u64 = 60 * 60 * 1000;

    fn period(when: When, input: u64) -> Period {
        Period { when, price: Price { input: Picodollars(input), ..Price::default() } }
    }

    #[test]
    fn the_last_period_that_holds_counts() {
        let date = Timestamp(10 * DAY_MS);
        let tariff = Tariff::new(vec![
            period(When::Always, 1),
            period(When::From(date), 2),
            period(When::Daily(HOUR, 4 * HOUR), 3),
            period(When::Daily(22 * HOUR, HOUR), 4),
        ]);
        let tariff = tariff.unwrap();
        let input = |day: u64, hour: u64| tariff.at(Timestamp(day * DAY_MS + hour * HOUR)).input.0;
        assert_eq!((input(9, 12), input(10, 12), input(9, 1), input(9, 4)), (1, 2, 3, 1));
        assert_eq!((input(10, 23), input(11, 0), input(11, 1)), (4, 4, 3), "past midnight");
    }

    #[test]
    fn the_ceiling_is_what_may_be_asked_by_now_and_not_what_was_or_will_be() {
        let (cheaper, dearer) = (Timestamp(10 * DAY_MS), Timestamp(20 * DAY_MS));
        let tariff = Tariff::new(vec![
            period(When::Always, 5),
            period(When::From(cheaper), 2),
            period(When::From(dearer), 9),
            period(When::Daily(HOUR, 4 * HOUR), 3),
        ]);
        let tariff = tariff.unwrap();
        let ceiling = |day: u64| tariff.ceiling(Timestamp(day * DAY_MS + 12 * HOUR)).input.0;
        assert_eq!(ceiling(9), 5, "the price of old is still in force");
        assert_eq!(ceiling(10), 3, "the most of the day, though it is not the hour");
        assert_eq!(ceiling(20), 9);
        let announced = Tariff::new(vec![period(When::From(cheaper), 2), period(When::From(dearer), 9)]).unwrap();
        assert_eq!(announced.ceiling(Timestamp(0)).input.0, announced.at(Timestamp(0)).input.0);
    }

    #[test]
    fn where_none_holds_the_first_counts() {
        let tariff = Tariff::new(vec![period(When::From(Timestamp(5)), 7)]).unwrap();
        assert_eq!(tariff.at(Timestamp(0)).input, Picodollars(7));
        assert_eq!(Tariff::new(Vec::new()), None);
    }
}
