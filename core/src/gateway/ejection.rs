//! How many of a route's targets may be shut off at once.
//!
//! What shuts off one target after the other is often not theirs: the network, a region, a bad prompt that all of them
//! choke on. A route may say how many it can spare; the last ones then stay in, however often they fail, and some answers
//! are better than none. An operator's order is obeyed all the same, and counts.

use super::Gateway;
use crate::breaker::State;
use crate::config::{BreakerId, RouteId};
use crate::time::Timestamp;

impl Gateway {
    /// The route that could not spare one more target, if this breaker opened as well. One that is half-open has not been
    /// given back yet. Asked of a breaker that is closed.
    pub(super) fn holder(&self, now: Timestamp, id: BreakerId) -> Option<RouteId> {
        let routes = &self.config.routes;
        self.config.guard(id).capped_by.iter().copied().find(|route| {
            let route = &routes[route.0];
            let others = route.candidates.iter().map(|candidate| candidate.breaker).filter(|&other| other != id);
            let ejected = others.filter(|other| self.breaker(*other).state(now) != State::Closed).count();
            ejected + 1 > route.ejected_max()
        })
    }
}
