//! Embeddings: `OpenAI`'s request written for Gemini, and its answer written for the client.
