//! The ledger: a line for each attempt that was sent, whatever came of it, which adds up to what was spent.
//!
//! A [`Line`] is made when an attempt is settled, in numbers, and waits in the gateway until the adapter takes it to where it
//! is stored: the native server's writer with [`Gateway::take_lines`](crate::gateway::Gateway::take_lines), the worker with its
//! reports to the keeper. No request waits for that. If lines come faster than they are stored, there is room for
//! `store.lines_max` of them; those that come then are dropped, counted and told of. Without a store there is no ledger, and
//! nothing of this costs anything.
//!
//! What is stored is an [`Entry`], in names, by [`schema`]; what is asked of it is a [`Query`]. Both are SQL for the same tables
//! on both platforms.

use std::collections::VecDeque;

use crate::classify::Outcome;
use crate::config::{KeyId, RouteId, TargetId};
use crate::price::{Picodollars, Usage};
use crate::time::{Millis, Timestamp};

mod days;
mod entry;
mod pages;
mod query;
pub mod schema;

pub use days::sums;
pub use entry::{Entry, Value};
pub(crate) use query::off;
pub use query::{About, Query, Statement};

/// Lines that are stored together, at most: one transaction, or one report to the keeper.
pub const BATCH_MAX: usize = 500;

/// When lines that were offered to the keeper are offered again, if it has not said that it keeps them.
const OFFERED_AGAIN: Millis = Millis::from_secs(5);

/// Lost lines are told of no more often than this: a disk that is full must not fill the log as well.
const TOLD_EVERY: Millis = Millis::from_secs(1);

/// One attempt that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was sent.
    pub(crate) at: Timestamp,
    pub(crate) request_id: String,
    /// Its number among the request's attempts, from 1.
    pub(crate) attempt: u32,
    /// Index into the config's clients.
    pub(crate) client: Option<usize>,
    pub(crate) route: Option<RouteId>,
    pub(crate) target: TargetId,
    pub(crate) key: KeyId,
    pub(crate) outcome: Outcome,
    pub(crate) stream: bool,
    /// Whether the gateway has sent it of its own, to find out how the target is.
    pub(crate) probe: bool,
    /// What the vendor counted.
    pub(crate) usage: Option<Usage>,
    /// What it cost; `None`: nobody knows. What a vendor fails to answer costs nothing.
    pub(crate) cost: Option<Picodollars>,
    /// What its client's budget has paid for it where nobody knows.
    pub(crate) presumed: Option<Picodollars>,
    pub(crate) first_token: Option<Millis>,
    pub(crate) took: Millis,
}

/// On whose behalf an attempt is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cause<'r> {
    /// The request that it belongs to.
    pub request_id: &'r str,
    /// Its number among the request's attempts, from 0.
    pub attempt: u32,
    /// Index into the config's clients.
    pub client: Option<usize>,
    /// What the client asked for, if that was a route.
    pub route: Option<RouteId>,
    /// Whether it is the gateway's own.
    pub probe: bool,
}

/// Lines on their way to where they are stored.
#[derive(Debug)]
pub(crate) struct Ledger {
    waiting: VecDeque<Line>,
    max: usize,
    /// How long a line may wait for others.
    flush: Millis,
    /// The number of the first that waits; they count from 0.
    first: u64,
    /// Those before this number have been offered, and are offered again at this moment.
    offered: Option<(u64, Timestamp)>,
    /// Lines that were dropped, since the start.
    lost: u64,
    /// Those of them that nobody has been told of.
    untold: u64,
    tells_at: Timestamp,
}

impl Ledger {
    pub(crate) fn new(lines_max: u32, flush: Millis) -> Self {
        Self {
            waiting: VecDeque::new(),
            max: usize::try_from(lines_max).unwrap_or(usize::MAX),
            flush,
            first: 0,
            offered: None,
            lost: 0,
            untold: 0,
            tells_at: Timestamp(0),
        }
    }

    /// Adds a line, where there is room. The newest is dropped rather than one that is about to be stored.
    pub(crate) fn push(&mut self, line: Line) {
        if self.waiting.len() < self.max {
            self.waiting.push_back(line);
        } else {
            self.lost = self.lost.saturating_add(1);
            self.untold = self.untold.saturating_add(1);
        }
    }

    /// How many lines were lost since this was asked last, if that is to be told now.
    pub(crate) fn untold(&mut self, now: Timestamp) -> Option<u64> {
        if self.untold == 0 || now < self.tells_at {
            return None;
        }
        self.tells_at = now + TOLD_EVERY;
        Some(std::mem::take(&mut self.untold))
    }

    /// The lines that wait and those that were lost, for status pages.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.waiting.len(), self.lost)
    }

    /// Takes the oldest lines.
    pub(crate) fn take(&mut self, max: usize) -> Vec<Line> {
        let taken: Vec<Line> = self.waiting.drain(..max.min(self.waiting.len())).collect();
        self.first += taken.len() as u64;
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether lines have been offered, and nobody has said yet that they are kept.
    pub(crate) fn is_offered(&self) -> bool {
        self.offered.is_some()
    }

    /// Whether lines are to be offered now.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due_at().is_some_and(|at| at <= now)
    }

    /// When lines are to be offered; `None`: there are none.
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        let oldest = self.waiting.front()?;
        Some(match self.offered {
            Some((_, again_at)) => again_at,
            None if self.waiting.len() >= BATCH_MAX => Timestamp(0),
            None => oldest.at + oldest.took + self.flush,
        })
    }

    /// The oldest lines, which go on waiting until they are [`kept`](Self::kept), and the number of the first behind them.
    pub(crate) fn offer(&mut self, now: Timestamp) -> (impl Iterator<Item = &Line>, u64) {
        let count = self.waiting.len().min(BATCH_MAX);
        let until = self.first + count as u64;
        self.offered = (count > 0).then(|| (until, now + OFFERED_AGAIN));
        (self.waiting.range(..count), until)
    }

    /// Lines before this number are stored. What is told twice, or late, changes nothing.
    pub(crate) fn kept(&mut self, until: u64) {
        let count = usize::try_from(until.saturating_sub(self.first)).unwrap_or(usize::MAX);
        drop(self.take(count));
        self.offered = self.offered.filter(|(offered, _)| *offered > until);
    }
}

#[cfg(test)]
mod tests;
