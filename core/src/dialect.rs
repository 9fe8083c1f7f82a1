//! Wire formats. Each dialect reads and writes requests, replies, errors and streams as its vendor documents them, and says
//! what it saw in the terms of this module and of [`chat`]; nothing here does I/O, and every buffer has a bound.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::price::Usage;
use crate::time::Millis;

mod answer;
pub mod anthropic;
pub mod chat;
pub(crate) mod fields;
pub mod gemini;
pub mod headers;
pub mod openai;
mod prefix;
mod prepare;
mod presumed;
mod request;
mod rescue;
mod scan;
mod schema;
pub mod sse;
mod stream;

pub use answer::{Reader, say};
pub(crate) use prepare::unstreamed;
pub use prepare::{Prepared, Unfit, prepare};
pub use presumed::DefaultParameters;
pub use request::{Controls, Request};
pub use rescue::{Remains, Rescue};
pub use stream::Stream;

/// A vendor's wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// `OpenAI`'s chat completions, and everyone's who speaks them.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
}

/// An API that the gateway offers: what a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `OpenAI`'s `/v1/chat/completions`.
    Chat,
    /// `OpenAI`'s `/v1/completions`, of old.
    Completions,
    /// `OpenAI`'s `/v1/responses`.
    Responses,
    /// `OpenAI`'s `/v1/embeddings`.
    Embeddings,
    /// Anthropic's `/v1/messages`.
    Messages,
    /// Anthropic's `/v1/messages/count_tokens`.
    CountTokens,
}

impl Surface {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::Chat, Self::Completions, Self::Responses, Self::Embeddings, Self::Messages, Self::CountTokens];

    /// Where it is offered.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
        }
    }

    /// The dialect whose clients use it.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings => Dialect::OpenAi,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
        }
    }
}

/// What a vendor is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A whole answer.
    Chat,
    /// An answer as events.
    Stream,
    /// The embedding of one text, where the vendor asks for one and for many in different places.
    Embed,
    /// The embeddings of many.
    EmbedMany,
    /// How many tokens a prompt has.
    CountTokens,
}

impl Operation {
    /// All there are, in the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Chat, Self::Stream, Self::Embed, Self::EmbedMany, Self::CountTokens];
}

/// Why a body is not a request: the caller's fault, in words for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// What is wrong and what to do.
    pub message: String,
    /// The parameter at fault.
    pub param: Option<&'static str>,
}

/// An error as a vendor words it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorError {
    /// For people; may quote the prompt or a key, so it is shown to the caller only where the fault is theirs.
    pub message: String,
    /// The vendor's class of error: `invalid_request_error`, `overloaded_error`, `RESOURCE_EXHAUSTED`.
    pub kind: String,
    /// The vendor's code, as text even where it was sent as a number.
    pub code: String,
    /// When to come back, where the body says so, as Gemini's `RetryInfo` does.
    pub retry_in: Option<Millis>,
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

/// One event of a stream, for a client. The bytes are in the client's dialect, and its own vendor's where nothing is translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of the answer: text, thinking, a refusal or a tool call.
    Content(Bytes),
    /// The answer's last chunk, with its finish reason.
    Finish(Bytes),
    /// Something else to pass on: a role, a comment, the usage that was asked for, `[DONE]`.
    Other(Bytes),
    /// An error inside the stream. Its bytes are not passed on.
    Error(VendorError),
    /// A vendor that was to tell an answer anew tells another one. Nothing of it is passed on.
    Diverged,
}
