//! Limits that many gateways keep together.
//!
//! Each gateway tells what it has used of each limit since it began, so that a report that is lost costs nothing but time,
//! and one that is repeated counts nothing twice. The keeper adds it up, lets it drain as a
//! [`Bucket`](crate::limit::Bucket) does, and tells how full it is and among how many gateways the rest is to be shared.
//! Each of them uses no more than its share until it hears again. Of money, what each may spend is set aside here before it
//! is told, so that no two of them spend the same; and what an answer takes back of that is nobody else's before the gateway
//! has said that the answer has reached it.
//!
//! What gateways have spent is kept for good, since money does not drain; what they have used in a minute is not worth
//! storing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limit::{Stand, Told};
use crate::time::{Millis, Timestamp};

/// Limits remembered. A deployment has tens; those of clients that are no more give way to new ones. A worker whose
/// configuration has more is not built.
pub(crate) const LIMITS_MAX: usize = 1024;

/// Gateways remembered for each; what others have used stays counted.
const REPORTERS_MAX: usize = 64;

/// Whoever has used nothing of a limit for so long needs no share of it.
const ACTIVE: Millis = Millis::from_secs(10);

/// What a gateway has used of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Used {
    /// The limit's name, the same to all gateways.
    pub limit: String,
    /// How much since the gateway began, what is reserved and what was given back included; of money, how much in the period.
    pub used: u64,
    /// What of it was given back before it drained, in water: one of it is as many as the period has milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub returned: u64,
    /// What of it is reserved, of which some may yet be given back.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: u64,
    /// What kind of limit it is.
    pub of: Kind,
    /// Of money: the number of the last report whose answer has reached it. It may still go by that answer.
    #[serde(default)]
    pub heard: u64,
}

/// What kind of limit something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It drains: so much in so long.
    Rate {
        /// So much.
        amount: u64,
        /// In so long.
        period_ms: Millis,
    },
    /// It begins anew with each period.
    Money {
        /// What may be spent in one.
        limit: u64,
        /// Which period it is, counted from the Unix epoch.
        period: u64,
    },
}

/// How a limit stands, as one gateway should see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Its name.
    pub limit: String,
    /// What all have used and has not drained; of money, what the others have spent in this period.
    pub used: u64,
    /// How many gateways use it, the one that asks among them.
    pub among: u64,
    /// The same exactly and with what is known of the gateway that asks, where it drains and anything is.
    #[serde(default)]
    pub stand: Option<Stand>,
    /// What is set aside for the gateway that asks, where it is money.
    pub grant: Option<Grant>,
}

/// Money that is set aside for a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The period in which it may be spent.
    pub period: u64,
    /// How much.
    pub share: u64,
    /// What the gateway had told of its own use by then: what it has used since is of this share.
    pub told: u64,
    /// The number of the report in which it told that: answers may overtake each other.
    #[serde(default)]
    pub sequence: u64,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Limits(BTreeMap<String, Shared>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Shared {
    of: Kind,
    /// What has been used and has not drained: one of it is `period_ms`, and each millisecond drains `amount`. In whole
    /// numbers, as in a bucket, or what is told of often would never drain.
    #[serde(default)]
    water: u64,
    at: Timestamp,
    /// Money of gateways that are not remembered.
    forgotten: u64,
    by: BTreeMap<u64, Known>,
}

/// What is known of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    used: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    returned: u64,
    /// What it holds reserved and has not drained, in water.
    #[serde(default, skip_serializing_if = "is_default")]
    held: u64,
    /// When it last used something; of money, when it last told of it.
    at: Timestamp,
    /// Money that is set aside for it, as long as it is heard of.
    share: u64,
    /// What it may still take for its own of an answer before the last, which it has not said to have heard.
    #[serde(default)]
    kept: u64,
    /// The number of the report in which it was heard of last.
    #[serde(default)]
    sequence: u64,
}

