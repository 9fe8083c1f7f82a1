//! Why a candidate was not asked.

use serde::{Deserialize, Serialize};

use crate::limit::Dimension;
use crate::time::Millis;

/// Why a candidate was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Rejection {
    /// Its breaker is open, or half-open with all probes under way.
    BreakerOpen {
        /// Until it may let a request through.
        retry_in_ms: Millis,
    },
    /// It has failed this request before, and said when to come back.
    Resting {
        /// Until it may be asked again.
        retry_in_ms: Millis,
    },
    /// As many attempts are under way at it as it bears.
    Busy {
        /// Until one of them may be over.
        retry_in_ms: Millis,
    },
    /// All of its vendor's keys are throttled on it.
    RateLimited {
        /// Until the first of them may be used again.
        retry_in_ms: Millis,
    },
    /// All of its vendor's keys, or itself, are at a limit that the configuration sets.
    AtLimit {
        /// What there is no room for.
        limit: Dimension,
        /// Until there is.
        retry_in_ms: Millis,
    },
    /// What it is expected to cost is more than the client's budget has left.
    OverBudget {
        /// Until the budget's next period.
        retry_in_ms: Millis,
    },
    /// What it costs is not known, and the client has a budget to keep.
    Unpriced,
    /// Its vendor refuses all keys.
    NoCredential {
        /// Until the first of them is tried again.
        retry_in_ms: Millis,
    },
    /// The request did not fit a context at least as large.
    ContextTooSmall,
    /// Its vendor's content filter has stopped this request before.
    Filtered,
    /// It was silent to this request before.
    Silent,
    /// It could not go on with the answer that another had begun.
    NoRescue,
    /// The client's hints leave it out.
    NotWanted,
    /// It costs more than the client allows, or what it costs is not known.
    TooDear,
    /// It is expected to take longer than the client allows.
    TooSlow {
        /// What it is expected to take.
        expected_ms: Millis,
    },
    /// It cannot do what the request asks for.
    Unsupported {
        /// The parameter, or the ability: `tools`, `n`.
        what: String,
    },
}

impl Rejection {
    /// Whether it will pass by itself, since it is about how much was asked for in how short a time.
    pub fn is_throttling(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::AtLimit { .. })
    }

    /// Whether the candidate does not suit the request: coming back does not mend that.
    pub fn is_unsuited(&self) -> bool {
        match self {
            Self::ContextTooSmall
            | Self::NotWanted
            | Self::TooDear
            | Self::TooSlow { .. }
            | Self::Unpriced
            | Self::Unsupported { .. } => true,
            Self::BreakerOpen { .. }
            | Self::Resting { .. }
            | Self::Busy { .. }
            | Self::RateLimited { .. }
            | Self::AtLimit { .. }
            | Self::OverBudget { .. }
            | Self::NoCredential { .. }
            | Self::Filtered
            | Self::Silent
            | Self::NoRescue => false,
        }
    }

    /// When the candidate may be asked again; `None` where this request never may.
    pub fn retry_in(&self) -> Option<Millis> {
        match self {
            Self::BreakerOpen { retry_in_ms }
            | Self::Resting { retry_in_ms }
            | Self::Busy { retry_in_ms }
            | Self::RateLimited { retry_in_ms }
            | Self::AtLimit { retry_in_ms, .. }
            | Self::OverBudget { retry_in_ms }
            | Self::NoCredential { retry_in_ms } => Some(*retry_in_ms),
            Self::ContextTooSmall
            | Self::Filtered
            | Self::Silent
            | Self::NoRescue
            | Self::NotWanted
            | Self::TooDear
            | Self::TooSlow { .. }
            | Self::Unpriced
            | Self::Unsupported { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_says_when_and_what_does_not_suit_never_does() {
        let retry_in_ms = Millis(700);
        let limit = Dimension::Tokens;
        for (rejection, is_throttling) in [
            (Rejection::BreakerOpen { retry_in_ms }, false),
            (Rejection::Resting { retry_in_ms }, false),
            (Rejection::Busy { retry_in_ms }, false),
            (Rejection::RateLimited { retry_in_ms }, true),
            (Rejection::AtLimit { limit, retry_in_ms }, true),
            (Rejection::OverBudget { retry_in_ms }, false),
            (Rejection::NoCredential { retry_in_ms }, false),
        ] {
            let told = (rejection.is_throttling(), rejection.is_unsuited(), rejection.retry_in());
            assert_eq!(told, (is_throttling, false, Some(retry_in_ms)), "{rejection:?}");
        }
        for (rejection, is_unsuited) in [
            (Rejection::ContextTooSmall, true),
            (Rejection::NotWanted, true),
            (Rejection::TooDear, true),
            (Rejection::TooSlow { expected_ms: Millis(9) }, true),
            (Rejection::Unpriced, true),
            (Rejection::Unsupported { what: "tools".to_owned() }, true),
            (Rejection::Filtered, false),
            (Rejection::Silent, false),
            (Rejection::NoRescue, false),
        ] {
            let told = (rejection.is_throttling(), rejection.is_unsuited(), rejection.retry_in());
            assert_eq!(told, (false, is_unsuited, None), "{rejection:?}");
        }
    }
}
