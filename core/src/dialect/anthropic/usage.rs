//! What Anthropic counts, and the cost of it.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::price::{Picodollars, Usage};

/// `usage` as Anthropic words it. A stream says it in parts, each of which counts from the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counted {
    /// Those that were neither read from the cache nor written to it.
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    /// All that were written to the cache, for however long.
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Counted {
    /// Reads `usage`. One that does not read, or holds none of these, is unknown: it never spoils an answer.
    pub(super) fn read(raw: Option<&RawValue>) -> Option<Self> {
        let tokens: Self = serde_json::from_str(raw?.get()).ok()?;
        (tokens != Self::default()).then_some(tokens)
    }

    /// Takes over what a later part of a stream says. It may leave out what has not changed.
    pub(super) fn update(&mut self, newer: Self) {
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = newer.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = newer.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_creation = newer.cache_creation.or(self.cache_creation);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
        self.output_tokens_details = newer.output_tokens_details.or(self.output_tokens_details);
    }

    /// The same as the gateway counts: all of the prompt is input, whatever the cache did.
    pub(super) fn usage(self) -> Usage {
        let count = Option::unwrap_or_default;
        let creation = self.cache_creation.unwrap_or_default();
        let (short, long) = (count(creation.ephemeral_5m_input_tokens), count(creation.ephemeral_1h_input_tokens));
        let written = self.cache_creation_input_tokens.unwrap_or(short.saturating_add(long));
        let long = long.min(written);
        let read = count(self.cache_read_input_tokens);
        let output = count(self.output_tokens);
        let thinking = self.output_tokens_details.and_then(|details| details.thinking_tokens);
        Usage {
            input: count(self.input_tokens).saturating_add(read).saturating_add(written),
            cached_input: read,
            cache_write: written - long,
            cache_write_1h: long,
            output,
            reasoning: count(thinking).min(output),
            cost: None,
        }
    }
}

/// Writes what an answer cost into its `usage`, where it has one: `"cost":0.00123`, in USD.
pub fn with_cost(body: Bytes, cost: Picodollars) -> Bytes {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        usage: &'a RawValue,
    }
    match serde_json::from_slice::<Envelope<'_>>(&body) {
        Ok(envelope) => splice_cost(&body, envelope.usage, cost).unwrap_or(body),
        Err(_) => body,
    }
}

/// The bytes of `whole` with the cost in `usage`, which was borrowed from them. `None` where it was not, is no object, or
/// has a cost already.
pub(super) fn splice_cost(whole: &Bytes, usage: &RawValue, cost: Picodollars) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Known {
        cost: Option<IgnoredAny>,
    }
    let text = usage.get();
    let members = text.strip_prefix('{')?;
    if serde_json::from_str::<Known>(text).ok()?.cost.is_some() {
        return None;
    }
    let start = text.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    if start + text.len() > whole.len() {
        return None;
    }
    let comma = if members.trim_start().starts_with('}') { "" } else { "," };
    let (before, after) = whole.split_at(start + 1);
    let cost = format!("\"cost\":{cost}{comma}");
    Some([before, cost.as_bytes(), after].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(usage: &str) -> Option<Usage> {
        let raw: Box<RawValue> = serde_json::from_str(usage).unwrap();
        Counted::read(Some(&raw)).map(Counted::usage)
    }

    #[test]
    fn the_prompt_is_what_was_read_written_and_neither() {
        let usage = r#"{"input_tokens":21,"cache_creation_input_tokens":188,"cache_read_input_tokens":1000,
            "cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":88},"output_tokens":393,
            "output_tokens_details":{"thinking_tokens":300},"service_tier":"standard","server_tool_use":null}"#;
        let expected = Usage {
            input: 1209,
            cached_input: 1000,
            cache_write: 100,
            cache_write_1h: 88,
            output: 393,
            reasoning: 300,
            cost: None,
        };
        assert_eq!(read(usage), Some(expected));
        let only_parts = r#"{"input_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":5}}"#;
        assert_eq!(read(only_parts), Some(Usage { input: 6, cache_write_1h: 5, ..Usage::default() }));
    }

    #[test]
    fn what_says_nothing_is_unknown_and_absurd_counts_saturate() {
        for nothing in ["{}", "null", "7", r#"{"input_tokens":"many"}"#, r#"{"input_tokens":-1}"#] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        let absurd = format!("{{\"input_tokens\":{0},\"cache_read_input_tokens\":{0}}}", u64::MAX);
        assert_eq!(read(&absurd).unwrap().input, u64::MAX);
    }

    #[test]
    fn a_later_part_may_leave_out_what_it_does_not_change() {
        let mut tokens: Counted = serde_json::from_str(r#"{"input_tokens":9,"output_tokens":1}"#).unwrap();
        tokens.update(serde_json::from_str(r#"{"output_tokens":15}"#).unwrap());
        assert_eq!(tokens.usage(), Usage { input: 9, output: 15, ..Usage::default() });
    }

    #[test]
    fn the_cost_goes_into_the_usage_and_nothing_else_changes() {
        let cost = Picodollars(1_230_000_000);
        for (body, expected) in [
            (r#"{"a":[1], "usage": {"input_tokens":3}}"#, r#"{"a":[1], "usage": {"cost":0.00123,"input_tokens":3}}"#),
            (r#"{"usage":{ }}"#, r#"{"usage":{"cost":0.00123 }}"#),
            (r#"{"usage":{"cost":1}}"#, r#"{"usage":{"cost":1}}"#),
            (r#"{"usage":null}"#, r#"{"usage":null}"#),
            (r#"{"usage":[]}"#, r#"{"usage":[]}"#),
            (r#"{"id":"x"}"#, r#"{"id":"x"}"#),
            ("{\"usage\":{", "{\"usage\":{"),
            ("", ""),
        ] {
            assert_eq!(with_cost(Bytes::from(body), cost), expected, "{body}");
        }
    }
}
