//! What an operator wants to know, the moment it happens.
//!
//! The [`Gateway`](crate::gateway::Gateway) queues notices; the adapter takes them with `poll_notice` and logs, counts
//! or posts them. They name things as the config does and never hold a secret or a prompt.

use std::fmt;

use serde::Serialize;

use crate::alert::Alert;
use crate::breaker::Trip;
use crate::config::NO_KEY;
use crate::health::Status;
use crate::price::Picodollars;
use crate::time::Millis;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// A target is shut off.
    BreakerOpened {
        /// Which.
        target: String,
        /// Until its first probe.
        open_ms: Millis,
        /// The rule that tripped.
        why: Trip,
    },
    /// A target gets its probes.
    BreakerHalfOpened {
        /// Which.
        target: String,
    },
    /// A target has recovered.
    BreakerClosed {
        /// Which.
        target: String,
    },
    /// What is thought of a target has changed.
    HealthChanged {
        /// Which.
        target: String,
        /// What was thought.
        from: Status,
        /// What is thought now.
        to: Status,
    },
    /// A target should be shut off, and is not, since a route could not spare it. Said once until that is over.
    BreakerHeldOff {
        /// Which.
        target: String,
        /// The route whose `ejected_max` has been reached.
        route: String,
        /// The rule that would have tripped.
        why: Trip,
    },
    /// Another target was asked after this one failed.
    FailedOver {
        /// The request it happened to.
        request_id: String,
        /// The target that failed.
        from: String,
        /// What became of the attempt.
        outcome: String,
        /// The target that is asked instead.
        to: String,
    },
    /// A second target was asked while a slow one had yet to say something.
    Hedged {
        /// The request it happened to.
        request_id: String,
        /// The target that is slow.
        slow: String,
        /// The target that is asked as well.
        asked: String,
    },
    /// A vendor refused a key: it is left alone for a while.
    KeyQuarantined {
        /// The vendor.
        vendor: String,
        /// The name of the variable that holds the key.
        key: String,
        /// For how long.
        for_ms: Millis,
    },
    /// A vendor throttles a key on a target.
    KeyThrottled {
        /// The target.
        target: String,
        /// The name of the variable that holds the key.
        key: String,
        /// For how long it is not used there.
        for_ms: Millis,
    },
    /// A stream that a client was already reading broke off.
    StreamBroken {
        /// The request it happened to.
        request_id: String,
        /// The target that broke.
        target: String,
        /// How.
        outcome: &'static str,
    },
    /// A stream that a client was already reading broke off, and another target went on with it to its end.
    StreamRescued {
        /// The request it happened to.
        request_id: String,
        /// The target that broke first.
        from: String,
        /// The target that ended it.
        to: String,
        /// `continue` or `restart`.
        how: &'static str,
    },
    /// Events of a stream could not be read and were left out.
    EventsSkipped {
        /// The target that sent them.
        target: String,
        /// How many.
        count: u32,
    },
    /// A client has spent the share of its budget that operators are told of. Said once in each period.
    BudgetNearlySpent {
        /// Which.
        client: String,
        /// What it has spent in this period.
        spent: Picodollars,
        /// What it may spend.
        limit: Picodollars,
    },
    /// An answer's cost is not known, since its target has no price. Said once per target.
    PriceUnknown {
        /// The target.
        target: String,
    },
    /// More attempts ended than were written to the ledger: their lines were dropped, the newest.
    LinesLost {
        /// How many, since this was said last.
        count: u64,
    },
    /// There is no room for further jobs. Said once until there is.
    QueueFull {
        /// How many there are.
        jobs: u64,
        /// How large they are together.
        bytes: u64,
    },
    /// The queue's store has failed.
    QueueFault {
        /// How.
        what: String,
    },
    /// A job is over without an answer.
    JobGivenUp {
        /// Its id.
        id: String,
        /// Why.
        why: &'static str,
    },
    /// The webhook could not be told that a job is over.
    WebhookFailed {
        /// Of which job.
        id: String,
        /// How often it was tried.
        tries: u32,
    },
    /// A threshold of `[alerts]` has been passed. Said once, until it is cleared.
    AlertRaised {
        /// Which, and of whom.
        alert: Alert,
    },
    /// It has not been passed for long enough.
    AlertCleared {
        /// As it was raised.
        alert: Alert,
        /// How long it was open.
        after_ms: Millis,
    },
    /// The webhook could not be told of alerts.
    AlertsUntold {
        /// How many it was never told of, since the start.
        lost: u64,
        /// How often the last message was tried.
        tries: u32,
    },
    /// More happened than was taken: this many notices were dropped, the oldest first.
    Lost {
        /// How many.
        count: u64,
    },
}

