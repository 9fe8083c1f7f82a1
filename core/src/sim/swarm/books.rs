//! Whether the ledger adds up: at every moment, whatever has come in between.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::TargetId;
use crate::gateway::{Gateway, Spending};
use crate::time::Timestamp;

/// All lines that were taken from a gateway.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// By target: how many attempts, and what they cost.
    sums: BTreeMap<TargetId, (u64, Spending)>,
    /// Requests with the numbers of their attempts.
    names: BTreeSet<(String, u32)>,
}

impl Books {
    /// Takes the lines that wait. Then each attempt that is over has one, and they add up to what was spent.
    pub(super) fn check(&mut self, now: Timestamp, gateway: &mut Gateway) {
        for line in gateway.take_lines(now, usize::MAX) {
            let (attempts, spending) = self.sums.entry(line.target).or_default();
            *attempts += 1;
            match line.cost {
                Some(cost) => spending.known = spending.known.plus(cost),
                None => spending.unpriced += 1,
            }
            let (request, attempt) = (line.request_id, line.attempt);
            assert!(!request.is_empty() && attempt > 0, "a line says whose it is");
            assert!(self.names.insert((request.clone(), attempt)), "attempt {attempt} of {request} has two lines");
        }
        for id in (0..gateway.config().targets.len()).map(TargetId) {
            let (lines, sum) = self.sums.get(&id).copied().unwrap_or_default();
            let name = &gateway.config().target(id).name;
            assert_eq!(lines, gateway.stats(id).tally().settled(), "each attempt at {name} that is over has a line");
            assert_eq!(sum, gateway.spending(id), "the lines of {name} add up");
        }
    }
}
