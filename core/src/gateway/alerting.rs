//! The gateway's part in alerts: what is watched, who is told, and what `GET /admin/alerts` shows.
//!
//! The adapter's part is that of probes: when [`poll_timeout`](Gateway::poll_timeout) has come, call
//! [`handle_timeout`](Gateway::handle_timeout), post every message that [`poll_message`](Gateway::poll_message) yields, and
//! tell [`handle_message`](Gateway::handle_message) what came of each.

mod together;

use std::cmp::Reverse;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Gateway, Settlement};
use crate::alert::{Alerts, Cause, Entry, Message, MessageId, Outbox, Place, Sample};
use crate::breaker::State;
use crate::config::{Config, TargetId};
use crate::health::Status;
use crate::ledger;
use crate::notice::Notice;
use crate::record::{How, Record};
use crate::reply::{ApiError, Reply};
use crate::time::{Millis, Timestamp};
use together::Sharing;

/// Alerts that a page shows of each kind: those that are open, and the latest.
const SHOWN_MAX: usize = 50;

/// What there is where the config has `[alerts]`.
#[derive(Debug)]
pub(super) struct Alerting {
    alerts: Alerts,
    /// None where there is no webhook.
    outbox: Option<Outbox>,
    /// None where this gateway is the only one.
    sharing: Option<Sharing>,
}

impl Alerting {
    pub(super) fn new(config: &Config) -> Option<Box<Self>> {
        let policy = config.alerts.as_ref()?;
        let outbox = policy.webhook.clone().map(Outbox::new);
        Some(Box::new(Self { alerts: Alerts::new(config, policy), outbox, sharing: None }))
    }
}

impl Gateway {
    /// The message that is to be posted to the operator's webhook now, if there is one.
    pub fn poll_message(&mut self) -> Option<Message> {
        let now = self.now;
        let Alerting { outbox: Some(outbox), sharing, .. } = self.alerting.as_deref_mut()? else { return None };
        if let Some(sharing) = sharing {
            sharing.mind_lease(now, outbox);
        }
        outbox.poll(now)
    }

    /// Takes in what became of a message: the status that it was answered with, if any came.
    pub fn handle_message(&mut self, now: Timestamp, id: MessageId, status: Option<StatusCode>) {
        let now = self.advance(now);
        let outbox = self.alerting.as_mut().and_then(|alerting| alerting.outbox.as_mut());
        if let Some(untold) = outbox.and_then(|outbox| outbox.settle(now, id, status)) {
            self.notify(untold);
        }
    }

    /// `GET /admin/alerts`.
    pub(crate) fn list_alerts(&self, now: Timestamp) -> Result<Reply, Box<ApiError>> {
        let Some(Alerting { outbox, .. }) = self.alerting.as_deref() else { return Err(off().into()) };
        let latest = |mut entries: Vec<&Entry>| -> Vec<Value> {
            entries.sort_by_key(|entry| Reverse(entry.raised_at));
            entries.into_iter().take(SHOWN_MAX).map(Entry::told).collect()
        };
        let (open, over) = self.shown_alerts();
        let all = open.iter().copied().chain(over).collect();
        let webhook = outbox.as_ref().map(|outbox| {
            let (waiting, lost) = outbox.counts();
            json!({ "waiting": waiting, "lost": lost })
        });
        let page = json!({ "now_ms": now, "open": latest(open), "last": latest(all), "webhook": webhook });
        Ok(Reply::json(StatusCode::OK, &page))
    }

    /// How many alerts are open; `None`: nothing is watched.
    pub(crate) fn open_alerts(&self) -> Option<usize> {
        self.alerting.as_ref().map(|_| self.shown_alerts().0.len())
    }

    /// Those that are open and those that are over: of all gateways together, as far as this one has heard.
    fn shown_alerts(&self) -> (Vec<&Entry>, Vec<&Entry>) {
        let Some(Alerting { alerts, sharing, .. }) = self.alerting.as_deref() else { return Default::default() };
        let heard = sharing.as_ref().and_then(Sharing::heard);
        heard.unwrap_or_else(|| (alerts.open().map(|(entry, _)| entry).collect(), alerts.over().rev().collect()))
    }

