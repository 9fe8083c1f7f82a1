//! Where jobs are kept: tables of the store's database, written so that a commit outlives the machine.

use rusqlite::{Connection, Error, Statement, Transaction};
use tidegate_core::queue::{self, StoreError, sql};

use crate::store::{Durability, Subject};

/// The queue's tables.
pub(super) const SUBJECT: Subject = Subject { name: "queue", steps: &sql::TABLES, durability: Durability::Machine };

/// A connection to them.
pub(crate) struct Disk(pub(super) Connection);

impl queue::Store for Disk {
    fn load(&mut self) -> Result<Vec<String>, StoreError> {
        let load = |statement: &mut Statement<'_>| statement.query_map([], |row| row.get(0))?.collect();
        self.0.prepare_cached(sql::LOAD).and_then(|mut statement| load(&mut statement)).map_err(fault)
    }

    fn insert(&mut self, id: &str, job: &str, body: &[u8]) -> Result<(), StoreError> {
        self.commit(|transaction| {
            transaction.prepare_cached(sql::INSERT)?.execute((id, job))?;
            insert_body(transaction, id, body)
        })
    }

    fn update(&mut self, id: &str, seen: u64, job: &str, body: Option<&[u8]>) -> Result<bool, StoreError> {
        self.commit(|transaction| {
            let changed = transaction.prepare_cached(sql::UPDATE)?.execute((job, id, number(seen)))?;
            if let Some(body) = body.filter(|_| changed > 0) {
                transaction.prepare_cached(sql::REMOVE_PIECES)?.execute([id])?;
                insert_body(transaction, id, body)?;
            }
            Ok(changed > 0)
        })
    }

    fn body(&mut self, id: &str) -> Result<Vec<u8>, StoreError> {
        let pieces = |statement: &mut Statement<'_>| {
            let pieces: Vec<Vec<u8>> = statement.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(pieces.concat())
        };
        self.0.prepare_cached(sql::PIECES).and_then(|mut statement| pieces(&mut statement)).map_err(fault)
    }

    fn remove(&mut self, id: &str) -> Result<(), StoreError> {
        self.commit(|transaction| {
            transaction.prepare_cached(sql::REMOVE_PIECES)?.execute([id])?;
            transaction.prepare_cached(sql::REMOVE)?.execute([id])?;
            Ok(())
        })
    }

    fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the system has randomness once it is up");
        bytes
    }
}

impl Disk {
    fn commit<T>(&mut self, change: impl FnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, StoreError> {
        let change = || {
            let transaction = self.0.transaction()?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        change().map_err(fault)
    }
}

fn insert_body(transaction: &Transaction<'_>, id: &str, body: &[u8]) -> Result<(), Error> {
    let mut insert = transaction.prepare_cached(sql::INSERT_PIECE)?;
    for (piece, bytes) in (0_i64..).zip(body.chunks(sql::PIECE_BYTES_MAX)) {
        insert.execute((id, piece, bytes))?;
    }
    Ok(())
}

/// A number as the database has it. No job has so many revisions that it could not.
fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// What the database says is not about what was in the rows.
#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of an error is wanted")]
fn fault(error: Error) -> StoreError {
    StoreError(error.to_string())
}

#[cfg(test)]
mod tests {
    use tidegate_core::queue::Store as _;

    use super::*;

    fn disk() -> Disk {
        let connection = Connection::open_in_memory().unwrap();
        for table in sql::TABLES {
            connection.execute_batch(table).unwrap();
        }
        Disk(connection)
    }

    #[test]
    fn a_write_needs_to_have_seen_the_last_one() {
        let mut disk = disk();
        disk.insert("j", "0", b"body").unwrap();
        assert!(disk.insert("j", "again", b"").is_err(), "no two jobs have one id");
        assert!(disk.update("j", 0, "1", None).unwrap());
        assert!(!disk.update("j", 0, "too late", Some(b"other")).unwrap());
        assert!(!disk.update("k", 0, "not there", Some(b"other")).unwrap());
        assert_eq!((disk.load().unwrap(), disk.body("j").unwrap()), (vec!["1".to_owned()], b"body".to_vec()));
        assert!(disk.update("j", 1, "2", Some(b"reply")).unwrap());
        assert_eq!((disk.load().unwrap(), disk.body("j").unwrap()), (vec!["2".to_owned()], b"reply".to_vec()));
        disk.remove("j").unwrap();
        assert_eq!((disk.load().unwrap().len(), disk.body("j").unwrap()), (0, Vec::new()));
    }

    #[test]
    fn large_bodies_come_back_whole() {
        let mut disk = disk();
        for (id, length) in [("none", 0), ("one", 1 << 20), ("more", (2 << 20) + 7)] {
            let body: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[at as usize % 3]).collect();
            disk.insert(id, "", &body).unwrap();
            assert!(disk.body(id).unwrap() == body, "{id}");
        }
        assert_ne!(disk.random(), disk.random());
    }
}
