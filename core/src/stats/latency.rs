//! How long something took, seen four ways: lately, on average, over the last few, and at its worst.

use super::sketch::Aging;
use crate::time::{Millis, Timestamp};

/// Durations of one kind, of constant size.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// In 1/65536 ms. Saturates at 2³² ms, so that no product below can overflow.
    ewma: Option<u64>,
    /// The last [`RECENT`] in ms; once full, `oldest` is the next to go.
    recent: Vec<u32>,
    oldest: usize,
    aging: Aging,
}

/// How many samples are kept one by one.
const RECENT: usize = 100;

/// Whoever was cut short before this quantile tells nothing.
const SLOW_PERMILLE: u32 = 950;

/// The highest quantile that is shown.
const SLOWEST_PERMILLE: u32 = 990;

/// Bits after the point of the moving average: enough that a sample of 1 ms still moves it.
const EWMA_FRACTION_BITS: u32 = 16;

impl Latency {
    /// Takes in a sample.
    pub fn record(&mut self, now: Timestamp, took: Millis) {
        let ms = u32::try_from(took.0).unwrap_or(u32::MAX);
        let sample = u64::from(ms) << EWMA_FRACTION_BITS;
        self.ewma = Some(self.ewma.map_or(sample, |old| (old * 7 + sample * 3 + 5) / 10));
        if self.recent.len() < RECENT {
            self.recent.push(ms);
        } else {
            self.recent[self.oldest] = ms;
            self.oldest = (self.oldest + 1) % RECENT;
        }
        self.aging.record(now, took);
    }

    /// Takes in one that was cut short, and would have taken at least so long. It may raise a quantile, and never lowers one:
    /// if the slow ones that lose to a hedge went uncounted, the rest would look faster and faster.
    pub fn at_least(&mut self, now: Timestamp, took: Millis) {
        let slow = self.quantile(now, SLOW_PERMILLE).filter(|slow| took > *slow);
        if let Some(slowest) = slow.and(self.quantile(now, SLOWEST_PERMILLE)) {
            self.aging.record(now, took.max(slowest));
        }
    }

    /// The moving average: each sample makes up 0.3 of it.
    pub fn ewma(&self) -> Option<Millis> {
        const HALF: u64 = 1 << (EWMA_FRACTION_BITS - 1);
        self.ewma.map(|ewma| Millis((ewma + HALF) >> EWMA_FRACTION_BITS))
    }

    /// The plain average of the last 100, rounded down.
    pub fn mean(&self) -> Option<Millis> {
        self.mean_of_last(RECENT)
    }

    /// The plain average of the last `count`, or of as many as there are, rounded down.
    pub fn mean_of_last(&self, count: usize) -> Option<Millis> {
        let (younger, older) = (&self.recent[..self.oldest], &self.recent[self.oldest..]);
        let newest_first = younger.iter().rev().chain(older.iter().rev());
        let sum: u64 = newest_first.take(count).copied().map(u64::from).sum();
        let count = u64::try_from(self.recent.len().min(count)).expect("at most a hundred");
        sum.checked_div(count).map(Millis)
    }

    /// How many samples a mean can be over: at most 100.
    pub fn samples(&self) -> usize {
        self.recent.len()
    }

    /// How many samples [`quantile`](Self::quantile) is of.
    pub fn samples_of_late(&self, now: Timestamp) -> u64 {
        self.aging.count(now)
    }

    /// What so many thousandths of the last 5 to 10 minutes' samples did not exceed, within 1.6 %.
    pub fn quantile(&self, now: Timestamp, permille: u32) -> Option<Millis> {
        self.aging.quantile(now, permille)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::SKETCH_MAX;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn the_moving_average_takes_three_tenths_of_each_sample() {
        let mut latency = Latency::default();
        for (sample, expected) in [(1000, 1000), (2000, 1300), (0, 910), (0, 637)] {
            latency.record(NOW, Millis(sample));
            assert_eq!(latency.ewma(), Some(Millis(expected)));
        }
        for _ in 0..60 {
            latency.record(NOW, Millis(1));
        }
        assert_eq!(latency.ewma(), Some(Millis(1)), "rounding does not hold it up");
    }

    #[test]
    fn the_mean_is_over_the_last_hundred_or_fewer() {
        let mut latency = Latency::default();
        assert_eq!((latency.mean(), latency.samples()), (None, 0));
        for sample in 1..=250 {
            latency.record(NOW, Millis(sample));
        }
        assert_eq!(latency.mean(), Some(Millis(200)), "151 to 250");
        assert_eq!(latency.mean_of_last(10), Some(Millis(245)), "241 to 250");
        assert_eq!(latency.mean_of_last(0), None);
        assert_eq!(latency.samples(), RECENT);
    }

    #[test]
    fn any_length_is_borne() {
        let mut latency = Latency::default();
        for _ in 0..200 {
            latency.record(Timestamp::MAX, Millis(u64::MAX));
        }
        assert_eq!(latency.ewma(), Some(Millis(u32::MAX.into())));
        assert_eq!(latency.mean(), Some(Millis(u32::MAX.into())));
        assert!(latency.quantile(NOW, 500).is_some_and(|long| long <= SKETCH_MAX));
    }

    proptest! {
        #[test]
        fn what_was_cut_short_never_lowers_a_quantile(
            samples in prop::collection::vec(0..10_000_u64, 1..300),
            cut_short in prop::collection::vec(0..20_000_u64, 1..100),
        ) {
            let mut latency = Latency::default();
            for sample in &samples {
                latency.record(NOW, Millis(*sample));
            }
            for took in cut_short {
                let quantiles = |latency: &Latency| [500, 950, 990].map(|permille| latency.quantile(NOW, permille));
                let before = quantiles(&latency);
                latency.at_least(NOW, Millis(took));
                prop_assert!(before.iter().zip(quantiles(&latency)).all(|(before, after)| *before <= after));
            }
            prop_assert_eq!(latency.samples(), samples.len().min(RECENT), "and is no sample of the averages");
        }

        #[test]
        fn a_mean_of_the_last_is_that_of_a_naive_list(samples in prop::collection::vec(0..10_000_u64, 1..300), count in 1..150_usize) {
            let mut latency = Latency::default();
            for sample in &samples {
                latency.record(NOW, Millis(*sample));
            }
            let last = &samples[samples.len().saturating_sub(count.min(RECENT))..];
            let naive = last.iter().sum::<u64>() / last.len() as u64;
            prop_assert_eq!(latency.mean_of_last(count), Some(Millis(naive)));
        }
    }
}
