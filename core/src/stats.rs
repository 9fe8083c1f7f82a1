//! What a target has done so far: outcomes, and how long its answers took.
//!
//! For ranking targets and for status pages; whether a target may be used at all is the breaker's matter. Integers
//! throughout, so that the host and wasm rank alike.

use serde::Serialize;

use crate::classify::Outcome;
use crate::gateway::Settlement;
use crate::price::Usage;
use crate::time::{Millis, Timestamp};

mod estimate;
mod latency;
mod pending;
mod sketch;

pub use estimate::Estimate;
pub use latency::Latency;
pub use pending::{Begun, Pending};
pub use sketch::{SKETCH_MAX, Sketch};

/// One target's statistics, of constant size.
#[derive(Debug, Clone, Default)]
pub struct TargetStats {
    tally: Tally,
    first_token: Latency,
    total: Latency,
    /// What a stream's first token is expected to take.
    stream: Estimate,
    /// What an answer in whole is expected to take: another matter, since it depends on how long the answer is.
    whole: Estimate,
    pending: Pending,
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

impl Tally {
    /// Attempts of which it is known what became of them.
    pub(crate) fn settled(&self) -> u64 {
        let vendors = self.successes + self.failures + self.silent + self.rate_limited + self.credential_faults;
        vendors + self.caller_faults + self.filtered + self.neutral
    }
}

impl TargetStats {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts an attempt that was admitted.
    pub fn begin(&mut self, now: Timestamp) -> Begun {
        self.tally.attempts = self.tally.attempts.saturating_add(1);
        self.pending.begin(now)
    }

    /// Counts what came of an attempt. Only a success says how fast the target is: an error may come at once, and would
    /// draw traffic to the target that fails fastest.
    pub fn end(&mut self, now: Timestamp, begun: Begun, settlement: &Settlement) {
        self.pending.end(begun);
        let count = self.tally.of(settlement.outcome);
        *count = count.saturating_add(1);
        self.estimate_anew(now, settlement);
        if (settlement.outcome, settlement.first_token) == (Outcome::Neutral, None) {
            let latency = if settlement.stream { &mut self.first_token } else { &mut self.total };
            latency.at_least(now, settlement.took);
        }
        if settlement.outcome == Outcome::Success {
            self.total.record(now, settlement.took);
            if let Some(took) = settlement.first_token {
                self.first_token.record(now, took);
                self.record_pace(settlement.took.0.saturating_sub(took.0), settlement.usage);
            }
        }
    }

    fn estimate_anew(&mut self, now: Timestamp, settlement: &Settlement) {
        let usual = self.usual(settlement.stream);
        let estimate = self.estimate_mut(settlement.stream);
        match (settlement.outcome, settlement.first_token) {
            // Whatever became of it later, its first token was there.
            (Outcome::Success | Outcome::Neutral, Some(took)) => estimate.sample(now, took),
            (Outcome::Success, None) => estimate.sample(now, settlement.took),
            (Outcome::Neutral, None) => estimate.at_least(now, settlement.took),
            (Outcome::HardFailure(_) | Outcome::Silent, _) => {
                estimate.failure(now, settlement.took, settlement.retry_after, usual);
            }
            // These come from elsewhere than the target's speed; a throttled key is kept back by itself.
            (
                Outcome::RateLimited(_)
                | Outcome::CredentialFault
                | Outcome::CallerFault
                | Outcome::TooLong
                | Outcome::Filtered,
                _,
            ) => {}
        }
    }

    /// The target is well again: what its failures counted as is forgotten.
    pub fn forgive(&mut self, now: Timestamp) {
        for stream in [true, false] {
            let usual = self.usual(stream);
            self.estimate_mut(stream).forgive(now, usual);
        }
    }

    /// Another target was preferred to this one, which has nothing to do.
    pub fn pass_over(&mut self, now: Timestamp, stream: bool) {
        if self.pending(now) == 0 {
            self.estimate_mut(stream).pass_over();
        }
    }

