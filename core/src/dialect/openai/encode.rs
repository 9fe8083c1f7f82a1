//! A stream in the shared terms, written as chunks of a chat completion.
