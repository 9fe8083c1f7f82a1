//! Anthropic's dialect: messages, as Anthropic documents them.

mod decode;
mod encode;
mod read_reply;
mod read_request;
mod watch;
mod write_reply;
mod write_request;

use super::Operation;

/// Where an operation is under a vendor's base URL; `None` where the dialect has no such thing.
pub fn path(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Chat | Operation::Stream => Some("/v1/messages"),
        Operation::CountTokens => Some("/v1/messages/count_tokens"),
        Operation::Embed | Operation::EmbedMany => None,
    }
}
