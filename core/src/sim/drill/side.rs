//! What clients got, counted.

use serde::Serialize;

use super::line::Ended;
use super::play::Plan;
use crate::config::TargetId;
use crate::price::Picodollars;
use crate::sim::BEGINNING;
use crate::time::{Millis, Timestamp};

/// One of a drill's two sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Calls that clients made. An SDK's retries of one are no others.
    pub calls: u64,
    /// Those that got a whole answer from a model.
    pub served: u64,
    /// Half of those served had an answer (a stream: its first token) within this, SDKs' retries included.
    pub p50_ms: Millis,
    /// 95 of 100.
    pub p95_ms: Millis,
    /// 99 of 100.
    pub p99_ms: Millis,
    /// The mean.
    pub mean_ms: Millis,
    /// What all answers cost; none where a price is not known.
    pub cost_picodollars: Option<Picodollars>,
    /// Attempts that reached the first choice while it was unwell.
    pub attempts_at_sick: u64,
    /// Those of them that came before its breaker opened.
    pub attempts_until_open: Option<u64>,
    /// From the beginning of the disaster to the first answer from another than the first choice.
    pub fail_over_ms: Option<Millis>,
    /// From its end to the first call that the first choice serves.
    pub fail_back_ms: Option<Millis>,
}

/// What is counted on the way.
pub(super) struct Tally {
    first: TargetId,
    from: Timestamp,
    until: Timestamp,
    pub(super) calls: u64,
    /// What those that were served waited for an answer.
    waited: Vec<Millis>,
    attempts: (u64, u64),
    opened: Option<u64>,
    other_at: Option<Timestamp>,
    back_at: Option<Timestamp>,
}

impl Tally {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            first: plan.first,
            from: BEGINNING + plan.from,
            until: BEGINNING + plan.until,
            calls: 0,
            waited: Vec::new(),
            attempts: (0, 0),
            opened: None,
            other_at: None,
            back_at: None,
        }
    }

    /// The disaster begins, and so many attempts have reached the first choice before.
    pub(super) fn begin(&mut self, attempts: u64) {
        self.attempts = (attempts, attempts);
    }

    /// It is over.
    pub(super) fn end(&mut self, attempts: u64, opened: Option<u64>) {
        self.attempts.1 = attempts;
        self.opened = opened;
    }

    /// A call is over for good.
    pub(super) fn note(&mut self, ended: &Ended) {
        let Some(by) = ended.served_by else { return };
        self.waited.push(ended.first_at.since(ended.call.asked_at));
        if by != self.first && ended.at >= self.from {
            self.other_at.get_or_insert(ended.at);
        }
        // Whoever had asked before it was over may have been answered by it all the same.
        let asked_at = ended.call.asked_at;
        if by == self.first && asked_at >= self.until {
            self.back_at = Some(self.back_at.map_or(asked_at, |known| known.min(asked_at)));
        }
    }

    pub(super) fn side(mut self, cost: Option<Picodollars>) -> Side {
        self.waited.sort_unstable();
        let served = self.waited.len();
        let quantile = |percent: usize| self.waited.get((served * percent / 100).min(served.saturating_sub(1)));
        let sum: u64 = self.waited.iter().map(|waited| waited.0).sum();
        Side {
            calls: self.calls,
            served: served as u64,
            p50_ms: quantile(50).copied().unwrap_or_default(),
            p95_ms: quantile(95).copied().unwrap_or_default(),
            p99_ms: quantile(99).copied().unwrap_or_default(),
            mean_ms: Millis(sum / (served as u64).max(1)),
            cost_picodollars: cost,
            attempts_at_sick: self.attempts.1 - self.attempts.0,
            attempts_until_open: self.opened.map(|attempts| attempts.saturating_sub(self.attempts.0)),
            fail_over_ms: self.other_at.map(|at| at.since(self.from)),
            fail_back_ms: self.back_at.map(|at| at.since(self.until)),
        }
    }
}
