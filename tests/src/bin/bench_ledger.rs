//! A ledger of a million lines: how fast it is written, and how fast it answers.
//!
//! `bench_ledger [LINES]` fills a database in a temporary directory through the ledger's own statements, in batches as the
//! server writes them, and prints how long questions take: the best of five, since a question is asked of a warm cache or
//! waits for the disk, which is not what is measured. Fails if spend by client and day takes 100 ms.

use std::error::Error;
use std::time::{Duration, Instant};

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params_from_iter};
use serde_json::json;
use tidegate_core::ledger::{About, BATCH_MAX, Entry, Query, Value, schema, sums};
use tidegate_core::rng::Rng;
use tidegate_tests::gateway::Scratch;

const LINES: u64 = 1_000_000;
const DAYS: u64 = 90;
const DAY_MS: u64 = 86_400_000;
/// 2026-08-23: the first of the days.
const FIRST_DAY: u64 = 20_688;
const CLIENTS: u64 = 20;
const BY_CLIENT_AND_DAY_MAX: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let lines = std::env::args().nth(1).map_or(Ok(LINES), |lines| lines.parse())?;
    let scratch = Scratch::new();
    let mut connection = Connection::open(scratch.path().join("million.db"))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    for step in schema::STEPS {
        connection.execute_batch(step)?;
    }
    let took = fill(&mut connection, lines)?;
    println!("ledger of {lines} lines: written in {:.1} s, {:.1} µs a line", took.as_secs_f64(), micros(took, lines));
    let mut by_client_and_day = Duration::MAX;
    for (what, about, question) in [
        ("by client and day", About::Sums, "by=client,day"),
        ("by model, one month", About::Sums, "by=model&from=2026-09-01&to=2026-10-01"),
        ("by client, half a day", About::Sums, "by=client&from=2026-09-01T00:00:00Z&to=2026-09-01T12:00:00Z"),
        ("a page of lines", About::Lines, "limit=100&client=client-7"),
    ] {
        let (took, rows) = ask(&connection, about, question)?;
        println!("  {what:<24} {rows:>6} rows {:>8.2} ms", took.as_secs_f64() * 1e3);
        if question == "by=client,day" {
            by_client_and_day = took;
        }
    }
    if by_client_and_day >= BY_CLIENT_AND_DAY_MAX {
        return Err(format!("by client and day takes {by_client_and_day:?}").into());
    }
    Ok(())
}

fn micros(took: Duration, lines: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
    let lines = lines as f64;
    took.as_secs_f64() * 1e6 / lines
}

/// How long it took to write them.
fn fill(connection: &mut Connection, lines: u64) -> Result<Duration, Box<dyn Error>> {
    let mut rng = Rng::from_seed(1);
    let mut took = Duration::ZERO;
    for batch in (0..lines).step_by(BATCH_MAX) {
        let of_batch = batch..lines.min(batch + BATCH_MAX as u64);
        let entries: Vec<_> = of_batch.map(|nth| entry(&mut rng, nth, lines)).collect::<Result<_, _>>()?;
        let started = Instant::now();
        let transaction = connection.transaction()?;
        let mut store = transaction.prepare_cached(schema::STORE)?;
        let mut add = transaction.prepare_cached(schema::ADD)?;
        for entry in &entries {
            store.execute(params_from_iter(entry.values().into_iter().map(bound)))?;
        }
        for sums in sums(&entries) {
            add.execute(params_from_iter(sums.into_iter().map(bound)))?;
        }
        drop((store, add));
        transaction.commit()?;
        took += started.elapsed();
    }
    Ok(took)
}

/// One after the other through the days, by anybody, of any model.
fn entry(rng: &mut Rng, nth: u64, of: u64) -> Result<Entry<'static>, serde_json::Error> {
    let at = FIRST_DAY * DAY_MS + DAYS * DAY_MS * nth / of;
    let (client, model, route) = (rng.below(CLIENTS), rng.below(5), rng.below(3));
    let usage = json!({
        "input": rng.below(5000), "cached_input": 0, "cache_write": 0, "cache_write_1h": 0, "output": rng.below(900),
        "reasoning": 0,
    });
    serde_json::from_value(json!({
        "at": at, "request": format!("tg-{:016x}", rng.next_u64()), "attempt": 1, "client": format!("client-{client}"),
        "route": format!("route-{route}"), "target": format!("vendor/model-{model}"), "key": "VENDOR_API_KEY",
        "outcome": "success", "stream": true, "probe": false, "usage": usage, "cost": rng.below(1_000_000_000),
        "first_token": 300, "took": 4000,
    }))
}

/// The best of five, and how many rows there were.
fn ask(connection: &Connection, about: About, question: &str) -> Result<(Duration, usize), Box<dyn Error>> {
    let mut best = (Duration::MAX, 0);
    for _ in 0..5 {
        let query = Query::read(about, question, String::new()).map_err(|error| error.message)?;
        let started = Instant::now();
        let mut statement = connection.prepare(&query.statement().sql)?;
        let columns = statement.column_count();
        let parameters = query.statement().parameters.iter().cloned().map(bound);
        let mut found = statement.query(params_from_iter(parameters))?;
        let mut rows = 0;
        while let Some(row) = found.next()? {
            for column in 0..columns {
                row.get_ref(column)?;
            }
            rows += 1;
        }
        best = best.min((started.elapsed(), rows));
    }
    Ok(best)
}

fn bound(value: Value<'_>) -> Sql {
    match value {
        Value::Null => Sql::Null,
        Value::Integer(number) => Sql::Integer(number),
        Value::Text(text) => Sql::Text(text.into_owned()),
    }
}
