//! A stream that waits long is sent comments, so that no proxy on the way takes it for dead and hangs up on it.
//!
//! The first comment begins the client's stream, though nobody has answered yet: failover goes on unseen behind it, but what
//! is to be said after it, an error too, has to be said in the stream.

use bytes::Bytes;

use crate::time::{Millis, Timestamp};

/// A comment of the event stream format, which every client's parser passes over.
pub(super) const COMMENT: Bytes = Bytes::from_static(b": tidegate\n\n");

/// When a client's stream is due for a comment.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// `None`: never.
    every: Option<Millis>,
    written_at: Timestamp,
    /// Whether the stream has begun: its head is on its way.
    pub(super) has_begun: bool,
}

impl KeepAlive {
    /// For a client that waits since `now`; for one that wants no stream, `every` is `None`.
    pub(super) fn new(every: Option<Millis>, now: Timestamp) -> Self {
        Self { every, written_at: now, has_begun: false }
    }

    /// The moment at which a comment is due.
    pub(super) fn due_at(&self) -> Timestamp {
        self.every.map_or(Timestamp::MAX, |every| self.written_at + every)
    }

    /// Something has been written.
    pub(super) fn note(&mut self, now: Timestamp) {
        self.written_at = now;
    }
}
