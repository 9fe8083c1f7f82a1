//! How a world makes the gateway's probes.

use http::HeaderMap;

use super::referee::Asked;
use super::stage::{Due, Stage, Turn};
use super::wire::Wanted;
use crate::dialect::Operation;
use crate::drive::{Attempt, AttemptId};
use crate::health::{Finding, Probe};
use crate::time::Timestamp;

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
        self.tell_notices();
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
