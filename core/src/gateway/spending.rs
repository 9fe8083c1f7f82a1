//! What attempts cost, and the ledger's lines that say so.

use super::{Gateway, Settlement};
use crate::classify::Outcome;
use crate::config::{KeyId, TargetId};
use crate::keeper::Lines;
use crate::ledger::{Cause, Entry, Ledger, Line};
use crate::notice::Notice;
use crate::price::{self, Picodollars};
use crate::time::Timestamp;

/// What a target's answers have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spending {
    /// The sum of what is known.
    pub(crate) known: Picodollars,
    /// Answers whose cost is not.
    pub(crate) unpriced: u64,
}

/// What an attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bill {
    /// What the answer cost, where there is one and that is known.
    pub(super) cost: Option<Picodollars>,
    /// What the ledger's line says, and a client's budget has to pay: nothing for what failed, `None` where nobody knows.
    pub(super) owed: Option<Picodollars>,
}

impl Gateway {
    /// Takes up to `max` of the lines that wait to be stored, the oldest first: whoever takes them has to store them.
    pub fn take_lines(&mut self, now: Timestamp, max: usize) -> Vec<Line> {
        let now = self.advance(now);
        self.tell_of_lost_lines(now);
        self.ledger.as_mut().map(|ledger| ledger.take(max)).unwrap_or_default()
    }

    /// When [`poll_report`](Self::poll_report) has lines to tell; `None`: there are none.
    pub fn lines_due(&self) -> Option<Timestamp> {
        self.ledger.as_ref()?.due_at()
    }

    /// Lines before this number are stored by the keeper: [`Lines::until`] of a report that it has taken in.
    pub fn lines_kept(&mut self, until: u64) {
        if let Some(ledger) = &mut self.ledger {
            ledger.kept(until);
        }
    }

    /// The lines that a report is to carry now, if there are any and they are to go.
    pub(super) fn due_lines(&mut self, now: Timestamp, go: impl FnOnce(&Ledger) -> bool) -> Option<Lines> {
        let ledger = self.ledger.as_mut()?;
        if ledger.is_empty() || !go(ledger) {
            return None;
        }
        let keep_ms = self.config.store.as_ref()?.keep;
        let (lines, until) = ledger.offer(now);
        let entries = lines.map(|line| Entry::of(line, &self.config).into_owned()).collect();
        self.tell_of_lost_lines(now);
        Some(Lines { entries, until, keep_ms })
    }

    /// How many lines wait to be stored, and how many were lost; `None` where there is no ledger.
    pub(crate) fn ledger_counts(&self) -> Option<(usize, u64)> {
        self.ledger.as_ref().map(Ledger::counts)
    }

    /// Notes what an attempt cost, and leaves its line. What was set aside for it counts where nobody knows.
    pub(super) fn bill(
        &mut self,
        now: Timestamp,
        id: TargetId,
        key: KeyId,
        settlement: &Settlement,
        cause: &Cause<'_>,
        set_aside: Option<Picodollars>,
    ) -> Bill {
        let is_answer = settlement.outcome == Outcome::Success || settlement.usage.is_some();
        // Whoever is dropped in the middle has its work paid for; nobody says how much.
        let is_owed = settlement.outcome == Outcome::Neutral || settlement.first_token.is_some();
        let cost = if is_answer { self.charge(id, settlement) } else { None };
        if is_owed && !is_answer {
            let spending = &mut self.targets[id.0].spending;
            spending.unpriced = spending.unpriced.saturating_add(1);
        }
        let owed = if is_answer || is_owed { cost } else { Some(Picodollars(0)) };
        if let Some(ledger) = &mut self.ledger {
            ledger.push(Line {
                at: now - settlement.took,
                request_id: cause.request_id.to_owned(),
                attempt: cause.attempt.saturating_add(1),
                client: cause.client,
                route: cause.route,
                target: id,
                key,
                outcome: settlement.outcome,
                stream: settlement.stream,
                probe: cause.probe,
                usage: settlement.usage,
                cost: owed,
                presumed: set_aside.filter(|_| owed.is_none()),
                first_token: settlement.first_token,
                took: settlement.took,
            });
            self.tell_of_lost_lines(now);
        }
        Bill { cost, owed }
    }

    /// What an answer cost. Without a price, or without the vendor's count, that is unknown, which is not nothing.
    fn charge(&mut self, id: TargetId, settlement: &Settlement) -> Option<Picodollars> {
        let target = self.config.target(id);
        let price = self.config.price(id, self.now);
        let spending = &mut self.targets[id.0].spending;
        if let Some(cost) = settlement.usage.and_then(|usage| price::cost(price, usage)) {
            spending.known = spending.known.plus(cost);
            return Some(cost);
        }
        spending.unpriced = spending.unpriced.saturating_add(1);
        if target.price.is_none() && spending.unpriced == 1 {
            let target = target.name.clone();
            self.notify(Notice::PriceUnknown { target });
        }
        None
    }

    fn tell_of_lost_lines(&mut self, now: Timestamp) {
        if let Some(count) = self.ledger.as_mut().and_then(|ledger| ledger.untold(now)) {
            self.notify(Notice::LinesLost { count });
        }
    }
}
