//! `[queue]`: how much is kept of what nobody could serve, for how long, and how often it is tried.

use crate::secret::Secret;
use crate::time::Millis;

/// `[queue]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePolicy {
    /// Jobs held at once, those among them that are over and whose result is kept. Default 10 000.
    pub jobs_max: u32,
    /// Jobs of one client held at once. Default 1000.
    pub client_jobs_max: u32,
    /// The largest request that is queued, and the largest reply that is kept, in bytes. Default 1 MiB.
    pub body_max: u64,
    /// Bytes of all requests and replies beyond which no further job is taken. Default 256 MiB.
    pub bytes_max: u64,
    /// Jobs that are run at once. Default 2, as many as a half-open breaker admits.
    pub at_once: u32,
    /// Times that a job is run before it is given up. Default 500: with the backoff below that is half a day at least.
    pub attempts: u32,
    /// The first backoff after a run that came to nothing, doubled with each further one. Default 10 s.
    pub base: Millis,
    /// The longest backoff. Default 2 min, the longest that a breaker is open.
    pub max: Millis,
    /// How long a job may wait in all. Default one day.
    pub expiry: Millis,
    /// How long the result of a job is kept. Default one day.
    pub keep: Millis,
    /// Whom to tell when a job is over; `None`: nobody.
    pub webhook: Option<Webhook>,
    /// What requests and replies are encrypted with where they are kept; `None`: they are kept as they are.
    pub key: Option<Secret>,
}

/// Where jobs that are over, and alerts, are told. Only the operator can name it: an address that clients could choose would
/// have the gateway call whatever its network lets it reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its URL, which may hold a token of its own.
    pub url: Secret,
    /// What its messages are signed with; `None`: they are not.
    pub key: Option<Secret>,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self {
            jobs_max: 10_000,
            client_jobs_max: 1000,
            body_max: 1 << 20,
            bytes_max: 256 << 20,
            at_once: 2,
            attempts: 500,
            base: Millis::from_secs(10),
            max: Millis::from_secs(120),
            expiry: Millis::from_secs(86_400),
            keep: Millis::from_secs(86_400),
            webhook: None,
            key: None,
        }
    }
}
