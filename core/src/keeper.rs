//! What many gateways know together.
//!
//! At the edge many isolates run at once, each with a [`Gateway`](crate::gateway::Gateway) of its own, and any of them may be
//! gone the next moment. The keeper is what stays: it merges their reports, says which targets are shut off, and is all
//! that has to be stored. It knows nothing of how it is stored or reached.
//!
//! Reports and views hold lengths of time, never moments: the clocks at both ends differ. A report counts once, by its
//! reporter and sequence number, however often it arrives, and an old one that arrives late changes nothing.
//!
//! What breakers find out by themselves only ever adds caution elsewhere. An operator's order is another matter: it was
//! given to one gateway and is meant for all, so the latest one for each breaker is kept, numbered, and obeyed by each
//! gateway once.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::breaker::{ORDER_MAX, Order, Snapshot, State};
use crate::ledger;
use crate::time::{Millis, Timestamp};

mod alerts;
mod limits;

pub use alerts::{Aged, Held, Standing, Told};
#[cfg(feature = "toml")]
pub(crate) use limits::LIMITS_MAX;
pub use limits::{Grant, Kind, Level, Used};

use alerts::Alerts;
use limits::Limits;

/// Version of the stored form; a store of another version is not read.
const VERSION: u32 = 1;

/// Reporters remembered, the longest silent forgotten first.
const REPORTERS_MAX: usize = 256;

/// Targets remembered. A deployment has tens; a thousand is a mistake or an attack.
const TARGETS_MAX: usize = 1024;

/// The longest that a target is held open on the word of a report.
const OPEN_MAX: Millis = Millis::from_secs(24 * 3600);

/// How long a gateway that has just started waits for a view before it decides without one. A keeper that is slow or gone
/// must not hold up the first request for longer than this.
pub const FIRST_VIEW_WAIT: Millis = Millis(250);

/// What a gateway tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Which gateway.
    pub reporter: u64,
    /// Counts its reports, from 1.
    pub sequence: u64,
    /// The breakers that tripped or recovered.
    pub changes: Vec<Change>,
    /// Lines of the ledger to be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Lines>,
    /// What it has used of limits that are kept together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<Used>,
    /// How its alerts stand, if it watches for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Standing>,
}

impl Lines {
    /// Those that are yet to be stored, of a reporter whose lines before the number `kept` are. A gateway tells its lines
    /// from the first on that it does not know to be stored: so what is stored has no gaps, and a number says all.
    pub fn news(&self, kept: u64) -> &[ledger::Entry<'static>] {
        let new = usize::try_from(self.until.saturating_sub(kept)).unwrap_or(usize::MAX);
        &self.entries[self.entries.len().saturating_sub(new)..]
    }
}

impl Report {
    /// What the gateway is to be told once the lines that it carries are stored, if it carries any.
    pub fn lines_until(&self) -> Option<u64> {
        self.lines.as_ref().map(|lines| lines.until)
    }
}

/// Lines of the ledger on their way to where they are stored. They are told again until that is known, and stored once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// The lines, the oldest first.
    pub entries: Vec<ledger::Entry<'static>>,
    /// The number of the first line after them. What the gateway is to be told once they are stored: see
    /// [`Gateway::lines_kept`](crate::gateway::Gateway::lines_kept).
    pub until: u64,
    /// How long they are kept.
    pub keep_ms: Millis,
}

/// A breaker that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The target's name.
    pub target: String,
    /// Its breaker as it is now.
    pub breaker: Snapshot,
    /// What an operator has ordered, if that is why it changed. An open time is what is left of it.
    #[serde(default)]
    pub order: Option<Order>,
}

/// What the keeper tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The targets that are shut off, by name.
    pub open: Vec<Open>,
    /// The last report of the gateway that is told which had been taken in by then; `None`: none that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<u64>,
    /// The latest orders, at most one for each target.
    #[serde(default)]
    pub orders: Vec<Ordered>,
    /// How limits stand that are kept together.
    #[serde(default)]
    pub limits: Vec<Level>,
    /// How all gateways' alerts stand; `None`: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Told>,
}

