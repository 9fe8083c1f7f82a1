//! What an operator orders: it stands above all that the breaker finds out by itself.
//!
//! A target that was taken out for maintenance must stay out, whatever a last resort, a good word of a probe or another
//! gateway says, and for as long as was ordered, which may be much longer than it would ever open by itself. When the time
//! is over it comes back as from any other open time: through its probes.

use serde::{Deserialize, Serialize};

use super::{Breaker, Phase, State, Transition, Trip};
use crate::config::BreakerPolicy;
use crate::time::{Millis, Timestamp};

/// The longest that an order keeps a breaker open: whoever wants it longer takes the target out of the config.
pub const ORDER_MAX: Millis = Millis::from_secs(24 * 3600);

/// What an operator orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Nothing passes for so long, 24 hours at most.
    Open(Millis),
    /// Everything passes. If it opens again, it does so for as long as it would have.
    Close,
    /// As new: everything passes, and nothing is held against it.
    Reset,
}

impl Breaker {
    /// Does what an operator orders.
    pub fn obey(&mut self, now: Timestamp, policy: &BreakerPolicy, order: Order) -> Option<Transition> {
        match order {
            Order::Open(open_for) => Some(self.force_open(now, policy, open_for)),
            Order::Close => self.force_close(now),
            Order::Reset => self.reset(now),
        }
    }

    /// Whether it is open because an operator ordered it.
    pub fn is_by_order(&self, now: Timestamp) -> bool {
        matches!(self.phase, Phase::Open { until, by_order: true, .. } if now.max(self.clock) < until)
    }

    /// Makes it as new where a route has no other way out, unless an operator keeps it open.
    pub fn relent(&mut self, now: Timestamp) -> Option<Transition> {
        if self.is_by_order(now) { None } else { self.reset(now) }
    }

    /// Opens it by order, for `open_for` from now. Does not count as an opening.
    fn force_open(&mut self, now: Timestamp, policy: &BreakerPolicy, open_for: Millis) -> Transition {
        let now = self.advance(now);
        self.openings = self.exponent(now, policy);
        let open_for = open_for.clamp(Millis(1), ORDER_MAX);
        let until = now + open_for;
        self.enter(Phase::Open { until, held_until: until, vouchers: 0, by_order: true });
        Transition::Opened { open_for, why: Trip::Forced }
    }

    /// Closes it by order, for all traffic at once.
    fn force_close(&mut self, now: Timestamp) -> Option<Transition> {
        let now = self.advance(now);
        if let Phase::Closed { ramping, .. } = &mut self.phase {
            *ramping = false;
            return None;
        }
        Some(self.close(now, false))
    }

    /// Makes it as new. Results of attempts that are still running will not count.
    fn reset(&mut self, now: Timestamp) -> Option<Transition> {
        let now = self.advance(now);
        let was_closed = self.state(now) == State::Closed;
        self.openings = 0;
        let transition = self.close(now, false);
        (!was_closed).then_some(transition)
    }
}
