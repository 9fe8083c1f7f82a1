//! `[routes.NAME.hedge]`: that the table is there switches hedging on.

use crate::config::document::Value;
use crate::config::reader::{Field, Refusal, Table};
use crate::config::values::{duration, integer, permille};
use crate::config::{HedgeAfter, HedgePolicy};
use crate::time::Millis;

/// Longer than this, and a route's other limits in time are what is meant.
const LONGEST: Millis = Millis::from_secs(3600);

/// Reads the table, if it is there.
pub(super) fn read(route: &mut Table<'_>) -> Option<HedgePolicy> {
    route.table("hedge", &[], |hedge| {
        let measured = HedgeAfter::Measured {
            min: hedge.read("after_min", duration(Millis::ZERO..=LONGEST)).unwrap_or(AFTER_MIN),
            samples: hedge.read("min_samples", integer(1..=1_000_000)).unwrap_or(MIN_SAMPLES),
        };
        let fixed = hedge.read("after", after).flatten();
        let after = fixed.map_or(measured, HedgeAfter::Fixed);
        HedgePolicy { after, share_permille: hedge.read("share", permille).unwrap_or(SHARE_PERMILLE) }
    })
}

/// A p95 below this is not worth a second request.
const AFTER_MIN: Millis = Millis(50);

/// Fewer samples say little about their slowest twentieth.
const MIN_SAMPLES: u32 = 20;

/// As many as take longer than their 95th percentile.
const SHARE_PERMILLE: u32 = 50;

/// A set time; none for `"p95"`.
fn after(field: &Field<'_>) -> Result<Option<Millis>, Refusal> {
    match field.value() {
        Value::Text(text) if text == "p95" => Ok(None),
        _ => duration(Millis(1)..=LONGEST)(field)
            .map(Some)
            .map_err(|refusal| Refusal::new(refusal.problem, format!("{} Or write \"p95\".", refusal.remedy))),
    }
}
