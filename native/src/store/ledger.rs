//! The ledger's part of the store: a thread of its own writes lines, many in one commit, off every request's way.
//!
//! What is not written yet waits in the gateway, which bounds it. So a process that is killed loses what came within
//! `store.flush` and the commit that follows: what a commit has taken in is there. A commit that fails has taken in nothing
//! and is made again with the same lines; until it succeeds others wait, as far as `store.lines_max` lets them.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params_from_iter};
use tidegate_core::config::{Config, StorePolicy};
use tidegate_core::gateway::Gateway;
use tidegate_core::ledger::{BATCH_MAX, Entry, Line, Statement, Value, schema, sums};
use tidegate_core::time::Timestamp;
use tracing::{error, info};

use super::{Durability, Store, StoreError, Subject};
use crate::app::App;
use crate::clock;
use crate::tend::{REST, caught};

const TABLES: Subject = Subject {
    name: schema::SUBJECT,
    steps: schema::STEPS,
    // What a crash of the machine may lose is bounded by the disk's own pace, and it costs no wait for the disk.
    durability: Durability::Process,
};

/// The ledger in the database.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Writing>);

#[derive(Debug)]
struct Writing {
    connection: Connection,
    /// Taken from the gateway, and not in the database yet.
    unwritten: Vec<Line>,
    /// Whether the last commit failed, which has been told.
    is_stuck: bool,
}

/// The thread that writes. Dropping it writes what there still is.
pub(crate) struct Writer {
    /// Closed when it is to end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Makes the tables what they should be.
    pub(crate) fn open(store: &Store) -> Result<Self, StoreError> {
        let connection = store.connect(&TABLES)?;
        Ok(Self(Mutex::new(Writing { connection, unwritten: Vec::new(), is_stuck: false })))
    }

    /// Tells a gateway that begins what its clients have spent of the budgets of this period.
    pub(crate) fn restore(&self, now: Timestamp, gateway: &mut Gateway) -> rusqlite::Result<()> {
        let writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let config = Arc::clone(gateway.config());
        for client in &config.clients {
            let Some(since) = gateway.budget_began(now, &client.name) else { continue };
            let rows = ask(&writing.connection, &schema::spent_since(since, &client.name))?;
            gateway.restore_spent(now, &client.name, since, schema::spent(&rows));
        }
        Ok(())
    }

    /// Writes all lines that wait.
    pub(crate) fn flush(&self, app: &App) {
        let Some(policy) = &app.config.store else { return };
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What a commit that failed has left goes first, and alone.
        let mut goes_on = writing.commit(&app.config, policy);
        while goes_on {
            let now = clock::now();
            writing.unwritten = app.with_gateway(|gateway| gateway.take_lines(now, BATCH_MAX));
            let is_last = writing.unwritten.len() < BATCH_MAX;
            goes_on = writing.commit(&app.config, policy) && !is_last;
        }
    }

    /// Writes all lines that wait, for the last time. Says how many could not be, and are lost.
    fn close(&self, app: &App) -> usize {
        self.flush(app);
        let waiting = app.with_gateway(|gateway| gateway.take_lines(clock::now(), usize::MAX));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unwritten.len() + waiting.len()
    }
}

impl Writing {
    /// Writes a batch. Says whether it is in the database.
    fn commit(&mut self, config: &Config, policy: &StorePolicy) -> bool {
        if self.unwritten.is_empty() {
            return true;
        }
        let written = write(&mut self.connection, &self.unwritten, config, policy);
        match &written {
            Ok(()) => {
                self.unwritten.clear();
                if std::mem::take(&mut self.is_stuck) {
                    info!("the ledger is written again");
                }
            }
            Err(why) if !self.is_stuck => {
                self.is_stuck = true;
                let max = policy.lines_max;
                error!("the ledger cannot be written: {why}. {max} lines may wait, those beyond are lost");
            }
            Err(_) => {}
        }
        written.is_ok()
    }
}

fn write(connection: &mut Connection, lines: &[Line], config: &Config, policy: &StorePolicy) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let entries: Vec<Entry<'_>> = lines.iter().map(|line| Entry::of(line, config)).collect();
    store(&transaction, &entries)?;
    let oldest = Value::Integer(i64::try_from((clock::now() - policy.keep).0).unwrap_or(i64::MAX));
    transaction.prepare_cached(schema::FORGET)?.execute([Bound(&oldest)])?;
    transaction.commit()
}

/// Stores a batch, and adds it to the sums of its days.
fn store(connection: &Connection, entries: &[Entry<'_>]) -> rusqlite::Result<()> {
    let mut store = connection.prepare_cached(schema::STORE)?;
    for entry in entries {
        store.execute(params_from_iter(entry.values().iter().map(Bound)))?;
    }
    let mut add = connection.prepare_cached(schema::ADD)?;
    for sums in sums(entries) {
        add.execute(params_from_iter(sums.iter().map(Bound)))?;
    }
    Ok(())
}

/// What the ledger answers.
pub(crate) fn ask(connection: &Connection, statement: &Statement) -> rusqlite::Result<Vec<Vec<Value<'static>>>> {
    let mut asked = connection.prepare(&statement.sql)?;
    let columns = asked.column_count();
    let mut found = asked.query(params_from_iter(statement.parameters.iter().map(Bound)))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let cells = (0..columns).map(|column| row.get_ref(column).map(value));
        rows.push(cells.collect::<rusqlite::Result<_>>()?);
    }
    Ok(rows)
}

fn value(cell: ValueRef<'_>) -> Value<'static> {
    match cell {
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned().into()),
        // The ledger has neither.
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Value::Null,
    }
}

/// A value as the database takes it.
struct Bound<'v>(&'v Value<'v>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl Writer {
    /// Writes from now on, if there is a ledger.
    pub(crate) fn start(app: &Arc<App>) -> Result<Option<Self>, String> {
        let Some(policy) = &app.config.store else { return Ok(None) };
        let (stop, stopped) = channel();
        let pause = Duration::from_millis(policy.flush.0);
        let app = Arc::clone(app);
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || run(&app, pause, &stopped));
        let thread = thread.map_err(|error| format!("the ledger's thread cannot be started: {error}"))?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A writer that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(app: &App, pause: Duration, stopped: &Receiver<()>) {
    let Some(ledger) = &app.ledger else { return };
    let mut wait = pause;
    loop {
        if stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            // What was taken and is not written is still there.
            let flushed = caught(|| ledger.flush(app));
            wait = if flushed.is_some() { pause } else { pause.max(REST) };
            continue;
        }
        // What ended before it was told to stop is still to be written.
        match ledger.close(app) {
            0 => {}
            lost => error!("{lost} lines of the ledger could not be written, and end with this process"),
        }
        return;
    }
}

#[cfg(test)]
mod tests;
