//! What a target's next answer is expected to take: what ranking goes by.
//!
//! A peak-EWMA, as in Finagle and linkerd: it rises at once to a slower sample, and comes down towards faster ones over
//! time. A mean would go on trusting a target that has just become slow for as long as its good past weighs more.
//! Being wrong costs differently on the two sides: too high an estimate costs a target some traffic, too low a one costs
//! clients their time.

use crate::time::{Millis, Timestamp};

/// An estimate of how long a target takes. All of it is integers: in 1/256 ms, so that small steps are not rounded away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    value: u64,
    /// Whether an answer has ever come; else `value` is only what is known to be too little.
    measured: bool,
    /// When `value` was last learnt.
    at: Timestamp,
    /// How often others have been preferred since.
    passed_over: u32,
}

/// Longer than this says nothing more. Bounds every product below.
const MAX: Millis = Millis::from_secs(300);

/// Half of an old peak is forgotten when a faster sample comes this much later: linkerd's decay of 10 s, times ln 2.
const HALF_LIFE_MS: u64 = 7_000;

/// What is known of a target that is not asked any more halves with as many times that others were preferred...
const FADE_HALF_COUNT: u64 = 16;

/// ...of which one in this time counts, so that heavy traffic does not bring a slow target back every second.
const FADE_STEP_MS: u64 = 250;

/// What a failure counts as, at least: as in linkerd's load biaser. Errors come fast; without this, the target that fails
/// fastest would draw all the traffic.
const FAILURE: Millis = Millis::from_secs(5);

const FRACTION_BITS: u32 = 8;

impl Estimate {
    /// Takes in an answer that was measured in whole.
    pub fn sample(&mut self, now: Timestamp, took: Millis) {
        let sample = fixed(took);
        self.value = match self.value.checked_sub(sample) {
            None => sample,
            Some(excess) => sample + halve(excess, now.since(self.at).0, HALF_LIFE_MS),
        };
        self.measured = true;
        self.learnt(now);
    }

    /// Takes in one that was given up after `took`: it would have taken at least that. It never lowers the estimate, or the
    /// slowest, which are given up most, would look the fastest.
    pub fn at_least(&mut self, now: Timestamp, took: Millis) {
        let least = fixed(took);
        if least > self.value {
            self.value = least;
            self.learnt(now);
        }
        self.passed_over = 0;
    }

    /// Takes in a failure. `usual` is what an answer of the target takes: a failure is always worse than that.
    pub fn failure(&mut self, now: Timestamp, took: Millis, hint: Option<Millis>, usual: Option<Millis>) {
        let usual = usual.map_or(Millis::ZERO, |usual| usual + usual);
        self.at_least(now, took.max(FAILURE).max(hint.unwrap_or_default()).max(usual));
    }

    /// It is well again: what its failures counted as is forgotten.
    pub fn forgive(&mut self, now: Timestamp, usual: Option<Millis>) {
        *self = Self::default();
        if let Some(usual) = usual {
            self.sample(now, usual);
        }
    }

    /// Another was preferred.
    pub fn pass_over(&mut self) {
        self.passed_over = self.passed_over.saturating_add(1);
    }

    /// Whether an answer has ever come.
    pub fn is_measured(&self) -> bool {
        self.measured
    }

    /// What is expected, where `assumed` stands for what has not been measured.
    pub fn expected(&self, assumed: Millis) -> Millis {
        if self.measured { millis(self.value) } else { millis(self.value).max(assumed.min(MAX)) }
    }

    /// The same, fading towards `floor` the longer others have been preferred: a target is asked again some day, the later
    /// the worse it was, and by how many requests and in how short a time is bounded.
    pub fn faded(&self, now: Timestamp, assumed: Millis, floor: Millis) -> Millis {
        let expected = self.expected(assumed);
        let steps = u64::from(self.passed_over).min(now.since(self.at).0 / FADE_STEP_MS);
        let excess = fixed(expected).saturating_sub(fixed(floor));
        expected - millis(excess) + millis(halve(excess, steps, FADE_HALF_COUNT))
    }

    fn learnt(&mut self, now: Timestamp) {
        self.at = self.at.max(now);
        self.passed_over = 0;
    }
}

fn fixed(length: Millis) -> u64 {
    length.min(MAX).0 << FRACTION_BITS
}

fn millis(value: u64) -> Millis {
    Millis(value >> FRACTION_BITS)
}

