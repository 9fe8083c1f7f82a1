//! Quantiles in a fixed space, in integers, mergeable.
//!
//! A histogram whose buckets grow with the value: each octave from one power of two to the next is cut into 32, so a
//! bucket is never wider than a 32nd of its values, and its middle never off by more than a 64th (1.6 %). Such an error
//! relative to the *value* holds in a long tail too, where a sketch that bounds the error in *rank* says little. Merging
//! is adding, so sketches of many gateways make the sketch of all.

use crate::time::{Millis, Timestamp};

/// Longer samples count as this long.
pub const SKETCH_MAX: Millis = Millis::from_secs(3600);

/// Each octave is cut into 2⁵ buckets. Below 32 ms there is one for each millisecond.
const OCTAVE_BITS: u32 = 5;
const PER_OCTAVE: usize = 1 << OCTAVE_BITS;

/// How long the younger of two sketches takes in samples before it becomes the older.
const TURN_MS: u64 = 5 * 60 * 1000;

/// One for each millisecond below 32, then 32 for each octave up to [`SKETCH_MAX`].
const BUCKETS: usize = bucket(SKETCH_MAX) + 1;

/// Counts of samples, by how long they took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    counts: Box<[u32; BUCKETS]>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]) }
    }
}

impl Sketch {
    /// Takes in a sample.
    pub fn record(&mut self, took: Millis) {
        let count = &mut self.counts[bucket(took.min(SKETCH_MAX))];
        *count = count.saturating_add(1);
    }

    /// Takes in all of another's samples.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// How many samples it holds.
    pub fn count(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// What so many thousandths of the samples did not exceed, within a 64th; `None` without samples.
    pub fn quantile(&self, permille: u32) -> Option<Millis> {
        quantile(&[self], permille)
    }
}

/// Two sketches that take turns, so that old samples age out: what is asked for covers the last 5 to 10 minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct Aging {
    /// Which stretch of [`TURN_MS`] since the epoch `younger` covers; `older` covers the one before.
    turn: u64,
    younger: Sketch,
    older: Sketch,
}

impl Aging {
    pub(super) fn record(&mut self, now: Timestamp, took: Millis) {
        let turn = self.turn(now);
        if turn > self.turn {
            let follows = turn == self.turn + 1;
            let left = std::mem::take(&mut self.younger);
            self.older = if follows { left } else { Sketch::default() };
            self.turn = turn;
        }
        self.younger.record(took);
    }

    pub(super) fn count(&self, now: Timestamp) -> u64 {
        match self.turn(now) - self.turn {
            0 => self.younger.count() + self.older.count(),
            1 => self.younger.count(),
            _ => 0,
        }
    }

    pub(super) fn quantile(&self, now: Timestamp, permille: u32) -> Option<Millis> {
        match self.turn(now) - self.turn {
            0 => quantile(&[&self.younger, &self.older], permille),
            1 => self.younger.quantile(permille),
            _ => None,
        }
    }

    /// Time going back is time standing still.
    fn turn(&self, now: Timestamp) -> u64 {
        (now.0 / TURN_MS).max(self.turn)
    }
}

/// The middle of the bucket in which the sample of that rank lies, over all `sketches` together.
fn quantile(sketches: &[&Sketch], permille: u32) -> Option<Millis> {
    let total: u64 = sketches.iter().map(|sketch| sketch.count()).sum();
    let rank = (total * u64::from(permille.min(1000))).div_ceil(1000).max(1);
    let mut seen = 0;
    (0..BUCKETS).find_map(|bucket| {
        seen += sketches.iter().map(|sketch| u64::from(sketch.counts[bucket])).sum::<u64>();
        (seen >= rank).then(|| middle(bucket))
    })
}

/// Where a sample belongs. Sample and result are small enough for any width of integer.
#[expect(
    clippy::cast_possible_truncation,
    reason = "at most `SKETCH_MAX`, which is 22 bits, and `const` has no try_from"
)]
const fn bucket(took: Millis) -> usize {
    let ms = took.0 as u32;
    if (ms as usize) < PER_OCTAVE {
        return ms as usize;
    }
    let octave = ms.ilog2() - OCTAVE_BITS;
    let place = (ms >> octave) as usize;
    octave as usize * PER_OCTAVE + place
}

