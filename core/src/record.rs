//! What was decided about each request, and why: kept for the latest of them, told when somebody asks.
//!
//! An exchange gathers its record as it goes, in numbers and moments. When it is over, the record moves into a ring in the
//! gateway, where the oldest gives way: nothing is copied, and no text is made, until an operator wants an [`Account`].
//! Neither holds a word of a prompt or an answer, or a key.

use std::collections::VecDeque;
use std::mem::discriminant;

use crate::classify::Outcome;
use crate::config::{Config, KeyId, RouteId, TargetId};
use crate::dialect::Surface;
use crate::hints::Hints;
use crate::price::{Picodollars, Usage};
use crate::route::Rejection;
use crate::time::{Millis, Timestamp};
use crate::tokens::Weight;

mod account;
mod file;
mod pages;
mod text;

pub use account::{Account, Attempt, Ending, How, PassedOver, Pause, Role};
pub use file::{Damaged, Header, Line, Recording, fingerprint};

/// How long a writer of records rests when it has written all there is.
pub const WRITER_REST: Millis = Millis(50);

/// Notes that are kept of one request. A request that is turned away more often has told its story.
const NOTES_MAX: usize = 64;

/// The record of one request.
#[derive(Debug, Clone)]
pub struct Record {
    pub(crate) request_id: String,
    /// As the client wrote it: it is a name of the config, with an ending at most.
    pub(crate) model: String,
    pub(crate) route: Option<RouteId>,
    /// Index into the config's clients.
    pub(crate) client: Option<usize>,
    pub(crate) surface: Surface,
    pub(crate) stream: bool,
    /// What else the client asked of the gateway, if anything.
    pub(crate) hints: Option<Box<Hints>>,
    /// What the request weighs, where anybody asked.
    pub(crate) weight: Option<Weight>,
    /// What kept it with one candidate.
    pub(crate) stick: Option<u64>,
    /// Whom the route's shadow would have asked first.
    pub(crate) shadow: Option<TargetId>,
    pub(crate) started_at: Timestamp,
    /// Candidates that its hints left out.
    pub(crate) excluded: Vec<(TargetId, Rejection)>,
    pub(crate) notes: Notes,
    /// In the order in which they ended.
    pub(crate) attempts: Vec<Attempted>,
    pub(crate) how: How,
    /// Whose answer it was that had been kept.
    pub(crate) kept_from: Option<TargetId>,
    /// What the client was sent; none if it was sent nothing.
    pub(crate) status: Option<u16>,
    pub(crate) ended_at: Timestamp,
}

/// One attempt that is over.
#[derive(Debug, Clone)]
pub(crate) struct Attempted {
    pub(crate) nth: u32,
    pub(crate) target: TargetId,
    pub(crate) key: KeyId,
    pub(crate) sent_at: Timestamp,
    /// The response head: when, and its status.
    pub(crate) head: Option<(Timestamp, u16)>,
    /// Of a stream.
    pub(crate) first_token_at: Option<Timestamp>,
    /// The last piece of it.
    pub(crate) last_at: Timestamp,
    pub(crate) ended_at: Timestamp,
    pub(crate) outcome: Outcome,
    pub(crate) retry_after: Option<Millis>,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Option<Picodollars>,
    /// The gateway's turns in which it was sent and settled: they tell what came first within a millisecond.
    pub(crate) sent_turn: u64,
    pub(crate) ended_turn: u64,
}

/// What happened between the attempts: the first of it, and how much more there was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    pub(crate) list: Vec<Note>,
    pub(crate) left_out: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Note {
    PassedOver { at: Timestamp, target: TargetId, why: Rejection },
    Paused { at: Timestamp, until: Timestamp },
}

/// The latest records.
#[derive(Debug)]
pub(crate) struct Records {
    ring: VecDeque<Record>,
    max: usize,
    /// How many there have been.
    filed: u64,
}

impl Attempted {
    /// From sending to its end.
    pub(crate) fn took(&self) -> Millis {
        self.ended_at.since(self.sent_at)
    }
}

impl Notes {
    /// A candidate was not asked. The same again is no news: whoever waits for a slot looks many times.
    pub(crate) fn pass_over(&mut self, at: Timestamp, target: TargetId, why: &Rejection) {
        let known = self.list.iter().rev().find_map(|note| match note {
            Note::PassedOver { target: known, why, .. } if *known == target => Some(why),
            _ => None,
        });
        if known.is_none_or(|known| discriminant(known) != discriminant(why)) {
            self.push(Note::PassedOver { at, target, why: why.clone() });
        }
    }

    /// Nobody is asked for a while. One pause that follows upon another goes on.
    pub(crate) fn pause(&mut self, at: Timestamp, until: Timestamp) {
        match self.list.last_mut() {
            Some(Note::Paused { until: before, .. }) if *before >= at => *before = until,
            _ => self.push(Note::Paused { at, until }),
        }
    }

    fn push(&mut self, note: Note) {
        if self.list.len() < NOTES_MAX {
            self.list.push(note);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }
}

impl Records {
    /// Room for `max` records; none: nothing is kept.
    pub(crate) fn new(max: u32) -> Self {
        Self { ring: VecDeque::new(), max: usize::try_from(max).unwrap_or(usize::MAX), filed: 0 }
    }

    pub(crate) fn push(&mut self, record: Record) {
        self.filed += 1;
        if self.ring.len() >= self.max {
            self.ring.pop_front();
        }
        if self.max > 0 {
            self.ring.push_back(record);
        }
    }

    /// The record of a request, if it is still there.
    pub(crate) fn find(&self, request_id: &str) -> Option<&Record> {
        self.ring.iter().rev().find(|record| record.request_id == request_id)
    }

    /// The latest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &Record> {
        self.ring.iter().rev()
    }
}

impl Record {
    /// It in words and names.
    pub fn account(&self, config: &Config) -> Account {
        Account::of(self, config)
    }
}

#[cfg(test)]
mod tests;
