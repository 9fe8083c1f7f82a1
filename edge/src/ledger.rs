//! The ledger at the edge: lines go to the keeper of their region with an isolate's reports, and questions follow them there.

use std::borrow::Cow;

use js_sys::futures::JsFuture;
use serde::{Deserialize, Serialize};
use tidegate_core::keeper::{Lines, Report};
use tidegate_core::ledger::{Query, Statement, Value, schema, sums};
use tidegate_core::reply::Reply;
use tidegate_core::time::Timestamp;
use worker::{Result, SqlStorage, SqlStorageValue, console_error};

use crate::isolate::Visit;
use crate::{clock, js};

/// Where the keeper is asked.
pub(crate) const PATH: &str = "/ledger";

/// What an isolate asks the keeper's ledger, after all that it has to tell.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) report: Option<Report>,
    pub(crate) statement: Statement,
}

impl Visit {
    /// Has the keeper answer, with all that has come to an end in this isolate by now.
    pub(crate) async fn ask_ledger(&self, query: Query) -> Reply {
        let now = clock::now();
        let report = self.gateway().poll_lines(now);
        let until = report.as_ref().and_then(Report::lines_until);
        let question = Question { report, statement: query.statement().clone() };
        let question = serde_json::to_string(&question).expect("our own types always have a JSON form");
        match self.told(&question).await {
            Ok(rows) => {
                if let Some(until) = until {
                    self.gateway().lines_kept(until);
                }
                query.answer(&rows)
            }
            Err(why) => {
                console_error!("the ledger cannot be read: {why}");
                query.failed()
            }
        }
    }

    async fn told(&self, question: &str) -> std::result::Result<Vec<Vec<Value<'static>>>, String> {
        let namespace = self.keepers().map_err(|error| js::message(&error))?;
        let answer = JsFuture::from(js::ask_keeper(&namespace, self.region(), PATH, Some(question))).await;
        let answer = answer.map_err(|error| js::message(&error))?.as_string().unwrap_or_default();
        serde_json::from_str(&answer).map_err(|error| error.to_string())
    }
}

/// Makes the keeper's tables what they should be.
pub(crate) fn open(sql: &SqlStorage) -> Result<()> {
    const STEPS: &str = "CREATE TABLE IF NOT EXISTS store_steps (subject TEXT PRIMARY KEY, taken INTEGER NOT NULL)";
    sql.exec(STEPS, None)?;
    let subject = || SqlStorageValue::from(schema::SUBJECT);
    let taken =
        sql.exec("SELECT taken FROM store_steps WHERE subject = ?", vec![subject()])?.raw().next().transpose()?;
    let taken = match taken.and_then(|row| row.into_iter().next()) {
        Some(SqlStorageValue::Integer(taken)) => usize::try_from(taken).unwrap_or(0),
        _ => 0,
    };
    // Without an await in between, all of it is stored or nothing.
    for step in schema::STEPS.iter().skip(taken) {
        sql.exec(step, None)?;
    }
    if taken < schema::STEPS.len() {
        let known = SqlStorageValue::Integer(i64::try_from(schema::STEPS.len()).unwrap_or(i64::MAX));
        sql.exec("INSERT OR REPLACE INTO store_steps (subject, taken) VALUES (?, ?)", vec![subject(), known])?;
    }
    Ok(())
}

/// Stores lines of a reporter, each once, however often it is told; to be done in one transaction.
pub(crate) fn store(sql: &SqlStorage, now: Timestamp, reporter: u64, lines: &Lines) -> Result<()> {
    let number = |number: u64| SqlStorageValue::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let reporter = || SqlStorageValue::String(reporter.to_string());
    let oldest = || number((now - lines.keep_ms).0);
    let kept = first(sql, schema::KEPT, vec![reporter()])?;
    let news = lines.news(kept.unwrap_or(0));
    if news.is_empty() {
        return Ok(());
    }
    for entry in news {
        sql.exec(schema::STORE, entry.values().iter().map(bound).collect::<Vec<_>>())?;
    }
    for sums in sums(news) {
        sql.exec(schema::ADD, sums.iter().map(bound).collect::<Vec<_>>())?;
    }
    sql.exec(schema::KEEP, vec![reporter(), number(lines.until), number(now.0)])?;
    sql.exec(schema::FORGET, vec![oldest()])?;
    if kept.is_none() {
        sql.exec(schema::FORGET_REPORTERS, vec![oldest()])?;
    }
    Ok(())
}

/// The one number that a statement asks for, if there is one.
fn first(sql: &SqlStorage, statement: &str, parameters: Vec<SqlStorageValue>) -> Result<Option<u64>> {
    let row = sql.exec(statement, parameters)?.raw().next().transpose()?;
    Ok(match row.and_then(|row| row.into_iter().next()) {
        Some(SqlStorageValue::Integer(number)) => u64::try_from(number).ok(),
        _ => None,
    })
}

/// The rows that answer a statement.
pub(crate) fn ask(sql: &SqlStorage, statement: &Statement) -> Result<Vec<Vec<Value<'static>>>> {
    let parameters: Vec<_> = statement.parameters.iter().map(bound).collect();
    let rows = sql.exec(&statement.sql, parameters)?.raw();
    rows.map(|row| Ok(row?.into_iter().map(value).collect())).collect()
}

fn bound(value: &Value<'_>) -> SqlStorageValue {
    match value {
        Value::Null => SqlStorageValue::Null,
        Value::Integer(number) => SqlStorageValue::Integer(*number),
        Value::Text(text) => SqlStorageValue::String(text.clone().into_owned()),
    }
}

fn value(cell: SqlStorageValue) -> Value<'static> {
    match cell {
        SqlStorageValue::Integer(number) => Value::Integer(number),
        SqlStorageValue::String(text) => Value::Text(Cow::Owned(text)),
        SqlStorageValue::Boolean(is) => Value::Integer(is.into()),
        // The ledger has neither.
        SqlStorageValue::Null | SqlStorageValue::Float(_) | SqlStorageValue::Blob(_) => Value::Null,
    }
}
