//! A reply in the shared terms, written as a chat completion.