/// An order that an operator has given to some gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The target's name.
    pub target: String,
    /// Rises with each order that the keeper hears of, and is to be compared only.
    pub number: u64,
    /// What is to be done. An open time is what is left of it.
    pub order: Order,
}

/// A target that is shut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Its name.
    pub target: String,
    /// For how much longer.
    pub remaining_ms: Millis,
    /// For how much longer no voucher ends it.
    #[serde(default)]
    pub held_ms: Millis,
    /// How often it has opened since it was last healthy for long.
    pub trips: u32,
}

/// The merged state. Serialise it whole to store it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    version: u32,
    targets: BTreeMap<String, Entry>,
    #[serde(default)]
    orders: BTreeMap<String, Given>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    alerts: Alerts,
    /// The last sequence number of each reporter, the latest to speak last.
    reporters: VecDeque<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    open_until: Timestamp,
    #[serde(default)]
    held_until: Timestamp,
    trips: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    /// When, and its number too: no two are given at one instant.
    at: Timestamp,
    order: Order,
}

impl Given {
    /// What there still is to do.
    fn rest(self, now: Timestamp) -> Option<Order> {
        match self.order {
            Order::Open(open_for) => {
                let left = now.until(self.at + open_for).min(open_for);
                (left > Millis::ZERO).then_some(Order::Open(left))
            }
            // A gateway that has heard nothing for so long has forgotten what this would undo.
            Order::Close | Order::Reset => (now.since(self.at) < ORDER_MAX).then_some(self.order),
        }
    }
}

impl Default for Keeper {
    fn default() -> Self {
        Self {
            version: VERSION,
            targets: BTreeMap::new(),
            orders: BTreeMap::new(),
            limits: Limits::default(),
            alerts: Alerts::default(),
            reporters: VecDeque::new(),
        }
    }
}

impl Keeper {
    /// Takes up what [`to_json`](Self::to_json) stored. What cannot be read is as good as nothing: breakers trip again.
    pub fn from_json(stored: &str) -> Self {
        serde_json::from_str(stored).ok().filter(|keeper: &Self| keeper.version == VERSION).unwrap_or_default()
    }

