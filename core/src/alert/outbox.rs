//! What the operator's webhook is told: one message at a time, each with all that has come up since the last one, so that a
//! vendor's outage is a few messages and not one for each of its models.
//!
//! Nothing here holds up a request, and a webhook that fails costs memory for a bounded number of alerts and nothing else.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::Entry;
use crate::backoff::doubled;
use crate::config::Webhook;
use crate::notice::Notice;
use crate::secret::Secret;
use crate::time::{Millis, Timestamp};
use crate::webhook;

/// What one message tells of: as much as somebody reads.
const TOLD_MAX: usize = 20;

/// What waits for a webhook that does not answer; the oldest give way, since the newest say how things stand.
const WAITING_MAX: usize = 100;

/// Times that a message is sent: with the pauses and the limit below that is a minute and a half.
const TRIES_MAX: u32 = 5;

/// The first pause after a message that did not arrive, doubled with each further one.
const PAUSE: Millis = Millis::from_secs(2);

/// Between two messages: chat services take one in a second.
const SPACING: Millis = Millis::from_secs(1);

/// How long a webhook may take to answer.
const LIMIT: Millis = Millis::from_secs(10);

/// An adapter that has not told what came of a message for so much longer has forgotten it.
const FORGOTTEN_AFTER: Millis = Millis::from_secs(5);

/// Tells messages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId(u64);

/// A message to be posted. It has arrived if it was answered with a success; anything else, or nothing, is a failure.
#[derive(Debug, Clone)]
pub struct Message {
    /// To be told with what came of it.
    pub id: MessageId,
    /// Where to post it.
    pub url: Secret,
    /// What to send along.
    pub headers: HeaderMap,
    /// What to say.
    pub body: Bytes,
    /// How long it may take.
    pub limit: Millis,
}

/// What waits to be told, and the message that tells it.
#[derive(Debug)]
pub(crate) struct Outbox {
    webhook: Webhook,
    waiting: VecDeque<Entry>,
    /// What the present message tells of; none: there is none.
    told: Vec<Entry>,
    tries: u32,
    /// Until when somebody is posting it.
    under_way: Option<Timestamp>,
    /// Nothing is posted before.
    ready_at: Timestamp,
    sent: u64,
    lost: u64,
}

impl Outbox {
    pub(crate) fn new(webhook: Webhook) -> Self {
        Self {
            webhook,
            waiting: VecDeque::new(),
            told: Vec::new(),
            tries: 0,
            under_way: None,
            ready_at: Timestamp(0),
            sent: 0,
            lost: 0,
        }
    }

