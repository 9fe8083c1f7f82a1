//! Which alerts are open: thresholds over exact counts of the recent past, one watch for each target and each route.

use std::collections::{BTreeMap, VecDeque};

use super::{Alert, Cause, Entry, Kind, Subject};
use crate::breaker::Verdict;
use crate::buckets::Buckets;
use crate::classify::Outcome;
use crate::config::{AlertPolicy, Config, RouteId, TargetId};
use crate::gateway::Settlement;
use crate::time::{Millis, Timestamp};

/// Alerts that are over and still shown, the oldest forgotten first.
const OVER_MAX: usize = 50;

/// There is an alert where more than one in so many is slow: where the 95th percentile is above the limit. A mean would be
/// raised by a single answer of ten minutes, and a median be deaf to a target that is slow for two in five.
const SLOW_ONE_IN: u64 = 20;

/// All watches of a gateway, and the alerts that they have raised.
#[derive(Debug)]
pub(crate) struct Alerts {
    policy: AlertPolicy,
    /// By [`TargetId`].
    targets: Vec<Watch>,
    /// By [`RouteId`].
    routes: Vec<Watch>,
    /// At most one for each place and kind.
    open: BTreeMap<(Place, Kind), Open>,
    /// The latest last.
    over: VecDeque<Entry>,
    /// No alert is to be cleared before.
    next_at: Timestamp,
}

/// What an alert can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Target(TargetId),
    Route(RouteId),
    /// An index into the config's clients.
    Client(usize),
}

#[derive(Debug)]
struct Open {
    entry: Entry,
    clear_at: Timestamp,
}

/// What is remembered of one target or route: of constant size.
#[derive(Debug)]
struct Watch {
    recent: Buckets<Tally>,
    failures_in_a_row: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    attempts: u32,
    failed: u32,
    first_tokens: u32,
    slow_first_tokens: u32,
    answers: u32,
    slow_answers: u32,
}

/// What an attempt, or a request, says of whom it was for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) verdict: Verdict,
    pub(crate) took: Option<Took>,
}

/// How long the part of it took that tells how quick a target is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// Whether that is until the first token of a stream, or until the end of an answer in whole.
    is_stream: bool,
    length: Millis,
    /// Whether it was given up then, and would have taken longer.
    at_least: bool,
}

impl Sample {
    /// What an attempt says of its target. A probe's few tokens say nothing of how long answers take.
    pub(crate) fn of_attempt(settlement: &Settlement, is_probe: bool) -> Self {
        let Settlement { outcome, stream, first_token, took, .. } = *settlement;
        let timed = match (outcome, first_token) {
            (_, Some(first_token)) => Some((first_token, false)),
            (Outcome::Success, None) if !stream => Some((took, false)),
            (Outcome::Neutral, None) => Some((took, true)),
            _ => None,
        };
        let took = timed.filter(|_| !is_probe).map(|(length, at_least)| Took { is_stream: stream, length, at_least });
        Self { verdict: outcome.verdict(false), took }
    }

    /// What a request's end says of its route.
    pub(crate) fn of_request(is_served: bool) -> Self {
        Self { verdict: if is_served { Verdict::Success } else { Verdict::Failure }, took: None }
    }
}

impl Alerts {
    pub(crate) fn new(config: &Config, policy: &AlertPolicy) -> Self {
        let watches = |count| (0..count).map(|_| Watch::new(policy)).collect();
        Self {
            targets: watches(config.targets.len()),
            routes: watches(config.routes.len()),
            open: BTreeMap::new(),
            over: VecDeque::new(),
            next_at: Timestamp::MAX,
            policy: policy.clone(),
        }
    }

    /// Takes in a sample. Says what has been raised for it.
    pub(crate) fn note(&mut self, now: Timestamp, config: &Config, place: Place, sample: Sample) -> Vec<Entry> {
        let watch = match place {
            Place::Target(id) => &mut self.targets[id.0],
            Place::Route(id) => &mut self.routes[id.0],
            Place::Client(_) => return Vec::new(),
        };
        watch.take(now, &self.policy, sample);
        let causes = watch.causes(now, &self.policy, sample);
        let clear_at = now + self.policy.clear_after;
        causes.into_iter().flatten().filter_map(|cause| self.raise(now, config, place, cause, clear_at)).collect()
    }

    /// There is cause for an alert, until `clear_at` at least. Says so if it is not open already.
    pub(crate) fn raise(
        &mut self,
        now: Timestamp,
        config: &Config,
        place: Place,
        cause: Cause,
        clear_at: Timestamp,
    ) -> Option<Entry> {
        let key = (place, cause.kind());
        if let Some(open) = self.open.get_mut(&key) {
            open.clear_at = open.clear_at.max(clear_at);
            return None;
        }
        let entry = Entry { alert: Alert { subject: place.subject(config), cause }, raised_at: now, cleared_at: None };
        self.open.insert(key, Open { entry: entry.clone(), clear_at });
        self.next_at = self.next_at.min(clear_at);
        Some(entry)
    }

