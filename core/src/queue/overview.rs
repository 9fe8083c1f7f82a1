//! The queue as its operator sees it: how many jobs stand where, who waits longest, and the jobs themselves, page by page.
//! No word of what was asked or answered.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::index::ClientName;
use super::job::{Failure, Job, State};
use super::{Queue, Store};
use crate::api::parameters;
use crate::reply::{ApiError, Reply, quoted};
use crate::time::{Millis, Timestamp};

mod text;

/// Jobs on one page, at most, and where nobody says.
const LISTED_MAX: usize = 1000;
const LISTED_DEFAULT: usize = 100;

/// Clients that are counted one by one, those with the most jobs first.
const CLIENTS_MAX: usize = 100;

/// How things stand, as `GET /admin/queue` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// When.
    pub now_ms: Timestamp,
    /// How many jobs stand where, those that are over and still kept included.
    pub counts: Counts,
    /// How many have failed for which reason; `attempts` are the dead letters.
    pub failed: BTreeMap<Failure, u64>,
    /// What all of them take where they are kept.
    pub bytes: u64,
    /// `queue.jobs_max`.
    pub jobs_max: u64,
    /// `queue.bytes_max`.
    pub bytes_max: u64,
    /// How long the one has waited that has waited longest.
    pub oldest_ms: Option<Millis>,
    /// How long until one may be run, or until it is looked again whether anybody would be let through; `None`: nobody waits.
    pub next_run_ms: Option<Millis>,
    /// Each client's share, the largest first.
    pub clients: Vec<Share>,
    /// The jobs that were asked for, the latest first.
    pub jobs: Vec<Row>,
    /// What asks for the next page, as `before`.
    pub next: Option<u64>,
}

/// Jobs by where they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// They wait.
    pub pending: u64,
    /// They are being carried out.
    pub running: u64,
    /// They were answered.
    pub done: u64,
    /// They were given up.
    pub failed: u64,
    /// Their time ran out.
    pub expired: u64,
}

/// What one client has in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its name; `None` where anybody may ask.
    pub client: Option<String>,
    /// All of its jobs.
    pub jobs: u64,
    /// Those that wait.
    pub pending: u64,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What it is asked for by.
    pub id: String,
    /// In one word.
    pub status: String,
    /// Why it was given up, if it was.
    pub reason: Option<Failure>,
    /// Whose it is.
    pub client: Option<String>,
    /// What was asked for, as `model`.
    pub model: String,
    /// Where.
    pub api: String,
    /// Times that it was run.
    pub attempts: u32,
    /// What it takes where it is kept.
    pub bytes: u64,
    /// When it came.
    pub at_ms: Timestamp,
    /// When it may be run, if it waits.
    pub due_ms: Option<Timestamp>,
    /// When it was over, if it is.
    pub over_ms: Option<Timestamp>,
}

/// Which jobs an operator wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Survey {
    status: Option<String>,
    client: Option<String>,
    model: Option<String>,
    /// Those that came before this one.
    before: Option<u64>,
    limit: Option<usize>,
}

impl Survey {
    /// Reads the query of a URL. Errors say what it may be.
    pub(crate) fn read(text: &str) -> Result<Self, Box<ApiError>> {
        let mut survey = Self::default();
        for (name, value) in parameters(text)? {
            survey.take(name, value.into_owned())?;
        }
        Ok(survey)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), Box<ApiError>> {
        const STATUSES: [&str; 5] = ["pending", "running", "done", "failed", "expired"];
        match name {
            "status" if STATUSES.contains(&value.as_str()) => self.status = Some(value),
            "status" => return Err(bad(format!("`status` is one of `{}`.", STATUSES.join("`, `")), "status").into()),
            "client" => self.client = Some(value),
            "model" => self.model = Some(value),
            "before" => {
                let wrong = |_| bad("`before` is the `next` of another page.".to_owned(), "before");
                self.before = Some(value.parse().map_err(wrong)?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LISTED_MAX).contains(limit));
                let wrong = || bad(format!("`limit` is a number from 1 to {LISTED_MAX}."), "limit");
                self.limit = Some(limit.ok_or_else(wrong)?);
            }
            _ => {
                let known = "`status`, `client`, `model`, `before`, `limit`";
                let message = format!("There is no `{}` to ask the queue with. There is {known}.", quoted(name));
                return Err(ApiError::invalid(message, None).into());
            }
        }
        Ok(())
    }

    fn wants(&self, job: &Job) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        is(&self.status, job.status())
            && is(&self.client, job.client.as_deref().unwrap_or_default())
            && is(&self.model, &job.model)
            && self.before.is_none_or(|before| job.sequence < before)
    }
}

