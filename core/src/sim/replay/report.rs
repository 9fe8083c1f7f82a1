//! What a replay has shown: the same decisions, or the first that differ; and what they would have come to.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::config::{Config, TargetId};
use crate::price::{self, Picodollars};
use crate::record::{Account, Attempt, How, Recording};
use crate::sim::RequestId;
use crate::sim::stage::Stage;
use crate::time::Millis;

/// Differences that are told; there may be as many as requests.
const DIFFERENCES_MAX: usize = 20;

/// What a replay has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Requests that were lived through again.
    pub requests: usize,
    /// Those of them with the same attempts and the same ending.
    pub identical: usize,
    /// The first of those that differ.
    pub differences: Vec<Difference>,
    /// Requests that could not be asked again, and why not: they were refused as they came, or now would be.
    pub left_out: BTreeMap<String, usize>,
    /// Requests that the recording lacks, since more ended than could be written.
    pub lost: u64,
    /// Attempts that were not made then, and were taken to end as another at about that time.
    pub guessed: usize,
    /// Attempts at targets of which nothing is recorded: they were taken to succeed.
    pub unknown: usize,
    /// What it came to then.
    pub recorded: Totals,
    /// What it comes to now.
    pub replayed: Totals,
}

/// A request that was decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which.
    pub request_id: String,
    /// What was decided then.
    pub recorded: String,
    /// And now.
    pub replayed: String,
}

/// What all requests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests that ended in an error, or in a stream that broke off.
    pub errors: usize,
    /// Attempts.
    pub attempts: usize,
    /// What they cost, in 10⁻¹² USD, as far as that is known.
    pub cost_picodollars: Picodollars,
    /// Answers whose cost is not.
    pub unpriced: usize,
    /// How long it took until an answer had come in whole, in the middle of those that were answered.
    pub p50_ms: Millis,
    /// And at most, for all but five of a hundred.
    pub p95_ms: Millis,
    /// And for all but one.
    pub p99_ms: Millis,
}

/// Compares what was with what has been lived through on this stage.
pub(super) fn compare(recording: &Recording, stage: &Stage, left_out: &BTreeMap<usize, String>) -> Report {
    let config = stage.gateway.config();
    let now: BTreeMap<&str, Account> =
        stage.gateway.records().latest().map(|record| (record.request_id.as_str(), record.account(config))).collect();
    let mut sums = Sums::of(config);
    for (index, then) in recording.requests.iter().enumerate() {
        let Some(again) = now.get(then.request_id.as_str()).filter(|_| !left_out.contains_key(&index)) else {
            *sums.report.left_out.entry(left_out.get(&index).cloned().unwrap_or_default()).or_default() += 1;
            continue;
        };
        let played = stage.past.as_ref().and_then(|past| past.played.get(&RequestId(index)));
        sums.add(then, again, played.map_or(&[][..], Vec::as_slice));
    }
    sums.report.lost = recording.lost;
    sums.end()
}

/// A report in the making.
struct Sums<'c> {
    config: &'c Config,
    report: Report,
    took_then: Vec<Millis>,
    took_now: Vec<Millis>,
}

type Deed = Option<std::sync::Arc<Attempt>>;

impl<'c> Sums<'c> {
    fn of(config: &'c Config) -> Self {
        let report = Report {
            requests: 0,
            identical: 0,
            differences: Vec::new(),
            left_out: BTreeMap::new(),
            lost: 0,
            guessed: 0,
            unknown: 0,
            recorded: Totals::default(),
            replayed: Totals::default(),
        };
        Self { config, report, took_then: Vec::new(), took_now: Vec::new() }
    }

    fn add(&mut self, then: &Account, again: &Account, played: &[Deed]) {
        let Report { recorded, replayed, requests, guessed, unknown, .. } = &mut self.report;
        *requests += 1;
        self.took_then.extend(recorded.end(then));
        self.took_now.extend(replayed.end(again));
        for attempt in &then.attempts {
            recorded.pay(attempt, attempt.cost_picodollars);
        }
        for (attempt, deed) in again.attempts.iter().zip(played) {
            // What ended otherwise than it did then has a cost that nobody knows.
            let usage = deed.as_ref().filter(|deed| deed.outcome == attempt.outcome).and_then(|deed| deed.usage);
            let id = self.config.targets.iter().position(|target| target.name == attempt.target).map(TargetId);
            let price = id.and_then(|id| self.config.price(id, then.at_ms));
            replayed.pay(attempt, usage.and_then(|usage| price::cost(price, usage)));
            let was_made = |deed: &Attempt| then.attempts.contains(deed);
            *guessed += usize::from(deed.as_ref().is_some_and(|deed| !was_made(deed)));
            *unknown += usize::from(deed.is_none());
        }
        let (recorded, replayed) = (decided(then), decided(again));
        if recorded == replayed {
            self.report.identical += 1;
        } else if self.report.differences.len() < DIFFERENCES_MAX {
            let request_id = then.request_id.clone();
            self.report.differences.push(Difference { request_id, recorded, replayed });
        }
    }

