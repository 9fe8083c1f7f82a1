//! Wire formats. Each dialect reads requests, replies, errors and streams as its vendor documents them, and says what
//! it saw in the terms of this module; nothing here does I/O, and every buffer has a bound.

use crate::price::Usage;

pub mod openai;
pub mod sse;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A chat completion, streamed or not.
    Chat,
    /// Embeddings of one or more texts.
    Embeddings,
}

impl Operation {
    /// All there are, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Chat, Self::Embeddings];
}

/// An error as a vendor words it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorError {
    /// For people; may quote the prompt or a key, so it is shown to the caller only where the fault is theirs.
    pub message: String,
    /// The vendor's class of error: `invalid_request_error`.
    pub kind: String,
    /// The vendor's code, as text even where it was sent as a number.
    pub code: String,
}

/// How a reply that is not streamed reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// A whole answer, with the tokens that it took where the vendor says.
    Answer(Option<Usage>),
    /// The vendor's content filter stopped the answer.
    Filtered(Option<Usage>),
    /// An error, though the status may have said otherwise.
    Error(VendorError),
    /// Nothing, or an answer without a single choice or vector.
    Empty,
    /// Not the JSON that was promised.
    Malformed,
}
