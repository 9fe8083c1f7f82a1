//! Routes: whom a request that names one may be sent to, in which order, and what becomes of it otherwise.

use serde::{Deserialize, Serialize};

use super::{BreakerId, HedgePolicy, RetryPolicy, TargetId, Timeouts};
use crate::dialect::Rescue;

/// `[routes.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What clients put in `model`.
    pub name: String,
    /// By what they are ranked.
    pub strategy: Strategy,
    /// In the order of preference; at least one, none twice.
    pub candidates: Vec<Candidate>,
    /// How often a request on this route is tried.
    pub retry: RetryPolicy,
    /// When a slow attempt is hedged; `None`: never.
    pub hedge: Option<HedgePolicy>,
    /// What happens to an answer that the vendor's content filter stopped.
    pub content_filter: ContentFilter,
    /// What happens to parameters that a candidate cannot honour.
    pub parameters: Parameters,
    /// Who is asked next after some kinds of failure, rather than who comes next.
    pub after: After,
    /// How many of its candidates may be shut off at once, in 1/1000 of them. Default 1000.
    pub ejected_max_permille: u32,
    /// What happens when no candidate can be asked any more.
    pub exhausted: Exhausted,
    /// What is answered where that is [`Exhausted::Canned`].
    pub canned: String,
    /// How another candidate goes on with a stream that breaks off while the client reads it; `None`: none does.
    pub stream_cut: Option<Rescue>,
}

impl Route {
    /// How many of its candidates may be shut off at once.
    pub fn ejected_max(&self) -> usize {
        share_of(self.candidates.len(), self.ejected_max_permille)
    }
}

/// So many thousandths of `count`, rounded down.
pub(super) fn share_of(count: usize, permille: u32) -> usize {
    let permille = usize::try_from(permille).expect("a share is at most 1000");
    count.saturating_mul(permille) / 1000
}

/// A target as a route uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub target: TargetId,
    /// What guards it on this route: its own breaker, or one that the route has for it.
    pub breaker: BreakerId,
    /// Its limits in time on this route.
    pub timeouts: Timeouts,
}

/// `routes.NAME.strategy`: which candidate is asked first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The first in the config's order that can serve.
    #[default]
    Ordered,
    /// The one that is expected to answer sooner, of two drawn at random.
    Latency,
    /// Drawn at random, in proportion to 1 / (latency + 1).
    InverseLatency,
}

/// `routes.NAME.after`: candidates of the route that are asked next where an attempt has failed in this way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct After {
    /// It took longer than a limit.
    pub timeout: Option<TargetId>,
    /// No connection could be made, or it broke before an answer began.
    pub connection: Option<TargetId>,
}

/// `routes.NAME.exhausted`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exhausted {
    /// The caller gets an error with a `Retry-After`.
    #[default]
    Error,
    /// The target whose breaker lets through first gets a probe now.
    Soonest,
    /// All breakers of the route are reset, and all candidates asked.
    Panic,
    /// The caller gets the route's own text as an answer, marked by a header, at no cost.
    Canned,
}

/// `routes.NAME.content_filter`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContentFilter {
    /// The caller gets the vendor's refusal.
    #[default]
    Return,
    /// The next candidate is asked.
    Reroute,
}

/// `routes.NAME.parameters`: what happens to a parameter that a candidate cannot honour. Tools, images and schemas are
/// not among them: without those the answer would be another one, so a candidate that lacks them is always passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parameters {
    /// It is left out, and named in `x-tidegate-dropped`.
    #[default]
    Lenient,
    /// The candidate is passed over.
    Strict,
}
