//! Anthropic's count of a prompt's tokens.

use serde::Deserialize;

/// Reads the count; `None` if the body holds none.
pub fn read_count(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: u64,
    }
    serde_json::from_slice::<Count>(body).ok().map(|count| count.input_tokens)
}
