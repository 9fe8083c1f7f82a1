//! The ledger's tables, as both platforms make them, and how a line gets in and out.
//!
//! `ledger_days` holds the sums of each day. A trigger keeps them, within the transaction that stores a line: so they are right
//! whenever a line is, and a line that is stored a second time, which is no insertion, counts once. Sums stay when their
//! lines are forgotten. Money is whole micro-dollars and a rest in picodollars: sums of neither leave the 53 bits in which
//! JavaScript counts exactly.

use super::entry::PER_MICRO;
use super::{Statement, Value};
use crate::price::Picodollars;
use crate::time::Timestamp;

/// What the tables belong to.
pub const SUBJECT: &str = "ledger";

/// How the tables came to be, in this order. Only ever appended to: databases that have taken the first steps take the others.
pub const STEPS: &[&str] = &["
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
    took INTEGER NOT NULL,
    UNIQUE (request, attempt)
);
CREATE INDEX ledger_lines_at ON ledger_lines (at);
CREATE VIEW ledger_each AS
    SELECT at, at / 86400000 AS day, client, route, target, probe, 1 AS attempts, outcome = 'success' AS successes,
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
CREATE TRIGGER ledger_sums AFTER INSERT ON ledger_lines BEGIN
    INSERT INTO ledger_days VALUES (
        NEW.at / 86400000, NEW.client, NEW.route, NEW.target, NEW.probe, 1, NEW.outcome = 'success', NEW.micros IS NULL,
        coalesce(NEW.input, 0), coalesce(NEW.cached_input, 0), coalesce(NEW.cache_write, 0),
        coalesce(NEW.cache_write_1h, 0), coalesce(NEW.output, 0), coalesce(NEW.reasoning, 0),
        coalesce(NEW.micros, 0), coalesce(NEW.picos, 0)
    ) ON CONFLICT (day, client, route, target, probe) DO UPDATE SET
        attempts = attempts + 1, successes = successes + excluded.successes, unpriced = unpriced + excluded.unpriced,
        input = input + excluded.input, cached_input = cached_input + excluded.cached_input,
        cache_write = cache_write + excluded.cache_write, cache_write_1h = cache_write_1h + excluded.cache_write_1h,
        output = output + excluded.output, reasoning = reasoning + excluded.reasoning,
        micros = micros + excluded.micros, picos = picos + excluded.picos;
END;
"];

/// Stores a line, by [`Entry::values`](super::Entry::values), once: whoever does not know whether it was may do it again.
pub const STORE: &str = "INSERT INTO ledger_lines (at, request, attempt, client, route, target, key, outcome, stream, probe, \
    input, cached_input, cache_write, cache_write_1h, output, reasoning, micros, picos, first_token, took) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request, attempt) DO NOTHING";

/// Forgets the oldest lines of before a moment, in milliseconds since the epoch: more than a batch brings, so that it
/// keeps up if it is done with each, and few enough to hold nobody up.
pub const FORGET: &str =
    "DELETE FROM ledger_lines WHERE id IN (SELECT id FROM ledger_lines WHERE at < ? ORDER BY at LIMIT 1000)";

/// What a client has spent from a moment on: the lines that tell, for [`spent`].
pub fn spent_since(since: Timestamp, client: &str) -> Statement {
    let sql = "SELECT sum(micros), sum(picos) FROM ledger_lines WHERE at >= ? AND client = ?".to_owned();
    Statement { sql, parameters: vec![Value::number(since.0), Value::Text(client.to_owned().into())] }
}

/// The sum in the answer to [`spent_since`].
pub fn spent(rows: &[Vec<Value<'_>>]) -> Picodollars {
    let [micros, picos] = [0, 1].map(|column| rows.first().and_then(|row| row.get(column)).map_or(0, Value::as_number));
    Picodollars(micros.saturating_mul(PER_MICRO).saturating_add(picos))
}
