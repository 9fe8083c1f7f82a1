//! Policies: tables that may stand under `[defaults]`, a vendor, a model or a route, the nearest winning key by key.

use super::{RouteId, TargetId};
use crate::price::Picodollars;
use crate::time::Millis;

/// `[*.timeouts]`: each limit its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From sending a streamed request to the response head. Default 30 s.
    pub head: Millis,
    /// From sending a request that is not streamed to the response head: vendors hold it back until the whole answer
    /// is there, so this is the time for thinking and writing. Default 60 s.
    pub answer: Millis,
    /// From sending to the first token of content; a role chunk or a ping is not content. Default 30 s.
    pub first_token: Millis,
    /// Between two pieces of a response. Default 30 s.
    pub gap: Millis,
    /// One attempt as a whole. Default 10 min.
    pub total: Millis,
}

/// `[*.retry]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts per client request, retries and failovers together; at least 1. Default 4.
    pub attempts: u32,
    /// From the request's arrival: no attempt starts after it, and an answer must have begun by then. Default 2 min.
    pub deadline: Millis,
    /// Tries again on the same target after a one-off failure. Default 1.
    pub same_target: u32,
    /// How long to wait for a throttled target before failing over from it. Default 0.
    pub wait: Millis,
    /// First backoff before the same target is tried again, before jitter. Default 500 ms.
    pub base: Millis,
    /// Longest backoff. Default 10 s.
    pub max: Millis,
    /// How long a key that its vendor refused is left alone. Default 5 min.
    pub quarantine: Millis,
}

/// `[routes.NAME.hedge]`: a second attempt where the first is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgePolicy {
    /// How long the first is waited for.
    pub after: HedgeAfter,
    /// Hedges to a thousand of the route's requests. Default 50.
    pub share_permille: u32,
}

/// `hedge.after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeAfter {
    /// A set time, for whatever is asked.
    Fixed(Millis),
    /// `"p95"`: what 95 % of the target's streams took to their first token, or of its embeddings to their end.
    Measured {
        /// At least so long. Default 50 ms.
        min: Millis,
        /// Samples of the last 5 to 10 minutes below which nothing is hedged. Default 20.
        samples: u32,
    },
}

/// One breaker: what it guards, and by which rules. Two policies never share one, or each would undo what the other did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// What reports call it: the target's name, and ` on ROUTE` behind it where it is that route's. No name holds a space.
    pub name: String,
    /// Whom it guards.
    pub target: TargetId,
    /// Where: `None` is wherever no route has one of its own.
    pub route: Option<RouteId>,
    /// When it shuts the target off, and how the target comes back.
    pub policy: BreakerPolicy,
    /// The routes that use it and cannot spare all of their targets.
    pub capped_by: Vec<RouteId>,
}

/// `[*.breaker]`. Rates are in 1/1000, so that thresholds compare exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// What failures are counted over.
    pub window: Window,
    /// Samples in the window below which no ratio trips. Default 20.
    pub min_requests: u32,
    /// Share of failures that trips; 0 switches this rule off. Default 500.
    pub failure_rate_permille: u32,
    /// Consecutive hard failures that trip (the count to reach, in the leaky mode); 0 switches this rule off. Default 5.
    pub failures: u32,
    /// A first token later than this is slow. Default 10 s.
    pub slow_first_token: Millis,
    /// Share of slow first tokens that trips; 0 switches this rule off. Default 800.
    pub slow_rate_permille: u32,
    /// First open time, before jitter; it doubles with each reopening. Default 5 s.
    pub open: Millis,
    /// Longest open time. Default 2 min.
    pub open_max: Millis,
    /// Probes at once in half-open; at least 1. Default 2.
    pub probes: u32,
    /// Successful probes that close it; at least 1. Default 3.
    pub successes: u32,
    /// After closing, traffic grows from a tenth to all of it over this time; 0 is all at once. Default 0.
    pub ramp: Millis,
}

/// `breaker.window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Exact counts over this long, in buckets. Default 30 s.
    Buckets(Millis),
    /// `"leaky"`: a failure counts up, a success counts down, `failures` trips.
    Leaky,
}

/// `[*.concurrency]`: a limit that finds itself. `min` ≤ `start` ≤ `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConcurrencyPolicy {
    /// Attempts at once, before anything is known. Default 20.
    pub start: u32,
    /// It never falls below; at least 1. Default 1.
    pub min: u32,
    /// It never rises above. Default 200.
    pub max: u32,
    /// Requests that may wait for a slot; 0: none does. Default 100.
    pub queue: u32,
    /// What a refusal leaves of the limit, in 1/1000. Default 900.
    pub decrease_to_permille: u32,
}

/// `[*.health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPolicy {
    /// What is asked where clients' requests do not tell. Default [`ProbeKind::Models`].
    pub probe: ProbeKind,
    /// What [`ProbeKind::Get`] asks for: a path on the vendor's server, or a whole URL.
    pub path: String,
    /// How often, as long as all is well. Default 30 s.
    pub every: Millis,
    /// How long a probe may take. Default 10 s.
    pub timeout: Millis,
    /// Good results in a row that make it healthy; at least 1. Default 3.
    pub healthy: u32,
    /// Bad results in a row that make it unhealthy; at least 1. Default 3.
    pub unhealthy: u32,
    /// What takes longer than this is slow. Default 3 s.
    pub degraded: Millis,
    /// What takes longer than this is as bad as a failure. Default 5 s.
    pub too_slow: Millis,
    /// Share of good results below which it is unhealthy, in 1/1000; 0 switches this rule off. Default 0.
    pub success_rate_permille: u32,
}

/// `health.probe`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// The vendor's list of models: costs nothing, and one answer is for all of its targets.
    #[default]
    Models,
    /// A completion of ten tokens, which is paid for.
    Chat,
    /// Another page, which costs nothing.
    Get,
    /// Nothing: only clients' requests tell.
    None,
}

/// `rpm`, `tpm` and `concurrency` of a client, a key or a model: what may be used. `None` is any amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Tokens a minute, of input and output together.
    pub tpm: Option<u32>,
    /// Requests under way at once.
    pub concurrency: Option<u32>,
}

/// `clients.NAME.budget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetPolicy {
    /// What may be spent in a period.
    pub limit: Picodollars,
    /// How long that is, counted from the Unix epoch: a period of a day is a day in UTC.
    pub period: Millis,
    /// The share of it that operators are told of when it has been spent, in 1/1000. Default 800.
    pub soft_permille: u32,
}
