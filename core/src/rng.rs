//! Randomness from a seed.
//!
//! The core draws none of its own: whoever builds it passes a seed, and the same seed gives the same jitter on every
//! platform. Everything here is integers, because floating point may differ in its last bit between the host and wasm.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use crate::time::Millis;

/// A small fast generator. Not for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The stream that belongs to `seed`; adapters take one from the operating system, tests choose it.
    pub fn from_seed(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// The stream that belongs to a name under a seed. What draws by itself is not moved by how others' draws fall between
    /// its own, so that a request, or a breaker, can be followed alone.
    pub fn from_name(seed: u64, name: &str) -> Self {
        Self::from_seed(seed ^ hash(name))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number less than `n`; zero if `n` is zero.
    ///
    /// Multiplies and shifts instead of taking a remainder, which leaves a bias of at most `n` in 2⁶⁴.
    pub fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(n);
        u64::try_from(wide >> 64).expect("the upper half of a product of two u64 is a u64")
    }

    /// One of several, each as likely as its weight says; `None` where none weighs anything.
    pub(crate) fn draw<T>(&mut self, weighted: impl Iterator<Item = (T, u64)> + Clone) -> Option<T> {
        let mut point = self.below(weighted.clone().map(|(_, weight)| weight).sum());
        for (one, weight) in weighted {
            match point.checked_sub(weight) {
                None => return Some(one),
                Some(rest) => point = rest,
            }
        }
        None
    }

    /// A length from `low` to `high`, both included; `low` if they are the wrong way round.
    pub fn between(&mut self, low: Millis, high: Millis) -> Millis {
        let span = (high - low).0;
        match span.checked_add(1) {
            Some(lengths) => low + Millis(self.below(lengths)),
            None => Millis(self.next_u64()),
        }
    }
}

/// FNV-1a: tells texts apart, the same on every platform and in every version.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, hash_on)
}

/// The hash of a text to which a byte is added.
pub(crate) fn hash_on(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_stream() {
        // From the reference implementation: SplitMix64 of the seed fills the state. A change here breaks replays.
        let mut rng = Rng::from_seed(0);
        assert_eq!([rng.next_u64(), rng.next_u64()], [0x5317_5d61_490b_23df, 0x61da_6f3d_c380_d507]);
        assert_ne!(Rng::from_seed(1).next_u64(), Rng::from_seed(2).next_u64());
    }

    #[test]
    fn a_name_has_a_stream_of_its_own() {
        // The published hash of "a": a change here breaks replays.
        assert_eq!(Rng::from_name(0, "a"), Rng::from_seed(0xaf63_dc4c_8601_ec8c));
        assert_ne!(Rng::from_name(1, "a"), Rng::from_name(1, "b"));
        assert_ne!(Rng::from_name(1, "a"), Rng::from_name(2, "a"));
    }

    #[test]
    fn below_reaches_every_number_and_none_beyond() {
        let mut rng = Rng::from_seed(7);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(rng.below(10)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| (850..=1150).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn draws_are_in_proportion_to_the_weights() {
        let mut rng = Rng::from_seed(7);
        let weighted = [('a', 0), ('b', 1), ('c', 0), ('d', 3)];
        let drawn: Vec<char> = (0..10_000).filter_map(|_| rng.draw(weighted.into_iter())).collect();
        let count = |which: char| drawn.iter().filter(|drawn| **drawn == which).count();
        assert_eq!((count('a'), count('c'), drawn.len()), (0, 0, 10_000));
        assert!((2400..=2600).contains(&count('b')), "{}", count('b'));
        assert_eq!(rng.draw([('a', 0)].into_iter()), None);
    }

    #[test]
    fn between_includes_both_ends_and_bears_any_range() {
        let mut rng = Rng::from_seed(7);
        let drawn: Vec<u64> = (0..100).map(|_| rng.between(Millis(3), Millis(5)).0).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&5)));
        assert_eq!(rng.between(Millis(9), Millis(4)), Millis(9));
        assert_eq!(rng.between(Millis(u64::MAX), Millis(u64::MAX)), Millis(u64::MAX));
        rng.between(Millis(0), Millis(u64::MAX));
    }
}