impl<S: Store> Queue<S> {
    /// Answers the operator.
    pub(super) fn overview(&self, now: Timestamp, survey: &Survey) -> Overview {
        let mut overview = Overview {
            now_ms: now,
            counts: Counts::default(),
            failed: BTreeMap::new(),
            bytes: self.index.bytes(),
            jobs_max: self.policy.jobs_max.into(),
            bytes_max: self.policy.bytes_max,
            oldest_ms: None,
            next_run_ms: None,
            clients: Vec::new(),
            jobs: Vec::new(),
            next: None,
        };
        let mut shares: BTreeMap<&ClientName, (u64, u64)> = BTreeMap::new();
        for job in self.index.all() {
            let share = shares.entry(&job.client).or_default();
            share.0 += 1;
            overview.count(job);
            if let State::Pending { due_at } = job.state {
                share.1 += 1;
                overview.oldest_ms = overview.oldest_ms.max(Some(now.since(job.created_at)));
                let next = now.until(due_at.max(self.look_at).max(self.rests_until));
                overview.next_run_ms = Some(overview.next_run_ms.map_or(next, |sooner| sooner.min(next)));
            }
        }
        let share = |(client, (jobs, pending)): (&ClientName, _)| Share { client: client.clone(), jobs, pending };
        overview.clients = shares.into_iter().map(share).collect();
        overview.clients.sort_by_key(|share| std::cmp::Reverse(share.jobs));
        overview.clients.truncate(CLIENTS_MAX);
        self.list(&mut overview, survey);
        overview
    }

    fn list(&self, overview: &mut Overview, survey: &Survey) {
        let mut wanted: Vec<&Job> = self.index.all().filter(|job| survey.wants(job)).collect();
        wanted.sort_by_key(|job| std::cmp::Reverse(job.sequence));
        let limit = survey.limit.unwrap_or(LISTED_DEFAULT);
        let shown = &wanted[..wanted.len().min(limit)];
        overview.next = shown.last().filter(|_| wanted.len() > limit).map(|job| job.sequence);
        overview.jobs = shown.iter().map(|job| Row::of(job)).collect();
    }
}

impl Overview {
    fn count(&mut self, job: &Job) {
        let count = match job.state {
            State::Pending { .. } => &mut self.counts.pending,
            State::Running => &mut self.counts.running,
            State::Done { .. } => &mut self.counts.done,
            State::Failed { why, .. } => {
                *self.failed.entry(why).or_default() += 1;
                &mut self.counts.failed
            }
            State::Expired { .. } => &mut self.counts.expired,
        };
        *count += 1;
    }

    pub(super) fn reply(&self) -> Reply {
        Reply::json(StatusCode::OK, self)
    }
}

impl Row {
    fn of(job: &Job) -> Self {
        Self {
            id: job.id.clone(),
            status: job.status().to_owned(),
            reason: match job.state {
                State::Failed { why, .. } => Some(why),
                _ => None,
            },
            client: job.client.clone(),
            model: job.model.clone(),
            api: job.api.clone(),
            attempts: job.attempts,
            bytes: job.bytes,
            at_ms: job.created_at,
            due_ms: match job.state {
                State::Pending { due_at } => Some(due_at),
                _ => None,
            },
            over_ms: job.over_at(),
        }
    }
}

fn bad(message: String, name: &'static str) -> ApiError {
    ApiError::invalid(message, Some(name))
}

/// What is answered where nothing is queued.
pub(crate) fn off() -> ApiError {
    let message = "This gateway has no queue: give its configuration a [queue].";
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "no_queue", message)
}