/// The value that stands for a bucket.
fn middle(bucket: usize) -> Millis {
    if bucket < PER_OCTAVE {
        return Millis(bucket as u64);
    }
    let octave = bucket / PER_OCTAVE - 1;
    let first = ((bucket % PER_OCTAVE + PER_OCTAVE) as u64) << octave;
    Millis(first + ((1 << octave) >> 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(samples: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        for &ms in samples {
            sketch.record(Millis(ms));
        }
        sketch
    }

    #[test]
    fn buckets_are_gapless_and_rise() {
        let mut last = 0;
        for ms in 0..=SKETCH_MAX.0 {
            let at = bucket(Millis(ms));
            assert!(at == last || at == last + 1, "{ms}");
            last = at;
            assert!(middle(at).0.abs_diff(ms) * 64 <= ms, "{ms} is told as {}", middle(at));
        }
        assert_eq!(last, BUCKETS - 1);
    }

    #[test]
    fn short_samples_are_exact_and_long_ones_capped() {
        let all = sketch(&(0..=30).collect::<Vec<u64>>());
        assert_eq!(all.quantile(0), Some(Millis(0)));
        assert_eq!(all.quantile(500), Some(Millis(15)));
        assert_eq!(all.quantile(1000), Some(Millis(30)));
        assert_eq!(all.quantile(u32::MAX), Some(Millis(30)));
        assert_eq!(sketch(&[u64::MAX]), sketch(&[SKETCH_MAX.0]));
        assert_eq!(sketch(&[u64::MAX]).quantile(500), Some(Millis(3_571_712)), "an hour, less a 64th at most");
        assert_eq!(sketch(&[]).quantile(500), None);
    }

    #[test]
    fn counts_saturate() {
        let mut full = Sketch::default();
        full.counts.fill(u32::MAX);
        full.record(Millis(1));
        full.merge(&full.clone());
        assert_eq!(full.count(), u64::from(u32::MAX) * BUCKETS as u64);
        assert!(full.quantile(999).is_some());
    }

    #[test]
    fn samples_age_out_after_five_to_ten_minutes() {
        let mut aging = Aging::default();
        aging.record(Timestamp(0), Millis(10));
        aging.record(Timestamp(TURN_MS), Millis(20));
        aging.record(Timestamp(0), Millis(20));
        assert_eq!(aging.quantile(Timestamp(TURN_MS), 100), Some(Millis(10)));
        assert_eq!(aging.quantile(Timestamp(2 * TURN_MS), 100), Some(Millis(20)));
        assert_eq!(aging.quantile(Timestamp(3 * TURN_MS), 100), None);
        aging.record(Timestamp(u64::MAX), Millis(30));
        assert_eq!(aging.quantile(Timestamp(0), 100), Some(Millis(30)));
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_64th_of_the_exact_one(
            mut samples in prop::collection::vec(prop_oneof![0..100_u64, 0..10_000_u64, 0..3_600_000_u64], 1..300),
            permille in 0..=1000_u32,
        ) {
            let told = sketch(&samples).quantile(permille).unwrap().0;
            samples.sort_unstable();
            let rank = (samples.len() * usize::try_from(permille).unwrap()).div_ceil(1000).max(1);
            let exact = samples[rank - 1];
            prop_assert!(told.abs_diff(exact) * 64 <= exact, "{told} for {exact}");
        }

        #[test]
        fn merging_is_recording_everything_in_one(
            left in prop::collection::vec(any::<u64>(), 0..50),
            right in prop::collection::vec(0..100_000_u64, 0..50),
        ) {
            let mut merged = sketch(&left);
            merged.merge(&sketch(&right));
            prop_assert_eq!(merged.count(), (left.len() + right.len()) as u64);
            prop_assert_eq!(merged, sketch(&[left, right].concat()));
        }
    }
}
