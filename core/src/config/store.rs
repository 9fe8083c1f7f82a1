//! `[store]`: what outlives the process, and how much of it may be lost.

use crate::time::Millis;

/// Where lines of the ledger and queued requests are kept. Without this table nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePolicy {
    /// What it is kept in.
    pub kind: StoreKind,
    /// The database file of the native server. Default `tidegate.db`.
    pub path: String,
    /// How long lines of the ledger may wait to be written together: what a crash may lose. Default 200 ms.
    pub flush: Millis,
    /// Lines that may wait; those beyond are dropped, counted and told of. Default 10 000.
    pub lines_max: u32,
    /// How long lines are kept; the sums of each day stay. Default 90 days.
    pub keep: Millis,
}

/// What the native server keeps it in. The worker has the storage of its Durable Objects, whichever this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Nothing that outlives the process: for tests.
    Memory,
    /// A database file.
    Sqlite,
}

impl StorePolicy {
    /// How long whoever writes waits for another to have written, before it is an error: many times what a batch takes.
    pub const BUSY_MAX: Millis = Millis::from_secs(5);
}
