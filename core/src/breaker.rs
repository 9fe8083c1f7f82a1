//! The circuit breaker that guards one target.
//!
//! Closed, it lets everything pass and counts. It opens on consecutive hard failures, or when the share of failures or
//! of slow first tokens in a window of time is too large. Open, it refuses, for a time that doubles with each opening.
//! Then it is half-open: a few probes may pass, and their results close it or open it again.
//!
//! Four things make it sound where calls last minutes and clients come and go:
//!
//! - **Generations.** Every transition begins a new one. A result that belongs to an older generation changes nothing,
//!   so a stream that began before the outage can neither close the breaker nor open it again.
//! - **Leases.** A probe's permit is given back by any end, and otherwise runs out, so half-open is never stuck.
//! - **Fixed deadlines.** The open time is settled when it begins; what is still in flight cannot prolong it.
//! - **Forgiveness takes time.** The doubling is forgotten only after `open_max` of being closed; a target that flaps
//!   is left alone for longer each time.
//!
//! Time is passed in, and going back is standing still. Every call is a bounded number of steps, all arithmetic is
//! exact or saturates, and the only randomness is the generator passed in.

use crate::backoff::doubled;
use crate::buckets::Buckets;
use crate::config::{BreakerPolicy, Window};
use crate::rng::Rng;
use crate::time::{Millis, Timestamp};

mod lease;
mod order;
mod terms;
mod vouch;

pub use order::{ORDER_MAX, Order};
pub use terms::{Counts, Refused, Reported, Snapshot, State, Ticket, Transition, Trip, Verdict};

use lease::Leases;

/// By then all have heard that a breaker has closed: what they tell of the openings before it sooner than that is old news.
const HEARD_IN: Millis = Millis(2000);

/// The longest a request is told to wait when it was refused only because traffic is still growing again.
const RAMP_RETRY_MAX: Millis = Millis(1000);

