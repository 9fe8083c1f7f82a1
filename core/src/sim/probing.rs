//! How a world makes the gateway's probes, and posts what its operator is told.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::referee::Asked;
use super::stage::{Due, Stage, Turn};
use super::wire::Wanted;
use crate::dialect::Operation;
use crate::drive::{Attempt, AttemptId};
use crate::health::{Finding, Probe};
use crate::time::Timestamp;

/// Whoever is called when something is wrong.
pub(super) struct Webhook {
    /// What every message is answered with; none: there is no answer.
    pub(super) answers: Option<StatusCode>,
    /// What it was told; in a quiet world nobody keeps that.
    pub(super) told: Vec<Value>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self { answers: Some(StatusCode::OK), told: Vec::new() }
    }
}

impl Stage {
    /// When the gateway has something to do of its own.
    pub(super) fn gateway_at(&self) -> Option<Timestamp> {
        self.gateway.poll_timeout().map(|at| at.max(self.now))
    }

    /// Lets the gateway do what is due, and makes the probes that it asks for.
    pub(super) fn attend(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.gateway.handle_timeout(self.now);
        while let Some(probe) = self.gateway.poll_probe() {
            // A breaker that lets it through says so before it is sent.
            self.tell_notices();
            self.probe(&probe);
        }
        self.post_messages();
        self.tell_notices();
    }

    /// Posts what the operator's webhook is to be told.
    fn post_messages(&mut self) {
        while let Some(message) = self.gateway.poll_message() {
            let body = serde_json::from_slice(&message.body).expect("our own words are JSON");
            if self.keeps_story() {
                self.webhook.told.push(body);
            }
            self.gateway.handle_message(self.now, message.id, self.webhook.answers);
        }
    }

    fn probe(&mut self, probe: &Probe) {
        let config = std::sync::Arc::clone(self.gateway.config());
        self.vendors[probe.target.0].probes += 1;
        self.tell(None, || format!("probe {}", config.target(probe.target).name));
        // What one vendor's targets have in common is its address: it answers as long as one of them does.
        let theirs = || {
            let targets = config.targets.iter().zip(&self.vendors);
            let theirs = targets.filter(|(target, _)| target.vendor == probe.vendor);
            let mut usual = theirs.map(|(_, vendor)| vendor.usual.on_the_whole());
            let first = usual.next();
            first.clone().into_iter().chain(usual).find(super::Script::is_answer).or(first)
        };
        let told = self.vendors[probe.target.0].probed.clone();
        let found = if probe.body.is_empty() {
            told.or_else(theirs).and_then(|script| script.finding())
        } else {
            let attempt = Attempt {
                id: AttemptId(0),
                vendor: probe.vendor,
                target: probe.target,
                operation: Operation::Chat,
                headers: HeaderMap::new(),
                body: probe.body.clone(),
            };
            self.referee.sent(self.now, probe.target, Asked::Probe(probe.id));
            let script = told.unwrap_or_else(|| self.vendors[probe.target.0].usual.on_the_whole());
            script.whole_finding(&Wanted::read(&config, &attempt))
        };
        let in_time = found.map(|(after, finding)| (self.now + after, finding)).filter(|(at, _)| *at < probe.until);
        let (at, finding) = in_time.unwrap_or((probe.until, Finding::TimedOut));
        self.plan(at, Turn::Arrival, Due::Finding(probe.target, probe.id, finding));
    }
}
