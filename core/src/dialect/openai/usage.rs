//! `usage`: what an answer took, as `OpenAI` counts it, and what it cost, as `OpenRouter` was the first to say.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::dialect::chat::Stamp;
use crate::price::{Picodollars, Usage};

/// `usage`, with the names that `OpenAI` and `DeepSeek` use.
#[derive(Deserialize)]
struct ReadUsage<'a> {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    #[serde(borrow, default)]
    cost: Cost<'a>,
}

#[derive(Serialize, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

/// Reads `usage`. One that does not read is unknown: it never spoils an answer.
pub(super) fn read_usage(raw: Option<&RawValue>) -> Option<Usage> {
    serde_json::from_str::<ReadUsage<'_>>(raw?.get()).ok().map(ReadUsage::counted)
}

/// Reads the `usage` of `body`, and says where the cost is to be put: nowhere, if the vendor tells one already.
pub(super) fn find_usage_in(body: &[u8], raw: Option<&RawValue>) -> Option<(Usage, Option<usize>)> {
    let raw = raw?;
    let wire: ReadUsage<'_> = serde_json::from_str(raw.get()).ok()?;
    let at = raw.get().as_ptr().addr() - body.as_ptr().addr();
    let tells_cost = wire.cost.0.is_some();
    Some((wire.counted(), (!tells_cost).then_some(at)))
}

impl ReadUsage<'_> {
    fn counted(self) -> Usage {
        let details = self.prompt_tokens_details.as_ref();
        let cached = details.and_then(|details| details.cached_tokens).or(self.prompt_cache_hit_tokens);
        Usage {
            input: self.prompt_tokens,
            cached_input: cached.unwrap_or(0),
            cache_write: details.and_then(|details| details.cache_write_tokens).unwrap_or(0),
            cache_write_1h: 0,
            output: self.completion_tokens.unwrap_or(0),
            reasoning: self.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
            cost: self.cost.0.and_then(|cost| Picodollars::from_usd(cost.get())),
        }
    }
}

/// `usage`, as it is written.
#[derive(Serialize)]
pub(super) struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
    /// In USD. Absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Box<RawValue>>,
}

impl WireUsage {
    pub(super) fn new(usage: Usage, stamp: &Stamp) -> Self {
        Self {
            prompt_tokens: usage.input,
            completion_tokens: usage.output,
            total_tokens: usage.input.saturating_add(usage.output),
            prompt_tokens_details: PromptDetails {
                cached_tokens: Some(usage.cached_input),
                cache_write_tokens: Some(usage.cache_write.saturating_add(usage.cache_write_1h)),
            },
            completion_tokens_details: CompletionDetails { reasoning_tokens: Some(usage.reasoning) },
            // As text, so that every place of it arrives.
            cost: stamp.cost(usage).and_then(|cost| RawValue::from_string(cost.to_string()).ok()),
        }
    }
}

/// `whole` with the cost in the object that begins at `at`.
pub fn with_cost_at(whole: &[u8], at: usize, cost: Picodollars) -> Bytes {
    let (before, after) = whole.split_at(at + 1);
    let comma: &[u8] = if after.trim_ascii_start().starts_with(b"}") { b"" } else { b"," };
    let cost = cost.to_string();
    let mut bytes = BytesMut::with_capacity(whole.len() + cost.len() + 8);
    for piece in [before, b"\"cost\":", cost.as_bytes(), comma, after] {
        bytes.extend_from_slice(piece);
    }
    bytes.freeze()
}

/// What the vendor says of the cost, even `null`: a second key of its name would make a body that nobody can rely on.
#[derive(Default)]
struct Cost<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Cost<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|told| Self(Some(told)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Picodollars = Picodollars(120_000_000);

    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, default)]
        usage: Option<&'a RawValue>,
    }

    /// The body with the cost in it, where there is a place for it.
    fn told(body: &str) -> String {
        let read: Body<'_> = serde_json::from_str(body).unwrap();
        let place = find_usage_in(body.as_bytes(), read.usage).and_then(|(_, place)| place);
        let told = place.map(|at| with_cost_at(body.as_bytes(), at, COST));
        told.map_or_else(|| body.to_owned(), |told| String::from_utf8(told.to_vec()).unwrap())
    }

    #[test]
    fn the_cost_stands_in_the_usage() {
        for (body, expected) in [
            (r#"{"usage":{"prompt_tokens":1}}"#, r#"{"usage":{"cost":0.00012,"prompt_tokens":1}}"#),
            (
                r#"{"usage" : { "prompt_tokens":1 } ,"a":[{"b":"}"}]} "#,
                r#"{"usage" : {"cost":0.00012, "prompt_tokens":1 } ,"a":[{"b":"}"}]} "#,
            ),
            (
                r#"{"x_groq":{"usage":{"queue_time":1}},"usage":{"prompt_tokens":1}}"#,
                r#"{"x_groq":{"usage":{"queue_time":1}},"usage":{"cost":0.00012,"prompt_tokens":1}}"#,
            ),
        ] {
            assert_eq!(told(body), expected);
        }
    }

    #[test]
    fn where_there_is_no_place_for_it_nothing_changes() {
        for body in [
            "{}",
            r#"{"usage":null}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":{"prompt_tokens":1,"cost":0.5}}"#,
            r#"{"usage":{"prompt_tokens":1,"cost":null}}"#,
            r#"{"x":{"usage":{"prompt_tokens":1}}}"#,
        ] {
            assert_eq!(told(body), body);
        }
    }
}