/// What is left of `value` after so many `steps`, of which `half` leave half. Straight lines between the halvings: never
/// more than 7 % above the exponential, the same on every platform, and always falling.
fn halve(value: u64, steps: u64, half: u64) -> u64 {
    let (halvings, rest) = (steps / half, steps % half);
    let left = value.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0);
    left * (2 * half - rest) / (2 * half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn of(samples: &[(u64, u64)]) -> Estimate {
        let mut estimate = Estimate::default();
        for (at, took) in samples {
            estimate.sample(NOW + Millis(*at), Millis(*took));
        }
        estimate
    }

    fn ms(estimate: Estimate) -> u64 {
        estimate.expected(Millis::ZERO).0
    }

    #[test]
    fn it_rises_at_once_and_comes_down_over_time() {
        assert_eq!(ms(of(&[(0, 100), (10, 900)])), 900);
        assert_eq!(ms(of(&[(0, 900), (0, 100)])), 900, "no time has passed");
        assert_eq!(ms(of(&[(0, 900), (7_000, 100)])), 500);
        assert_eq!(ms(of(&[(0, 900), (3_500, 100)])), 700);
        assert_eq!(ms(of(&[(0, 900), (14_000, 100)])), 300);
        assert_eq!(ms(of(&[(0, 900), (1_000_000, 100)])), 100);
    }

    #[test]
    fn what_was_given_up_raises_and_never_lowers() {
        let mut estimate = of(&[(0, 500)]);
        estimate.at_least(NOW + Millis(60_000), Millis(100));
        assert_eq!(ms(estimate), 500);
        estimate.at_least(NOW, Millis(800));
        assert_eq!(ms(estimate), 800);
        let mut unmeasured = Estimate::default();
        unmeasured.at_least(NOW, Millis(300));
        assert_eq!((unmeasured.is_measured(), ms(unmeasured)), (false, 300));
        assert_eq!(unmeasured.expected(Millis(1000)), Millis(1000), "no more than was assumed anyway");
    }

    #[test]
    fn a_failure_is_worse_than_any_answer() {
        let mut estimate = of(&[(0, 500)]);
        estimate.failure(NOW, Millis(3), None, Some(Millis(500)));
        assert_eq!(ms(estimate), 5000);
        estimate.failure(NOW, Millis(3), Some(Millis(9000)), None);
        assert_eq!(ms(estimate), 9000, "the vendor's own hint");
        estimate.failure(NOW, Millis(3), None, Some(Millis(20_000)));
        assert_eq!(ms(estimate), 40_000, "twice what an answer takes");
        estimate.failure(NOW, Millis(u64::MAX), None, None);
        assert_eq!(ms(estimate), 300_000);
        estimate.forgive(NOW, Some(Millis(500)));
        assert_eq!(ms(estimate), 500);
        estimate.forgive(NOW, None);
        assert_eq!(estimate, Estimate::default());
    }

    #[test]
    fn it_fades_with_being_passed_over_and_not_with_time_alone() {
        let mut estimate = of(&[(0, 1000)]);
        let faded = |estimate: Estimate, after| estimate.faded(NOW + Millis(after), Millis(1), Millis(200)).0;
        assert_eq!(faded(estimate, u64::MAX), 1000, "nobody was preferred");
        for _ in 0..16 {
            estimate.pass_over();
        }
        assert_eq!(faded(estimate, 3999), 1000 - 800 * 15 / 32, "one count in 250 ms");
        assert_eq!((faded(estimate, 4000), faded(estimate, u64::MAX)), (600, 600));
        for _ in 0..10_000 {
            estimate.pass_over();
        }
        assert_eq!(faded(estimate, u64::MAX), 200);
        assert_eq!(estimate.faded(NOW + Millis(u64::MAX), Millis(1), Millis(5000)), Millis(1000), "never upwards");
        estimate.sample(NOW + Millis(1), Millis(1000));
        assert_eq!(faded(estimate, u64::MAX), 1000, "it was asked");
    }

    proptest! {
        #[test]
        fn it_lies_between_the_least_and_the_greatest(
            samples in prop::collection::vec((any::<u64>(), any::<u64>()), 1..50),
        ) {
            let estimate = of(&samples);
            let of_sample = |(_, took): &(u64, u64)| (*took).min(MAX.0);
            let (least, greatest) = (samples.iter().map(of_sample).min(), samples.iter().map(of_sample).max());
            prop_assert!((least..=greatest).contains(&Some(ms(estimate))), "{estimate:?}");
            prop_assert!(Some(ms(estimate)) >= samples.last().map(of_sample), "never below the latest");
        }

        #[test]
        fn nothing_that_was_given_up_or_failed_lowers_it(
            events in prop::collection::vec((0..100_000_u64, any::<u64>(), any::<bool>()), 1..50),
        ) {
            let mut estimate = of(&[(0, 700)]);
            for (after, took, failed) in events {
                let before = ms(estimate);
                let (now, took) = (NOW + Millis(after), Millis(took));
                if failed {
                    estimate.failure(now, took, None, None);
                } else {
                    estimate.at_least(now, took);
                }
                prop_assert!(ms(estimate) >= before);
            }
        }

        #[test]
        fn halving_never_rises_and_halves(value in 0..1_u64 << 40, steps in 0..1000_u64, half in 1..10_000_u64) {
            let left = halve(value, steps, half);
            prop_assert!(left <= value && halve(value, steps + 1, half) <= left);
            prop_assert!((left / 2).abs_diff(halve(value, steps + half, half)) <= 1);
            prop_assert_eq!(halve(value, half * 3, half), value / 8);
        }

        #[test]
        fn fading_ends_at_the_floor_and_never_below(took in 0..400_000_u64, floor in 0..400_000_u64, passed in 0..500_u32) {
            let mut estimate = of(&[(0, took)]);
            let before = estimate.expected(Millis::ZERO);
            for _ in 0..passed {
                estimate.pass_over();
            }
            let faded = estimate.faded(Timestamp::MAX, Millis::ZERO, Millis(floor));
            prop_assert!(faded <= before && faded >= before.min(Millis(floor).min(MAX)) - Millis(1), "{faded}");
        }
    }
}
