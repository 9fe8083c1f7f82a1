//! Gemini's stream, read into the shared terms.
