//! Who is to be asked how it is, and when.
//!
//! A probe is made only where it can change a decision: where a client's request would go elsewhere, or where a breaker
//! could let requests through again. Clients' requests are the better probes, so while they come nobody else asks. One
//! answer may tell of many targets, and each question is under way at most once.
//!
//! Probes are bounded four times over: so many at once, so many a second, each at most once at a time, and seldom while
//! nothing changes: trouble that has lasted for long is looked at less often, in proportion.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::classify::Fault;
use crate::config::{Config, ProbeKind, TargetId, VendorId};
use crate::gateway::ChatProbe;
use crate::rng::Rng;
use crate::time::{Millis, Timestamp};

/// Probes under way at once.
pub(crate) const AT_ONCE_MAX: usize = 4;

/// Between two probes of one gateway, once [`AT_ONCE_MAX`] of them have gone at a time.
const SPACING: Millis = Millis(100);

/// How soon trouble is looked at again.
const SOON: Millis = Millis::from_secs(2);

/// How soon a target that was found well again is asked once more: it is to be well several times in a row.
const AT_ONCE: Millis = Millis(750);

/// Trouble that has lasted for so many times as long is looked at again.
const PROPORTION: u64 = 32;

/// How long after the last probe others are still kept from being probes themselves.
const ATTENTION: Millis = Millis::from_secs(5);

/// Tells probes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

/// A probe to be made.
#[derive(Debug, Clone)]
pub struct Probe {
    /// To be told with what came of it.
    pub id: ProbeId,
    /// Whose connections to use.
    pub vendor: VendorId,
    /// One of those whom it tells of.
    pub target: TargetId,
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: String,
    /// All headers to send; the length is the adapter's to add.
    pub headers: HeaderMap,
    /// The body to send.
    pub body: Bytes,
    /// When it has taken too long.
    pub until: Timestamp,
    /// As much of the answer as is of interest: the rest need not be read.
    pub body_max: usize,
}

/// What came of a probe.
#[derive(Debug, Clone)]
pub enum Finding {
    /// An answer.
    Reply {
        /// Its status.
        status: StatusCode,
        /// Its headers, or those of them that [`read_headers`](crate::drive::read_headers) names.
        headers: HeaderMap,
        /// Its body, or the beginning of it.
        body: Bytes,
    },
    /// No answer.
    Fault(Fault),
    /// No answer in time.
    TimedOut,
}

/// All checks of a gateway, and the probes that are under way.
#[derive(Debug)]
pub(crate) struct Prober {
    rng: Rng,
    pub(crate) checks: Vec<Check>,
    /// By [`TargetId`]: the place of its check, if it has one.
    check_of: Vec<Option<usize>>,
    /// By [`TargetId`]: whether a route has another candidate beside it.
    contested: Vec<bool>,
    under_way: Vec<UnderWay>,
    sent: u64,
    /// When the budget would be whole again.
    budget_at: Timestamp,
    next_at: Timestamp,
}

/// One question, and whom its answer tells of.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) kind: ProbeKind,
    pub(crate) targets: Vec<TargetId>,
    /// No sooner than this is it looked at again.
    due_at: Timestamp,
    /// When it was last asked.
    pub(crate) asked_at: Option<Timestamp>,
    pub(crate) under_way: bool,
    /// Whether its last answer said nothing: not all keys may list models.
    pub(crate) is_mute: bool,
    /// How much of each length of time is taken, in 1/1000, until it is asked next.
    jitter_permille: u64,
}

/// A probe that is being made.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) id: ProbeId,
    pub(crate) check: usize,
    pub(crate) sent_at: Timestamp,
    pub(crate) until: Timestamp,
    /// The attempt that it is, where it is one.
    pub(crate) attempt: Option<Box<ChatProbe>>,
}

impl Prober {
    pub(crate) fn new(config: &Config, seed: u64, now: Timestamp) -> Self {
        let mut prober = Self {
            rng: Rng::from_name(seed, "probes"),
            checks: Vec::new(),
            check_of: vec![None; config.targets.len()],
            contested: vec![false; config.targets.len()],
            under_way: Vec::new(),
            sent: 0,
            budget_at: now,
            next_at: Timestamp::MAX,
        };
        for route in config.routes.iter().filter(|route| route.candidates.len() > 1) {
            for candidate in &route.candidates {
                prober.contested[candidate.target.0] = true;
            }
        }
        for index in 0..config.targets.len() {
            prober.add(config, TargetId(index), now);
        }
        prober.reckon();
        prober
    }

    /// Adds a target to the check that tells of it.
    fn add(&mut self, config: &Config, id: TargetId, now: Timestamp) {
        let target = config.target(id);
        let kind = target.health.probe;
        let same = |check: &Check| {
            let other = config.target(check.targets[0]);
            kind == check.kind
                && target.vendor == other.vendor
                && match kind {
                    ProbeKind::Models => true,
                    ProbeKind::Get => target.health.path == other.health.path,
                    ProbeKind::Chat | ProbeKind::None => false,
                }
        };
        if kind == ProbeKind::None {
            return;
        }
        let place = self.checks.iter().position(same).unwrap_or(self.checks.len());
        if place == self.checks.len() {
            self.checks.push(Check {
                kind,
                targets: Vec::new(),
                due_at: Timestamp::MAX,
                asked_at: None,
                under_way: false,
                is_mute: false,
                jitter_permille: 1000,
            });
        }
        self.checks[place].targets.push(id);
        self.check_of[id.0] = Some(place);
        if self.contested[id.0] && self.checks[place].due_at == Timestamp::MAX {
            // Gateways that start together, and checks of one gateway, are spread out.
            self.checks[place].due_at = now + self.rng.between(Millis::ZERO, target.health.every);
        }
    }

