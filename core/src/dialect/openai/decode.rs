//! A vendor's stream of chunks, read into the shared terms.
