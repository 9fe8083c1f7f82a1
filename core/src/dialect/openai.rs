//! `OpenAI`'s dialect: chat completions and embeddings, as `OpenAI` documents them and as those who speak it vary them.

mod reply;
mod request;
mod stream;

pub use reply::{read_error, read_reply};
pub use request::{BadRequest, Request};
pub use stream::{Event, StreamDecoder};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::price::Usage;

/// The last event of a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// The paths of both operations under a vendor's base URL.
pub fn path(operation: super::Operation) -> &'static str {
    match operation {
        super::Operation::Chat => "/chat/completions",
        super::Operation::Embeddings => "/embeddings",
    }
}

/// `usage`, with the names that `OpenAI` and `DeepSeek` use.
#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

/// Reads `usage`. One that does not read is unknown: it never spoils an answer.
fn read_usage(raw: Option<&RawValue>) -> Option<Usage> {
    let wire: WireUsage = serde_json::from_str(raw?.get()).ok()?;
    let cached = wire.prompt_tokens_details.and_then(|details| details.cached_tokens).or(wire.prompt_cache_hit_tokens);
    Some(Usage { input: wire.prompt_tokens, cached_input: cached.unwrap_or(0), output: wire.completion_tokens })
}
