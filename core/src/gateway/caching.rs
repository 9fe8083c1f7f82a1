//! Answers that routes keep.

use super::Gateway;
use crate::cache::{Cache, Kept, Key};
use crate::config::{Config, RouteId};
use crate::time::Timestamp;

impl Gateway {
    /// The answer that a route keeps for this key.
    pub(crate) fn kept(&mut self, now: Timestamp, route: RouteId, key: Key) -> Option<Kept> {
        self.caches[route.0].as_mut()?.find(now, key)
    }

    /// Keeps an answer for a route that wants it.
    pub(crate) fn keep(&mut self, route: RouteId, key: Key, kept: Kept) {
        if let Some(cache) = &mut self.caches[route.0] {
            cache.keep(key, kept);
        }
    }
}

/// By [`RouteId`]; none for a route that keeps nothing.
pub(super) fn caches(config: &Config) -> Vec<Option<Cache>> {
    let caches = config.routes.iter().map(|route| {
        let policy = route.cache.as_ref()?;
        Some(Cache::new(policy.ttl, usize::try_from(policy.size).unwrap_or(usize::MAX)))
    });
    caches.collect()
}
