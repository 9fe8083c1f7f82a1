//! Requests that nobody could serve when they came: kept until somebody can.
//!
//! A client is told that its request is queued once that is stored, and not before. Each step is decided first, then
//! written, and only then taken for granted: what is known here never runs ahead of what a crash would leave. So a crash
//! costs time and no job. One that was running then is run again, which may ask a vendor twice for the same; but of a job
//! only one result is stored, since every write says which revision it has seen.
//!
//! Jobs are run as ordinary requests, a few at once, as soon as somebody would be let through who may serve them: while
//! breakers are open, nobody; while one is half-open, as many as it lets through for its probes. Clients have their turns,
//! however many jobs each of them has; of one client's, the oldest is run first.
//!
//! The adapter owns a [`Queue`] over its [`Store`] and calls, in any order: [`submit`](Queue::submit) and
//! [`answer`](Queue::answer) as requests come; and at every [`poll_timeout`](Queue::poll_timeout), and whenever a job ends,
//! [`handle_timeout`](Queue::handle_timeout), then [`pick`](Queue::pick) and [`start`](Queue::start) until there is none,
//! then [`poll_delivery`](Queue::poll_delivery). What [`start`](Queue::start) hands out is carried out through
//! [`Gateway::take_up`], and its reply brought to [`finish`](Queue::finish).

use std::collections::VecDeque;
use std::sync::Arc;

mod admission;
mod answer;
mod delivery;
mod finish;
mod index;
mod job;
mod memory;
mod overview;
mod seal;
mod store;
mod submission;

use crate::backoff::doubled;
use crate::config::{Config, QueuePolicy};
use crate::gateway::Gateway;
use crate::notice::Notice;
use crate::rng::Rng;
use crate::time::{Millis, Timestamp};
use admission::Admission;
pub(crate) use answer::{About, accepted};
pub use answer::{Inquiry, Wish};
pub use delivery::Delivery;
use index::{ClientName, Index};
pub use job::Failure;
use job::{Asked, Job, State};
pub use memory::Memory;
pub use overview::{Counts, Overview, Row, Share};
pub(crate) use overview::{Survey, off};
use seal::{Kind, Seal};
pub use store::{Store, StoreError, sql};
pub use submission::Submission;

/// How long a request that is to be stored waits for that, before its client is told that nobody could serve it.
pub const STORE_MAX: Millis = Millis(10_000);

/// When a worker tries again after its alarm has failed: rarely, since what ails it is the storage or the configuration.
pub const ALARM_REST: Millis = Millis::from_secs(30);

/// How long a store that has failed is left alone.
const STORE_REST: Millis = Millis(1000);

/// The least time between two looks at who would be let through.
const LOOK_MIN: Millis = Millis(50);

/// The most: a probe may close a breaker before it lets anybody through by itself.
const LOOK_MAX: Millis = Millis(5000);

/// Notices kept for an adapter that is slow to take them.
const NOTICES_MAX: usize = 256;

/// The jobs of a deployment, over what keeps them.
#[derive(Debug)]
pub struct Queue<S> {
    config: Arc<Config>,
    policy: QueuePolicy,
    store: S,
    seal: Option<Seal>,
    index: Index,
    /// The latest time told: a step back is time standing still.
    now: Timestamp,
    rng: Rng,
    next_sequence: u64,
    /// When it is worth looking again whose turn it is.
    look_at: Timestamp,
    /// Until when the store is left alone.
    rests_until: Timestamp,
    is_full: bool,
    deliveries: VecDeque<Delivery>,
    notices: VecDeque<Notice>,
}

/// A request that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What it can be asked for by.
    pub id: String,
    /// Whether it was not known before.
    pub is_new: bool,
}

/// Why a request was not queued. The client hears that nobody could serve it, and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// There is no room: for any job, for this client's, or for one so large.
    Full,
    /// The store has failed.
    Failed,
    /// Its idempotency key is another request's, whose answer would be none to this one.
    KeyTaken,
}

impl<S: Store> Queue<S> {
    /// Takes up what the store holds. What was being carried out is to be carried out again.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or holds what is not a job.
    pub fn open(config: Arc<Config>, store: S, seed: u64, now: Timestamp) -> Result<Self, StoreError> {
        let policy = config.queue.clone().unwrap_or_default();
        let mut queue = Self {
            seal: policy.key.as_ref().map(Seal::new),
            config,
            policy,
            store,
            index: Index::default(),
            now,
            rng: Rng::from_name(seed, "the queue"),
            next_sequence: 0,
            look_at: now,
            rests_until: now,
            is_full: false,
            deliveries: VecDeque::new(),
            notices: VecDeque::new(),
        };
        queue.take_up(now)?;
        Ok(queue)
    }

