//! What an answer costs, in integers.
//!
//! Money is counted in picodollars (10⁻¹² USD). A price of $2.50 per million tokens is 2 500 000 picodollars per token,
//! exactly, so no cent is ever lost to rounding. A price that is not known is absent, and so is the cost: never zero.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of money in picodollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Picodollars(pub u64);

/// What a target's tokens cost, in picodollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// A token of the prompt.
    pub input: Picodollars,
    /// A token of the prompt that the vendor had cached; absent: as `input`.
    pub cached_input: Option<Picodollars>,
    /// A token of the prompt that the vendor put into its cache for minutes; absent: not known, as with all vendors that
    /// count none.
    pub cache_write: Option<Picodollars>,
    /// The same for an hour.
    pub cache_write_1h: Option<Picodollars>,
    /// A token of the answer, thinking included.
    pub output: Picodollars,
}

/// The tokens of one attempt, as the vendor counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All tokens of the prompt, cached ones included (as `OpenAI` counts).
    pub input: u64,
    /// Those of them that came from the vendor's cache.
    pub cached_input: u64,
    /// Those of them that the vendor put into its cache for minutes, at a price of their own.
    pub cache_write: u64,
    /// Those of them that it put there for an hour.
    pub cache_write_1h: u64,
    /// Tokens of the answer, thinking included.
    pub output: u64,
    /// Those of them that the model spent on thinking.
    pub reasoning: u64,
}

impl Price {
    /// What `usage` costs; `None` where it has tokens of a kind whose price is not known. Saturates: a vendor's absurd
    /// count cannot make it panic.
    pub fn cost(&self, usage: Usage) -> Option<Picodollars> {
        let mut plain = usage.input;
        let kinds = [
            (usage.cached_input, self.cached_input.or(Some(self.input))),
            (usage.cache_write, self.cache_write),
            (usage.cache_write_1h, self.cache_write_1h),
        ];
        let mut sum = Picodollars(self.output.0.saturating_mul(usage.output));
        for (tokens, price) in kinds {
            // What a vendor counts within the prompt cannot be more than the prompt.
            let tokens = tokens.min(plain);
            if tokens > 0 {
                sum = sum.plus(Picodollars(price?.0.saturating_mul(tokens)));
                plain -= tokens;
            }
        }
        Some(sum.plus(Picodollars(self.input.0.saturating_mul(plain))))
    }
}

impl Picodollars {
    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// In USD with all twelve places, less the zeros at the end: `0.00012`.
impl fmt::Display for Picodollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PER_DOLLAR: u64 = 1_000_000_000_000;
        let (dollars, mut fraction) = (self.0 / PER_DOLLAR, self.0 % PER_DOLLAR);
        if fraction == 0 {
            return write!(f, "{dollars}");
        }
        let mut places = 12;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            places -= 1;
        }
        write!(f, "{dollars}.{fraction:0places$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input: Picodollars(2_000_000),
        cached_input: Some(Picodollars(500_000)),
        cache_write: None,
        cache_write_1h: Some(Picodollars(4_000_000)),
        output: Picodollars(8_000_000),
    };

    #[test]
    fn cached_tokens_are_part_of_the_prompt_and_cost_less() {
        let usage = Usage { input: 100, cached_input: 40, output: 10, ..Usage::default() };
        assert_eq!(PRICE.cost(usage), Some(Picodollars(60 * 2_000_000 + 40 * 500_000 + 10 * 8_000_000)));
        let no_cache_price = Price { cached_input: None, ..PRICE };
        assert_eq!(no_cache_price.cost(usage), Some(Picodollars(100 * 2_000_000 + 10 * 8_000_000)));
    }

    #[test]
    fn a_kind_without_a_price_makes_the_cost_unknown() {
        let usage = Usage { input: 100, cache_write_1h: 30, ..Usage::default() };
        assert_eq!(PRICE.cost(usage), Some(Picodollars(70 * 2_000_000 + 30 * 4_000_000)));
        assert_eq!(PRICE.cost(Usage { cache_write: 1, ..usage }), None);
    }

    #[test]
    fn absurd_counts_saturate() {
        let usage = Usage { input: u64::MAX, cached_input: u64::MAX, output: u64::MAX, ..Usage::default() };
        assert_eq!(PRICE.cost(usage), Some(Picodollars(u64::MAX)));
        let more_cached_than_sent = Usage { input: 1, cached_input: 5, cache_write_1h: 5, ..Usage::default() };
        assert_eq!(PRICE.cost(more_cached_than_sent), Some(Picodollars(500_000)));
    }

    #[test]
    fn prints_as_dollars() {
        assert_eq!(Picodollars(0).to_string(), "0");
        assert_eq!(Picodollars(120_000_000).to_string(), "0.00012");
        assert_eq!(Picodollars(3_000_000_000_000).to_string(), "3");
        assert_eq!(Picodollars(1_500_000_000_001).to_string(), "1.500000000001");
    }
}
