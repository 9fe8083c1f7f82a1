//! The ledger's tables, as both platforms make them, and how a line gets in and out.
//!
//! `ledger_days` holds the sums of each day: what a batch of lines comes to is added in the transaction that stores it ([`ADD`]),
//! so that they are right whenever the lines are, at a fraction of what a sum for each line would cost. Sums stay when their
//! lines are forgotten. There is no index on a request's name, which would cost four times what all the rest does: who may
//! tell lines twice numbers them ([`KEPT`]). Money is whole micro-dollars and a rest in picodollars: sums of neither leave
//! the 53 bits in which JavaScript counts exactly.

use super::entry::PER_MICRO;
use super::{Statement, Value};
use crate::price::Picodollars;
use crate::time::Timestamp;

/// What the tables belong to.
pub const SUBJECT: &str = "ledger";

/// How the tables came to be, in this order. Only ever appended to: databases that have taken the first steps take the others.
pub const STEPS: &[&str] = &[
    "
CREATE TABLE ledger_lines (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    request TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    client TEXT NOT NULL,
    route TEXT NOT NULL,
    target TEXT NOT NULL,
    key TEXT NOT NULL,
    outcome TEXT NOT NULL,
    stream INTEGER NOT NULL,
    probe INTEGER NOT NULL,
    input INTEGER,
    cached_input INTEGER,
    cache_write INTEGER,
    cache_write_1h INTEGER,
    output INTEGER,
    reasoning INTEGER,
    micros INTEGER,
    picos INTEGER,
    first_token INTEGER,
    took INTEGER NOT NULL
);
CREATE INDEX ledger_lines_at ON ledger_lines (at);
CREATE VIEW ledger_each AS
    SELECT id, at, at / 86400000 AS day, client, route, target, probe, 1 AS attempts, outcome = 'success' AS successes,
        micros IS NULL AS unpriced, input, cached_input, cache_write, cache_write_1h, output, reasoning, micros, picos
    FROM ledger_lines;
CREATE TABLE ledger_days (
    day INTEGER NOT NULL,
    client TEXT NOT NULL,
    route TEXT NOT NULL,
    target TEXT NOT NULL,
    probe INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cached_input INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    picos INTEGER NOT NULL,
    PRIMARY KEY (day, client, route, target, probe)
) WITHOUT ROWID;
CREATE TABLE ledger_reporters (
    reporter TEXT PRIMARY KEY,
    kept INTEGER NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
",
    "ALTER TABLE ledger_lines ADD COLUMN presumed INTEGER",
];

/// Stores a line, by [`Entry::values`](super::Entry::values).
pub const STORE: &str = "INSERT INTO ledger_lines (at, request, attempt, client, route, target, key, outcome, stream, probe, \
    input, cached_input, cache_write, cache_write_1h, output, reasoning, micros, picos, presumed, first_token, took) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Adds what a batch of lines comes to for a group of them, by [`sums`](super::sums).
pub const ADD: &str = "INSERT INTO ledger_days VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (day, client, route, target, probe) DO UPDATE SET \
        attempts = attempts + excluded.attempts, successes = successes + excluded.successes, \
        unpriced = unpriced + excluded.unpriced, input = input + excluded.input, \
        cached_input = cached_input + excluded.cached_input, cache_write = cache_write + excluded.cache_write, \
        cache_write_1h = cache_write_1h + excluded.cache_write_1h, output = output + excluded.output, \
        reasoning = reasoning + excluded.reasoning, micros = micros + excluded.micros, picos = picos + excluded.picos";

/// Before which number all lines of a reporter are stored: see [`Lines::news`](crate::keeper::Lines::news).
pub const KEPT: &str = "SELECT kept FROM ledger_reporters WHERE reporter = ?";

/// Notes that, and when.
pub const KEEP: &str = "INSERT OR REPLACE INTO ledger_reporters (reporter, kept, at) VALUES (?, ?, ?)";

/// Forgets reporters that have not been heard of since a moment.
pub const FORGET_REPORTERS: &str = "DELETE FROM ledger_reporters WHERE at < ?";

/// Forgets the oldest lines of before a moment, in milliseconds since the epoch: more than a batch brings, so that it
/// keeps up if it is done with each, and few enough to hold nobody up.
pub const FORGET: &str =
    "DELETE FROM ledger_lines WHERE id IN (SELECT id FROM ledger_lines WHERE at < ? ORDER BY at LIMIT 1000)";

/// What a client has spent from a moment on: the lines that tell, for [`spent`]. What an attempt cost that nobody knows is
/// what its budget paid for it then.
pub fn spent_since(since: Timestamp, client: &str) -> Statement {
    let sql = "SELECT coalesce(sum(micros), 0) + coalesce(sum(presumed), 0), sum(picos) \
        FROM ledger_lines WHERE at >= ? AND client = ?";
    Statement { sql: sql.to_owned(), parameters: vec![Value::number(since.0), Value::Text(client.to_owned().into())] }
}

/// The sum in the answer to [`spent_since`].
pub fn spent(rows: &[Vec<Value<'_>>]) -> Picodollars {
    let [micros, picos] = [0, 1].map(|column| rows.first().and_then(|row| row.get(column)).map_or(0, Value::as_number));
    Picodollars(micros.saturating_mul(PER_MICRO).saturating_add(picos))
}
