//! Thinking, for which `OpenAI`'s chat completions have no words, and for which those who speak the dialect have three:
//! `reasoning_content` (`DeepSeek`, vLLM and most others), `reasoning` with `reasoning_details` (`OpenRouter`) and
//! `thinking_blocks` (`LiteLLM`). Only the latter two hold the vendor's proof, so they are believed first.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dialect::chat::Content;
use crate::dialect::fields::Fields;

/// One of `reasoning_details`.
#[derive(Debug, Serialize)]
pub(super) struct Detail<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    /// Which block of thinking it belongs to.
    index: usize,
}

impl<'a> Detail<'a> {
    pub(super) fn text(index: usize, text: &'a str, signature: Option<&'a str>) -> Self {
        Self { r#type: "reasoning.text", text: Some(text), signature, data: None, index }
    }

    /// A signature that comes after its text, as in streams.
    pub(super) fn signature(index: usize, signature: &'a str) -> Self {
        Self { r#type: "reasoning.text", text: None, signature: Some(signature), data: None, index }
    }

    pub(super) fn encrypted(index: usize, data: &'a str) -> Self {
        Self { r#type: "reasoning.encrypted", text: None, signature: None, data: Some(data), index }
    }
}

/// The details that stand for an answer's thinking; none where `reasoning_content` says it all.
pub(super) fn details(parts: &[Content]) -> Vec<Detail<'_>> {
    let thinking = parts.iter().filter(|part| matches!(part, Content::Thinking { .. } | Content::RedactedThinking(_)));
    let details: Vec<_> = thinking
        .enumerate()
        .filter_map(|(index, part)| match part {
            Content::Thinking { text, signature } => Some(Detail::text(index, text, signature.as_deref())),
            Content::RedactedThinking(data) => Some(Detail::encrypted(index, data)),
            _ => None,
        })
        .collect();
    if details.iter().any(|detail| detail.signature.is_some() || detail.data.is_some()) { details } else { Vec::new() }
}

/// A piece of thinking, as one of `reasoning_details` or `thinking_blocks` has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text { text: String, signature: Option<String>, index: Option<u64> },
    Encrypted(String),
}

/// Takes the thinking out of a message or a delta, in whichever words it is.
pub(super) fn take(fields: &mut Fields<'_>) -> Vec<Piece> {
    let details = fields.take_raw("reasoning_details").map(pieces).unwrap_or_default();
    let blocks = fields.take_raw("thinking_blocks").map(pieces).unwrap_or_default();
    let plain = [fields.take_raw("reasoning_content"), fields.take_raw("reasoning")];
    let plain = plain.into_iter().flatten().find_map(text).filter(|text| !text.is_empty());
    if !details.is_empty() {
        details
    } else if !blocks.is_empty() {
        blocks
    } else {
        plain.map(|text| Piece::Text { text, signature: None, index: None }).into_iter().collect()
    }
}

/// Joins the pieces of a message into its blocks of thinking: clients send back what they gathered from a stream, piece by piece.
pub(super) fn join(pieces: Vec<Piece>) -> Vec<Content> {
    let mut parts = Vec::new();
    let mut last_index = None;
    for piece in pieces {
        match piece {
            Piece::Encrypted(data) => parts.push(Content::RedactedThinking(data)),
            Piece::Text { text: more, signature: proof, index } => match parts.last_mut() {
                Some(Content::Thinking { text, signature })
                    if signature.is_none() && index.is_some() && index == last_index =>
                {
                    text.push_str(&more);
                    *signature = proof;
                }
                _ => {
                    parts.push(Content::Thinking { text: more, signature: proof });
                    last_index = index;
                }
            },
        }
    }
    parts
}

/// A string, where that is what a value is.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// What does not read is left out: thinking never spoils an answer.
fn pieces(raw: &RawValue) -> Vec<Piece> {
    #[derive(Deserialize)]
    struct Wire {
        r#type: String,
        #[serde(default)]
        text: Option<String>,
        #[serde(default)]
        summary: Option<String>,
        #[serde(default)]
        thinking: Option<String>,
        #[serde(default)]
        signature: Option<String>,
        #[serde(default)]
        data: Option<String>,
        #[serde(default)]
        format: Option<String>,
        #[serde(default)]
        index: Option<u64>,
    }

    let wires: Vec<Wire> = serde_json::from_str(raw.get()).unwrap_or_default();
    let read = |wire: Wire| match wire.r#type.as_str() {
        "reasoning.text" | "reasoning.summary" | "thinking" => {
            let text = wire.text.or(wire.summary).or(wire.thinking).unwrap_or_default();
            let signature = wire.signature.filter(|signature| !signature.is_empty());
            (signature.is_some() || !text.is_empty()).then_some(Piece::Text { text, signature, index: wire.index })
        }
        // What these encrypted is for them alone; everybody else refuses it.
        "reasoning.encrypted" if wire.format.as_deref().is_some_and(|format| !is_anthropics(format)) => None,
        "reasoning.encrypted" | "redacted_thinking" => wire.data.map(Piece::Encrypted),
        _ => None,
    };
    wires.into_iter().filter_map(read).collect()
}

fn is_anthropics(format: &str) -> bool {
    format == "unknown" || format.starts_with("anthropic")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str) -> Vec<Content> {
        join(take(&mut Fields::read(message.as_bytes()).unwrap()))
    }

    fn thinking(text: &str, signature: Option<&str>) -> Content {
        Content::Thinking { text: text.into(), signature: signature.map(Into::into) }
    }

    #[test]
    fn every_vendors_words_for_thinking() {
        for (message, expected) in [
            (r#"{"reasoning_content":"hm"}"#, vec![thinking("hm", None)]),
            (r#"{"reasoning":"hm","reasoning_details":[]}"#, vec![thinking("hm", None)]),
            (r#"{"reasoning_content":null,"reasoning":""}"#, vec![]),
            (
                r#"{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"s","index":0},
                    {"type":"reasoning.encrypted","data":"e","format":"anthropic-claude-v1","index":1}]}"#,
                vec![thinking("hm", Some("s")), Content::RedactedThinking("e".into())],
            ),
            (
                r#"{"reasoning_details":[{"type":"reasoning.summary","summary":"in short"}]}"#,
                vec![thinking("in short", None)],
            ),
            (
                r#"{"reasoning_content":"hm","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"},
                    {"type":"redacted_thinking","data":"e"}]}"#,
                vec![thinking("hm", Some("s")), Content::RedactedThinking("e".into())],
            ),
        ] {
            assert_eq!(read(message), expected, "{message}");
        }
    }

    #[test]
    fn pieces_of_one_block_are_joined_and_others_are_not() {
        let message = r#"{"reasoning_details":[
            {"type":"reasoning.text","text":"a","index":0},{"type":"reasoning.text","text":"b","index":0},
            {"type":"reasoning.text","signature":"s","index":0},{"type":"reasoning.text","text":"c","index":1}]}"#;
        assert_eq!(read(message), [thinking("ab", Some("s")), thinking("c", None)]);
    }

    #[test]
    fn what_only_its_vendor_can_read_goes_no_further() {
        let message = r#"{"reasoning":"hm","reasoning_details":[
            {"type":"reasoning.encrypted","data":"e","format":"openai-responses-v1"},{"type":"reasoning.odd"}]}"#;
        assert_eq!(read(message), [thinking("hm", None)]);
        assert_eq!(read(r#"{"reasoning_details":"odd","reasoning":7}"#), []);
    }
}