impl Limits {
    /// Takes in what a gateway has used. Says whether it has spent anything, which has to be stored.
    pub(super) fn take_in(&mut self, now: Timestamp, reporter: u64, sequence: u64, used: &[Used]) -> bool {
        let mut has_spent = false;
        for used in used {
            if !self.0.contains_key(&used.limit) && self.make_room(now) {
                self.0.insert(used.limit.clone(), Shared::new(used.of, now));
            }
            let Some(shared) = self.0.get_mut(&used.limit) else { continue };
            let before = shared.by.get(&reporter).map_or(0, |known| known.used);
            shared.note(now, reporter, sequence, used);
            has_spent |= matches!(used.of, Kind::Money { .. }) && used.used != before;
        }
        has_spent
    }

    /// How all of them stand, as a gateway should see it; `None`: one that has told of nothing yet.
    pub(super) fn levels(&self, now: Timestamp, reporter: Option<u64>) -> Vec<Level> {
        self.0.iter().map(|(limit, shared)| shared.level(now, limit, reporter)).collect()
    }

    /// Forgets the limit that nobody has told of for longest, if there are too many. `false`: all of them are in use.
    fn make_room(&mut self, now: Timestamp) -> bool {
        if self.0.len() < LIMITS_MAX {
            return true;
        }
        let unused = self.0.iter().filter(|(_, shared)| now.since(shared.at) >= ACTIVE);
        let Some(oldest) = unused.min_by_key(|(_, shared)| shared.at).map(|(limit, _)| limit.clone()) else {
            return false;
        };
        self.0.remove(&oldest).is_some()
    }
}

impl Shared {
    fn new(of: Kind, now: Timestamp) -> Self {
        Self { of, water: 0, at: now, forgotten: 0, by: BTreeMap::new() }
    }

    fn note(&mut self, now: Timestamp, reporter: u64, sequence: u64, told: &Used) {
        match (self.of, told.of) {
            // Whoever has not noticed that a new period has begun tells of one that is over.
            (Kind::Money { period: known, .. }, Kind::Money { period, .. }) if period < known => return,
            (known, of) if !known.counts_like(of) => *self = Self::new(of, now),
            // The limit may be another, of which not all gateways know yet: what has been used is the same.
            (_, of) => self.of = of,
        }
        if self.by.len() >= REPORTERS_MAX && !self.by.contains_key(&reporter) {
            self.forget_one();
        }
        match self.of {
            Kind::Rate { .. } => self.fill(now, reporter, sequence, told),
            Kind::Money { .. } => self.spend(now, reporter, sequence, told),
        }
    }

    /// Takes in what drains: what is new of it, and what of the reserved was given back before it drained here.
    fn fill(&mut self, now: Timestamp, reporter: u64, sequence: u64, told: &Used) {
        self.drain(now);
        // Of a gateway that is not known and has told before, it is not known what has drained already.
        let (used, returned) = if sequence == 1 { (0, 0) } else { (told.used, told.returned) };
        let new = Known { used, returned, held: 0, at: now, share: 0, kept: 0, sequence };
        let known = self.by.get(&reporter).copied().unwrap_or(new);
        // What has been overtaken is known.
        if sequence < known.sequence {
            return;
        }
        let taken = self.of.water(told.used.saturating_sub(known.used));
        let returned = told.returned.saturating_sub(known.returned);
        let held = known.held.saturating_add(taken);
        let given_back = returned.min(held);
        self.water = self.water.saturating_add(taken).saturating_sub(given_back).min(self.of.water_max());
        let known = Known {
            used: told.used.max(known.used),
            returned: told.returned.max(known.returned),
            held: (held - given_back).min(self.of.water(told.held)),
            at: if taken > 0 { now } else { known.at },
            sequence,
            ..known
        };
        self.by.insert(reporter, known);
    }

