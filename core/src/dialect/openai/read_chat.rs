//! A vendor's chat completion, read into the shared terms.