    /// When [`clear`](Self::clear) has something to do.
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        Some(self.next_at).filter(|at| *at < Timestamp::MAX)
    }

    /// Clears what is to be cleared, and says what that was. Quiet as it may be, nothing is well of a target that is down.
    pub(crate) fn clear(&mut self, now: Timestamp, is_down: impl Fn(TargetId) -> bool) -> Vec<Entry> {
        if now < self.next_at {
            return Vec::new();
        }
        let mut cleared = Vec::new();
        let clear_after = self.policy.clear_after;
        self.open.retain(|(place, _), open| {
            if open.clear_at > now {
                return true;
            }
            if matches!(place, Place::Target(id) if is_down(*id)) {
                open.clear_at = now + clear_after;
                return true;
            }
            open.entry.cleared_at = Some(now);
            cleared.push(open.entry.clone());
            false
        });
        self.over.extend(cleared.iter().cloned());
        self.over.drain(..self.over.len().saturating_sub(OVER_MAX));
        self.next_at = self.open.values().map(|open| open.clear_at).min().unwrap_or(Timestamp::MAX);
        cleared
    }

    /// Those that are open, and when each would be cleared if nothing else happened.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&Entry, Timestamp)> {
        self.open.values().map(|open| (&open.entry, open.clear_at))
    }

    /// Those that are over, the oldest first.
    pub(crate) fn over(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.over.iter()
    }
}

impl Place {
    fn subject(self, config: &Config) -> Subject {
        match self {
            Self::Target(id) => Subject::Target(config.target(id).name.clone()),
            Self::Route(id) => Subject::Route(config.routes[id.0].name.clone()),
            Self::Client(index) => Subject::Client(config.clients[index].name.clone()),
        }
    }
}

impl Watch {
    fn new(policy: &AlertPolicy) -> Self {
        Self { recent: Buckets::new(policy.window), failures_in_a_row: 0 }
    }

    fn take(&mut self, now: Timestamp, policy: &AlertPolicy, sample: Sample) {
        let tally = self.recent.current(now);
        let failed = match sample.verdict {
            Verdict::Success | Verdict::Slow => {
                self.failures_in_a_row = 0;
                Some(false)
            }
            Verdict::Failure => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                Some(true)
            }
            // As for breakers: to the share a failure, to the row nothing, since who says "not now" is alive.
            Verdict::RateLimited => Some(true),
            Verdict::Neutral => None,
        };
        if let Some(failed) = failed {
            count(&mut tally.attempts, &mut tally.failed, failed);
        }
        let Some(Took { is_stream, length, at_least }) = sample.took else { return };
        let limit = if is_stream { policy.first_token } else { policy.answer };
        let is_slow = limit.is_some_and(|limit| length > limit);
        // Of one that was given up in time it is not known how long it would have taken.
        if is_slow || !at_least {
            if is_stream {
                count(&mut tally.first_tokens, &mut tally.slow_first_tokens, is_slow);
            } else {
                count(&mut tally.answers, &mut tally.slow_answers, is_slow);
            }
        }
    }

    /// What there is to be alarmed about, now that this sample has been taken in.
    fn causes(&self, now: Timestamp, policy: &AlertPolicy, sample: Sample) -> [Option<Cause>; 4] {
        let sum = |of: fn(&Tally) -> u32| self.recent.live(now).map(|tally| u64::from(of(tally))).sum::<u64>();
        let is_enough = |of: u64| of >= u64::from(policy.min_requests);
        let first_token = policy.first_token.and_then(|limit_ms| {
            let (slow, of) = (sum(|tally| tally.slow_first_tokens), sum(|tally| tally.first_tokens));
            (is_enough(of) && slow * SLOW_ONE_IN > of).then_some(Cause::FirstToken { slow, of, limit_ms })
        });
        let answer = policy.answer.and_then(|limit_ms| {
            let (slow, of) = (sum(|tally| tally.slow_answers), sum(|tally| tally.answers));
            (is_enough(of) && slow * SLOW_ONE_IN > of).then_some(Cause::Answer { slow, of, limit_ms })
        });
        let error_rate = policy.error_rate_permille.and_then(|limit_permille| {
            let (failed, of) = (sum(|tally| tally.failed), sum(|tally| tally.attempts));
            let is_above = failed * 1000 > of * u64::from(limit_permille);
            (is_enough(of) && is_above).then_some(Cause::ErrorRate { failed, of, limit_permille })
        });
        let in_a_row = self.failures_in_a_row;
        let is_failure = sample.verdict == Verdict::Failure;
        let failures = policy.failures.filter(|limit| is_failure && in_a_row >= *limit);
        [first_token, answer, error_rate, failures.map(|_| Cause::Failures { in_a_row })]
    }
}

fn count(all: &mut u32, some: &mut u32, is_some: bool) {
    *all = all.saturating_add(1);
    *some = some.saturating_add(u32::from(is_some));
}

#[cfg(all(test, feature = "toml"))]
mod tests;
