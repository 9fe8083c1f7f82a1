//! `[store]`: that the table is there switches the ledger on.

use crate::config::reader::{Field, Refusal, Table};
use crate::config::values::{choice, duration, integer, text};
use crate::config::{Client, StoreKind, StorePolicy};
use crate::time::Millis;

const DAY: Millis = Millis::from_secs(24 * 3600);

/// Reads the table, if it is there. What `clients` have spent of their budgets has to be known for as long as these last.
pub(super) fn read(root: &mut Table<'_>, clients: &[Client]) -> Option<StorePolicy> {
    root.table("store", &[], |store| {
        let kinds = [("memory", StoreKind::Memory), ("sqlite", StoreKind::Sqlite)];
        let policy = StorePolicy {
            kind: store.required("kind", "\"sqlite\"", choice(&kinds, &[])).unwrap_or(StoreKind::Memory),
            path: store.read("path", path).unwrap_or_else(|| "tidegate.db".to_owned()),
            // Longer than a minute and it is no longer a batch that is at stake, but an account.
            flush: store.read("flush", duration(Millis(10)..=Millis::from_secs(60))).unwrap_or(Millis(200)),
            // A line waiting takes some 250 bytes.
            lines_max: store.read("lines_max", integer(100..=1_000_000)).unwrap_or(10_000),
            keep: store.read("keep", duration(DAY..=Millis(3660 * DAY.0))).unwrap_or(Millis(90 * DAY.0)),
        };
        let outlasts = |client: &&Client| client.budget.is_some_and(|budget| budget.period > policy.keep);
        if let Some(client) = clients.iter().find(outlasts) {
            let problem = format!("lines are forgotten before a period of the budget of `{}` is over", client.name);
            store.refuse(problem, "Write a `keep` that is as long as the period.");
        }
        policy
    })
}

fn path(field: &Field<'_>) -> Result<String, Refusal> {
    match text(field)? {
        "" => Err(Refusal::new("no file has this name", "Write a path such as \"tidegate.db\".")),
        path => Ok(path.to_owned()),
    }
}