    /// What a request is expected to take: until the first token of a stream, or until the end of a whole answer.
    pub fn estimate(&self, stream: bool) -> &Estimate {
        if stream { &self.stream } else { &self.whole }
    }

    /// Attempts under way.
    pub fn pending(&self, now: Timestamp) -> u32 {
        self.pending.count(now)
    }

    fn estimate_mut(&mut self, stream: bool) -> &mut Estimate {
        if stream { &mut self.stream } else { &mut self.whole }
    }

    /// What its answers took of late.
    fn usual(&self, stream: bool) -> Option<Millis> {
        if stream { self.first_token.ewma() } else { self.total.ewma() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Failure;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn settlement(outcome: Outcome, first_token: Option<u64>, took: u64) -> Settlement {
        let (stream, first_token) = (first_token.is_some(), first_token.map(Millis));
        Settlement { stream, first_token, ..Settlement::new(outcome, Millis(took)) }
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
            let begun = stats.begin(NOW);
            stats.end(NOW, begun, &settlement(outcome, Some(1), 1));
        }
        assert_eq!((stats.first_token().ewma(), stats.total().mean()), (None, None));
        let begun = stats.begin(NOW);
        stats.end(NOW, begun, &settlement(Outcome::Success, None, 900));
        let begun = stats.begin(NOW);
        stats.end(NOW, begun, &settlement(Outcome::Success, Some(300), 900));
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

    fn after(settlements: &[Settlement]) -> TargetStats {
        let mut stats = TargetStats::new();
        for settlement in settlements {
            let begun = stats.begin(NOW);
            stats.end(NOW, begun, settlement);
        }
        stats
    }

    fn expected(stats: &TargetStats, stream: bool) -> u64 {
        stats.estimate(stream).expected(Millis::ZERO).0
    }

    #[test]
    fn streams_and_whole_answers_are_estimated_apart() {
        let stats = after(&[settlement(Outcome::Success, Some(300), 9000), settlement(Outcome::Success, None, 4000)]);
        assert_eq!((expected(&stats, true), expected(&stats, false)), (300, 4000));
    }

    #[test]
    fn what_a_failure_or_a_client_that_left_says_of_the_speed() {
        let good = settlement(Outcome::Success, Some(300), 900);
        let hard = Settlement { first_token: None, ..settlement(Outcome::HardFailure(Failure::Reset), Some(1), 5) };
        assert_eq!(expected(&after(&[good, hard]), true), 5000, "failing fast is not being fast");
        let left = |first_token, took| Settlement { stream: true, ..settlement(Outcome::Neutral, first_token, took) };
        assert_eq!(expected(&after(&[good, left(None, 100)]), true), 300, "given up early: nothing is known");
        assert_eq!(expected(&after(&[good, left(None, 700)]), true), 700, "given up late: at least so long");
        assert_eq!(expected(&after(&[left(Some(200), 700)]), true), 200, "the first token was there");
        assert_eq!(expected(&after(&[good, settlement(Outcome::CallerFault, Some(9), 9)]), true), 300);
        let mut recovered = after(&[good, hard]);
        recovered.forgive(NOW);
        assert_eq!(expected(&recovered, true), 300);
    }

    #[test]
    fn only_who_has_nothing_to_do_is_passed_over() {
        let later = NOW + Millis::from_secs(60);
        let faded = |stats: &TargetStats| stats.estimate(true).faded(later, Millis::ZERO, Millis::ZERO);
        let mut stats = after(&[settlement(Outcome::Success, Some(300), 900)]);
        let _busy = stats.begin(NOW);
        (0..16).for_each(|_| stats.pass_over(NOW, true));
        assert_eq!(faded(&stats), Millis(300));
        let mut stats = after(&[settlement(Outcome::Success, Some(300), 900)]);
        (0..16).for_each(|_| stats.pass_over(NOW, true));
        assert_eq!(faded(&stats), Millis(150));
    }
}
