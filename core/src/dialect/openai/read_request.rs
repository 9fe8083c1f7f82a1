//! A client's chat completion request, read into the shared terms.
