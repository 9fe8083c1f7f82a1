//! The gateway's watch over its targets: what requests tell of them, and the probes where those do not.
//!
//! The adapter's part: when [`poll_timeout`](Gateway::poll_timeout) has come, call [`handle_timeout`](Gateway::handle_timeout),
//! make every probe that [`poll_probe`](Gateway::poll_probe) yields, and tell [`handle_probe`](Gateway::handle_probe) what came of
//! each. Doing none of it costs nothing but what probes would have found out.

mod chat;

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

use super::keys::THROTTLE_DEFAULT;
use super::{BreakerState, Gateway};
use crate::breaker::{State, Verdict};
use crate::classify::{Outcome, classify_status};
use crate::config::{Candidate, ProbeKind, TargetId};
use crate::health::{Change, Finding, Probe, ProbeId, Sign, Source, Status};
use crate::notice::Notice;
use crate::time::{Millis, Timestamp};

/// As much of a free probe's answer as is read: enough for an error, and its status says the rest.
const BODY_MAX: usize = 16 << 10;

/// Longer than a probe's own limit by this: then its adapter has forgotten it.
const FORGOTTEN_AFTER: Millis = Millis::from_secs(5);

pub(crate) use chat::ChatProbe;

impl Gateway {
    /// When [`handle_timeout`](Self::handle_timeout) has something to do; `None`: not before something else has happened.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match self.alerts_due() {
            None => self.prober.next_at(),
            due => due.into_iter().chain(self.prober.next_at()).min(),
        }
    }

    /// Does what is due. Early or repeated, it does nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.advance(now);
        self.attend_alerts(now);
        if self.prober.next_at().is_none_or(|at| now < at) {
            return;
        }
        while let Some(forgotten) = self.prober.overdue(now) {
            self.handle_probe(now, forgotten, &Finding::TimedOut);
        }
        for place in self.prober.due(now) {
            let at = self.wanted_at(now, place);
            if now < at {
                self.prober.put_off(place, at);
            }
        }
        self.prober.reckon();
    }

    /// The next probe to be made now, if there is one.
    pub fn poll_probe(&mut self) -> Option<Probe> {
        let now = self.now;
        while let Some(place) = self.prober.next_affordable(now) {
            let at = self.wanted_at(now, place);
            if now < at {
                self.prober.put_off(place, at);
                continue;
            }
            let probe = match self.prober.checks[place].kind {
                ProbeKind::Chat => self.chat_probe(now, place),
                ProbeKind::Models | ProbeKind::Get | ProbeKind::None => self.free_probe(now, place),
            };
            if probe.is_none() {
                self.prober.put_off(place, now + THROTTLE_DEFAULT);
                continue;
            }
            self.prober.reckon();
            return probe;
        }
        self.prober.reckon();
        None
    }

    /// Takes in what came of a probe. One that is over, or never was, changes nothing.
    pub fn handle_probe(&mut self, now: Timestamp, id: ProbeId, finding: &Finding) {
        let now = self.advance(now);
        let Some(probe) = self.prober.end(id) else { return };
        let took = now.since(probe.sent_at);
        if let Some(attempt) = probe.attempt {
            self.settle_chat(now, *attempt, took, finding);
            let at = self.wanted_at(now, probe.check);
            self.prober.put_off(probe.check, at);
            return self.prober.reckon();
        }
        let outcome = self.outcome_of(now, probe.check, finding);
        let targets = self.prober.checks[probe.check].targets.clone();
        let verdict = outcome.map_or(Verdict::Failure, |outcome| outcome.verdict(false));
        let is_mute = matches!(verdict, Verdict::Neutral | Verdict::RateLimited);
        self.prober.checks[probe.check].is_mute = is_mute;
        if !is_mute {
            for target in targets {
                self.note_free_probe(now, target, verdict == Verdict::Success, took);
            }
        }
        let hint = match outcome {
            Some(Outcome::RateLimited(hint)) => hint.unwrap_or(THROTTLE_DEFAULT),
            _ => Millis::ZERO,
        };
        let at = self.wanted_at(now, probe.check).max(now + hint);
        self.prober.put_off(probe.check, at);
        self.prober.reckon();
    }

    /// How a target is.
    pub fn health(&self, now: Timestamp, id: TargetId) -> Status {
        let now = self.now.max(now);
        self.targets[id.0].health.status(now, &self.config.target(id).health)
    }

    /// Whether others are to be asked before this target: because it is not well, or because probes are about to find out.
    pub fn is_doubtful(&self, now: Timestamp, candidate: &Candidate) -> bool {
        let (now, id) = (self.now.max(now), candidate.target);
        let breaker = self.breaker(candidate.breaker);
        match breaker.state(now) {
            State::Closed => self.health(now, id) == Status::Unhealthy,
            // Whoever lets attempts through wants to know what comes of them, whatever was thought before.
            State::HalfOpen => {
                breaker.ripe_since(now).is_some() && self.prober.check_of(id).is_some_and(|check| check.attends(now))
            }
            State::Open => false,
        }
    }

    /// What an attempt tells of its target.
    pub(super) fn note_attempt(&mut self, now: Timestamp, id: TargetId, outcome: Outcome, took: Option<Millis>) {
        let policy = &self.config.target(id).health;
        let sign = match outcome.verdict(false) {
            Verdict::Success | Verdict::Slow => Sign::of_answer(policy, took),
            Verdict::Failure => Sign::Bad,
            Verdict::RateLimited | Verdict::Neutral => return,
        };
        let change = self.targets[id.0].health.note(now, policy, Source::Attempt, sign);
        if sign == Sign::Bad {
            self.prober.wake(id, now);
        }
        self.note_change(id, change);
    }

    fn note_free_probe(&mut self, now: Timestamp, id: TargetId, answered: bool, took: Millis) {
        let config = Arc::clone(&self.config);
        let target = config.target(id);
        let sign = if answered { Sign::of_answer(&target.health, Some(took)) } else { Sign::Bad };
        let health = &mut self.targets[id.0].health;
        let change = health.note(now, &target.health, Source::FreeProbe, sign);
        let telling = health.is_telling();
        self.note_change(id, change);
        for breaker in config.breakers_of(id) {
            let BreakerState { breaker: state, rng, .. } = &mut self.breakers[breaker.0];
            let policy = &config.guard(breaker).policy;
            if let Some(transition) = state.vouch(now, policy, sign != Sign::Bad, telling, rng) {
                self.note_transition(breaker, transition);
            }
        }
    }

    fn note_change(&mut self, id: TargetId, change: Option<Change>) {
        if let Some(Change { from, to }) = change {
            let target = self.config.target(id).name.clone();
            self.notify(Notice::HealthChanged { target, from, to });
        }
    }

    /// When a check is to be asked next, for the sake of any of those whom it tells of.
    fn wanted_at(&self, now: Timestamp, place: usize) -> Timestamp {
        let targets = &self.prober.checks[place].targets;
        targets.iter().map(|target| self.wanted_for(now, place, *target)).min().unwrap_or(Timestamp::MAX)
    }

    fn wanted_for(&self, now: Timestamp, place: usize, id: TargetId) -> Timestamp {
        let check = &self.prober.checks[place];
        let policy = &self.config.target(id).health;
        let health = &self.targets[id.0].health;
        let usually = check.again_in(policy.every);
        if check.is_mute {
            return usually;
        }
        let soon = check.soon(now, health.trouble_since(), policy.every);
        let asked_since = health.trouble_since().is_some_and(|since| check.asked_at.is_some_and(|at| at >= since));
        let to_vouch = self.config.breakers_of(id).filter_map(|breaker| {
            let breaker = self.breaker(breaker);
            let held_until = breaker.vouchable_at().filter(|_| check.is_free())?;
            let over_at = now + breaker.retry_in(now).unwrap_or_default();
            let at = match health.probe_was_fine() {
                // It was well: once more, if that can open the way.
                Some(true) if health.is_telling() => check.at_once(),
                Some(true) if asked_since => check.at_once().max(over_at),
                _ => soon.min(check.at_once().max(over_at)),
            };
            Some(at.max(held_until))
        });
        if let Some(at) = to_vouch.min() {
            return at;
        }
        if !self.prober.is_contested(id) {
            return Timestamp::MAX;
        }
        let status = health.status(now, policy);
        if check.is_free() && health.is_in_trouble() && (health.is_telling() || !asked_since) {
            let was_well = health.is_telling() && health.probe_was_fine() == Some(true);
            if was_well { check.at_once() } else { soon }
        } else if !check.is_free() && health.is_mending() {
            // Each further answer brings it nearer to being well, and at the usual pace twenty of them take as long as an outage.
            soon
        } else if let Some(at) = health.attempt_at().filter(|_| health.is_fresh(now, policy)) {
            usually.max(at + policy.every)
        } else if check.is_free() && status == Status::Unknown && check.asked_at.is_some() {
            soon
        } else {
            usually
        }
    }

    /// A probe that costs nothing; `None` where no key may be used.
    fn free_probe(&mut self, now: Timestamp, place: usize) -> Option<Probe> {
        let config = Arc::clone(&self.config);
        let check = &self.prober.checks[place];
        let (kind, targets) = (check.kind, &check.targets);
        let id = targets[0];
        let target = config.target(id);
        let timeout = targets.iter().map(|id| config.target(*id).health.timeout).max().unwrap_or_default();
        let url = config.probe_url(id)?;
        let theirs = kind == ProbeKind::Get && !target.health.path.starts_with('/');
        let mut headers = if theirs {
            HeaderMap::new()
        } else {
            let key = self.quarantines[target.vendor.0].iter().position(|until| *until <= now)?;
            self.headers[target.vendor.0][key].clone()
        };
        headers.remove(CONTENT_TYPE);
        let until = now + timeout;
        let probe = self.prober.begin(place, now, until + FORGOTTEN_AFTER, None);
        Some(Probe {
            id: probe,
            vendor: target.vendor,
            target: id,
            method: Method::GET,
            url,
            headers,
            body: bytes::Bytes::new(),
            until,
            body_max: BODY_MAX,
        })
    }

    /// What became of a probe, by the table for attempts; none if there was no answer.
    fn outcome_of(&self, now: Timestamp, place: usize, finding: &Finding) -> Option<Outcome> {
        let Finding::Reply { status, headers, body } = finding else { return None };
        if status.is_success() {
            return Some(Outcome::Success);
        }
        let dialect = self.config.vendor_of(self.prober.checks[place].targets[0]).dialect;
        Some(classify_status(*status, headers, &dialect.read_error(body), now))
    }
}

#[cfg(test)]
mod tests;
