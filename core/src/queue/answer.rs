//! What clients are told of their jobs, and the operator of all of them.

use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::job::{Failure, Job, State};
use super::overview::Survey;
use super::seal::Kind;
use super::{Queue, Store};
use crate::dialect::Dialect;
use crate::reply::{ApiError, Reply, name_request};
use crate::time::{Millis, Timestamp};

/// Where jobs are asked for, by their ids.
pub(crate) const PATH: &str = "/v1/queue/";

/// What a job calls itself.
pub(super) const OBJECT: &str = "queue.job";

/// How long a client that asks for a job that is not over should wait before it asks again.
const ASK_AGAIN: Millis = Millis(1000);

/// A question about jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    pub(crate) about: About,
    pub(crate) dialect: Dialect,
    pub(crate) request_id: String,
}

/// Which jobs are asked about, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum About {
    /// One, by the client that it should be of.
    Job { client: Option<String>, id: String, wish: Wish },
    /// All, by the operator.
    All(Survey),
}

/// What is wanted of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// To know how it goes, and its reply once there is one.
    Look,
    /// That it is not carried out, and not kept.
    Delete,
}

impl Inquiry {
    /// The answer when the queue cannot be reached.
    pub fn unanswered(&self) -> Reply {
        let message = "The queue cannot be reached right now. What it holds is not lost: ask again.";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "queue_unavailable", message);
        error.with_retry_in(Some(ASK_AGAIN)).reply(self.dialect, &self.request_id)
    }

    /// There is no such job, or it is another client's, which is the same to this one.
    pub(crate) fn unknown(&self) -> Reply {
        let message = "There is no job of this id. Results are kept for as long as this gateway is told to.";
        let error = ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "unknown_job", message);
        error.reply(self.dialect, &self.request_id)
    }
}

impl<S: Store> Queue<S> {
    /// Answers whoever asks about jobs. To a client, other clients' jobs are none that there are.
    pub fn answer(&mut self, now: Timestamp, inquiry: &Inquiry) -> Reply {
        let now = self.advance(now);
        let answered = match &inquiry.about {
            About::All(survey) => Some(self.overview(now, survey).reply()),
            About::Job { client, id, wish } => {
                let job = self.index.find(id).filter(|job| job.client == *client);
                let Some(job) = job.cloned() else { return inquiry.unknown() };
                self.fulfil(now, &job, *wish)
            }
        };
        let Some(mut reply) = answered else { return inquiry.unanswered() };
        name_request(&mut reply.headers, &inquiry.request_id);
        reply
    }

    /// Does what a client wants of its job. `None`: the store has failed.
    fn fulfil(&mut self, now: Timestamp, job: &Job, wish: Wish) -> Option<Reply> {
        match wish {
            Wish::Look => self.kept_reply(job).ok().map(|body| account(now, job, body.as_deref())),
            Wish::Delete => self.forget(&job.id).then(|| deleted(job)),
        }
    }

    /// The reply that is kept of a job; none while there is none, or if it can no longer be read.
    fn kept_reply(&mut self, job: &Job) -> Result<Option<Vec<u8>>, ()> {
        if !matches!(job.state, State::Done { .. } | State::Failed { .. }) {
            return Ok(None);
        }
        let stored = self.store.body(&job.id).map_err(|error| self.note_fault(&error))?;
        Ok(self.opened(&job.id, Kind::Reply, stored))
    }
}

/// The answer to a request that is kept for later, in place of the answer that it asked for.
pub(crate) fn accepted(id: &str, retry_in: Option<Millis>, was_stream: bool) -> Reply {
    let whole = if was_stream { " It will be whole, not a stream." } else { "" };
    let message = format!(
        "Nobody can serve this request right now. It is kept, and carried out as soon as somebody can: its answer is to be \
         had from GET {PATH}{id}.{whole}"
    );
    let body = json!({"object": OBJECT, "id": id, "status": "queued", "message": message});
    let mut reply = Reply::json(StatusCode::ACCEPTED, &body);
    let place = HeaderValue::from_str(&format!("{PATH}{id}")).expect("an id is letters and digits");
    reply.headers.insert(LOCATION, place);
    ask_again(&mut reply.headers, retry_in.unwrap_or_default());
    reply
}

fn ask_again(headers: &mut HeaderMap, wait: Millis) {
    headers.insert(RETRY_AFTER, HeaderValue::from(wait.max(ASK_AGAIN).as_secs_ceil()));
}

/// A job as its client sees it.
#[derive(Serialize)]
struct Account<'a> {
    object: &'static str,
    id: &'a str,
    status: &'static str,
    model: &'a str,
    attempts: u32,
    created_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Kept<'a>>,
}

/// The whole reply that a job was answered with.
#[derive(Serialize)]
struct Kept<'a> {
    status: u16,
    content_type: &'a str,
    /// As it is where it is JSON, else as text.
    body: Box<RawValue>,
}

fn account(now: Timestamp, job: &Job, kept: Option<&[u8]>) -> Reply {
    let mut account = Account {
        object: OBJECT,
        id: &job.id,
        status: job.status(),
        model: &job.model,
        attempts: job.attempts,
        created_at: secs(job.created_at),
        expires_at: job.over_at().is_none().then(|| secs(job.expires_at)),
        finished_at: job.over_at().map(secs),
        reason: None,
        error: None,
        reply: None,
    };
    let mut wait = None;
    match &job.state {
        State::Pending { due_at } => wait = Some(now.until(*due_at)),
        State::Running => wait = Some(ASK_AGAIN),
        State::Done { status, content_type, .. } => {
            let body = as_json(kept.unwrap_or_default());
            account.reply = Some(Kept { status: *status, content_type, body });
        }
        State::Failed { why, .. } => {
            account.reason = Some(*why);
            account.error = Some(error_in(kept.unwrap_or_default()).unwrap_or_else(
                || json!({"message": why.words(), "type": "server_error", "param": null, "code": null}),
            ));
        }
        State::Expired { .. } => {}
    }
    let mut reply = Reply::json(StatusCode::OK, &account);
    if let Some(wait) = wait {
        ask_again(&mut reply.headers, wait);
    }
    reply
}

fn as_json(body: &[u8]) -> Box<RawValue> {
    let text = || serde_json::value::to_raw_value(&String::from_utf8_lossy(body)).expect("a string has a JSON form");
    serde_json::from_slice(body).unwrap_or_else(|_| text())
}

/// The error in a refusal, in whichever dialect it is.
fn error_in(body: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Value>(body).ok()?.get_mut("error").map(Value::take)
}

fn deleted(job: &Job) -> Reply {
    Reply::json(StatusCode::OK, &json!({"object": OBJECT, "id": job.id, "deleted": true}))
}

/// As `OpenAI`'s API tells times.
pub(super) fn secs(at: Timestamp) -> u64 {
    at.0 / 1000
}