impl Notice {
    /// Whether it tells of trouble, as opposed to its end.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::BreakerHalfOpened { .. }
            | Self::BreakerClosed { .. }
            | Self::Hedged { .. }
            | Self::AlertCleared { .. } => false,
            Self::HealthChanged { to, .. } => matches!(to, Status::Degraded | Status::Unhealthy),
            _ => true,
        }
    }
}

/// A key as one speaks of it: by the variable that holds it.
struct Spoken<'n>(&'n str);

impl fmt::Display for Spoken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == NO_KEY { f.write_str("requests without a key") } else { write!(f, "the key in {}", self.0) }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BreakerOpened { target, open_ms, why } => {
                write!(f, "{target}: breaker open for {open_ms}: {}", words(*why))
            }
            Self::BreakerHeldOff { target, route, why } => {
                write!(f, "{target}: breaker stays closed, since `{route}` may spare no more: {}", words(*why))
            }
            Self::BreakerHalfOpened { target } => write!(f, "{target}: breaker half-open, probing"),
            Self::BreakerClosed { target } => write!(f, "{target}: breaker closed, recovered"),
            Self::HealthChanged { target, from, to } => write!(f, "{target}: {to}, was {from}"),
            Self::FailedOver { request_id, from, outcome, to } => {
                write!(f, "{request_id}: failed over from {from} ({outcome}) to {to}")
            }
            Self::Hedged { request_id, slow, asked } => {
                write!(f, "{request_id}: {slow} is slow, asked {asked} as well")
            }
            Self::KeyQuarantined { vendor, key, for_ms } => {
                write!(f, "{vendor} refuses {}: not used for {for_ms}", Spoken(key))
            }
            Self::KeyThrottled { target, key, for_ms } => {
                write!(f, "{target} throttles {}: not used there for {for_ms}", Spoken(key))
            }
            Self::StreamBroken { request_id, target, outcome } => {
                write!(f, "{request_id}: the stream from {target} broke off ({outcome})")
            }
            Self::StreamRescued { request_id, from, to, how } => {
                write!(f, "{request_id}: the stream that {from} broke off was brought to its end by {to} ({how})")
            }
            Self::EventsSkipped { target, count } => write!(f, "{target}: {count} unreadable stream events left out"),
            Self::BudgetNearlySpent { client, spent, limit } => {
                write!(f, "client {client} has spent ${spent} of its ${limit}")
            }
            Self::PriceUnknown { target } => write!(f, "{target}: no price is known for it, its cost is unknown"),
            Self::LinesLost { count } => {
                write!(f, "{count} lines of the ledger are lost: they came faster than the store took them")
            }
            Self::QueueFull { jobs, bytes } => {
                write!(f, "the queue is full: {jobs} jobs, {bytes} bytes; further requests are refused")
            }
            Self::QueueFault { what } => write!(f, "the queue's store has failed: {what}"),
            Self::JobGivenUp { id, why } => write!(f, "{id}: given up, {why}"),
            Self::WebhookFailed { id, tries } => {
                write!(f, "{id}: the webhook could not be told that it is over, in {tries} tries")
            }
            Self::AlertRaised { alert } => write!(f, "alert raised: {alert}"),
            Self::AlertCleared { alert, after_ms } => write!(f, "alert cleared after {after_ms}: {alert}"),
            Self::AlertsUntold { lost, tries } => {
                write!(f, "the webhook could not be told of alerts, in {tries} tries: {lost} in all are untold")
            }
            Self::Lost { count } => write!(f, "{count} notices were dropped, the oldest first"),
        }
    }
}

fn words(trip: Trip) -> &'static str {
    match trip {
        Trip::Consecutive => "too many failures in a row",
        Trip::FailureRate => "too large a share of failures",
        Trip::SlowRate => "too many slow first tokens",
        Trip::Probe => "a probe failed",
        Trip::Reported => "other gateways found it down",
        Trip::Forced => "an operator's order",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_spoken_of_by_its_variable_and_none_as_none() {
        let throttled = |key: &str| {
            Notice::KeyThrottled { target: "v/m".into(), key: key.into(), for_ms: Millis(5000) }.to_string()
        };
        assert_eq!(throttled("V_KEY"), "v/m throttles the key in V_KEY: not used there for 5s");
        assert_eq!(throttled(NO_KEY), "v/m throttles requests without a key: not used there for 5s");
    }
}
