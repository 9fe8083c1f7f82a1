//! Telling the operator's webhook that a job is over: by its id and how it ended, and nothing of what was asked or answered.
//! Whoever is told asks for the rest as the client would.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::answer::{OBJECT, secs};
use super::job::{Hook, Job};
use super::{Queue, Store};
use crate::backoff::doubled;
use crate::notice::Notice;
use crate::secret::Secret;
use crate::time::{Millis, Timestamp};
use crate::webhook;

/// Times that an end is told before it is left untold.
const TRIES_MAX: u32 = 6;

/// The first pause after one that did not arrive, doubled with each further one: with the tries above and the limit
/// below, three minutes in all.
const PAUSE: Millis = Millis(4000);

/// How long a webhook may take to answer.
const LIMIT: Millis = Millis(10_000);

/// A message to the webhook. It has arrived if it was answered with a success; anything else, or nothing, is a failure.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The job it is about.
    pub id: String,
    /// Where to post it.
    pub url: Secret,
    /// What to send along.
    pub headers: HeaderMap,
    /// What to say.
    pub body: Bytes,
    /// How long it may take.
    pub limit: Millis,
}

impl<S: Store> Queue<S> {
    /// Has the end of a job told. It is due again a while after that, in case nothing comes of it.
    pub(super) fn deliver(&mut self, now: Timestamp, job: &Job) {
        let (Some(hook), Some(webhook)) = (job.hook, &self.policy.webhook) else {
            self.settle_hook(job);
            return;
        };
        if hook.tries >= TRIES_MAX {
            if self.settle_hook(job) {
                self.notify(Notice::WebhookFailed { id: job.id.clone(), tries: hook.tries });
            }
            return;
        }
        let body = json!({
            "object": OBJECT, "id": job.id, "status": job.status(), "model": job.model, "client": job.client,
            "created_at": secs(job.created_at), "finished_at": secs(job.over_at().unwrap_or(now)),
        });
        let body = Bytes::from(body.to_string());
        let headers = webhook::headers(webhook.key.as_ref(), &body);
        let delivery = Delivery { id: job.id.clone(), url: webhook.url.clone(), headers, body, limit: LIMIT };
        let due_at = now + LIMIT + doubled(PAUSE, hook.tries, Millis(u64::MAX));
        let next = Hook { tries: hook.tries + 1, due_at };
        // Noted before it is sent: one that takes the process with it is not sent for ever.
        if self.write(job, Job { hook: Some(next), ..job.becomes(job.state.clone()) }, None) {
            self.deliveries.push_back(delivery);
        }
    }

    /// Takes in what became of a delivery: the status that it was answered with, if any came.
    pub fn delivered(&mut self, now: Timestamp, id: &str, status: Option<StatusCode>) {
        self.advance(now);
        if !status.is_some_and(|status| status.is_success()) {
            return;
        }
        if let Some(job) = self.index.find(id).filter(|job| job.over_at().is_some()).cloned() {
            self.settle_hook(&job);
        }
    }

    /// Nothing is to be told of a job any more. `false`: that could not be noted.
    fn settle_hook(&mut self, job: &Job) -> bool {
        self.write(job, Job { hook: None, ..job.becomes(job.state.clone()) }, None)
    }
}
