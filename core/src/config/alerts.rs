//! `[alerts]`: what operators are called for, and how they hear of it.

use super::Webhook;
use crate::time::Millis;

/// `[alerts]`. A threshold that is absent is not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertPolicy {
    /// A stream's first token that takes longer is slow.
    pub first_token: Option<Millis>,
    /// An answer in whole that takes longer is slow. Apart from the first token, since it takes as long as it is long.
    pub answer: Option<Millis>,
    /// The share of failures above which there is an alert, in 1/1000.
    pub error_rate_permille: Option<u32>,
    /// Failures in a row that are an alert.
    pub failures: Option<u32>,
    /// How far back shares reach. Default 5 min.
    pub window: Millis,
    /// No share of fewer than these is an alert. Default 20, as for breakers.
    pub min_requests: u32,
    /// How long all has to be well, or quiet, before an alert is cleared. Default 5 min.
    pub clear_after: Millis,
    /// Where alerts are posted; `None`: nowhere. Its URL is most often a password as well.
    pub webhook: Option<Webhook>,
}

impl AlertPolicy {
    /// Whether it matters how requests end, whoever was asked.
    pub fn watches_endings(&self) -> bool {
        self.error_rate_permille.is_some() || self.failures.is_some()
    }
}
