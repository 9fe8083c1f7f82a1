//! Gemini's dialect: `generateContent` and its kin in `v1beta`, as Google documents them.
//!
//! Keys travel in `x-goog-api-key`. Caching is implicit there, so hints to cache need no form; a stream has no terminator, so
//! only a finish reason tells its end from a cut.

mod contents;
mod decode;
mod embed;
mod read_reply;
mod wire;
mod write_request;

pub use decode::Decoder;
pub use embed::{EmbedError, EmbedShape, embed_shape, read_embed, write_embed};
pub use read_reply::{read_chat, read_count, read_error, read_reply};
pub use write_request::{write_count, write_request};

use super::Operation;

/// Where an operation on the model `upstream` is under a vendor's base URL.
pub fn path(operation: Operation, upstream: &str) -> String {
    let method = match operation {
        Operation::Chat => "generateContent",
        Operation::Stream => "streamGenerateContent?alt=sse",
        Operation::Embed => "embedContent",
        Operation::EmbedMany => "batchEmbedContents",
        Operation::CountTokens => "countTokens",
    };
    format!("/models/{upstream}:{method}")
}

/// What is put before the signatures of Gemini's thinking on their way out. Every vendor's are opaque, and each refuses the
/// others': when a conversation has moved between vendors, this tells whose they are.
const SIGNATURE_MARK: &str = "gemini:";

/// A signature of Gemini's thinking, as Gemini wrote it; `None` for another vendor's.
pub fn own_signature(signature: &str) -> Option<&str> {
    signature.strip_prefix(SIGNATURE_MARK)
}
