//! A request in the shared terms, written for Gemini.