    /// Lets time pass. What has been used drains first, and then what is reserved: in which order is all the same, as long as
    /// none of it drains twice.
    fn drain(&mut self, now: Timestamp) {
        self.water = self.water_at(now);
        self.at = self.at.max(now);
        let held = self.by.values().map(|known| known.held).fold(0, u64::saturating_add);
        let mut drained = held.saturating_sub(self.water);
        for known in self.by.values_mut() {
            let of_this = drained.min(known.held);
            known.held -= of_this;
            drained -= of_this;
        }
    }

    /// Takes in what a gateway has spent, and sets aside what it may spend next.
    fn spend(&mut self, now: Timestamp, reporter: u64, sequence: u64, told: &Used) {
        self.at = self.at.max(now);
        let known = self.by.get(&reporter);
        // The answer to this may be lost.
        let kept = known.filter(|known| known.is_active(now)).map_or(0, |known| known.left(told));
        let known = Known { used: told.used, returned: 0, held: 0, at: now, share: 0, kept, sequence };
        self.by.insert(reporter, known);
        let share = self.share(now, reporter);
        self.by.insert(reporter, Known { share, ..known });
    }

    /// What can be set aside for a gateway: its part of what has neither been spent nor been set aside for another. What a
    /// silent one was left is not another's before that one has had time to tell.
    fn share(&self, now: Timestamp, reporter: u64) -> u64 {
        let Kind::Money { limit, .. } = self.of else { return 0 };
        let others = || self.by.iter().filter(|(other, _)| **other != reporter).map(|(_, known)| known);
        let active = || others().filter(|known| known.is_active(now));
        let used = self.by.values().map(|known| known.used).fold(self.forgotten, u64::saturating_add);
        let gone = active().map(|known| known.share.max(known.kept)).fold(used, u64::saturating_add);
        limit.saturating_sub(gone) / (active().count() as u64 + 1)
    }

    fn level(&self, now: Timestamp, limit: &str, reporter: Option<u64>) -> Level {
        let others = || self.by.iter().filter(|(known, _)| Some(**known) != reporter);
        let active = others().filter(|(_, known)| known.is_active(now)).count() as u64;
        let own = reporter.and_then(|reporter| self.by.get(&reporter));
        let (used, stand, grant) = match self.of {
            Kind::Rate { period_ms, .. } => {
                let water = self.water_at(now);
                let told = own.map(|own| Told { taken: own.used, returned: own.returned });
                (water.div_ceil(period_ms.0.max(1)), told.map(|told| Stand { water, told }), None)
            }
            Kind::Money { period, .. } => {
                let spent = others().map(|(_, known)| known.used).fold(self.forgotten, u64::saturating_add);
                let (share, told, sequence) = own.map_or((0, 0, 0), |own| (own.share, own.used, own.sequence));
                (spent, None, Some(Grant { period, share, told, sequence }))
            }
        };
        Level { limit: limit.to_owned(), used, among: active + 1, stand, grant }
    }

    /// What of it has not drained by now.
    fn water_at(&self, now: Timestamp) -> u64 {
        let Kind::Rate { amount, .. } = self.of else { return 0 };
        self.water.saturating_sub(now.since(self.at).0.saturating_mul(amount))
    }

    /// Forgets the gateway that has been silent the longest; what it has spent stays spent.
    fn forget_one(&mut self) {
        let Some(silent) = self.by.iter().min_by_key(|(_, known)| known.at).map(|(reporter, _)| *reporter) else {
            return;
        };
        if let Some(known) = self.by.remove(&silent) {
            self.forgotten = self.forgotten.saturating_add(known.used);
        }
    }
}

impl Known {
    fn is_active(&self, now: Timestamp) -> bool {
        now.since(self.at) < ACTIVE
    }

    /// What it may have left, by whichever answer it goes, of what had been set aside for it before it told this.
    fn left(&self, told: &Used) -> u64 {
        let share = if told.heard == self.sequence { self.share } else { self.share.max(self.kept) };
        share.saturating_add(self.used).saturating_sub(told.used)
    }
}

