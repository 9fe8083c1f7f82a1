//! A record as it is told: names for numbers, and times counted from the request's coming.

use serde::{Deserialize, Serialize};

use super::{Attempted, Note, Record};
use crate::config::{Config, TargetId};
use crate::hints::Hints;
use crate::price::{Picodollars, Usage};
use crate::route::Rejection;
use crate::time::{Millis, Timestamp};
use crate::tokens::Weight;

/// What was decided about one request, and why. All times are milliseconds since it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What the client was told as `x-tidegate-request-id`.
    pub request_id: String,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: Timestamp,
    /// The model that the client asked for.
    pub model: String,
    /// The route that this names, if it names one.
    pub route: Option<String>,
    /// The client's name in the config.
    pub client: Option<String>,
    /// The path of the API that it used.
    pub api: String,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// What else the client asked of the gateway.
    pub hints: Option<Hints>,
    /// What the request weighs, where anybody asked: what it was expected to come to follows from it.
    #[serde(default)]
    pub weight: Option<Weight>,
    /// The number that kept it with one candidate, where its route is sticky.
    #[serde(default)]
    pub stick: Option<u64>,
    /// Whom the route's shadow would have asked first.
    #[serde(default)]
    pub shadow: Option<String>,
    /// Who was not asked, and why not.
    pub passed_over: Vec<PassedOver>,
    /// Who was asked, in the order of asking.
    pub attempts: Vec<Attempt>,
    /// When nobody was asked for a while.
    pub pauses: Vec<Pause>,
    /// Further passings-over and pauses, which nobody has kept.
    pub left_out: u32,
    /// How it ended.
    pub ending: Ending,
}

/// A candidate that was not asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// When.
    pub at_ms: Millis,
    /// Its name.
    pub target: String,
    /// Why.
    pub why: Rejection,
}

/// A pause between attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub at_ms: Millis,
    /// How long it was to be.
    pub for_ms: Millis,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Who was asked.
    pub target: String,
    /// The name of the variable that holds the key.
    pub key: String,
    /// What it was for.
    pub role: Role,
    /// When it was sent.
    pub sent_ms: Millis,
    /// When the response head came.
    pub head_ms: Option<Millis>,
    /// Its status.
    pub status: Option<u16>,
    /// When the first token of a stream came.
    pub first_token_ms: Option<Millis>,
    /// When anything came of it last.
    pub last_ms: Millis,
    /// When it was over.
    pub ended_ms: Millis,
    /// What became of it, in one word.
    pub outcome: String,
    /// When the vendor said to come back.
    pub retry_after_ms: Option<Millis>,
    /// What the vendor counted.
    pub usage: Option<Usage>,
    /// What it cost, in 10⁻¹² USD.
    pub cost_picodollars: Option<Picodollars>,
    /// The gateway's turn in which it was sent: it tells what came first within a millisecond.
    pub sent_turn: u64,
    /// And in which it was settled.
    pub ended_turn: u64,
}

/// What an attempt was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It was the first.
    First,
    /// The same target once more.
    Again,
    /// Another target, after one had failed.
    Failover,
    /// Another target beside one that was slow.
    Hedge,
    /// Another target, to go on with a stream that had broken off.
    Rescue,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When.
    pub at_ms: Millis,
    /// In which way.
    pub how: How,
    /// The status that the client was sent.
    pub status: Option<u16>,
    /// Who served it, or whose answer had been kept.
    pub target: Option<String>,
}

/// In which way a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// With a vendor's answer.
    #[default]
    Answered,
    /// With an error: nobody served it, or it was at fault itself.
    Refused,
    /// With what the cache of its route had kept.
    Cached,
    /// In the route's own words.
    Canned,
    /// It was kept for later.
    Queued,
    /// In a stream that broke off.
    Broken,
    /// Its client had gone.
    ClientGone,
}

impl Account {
    pub(super) fn of(record: &Record, config: &Config) -> Self {
        let name = |target: TargetId| config.target(target).name.clone();
        let since = |at: Timestamp| at.since(record.started_at);
        let excluded = record.excluded.iter().map(|(target, why)| PassedOver {
            at_ms: Millis::ZERO,
            target: name(*target),
            why: why.clone(),
        });
        let mut passed_over: Vec<_> = excluded.collect();
        let mut pauses = Vec::new();
        for note in &record.notes.list {
            match note {
                Note::PassedOver { at, target, why } => {
                    passed_over.push(PassedOver { at_ms: since(*at), target: name(*target), why: why.clone() });
                }
                Note::Paused { at, until } => pauses.push(Pause { at_ms: since(*at), for_ms: at.until(*until) }),
            }
        }
        Self {
            request_id: record.request_id.clone(),
            at_ms: record.started_at,
            model: record.model.clone(),
            route: record.route.map(|id| config.routes[id.0].name.clone()),
            client: record.client.map(|index| config.clients[index].name.clone()),
            api: record.surface.path().to_owned(),
            stream: record.stream,
            hints: record.hints.as_deref().cloned(),
            weight: record.weight,
            stick: record.stick,
            shadow: record.shadow.map(name),
            passed_over,
            attempts: attempts(record, config),
            pauses,
            left_out: record.notes.left_out,
            ending: Ending {
                at_ms: since(record.ended_at),
                how: record.how,
                status: record.status,
                target: served(record).map(name),
            },
        }
    }
}

fn attempts(record: &Record, config: &Config) -> Vec<Attempt> {
    let mut attempts: Vec<&Attempted> = record.attempts.iter().collect();
    attempts.sort_by_key(|attempt| attempt.nth);
    let since = |at: Timestamp| at.since(record.started_at);
    let told = attempts.iter().enumerate().map(|(index, attempt)| Attempt {
        target: config.target(attempt.target).name.clone(),
        key: config.vendor_of(attempt.target).keys[attempt.key.0].name.clone(),
        role: role(&attempts[..index], attempt),
        sent_ms: since(attempt.sent_at),
        head_ms: attempt.head.map(|(at, _)| since(at)),
        status: attempt.head.map(|(_, status)| status),
        first_token_ms: attempt.first_token_at.map(since),
        last_ms: since(attempt.last_at),
        ended_ms: since(attempt.ended_at),
        outcome: attempt.outcome.name().to_owned(),
        retry_after_ms: attempt.retry_after,
        usage: attempt.usage,
        cost_picodollars: attempt.cost,
        sent_turn: attempt.sent_turn,
        ended_turn: attempt.ended_turn,
    });
    told.collect()
}

/// What an attempt was for shows in those before it.
fn role(before: &[&Attempted], attempt: &Attempted) -> Role {
    let Some(last) = before.last() else { return Role::First };
    if before.iter().any(|other| other.ended_turn > attempt.sent_turn) {
        Role::Hedge
    } else if before.iter().any(|other| other.first_token_at.is_some()) {
        Role::Rescue
    } else if last.target == attempt.target {
        Role::Again
    } else {
        Role::Failover
    }
}

/// Whose answer the client has: the last that came to its end, or that it was reading.
fn served(record: &Record) -> Option<TargetId> {
    match record.how {
        How::Answered | How::Broken => {}
        How::Cached => return record.kept_from,
        How::Refused | How::Canned | How::Queued | How::ClientGone => return None,
    }
    let has_spoken =
        |attempt: &&Attempted| attempt.first_token_at.is_some() || attempt.outcome == crate::classify::Outcome::Success;
    let speaker = record.attempts.iter().rev().find(has_spoken).or(record.attempts.last());
    speaker.map(|attempt| attempt.target)
}
