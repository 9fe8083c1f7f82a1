//! Gemini's dialect: `generateContent` and its kin, as Google documents them.

mod decode;
mod embed;
mod read_reply;
mod write_request;

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
