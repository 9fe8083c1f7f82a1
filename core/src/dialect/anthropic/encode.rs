//! A stream in the shared terms, written for a client that speaks Anthropic's dialect.
