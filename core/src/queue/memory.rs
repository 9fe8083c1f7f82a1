//! A store that lives in memory, for worlds in which disks fail and processes die when the story says so.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::store::{Store, StoreError};
use crate::rng::Rng;

/// A handle to a disk; it can be opened again, as after a crash.
#[derive(Debug, Clone)]
pub struct Memory(Rc<RefCell<Disk>>);

#[derive(Debug)]
struct Disk {
    rows: BTreeMap<String, Row>,
    rng: Rng,
    /// Whether every call fails.
    broken: bool,
}

#[derive(Debug, Clone)]
struct Row {
    revision: u64,
    job: String,
    body: Vec<u8>,
}

impl Memory {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = Rng::from_name(seed, "the queue's disk");
        Self(Rc::new(RefCell::new(Disk { rows: BTreeMap::new(), rng, broken: false })))
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Row>) -> T) -> Result<T, StoreError> {
        let mut disk = self.0.borrow_mut();
        if disk.broken {
            return Err(StoreError("the disk is broken".to_owned()));
        }
        Ok(change(&mut disk.rows))
    }
}

#[cfg(test)]
impl Memory {
    pub(crate) fn breaks(&self, broken: bool) {
        self.0.borrow_mut().broken = broken;
    }

    /// All bytes of all rows.
    pub(crate) fn dump(&self) -> Vec<u8> {
        let disk = self.0.borrow();
        disk.rows.values().flat_map(|row| row.job.bytes().chain(row.body.iter().copied())).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().rows.len()
    }

    /// Somebody else has written to the row since.
    pub(crate) fn meddle(&self, id: &str) {
        self.0.borrow_mut().rows.get_mut(id).unwrap().revision += 1;
    }

    pub(crate) fn spoil(&self, id: &str) {
        self.0.borrow_mut().rows.get_mut(id).unwrap().body.reverse();
    }
}

impl Store for Memory {
    fn load(&mut self) -> Result<Vec<String>, StoreError> {
        self.write(|rows| rows.values().map(|row| row.job.clone()).collect())
    }

    fn insert(&mut self, id: &str, job: &str, body: &[u8]) -> Result<(), StoreError> {
        self.write(|rows| {
            let row = Row { revision: 0, job: job.to_owned(), body: body.to_vec() };
            assert!(rows.insert(id.to_owned(), row).is_none(), "no two jobs have one id");
        })
    }

    fn update(&mut self, id: &str, seen: u64, job: &str, body: Option<&[u8]>) -> Result<bool, StoreError> {
        self.write(|rows| {
            let Some(row) = rows.get_mut(id).filter(|row| row.revision == seen) else { return false };
            (row.revision, row.job) = (seen + 1, job.to_owned());
            row.body = body.map_or_else(|| std::mem::take(&mut row.body), <[u8]>::to_vec);
            true
        })
    }

    fn body(&mut self, id: &str) -> Result<Vec<u8>, StoreError> {
        self.write(|rows| rows.get(id).map(|row| row.body.clone()).unwrap_or_default())
    }

    fn remove(&mut self, id: &str) -> Result<(), StoreError> {
        self.write(|rows| drop(rows.remove(id)))
    }

    fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let mut disk = self.0.borrow_mut();
        for eight in bytes.chunks_exact_mut(8) {
            eight.copy_from_slice(&disk.rng.next_u64().to_be_bytes());
        }
        bytes
    }
}
