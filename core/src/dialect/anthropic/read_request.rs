//! A client's request in Anthropic's words, read into the shared terms.
