//! Exact counts over the recent past.
//!
//! Ten buckets, each a tenth of the span. Exact counts and not a decaying average, because an average that decays with
//! time gives a burst of failures at a high request rate almost no weight, and a total outage can hide in it
//! (linkerd2-proxy replaced its average for that reason). The span reaches back at least nine tenths and at most all
//! of itself: what is older never counts, what is younger than nine tenths always does.

use crate::time::{Millis, Timestamp};

const BUCKETS: usize = 10;

/// Tallies of type `T` over a sliding span of time.
///
/// Time going back is time standing still. No call does more than ten steps, however far time jumps, because each
/// bucket knows which stretch of time it belongs to and needs no sweeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buckets<T> {
    width: u64,
    newest: u64,
    ring: [Bucket<T>; BUCKETS],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bucket<T> {
    /// Which stretch of `width` since the epoch.
    stretch: u64,
    tally: T,
}

impl<T: Copy + Default> Buckets<T> {
    /// Empty; a span under 10 ms counts as 10 ms.
    pub(crate) fn new(span: Millis) -> Self {
        Self { width: width(span), newest: 0, ring: [Bucket::default(); BUCKETS] }
    }

    /// Whether it was made for this span: a reload of the configuration may change it.
    pub(crate) fn spans(&self, span: Millis) -> bool {
        self.width == width(span)
    }

    /// Forgets everything but the span.
    pub(crate) fn clear(&mut self) {
        self.ring = Default::default();
    }

    /// The tally of the present bucket, to add to.
    pub(crate) fn current(&mut self, now: Timestamp) -> &mut T {
        self.newest = self.stretch(now);
        let place = usize::try_from(self.newest % BUCKETS as u64).expect("a remainder of ten fits");
        let bucket = &mut self.ring[place];
        if bucket.stretch != self.newest {
            *bucket = Bucket { stretch: self.newest, tally: T::default() };
        }
        &mut bucket.tally
    }

    /// The tallies that lie within the span, in no particular order.
    pub(crate) fn live(&self, now: Timestamp) -> impl Iterator<Item = &T> {
        let present = self.stretch(now);
        self.ring.iter().filter(move |bucket| present - bucket.stretch < BUCKETS as u64).map(|bucket| &bucket.tally)
    }

    fn stretch(&self, now: Timestamp) -> u64 {
        (now.0 / self.width).max(self.newest)
    }
}

fn width(span: Millis) -> u64 {
    (span.0 / BUCKETS as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(buckets: &Buckets<u32>, now: u64) -> u32 {
        buckets.live(Timestamp(now)).sum()
    }

    #[test]
    fn a_sample_counts_for_nine_to_ten_tenths_of_the_span() {
        let mut buckets = Buckets::new(Millis(1000));
        *buckets.current(Timestamp(5050)) += 1;
        assert_eq!(count(&buckets, 5999), 1);
        assert_eq!(count(&buckets, 6000), 0);
    }

    #[test]
    fn a_bucket_is_emptied_when_its_turn_comes_again() {
        let mut buckets = Buckets::new(Millis(1000));
        *buckets.current(Timestamp(0)) += 7;
        *buckets.current(Timestamp(1000)) += 1;
        assert_eq!(count(&buckets, 1000), 1);
    }

    #[test]
    fn going_back_adds_to_the_present_and_any_jump_is_borne() {
        let mut buckets = Buckets::new(Millis(0));
        *buckets.current(Timestamp(u64::MAX)) += 1;
        *buckets.current(Timestamp(0)) += 1;
        assert_eq!(count(&buckets, 0), 2);
        buckets.clear();
        assert_eq!(count(&buckets, u64::MAX), 0);
    }

    #[test]
    fn it_knows_the_span_that_it_was_made_for() {
        let buckets = Buckets::<u32>::new(Millis(30_000));
        assert!(buckets.spans(Millis(30_000)));
        assert!(!buckets.spans(Millis(60_000)) && !buckets.spans(Millis(10)));
    }
}
