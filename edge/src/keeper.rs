//! The keeper as a Durable Object: one for each region, which outlives the isolates that report to it.

use std::cell::RefCell;

use tidegate_core::keeper::{Keeper as Merged, Report};
use tidegate_core::time::Timestamp;
use worker::{DurableObject, Env, Method, Request, Response, Result, SqlStorage, State, console_error, durable_object};

use crate::ledger::{self, Question};
use crate::{clock, js};

/// Merges what isolates report, and answers with what they should know.
#[durable_object(fetch)]
pub struct Keeper {
    state: State,
    sql: SqlStorage,
    merged: RefCell<Merged>,
}

impl DurableObject for Keeper {
    fn new(state: State, _env: Env) -> Self {
        let sql = state.storage().sql();
        let merged = load(&sql).unwrap_or_else(|error| {
            console_error!("the keeper's state cannot be loaded: {error}");
            None
        });
        if let Err(error) = ledger::open(&sql) {
            console_error!("the ledger cannot be opened: {error}");
        }
        Self { state, sql, merged: RefCell::new(merged.unwrap_or_default()) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let (report, statement) = match (request.method(), request.path().as_str()) {
            (Method::Post, ledger::PATH) => {
                let question: Question = serde_json::from_str(&request.text().await?)?;
                (question.report, Some(question.statement))
            }
            (Method::Post, _) => (Some(serde_json::from_str::<Report>(&request.text().await?)?), None),
            _ => (None, None),
        };
        let now = clock::now();
        // Whoever has nothing to report says in the path as whom it asks.
        let asker = || request.path().trim_start_matches('/').parse().ok();
        let reporter = report.as_ref().map(|report| report.reporter).or_else(asker);
        if let Some(report) = report {
            self.handle_report(now, &report)?;
        }
        match statement {
            Some(statement) => Response::from_json(&ledger::ask(&self.sql, &statement)?),
            None => Response::from_json(&self.merged.borrow().view_for(now, reporter)),
        }
    }
}

impl Keeper {
    fn handle_report(&self, now: Timestamp, report: &Report) -> Result<()> {
        let mut merged = self.merged.borrow_mut();
        if merged.handle_report(now, report) {
            self.sql.exec("INSERT OR REPLACE INTO keeper (id, state) VALUES (0, ?)", vec![merged.to_json().into()])?;
        }
        match &report.lines {
            // A line without its number would be billed again when it is told again.
            Some(lines) => {
                let mut store = || Ok(ledger::store(&self.sql, now, report.reporter, lines)?);
                Ok(js::at_once(self.state.as_raw(), &mut store)?)
            }
            None => Ok(()),
        }
    }
}

/// What was stored last; the one row there is holds all of it, under a version of the core's.
fn load(sql: &SqlStorage) -> Result<Option<Merged>> {
    sql.exec("CREATE TABLE IF NOT EXISTS keeper (id INTEGER PRIMARY KEY CHECK (id = 0), state TEXT NOT NULL)", None)?;
    let row = sql.exec("SELECT state FROM keeper", None)?.raw().next().transpose()?;
    Ok(row.and_then(|row| match row.into_iter().next() {
        Some(worker::SqlStorageValue::String(state)) => Some(Merged::from_json(&state)),
        _ => None,
    }))
}
