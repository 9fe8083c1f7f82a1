//! The completions of old: a prompt is one message of a chat.
