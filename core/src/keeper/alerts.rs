//! Alerts of many gateways as one: open as long as any gateway has it open, and posted by one of them.
//!
//! Each gateway tells which alerts it has open, whole each time, so that a report that is lost is made up for by the next, and
//! for how long each of them holds if nothing more is heard. What has been raised and cleared is given to whoever
//! reports next to post, on a lease: if that one dies, or cannot, the next one has it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Entry};
use crate::time::{Millis, Timestamp};

/// Alerts that are open at once; a deployment has a few for each of its targets.
const OPEN_MAX: usize = 256;

/// Gateways that hold one alert open, as far as they are counted.
const HOLDERS_MAX: usize = 64;

/// Alerts of one kind that a view shows: those that are open, and those that are over.
const SHOWN_MAX: usize = 50;

/// What waits to be posted, the oldest forgotten first.
const UNPOSTED_MAX: usize = 100;

/// How long a gateway has to post what it is given: longer than it tries.
const LEASE: Millis = Millis::from_secs(120);

/// How old what is stored may be of who holds an alert open.
const STORED_EVERY: Millis = Millis::from_secs(30);

/// The longest that an alert holds of which nothing more is heard.
const HELD_MAX: Millis = Millis::from_secs(2 * 86_400);

/// What a gateway tells of its alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// All that it has open.
    pub open: Vec<Held>,
    /// [`Told::until`] of what it has posted last.
    pub posted: u64,
}

/// An alert that a gateway has open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Which.
    pub alert: Alert,
    /// How long it holds if nothing more is heard.
    pub remaining_ms: Millis,
}

/// What a gateway is told of all gateways' alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The latest that are open.
    pub open: Vec<Aged>,
    /// The latest that are over.
    pub over: Vec<Aged>,
    /// What this gateway is to post; nobody else is.
    pub post: Vec<Aged>,
    /// For how long it may.
    pub lease_ms: Millis,
    /// The number after the last of them: what it is to tell when it is done with them.
    pub until: u64,
}

/// An alert, and how long ago it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aged {
    /// Which.
    pub alert: Alert,
    /// When it was raised.
    pub raised_ago_ms: Millis,
    /// When it was cleared, if it was.
    pub cleared_ago_ms: Option<Millis>,
}

/// The merged state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Alerts {
    open: Vec<Open>,
    /// The latest last.
    over: VecDeque<Entry>,
    unposted: VecDeque<Entry>,
    /// The number of the first of them.
    posted: u64,
    /// Who posts them, and until when.
    poster: Option<(u64, Timestamp)>,
    stored_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    entry: Entry,
    /// Which gateways hold it open, and until when.
    holders: Vec<(u64, Timestamp)>,
}

impl Alerts {
    /// Takes in what a gateway tells. Says whether that has to be stored.
    pub(super) fn take_in(&mut self, now: Timestamp, reporter: u64, standing: &Standing) -> bool {
        let before = (self.posted, self.unposted.len(), self.poster);
        for open in &mut self.open {
            open.holders.retain(|(holder, until)| *holder != reporter && *until > now);
        }
        for held in &standing.open {
            self.hold(now, reporter, held);
        }
        self.clear(now);
        self.settle(now, reporter, standing.posted);
        let is_old = !self.open.is_empty() && now.since(self.stored_at) >= STORED_EVERY;
        let is_news = is_old || before != (self.posted, self.unposted.len(), self.poster);
        if is_news {
            self.stored_at = now;
        }
        is_news
    }

    /// What a gateway is told; `None`: there is nothing to tell.
    pub(super) fn told(&self, now: Timestamp, reporter: Option<u64>) -> Option<Told> {
        let reporter = reporter?;
        if self.open.is_empty() && self.over.is_empty() && self.unposted.is_empty() {
            return None;
        }
        let aged = |entry: &Entry| Aged::of(entry, now);
        let lease = self.poster.filter(|(poster, until)| *poster == reporter && *until > now);
        let post = lease.map(|_| self.unposted.iter().map(aged).collect());
        Some(Told {
            open: self.open.iter().rev().take(SHOWN_MAX).map(|open| aged(&open.entry)).collect(),
            over: self.over.iter().rev().map(aged).collect(),
            post: post.unwrap_or_default(),
            lease_ms: lease.map_or(Millis::ZERO, |(_, until)| now.until(until)),
            until: self.posted + self.unposted.len() as u64,
        })
    }