    /// Believes what the store holds and nothing else, as after a crash: for an adapter in which a step has panicked.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or holds what is not a job. Then nothing is different.
    pub fn take_up(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let now = self.advance(now);
        let mut index = Index::default();
        for row in self.store.load()? {
            let mut job: Job =
                serde_json::from_str(&row).map_err(|error| StoreError(format!("a job cannot be read: {error}")))?;
            self.next_sequence = self.next_sequence.max(job.sequence + 1);
            if job.is_running() {
                job.state = State::Pending { due_at: now };
            }
            index.put(now, self.policy.keep, job);
        }
        self.index = index;
        self.look_at = now;
        Ok(())
    }

    /// Stores a request, and says by which id it can be asked for. One whose idempotency key is known is the job it was.
    ///
    /// # Errors
    ///
    /// Why it is not stored.
    pub fn submit(&mut self, now: Timestamp, submission: &Submission) -> Result<Ticket, NotStored> {
        let now = self.advance(now);
        let Submission { client, model, idempotency_key, .. } = submission;
        if let Some(known) = idempotency_key.as_ref().and_then(|key| self.index.by_key(client, key)) {
            let is_same =
                known.fingerprint.as_ref().is_none_or(|taken| *taken == self.fingerprint(&known.id, submission));
            return if is_same { Ok(Ticket { id: known.id.clone(), is_new: false }) } else { Err(NotStored::KeyTaken) };
        }
        // What there is no room for is neither copied nor sealed: it comes in numbers while everything is down.
        let head = submission.head();
        let bytes = (head.len() + submission.body.len()) as u64;
        let bytes = if self.seal.is_some() { Seal::sealed_len(bytes) } else { bytes };
        self.check_room(client, submission.body.len() as u64, bytes)?;
        let random = self.store.random();
        let id = id_of(&random);
        let body = self.sealed(&id, Kind::Request, [&head[..], &submission.body].concat());
        let job = Job {
            id: id.clone(),
            sequence: self.next_sequence,
            revision: 0,
            client: client.clone(),
            api: submission.surface.path().to_owned(),
            model: model.clone(),
            hints: Asked::of(&submission.hints),
            idempotency_key: idempotency_key.clone(),
            fingerprint: idempotency_key.as_ref().map(|_| self.fingerprint(&id, submission)),
            created_at: now,
            expires_at: now + self.policy.expiry,
            bytes,
            attempts: 0,
            state: State::Pending { due_at: now },
            hook: None,
        };
        match self.store.insert(&id, &job.to_json(), &body) {
            Ok(()) => {
                self.next_sequence += 1;
                self.look_at = now;
                self.put(job);
                Ok(Ticket { id, is_new: true })
            }
            Err(error) => {
                // How it failed is the same for all that come now: it is told, and each of them is tried.
                self.note_fault(&error);
                Err(NotStored::Failed)
            }
        }
    }

    /// Forgets a job that its client was not told of, since storing it took too long.
    pub fn withdraw(&mut self, ticket: &Ticket) {
        if ticket.is_new {
            self.forget(&ticket.id);
        }
    }

    /// Whether there is room for a client's job, whose request has a body of one length and is stored at another.
    fn check_room(&mut self, client: &ClientName, body_bytes: u64, bytes: u64) -> Result<(), NotStored> {
        let policy = &self.policy;
        if body_bytes > policy.body_max || self.index.count_of(client) >= policy.client_jobs_max as usize {
            return Err(NotStored::Full);
        }
        let has_room =
            self.index.len() < policy.jobs_max as usize && self.index.bytes().saturating_add(bytes) <= policy.bytes_max;
        if !std::mem::replace(&mut self.is_full, !has_room) && !has_room {
            self.notify(Notice::QueueFull { jobs: self.index.len() as u64, bytes: self.index.bytes() });
        }
        if has_room { Ok(()) } else { Err(NotStored::Full) }
    }

    // === What is due ===

