//! How often each route's streams were brought to their end by another target than the one that began them.

use super::Gateway;
use crate::config::RouteId;

impl Gateway {
    /// A stream was rescued.
    pub(crate) fn note_rescue(&mut self, route: RouteId) {
        self.rescued[route.0] += 1;
    }

    /// A route's rescued streams, for status pages.
    pub(crate) fn rescued(&self, route: RouteId) -> u64 {
        self.rescued[route.0]
    }
}
