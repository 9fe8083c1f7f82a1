//! Anthropic's replies and errors that are not streamed.