    /// When [`handle_timeout`](Self::handle_timeout) is to be called. Earlier or repeated calls do nothing.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let may_start = self.index.has_ready() && self.index.running() < self.policy.at_once as usize;
        let look_at = may_start.then_some(self.look_at);
        let next = self.index.next_at().into_iter().chain(look_at).min()?;
        Some(next.max(self.rests_until))
    }

    /// Does what is due: jobs whose backoff is over may be run again, those whose time is over expire, results that were
    /// kept long enough are forgotten, and ends are told.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.advance(now);
        while self.rests_until <= now
            && let Some(job) = self.index.due(now).cloned()
        {
            self.attend(now, job);
        }
    }

    fn attend(&mut self, now: Timestamp, job: Job) {
        match job.over_at() {
            Some(at) if at + self.policy.keep <= now => drop(self.forget(&job.id)),
            Some(_) => self.deliver(now, &job),
            None if job.expires_at <= now => {
                let expired = Job { bytes: 0, ..job.ends(now, State::Expired { at: now }, &self.policy) };
                if self.write(&job, expired, Some(&[])) {
                    self.notify(Notice::JobGivenUp { id: job.id, why: "it has expired" });
                }
            }
            // It may be run from now on.
            None => {
                self.look_at = now;
                self.put(job);
            }
        }
    }

    /// The job whose turn it is, if somebody would be let through who may serve it. Changes nothing, and takes no time.
    pub fn pick(&mut self, now: Timestamp, gateway: &Gateway) -> Option<String> {
        let now = self.advance(now);
        if self.rests_until > now || self.index.running() >= self.policy.at_once as usize {
            return None;
        }
        let mut admission = Admission::new(now, &self.config, gateway);
        let mut wait = LOOK_MAX;
        for job in self.index.in_turn() {
            match admission.wait(job) {
                Millis::ZERO => return Some(job.id.clone()),
                more => wait = wait.min(more),
            }
        }
        self.look_at = now + wait.max(LOOK_MIN);
        None
    }

    /// Has a job begin, and hands out its request.
    pub fn start(&mut self, now: Timestamp, id: &str) -> Option<Submission> {
        let now = self.advance(now);
        let job = self.index.find(id).filter(|job| job.is_ready(now))?.clone();
        let body = match self.store.body(id) {
            Ok(body) => body,
            Err(error) => {
                self.note_fault(&error);
                return None;
            }
        };
        let Some(submission) =
            self.opened(id, Kind::Request, body).and_then(|body| Submission::from_bytes(&body.into()))
        else {
            self.give_up(now, &job, Failure::Unreadable, Vec::new());
            return None;
        };
        // Counted before it begins: a job that takes the process with it must not do so for ever.
        let running = Job { attempts: job.attempts.saturating_add(1), ..job.becomes(State::Running) };
        self.write(&job, running, None).then_some(submission)
    }

    /// What an operator should know; the oldest that nobody has taken.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// An end that is to be told.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// How a job stands, in one word; nothing of one that is not there.
    pub(crate) fn status_of(&self, id: &str) -> &'static str {
        self.index.find(id).map_or("gone", Job::status)
    }

    // === Within ===

    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    fn put(&mut self, job: Job) {
        self.index.put(self.now, self.policy.keep, job);
    }

    /// Stores the next revision of a job, and then takes it for granted. `false`: it is as it was, or not ours any more.
    fn write(&mut self, seen: &Job, next: Job, body: Option<&[u8]>) -> bool {
        match self.store.update(&seen.id, seen.revision, &next.to_json(), body) {
            Ok(true) => {
                self.put(next);
                true
            }
            Ok(false) => {
                // Another process has the same store, and the job: what it makes of it is what counts.
                self.index.take(&seen.id);
                false
            }
            Err(error) => {
                self.note_fault(&error);
                false
            }
        }
    }

    /// Forgets a job. `false`: the store has failed.
    fn forget(&mut self, id: &str) -> bool {
        match self.store.remove(id) {
            Ok(()) => {
                self.index.take(id);
                true
            }
            Err(error) => {
                self.note_fault(&error);
                false
            }
        }
    }

    /// The pause before a job is run again: at least half of what doubling gives, so that jobs do not come back together,
    /// nor at once.
    fn backoff(&mut self, attempts: u32) -> Millis {
        let whole = doubled(self.policy.base, attempts.saturating_sub(1), self.policy.max);
        self.rng.between(Millis(whole.0 / 2), whole)
    }

    fn fingerprint(&self, id: &str, submission: &Submission) -> String {
        seal::fingerprint(self.policy.key.as_ref(), id, submission.surface.path(), &submission.body)
    }

    fn sealed(&mut self, id: &str, kind: Kind, plain: Vec<u8>) -> Vec<u8> {
        match &self.seal {
            Some(seal) => seal.seal(&self.store.random(), id, kind, &plain),
            None => plain,
        }
    }

    fn opened(&self, id: &str, kind: Kind, stored: Vec<u8>) -> Option<Vec<u8>> {
        match &self.seal {
            Some(seal) => seal.open(id, kind, &stored),
            None => Some(stored),
        }
    }

    /// The store has failed: it is left alone for a moment, by all that can wait.
    fn note_fault(&mut self, error: &StoreError) {
        if self.rests_until <= self.now {
            self.notify(Notice::QueueFault { what: error.0.clone() });
        }
        self.rests_until = self.now + STORE_REST;
    }

    fn notify(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push_back(notice);
        }
    }
}

impl Job {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("our own types always have a JSON form")
    }
}

/// An id that nobody can guess.
fn id_of(random: &[u8; 32]) -> String {
    format!("job_{}", hex(&random[..16]))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests;
