//! Anthropic's dialect: messages, as Anthropic documents them.

mod arguments;
mod count;
mod decode;
mod encode;
mod event;
mod fault;
mod message;
mod read_blocks;
mod read_reply;
mod read_request;
mod read_tools;
mod usage;
mod watch;
mod write_error;
mod write_messages;
mod write_reply;
mod write_request;
mod write_thinking;
mod write_tools;

pub use count::read_count;
pub use decode::Decoder;
pub use encode::Encoder;
pub use read_reply::{read_chat, read_error, read_reply};
pub use read_request::{read_count_request, read_request};
pub use usage::with_cost;
pub use watch::Watcher;
pub use write_error::{error_body, error_event, error_kind};
pub use write_reply::{write_count, write_reply};
pub use write_request::write_request;

use super::Operation;

/// Where an operation is under a vendor's base URL; `None` where the dialect has no such thing.
pub fn path(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Chat | Operation::Stream => Some("/v1/messages"),
        Operation::CountTokens => Some("/v1/messages/count_tokens"),
        Operation::Embed | Operation::EmbedMany => None,
    }
}
