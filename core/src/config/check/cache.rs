//! `[routes.NAME.cache]`: that the table is there has answers kept.

use crate::config::CachePolicy;
use crate::config::reader::Table;
use crate::config::values::{boolean, duration, size};
use crate::time::Millis;

const LONGEST: Millis = Millis::from_secs(30 * 24 * 60 * 60);
const SIZE: u64 = 64 << 20;
const SIZE_MAX: u64 = 16 << 30;

/// Reads the table, if it is there.
pub(super) fn read(route: &mut Table<'_>) -> Option<CachePolicy> {
    route.table("cache", &[], |cache| CachePolicy {
        ttl: cache.read("ttl", duration(Millis(1)..=LONGEST)).unwrap_or(Millis::from_secs(60 * 60)),
        size: cache.read("size", size(1..=SIZE_MAX)).unwrap_or(SIZE),
        shared: cache.read("shared", boolean).unwrap_or(false),
    })
}
