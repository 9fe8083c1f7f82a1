//! All jobs, and what follows from them: whose turn it is, what is due, and how much there is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::job::Job;
use crate::time::{Millis, Timestamp};

/// A client, by its name; `None` stands for whoever asks where anybody may.
pub(super) type ClientName = Option<String>;

/// The jobs there are. A job is only ever put in or taken out whole, so that what follows from it cannot disagree with it.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Each with its time on the agenda.
    jobs: BTreeMap<String, (Job, Option<Timestamp>)>,
    /// When something is to be done about a job other than to run it.
    agenda: BTreeSet<(Timestamp, String)>,
    /// The clients' own names for their jobs.
    keys: BTreeMap<(ClientName, String), String>,
    /// Jobs that may be run, by client and then in the order in which they came.
    ready: BTreeMap<ClientName, BTreeSet<(u64, String)>>,
    counts: BTreeMap<ClientName, usize>,
    bytes: u64,
    running: usize,
    /// The client whose job was started last: the others come before it again.
    served_last: Option<ClientName>,
}

impl Index {
    pub(super) fn find(&self, id: &str) -> Option<&Job> {
        self.jobs.get(id).map(|(job, _)| job)
    }

    /// All of them, in no order that means anything.
    pub(super) fn all(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().map(|(job, _)| job)
    }

    pub(super) fn by_key(&self, client: &ClientName, key: &str) -> Option<&Job> {
        self.find(self.keys.get(&(client.clone(), key.to_owned()))?)
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn count_of(&self, client: &ClientName) -> usize {
        self.counts.get(client).copied().unwrap_or(0)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Puts a job in, in the place of what was known of it.
    pub(super) fn put(&mut self, now: Timestamp, keep: Millis, job: Job) {
        self.take(&job.id);
        let wakes_at = job.wakes_at(now, keep);
        self.agenda.extend(wakes_at.map(|at| (at, job.id.clone())));
        if let Some(key) = &job.idempotency_key {
            self.keys.insert((job.client.clone(), key.clone()), job.id.clone());
        }
        if job.is_ready(now) {
            self.ready.entry(job.client.clone()).or_default().insert((job.sequence, job.id.clone()));
        }
        *self.counts.entry(job.client.clone()).or_default() += 1;
        self.bytes += job.bytes;
        self.running += usize::from(job.is_running());
        if job.is_running() {
            self.served_last = Some(job.client.clone());
        }
        self.jobs.insert(job.id.clone(), (job, wakes_at));
    }

    /// Takes a job out.
    pub(super) fn take(&mut self, id: &str) -> Option<Job> {
        let (job, wakes_at) = self.jobs.remove(id)?;
        if let Some(at) = wakes_at {
            self.agenda.remove(&(at, job.id.clone()));
        }
        if let Some(key) = &job.idempotency_key {
            self.keys.remove(&(job.client.clone(), key.clone()));
        }
        if let Some(waiting) = self.ready.get_mut(&job.client) {
            waiting.remove(&(job.sequence, job.id.clone()));
            if waiting.is_empty() {
                self.ready.remove(&job.client);
            }
        }
        if let Some(count) = self.counts.get_mut(&job.client) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&job.client);
            }
        }
        self.bytes -= job.bytes;
        self.running -= usize::from(job.is_running());
        Some(job)
    }

    /// When something is to be done about a job, other than to run it.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// The first job about which something is to be done by now.
    pub(super) fn due(&self, now: Timestamp) -> Option<&Job> {
        let (_, id) = self.agenda.first().filter(|(at, _)| *at <= now)?;
        self.find(id)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Jobs that may be run: each client in its turn, and of each the one that came first before the others.
    ///
    /// One client's jobs all come before the next one's: whoever takes the first that will do serves the clients in turn,
    /// since the one that was served last comes last.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Job> {
        let after = match &self.served_last {
            Some(client) => (Bound::Excluded(client), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let before = self.served_last.as_ref().map(|client| self.ready.range(..=client));
        let clients = self.ready.range::<ClientName, _>(after).chain(before.into_iter().flatten());
        clients.flat_map(|(_, waiting)| waiting.iter().filter_map(|(_, id)| self.find(id)))
    }
}