    fn hold(&mut self, now: Timestamp, reporter: u64, held: &Held) {
        let until = now + held.remaining_ms.min(HELD_MAX);
        let is_it = |open: &&mut Open| open.entry.alert.is_like(&held.alert);
        if let Some(open) = self.open.iter_mut().find(is_it) {
            if open.holders.len() < HOLDERS_MAX {
                open.holders.push((reporter, until));
            }
        } else if self.open.len() < OPEN_MAX {
            let entry = Entry { alert: held.alert.clone(), raised_at: now, cleared_at: None };
            self.tell(now, entry.clone());
            self.open.push(Open { entry, holders: vec![(reporter, until)] });
        }
    }

    /// Clears what nobody holds open any more.
    fn clear(&mut self, now: Timestamp) {
        let cleared = self.open.extract_if(.., |open| open.holders.is_empty());
        let cleared: Vec<Entry> = cleared.map(|open| Entry { cleared_at: Some(now), ..open.entry }).collect();
        for entry in cleared {
            self.tell(now, entry.clone());
            self.over.push_back(entry);
        }
        self.over.drain(..self.over.len().saturating_sub(SHOWN_MAX));
    }

    fn tell(&mut self, now: Timestamp, entry: Entry) {
        // Higher than any before, even by a keeper that has lost what it had stored.
        if self.unposted.is_empty() {
            self.posted = self.posted.max(now.0);
        }
        if self.unposted.len() == UNPOSTED_MAX {
            self.unposted.pop_front();
            self.posted += 1;
        }
        self.unposted.push_back(entry);
    }

    /// Takes in how far a gateway has posted, and sees to it that somebody posts the rest.
    fn settle(&mut self, now: Timestamp, reporter: u64, posted: u64) {
        let mut lease = self.poster.filter(|(_, until)| *until > now);
        if let Some((_, until)) = lease.as_mut().filter(|(poster, _)| *poster == reporter) {
            let done = usize::try_from(posted.saturating_sub(self.posted)).unwrap_or(usize::MAX);
            let done = done.min(self.unposted.len());
            self.unposted.drain(..done);
            self.posted += done as u64;
            // Whoever gets on with it may go on.
            if done > 0 {
                *until = now + LEASE;
            }
        }
        self.poster = match lease {
            _ if self.unposted.is_empty() => None,
            None => Some((reporter, now + LEASE)),
            lease => lease,
        };
    }
}

impl Aged {
    fn of(entry: &Entry, now: Timestamp) -> Self {
        Self {
            alert: entry.alert.clone(),
            raised_ago_ms: now.since(entry.raised_at),
            cleared_ago_ms: entry.cleared_at.map(|at| now.since(at)),
        }
    }