/// One target's breaker. The policy is passed to each call, so that a reload of the configuration takes effect at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// The latest time seen.
    clock: Timestamp,
    generation: u64,
    /// Openings since it last was healthy for long: the exponent of the next open time.
    openings: u32,
    /// Hard failures in a row; in the leaky mode, the level.
    consecutive: u32,
    recent: Buckets<Samples>,
    /// Whether it should be open and may not, which has been said.
    held_off: bool,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Samples {
    total: u32,
    failures: u32,
    slow: u32,
    limited: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Closed {
        since: Timestamp,
        /// Whether probes closed it: then `since` is also when the ramp began.
        ramping: bool,
    },
    /// Past `until`, it is half-open to whoever asks; the first admission makes it so.
    Open {
        until: Timestamp,
        /// What a vendor or an operator asked for: no voucher ends it before this.
        held_until: Timestamp,
        /// Vouchers in a row.
        vouchers: u32,
        /// Whether an operator ordered it: then nothing but time or another order ends it.
        by_order: bool,
    },
    HalfOpen {
        leases: Leases,
        successes: u32,
        slow: u32,
        /// Whether vouchers ended an open time that others may still tell of.
        early: bool,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Breaker {
    /// Closed, and nothing counted.
    pub fn new() -> Self {
        let phase = Phase::Closed { since: Timestamp(0), ramping: false };
        let clock = Timestamp(0);
        Self {
            clock,
            generation: 0,
            openings: 0,
            consecutive: 0,
            recent: Buckets::new(Millis::ZERO),
            held_off: false,
            phase,
        }
    }

    /// Whether an attempt would be admitted, changing nothing. Says yes while traffic is ramping up after closing, where
    /// the draw that decides is made by [`Breaker::admit`].
    pub fn would_admit(&self, now: Timestamp, policy: &BreakerPolicy) -> Result<(), Refused> {
        let now = now.max(self.clock);
        match &self.phase {
            Phase::Open { until, .. } if now < *until => Err(Refused { retry_in: now.until(*until) }),
            Phase::Closed { .. } | Phase::Open { .. } => Ok(()),
            Phase::HalfOpen { leases, .. } => {
                leases.check(now, policy.probes.max(1)).map_err(|retry_in| Refused { retry_in })
            }
        }
    }

    /// Admits an attempt, or says when to ask again.
    ///
    /// `lease` is how long a probe holds its place if nothing is heard of it. It must be longer than an attempt can
    /// last, or the next probe enters while this one is still running.
    pub fn admit(
        &mut self,
        now: Timestamp,
        policy: &BreakerPolicy,
        lease: Millis,
        rng: &mut Rng,
    ) -> Result<(Ticket, Option<Transition>), Refused> {
        self.would_admit(now, policy)?;
        let now = self.advance(now);
        let mut transition = None;
        if let Phase::Open { .. } = self.phase {
            self.enter(Phase::HalfOpen { leases: Leases::default(), successes: 0, slow: 0, early: false });
            transition = Some(Transition::HalfOpened);
        }
        let lease = match &mut self.phase {
            Phase::HalfOpen { leases, .. } => {
                let taken = leases.take(now, policy.probes.max(1), lease.max(Millis(1)));
                Some(taken.map_err(|retry_in| Refused { retry_in })?)
            }
            Phase::Closed { since, ramping: true } => {
                ramp(now.since(*since), policy.ramp, rng)?;
                None
            }
            Phase::Closed { .. } | Phase::Open { .. } => None,
        };
        Ok((Ticket { generation: self.generation, lease }, transition))
    }

    /// Tells what came of an attempt that was admitted.
    pub fn finish(
        &mut self,
        now: Timestamp,
        policy: &BreakerPolicy,
        ticket: Ticket,
        verdict: Verdict,
        rng: &mut Rng,
    ) -> Option<Transition> {
        self.finish_guarded(now, policy, ticket, verdict, true, rng)
    }

    /// The same for one of a group. While it is closed it may not open unless `may_open`: else too few of the group would be
    /// left. It goes on counting, so that it opens with the first result that would open it once it may.
    pub fn finish_guarded(
        &mut self,
        now: Timestamp,
        policy: &BreakerPolicy,
        ticket: Ticket,
        verdict: Verdict,
        may_open: bool,
        rng: &mut Rng,
    ) -> Option<Transition> {
        let now = self.advance(now);
        if ticket.generation != self.generation {
            return None;
        }
        match &self.phase {
            Phase::Closed { .. } if verdict == Verdict::Neutral => None,
            Phase::Closed { .. } => {
                let why = match policy.window {
                    Window::Buckets(span) => self.count(now, span, policy, verdict),
                    Window::Leaky => self.leak(policy, verdict),
                };
                match why {
                    Some(why) if may_open => Some(self.trip(now, policy, why, rng)),
                    // Said once, until it opens or has nothing to open for.
                    Some(why) => (!std::mem::replace(&mut self.held_off, true)).then_some(Transition::HeldOff { why }),
                    None => {
                        self.held_off = false;
                        None
                    }
                }
            }
            Phase::HalfOpen { .. } => self.judge(now, policy, ticket, verdict, rng),
            Phase::Open { .. } => None,
        }
    }

    /// As requests meet it: an open breaker past its deadline is half-open.
    pub fn state(&self, now: Timestamp) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until, .. } if now.max(self.clock) < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How much longer it is open; `None` unless it is.
    pub fn retry_in(&self, now: Timestamp) -> Option<Millis> {
        match self.phase {
            Phase::Open { until, .. } => Some(now.max(self.clock).until(until)).filter(|&left| left > Millis::ZERO),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// What the window holds.
    pub fn counts(&self, now: Timestamp) -> Counts {
        let empty = Counts { consecutive: self.consecutive, ..Counts::default() };
        self.recent.live(now.max(self.clock)).fold(empty, |sum, bucket| Counts {
            failures: sum.failures.saturating_add(bucket.failures),
            slow: sum.slow.saturating_add(bucket.slow),
            limited: sum.limited.saturating_add(bucket.limited),
            total: sum.total.saturating_add(bucket.total),
            ..sum
        })
    }

    /// A Retry-After that arrived while it is open: it stays open for at least `by` from now, `open_max` at most. Never
    /// shortens, and does nothing in any other state, nor to an operator's order.
    pub fn lengthen(&mut self, now: Timestamp, policy: &BreakerPolicy, by: Millis) {
        let now = self.advance(now);
        self.prolong(now, policy, by, by);
    }

    /// Ends its open time now: whoever asks next is a probe. Does nothing in any other state, nor to an operator's order.
    pub fn hasten(&mut self, now: Timestamp) {
        let now = self.advance(now);
        if let Phase::Open { until, by_order: false, .. } = &mut self.phase {
            *until = (*until).min(now);
        }
    }

    /// What other gateways found. Only ever adds caution: opens, or opens for longer, for at most `open_max` from now. An
    /// operator's order stands as it is, and an open time that has been ended here is over.
    pub fn open_remote(&mut self, now: Timestamp, policy: &BreakerPolicy, reported: Reported) -> Option<Transition> {
        let now = self.advance(now);
        let held = reported.held.min(reported.remaining);
        // What this gateway has told comes back to it as well, and what it told last may not have been heard by then.
        let has_ended = match self.phase {
            Phase::HalfOpen { early, .. } => early,
            Phase::Closed { since, .. } => now.since(since) < HEARD_IN,
            Phase::Open { .. } => false,
        };
        let is_over = has_ended && reported.trips <= self.exponent(now, policy);
        let open_for = if is_over { held } else { reported.remaining };
        if open_for == Millis::ZERO {
            return None;
        }
        self.openings = self.exponent(now, policy).max(reported.trips);
        match self.state(now) {
            State::Open => {
                self.prolong(now, policy, open_for, held);
                None
            }
            State::Closed | State::HalfOpen => {
                let longest = longest(policy);
                let (open_for, held) = (open_for.min(longest), held.min(longest));
                let (until, held_until) = (now + open_for, now + held);
                self.enter(Phase::Open { until, held_until, vouchers: 0, by_order: false });
                Some(Transition::Opened { open_for, why: Trip::Reported })
            }
        }
    }

    /// What is worth keeping over a restart.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let now = now.max(self.clock);
        let (closed_ms, ramping) = match self.phase {
            Phase::Closed { since, ramping } => (now.since(since), ramping),
            Phase::Open { .. } | Phase::HalfOpen { .. } => (Millis::ZERO, false),
        };
        let remaining_ms = self.retry_in(now).unwrap_or_default();
        let held_ms = self.vouchable_at().map_or(Millis::ZERO, |at| now.until(at).min(remaining_ms));
        let (state, by_order) = (self.state(now), self.is_by_order(now));
        Snapshot { state, remaining_ms, held_ms, closed_ms, ramping, trips: self.openings, by_order }
    }

    /// Takes up from a snapshot, whatever it says. Half-open begins anew, with the first probe.
    pub fn restore(snapshot: Snapshot, now: Timestamp, policy: &BreakerPolicy) -> Self {
        let phase = match snapshot.state {
            State::Closed => Phase::Closed { since: now - snapshot.closed_ms, ramping: snapshot.ramping },
            State::Open => {
                let by_order = snapshot.by_order;
                let longest = if by_order { ORDER_MAX } else { longest(policy) };
                let until = now + snapshot.remaining_ms.min(longest);
                let held_until = until.min(now + snapshot.held_ms.min(longest));
                Phase::Open { until, held_until, vouchers: 0, by_order }
            }
            State::HalfOpen => Phase::Open { until: now, held_until: now, vouchers: 0, by_order: false },
        };
        Self { clock: now, openings: snapshot.trips, phase, ..Self::new() }
    }

    /// Counts a result in the window. Every result may trip, a success too: whether the ratio is reached must not
    /// depend on the order in which results come in.
    fn count(&mut self, now: Timestamp, span: Millis, policy: &BreakerPolicy, verdict: Verdict) -> Option<Trip> {
        if !self.recent.spans(span) {
            self.recent = Buckets::new(span);
        }
        let samples = self.recent.current(now);
        match verdict {
            Verdict::Neutral => return None,
            Verdict::Success => self.consecutive = 0,
            Verdict::Slow => {
                samples.slow = samples.slow.saturating_add(1);
                self.consecutive = 0;
            }
            Verdict::Failure => {
                samples.failures = samples.failures.saturating_add(1);
                self.consecutive = self.consecutive.saturating_add(1);
            }
            Verdict::RateLimited => samples.limited = samples.limited.saturating_add(1),
        }
        samples.total = samples.total.saturating_add(1);

        let counts = self.counts(now);
        let failures = u64::from(counts.failures) + u64::from(counts.limited);
        let enough = counts.total >= policy.min_requests;
        if reaches(self.consecutive, policy.failures) {
            Some(Trip::Consecutive)
        } else if enough && reaches_share(failures, counts.total, policy.failure_rate_permille) {
            Some(Trip::FailureRate)
        } else if enough && reaches_share(counts.slow.into(), counts.total, policy.slow_rate_permille) {
            Some(Trip::SlowRate)
        } else {
            None
        }
    }

    /// Counts a result in the leaky mode. There is no ratio, so what counts in the ratio only counts nothing.
    fn leak(&mut self, policy: &BreakerPolicy, verdict: Verdict) -> Option<Trip> {
        match verdict {
            // No further than to where it trips: what comes down from there while it may not open trips nothing.
            Verdict::Failure if policy.failures > 0 => {
                self.consecutive = self.consecutive.saturating_add(1).min(policy.failures);
            }
            Verdict::Failure => self.consecutive = self.consecutive.saturating_add(1),
            Verdict::Success | Verdict::Slow => self.consecutive = self.consecutive.saturating_sub(1),
            Verdict::RateLimited | Verdict::Neutral => {}
        }
        reaches(self.consecutive, policy.failures).then_some(Trip::Consecutive)
    }

    /// Weighs a probe's result.
    ///
    /// A slow probe is no recovery where slowness trips: if it counted as success, a target that is always slow would
    /// close, trip and close again. Nor is it a failure, since one slow answer in three is nothing to stay open for.
    /// So slow probes are counted by themselves, and as many as it takes successes to close open it again.
    fn judge(
        &mut self,
        now: Timestamp,
        policy: &BreakerPolicy,
        ticket: Ticket,
        verdict: Verdict,
        rng: &mut Rng,
    ) -> Option<Transition> {
        let Phase::HalfOpen { leases, successes, slow, .. } = &mut self.phase else { return None };
        if !ticket.lease.is_some_and(|id| leases.give_back(id)) {
            return None;
        }
        let needed = policy.successes.max(1);
        let slow_trips = policy.slow_rate_permille > 0 && policy.window != Window::Leaky;
        match verdict {
            Verdict::Neutral => None,
            Verdict::Failure | Verdict::RateLimited => Some(self.trip(now, policy, Trip::Probe, rng)),
            Verdict::Slow if slow_trips => {
                *slow = slow.saturating_add(1);
                (*slow >= needed).then(|| self.trip(now, policy, Trip::SlowRate, rng))
            }
            Verdict::Success | Verdict::Slow => {
                *successes = successes.saturating_add(1);
                (*successes >= needed).then(|| self.close(now, true))
            }
        }
    }

    /// Opens for a time of its own reckoning: doubled with each opening, then somewhere in its upper half, so that many
    /// gateways that opened at one instant do not come back at one instant.
    fn trip(&mut self, now: Timestamp, policy: &BreakerPolicy, why: Trip, rng: &mut Rng) -> Transition {
        let exponent = self.exponent(now, policy);
        self.openings = exponent.saturating_add(1);
        let whole = doubled(policy.open, exponent, longest(policy)).max(Millis(1));
        let open_for = rng.between(Millis(whole.0.div_ceil(2)), whole);
        self.open(now, open_for, why)
    }

    fn open(&mut self, now: Timestamp, open_for: Millis, why: Trip) -> Transition {
        self.enter(Phase::Open { until: now + open_for, held_until: now, vouchers: 0, by_order: false });
        Transition::Opened { open_for, why }
    }

    /// Keeps it open for at least `by` from now, and for `held` whatever vouchers say.
    fn prolong(&mut self, now: Timestamp, policy: &BreakerPolicy, by: Millis, held: Millis) {
        if let Phase::Open { until, held_until, by_order: false, .. } = &mut self.phase
            && now < *until
        {
            let longest = longest(policy);
            *held_until = (*held_until).max(now + held.min(longest));
            *until = (*until).max(*held_until).max(now + by.min(longest));
        }
    }

    fn close(&mut self, now: Timestamp, ramping: bool) -> Transition {
        self.consecutive = 0;
        self.recent.clear();
        self.enter(Phase::Closed { since: now, ramping });
        Transition::Closed
    }

    fn enter(&mut self, phase: Phase) {
        self.generation = self.generation.wrapping_add(1);
        self.held_off = false;
        self.phase = phase;
    }

    /// Openings that still weigh: none once it has been closed for as long as it could have been open.
    fn exponent(&self, now: Timestamp, policy: &BreakerPolicy) -> u32 {
        match self.phase {
            Phase::Closed { since, .. } if now.since(since) >= longest(policy) => 0,
            _ => self.openings,
        }
    }

    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.clock = self.clock.max(now);
        self.clock
    }
}

/// The longest open time; a cap of zero would make "refused for zero" possible.
fn longest(policy: &BreakerPolicy) -> Millis {
    policy.open_max.max(Millis(1))
}

/// Whether a count has reached its threshold; a threshold of zero is switched off.
fn reaches(count: u32, threshold: u32) -> bool {
    threshold > 0 && count >= threshold
}

/// Whether `part` of `total` is at least so many thousandths, exactly.
fn reaches_share(part: u64, total: u32, permille: u32) -> bool {
    permille > 0 && u128::from(part) * 1000 >= u128::from(total) * u128::from(permille)
}

/// Lets a share pass that grows from a tenth to all over `whole`.
fn ramp(elapsed: Millis, whole: Millis, rng: &mut Rng) -> Result<(), Refused> {
    let left = whole - elapsed;
    if left == Millis::ZERO {
        return Ok(());
    }
    let grown = u128::from(elapsed.0) * 900 / u128::from(whole.0);
    let passes = u128::from(rng.below(1000)) < 100 + grown;
    if passes { Ok(()) } else { Err(Refused { retry_in: left.min(RAMP_RETRY_MAX) }) }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
