//! What comes of a job that was run: an answer that is kept, another try, or its end.

use http::header::{CONTENT_TYPE, RETRY_AFTER};

use super::job::{Failure, Job, State};
use super::seal::Kind;
use super::{Queue, Store};
use crate::notice::Notice;
use crate::reply::{self, Reply};
use crate::time::{Millis, Timestamp};

impl<S: Store> Queue<S> {
    /// Takes in the reply to a job's request. Of a job that was deleted in the meantime, nobody wants to know.
    pub fn finish(&mut self, now: Timestamp, id: &str, reply: &Reply) {
        let now = self.advance(now);
        let Some(job) = self.index.find(id).filter(|job| job.is_running()).cloned() else { return };
        self.look_at = now;
        match come_back_in(reply) {
            _ if reply.status.is_success() => self.answer_job(now, &job, reply),
            None => self.give_up(now, &job, Failure::Refused, reply.body.to_vec()),
            Some(wait) => self.try_again(now, job, reply, wait),
        }
    }

    /// A job's run has come to nothing, and not even to a reply.
    pub fn abandon(&mut self, now: Timestamp, id: &str) {
        let now = self.advance(now);
        let Some(job) = self.index.find(id).filter(|job| job.is_running()).cloned() else { return };
        let due_at = now + self.backoff(job.attempts);
        self.write_or_keep(&job, job.becomes(State::Pending { due_at }), None);
    }

    fn answer_job(&mut self, now: Timestamp, job: &Job, reply: &Reply) {
        if reply.body.len() as u64 > self.policy.body_max {
            return self.give_up(now, job, Failure::TooLarge, Vec::new());
        }
        let content_type = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let done = State::Done { at: now, status: reply.status.as_u16(), content_type: content_type.to_owned() };
        self.end(now, job, done, reply.body.to_vec());
    }

    fn try_again(&mut self, now: Timestamp, mut job: Job, reply: &Reply, wait: Millis) {
        let asked = reply.headers.get(reply::ATTEMPTS).and_then(|value| value.to_str().ok());
        if asked == Some("0") {
            // Nobody was asked: that was no try, only bad timing.
            job.attempts = job.attempts.saturating_sub(1);
        } else if job.attempts >= self.policy.attempts {
            return self.give_up(now, &job, Failure::Attempts, reply.body.to_vec());
        }
        let due_at = now + self.backoff(job.attempts.max(1)).max(wait.min(self.policy.max));
        self.write_or_keep(&job, job.becomes(State::Pending { due_at }), None);
    }

    /// Gives a job up, with what was said last.
    pub(super) fn give_up(&mut self, now: Timestamp, job: &Job, why: Failure, body: Vec<u8>) {
        let body = if body.len() as u64 > self.policy.body_max { Vec::new() } else { body };
        if self.end(now, job, State::Failed { at: now, why }, body) {
            self.notify(Notice::JobGivenUp { id: job.id.clone(), why: why.short() });
        }
    }

    /// A job is over. What is kept of it from now on is its reply.
    fn end(&mut self, now: Timestamp, job: &Job, state: State, body: Vec<u8>) -> bool {
        let body = self.sealed(&job.id, Kind::Reply, body);
        let over = Job { bytes: body.len() as u64, ..job.ends(now, state, &self.policy) };
        self.write_or_keep(job, over, Some(&body))
    }

    /// Stores what became of a running job. Where that fails, the job waits, to be run again.
    fn write_or_keep(&mut self, job: &Job, next: Job, body: Option<&[u8]>) -> bool {
        let written = self.write(job, next, body);
        if !written && self.index.find(&job.id).is_some_and(Job::is_running) {
            let due_at = self.now + self.backoff(job.attempts);
            // The same revision: the store knows nothing of it, and would make the same of it after a crash.
            self.put(Job { state: State::Pending { due_at }, ..job.clone() });
        }
        written
    }
}

/// When to come back, if the reply says that coming back may help: a refusal that the client has to mend says no such thing.
fn come_back_in(reply: &Reply) -> Option<Millis> {
    let seconds = reply.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Millis::from_secs(seconds))
}
