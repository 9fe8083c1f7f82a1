//! `usage`: what an answer took, as `OpenAI` counts it, and what it cost, as `OpenRouter` was the first to say.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::dialect::chat::Stamp;
use crate::dialect::scan::end_of_string;
use crate::price::{Picodollars, Usage};

/// `usage`, with the names that `OpenAI` and `DeepSeek` use.
#[derive(Deserialize)]
struct ReadUsage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
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
    let wire: ReadUsage = serde_json::from_str(raw?.get()).ok()?;
    let details = wire.prompt_tokens_details.as_ref();
    let cached = details.and_then(|details| details.cached_tokens).or(wire.prompt_cache_hit_tokens);
    Some(Usage {
        input: wire.prompt_tokens,
        cached_input: cached.unwrap_or(0),
        cache_write: details.and_then(|details| details.cache_write_tokens).unwrap_or(0),
        cache_write_1h: 0,
        output: wire.completion_tokens.unwrap_or(0),
        reasoning: wire.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
    })
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

/// Puts the cost into the `usage` of a reply; one that has no usage, or tells its cost already, stays as it is.
///
/// The body has been read before and may be megabytes of embeddings, so it is not read again: vendors put `usage` at
/// the end, and it is looked for from there.
pub fn with_cost(body: Bytes, cost: Picodollars) -> Bytes {
    match find_usage(&body) {
        Some(usage) => spliced(&body, usage, cost).unwrap_or(body),
        None => body,
    }
}

/// `whole` with the cost in the object that begins at `at`; `None` where that tells its cost already.
fn spliced(whole: &[u8], at: usize, cost: Picodollars) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        cost: Cost,
    }

    let told = serde_json::Deserializer::from_slice(&whole[at..]).into_iter::<Told>().next()?.ok()?;
    if told.cost.is_told {
        return None;
    }
    let (before, after) = whole.split_at(at + 1);
    let comma: &[u8] = if after.trim_ascii_start().starts_with(b"}") { b"" } else { b"," };
    let cost = cost.to_string();
    let mut bytes = BytesMut::with_capacity(whole.len() + cost.len() + 8);
    for piece in [before, b"\"cost\":", cost.as_bytes(), comma, after] {
        bytes.extend_from_slice(piece);
    }
    Some(bytes.freeze())
}

/// Whether a key is there, even with `null`: a second one of its name would make a body that nobody can rely on.
#[derive(Default)]
struct Cost {
    is_told: bool,
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self { is_told: true })
    }
}

/// Where the value of the outermost `usage` begins, if it is an object.
fn find_usage(body: &[u8]) -> Option<usize> {
    /// In JSON these bytes are a string of its own, unless the first quote is escaped.
    const KEY: &[u8] = b"\"usage\"";
    /// Groq says it a second time in an object of its own; nobody says it more often.
    const TRIES: usize = 4;
    let mut end = body.len();
    for _ in 0..TRIES {
        let key = memmem::rfind(&body[..end], KEY)?;
        let after = body[key + KEY.len()..].trim_ascii_start();
        let value = after.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if let Some(value) = value
            && value.starts_with(b"{")
            && !body[..key].ends_with(b"\\")
            && ends_the_body(value)
        {
            return Some(body.len() - value.len());
        }
        end = key;
    }
    None
}

/// Whether what follows is the rest of the outermost object, and not of one within it.
fn ends_the_body(rest: &[u8]) -> bool {
    let (mut depth, mut at) = (1_u32, 0);
    while let Some(byte) = rest.get(at) {
        at += 1;
        match byte {
            b'"' => match end_of_string(rest, at) {
                Some(end) => at = end + 1,
                None => return false,
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return rest[at..].trim_ascii().is_empty();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const COST: Picodollars = Picodollars(120_000_000);

    fn told(body: &'static str) -> String {
        String::from_utf8(with_cost(Bytes::from_static(body.as_bytes()), COST).to_vec()).unwrap()
    }

    #[test]
    fn the_cost_stands_in_the_usage() {
        for (body, expected) in [
            (r#"{"usage":{"prompt_tokens":1}}"#, r#"{"usage":{"cost":0.00012,"prompt_tokens":1}}"#),
            (r#"{"usage" : { } ,"a":[{"b":"}"}]} "#, r#"{"usage" : {"cost":0.00012 } ,"a":[{"b":"}"}]} "#),
            (
                r#"{"usage":{"a":{}},"x_groq":{"usage":{"queue_time":1}}}"#,
                r#"{"usage":{"cost":0.00012,"a":{}},"x_groq":{"usage":{"queue_time":1}}}"#,
            ),
            (
                r#"{"usage":{"a":1},"text":"\"usage\":{","kind":"usage"}"#,
                r#"{"usage":{"cost":0.00012,"a":1},"text":"\"usage\":{","kind":"usage"}"#,
            ),
            (r#"{"usage":{"a":1},"text":"\"usage"}"#, r#"{"usage":{"cost":0.00012,"a":1},"text":"\"usage"}"#),
        ] {
            assert_eq!(told(body), expected);
        }
    }

    #[test]
    fn where_there_is_no_place_for_it_nothing_changes() {
        for body in [
            "",
            "{}",
            r#"{"usage":null}"#,
            r#"{"usage":{"cost":0.5}}"#,
            r#"{"usage":{"a":1,"cost":null}}"#,
            r#"{"x":{"usage":{"a":1}}}"#,
            r#"{"x":"\"usage\":{}"}"#,
            r#"[{"usage":{}}]"#,
            r#"{"usage":{"#,
        ] {
            assert_eq!(told(body), body);
        }
    }

    /// The vectors before it are not looked at: a megabyte takes the time of a copy.
    #[test]
    fn a_body_is_read_from_its_end() {
        let vectors = "[0.25],".repeat(200_000);
        let body = format!(r#"{{"data":[{vectors}[1]],"usage":{{"prompt_tokens":1}}}}"#);
        let told = with_cost(body.clone().into(), COST);
        assert_eq!(told.len(), body.len() + "\"cost\":0.00012,".len());
    }

    proptest! {
        #[test]
        fn only_the_cost_is_new(
            parts in prop::collection::vec(prop::sample::select(vec![
                r#""usage":{"prompt_tokens":1}"#, r#""a":"usage""#, r#""b":{"usage":{}}"#, r#""c":"\"usage\":{}""#,
                r#""d":[{"usage":{"x":"}"}}]"#, r#""e":"\\""#, r#""f":null"#,
            ]), 0..6),
        ) {
            let mut keys = std::collections::BTreeSet::new();
            let parts: Vec<&str> = parts.into_iter().filter(|part| keys.insert(&part[..4])).collect();
            let body = format!("{{{}}}", parts.join(","));
            let mut told: Value = serde_json::from_slice(&with_cost(body.clone().into(), COST)).unwrap();
            if let Some(usage) = told.get_mut("usage").and_then(Value::as_object_mut) {
                prop_assert_eq!(usage.remove("cost"), Some(serde_json::json!(0.00012)));
            }
            prop_assert_eq!(told, serde_json::from_str::<Value>(&body).unwrap());
        }

        #[test]
        fn any_bytes_are_taken(body in "[{}\\[\\]\",:\\\\a]{0,40}") {
            let _ = with_cost(body.replace('a', "\"usage\":{").into(), COST);
        }
    }
}
