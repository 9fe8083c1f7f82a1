//! `OpenAI`'s dialect: chat completions and embeddings, as `OpenAI` documents them and as those who speak it vary them.

pub mod completions;
mod decode;
mod encode;
mod read_chat;
mod read_messages;
mod read_request;
mod reasoning;
mod reply;
pub mod responses;
mod usage;
mod watch;
mod write_messages;
mod write_reply;
mod write_request;

pub use decode::Decoder;
pub use encode::Encoder;
pub use read_chat::read_chat;
pub use read_request::read_request;
pub use reply::{read_error, read_reply, read_reply_and_place};
pub use usage::with_cost_at;
pub use watch::Watcher;
pub use write_reply::write_reply;
pub use write_request::write_request;

use usage::read_usage;

use super::Operation;

/// The last event of a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// What an event begins with.
const DATA: &[u8] = b"data: ";

/// Where an operation is under a vendor's base URL; `None` where the dialect has no such thing.
pub fn path(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Chat | Operation::Stream => Some("/chat/completions"),
        Operation::Embed | Operation::EmbedMany => Some("/embeddings"),
        Operation::CountTokens => None,
    }
}

#[cfg(test)]
mod tests;
