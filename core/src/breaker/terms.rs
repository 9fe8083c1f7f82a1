//! What a breaker is told, and what it says.

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// As requests meet it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything may pass.
    #[default]
    Closed,
    /// Nothing may pass.
    Open,
    /// A few probes may pass.
    HalfOpen,
}

/// The permission to make one attempt. To be given to [`Breaker::finish`](super::Breaker::finish) once, whatever comes of the attempt.
///
/// Never finishing it costs a half-open breaker one place until the lease runs out. Finishing a probe twice does
/// nothing; finishing an ordinary attempt twice counts it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an attempt's end must be told to the breaker"]
pub struct Ticket {
    pub(super) generation: u64,
    pub(super) lease: Option<u64>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answered in time.
    Success,
    /// It answered, but its first token came late.
    Slow,
    /// A hard failure: counts towards both the row and the ratio.
    Failure,
    /// Throttled: a failure to the ratio, nothing to the row, because a target that says "not now" is alive.
    RateLimited,
    /// Says nothing about the target: the caller's fault, or nobody waited for the end.
    Neutral,
}

/// No attempt now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When to ask again; never zero. Open: when the open time ends, at most `open_max`, or what an operator ordered. Half-open: when the earliest
    /// lease runs out; a place may be free sooner.
    pub retry_in: Millis,
}

/// A change of state, or why there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// It refuses from now on.
    Opened {
        /// For this long.
        open_for: Millis,
        /// What it was that opened it.
        why: Trip,
    },
    /// Its open time is over, and the first probe has been admitted.
    HalfOpened,
    /// It lets everything pass again.
    Closed,
    /// It should open and stays closed, since its group could not spare it.
    HeldOff {
        /// What would have opened it.
        why: Trip,
    },
}

/// What opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trip {
    /// So many hard failures in a row; in the leaky mode, the level was reached.
    Consecutive,
    /// Too large a share of failures.
    FailureRate,
    /// Too large a share of slow first tokens; in half-open, too many slow probes.
    SlowRate,
    /// A probe failed.
    Probe,
    /// Other gateways reported it open.
    Reported,
    /// An operator's order.
    Forced,
}

/// For status pages: what the window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Hard failures.
    pub failures: u32,
    /// Slow first tokens.
    pub slow: u32,
    /// Throttled attempts.
    pub limited: u32,
    /// All of the above and the successes. These four are zero in the leaky mode, which has no window.
    pub total: u32,
    /// Hard failures in a row; in the leaky mode, the level.
    pub consecutive: u32,
}

/// An open time that others have found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reported {
    /// How much longer it is open.
    pub remaining: Millis,
    /// How much longer no voucher ends it.
    pub held: Millis,
    /// Openings since it last was healthy for long, this one among them.
    pub trips: u32,
}

/// What is worth keeping over a restart. Lengths of time and no moments, because the clock may be another.
///
/// What the window held and the progress of probes are not kept: a restart counts anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// As requests met it.
    pub state: State,
    /// Open: how much longer. Else zero.
    pub remaining_ms: Millis,
    /// Open: how much longer no voucher ends it. Else zero.
    pub held_ms: Millis,
    /// Closed: since how long. Else zero.
    pub closed_ms: Millis,
    /// Closed after probes succeeded, so that traffic may still be growing.
    pub ramping: bool,
    /// Openings since it last was healthy for long.
    pub trips: u32,
    /// Open: whether an operator ordered it.
    pub by_order: bool,
}
