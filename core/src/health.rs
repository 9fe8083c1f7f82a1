//! Whether a target is well: what clients' requests and probes have told of it.
//!
//! Health is an opinion, where a breaker is a decision. It changes the order in which candidates are asked, a target that
//! is not well coming last, and it never turns a request away. It is also quicker: a breaker must not open by mistake.
//!
//! Results come from two sides, and the same status from one side can mean less than from the other: a vendor that lists
//! its models may well fail to answer with them. So a free probe that was fine while requests failed is not
//! [`telling`](Health::is_telling), and heals nothing by being fine again.

use std::fmt;

use serde::Serialize;

use crate::config::HealthPolicy;
use crate::time::{Millis, Timestamp};

mod prober;

pub use prober::{Finding, Probe, ProbeId};

pub(crate) use prober::Prober;

/// How many of the last results the share of good ones is of: with 20, 95 % can be told from less.
pub(crate) const RECENT: u32 = 20;

/// Results that it takes before a share of them says something.
const RECENT_MIN: u32 = 10;

/// An opinion is none any more if nothing has been heard for as long as so many probes take that nobody answers.
const STALE_AFTER: u64 = 3;

/// How long a gateway without a background goes on for the sake of a request that is over. Workers may for 30 s.
pub const LINGER: Millis = Millis::from_secs(20);

/// How a target is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It answers in time.
    Healthy,
    /// It answers, slowly.
    Degraded,
    /// Too little has been heard of it. Treated as healthy.
    #[default]
    Unknown,
    /// It does not answer, or as good as not: it is asked last.
    Unhealthy,
}

impl Status {
    /// As pages and metrics say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One result, as far as it says something about the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Good,
    Slow,
    Bad,
}

/// Where a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A client's request, or a probe that is one in all but name.
    Attempt,
    /// A probe that costs nothing and proves less.
    FreeProbe,
}

/// A change of opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) from: Status,
    pub(crate) to: Status,
}

/// What is known of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    status: Status,
    /// Results in a row that were good.
    good: u32,
    /// Results in a row that were not bad.
    served: u32,
    /// Results in a row that were not good.
    poor: u32,
    /// Results in a row that were bad.
    bad: u32,
    /// The last [`RECENT`] results, the latest in the lowest bit; 1 is bad.
    recent: u32,
    /// How many of those bits mean something.
    recent_count: u32,
    heard_at: Timestamp,
    /// When the last attempt told something.
    attempt_at: Option<Timestamp>,
    /// Whether the last free probe was fine; `None` before the first.
    probe_was_fine: Option<bool>,
    is_telling: bool,
    /// When the trouble that is not over yet began.
    trouble_since: Option<Timestamp>,
}

impl Sign {
    /// What a target that answered is worth. `took` is none where the time says nothing: a long answer may take long.
    pub(crate) fn of_answer(policy: &HealthPolicy, took: Option<Millis>) -> Self {
        match took {
            Some(took) if took > policy.too_slow => Self::Bad,
            Some(took) if took > policy.degraded => Self::Slow,
            _ => Self::Good,
        }
    }
}

impl Health {
    /// Takes in a result, and says whether the opinion changes.
    pub(crate) fn note(&mut self, now: Timestamp, policy: &HealthPolicy, source: Source, sign: Sign) -> Option<Change> {
        let from = self.status(now, policy);
        if from != self.status {
            // What was heard too long ago is no beginning of a row.
            self.forget();
        }
        if !self.learns(now, policy, source, sign) {
            return None;
        }
        self.heard_at = self.heard_at.max(now);
        self.count(sign);
        self.status = self.judge(policy);
        match sign {
            Sign::Bad => self.trouble_since = self.trouble_since.or(Some(now)),
            _ if self.status != Status::Unhealthy => self.trouble_since = None,
            _ => {}
        }
        (from != self.status).then_some(Change { from, to: self.status })
    }

