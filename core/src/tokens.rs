//! How many tokens a request will come to, before any vendor has counted them.
//!
//! Limits reserve by it and routes choose by it, so it must be there before the request is sent, and for vendors whose
//! tokenizers nobody knows. So the text is not tokenized but weighed ([`weigh`]), in one pass and in integers, and each
//! target's answers say by how much that is off: its [`Calibration`] follows them. Nothing here is done for a request on
//! whose way nobody asks.

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::price::Usage;

mod script;
mod weigh;

pub use weigh::weigh;

/// What a target's answers are assumed to be long until it has given some.
const OUTPUT_DEFAULT: u64 = 500;

/// How much a new answer counts: 1/16 of what is known.
const MEMORY: u64 = 16;

/// A target's count is believed between a third and three times of ours: beyond that it counts something else.
const RATIO_MAX: u64 = 3;

/// What our own count is worth when a target has not counted yet, in tokens: as much as a middling prompt.
const PRIOR: u64 = 1_000;

/// A prompt that is larger than any context window counts as one that fills it: what is summed up stays far from overflow.
const INPUT_MAX: u64 = 10_000_000;

/// A file or a recording: about a page of a PDF as Anthropic and Gemini count it. Nobody knows its length without reading it.
const FILE_TOKENS: u64 = 2_000;

/// What a request is expected to come to at one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of the prompt, with its tools; never zero.
    pub input: u64,
    /// Tokens of the answer; zero only for what has none, such as embeddings.
    pub output: u64,
}

impl Estimate {
    /// Both together.
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// A request's text, weighed: the same for all targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// What the text comes to with OpenAI's `o200k_base`, about, in 1/1000 tokens.
    pub text_milli: u64,
    /// Images in it.
    pub images: u32,
    /// Files and recordings in it.
    pub files: u32,
    /// The most that the client wants for an answer.
    pub output_max: Option<u64>,
    /// How many answers it wants.
    pub answers: u32,
}

impl Weight {
    /// Tokens of the prompt as a vendor of this dialect is expected to count them, before its own counts are known.
    fn input(&self, dialect: Dialect) -> u64 {
        let media = u64::from(self.images) * image_tokens(dialect) + u64::from(self.files) * FILE_TOKENS;
        (self.text_milli / 1000).saturating_add(media).clamp(1, INPUT_MAX)
    }
}

/// An image of about a megapixel. OpenAI: 85 and 170 for each of four tiles (gpt-4o); Anthropic: pixels / 750; Gemini: 258
/// for each of four tiles.
fn image_tokens(dialect: Dialect) -> u64 {
    match dialect {
        Dialect::OpenAi => 765,
        Dialect::Anthropic => 1_400,
        Dialect::Gemini => 1_032,
    }
}

/// What one target's answers have taught about its counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calibration {
    /// Two sums that fade alike: what the target counted, and what was expected. Large prompts say more than small ones.
    counted: u64,
    expected: u64,
    /// The usual length of an answer, times [`MEMORY`].
    output: u64,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { counted: PRIOR * MEMORY, expected: PRIOR * MEMORY, output: OUTPUT_DEFAULT * MEMORY }
    }
}

impl Calibration {
    /// What a request of this weight will come to.
    pub fn estimate(&self, weight: &Weight, dialect: Dialect, has_answer: bool) -> Estimate {
        let input = u128::from(weight.input(dialect)) * u128::from(self.counted) / u128::from(self.expected.max(1));
        let usual = (self.output / MEMORY).max(1).saturating_mul(u64::from(weight.answers.max(1)));
        let most = weight.output_max.map_or(u64::MAX, |max| max.max(1).saturating_mul(weight.answers.max(1).into()));
        Estimate {
            input: u64::try_from(input).unwrap_or(u64::MAX).max(1),
            output: if has_answer { usual.min(most) } else { 0 },
        }
    }

    /// Whether it has learnt how long answers are.
    pub fn knows_answers(&self) -> bool {
        self.output != Self::default().output
    }

    /// Takes in what a target counted for an answer; `weight` is its request's where it was weighed.
    pub fn note(&mut self, weight: Option<&Weight>, dialect: Dialect, usage: Usage) {
        if usage.output > 0 {
            let output = usage.output.min(INPUT_MAX);
            self.output = self.output - self.output / MEMORY + output;
        }
        // What images come to is not known well enough to learn from.
        let Some(weight) = weight.filter(|weight| weight.images == 0 && weight.files == 0) else { return };
        if usage.input == 0 {
            return;
        }
        let expected = weight.input(dialect);
        let counted = usage.input.clamp(expected.div_ceil(RATIO_MAX), expected * RATIO_MAX);
        self.counted = self.counted - self.counted / MEMORY + counted;
        self.expected = self.expected - self.expected / MEMORY + expected;
    }
}

#[cfg(test)]
mod tests;
