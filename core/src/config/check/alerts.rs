//! `[alerts]`: that the table is there switches alerts on.

use super::policies::{DAY, SPAN, remainder};
use super::queue::url;
use crate::config::AlertPolicy;
use crate::config::reader::Table;
use crate::config::values::{duration, integer};
use crate::time::Millis;

/// Reads the table, if it is there.
pub(super) fn read(root: &mut Table<'_>) -> Option<AlertPolicy> {
    const COUNT_MAX: u32 = 1_000_000;
    const FIVE_MINUTES: Millis = Millis::from_secs(300);
    // A bucket is a tenth of the window; and an alert that comes and goes within less than this is none.
    let lasts = || duration(Millis(100)..=DAY);
    root.table("alerts", &[], |alerts| AlertPolicy {
        first_token: alerts.read("first_token", duration(SPAN)),
        answer: alerts.read("answer", duration(SPAN)),
        error_rate_permille: alerts.read("error_rate", remainder),
        failures: alerts.read("failures", integer(1..=COUNT_MAX)),
        window: alerts.read("window", lasts()).unwrap_or(FIVE_MINUTES),
        min_requests: alerts.read("min_requests", integer(1..=COUNT_MAX)).unwrap_or(20),
        clear_after: alerts.read("clear_after", lasts()).unwrap_or(FIVE_MINUTES),
        webhook: url(alerts, "webhook"),
    })
}
