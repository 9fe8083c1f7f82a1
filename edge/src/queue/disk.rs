//! Where jobs are kept: the storage of a Durable Object. What one event writes is committed together, and no answer leaves
//! the object before it is.

use tidegate_core::queue::{self, StoreError, sql};
use worker::{Result, SqlStorage, SqlStorageValue};

use crate::clock;
use crate::js;

/// The tables of the queue.
pub(super) struct Disk(SqlStorage);

impl Disk {
    /// The tables, made if they are not there.
    pub(super) fn open(storage: SqlStorage) -> Result<Self> {
        for table in sql::TABLES {
            storage.exec(table, None)?;
        }
        Ok(Self(storage))
    }

    /// The first column of all rows.
    fn column(&self, statement: &str, values: Vec<SqlStorageValue>) -> Result<Vec<SqlStorageValue>> {
        let rows = self.0.exec(statement, values)?.raw();
        rows.filter_map(|row| row.map(|row| row.into_iter().next()).transpose()).collect()
    }

    fn insert_body(&self, id: &str, body: &[u8]) -> Result<()> {
        for (piece, bytes) in (0_i64..).zip(body.chunks(sql::PIECE_BYTES_MAX)) {
            self.0.exec(sql::INSERT_PIECE, vec![id.into(), piece.into(), bytes.to_vec().into()])?;
        }
        Ok(())
    }

    fn replace(&self, id: &str, seen: u64, job: &str, body: Option<&[u8]>) -> Result<bool> {
        // Nothing comes between looking and writing: the object does one thing at a time.
        let last = self.column(sql::REVISION, vec![id.into()])?;
        let seen = clock::to_js(seen);
        let is_last = last.into_iter().next().is_some_and(|last| number(&last) == Some(seen));
        if is_last {
            self.0.exec(sql::UPDATE, vec![job.into(), id.into(), seen.into()])?;
            if let Some(body) = body {
                self.0.exec(sql::REMOVE_PIECES, vec![id.into()])?;
                self.insert_body(id, body)?;
            }
        }
        Ok(is_last)
    }
}

impl queue::Store for Disk {
    fn load(&mut self) -> std::result::Result<Vec<String>, StoreError> {
        let jobs = self.column(sql::LOAD, Vec::new()).map_err(fault)?;
        let text = |value| match value {
            SqlStorageValue::String(text) => Some(text),
            _ => None,
        };
        Ok(jobs.into_iter().filter_map(text).collect())
    }

    fn insert(&mut self, id: &str, job: &str, body: &[u8]) -> std::result::Result<(), StoreError> {
        let inserted = self.0.exec(sql::INSERT, vec![id.into(), job.into()]).and_then(|_| self.insert_body(id, body));
        inserted.map_err(|error| {
            // Half of it would be committed with the rest of this event.
            let _ = self.remove(id);
            fault(error)
        })
    }

    fn update(&mut self, id: &str, seen: u64, job: &str, body: Option<&[u8]>) -> std::result::Result<bool, StoreError> {
        self.replace(id, seen, job, body).map_err(fault)
    }

    fn body(&mut self, id: &str) -> std::result::Result<Vec<u8>, StoreError> {
        let pieces = self.column(sql::PIECES, vec![id.into()]).map_err(fault)?;
        let bytes = |piece| match piece {
            SqlStorageValue::Blob(bytes) => bytes,
            _ => Vec::new(),
        };
        Ok(pieces.into_iter().flat_map(bytes).collect())
    }

    fn remove(&mut self, id: &str) -> std::result::Result<(), StoreError> {
        let removed = self.0.exec(sql::REMOVE_PIECES, vec![id.into()]);
        removed.and_then(|_| self.0.exec(sql::REMOVE, vec![id.into()])).map(drop).map_err(fault)
    }

    fn random(&mut self) -> [u8; 32] {
        js::random().try_into().expect("runtime.js draws as many")
    }
}

fn number(value: &SqlStorageValue) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "no job has so many revisions")]
        SqlStorageValue::Integer(number) => Some(*number as f64),
        SqlStorageValue::Float(number) => Some(*number),
        _ => None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of an error is wanted")]
fn fault(error: worker::Error) -> StoreError {
    StoreError(error.to_string())
}
