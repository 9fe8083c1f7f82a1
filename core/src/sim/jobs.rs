//! How a world keeps a queue: on a disk of its own, that outlives the gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RequestId;
use super::stage::{Client, Stage};
use crate::api::Next;
use crate::drive::Event;
use crate::exchange::Exchange;
use crate::queue::{Memory, Queue, Submission};
use crate::reply::Reply;
use crate::time::Timestamp;

/// The queue of a world whose config has one.
pub(super) struct Jobs {
    pub(super) queue: Queue<Memory>,
    disk: Memory,
    seed: u64,
    /// Jobs that have begun, and are to be carried out.
    pub(super) begun: BTreeMap<RequestId, Box<Exchange>>,
}

impl Jobs {
    pub(super) fn new(config: &Arc<crate::config::Config>, seed: u64, now: Timestamp) -> Option<Self> {
        config.queue.as_ref()?;
        let disk = Memory::new(seed);
        let queue = Queue::open(Arc::clone(config), disk.clone(), seed, now).expect("an empty disk can be read");
        Some(Self { queue, disk, seed, begun: BTreeMap::new() })
    }

    /// The process has died, and another has taken its place.
    pub(super) fn restart(&mut self, config: &Arc<crate::config::Config>, now: Timestamp) {
        let queue = Queue::open(Arc::clone(config), self.disk.clone(), self.seed, now);
        self.queue = queue.expect("what was written can be read");
        self.begun.clear();
    }
}

impl Stage {
    /// Stores a request.
    pub(super) fn enqueue(&mut self, id: RequestId, submission: &Submission) {
        let now = self.now;
        let stored = match &mut self.jobs {
            Some(jobs) => jobs.queue.submit(now, submission).ok().map(|ticket| ticket.id),
            // Lived through again, it is stored as it was then.
            None => Some("job_again".to_owned()),
        };
        self.tell(Some(id), || format!("enqueue {}", if stored.is_some() { "stored" } else { "not stored" }));
        self.client(id).inbox.push_back(Event::Stored(stored));
    }

    /// When the queue has something to do.
    pub(super) fn jobs_at(&self) -> Option<Timestamp> {
        self.jobs.as_ref()?.queue.poll_timeout().map(|at| at.max(self.now))
    }

    /// Lets the queue do what is due. A job that begins is a request like any other, but that nobody waits for its answer.
    pub(super) fn attend_jobs(&mut self, now: Timestamp) -> Option<RequestId> {
        self.now = self.now.max(now);
        let now = self.now;
        let jobs = self.jobs.as_mut()?;
        jobs.queue.handle_timeout(now);
        let job = jobs.queue.pick(now, &self.gateway)?;
        let submission = jobs.queue.start(now, &job)?;
        match self.gateway.take_up(now, submission).read(now) {
            Next::Exchange(exchange) => {
                let id = self.next_id();
                let mut client = Client::new(now);
                client.job = Some(job);
                self.clients.insert(id, client);
                self.jobs.as_mut()?.begun.insert(id, exchange);
                self.tell(Some(id), || "run".to_owned());
                Some(id)
            }
            Next::Reply(reply) => {
                self.finish_job(&job, &reply);
                None
            }
            Next::Errand(_) => unreachable!("no surface is an operator's"),
        }
    }

    pub(super) fn finish_job(&mut self, job: &str, reply: &Reply) {
        let now = self.now;
        let Some(jobs) = &mut self.jobs else { return };
        jobs.queue.finish(now, job, reply);
        let status = jobs.queue.status_of(job);
        self.tell(None, || format!("job {status}"));
    }
}
