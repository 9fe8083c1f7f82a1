//! `rpm`, `tpm`, `concurrency` and `budget`: what may be used, and what may be spent.

use crate::config::reader::Table;
use crate::config::values::{duration, integer, permille, usd};
use crate::config::{BudgetPolicy, Limits};
use crate::time::Millis;

/// Half the budget and half again is warning enough for most: a write-up's alert at four fifths of it.
const SOFT_PERMILLE: u32 = 800;

/// The limits of a client or a key.
pub(super) fn read(table: &mut Table<'_>) -> Limits {
    const AT_ONCE_MAX: u32 = 100_000;
    let concurrency = table.read("concurrency", integer(1..=AT_ONCE_MAX));
    Limits { concurrency, ..per_minute(table, Limits::default()) }
}

/// The limits of a model, or of those that have none of their own.
pub(super) fn per_minute(table: &mut Table<'_>, base: Limits) -> Limits {
    Limits {
        rpm: table.read("rpm", integer(1..=u32::MAX)).or(base.rpm),
        tpm: table.read("tpm", integer(1..=u32::MAX)).or(base.tpm),
        ..base
    }
}

/// What a client may spend. `None`: it cannot be read.
pub(super) fn budget(table: &mut Table<'_>) -> Option<BudgetPolicy> {
    const YEAR: Millis = Millis::from_secs(366 * 86_400);
    let limit = table.required("usd", "50.0", usd);
    let period = table.required("per", "\"1d\"", duration(Millis::from_secs(60)..=YEAR));
    let soft_permille = table.read("soft", permille).unwrap_or(SOFT_PERMILLE);
    Some(BudgetPolicy { limit: limit?, period: period?, soft_permille })
}
