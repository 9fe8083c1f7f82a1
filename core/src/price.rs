//! What an answer costs, in integers.
//!
//! Money is counted in picodollars (10⁻¹² USD). A price of $2.50 per million tokens is 2 500 000 picodollars per token,
//! exactly, so no cent is ever lost to rounding. A price that is not known is absent, and so is the cost: never zero.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod table;
mod tariff;

pub use tariff::Tariff;

/// An amount of money in picodollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Picodollars(pub u64);

/// What a target's tokens cost at one moment, in picodollars per token.
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
    /// What all tokens cost where the prompt is longer, in the order of its length. No vendor has more than two such steps.
    pub tiers: [Option<Tier>; TIERS_MAX],
}

/// How many steps a price can have above its first.
pub const TIERS_MAX: usize = 2;

/// What tokens cost where the prompt is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// Prompts of more tokens than this.
    pub above: u64,
    input: Picodollars,
    cached_input: Option<Picodollars>,
    cache_write: Option<Picodollars>,
    cache_write_1h: Option<Picodollars>,
    output: Picodollars,
}

impl Tier {
    /// The step above so many tokens, to the first rates of this price.
    pub fn of(above: u64, price: &Price) -> Self {
        let Price { input, cached_input, cache_write, cache_write_1h, output, .. } = *price;
        Self { above, input, cached_input, cache_write, cache_write_1h, output }
    }

    /// Its rates, as a price that has no steps.
    pub fn price(&self) -> Price {
        let Self { input, cached_input, cache_write, cache_write_1h, output, .. } = *self;
        Price { input, cached_input, cache_write, cache_write_1h, output, tiers: [None; TIERS_MAX] }
    }
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
    /// What the vendor itself says that it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Picodollars>,
}

/// What an answer cost: what the vendor says, or else what its tokens come to at this price. `None` is unknown.
pub fn cost(price: Option<Price>, usage: Usage) -> Option<Picodollars> {
    usage.cost.or_else(|| price?.cost(usage))
}

impl Price {
    /// The rates for a prompt of this length.
    #[must_use]
    pub fn for_prompt(&self, tokens: u64) -> Self {
        let tier = self.tiers.iter().flatten().rev().find(|tier| tokens > tier.above);
        tier.map_or(*self, Tier::price)
    }

    /// What `usage` costs; `None` where it has tokens of a kind whose price is not known. Saturates: a vendor's absurd
    /// count cannot make it panic.
    pub fn cost(&self, usage: Usage) -> Option<Picodollars> {
        if self.tiers[0].is_some_and(|tier| usage.input > tier.above) {
            return self.for_prompt(usage.input).cost(usage);
        }
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

/// In USD per million tokens: `2 in, 8 out, 0.5 cached; above 200000 tokens: 4 in, …`.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_million = |price: Picodollars| Picodollars(price.0.saturating_mul(1_000_000));
        write!(f, "{} in, {} out", per_million(self.input), per_million(self.output))?;
        let others =
            [(self.cached_input, "cached"), (self.cache_write, "cache write"), (self.cache_write_1h, "cache write 1h")];
        for (price, kind) in others {
            if let Some(price) = price {
                write!(f, ", {} {kind}", per_million(price))?;
            }
        }
        for tier in self.tiers.iter().flatten() {
            write!(f, "; above {} tokens: {}", tier.above, tier.price())?;
        }
        Ok(())
    }
}

impl Picodollars {
    /// So many USD, as JSON writes numbers; what is finer than a picodollar is left out. `None`: not an amount of money.
    pub fn from_usd(text: &str) -> Option<Self> {
        const PLACES: i64 = 12;
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        let shift = exponent.parse::<i64>().ok()?.saturating_add(PLACES - i64::try_from(fraction.len()).ok()?);
        if digits.is_empty() || digits.len() > 40 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let digits: u128 = digits.parse().ok()?;
        let power = 10_u128.checked_pow(u32::try_from(shift.unsigned_abs()).unwrap_or(u32::MAX));
        let scaled = match power {
            Some(power) if shift < 0 => digits / power,
            Some(power) => digits.checked_mul(power)?,
            None if shift < 0 || digits == 0 => 0,
            None => return None,
        };
        u64::try_from(scaled).ok().map(Self)
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; nothing where `other` is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// In USD with all twelve places, less the zeros at the end: `0.00012`.
impl fmt::Display for Picodollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PER_DOLLAR: u64 = 1_000_000_000_000;
        const POINT: usize = 8;
        // As wide as it can be. Every answer tells its cost, and the formatter would take ten times as long.
        let mut text = *b"00000000.000000000000";
        let (whole, fraction) = text.split_at_mut(POINT);
        for (places, mut rest) in [(whole, self.0 / PER_DOLLAR), (&mut fraction[1..], self.0 % PER_DOLLAR)] {
            for place in places.iter_mut().rev() {
                *place += u8::try_from(rest % 10).expect("a digit");
                rest /= 10;
            }
        }
        let begin = text[..POINT - 1].iter().take_while(|digit| **digit == b'0').count();
        let text = str::from_utf8(&text[begin..]).expect("digits are ASCII");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
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
        tiers: [None; TIERS_MAX],
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
    fn a_long_prompt_costs_more_for_every_token() {
        let long = Tier::of(100, &Price { input: Picodollars(4_000_000), output: Picodollars(9_000_000), ..PRICE });
        let price = Price { tiers: [Some(long), None], ..PRICE };
        let cost = |input: u64| price.cost(Usage { input, output: 1, ..Usage::default() }).unwrap().0;
        assert_eq!((cost(100), cost(101)), (200_000_000 + 8_000_000, 404_000_000 + 9_000_000));
    }

    #[test]
    fn what_the_vendor_says_stands_above_our_reckoning() {
        let usage = Usage { input: 1, ..Usage::default() };
        assert_eq!(cost(Some(PRICE), usage), Some(Picodollars(2_000_000)));
        let told = Usage { cost: Some(Picodollars(7)), ..usage };
        assert_eq!((cost(Some(PRICE), told), cost(None, told)), (told.cost, told.cost));
        assert_eq!(cost(None, usage), None);
    }

    #[test]
    fn amounts_read_as_vendors_write_them() {
        for (text, amount) in [
            ("0", 0),
            ("0.00014", 140_000_000),
            ("1.4e-05", 14_000_000),
            ("2E3", 2_000_000_000_000_000),
            ("0.000123450000000000019", 123_450_000),
            ("1e-400", 0),
            ("0.10e-9223372036854775808", 0),
        ] {
            assert_eq!(Picodollars::from_usd(text), Some(Picodollars(amount)), "{text}");
        }
        for text in ["", "-1", "null", "\"1\"", "{}", "1e400", "1e9223372036854775807", "99999999999", ".", "1e", "NaN"]
        {
            assert_eq!(Picodollars::from_usd(text), None, "{text}");
        }
    }

    #[test]
    fn prints_as_dollars() {
        assert_eq!(Picodollars(0).to_string(), "0");
        assert_eq!(Picodollars(120_000_000).to_string(), "0.00012");
        assert_eq!(Picodollars(3_000_000_000_000).to_string(), "3");
        assert_eq!(Picodollars(1_500_000_000_001).to_string(), "1.500000000001");
        assert_eq!(Picodollars(100_000_000_000_000).to_string(), "100");
        assert_eq!(Picodollars(u64::MAX).to_string(), "18446744.073709551615");
    }
}
