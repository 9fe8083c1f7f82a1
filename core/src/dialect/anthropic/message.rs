//! A message as Anthropic's clients read it: what a whole reply and a stream have in common.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::chat::{Json, Stamp, Stop};
use crate::price::Usage;

/// A message; in a stream, as it begins.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) r#type: &'static str,
    pub(super) role: &'static str,
    pub(super) model: &'a str,
    pub(super) content: Vec<Block<'a>>,
    pub(super) stop_reason: Option<&'static str>,
    pub(super) stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stop_details: Option<StopDetails>,
    pub(super) usage: WireUsage,
}

/// A block of a message's content; in a stream, as it begins.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str, signature: &'a str },
    RedactedThinking { data: &'a str },
    ToolUse { id: &'a str, name: &'a str, input: Json },
}

/// What there is to say of a refusal.
#[derive(Serialize)]
pub(super) struct StopDetails {
    r#type: &'static str,
    category: Option<&'static str>,
    explanation: Option<&'static str>,
}

/// Why an answer ended, in Anthropic's words; in a stream, what changes in the message at its end.
#[derive(Serialize)]
pub(super) struct Ending<'a> {
    #[serde(rename = "stop_reason")]
    pub(super) reason: &'static str,
    #[serde(rename = "stop_sequence")]
    pub(super) sequence: Option<&'a str>,
    #[serde(rename = "stop_details", skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<StopDetails>,
}

/// `usage`. Every count is there, because the SDKs require them: what is not known is zero.
#[derive(Serialize)]
pub(super) struct WireUsage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: CacheCreation,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    /// In USD. Absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

impl<'a> Message<'a> {
    /// A message without content, that has not ended.
    pub(super) fn begin(vendor_id: &'a str, model: &'a str, usage: WireUsage, stamp: &Stamp) -> Self {
        Self {
            id: message_id(vendor_id, stamp),
            r#type: "message",
            role: "assistant",
            model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            stop_details: None,
            usage,
        }
    }
}

/// A name of Anthropic's kind: the vendor's, where it gave one.
fn message_id<'a>(vendor_id: &'a str, stamp: &Stamp) -> Cow<'a, str> {
    if vendor_id.starts_with("msg_") { vendor_id.into() } else { format!("msg_{}", stamp.request_id).into() }
}

impl<'a> Ending<'a> {
    /// Says why an answer ended. `calls`: it calls tools. Clients run them by the stop reason, and `OpenAI` for one says that
    /// an answer is complete where a call was demanded.
    pub(super) fn of(stop: &'a Stop, calls: bool) -> Self {
        let (reason, sequence) = match stop {
            Stop::End if calls => ("tool_use", None),
            Stop::End => ("end_turn", None),
            Stop::Sequence(text) => ("stop_sequence", text.as_deref()),
            Stop::Length => ("max_tokens", None),
            Stop::Tools => ("tool_use", None),
            Stop::Filtered | Stop::Refusal => ("refusal", None),
            Stop::Pause => ("pause_turn", None),
        };
        let details =
            (reason == "refusal").then_some(StopDetails { r#type: "refusal", category: None, explanation: None });
        Self { reason, sequence, details }
    }
}

impl WireUsage {
    /// Anthropic counts cached and written tokens beside the prompt's others, not among them.
    pub(super) fn of(usage: Usage) -> Self {
        let written = usage.cache_write.saturating_add(usage.cache_write_1h);
        Self {
            input_tokens: usage.input.saturating_sub(usage.cached_input).saturating_sub(written),
            cache_creation_input_tokens: written,
            cache_read_input_tokens: usage.cached_input,
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: usage.cache_write,
                ephemeral_1h_input_tokens: usage.cache_write_1h,
            },
            output_tokens: usage.output,
            output_tokens_details: OutputDetails { thinking_tokens: usage.reasoning },
            cost: None,
        }
    }

    /// What was counted in all, with its cost.
    pub(super) fn settled(usage: Option<Usage>, stamp: &Stamp) -> Self {
        let cost = usage.and_then(|usage| stamp.cost(usage));
        let number = |text: String| RawValue::from_string(text).expect("picodollars print as a JSON number");
        Self { cost: cost.map(|cost| number(cost.to_string())), ..Self::of(usage.unwrap_or_default()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::price::{Picodollars, Price};
    use crate::time::Timestamp;

    #[test]
    fn cached_tokens_stand_beside_the_prompt() {
        let price = Price {
            input: Picodollars(1_000_000),
            cached_input: Some(Picodollars(100_000)),
            cache_write: Some(Picodollars(1_250_000)),
            cache_write_1h: Some(Picodollars(2_000_000)),
            output: Picodollars(5_000_000),
            ..Price::default()
        };
        let stamp = Stamp { request_id: "r".into(), at: Timestamp(0), price: Some(price), wants_usage: false };
        let usage = Usage {
            input: 100,
            cached_input: 40,
            cache_write: 20,
            cache_write_1h: 10,
            output: 7,
            reasoning: 3,
            cost: None,
        };
        let expected = json!({
            "input_tokens": 30,
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 40,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 3},
            "cost": 0.000_114,
        });
        assert_eq!(serde_json::to_value(WireUsage::settled(Some(usage), &stamp)).unwrap(), expected);
        let unknown = serde_json::to_value(WireUsage::settled(None, &stamp)).unwrap();
        assert_eq!((unknown["input_tokens"].as_u64(), unknown.get("cost")), (Some(0), None));
    }

    #[test]
    fn every_ending_has_a_reason() {
        let texts = Stop::Sequence(Some("END".into()));
        let table = [
            (Stop::End, false, "end_turn"),
            (Stop::End, true, "tool_use"),
            (Stop::Sequence(None), false, "stop_sequence"),
            (Stop::Length, true, "max_tokens"),
            (Stop::Tools, true, "tool_use"),
            (Stop::Filtered, false, "refusal"),
            (Stop::Refusal, false, "refusal"),
            (Stop::Pause, false, "pause_turn"),
        ];
        for (stop, calls, reason) in table {
            let ending = Ending::of(&stop, calls);
            assert_eq!(ending.reason, reason, "{stop:?}");
            assert_eq!(ending.details.is_some(), reason == "refusal", "{stop:?}");
        }
        assert_eq!(Ending::of(&texts, false).sequence, Some("END"));
    }

    #[test]
    fn an_id_of_another_kind_is_replaced() {
        let stamp = Stamp { request_id: "7f".into(), at: Timestamp(0), price: None, wants_usage: false };
        assert_eq!(message_id("msg_01", &stamp), "msg_01");
        assert_eq!(message_id("chatcmpl-1", &stamp), "msg_7f");
        assert_eq!(message_id("", &stamp), "msg_7f");
    }
}
