//! What is known of a job beside the request itself, and how it goes from one state to the next.

use serde::{Deserialize, Serialize};

use crate::config::QueuePolicy;
use crate::hints::Hints;
use crate::time::{Millis, Timestamp};

/// A request that is kept for later. This much of it is known in memory and stored as JSON; it holds no word of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// Whoever knows it may ask for the job, as long as it is the client that it belongs to.
    pub(super) id: String,
    /// Rises with each job that is taken: the order in which they came.
    pub(super) sequence: u64,
    /// Rises with each change that is stored: whoever stores one says what it has seen.
    pub(super) revision: u64,
    pub(super) client: Option<String>,
    /// The path of the API that was asked.
    pub(super) api: String,
    pub(super) model: String,
    pub(super) hints: Asked,
    pub(super) idempotency_key: Option<String>,
    /// Tells its request from another that is given the same key; what was asked cannot be had from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    pub(super) created_at: Timestamp,
    /// Until when it may wait.
    pub(super) expires_at: Timestamp,
    /// Bytes of the request, and then of the reply, as they are stored.
    pub(super) bytes: u64,
    /// Times that it was run.
    pub(super) attempts: u32,
    pub(super) state: State,
    /// What is still to be told of its end.
    pub(super) hook: Option<Hook>,
}

/// What a request asks of the gateway beside a model, which has a say in who may serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    /// Nothing.
    Plainly,
    /// This.
    With(Box<Hints>),
    /// More than is kept in memory.
    AtLength,
}

impl Asked {
    pub(super) fn of(hints: &Hints) -> Self {
        const TEXT_BYTES_MAX: usize = 1024;
        match hints {
            // That it may be queued says nothing of who may serve it.
            plain if Hints { queue: None, ..plain.clone() } == Hints::default() => Self::Plainly,
            long if long.text_bytes() > TEXT_BYTES_MAX => Self::AtLength,
            hints => Self::With(Box::new(hints.clone())),
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum State {
    /// It waits for its turn.
    Pending { due_at: Timestamp },
    /// It is being carried out. Found so after a crash, it is carried out again.
    Running,
    /// It was answered.
    Done { at: Timestamp, status: u16, content_type: String },
    /// Nobody will answer it; what was said last is kept with it.
    Failed { at: Timestamp, why: Failure },
    /// Its time ran out before anybody could.
    Expired { at: Timestamp },
}

/// Why a job was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The request itself is at fault: trying again would not help.
    Refused,
    /// It was run as often as `queue.attempts` allows: the dead letter.
    Attempts,
    /// The reply is larger than `queue.body_max`.
    TooLarge,
    /// What was stored cannot be read any more: the key is another, or the disk has failed.
    Unreadable,
}

/// An end that is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hook {
    /// Times that it was told in vain.
    pub(super) tries: u32,
    pub(super) due_at: Timestamp,
}

impl Job {
    /// Whether it may be run now.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Pending { due_at } if due_at <= now) && now < self.expires_at
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// When it was over, if it is.
    pub(super) fn over_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending { .. } | State::Running => None,
            State::Done { at, .. } | State::Failed { at, .. } | State::Expired { at } => Some(at),
        }
    }

    /// When something is to be done about it next, other than to run it.
    pub(super) fn wakes_at(&self, now: Timestamp, keep: Millis) -> Option<Timestamp> {
        match self.state {
            State::Pending { due_at } if due_at > now => Some(due_at.min(self.expires_at)),
            State::Pending { .. } => Some(self.expires_at),
            State::Running => None,
            State::Done { at, .. } | State::Failed { at, .. } | State::Expired { at } => {
                let told_at = self.hook.map_or(Timestamp::MAX, |hook| hook.due_at);
                Some(told_at.min(at + keep))
            }
        }
    }

    /// The same, in another state, and as another revision.
    pub(super) fn becomes(&self, state: State) -> Self {
        Self { revision: self.revision + 1, state, ..self.clone() }
    }

    /// The same, over: with an end to be told, if there is anybody to be told.
    pub(super) fn ends(&self, now: Timestamp, state: State, policy: &QueuePolicy) -> Self {
        let hook = policy.webhook.is_some().then_some(Hook { tries: 0, due_at: now });
        Self { hook, ..self.becomes(state) }
    }

    /// In one word, as clients are told.
    pub(super) fn status(&self) -> &'static str {
        match self.state {
            State::Pending { .. } => "pending",
            State::Running => "running",
            State::Done { .. } => "done",
            State::Failed { .. } => "failed",
            State::Expired { .. } => "expired",
        }
    }
}

impl Failure {
    /// For the operator.
    pub(super) fn short(self) -> &'static str {
        match self {
            Self::Refused => "it was refused",
            Self::Attempts => "it was tried as often as `queue.attempts` allows",
            Self::TooLarge => "its reply is larger than `queue.body_max`",
            Self::Unreadable => "what is stored of it cannot be read",
        }
    }

    /// For its client.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Refused => "The request was refused.",
            Self::Attempts => "It was tried as often as this gateway tries a job, and nobody could serve it.",
            Self::TooLarge => "The reply is larger than this gateway keeps.",
            Self::Unreadable => "What was stored of it can no longer be read.",
        }
    }
}