    /// When there is something to do; nothing before that changes anything.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        Some(self.next_at).filter(|at| *at < Timestamp::MAX)
    }

    pub(crate) fn is_contested(&self, id: TargetId) -> bool {
        self.contested[id.0]
    }

    pub(crate) fn check_of(&self, id: TargetId) -> Option<&Check> {
        self.check_of[id.0].map(|place| &self.checks[place])
    }

    /// Something befell a target: its check is looked at again, by `at`.
    pub(crate) fn wake(&mut self, id: TargetId, at: Timestamp) {
        if let Some(place) = self.check_of[id.0]
            && !self.checks[place].under_way
            && at < self.checks[place].due_at
        {
            self.checks[place].due_at = at;
            self.next_at = self.next_at.min(at);
        }
    }

    /// Puts off a check.
    pub(crate) fn put_off(&mut self, place: usize, until: Timestamp) {
        self.checks[place].due_at = until;
    }

    /// Checks that are to be looked at now.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<usize> {
        let is_due = |check: &Check| !check.under_way && check.due_at <= now;
        (0..self.checks.len()).filter(|place| is_due(&self.checks[*place])).collect()
    }

    /// The check that has waited longest, if one is due and another probe can be afforded.
    pub(crate) fn next_affordable(&self, now: Timestamp) -> Option<usize> {
        if self.under_way.len() >= AT_ONCE_MAX || now < self.affordable_at() {
            return None;
        }
        self.due(now).into_iter().min_by_key(|place| self.checks[*place].due_at)
    }

    /// A probe goes out.
    pub(crate) fn begin(
        &mut self,
        place: usize,
        now: Timestamp,
        until: Timestamp,
        attempt: Option<Box<ChatProbe>>,
    ) -> ProbeId {
        self.budget_at = self.budget_at.max(now) + SPACING;
        self.sent += 1;
        let id = ProbeId(self.sent);
        let check = &mut self.checks[place];
        check.under_way = true;
        check.asked_at = Some(now);
        check.jitter_permille = 750 + self.rng.below(501);
        self.under_way.push(UnderWay { id, check: place, sent_at: now, until, attempt });
        id
    }

    /// A probe is over; `None`: it was already.
    pub(crate) fn end(&mut self, id: ProbeId) -> Option<UnderWay> {
        let place = self.under_way.iter().position(|probe| probe.id == id)?;
        let probe = self.under_way.swap_remove(place);
        self.checks[probe.check].under_way = false;
        Some(probe)
    }

    /// A probe whose adapter has not told in time what came of it.
    pub(crate) fn overdue(&self, now: Timestamp) -> Option<ProbeId> {
        self.under_way.iter().find(|probe| probe.until <= now).map(|probe| probe.id)
    }

    /// Finds out anew when there is something to do.
    pub(crate) fn reckon(&mut self) {
        let checks = self.checks.iter().filter(|check| !check.under_way).map(|check| check.due_at);
        let mut next_at = checks.min().unwrap_or(Timestamp::MAX);
        if self.under_way.len() >= AT_ONCE_MAX {
            next_at = Timestamp::MAX;
        }
        if next_at < Timestamp::MAX {
            next_at = next_at.max(self.affordable_at());
        }
        let overdue = self.under_way.iter().map(|probe| probe.until).min().unwrap_or(Timestamp::MAX);
        self.next_at = next_at.min(overdue);
    }

    fn affordable_at(&self) -> Timestamp {
        let burst = Millis(SPACING.0 * (AT_ONCE_MAX as u64 - 1));
        self.budget_at - burst
    }
}

impl Check {
    /// Whether asking costs nothing.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.kind, ProbeKind::Models | ProbeKind::Get)
    }

    /// So long after it was asked last.
    pub(crate) fn again_in(&self, length: Millis) -> Timestamp {
        self.asked_at.map_or(Timestamp(0), |at| at + self.jittered(length))
    }

    pub(crate) fn jittered(&self, length: Millis) -> Millis {
        let part = u128::from(length.0) * u128::from(self.jitter_permille) / 1000;
        Millis(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// When trouble that began at `since` is looked at again.
    pub(crate) fn soon(&self, now: Timestamp, since: Option<Timestamp>, every: Millis) -> Timestamp {
        let lasted = since.map_or(Millis::ZERO, |since| now.since(since));
        self.again_in(Millis(lasted.0 / PROPORTION).clamp(SOON.min(every), every))
    }

    /// When a target that was found well is asked once more.
    pub(crate) fn at_once(&self) -> Timestamp {
        self.again_in(AT_ONCE)
    }

    /// Whether probes are looking after the target right now, so that nobody else need try it.
    pub(crate) fn attends(&self, now: Timestamp) -> bool {
        let is_recent = self.asked_at.is_some_and(|at| now.since(at) < ATTENTION);
        self.is_free() && !self.is_mute && (self.under_way || is_recent)
    }
}
