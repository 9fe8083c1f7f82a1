//! An event of Anthropic's stream, as far as it is read. What has no form here, or is new, keeps its text and is no fault.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read_reply::Block;

/// The data of an event. Which members it has depends on its type.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    /// Empty for an error that a proxy sends in a form of its own.
    #[serde(borrow, default)]
    pub(super) r#type: Cow<'a, str>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// What `message_start` says.
#[derive(Deserialize)]
pub(super) struct Start<'a> {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) model: String,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

/// What `content_block_delta` adds to a block.
pub(super) enum Piece {
    Text(String),
    Thinking(String),
    Signature(String),
    /// Of a tool's input, as JSON.
    Input(String),
    /// Citations, and what may come.
    Other,
}

#[derive(Deserialize)]
struct WirePiece<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_json: Option<&'a RawValue>,
}

/// The type of a block, whatever else is in it.
#[derive(Deserialize)]
pub(super) struct BlockType<'a> {
    #[serde(borrow)]
    pub(super) r#type: Cow<'a, str>,
}

/// What `message_delta` says of the end.
#[derive(Deserialize)]
pub(super) struct Ending {
    pub(super) stop_reason: Option<String>,
    pub(super) stop_sequence: Option<String>,
}

/// A member that its event's type demands is not there, or not of its form.
pub(super) struct Malformed;

impl<'a> Event<'a> {
    pub(super) fn read(data: &'a [u8]) -> Result<Self, Malformed> {
        let event: Self = serde_json::from_slice(data).map_err(|_| Malformed)?;
        if event.r#type.is_empty() && event.error.is_none() { Err(Malformed) } else { Ok(event) }
    }

    /// Whether it is an error, in whatever form.
    pub(super) fn is_error(&self) -> bool {
        self.r#type == "error" || self.r#type.is_empty()
    }

    pub(super) fn index(&self) -> Result<u64, Malformed> {
        member(self.index)
    }

    pub(super) fn start(&self) -> Result<Start<'a>, Malformed> {
        member(self.message)
    }

    pub(super) fn block(&self) -> Result<Block<'a>, Malformed> {
        member(self.content_block)
    }

    pub(super) fn block_type(&self) -> Result<BlockType<'a>, Malformed> {
        member(self.content_block)
    }

    pub(super) fn piece(&self) -> Result<Piece, Malformed> {
        let piece: WirePiece<'_> = member(self.delta)?;
        Ok(match &*piece.r#type {
            "text_delta" => Piece::Text(member(piece.text)?),
            "thinking_delta" => Piece::Thinking(member(piece.thinking)?),
            "signature_delta" => Piece::Signature(member(piece.signature)?),
            "input_json_delta" => Piece::Input(member(piece.partial_json)?),
            _ => Piece::Other,
        })
    }

    pub(super) fn ending(&self) -> Result<Ending, Malformed> {
        member(self.delta)
    }
}

fn member<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<T, Malformed> {
    serde_json::from_str(raw.ok_or(Malformed)?.get()).map_err(|_| Malformed)
}
