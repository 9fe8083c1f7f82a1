//! `OpenAI`'s dialect: chat completions and embeddings, as `OpenAI` documents them and as those who speak it vary them.

pub mod completions;
mod decode;
mod encode;
mod read_chat;
mod read_request;
mod reply;
pub mod responses;
mod watch;
mod write_reply;
mod write_request;

pub use reply::{read_error, read_reply};
pub use watch::Watcher;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Operation;
use crate::price::Usage;

/// The last event of a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Where an operation is under a vendor's base URL; `None` where the dialect has no such thing.
pub fn path(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Chat | Operation::Stream => Some("/chat/completions"),
        Operation::Embed | Operation::EmbedMany => Some("/embeddings"),
        Operation::CountTokens => None,
    }
}

/// `usage`, with the names that `OpenAI` and `DeepSeek` use.
#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

/// Reads `usage`. One that does not read is unknown: it never spoils an answer.
fn read_usage(raw: Option<&RawValue>) -> Option<Usage> {
    let wire: WireUsage = serde_json::from_str(raw?.get()).ok()?;
    let details = wire.prompt_tokens_details.as_ref();
    let cached = details.and_then(|details| details.cached_tokens).or(wire.prompt_cache_hit_tokens);
    Some(Usage {
        input: wire.prompt_tokens,
        cached_input: cached.unwrap_or(0),
        cache_write: details.and_then(|details| details.cache_write_tokens).unwrap_or(0),
        cache_write_1h: 0,
        output: wire.completion_tokens,
        reasoning: wire.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
    })
}