    fn end(mut self) -> Report {
        self.report.recorded.rank(self.took_then);
        self.report.replayed.rank(self.took_now);
        self.report
    }
}

impl Totals {
    /// Counts how a request ended, and says how long its answer took.
    fn end(&mut self, account: &Account) -> Option<Millis> {
        self.attempts += account.attempts.len();
        self.errors += usize::from(matches!(account.ending.how, How::Refused | How::Broken));
        matches!(account.ending.how, How::Answered | How::Cached | How::Canned).then_some(account.ending.at_ms)
    }

    fn pay(&mut self, attempt: &Attempt, cost: Option<Picodollars>) {
        match cost {
            Some(cost) => self.cost_picodollars = self.cost_picodollars.plus(cost),
            None => self.unpriced += usize::from(attempt.outcome == "success"),
        }
    }

    fn rank(&mut self, mut took: Vec<Millis>) {
        took.sort_unstable();
        let at = |percent: usize| {
            let rank = (took.len() * percent).div_ceil(100).saturating_sub(1);
            took.get(rank).copied().unwrap_or_default()
        };
        (self.p50_ms, self.p95_ms, self.p99_ms) = (at(50), at(95), at(99));
    }
}

/// What was decided, in a line: who was asked, with what key, to what end, and how it ended.
fn decided(account: &Account) -> String {
    let attempts = account.attempts.iter().map(|attempt| {
        let Attempt { target, key, outcome, .. } = attempt;
        format!("{target} ({key}): {outcome}; ")
    });
    attempts.collect::<String>() + &account.ending.to_string()
}

impl Report {
    /// Whether every decision was made again.
    pub fn is_identical(&self) -> bool {
        self.identical == self.requests
    }

    /// As a table: what another configuration would have come to.
    pub fn table(&self) -> String {
        let (then, now) = (&self.recorded, &self.replayed);
        let mut text = format!("{} requests\n\n{:<12}{:>14}{:>14}\n", self.requests, "", "recorded", "replayed");
        let mut row = |name: &str, then: String, now: String| {
            let _ = writeln!(text, "{name:<12}{then:>14}{now:>14}");
        };
        row("errors", then.errors.to_string(), now.errors.to_string());
        row("attempts", then.attempts.to_string(), now.attempts.to_string());
        row("p50 ms", then.p50_ms.0.to_string(), now.p50_ms.0.to_string());
        row("p95 ms", then.p95_ms.0.to_string(), now.p95_ms.0.to_string());
        row("p99 ms", then.p99_ms.0.to_string(), now.p99_ms.0.to_string());
        row("cost USD", then.cost_picodollars.to_string(), now.cost_picodollars.to_string());
        row("unpriced", then.unpriced.to_string(), now.unpriced.to_string());
        text + &self.remarks()
    }

    /// What is to be known about how far the replay can be trusted.
    fn remarks(&self) -> String {
        let mut text = String::new();
        let mut remark = |count: u64, what: &str| {
            if count > 0 {
                let _ = writeln!(text, "{count} {what}");
            }
        };
        remark(self.guessed as u64, "attempts were not made then: each was taken to end as another at about that time");
        remark(
            self.unknown as u64,
            "attempts went to targets of which nothing is recorded: they were taken to succeed",
        );
        remark(self.lost, "requests are missing in the recording: more ended than could be written");
        for (why, count) in &self.left_out {
            remark(*count as u64, &format!("requests left out: {why}"));
        }
        text
    }
}

/// Whether the same was decided, and what was not.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests, {} identical", self.requests, self.identical)?;
        for Difference { request_id, recorded, replayed } in &self.differences {
            writeln!(f, "\n{request_id}\n  recorded  {recorded}\n  replayed  {replayed}")?;
        }
        f.write_str(&self.remarks())
    }
}