    /// Has something told.
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(entry);
    }

    /// Forgets what it was to tell: somebody else does.
    pub(crate) fn clear(&mut self) {
        self.told.clear();
        self.waiting.clear();
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty() && self.waiting.is_empty()
    }

    /// What waits to be told, or is being told; and what never was, since the start.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.told.len() + self.waiting.len(), self.lost)
    }

    /// When there is something to do.
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        self.under_way.or((!self.is_empty()).then_some(self.ready_at))
    }

    /// The message that is to be posted now, if there is one.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<Message> {
        if self.under_way.is_some() || self.is_empty() || now < self.ready_at {
            return None;
        }
        if self.told.is_empty() {
            let count = self.waiting.len().min(TOLD_MAX);
            self.told.extend(self.waiting.drain(..count));
            self.tries = 0;
        }
        self.tries += 1;
        self.sent += 1;
        self.under_way = Some(now + LIMIT + FORGOTTEN_AFTER);
        let body = self.body();
        let headers = webhook::headers(self.webhook.key.as_ref(), &body);
        Some(Message { id: MessageId(self.sent), url: self.webhook.url.clone(), headers, body, limit: LIMIT })
    }

    /// Takes in with which status the message was answered, if it was. What is said of any other message changes nothing.
    pub(crate) fn settle(&mut self, now: Timestamp, id: MessageId, status: Option<StatusCode>) -> Option<Notice> {
        if self.under_way.is_none() || id.0 != self.sent {
            return None;
        }
        self.under_way = None;
        self.ready_at = now + SPACING;
        if status.is_some_and(|status| status.is_success()) {
            self.told.clear();
            return None;
        }
        if self.tries < TRIES_MAX {
            self.ready_at = now + doubled(PAUSE, self.tries - 1, Millis(u64::MAX));
            return None;
        }
        self.lost += self.told.len() as u64;
        self.told.clear();
        Some(Notice::AlertsUntold { lost: self.lost, tries: self.tries })
    }

    /// Gives up waiting for what came of a message, if that is to be.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) -> Option<Notice> {
        self.under_way.filter(|until| *until <= now)?;
        self.settle(now, MessageId(self.sent), None)
    }

    /// `text` is what Slack, and what has learnt from it, shows; the rest is for programs.
    fn body(&self) -> Bytes {
        let lines = self.told.iter().map(|entry| match entry.cleared_at {
            None => format!("Alert: {}", entry.alert),
            Some(at) => format!("Over after {}: {}", at.since(entry.raised_at), entry.alert),
        });
        let mut lines: Vec<String> = lines.collect();
        if self.lost > 0 {
            lines.push(format!("{} earlier ones could not be told.", self.lost));
        }
        let alerts: Vec<_> = self.told.iter().map(Entry::told).collect();
        json!({ "text": lines.join("\n"), "alerts": alerts, "lost": self.lost }).to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Alert, Cause, Subject};

    const OK: Option<StatusCode> = Some(StatusCode::OK);

    fn entry(name: &str) -> Entry {
        let alert = Alert { subject: Subject::Target(name.into()), cause: Cause::Failures { in_a_row: 3 } };
        Entry { alert, raised_at: Timestamp(1000), cleared_at: None }
    }

    fn outbox(entries: u32) -> Outbox {
        let webhook = Webhook { url: Secret::new("https://hooks.test/secret"), key: Some(Secret::new("a key")) };
        let mut outbox = Outbox::new(webhook);
        (0..entries).for_each(|nth| outbox.push(entry(&format!("v/{nth}"))));
        outbox
    }

    fn said(message: &Message) -> serde_json::Value {
        serde_json::from_slice(&message.body).unwrap()
    }

    #[test]
    fn one_message_at_a_time_gathers_what_has_come_up() {
        let mut outbox = outbox(1);
        let first = outbox.poll(Timestamp(0)).unwrap();
        assert_eq!(said(&first)["text"], "Alert: target v/0: 3 failures in a row");
        outbox.push(entry("v/1"));
        outbox.push(Entry { cleared_at: Some(Timestamp(6000)), ..entry("v/0") });
        assert!(outbox.poll(Timestamp(500)).is_none(), "one at a time");
        assert_eq!(outbox.settle(Timestamp(500), first.id, OK), None);
        assert!(outbox.poll(Timestamp(1499)).is_none() && outbox.due_at() == Some(Timestamp(1500)));
        let second = outbox.poll(Timestamp(1500)).unwrap();
        let text = "Alert: target v/1: 3 failures in a row\nOver after 5s: target v/0: 3 failures in a row";
        assert_eq!(said(&second)["text"], text);
        assert_eq!(said(&second)["alerts"][1]["state"], "cleared");
        outbox.settle(Timestamp(1600), second.id, OK);
        assert_eq!((outbox.due_at(), outbox.counts()), (None, (0, 0)));
    }

    #[test]
    fn what_does_not_arrive_is_tried_again_and_then_given_up_and_counted() {
        let (mut outbox, mut now, mut times) = (outbox(1), Timestamp(0), Vec::new());
        let told = loop {
            now = outbox.due_at().unwrap().max(now);
            times.push(now.0);
            let message = outbox.poll(now).unwrap();
            if let Some(told) = outbox.settle(now, message.id, Some(StatusCode::FOUND)) {
                break told;
            }
        };
        assert_eq!(times, [0, 2000, 6000, 14_000, 30_000]);
        assert_eq!(told, Notice::AlertsUntold { lost: 1, tries: 5 });
        outbox.push(entry("v/1"));
        let next = outbox.poll(now + SPACING).unwrap();
        let text = "Alert: target v/1: 3 failures in a row\n1 earlier ones could not be told.";
        assert_eq!(said(&next)["text"], text);
    }

    #[test]
    fn who_never_says_what_came_of_it_is_not_waited_for() {
        let mut outbox = outbox(1);
        let lost = outbox.poll(Timestamp(0)).unwrap();
        let until = outbox.due_at().unwrap();
        assert_eq!(until, Timestamp(15_000));
        assert_eq!(outbox.handle_timeout(Timestamp(14_999)), None);
        assert!(outbox.due_at() == Some(until) && outbox.poll(until).is_none());
        outbox.handle_timeout(until);
        let again = outbox.poll(until + PAUSE).unwrap();
        assert_eq!(said(&again), said(&lost));
        outbox.settle(until + PAUSE, lost.id, OK);
        assert_eq!(outbox.counts().0, 1, "what comes late about another message changes nothing");
    }

    #[test]
    fn its_memory_is_bounded_and_the_newest_are_kept() {
        let mut outbox = outbox(1000);
        assert_eq!(outbox.counts(), (100, 900));
        let message = outbox.poll(Timestamp(0)).unwrap();
        let alerts = &said(&message)["alerts"];
        assert_eq!((alerts.as_array().unwrap().len(), &alerts[0]["name"]), (20, &json!("v/900")));
    }

    #[test]
    fn it_is_signed_and_neither_url_nor_key_is_ever_shown() {
        let mut outbox = outbox(1);
        let message = outbox.poll(Timestamp(0)).unwrap();
        assert_eq!(message.headers, webhook::headers(Some(&Secret::new("a key")), &message.body));
        let shown = format!("{outbox:?} {message:?}");
        assert!(!shown.contains("hooks.test") && !shown.contains("a key"), "{shown}");
    }
}
