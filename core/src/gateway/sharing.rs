//! What gateways share of their breakers through the keeper, and what operators order of all of them.
//!
//! What one gateway finds out only ever adds caution to another. An operator's order is obeyed as it is, once, by each
//! gateway that the keeper tells of it, so that they all end as the last order says.

use super::{BreakerState, Gateway};
use crate::breaker::{Order, Reported, State, Transition};
use crate::config::{BreakerId, TargetId};
use crate::keeper::{Change, Lines, Ordered, Report, Standing, Used, View};
use crate::time::{Millis, Timestamp};

/// A gateway with traffic hears of what others found, and of orders, at least this often; half of it at the earliest, so that
/// not all of them ask at once.
pub(super) const VIEW_EVERY: Millis = Millis(2000);

impl Gateway {
    /// Does what an operator orders of a target: of its own breaker, and of those that routes have for it.
    pub fn order(&mut self, now: Timestamp, target: TargetId, order: Order) {
        let now = self.advance(now);
        for index in 0..self.breakers.len() {
            let id = BreakerId(index);
            if self.config.guard(id).target != target {
                continue;
            }
            if let Some(transition) = self.obey(now, id, order) {
                self.announce(id, transition);
            }
            let state = &mut self.breakers[index];
            // Even if nothing changes here: elsewhere something may.
            (state.unreported, state.order) = (true, Some(order));
        }
    }

    /// What the keeper should be told, if anything has changed since it was told last, lines are to be stored, or limits are
    /// kept together and it is time to hear of them again.
    pub fn poll_report(&mut self, now: Timestamp) -> Option<Report> {
        let now = self.advance(now);
        let is_due = now >= self.view_due;
        let lines = self.due_lines(now, |ledger| ledger.is_due(now));
        let used = self.due_used(now);
        let alerts = self.due_alerts(now, is_due);
        self.report(now, lines, used, alerts)
    }

    /// The same with all lines that wait, as far as one report carries them: before the ledger is asked for.
    pub fn poll_lines(&mut self, now: Timestamp) -> Option<Report> {
        let now = self.advance(now);
        let lines = self.due_lines(now, |_| true);
        self.report(now, lines, None, None)
    }

    /// The same for who may not come back to ask again: with lines that only wait for others.
    pub fn poll_last_report(&mut self, now: Timestamp) -> Option<Report> {
        let now = self.advance(now);
        let lines = self.due_lines(now, |ledger| !ledger.is_offered());
        self.report(now, lines, None, None)
    }

    pub(super) fn report(
        &mut self,
        now: Timestamp,
        lines: Option<Lines>,
        used: Option<Vec<Used>>,
        alerts: Option<Standing>,
    ) -> Option<Report> {
        let number = self.reports + 1;
        let unreported = self.config.breakers.iter().zip(&mut self.breakers).filter(|(_, state)| state.unreported);
        let changes = unreported.map(|(guard, state)| {
            (state.unreported, state.told_in) = (false, number);
            let breaker = state.breaker.snapshot(now);
            let order = state.order.take().map(|order| match order {
                Order::Open(_) => Order::Open(breaker.remaining_ms),
                Order::Close | Order::Reset => order,
            });
            Change { target: guard.name.clone(), breaker, order }
        });
        let changes: Vec<Change> = changes.collect();
        if changes.is_empty() && lines.is_none() && used.is_none() && alerts.is_none() {
            return None;
        }
        self.reports = number;
        Some(Report {
            reporter: self.reporter,
            sequence: self.reports,
            changes,
            lines,
            used: used.unwrap_or_default(),
            alerts,
        })
    }

    /// As whom the keeper knows this gateway.
    pub fn reporter(&self) -> u64 {
        self.reporter
    }

    /// Whether to ask the keeper what it knows: it was not heard of for a while. Says so once each time.
    pub fn wants_view(&mut self, now: Timestamp) -> bool {
        let now = self.advance(now);
        let is_due = self.view_due <= now;
        if is_due {
            self.hear_again(now);
        }
        is_due
    }

    /// Takes in what the keeper knows: obeys orders that are new, and otherwise only ever adds caution.
    pub fn handle_view(&mut self, now: Timestamp, view: &View) {
        let now = self.advance(now);
        self.hear_again(now);
        self.handle_orders(now, &view.orders);
        self.hear_limits(now, &view.limits);
        self.hear_alerts(now, view.alerts.as_ref());
        let config = self.config.clone();
        for (index, guard) in config.breakers.iter().enumerate() {
            let Some(open) = view.open.iter().find(|open| open.target == guard.name) else { continue };
            let id = BreakerId(index);
            // What this gateway's routes can spare, no other gateway knows; nor had the keeper heard of what has closed since.
            let is_unheard = !self.is_known(index, view);
            if self.breaker(id).state(now) == State::Closed && (is_unheard || self.holder(now, id).is_some()) {
                continue;
            }
            let breaker = &mut self.breakers[index].breaker;
            let reported = Reported { remaining: open.remaining_ms, held: open.held_ms, trips: open.trips };
            let transition = breaker.open_remote(now, &guard.policy, reported);
            // The keeper knows: it has told.
            if let Some(transition) = transition {
                self.announce(id, transition);
            }
        }
    }

    /// Whether what a breaker last did was known when the view was taken.
    fn is_known(&self, breaker: usize, view: &View) -> bool {
        let BreakerState { unreported, told_in, .. } = self.breakers[breaker];
        !unreported && view.heard.is_none_or(|heard| told_in <= heard)
    }

    pub(super) fn hear_again(&mut self, now: Timestamp) {
        self.view_due = now + self.rng.between(Millis(VIEW_EVERY.0 / 2), VIEW_EVERY);
    }

    fn handle_orders(&mut self, now: Timestamp, orders: &[Ordered]) {
        let obeyed = self.obeyed;
        for ordered in orders.iter().filter(|ordered| obeyed.is_none_or(|last| ordered.number > last)) {
            self.obeyed = self.obeyed.max(Some(ordered.number));
            // To a gateway that has just begun, an order that ended something is over.
            let ends = !matches!(ordered.order, Order::Open(_));
            let id = self.config.breakers.iter().position(|guard| guard.name == ordered.target).map(BreakerId);
            let Some(id) = id.filter(|_| !(ends && obeyed.is_none())) else { continue };
            let was_by_order = self.breaker(id).is_by_order(now);
            // Its own order comes back to a gateway, too: that is not worth saying again.
            if let Some(transition) = self.obey(now, id, ordered.order)
                && (!was_by_order || ends)
            {
                self.announce(id, transition);
            }
        }
        self.obeyed = self.obeyed.or(Some(0));
    }

    fn obey(&mut self, now: Timestamp, id: BreakerId, order: Order) -> Option<Transition> {
        let guard = self.config.guard(id);
        if matches!(order, Order::Close | Order::Reset) {
            self.targets[guard.target.0].stats.forgive(now);
        }
        self.breakers[id.0].breaker.obey(now, &guard.policy, order)
    }
}