impl Kind {
    /// Whether what has been used of the one has been used of the other: of the same period, with whatever limit.
    fn counts_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Rate { period_ms: one, .. }, Self::Rate { period_ms: other, .. }) => one == other,
            (Self::Money { period: one, .. }, Self::Money { period: other, .. }) => one == other,
            (Self::Rate { .. }, Self::Money { .. }) | (Self::Money { .. }, Self::Rate { .. }) => false,
        }
    }

    /// So much of it; money does not drain.
    fn water(self, used: u64) -> u64 {
        match self {
            Self::Rate { period_ms, .. } => used.saturating_mul(period_ms.0),
            Self::Money { .. } => 0,
        }
    }

    /// Twice what may be used at once, as in a bucket.
    fn water_max(self) -> u64 {
        match self {
            Self::Rate { amount, .. } => self.water(amount.saturating_mul(2)),
            Self::Money { .. } => 0,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limit::{Bucket, Quota, Reservation};

    const NOW: Timestamp = Timestamp(1_000_000);
    const SIXTY: Kind = Kind::Rate { amount: 60, period_ms: Millis(60_000) };

    fn used(used: u64, of: Kind) -> Vec<Used> {
        vec![Used { limit: "client/team/requests".into(), used, returned: 0, held: 0, of, heard: 0 }]
    }

    /// The same of which some was given back, and some is reserved.
    fn partly(taken: u64, returned: u64, held: u64) -> Vec<Used> {
        vec![Used { returned: returned * 60_000, held, ..used(taken, SIXTY).remove(0) }]
    }

    fn level(limits: &Limits, now: Timestamp, reporter: Option<u64>) -> (u64, u64) {
        let levels = limits.levels(now, reporter);
        (levels[0].used, levels[0].among)
    }

    #[test]
    fn what_all_have_used_adds_up_and_drains() {
        let mut limits = Limits::default();
        assert!(!limits.take_in(NOW, 1, 1, &used(20, SIXTY)), "nothing worth storing");
        limits.take_in(NOW, 2, 1, &used(30, SIXTY));
        assert_eq!(level(&limits, NOW, Some(1)), (50, 2));
        assert_eq!(level(&limits, NOW, None), (50, 3), "a newcomer makes one more");
        assert_eq!(level(&limits, NOW + Millis(20_000), Some(1)), (30, 1), "the other has been silent");
        limits.take_in(NOW + Millis(20_000), 2, 1, &used(35, SIXTY));
        assert_eq!(level(&limits, NOW + Millis(20_000), Some(1)), (35, 2), "only what is new");
    }

    #[test]
    fn what_is_repeated_or_was_lost_counts_once() {
        let mut limits = Limits::default();
        for told in [20, 20, 10, 20] {
            limits.take_in(NOW, 1, 1, &used(told, SIXTY));
        }
        assert_eq!(level(&limits, NOW, Some(2)).0, 20);
        // The report that would have said 30 is lost.
        limits.take_in(NOW, 1, 1, &used(40, SIXTY));
        assert_eq!(level(&limits, NOW, Some(2)).0, 40);
        limits.take_in(NOW, 1, 1, &used(u64::MAX, SIXTY));
        assert_eq!(level(&limits, NOW, Some(2)).0, 120, "room again after two periods, whatever is told");
    }

    #[test]
    fn what_was_reserved_and_given_back_is_there_again_for_all() {
        let mut limits = Limits::default();
        limits.take_in(NOW, 1, 1, &partly(50, 0, 50));
        assert_eq!(level(&limits, NOW, Some(2)).0, 50);
        limits.take_in(NOW, 1, 2, &partly(50, 46, 0));
        assert_eq!(level(&limits, NOW, Some(2)).0, 4);
        for (sequence, told) in [(1, partly(50, 0, 50)), (2, partly(50, 46, 0))] {
            limits.take_in(NOW, 1, sequence, &told);
            assert_eq!(level(&limits, NOW, Some(2)).0, 4, "overtaken, repeated");
        }
        let told = Told { taken: 50, returned: 46 * 60_000 };
        assert_eq!(limits.levels(NOW, Some(1))[0].stand, Some(Stand { water: 4 * 60_000, told }));
        assert_eq!(limits.levels(NOW, Some(2))[0].stand, None);
    }

    #[test]
    fn what_has_drained_is_not_given_back_again() {
        let mut limits = Limits::default();
        for reporter in [1, 2] {
            limits.take_in(NOW, reporter, 1, &partly(30, 0, 30));
        }
        let later = NOW + Millis(40_000);
        limits.take_in(later, 3, 1, &used(20, SIXTY));
        assert_eq!(level(&limits, later, None).0, 40);
        for reporter in [1, 2] {
            limits.take_in(later, reporter, 2, &partly(30, 30, 0));
        }
        assert_eq!(level(&limits, later, None).0, 20, "of sixty that were reserved, twenty had not drained");
        limits.take_in(later, 1, 3, &partly(40, 40, 0));
        assert_eq!(level(&limits, later, None).0, 20);
    }

    #[test]
    fn what_was_used_is_not_taken_for_reserved() {
        let mut limits = Limits::default();
        limits.take_in(NOW, 1, 1, &partly(20, 0, 20));
        limits.take_in(NOW, 1, 2, &partly(30, 0, 10));
        // A gateway that gives back what it no longer holds is not to be believed.
        limits.take_in(NOW, 1, 3, &partly(30, 30, 0));
        assert_eq!(level(&limits, NOW, None).0, 20);
    }

    #[test]
    fn a_keeper_that_has_forgotten_begins_to_count_anew() {
        let mut limits = Limits::default();
        limits.take_in(NOW, 1, 2, &used(5000, SIXTY));
        assert_eq!(level(&limits, NOW, None).0, 0);
        limits.take_in(NOW, 1, 2, &used(5010, SIXTY));
        assert_eq!(level(&limits, NOW, None).0, 10);
    }

    #[test]
    fn it_drains_however_often_it_is_told_of() {
        let one = Kind::Rate { amount: 1, period_ms: Millis(60_000) };
        let mut limits = Limits::default();
        limits.take_in(NOW, 1, 1, &used(1, one));
        for ms in (0..60_000).step_by(10) {
            limits.take_in(NOW + Millis(ms), 2, 1, &used(0, one));
            assert_eq!(level(&limits, NOW + Millis(ms), None).0, 1);
        }
        assert_eq!(level(&limits, NOW + Millis(60_000), None).0, 0);
    }

    #[test]
    fn a_limit_that_is_changed_forgets_nothing_though_some_do_not_know_of_it_yet() {
        let hundred = Kind::Rate { amount: 100, period_ms: Millis(60_000) };
        let (old, new) = (Kind::Money { limit: 1000, period: 7 }, Kind::Money { limit: 2000, period: 7 });
        for (old, new) in [(SIXTY, hundred), (old, new)] {
            let mut limits = Limits::default();
            limits.take_in(NOW, 1, 1, &used(50, old));
            limits.take_in(NOW, 2, 1, &used(5, new));
            limits.take_in(NOW, 1, 2, &used(50, old));
            assert_eq!(level(&limits, NOW, None).0, 55);
        }
    }

    #[test]
    fn a_new_limit_takes_the_place_of_one_that_is_no_more() {
        let limit = |limit: String| Used { limit, ..used(1, SIXTY).remove(0) };
        let all: Vec<Used> = (0..LIMITS_MAX).map(|nth| limit(format!("limit/{nth}"))).collect();
        let mut limits = Limits::default();
        limits.take_in(NOW, 1, 1, &all);
        let later = NOW + ACTIVE;
        limits.take_in(later, 1, 2, &all[1..]);
        limits.take_in(later, 1, 2, &[limit("new".into()), limit("too many".into())]);
        let known = |name: &str| limits.levels(later, None).iter().any(|level| level.limit == name);
        assert_eq!(["new", "limit/0", "limit/1", "too many"].map(known), [true, false, true, false]);
    }

    #[test]
    fn absurd_numbers_are_borne() {
        let absurd = Kind::Rate { amount: u64::MAX, period_ms: Millis(u64::MAX) };
        let mut limits = Limits::default();
        for now in [NOW, Timestamp(u64::MAX)] {
            limits.take_in(now, 1, 1, &used(u64::MAX, absurd));
            limits.levels(now, None);
        }
    }

    #[test]
    fn money_is_what_the_others_have_spent_in_this_period() {
        let (today, tomorrow) = (Kind::Money { limit: 1000, period: 7 }, Kind::Money { limit: 1000, period: 8 });
        let mut limits = Limits::default();
        assert!(limits.take_in(NOW, 1, 1, &used(100, today)));
        limits.take_in(NOW, 2, 1, &used(50, today));
        assert_eq!((level(&limits, NOW, Some(1)).0, level(&limits, NOW, None).0), (50, 150));
        limits.take_in(NOW, 1, 1, &used(80, today));
        assert_eq!(level(&limits, NOW, None).0, 130, "what was set aside and not needed is there again");
        limits.take_in(NOW, 2, 1, &used(5, tomorrow));
        limits.take_in(NOW, 1, 1, &used(200, today));
        assert_eq!(level(&limits, NOW, None), (5, 2), "a new period, and late news of the old one");
    }

    #[test]
    fn what_is_set_aside_for_one_is_not_anothers_before_it_had_time_to_tell() {
        let today = Kind::Money { limit: 1000, period: 7 };
        let mut limits = Limits::default();
        let share = |limits: &Limits, now, reporter| limits.levels(now, Some(reporter))[0].grant.unwrap().share;
        limits.take_in(NOW, 1, 1, &used(0, today));
        assert_eq!(share(&limits, NOW, 1), 1000, "alone");
        limits.take_in(NOW, 2, 1, &used(0, today));
        assert_eq!(share(&limits, NOW, 2), 0, "not yet");
        limits.take_in(NOW, 1, 2, &used(200, today));
        assert_eq!(share(&limits, NOW, 1), 400, "half of the rest, for there is another");
        limits.take_in(NOW, 2, 2, &used(0, today));
        assert_eq!(share(&limits, NOW, 2), 0, "the first may go on as it did until it has heard");
        limits.take_in(NOW, 1, 3, &[Used { heard: 2, ..used(200, today).remove(0) }]);
        limits.take_in(NOW, 2, 3, &used(0, today));
        assert_eq!(share(&limits, NOW, 2), 200);
        let later = NOW + ACTIVE;
        limits.take_in(later, 2, 2, &used(0, today));
        assert_eq!(share(&limits, later, 2), 800, "whoever is silent has had its time");
        assert_eq!(limits.levels(later, None)[0].grant, Some(Grant { period: 7, share: 0, told: 0, sequence: 0 }));
    }

    #[test]
    fn its_memory_is_bounded_and_what_was_spent_stays_spent() {
        let mut limits = Limits::default();
        let today = Kind::Money { limit: 5000, period: 7 };
        for reporter in 0..1000 {
            limits.take_in(NOW + Millis(reporter), reporter, 1, &used(1, today));
            let other = Used { limit: format!("client/{reporter}-xxx"), ..used(1, SIXTY).remove(0) };
            limits.take_in(NOW, reporter, 1, &[other.clone(), other]);
        }
        for more in 0..1000 {
            limits.take_in(NOW, 1, 1, &[Used { limit: format!("more/{more}"), ..used(1, SIXTY).remove(0) }]);
        }
        assert_eq!(limits.0.len(), LIMITS_MAX);
        let spent = limits.levels(NOW, None).into_iter().find(|level| level.limit == "client/team/requests").unwrap();
        assert_eq!(spent.used, 1000);
        assert_eq!(limits.0["client/team/requests"].by.len(), REPORTERS_MAX);
    }

    /// What may happen between a gateway and the keeper of a limit of sixty a minute.
    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Reserve(u64),
        /// One of those under way, and what it used.
        Settle(usize, u64),
        /// The answer is heard, or lost.
        Talk(bool),
    }

    fn steps(used_max: u64) -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u64..5000).prop_map(Step::Wait),
            4 => (1_u64..40).prop_map(Step::Reserve),
            3 => (any::<usize>(), 0..=used_max).prop_map(|(nth, used)| Step::Settle(nth, used)),
            3 => prop::bool::weighted(0.8).prop_map(Step::Talk),
        ];
        prop::collection::vec(step, 1..100)
    }

    /// One gateway's limit, as it is kept together with others that use nothing, beside the same kept alone.
    struct Twins {
        now: Timestamp,
        alone: Bucket,
        shared: Bucket,
        keeper: Limits,
        sequence: u64,
        out: Vec<[Reservation; 2]>,
    }

    impl Twins {
        fn new() -> Self {
            let bucket = || Bucket::new(Quota { amount: 60, period: Millis(60_000) });
            let (alone, shared) = (bucket(), bucket());
            Self { now: NOW, alone, shared, keeper: Limits::default(), sequence: 0, out: Vec::new() }
        }

        fn step(&mut self, step: &Step) {
            let now = self.now;
            match *step {
                Step::Wait(ms) => self.now = now + Millis(ms),
                Step::Reserve(amount) if self.shared.check(now, amount).is_ok() => {
                    let both = [&mut self.alone, &mut self.shared];
                    self.out.push(both.map(|bucket| bucket.reserve(now, amount, Millis(u64::MAX)).unwrap()));
                }
                Step::Settle(nth, used) if !self.out.is_empty() => {
                    let [alone, shared] = self.out.swap_remove(nth % self.out.len());
                    self.alone.settle(now, alone, used);
                    self.shared.settle(now, shared, used);
                }
                Step::Talk(is_heard) => {
                    let level = self.tell();
                    if is_heard {
                        self.shared.hear(now, level.used, level.among, level.stand);
                    }
                }
                Step::Reserve(_) | Step::Settle(..) => {}
            }
        }

        fn tell(&mut self) -> Level {
            self.sequence += 1;
            let Told { taken, returned } = self.shared.tell();
            let held = u64::try_from(self.shared.outstanding()).unwrap();
            let used = Used { returned, held, ..used(taken, SIXTY).remove(0) };
            self.keeper.take_in(self.now, 1, self.sequence, &[used]);
            self.keeper.levels(self.now, Some(1)).remove(0)
        }
    }

    proptest! {
        /// Whatever is under way when it is told of, and whatever answers are lost: whoever uses a limit alone may use as much
        /// as if nobody else kept it, and never more.
        #[test]
        fn a_limit_that_one_uses_alone_is_as_if_it_were_kept_alone(steps in steps(50)) {
            let mut twins = Twins::new();
            for step in &steps {
                twins.step(step);
                let (alone, shared) = (twins.alone.remaining(twins.now), twins.shared.remaining(twins.now));
                prop_assert!(shared <= alone, "{shared} of {alone} after {step:?}");
            }
        }

        /// And as much, where it is told of as things happen, as long as it is not used so far beyond it that not all is counted.
        #[test]
        fn nothing_of_it_is_lost_where_it_is_told_of_as_things_happen(steps in steps(5)) {
            let mut twins = Twins::new();
            for step in steps.iter().filter(|step| !matches!(step, Step::Talk(_))) {
                twins.step(step);
                twins.step(&Step::Talk(true));
                let (alone, shared) = (twins.alone.remaining(twins.now), twins.shared.remaining(twins.now));
                prop_assert!(shared <= alone && alone <= shared + 2, "{shared} of {alone} after {step:?}");
            }
        }
    }
}