    /// What to store after a report that changed something.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("our own types always have a JSON form")
    }

    /// Takes in a report. Says whether anything changed that has to be stored.
    pub fn handle_report(&mut self, now: Timestamp, report: &Report) -> bool {
        if !self.is_news(report) {
            return false;
        }
        self.targets.retain(|_, entry| entry.open_until > now);
        self.orders.retain(|_, given| given.rest(now).is_some());
        for change in &report.changes {
            match (change.order, change.breaker.state) {
                (Some(order), _) => self.obey(now, &change.target, order),
                (None, State::Open) => self.open(now, change),
                // A recovery is a verdict of probes: it holds for all.
                (None, State::Closed) => {
                    self.targets.remove(&change.target);
                }
                (None, State::HalfOpen) => {}
            }
        }
        let has_spent = self.limits.take_in(now, report.reporter, report.sequence, &report.used);
        let is_alarmed =
            report.alerts.as_ref().is_some_and(|standing| self.alerts.take_in(now, report.reporter, standing));
        // What has been used in a minute is forgotten in a minute: not worth writing down each second.
        has_spent || is_alarmed || !report.changes.is_empty()
    }

    /// What is known now, for whoever asks.
    pub fn view(&self, now: Timestamp) -> View {
        self.view_for(now, None)
    }

    /// The same for a gateway that has told of itself.
    pub fn view_for(&self, now: Timestamp, reporter: Option<u64>) -> View {
        let open = self.targets.iter().filter(|(_, entry)| entry.open_until > now).map(|(target, entry)| Open {
            target: target.clone(),
            // A clock that has gone back must not make it longer than it ever was.
            remaining_ms: now.until(entry.open_until).min(OPEN_MAX),
            held_ms: now.until(entry.held_until).min(OPEN_MAX),
            trips: entry.trips,
        });
        let orders = self.orders.iter().filter_map(|(target, given)| {
            Some(Ordered { target: target.clone(), number: given.at.0, order: given.rest(now)? })
        });
        let heard = self.reporters.iter().find(|(known, _)| Some(*known) == reporter).map(|(_, sequence)| *sequence);
        View {
            open: open.collect(),
            heard,
            orders: orders.collect(),
            limits: self.limits.levels(now, reporter),
            alerts: self.alerts.told(now, reporter),
        }
    }

    /// Keeps an order for those who have not heard it. It takes the place of all that was known.
    fn obey(&mut self, now: Timestamp, target: &str, order: Order) {
        self.targets.remove(target);
        if self.orders.len() >= TARGETS_MAX && !self.orders.contains_key(target) {
            return;
        }
        let last = self.orders.values().map(|given| given.at + Millis(1)).max();
        let at = last.map_or(now, |after_last| after_last.max(now));
        let order = match order {
            Order::Open(open_for) => Order::Open(open_for.min(ORDER_MAX)),
            Order::Close | Order::Reset => order,
        };
        self.orders.insert(target.to_owned(), Given { at, order });
    }

    fn open(&mut self, now: Timestamp, change: &Change) {
        if self.targets.len() >= TARGETS_MAX && !self.targets.contains_key(&change.target) {
            return;
        }
        let until = now + change.breaker.remaining_ms.min(OPEN_MAX);
        let held_until = now + change.breaker.held_ms.min(change.breaker.remaining_ms).min(OPEN_MAX);
        let entry =
            self.targets.entry(change.target.clone()).or_insert(Entry { open_until: until, held_until, trips: 0 });
        entry.open_until = entry.open_until.max(until);
        entry.held_until = entry.held_until.max(held_until);
        entry.trips = entry.trips.max(change.breaker.trips);
    }

    fn is_news(&mut self, report: &Report) -> bool {
        let known = self.reporters.iter().position(|(reporter, _)| *reporter == report.reporter);
        let last = known.and_then(|at| self.reporters.remove(at));
        let is_news = last.is_none_or(|(_, sequence)| report.sequence > sequence);
        let sequence = last.map_or(report.sequence, |(_, sequence)| sequence.max(report.sequence));
        self.reporters.push_back((report.reporter, sequence));
        if self.reporters.len() > REPORTERS_MAX {
            self.reporters.pop_front();
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(reporter: u64, sequence: u64, state: State, remaining: u64) -> Report {
        let breaker = Snapshot { state, remaining_ms: Millis(remaining), trips: 1, ..Snapshot::default() };
        Report {
            reporter,
            sequence,
            changes: vec![Change { target: "a/m".into(), breaker, order: None }],
            lines: None,
            used: Vec::new(),
            alerts: None,
        }
    }

    fn open(remaining: u64) -> View {
        let open =
            vec![Open { target: "a/m".into(), remaining_ms: Millis(remaining), held_ms: Millis::ZERO, trips: 1 }];
        View { open, ..View::default() }
    }

    #[test]
    fn a_trip_is_seen_until_it_is_over() {
        let mut keeper = Keeper::default();
        assert!(keeper.handle_report(Timestamp(1000), &report(1, 1, State::Open, 5000)));
        assert_eq!(keeper.view(Timestamp(2000)), open(4000));
        assert_eq!(keeper.view(Timestamp(6000)), View::default());
    }

    #[test]
    fn a_recovery_ends_it_for_all() {
        let mut keeper = Keeper::default();
        keeper.handle_report(Timestamp(0), &report(1, 1, State::Open, 5000));
        assert!(keeper.handle_report(Timestamp(1000), &report(2, 1, State::Closed, 0)));
        assert_eq!(keeper.view(Timestamp(1000)), View::default());
    }

    #[test]
    fn reports_that_are_repeated_or_late_change_nothing() {
        let mut keeper = Keeper::default();
        keeper.handle_report(Timestamp(0), &report(1, 2, State::Closed, 0));
        for late in [report(1, 2, State::Open, 5000), report(1, 1, State::Open, 5000)] {
            assert!(!keeper.handle_report(Timestamp(0), &late));
        }
        assert_eq!(keeper.view(Timestamp(0)), View::default());
    }

    #[test]
    fn only_ever_longer_and_never_for_ever() {
        let mut keeper = Keeper::default();
        keeper.handle_report(Timestamp(0), &report(1, 1, State::Open, 5000));
        keeper.handle_report(Timestamp(0), &report(2, 1, State::Open, 1000));
        assert_eq!(keeper.view(Timestamp(0)), open(5000));
        keeper.handle_report(Timestamp(0), &report(3, 1, State::Open, u64::MAX));
        assert_eq!(keeper.view(Timestamp(0)), open(OPEN_MAX.0));
    }

    fn ordered(reporter: u64, order: Order) -> Report {
        let mut report = report(reporter, 1, State::Closed, 0);
        report.changes[0].order = Some(order);
        report
    }

    /// The orders as a gateway that comes by at `now` hears them.
    fn orders(keeper: &Keeper, now: u64) -> Vec<Order> {
        keeper.view(Timestamp(now)).orders.iter().map(|ordered| ordered.order).collect()
    }

    #[test]
    fn an_order_holds_for_its_time_whatever_gateways_find_out() {
        let mut keeper = Keeper::default();
        keeper.handle_report(Timestamp(1000), &report(1, 1, State::Open, 5000));
        keeper.handle_report(Timestamp(1000), &ordered(2, Order::Open(Millis(1_800_000))));
        assert_eq!(keeper.view(Timestamp(1000)).open, [], "an order is all there is to say");
        keeper.handle_report(Timestamp(2000), &report(3, 1, State::Closed, 0));
        assert_eq!(orders(&keeper, 2000), [Order::Open(Millis(1_799_000))], "no recovery ends it");
        assert_eq!(
            orders(&keeper, 500),
            [Order::Open(Millis(1_800_000))],
            "nor does a clock that goes back prolong it"
        );
        assert_eq!(orders(&keeper, 1_801_000), []);
        keeper.handle_report(Timestamp(1000), &ordered(4, Order::Open(Millis(u64::MAX))));
        assert_eq!(orders(&keeper, 1000), [Order::Open(ORDER_MAX)]);
        assert_eq!(ORDER_MAX, Millis::from_secs(86_400), "a day");
    }

    #[test]
    fn the_latest_order_is_the_one_that_holds_and_has_the_highest_number() {
        let mut keeper = Keeper::default();
        let mut numbers = Vec::new();
        for (reporter, order) in [(1, Order::Open(Millis(9000))), (2, Order::Close), (3, Order::Reset)] {
            keeper.handle_report(Timestamp(1000), &ordered(reporter, order));
            assert_eq!(orders(&keeper, 1000), [order]);
            numbers.push(keeper.view(Timestamp(1000)).orders[0].number);
        }
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        keeper.handle_report(Timestamp(2000), &report(9, 1, State::Open, 5000));
        assert_eq!(keeper.view(Timestamp(2000)).open.len(), 1, "what is found out after it counts again");
        assert_eq!(orders(&keeper, 1000 + 2 * ORDER_MAX.0), []);
    }

    #[test]
    fn survives_being_stored() {
        let mut keeper = Keeper::default();
        keeper.handle_report(Timestamp(0), &report(1, 1, State::Open, 5000));
        let mut restored = Keeper::from_json(&keeper.to_json());
        assert_eq!(restored, keeper);
        assert!(!restored.handle_report(Timestamp(0), &report(1, 1, State::Open, 9000)), "still knows who said what");
        for broken in ["", "{}", "[1]", &keeper.to_json().replace("\"version\":1", "\"version\":9")] {
            assert_eq!(Keeper::from_json(broken), Keeper::default(), "{broken}");
        }
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut keeper = Keeper::default();
        for reporter in 0..10_000 {
            let mut report = report(reporter, 1, State::Open, 5000);
            report.changes[0].target = format!("a/{reporter}");
            keeper.handle_report(Timestamp(0), &report);
            report.changes[0].order = Some(Order::Close);
            report.sequence = 2;
            keeper.handle_report(Timestamp(0), &report);
        }
        assert!(
            keeper.targets.len() <= TARGETS_MAX
                && keeper.orders.len() <= TARGETS_MAX
                && keeper.reporters.len() <= REPORTERS_MAX
        );
    }
}