    /// How it is. An opinion that is too old is none.
    pub(crate) fn status(&self, now: Timestamp, policy: &HealthPolicy) -> Status {
        let turn = policy.every.0.saturating_add(policy.timeout.0);
        let is_stale = now.since(self.heard_at).0 > turn.saturating_mul(STALE_AFTER);
        if is_stale { Status::Unknown } else { self.status }
    }

    /// Whether attempts have told how it is within the last `every`: no probe could tell better.
    pub(crate) fn is_fresh(&self, now: Timestamp, policy: &HealthPolicy) -> bool {
        self.attempt_at.is_some_and(|at| now.since(at) < policy.every)
    }

    /// Whether free probes have been seen to fail when attempts did.
    pub(crate) fn is_telling(&self) -> bool {
        self.is_telling
    }

    /// When the trouble that is not over yet began.
    pub(crate) fn trouble_since(&self) -> Option<Timestamp> {
        self.trouble_since
    }

    /// When an attempt last told something.
    pub(crate) fn attempt_at(&self) -> Option<Timestamp> {
        self.attempt_at
    }

    /// Whether the last free probe was fine; `None` before the first.
    pub(crate) fn probe_was_fine(&self) -> Option<bool> {
        self.probe_was_fine
    }

    /// Whether it was not well when it was last heard of.
    pub(crate) fn is_in_trouble(&self) -> bool {
        self.bad > 0 || self.status == Status::Unhealthy
    }

    /// Whether it is not well by what was before, though its last result was fine.
    pub(crate) fn is_mending(&self) -> bool {
        self.bad == 0 && self.status == Status::Unhealthy
    }

    /// Nothing has been heard of it; what its free probes are worth is known all the same.
    pub(crate) fn forget(&mut self) {
        let Self { probe_was_fine, is_telling, attempt_at, .. } = *self;
        *self = Self { attempt_at, probe_was_fine, is_telling, ..Self::default() };
    }

    /// Whether the result counts; finds out what free probes are worth here.
    fn learns(&mut self, now: Timestamp, policy: &HealthPolicy, source: Source, sign: Sign) -> bool {
        let is_bad = sign == Sign::Bad;
        if source == Source::Attempt {
            self.attempt_at = Some(now);
            // It was fine, and then this: it does not see what clients see.
            self.is_telling &= !(is_bad && self.probe_was_fine == Some(true));
            return true;
        }
        self.probe_was_fine = Some(!is_bad);
        let contradicts = self.is_fresh(now, policy) && self.is_in_trouble() != is_bad;
        self.is_telling |= is_bad && !contradicts;
        // Of a target that attempts have just told of, a probe knows better only where it has proved to.
        !contradicts || (self.is_telling && !is_bad)
    }

    fn count(&mut self, sign: Sign) {
        let row = |row: &mut u32, goes_on: bool| *row = if goes_on { row.saturating_add(1) } else { 0 };
        row(&mut self.good, sign == Sign::Good);
        row(&mut self.served, sign != Sign::Bad);
        row(&mut self.poor, sign != Sign::Good);
        row(&mut self.bad, sign == Sign::Bad);
        self.recent = (self.recent << 1 | u32::from(sign == Sign::Bad)) & ((1 << RECENT) - 1);
        self.recent_count = (self.recent_count + 1).min(RECENT);
    }

    fn judge(&self, policy: &HealthPolicy) -> Status {
        if self.bad >= policy.unhealthy || self.fails_too_often(policy) {
            Status::Unhealthy
        } else if self.good >= policy.healthy {
            Status::Healthy
        } else {
            match self.status {
                Status::Healthy if self.poor >= policy.unhealthy => Status::Degraded,
                Status::Unknown | Status::Unhealthy if self.served >= policy.healthy => Status::Degraded,
                unchanged => unchanged,
            }
        }
    }

    fn fails_too_often(&self, policy: &HealthPolicy) -> bool {
        let good = self.recent_count - self.recent.count_ones();
        self.recent_count >= RECENT_MIN
            && u64::from(good) * 1000 < u64::from(self.recent_count) * u64::from(policy.success_rate_permille)
    }
}
