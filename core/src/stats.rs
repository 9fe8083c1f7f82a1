//! What a target has done so far: outcomes, and how long its answers took.
//!
//! For ranking targets and for status pages; whether a target may be used at all is the breaker's matter. Integers
//! throughout, so that the host and wasm rank alike.

use serde::Serialize;

use crate::classify::Outcome;
use crate::gateway::Settlement;
use crate::price::Usage;
use crate::time::{Millis, Timestamp};

mod sketch;

pub use sketch::{SKETCH_MAX, Sketch};

use sketch::Aging;

/// One target's statistics, of constant size.
#[derive(Debug, Clone, Default)]
pub struct TargetStats {
    tally: Tally,
    first_token: Latency,
    total: Latency,
    /// Tokens per second while an answer is written, in 1/1000; 0 is not known yet.
    pace: u64,
}

/// How many attempts came to what, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All that were admitted, those still running too.
    pub attempts: u64,
    /// Whole answers.
    pub successes: u64,
    /// The vendor failed.
    pub failures: u64,
    /// No response head in time.
    pub silent: u64,
    /// Throttled.
    pub rate_limited: u64,
    /// The vendor refused the key.
    pub credential_faults: u64,
    /// The request was at fault, or too long for the model.
    pub caller_faults: u64,
    /// Stopped by the vendor's content filter.
    pub filtered: u64,
    /// Ended before anything was learnt: the client left, or the deadline came.
    pub neutral: u64,
}

/// How long something took, seen four ways.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// In 1/65536 ms. Saturates at 2³² ms, so that no product below can overflow.
    ewma: Option<u64>,
    /// The last [`RECENT`] in ms; once full, `oldest` is the next to go.
    recent: Vec<u32>,
    oldest: usize,
    aging: Aging,
}

/// How many samples the mean is over.
const RECENT: usize = 100;

/// Bits after the point of the moving average: enough that a sample of 1 ms still moves it.
const EWMA_FRACTION_BITS: u32 = 16;

impl TargetStats {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts an attempt that was admitted.
    pub fn attempt(&mut self) {
        self.tally.attempts = self.tally.attempts.saturating_add(1);
    }

    /// Counts what came of an attempt. Only a success says how fast the target is: an error may come at once, and would
    /// draw traffic to the target that fails fastest.
    pub fn record(&mut self, now: Timestamp, settlement: &Settlement) {
        let count = self.tally.of(settlement.outcome);
        *count = count.saturating_add(1);
        if settlement.outcome == Outcome::Success {
            self.total.record(now, settlement.took);
            if let Some(took) = settlement.first_token {
                self.first_token.record(now, took);
                self.record_pace(settlement.took.0.saturating_sub(took.0), settlement.usage);
            }
        }
    }

    fn record_pace(&mut self, writing_ms: u64, usage: Option<Usage>) {
        let Some(Usage { output, .. }) = usage.filter(|usage| usage.output > 0 && writing_ms > 0) else { return };
        let sample = (u128::from(output) * 1_000_000 / u128::from(writing_ms)).min(u128::from(u32::MAX));
        let sample = u64::try_from(sample).expect("cut to 32 bits");
        self.pace = if self.pace == 0 { sample } else { (self.pace * 7 + sample * 3) / 10 };
    }

    /// Tokens per second while an answer is written, in 1/1000: a moving average over streams; 0 is not known yet.
    pub fn pace(&self) -> u64 {
        self.pace
    }

    /// How many attempts came to what.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// From sending to the first token: what ranking goes by, because it does not depend on the length of the answer.
    pub fn first_token(&self) -> &Latency {
        &self.first_token
    }

    /// From sending to the end.
    pub fn total(&self) -> &Latency {
        &self.total
    }
}

impl Tally {
    fn of(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Success => &mut self.successes,
            Outcome::HardFailure(_) => &mut self.failures,
            Outcome::Silent => &mut self.silent,
            Outcome::RateLimited(_) => &mut self.rate_limited,
            Outcome::CredentialFault => &mut self.credential_faults,
            Outcome::CallerFault | Outcome::TooLong => &mut self.caller_faults,
            Outcome::Filtered => &mut self.filtered,
            Outcome::Neutral => &mut self.neutral,
        }
    }
}

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

    /// The moving average: each sample makes up 0.3 of it.
    pub fn ewma(&self) -> Option<Millis> {
        const HALF: u64 = 1 << (EWMA_FRACTION_BITS - 1);
        self.ewma.map(|ewma| Millis((ewma + HALF) >> EWMA_FRACTION_BITS))
    }

    /// The plain average of the last 100, rounded down.
    pub fn mean(&self) -> Option<Millis> {
        let sum: u64 = self.recent.iter().copied().map(u64::from).sum();
        let count = u64::try_from(self.recent.len()).expect("at most a hundred");
        sum.checked_div(count).map(Millis)
    }

    /// What so many thousandths of the last 5 to 10 minutes' samples did not exceed, within 1.6 %.
    pub fn quantile(&self, now: Timestamp, permille: u32) -> Option<Millis> {
        self.aging.quantile(now, permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Failure;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn settlement(outcome: Outcome, first_token: Option<u64>, took: u64) -> Settlement {
        Settlement {
            outcome,
            first_token: first_token.map(Millis),
            took: Millis(took),
            usage: None,
            retry_after: None,
            malformed: 0,
            quarantine: Millis::ZERO,
        }
    }

    #[test]
    fn every_outcome_is_counted_and_only_a_success_is_timed() {
        let mut stats = TargetStats::new();
        let outcomes = [
            Outcome::HardFailure(Failure::Reset),
            Outcome::Silent,
            Outcome::RateLimited(None),
            Outcome::CredentialFault,
            Outcome::CallerFault,
            Outcome::TooLong,
            Outcome::Filtered,
            Outcome::Neutral,
        ];
        for outcome in outcomes {
            stats.attempt();
            stats.record(NOW, &settlement(outcome, Some(1), 1));
        }
        assert_eq!((stats.first_token().ewma(), stats.total().mean()), (None, None));
        stats.attempt();
        stats.record(NOW, &settlement(Outcome::Success, None, 900));
        stats.attempt();
        stats.record(NOW, &settlement(Outcome::Success, Some(300), 900));
        let expected = Tally {
            attempts: 10,
            successes: 2,
            failures: 1,
            silent: 1,
            rate_limited: 1,
            credential_faults: 1,
            caller_faults: 2,
            filtered: 1,
            neutral: 1,
        };
        assert_eq!(*stats.tally(), expected);
        assert_eq!(stats.first_token().mean(), Some(Millis(300)));
        assert_eq!(stats.total().mean(), Some(Millis(900)));
    }

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
    fn the_mean_is_over_the_last_hundred() {
        let mut latency = Latency::default();
        for sample in 1..=250 {
            latency.record(NOW, Millis(sample));
        }
        assert_eq!(latency.mean(), Some(Millis(200)), "151 to 250");
        assert_eq!(latency.recent.len(), RECENT);
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
}
