//! Distributions in integers, so that the host and wasm draw alike.

use crate::rng::Rng;

/// −ln of 16/32, 17/32 … 32/32, in 1/100 000.
const MINUS_LN: [u64; 17] = [
    69_315, 63_252, 57_536, 52_130, 47_000, 42_121, 37_469, 33_024, 28_768, 24_686, 20_764, 16_990, 13_353, 9844, 6454,
    3175, 0,
];

/// Bits of a draw by which is interpolated between two entries of the table.
const FINE_BITS: u32 = 20;

/// An exponentially distributed number with this mean.
pub(crate) fn exponential(rng: &mut Rng, mean: u64) -> u64 {
    // A uniform draw is m/2ᵏ with m in [1/2, 1): −ln of it is k·ln 2 − ln m.
    let draw = rng.next_u64() | 1;
    let halvings = u64::from(draw.leading_zeros());
    // The bits behind the leading one: four that pick the entry, and some to interpolate by.
    let mantissa = (draw << draw.leading_zeros() << 1) >> (64 - 4 - FINE_BITS);
    let entry = usize::try_from(mantissa >> FINE_BITS).expect("four bits");
    let fine = mantissa & ((1 << FINE_BITS) - 1);
    let (above, below) = (MINUS_LN[entry], MINUS_LN[entry + 1]);
    let minus_ln = halvings * MINUS_LN[0] + above - (((above - below) * fine) >> FINE_BITS);
    u64::try_from(u128::from(mean) * u128::from(minus_ln) / 100_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponential_has_its_mean_and_its_tail() {
        let mut rng = Rng::from_seed(1);
        let mut drawn: Vec<u64> = (0..100_000).map(|_| exponential(&mut rng, 100_000)).collect();
        let mean = drawn.iter().sum::<u64>() / 100_000;
        assert!((99_000..=101_000).contains(&mean), "{mean}");
        drawn.sort_unstable();
        // Quantiles of the exponential distribution: ln 2, ln 20, ln 1000.
        for (at, expected) in [(50_000, 69_315), (95_000, 299_573), (99_900, 690_776)] {
            let quantile = drawn[at];
            assert!(quantile.abs_diff(expected) * 25 <= expected, "{quantile} for {expected}");
        }
    }
}
