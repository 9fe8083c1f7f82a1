//! What an adapter has to be able to do for the queue: keep rows, and draw numbers that nobody can guess.
//!
//! Both adapters have `SQLite`, the native server's own and that of a Durable Object, so that the statements are written
//! once, in [`sql`]. A row is a job and a body: its request, and once it is over its reply.

use std::fmt;

/// Where jobs are kept. What a call has written is durable when it returns, all of it or nothing.
pub trait Store {
    /// All jobs, each as it was written last.
    fn load(&mut self) -> Result<Vec<String>, StoreError>;

    /// Adds a job, as the first revision of it.
    fn insert(&mut self, id: &str, job: &str, body: &[u8]) -> Result<(), StoreError>;

    /// Writes the next revision of a job, if `seen` is still the last one. `false`: it is not, and nothing was written.
    /// `body` takes the place of the one there was; `None` leaves that.
    fn update(&mut self, id: &str, seen: u64, job: &str, body: Option<&[u8]>) -> Result<bool, StoreError>;

    /// The body of a job, as it was written.
    fn body(&mut self, id: &str) -> Result<Vec<u8>, StoreError>;

    /// Forgets a job.
    fn remove(&mut self, id: &str) -> Result<(), StoreError>;

    /// Bytes that nobody can guess.
    fn random(&mut self) -> [u8; 32];
}

/// Why something could not be stored or read: for the operator's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

/// The statements, for whoever has `SQLite`.
pub mod sql {
    /// The largest piece in which a body is kept: a Durable Object's rows hold 2 MB at most.
    pub const PIECE_BYTES_MAX: usize = 1 << 20;

    /// What there has to be first.
    pub const TABLES: [&str; 2] = [
        "CREATE TABLE IF NOT EXISTS queue_jobs (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, job TEXT NOT NULL) \
         WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS queue_bodies (id TEXT NOT NULL, piece INTEGER NOT NULL, bytes BLOB NOT NULL, \
         PRIMARY KEY (id, piece))",
    ];
    /// All jobs.
    pub const LOAD: &str = "SELECT job FROM queue_jobs";
    /// Id and job of a new one.
    pub const INSERT: &str = "INSERT INTO queue_jobs (id, revision, job) VALUES (?, 0, ?)";
    /// The job, its id, and the revision that was seen. No row changes where that is not the last one.
    pub const UPDATE: &str = "UPDATE queue_jobs SET revision = revision + 1, job = ? WHERE id = ? AND revision = ?";
    /// The last revision of a job, for who cannot tell how many rows have changed.
    pub const REVISION: &str = "SELECT revision FROM queue_jobs WHERE id = ?";
    /// Id, number and bytes of a piece.
    pub const INSERT_PIECE: &str = "INSERT INTO queue_bodies (id, piece, bytes) VALUES (?, ?, ?)";
    /// The pieces of a job's body.
    pub const PIECES: &str = "SELECT bytes FROM queue_bodies WHERE id = ? ORDER BY piece";
    /// Away with them.
    pub const REMOVE_PIECES: &str = "DELETE FROM queue_bodies WHERE id = ?";
    /// Away with a job.
    pub const REMOVE: &str = "DELETE FROM queue_jobs WHERE id = ?";
}