    // === What is watched ===

    pub(super) fn watch_attempt(
        &mut self,
        now: Timestamp,
        id: TargetId,
        settlement: &Settlement,
        cause: &ledger::Cause<'_>,
    ) {
        self.watch(now, Place::Target(id), Sample::of_attempt(settlement, cause.probe));
    }

    /// How a request to a route has ended: what its clients see, whoever failed on the way.
    pub(super) fn watch_request(&mut self, record: &Record) {
        let Some(route) = record.route else { return };
        let is_served = match record.how {
            How::Answered => true,
            How::Canned | How::Queued | How::Broken => false,
            How::Refused if record.status.is_some_and(|status| status >= 500) => false,
            // The caller's fault, or its own limit; or it did not wait; or nobody had to be asked.
            How::Refused | How::ClientGone | How::Cached => return,
        };
        self.watch(self.now, Place::Route(route), Sample::of_request(is_served));
    }

    /// A client's budget is nearly spent: until its period is over, that is how it is.
    pub(super) fn watch_budget(&mut self, now: Timestamp, client: usize, period: Millis, cause: Cause) {
        self.clear_alerts(now);
        let Some(alerting) = &mut self.alerting else { return };
        let period_ends_at = Timestamp(now.0 - now.0 % period.0) + period;
        let raised = alerting.alerts.raise(now, &self.config, Place::Client(client), cause, period_ends_at);
        self.tell_alerts(raised);
    }

    fn watch(&mut self, now: Timestamp, place: Place, sample: Sample) {
        // A timer may be late: what is over is over before anything new begins.
        self.clear_alerts(now);
        let Some(alerting) = &mut self.alerting else { return };
        let raised = alerting.alerts.note(now, &self.config, place, sample);
        self.tell_alerts(raised);
    }

    // === Timers ===

    pub(super) fn alerts_due(&self) -> Option<Timestamp> {
        let Alerting { alerts, outbox, .. } = self.alerting.as_deref()?;
        alerts.due_at().into_iter().chain(outbox.as_ref().and_then(Outbox::due_at)).min()
    }

    pub(super) fn attend_alerts(&mut self, now: Timestamp) {
        self.clear_alerts(now);
        let outbox = self.alerting.as_mut().and_then(|alerting| alerting.outbox.as_mut());
        if let Some(untold) = outbox.and_then(|outbox| outbox.handle_timeout(now)) {
            self.notify(untold);
        }
    }

    fn clear_alerts(&mut self, now: Timestamp) {
        let is_due = |alerting: &mut Box<Alerting>| alerting.alerts.due_at().is_some_and(|at| at <= now);
        let Some(mut alerting) = self.alerting.take_if(is_due) else { return };
        let cleared = alerting.alerts.clear(now, |id| self.is_down(now, id));
        self.alerting = Some(alerting);
        self.tell_alerts(cleared);
    }

    /// Whether a target is known not to serve, so that no failures of it mean nothing.
    fn is_down(&self, now: Timestamp, id: TargetId) -> bool {
        let is_open = self.config.breakers_of(id).any(|breaker| self.breaker(breaker).state(now) == State::Open);
        is_open || self.health(now, id) == Status::Unhealthy
    }

    fn tell_alerts(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            let alert = entry.alert.clone();
            self.notify(match entry.cleared_at {
                None => Notice::AlertRaised { alert },
                Some(at) => Notice::AlertCleared { alert, after_ms: at.since(entry.raised_at) },
            });
            match self.alerting.as_deref_mut() {
                Some(Alerting { sharing: Some(sharing), .. }) => sharing.note_news(),
                Some(Alerting { outbox: Some(outbox), .. }) => outbox.push(entry),
                _ => {}
            }
        }
    }
}

fn off() -> ApiError {
    let message = "This gateway watches for nothing: give its configuration [alerts].";
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "no_alerts", message)
}

#[cfg(all(test, feature = "toml"))]
mod tests;