    /// The same by a clock that says `now`.
    pub(crate) fn entry(&self, now: Timestamp) -> Entry {
        Entry {
            alert: self.alert.clone(),
            raised_at: now - self.raised_ago_ms,
            cleared_at: self.cleared_ago_ms.map(|ago| now - ago),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Cause, Subject};

    fn held(name: &str, remaining: u64) -> Held {
        let alert = Alert { subject: Subject::Target(name.into()), cause: Cause::Failures { in_a_row: 3 } };
        Held { alert, remaining_ms: Millis(remaining) }
    }

    fn standing(names: &[&str], posted: u64) -> Standing {
        Standing { open: names.iter().map(|name| held(name, 5000)).collect(), posted }
    }

    /// What a gateway is given to post, as names with whether that is over, and the number after it.
    fn given(alerts: &Alerts, now: u64, reporter: u64) -> (Vec<(String, bool)>, u64) {
        let told = alerts.told(Timestamp(now), Some(reporter)).unwrap_or_default();
        let post =
            told.post.iter().map(|aged| (aged.alert.subject.parts().1.to_owned(), aged.cleared_ago_ms.is_some()));
        (post.collect(), told.until)
    }

    #[test]
    fn it_is_posted_by_one_as_raised_by_the_first_and_as_over_when_the_last_is_done() {
        let mut alerts = Alerts::default();
        assert!(alerts.take_in(Timestamp(1000), 1, &standing(&["m"], 0)));
        assert!(!alerts.take_in(Timestamp(1000), 2, &standing(&["m"], 0)), "another has it as well");
        assert_eq!(given(&alerts, 1000, 1), (vec![("m".into(), false)], 1001));
        assert_eq!(given(&alerts, 1000, 2), (vec![], 1001), "nobody else posts it");
        assert!(alerts.take_in(Timestamp(2000), 1, &standing(&["m"], 1001)));
        assert_eq!(given(&alerts, 2000, 1), (vec![], 1001), "once");
        alerts.take_in(Timestamp(3000), 1, &standing(&[], 1001));
        assert_eq!(alerts.told(Timestamp(3000), Some(3)).unwrap().open.len(), 1, "one of them still has it");
        alerts.take_in(Timestamp(4000), 2, &standing(&[], 0));
        assert_eq!(given(&alerts, 4000, 2), (vec![("m".into(), true)], 4001));
        let told = alerts.told(Timestamp(4500), Some(1)).unwrap();
        assert_eq!(
            (told.open.len(), told.over[0].raised_ago_ms, told.over[0].cleared_ago_ms),
            (0, Millis(3500), Some(Millis(500)))
        );
    }

    #[test]
    fn who_falls_silent_holds_nothing_open_for_long_and_keeps_nobody_from_posting() {
        let mut alerts = Alerts::default();
        alerts.take_in(Timestamp(1000), 1, &standing(&["m"], 0));
        alerts.take_in(Timestamp(5999), 2, &standing(&[], 0));
        assert_eq!(given(&alerts, 5999, 2), (vec![], 1001));
        alerts.take_in(Timestamp(6000), 2, &standing(&[], 0));
        assert_eq!(given(&alerts, 6000, 2), (vec![], 1002), "over, and the other may still be about to post");
        let later = 1000 + LEASE.0;
        assert_eq!(given(&alerts, later, 1).0, [], "its lease is over");
        alerts.take_in(Timestamp(later), 2, &standing(&[], 0));
        assert_eq!(given(&alerts, later, 2), (vec![("m".into(), false), ("m".into(), true)], 1002));
        alerts.take_in(Timestamp(later), 1, &standing(&[], 1002));
        assert_eq!(given(&alerts, later, 2).0.len(), 2, "what comes of a lease that is over changes nothing");
    }

    #[test]
    fn whoever_gets_on_with_posting_goes_on_with_it() {
        let mut alerts = Alerts::default();
        let later = 1000 + LEASE.0 - 1;
        alerts.take_in(Timestamp(1000), 1, &standing(&["m", "n"], 0));
        alerts.take_in(Timestamp(later), 1, &standing(&["m", "n"], 1001));
        alerts.take_in(Timestamp(later + 1), 2, &standing(&["m", "n"], 0));
        assert_eq!(given(&alerts, later + 1, 1).0, [("n".into(), false)]);
        assert_eq!(given(&alerts, later + 1, 2).0, []);
    }

    #[test]
    fn who_holds_an_alert_open_is_stored_now_and_then() {
        let mut alerts = Alerts::default();
        alerts.take_in(Timestamp(1000), 1, &standing(&["m"], 0));
        assert!(!alerts.take_in(Timestamp(30_999), 1, &standing(&["m"], 0)));
        assert!(alerts.take_in(Timestamp(31_000), 1, &standing(&["m"], 0)));
        assert!(!alerts.take_in(Timestamp(32_000), 1, &standing(&["m"], 0)));
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut alerts = Alerts::default();
        for nth in 0..1000_u64 {
            let names: Vec<String> = (0..1000).map(|name| format!("{name}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            alerts.take_in(Timestamp(nth), nth, &standing(if nth % 2 == 0 { &names } else { &[] }, 0));
        }
        assert!(alerts.open.iter().all(|open| open.holders.len() <= HOLDERS_MAX));
        alerts.take_in(Timestamp(1_000_000), 0, &standing(&[], 0));
        assert_eq!((alerts.open.len(), alerts.over.len(), alerts.unposted.len()), (0, SHOWN_MAX, UNPOSTED_MAX));
        assert_eq!(
            alerts.posted + UNPOSTED_MAX as u64,
            2 * OPEN_MAX as u64,
            "those that were dropped have had their numbers"
        );
    }
}
