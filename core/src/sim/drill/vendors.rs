//! What vendors are taken to be like in a drill.
//!
//! Speeds, failures and limits are those that two well-known write-ups measured (1000 requests, 50 at a time), by parts of a
//! model's name; a model that they do not know is as their middle one. Of a failure's kinds each is as likely: 500, 503 and a
//! broken connection. Prompts have 500 tokens and answers 250 on average.

use crate::config::{Config, TargetId};
use crate::sim::{Limits, Profile};

/// A row of the write-ups' tables.
struct Row {
    /// What a model's name holds.
    part: &'static str,
    mean_ms: u64,
    p95_ms: u64,
    /// In 1/10 000.
    failures: u32,
    /// Requests and tokens a minute.
    limits: (u32, u32),
}

/// The first whose part is in a name counts.
const ROWS: [Row; 6] = [
    Row { part: "deepseek", mean_ms: 850, p95_ms: 1200, failures: 30, limits: (2000, 1_000_000) },
    Row { part: "gemini", mean_ms: 950, p95_ms: 1500, failures: 50, limits: (1000, 500_000) },
    Row { part: "mini", mean_ms: 1100, p95_ms: 1800, failures: 20, limits: (100, 75_000) },
    Row { part: "claude", mean_ms: 1300, p95_ms: 2200, failures: 40, limits: (400, 120_000) },
    Row { part: "gpt", mean_ms: 1800, p95_ms: 3500, failures: 10, limits: (500, 150_000) },
    Row { part: "", mean_ms: 1100, p95_ms: 1800, failures: 20, limits: (100, 75_000) },
];

/// A target on an ordinary day.
pub fn profile(name: &str) -> Profile {
    let row = row(name);
    let usual = Profile::new(row.mean_ms, row.p95_ms);
    Profile { failures_per_myriad: row.failures, ..usual }
}

/// What a target takes in a minute: at least twice what is usual, or an ordinary day would be a disaster.
pub(super) fn limits(config: &Config, id: TargetId, usual_per_minute: u32) -> Limits {
    let name = &config.target(id).name;
    let (requests, tokens) = row(name).limits;
    let usual = profile(name);
    let twice = usual_per_minute.saturating_mul(2);
    Limits {
        requests: requests.max(twice),
        tokens: tokens.max(twice.saturating_mul(usual.prompt_tokens + usual.tokens)),
    }
}

fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| name.contains(row.part)).expect("the last row's part is in every name")
}
