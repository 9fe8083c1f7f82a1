//! Alerts: what an operator is called for, as opposed to what is merely noted.
//!
//! Thresholds of `[alerts]` stand for each target and each route by itself. An alert is raised once, however long its
//! trouble lasts, and cleared when its threshold has not been passed for `clear_after`: because all is well, or because
//! all is quiet, unless the target is known to be down. So one and the same alert is raised at most once in
//! `clear_after`, however its target flaps.
//!
//! What is raised and cleared is told twice over: as a [`Notice`](crate::notice::Notice), and to the operator's webhook in
//! [`Message`]s that gather what has come up since the last one.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::price::Picodollars;
use crate::time::{Millis, Timestamp};

mod outbox;
mod watch;

pub use outbox::{Message, MessageId};

pub(crate) use outbox::Outbox;
pub(crate) use watch::{Alerts, Place, Sample};

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is about.
    pub subject: Subject,
    /// What it was raised for.
    pub cause: Cause,
}

/// What an alert is about, by its name in the config.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Attempts at a target, whether or not another one served in its place.
    Target(String),
    /// Requests to a route, as their clients saw them end.
    Route(String),
    /// What a client spends.
    Client(String),
}

/// Why there is an alert, with the figures of the moment at which it was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// More than one in twenty first tokens of streams were slow: their 95th percentile is above the limit.
    FirstToken {
        /// How many were slow,
        slow: u64,
        /// of how many.
        of: u64,
        /// What is slow.
        limit_ms: Millis,
    },
    /// The same of answers in whole.
    Answer {
        /// How many were slow,
        slow: u64,
        /// of how many.
        of: u64,
        /// What is slow.
        limit_ms: Millis,
    },
    /// Too large a share of failures.
    ErrorRate {
        /// How many failed,
        failed: u64,
        /// of how many.
        of: u64,
        /// The share that is borne, in 1/1000.
        limit_permille: u32,
    },
    /// Too many failures in a row.
    Failures {
        /// How many.
        in_a_row: u32,
    },
    /// A client's budget is nearly spent.
    Budget {
        /// What has been spent,
        spent: Picodollars,
        /// of how much.
        limit: Picodollars,
    },
}

/// The kinds of causes. There is at most one open alert of each kind about one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    FirstToken,
    Answer,
    ErrorRate,
    Failures,
    Budget,
}

/// An alert, and when it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What there was.
    pub alert: Alert,
    /// Since when.
    pub raised_at: Timestamp,
    /// Until when; `None`: it is open.
    pub cleared_at: Option<Timestamp>,
}

impl Alert {
    /// Whether it is about the same thing: at any moment there is one of them.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.subject == other.subject && self.cause.kind() == other.cause.kind()
    }
}

impl Subject {
    /// What kind of thing it is, and its name.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Target(name) => ("target", name),
            Self::Route(name) => ("route", name),
            Self::Client(name) => ("client", name),
        }
    }
}

impl Cause {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::FirstToken { .. } => Kind::FirstToken,
            Self::Answer { .. } => Kind::Answer,
            Self::ErrorRate { .. } => Kind::ErrorRate,
            Self::Failures { .. } => Kind::Failures,
            Self::Budget { .. } => Kind::Budget,
        }
    }
}

impl Kind {
    /// As pages and webhooks say it: the name of its threshold in the config.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FirstToken => "first_token",
            Self::Answer => "answer",
            Self::ErrorRate => "error_rate",
            Self::Failures => "failures",
            Self::Budget => "budget",
        }
    }
}

impl Entry {
    /// As pages and webhooks tell it.
    pub(crate) fn told(&self) -> Value {
        let (subject, name) = self.alert.subject.parts();
        let kind = self.alert.cause.kind().name();
        json!({
            "state": if self.cleared_at.is_some() { "cleared" } else { "raised" },
            "kind": kind, "subject": subject, "name": name, "text": self.alert.to_string(),
            "raised_at_ms": self.raised_at, "cleared_at_ms": self.cleared_at,
        })
    }
}

/// `route default: 3 failures in a row`.
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, name) = self.subject.parts();
        write!(f, "{subject} {name}: ")?;
        match self.cause {
            Cause::FirstToken { slow, of, limit_ms } => {
                write!(f, "{slow} of {of} first tokens took longer than {limit_ms}")
            }
            Cause::Answer { slow, of, limit_ms } => write!(f, "{slow} of {of} answers took longer than {limit_ms}"),
            Cause::ErrorRate { failed, of, limit_permille } => {
                let (whole, tenths) = (limit_permille / 10, limit_permille % 10);
                write!(f, "{failed} of {of} failed, more than {whole}.{tenths} %")
            }
            Cause::Failures { in_a_row } => write!(f, "{in_a_row} failures in a row"),
            Cause::Budget { spent, limit } => write!(f, "has spent ${spent} of its ${limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::Notice;

    #[test]
    fn each_cause_is_told_in_words() {
        let limit_ms = Millis(5000);
        let dollars = |usd: u64| Picodollars(usd * 1_000_000_000_000);
        for (cause, kind, words) in [
            (
                Cause::FirstToken { slow: 2, of: 30, limit_ms },
                "first_token",
                "2 of 30 first tokens took longer than 5s",
            ),
            (Cause::Answer { slow: 2, of: 30, limit_ms }, "answer", "2 of 30 answers took longer than 5s"),
            (
                Cause::ErrorRate { failed: 3, of: 50, limit_permille: 55 },
                "error_rate",
                "3 of 50 failed, more than 5.5 %",
            ),
            (Cause::Failures { in_a_row: 3 }, "failures", "3 failures in a row"),
            (Cause::Budget { spent: dollars(40), limit: dollars(50) }, "budget", "has spent $40 of its $50"),
        ] {
            let alert = Alert { subject: Subject::Route("r".into()), cause };
            let entry = Entry { alert: alert.clone(), raised_at: Timestamp(7), cleared_at: None };
            let told = entry.told();
            assert_eq!((&told["kind"], &told["subject"], &told["name"]), (&json!(kind), &json!("route"), &json!("r")));
            assert_eq!((&told["text"], &told["state"]), (&json!(format!("route r: {words}")), &json!("raised")));
            let raised = Notice::AlertRaised { alert: alert.clone() };
            assert_eq!((raised.to_string(), raised.is_warning()), (format!("alert raised: route r: {words}"), true));
            let cleared = Notice::AlertCleared { alert, after_ms: Millis(60_000) };
            let words = format!("alert cleared after 1m: route r: {words}");
            assert_eq!((cleared.to_string(), cleared.is_warning()), (words, false));
        }
        let untold = Notice::AlertsUntold { lost: 7, tries: 5 };
        let words = "the webhook could not be told of alerts, in 5 tries: 7 in all are untold";
        assert_eq!((untold.to_string().as_str(), untold.is_warning()), (words, true));
    }
}
