//! The responses API, for clients that keep their own state: a chat in other words.
