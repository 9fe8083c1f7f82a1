//! What outlives the process: one SQLite database, in which each subject has tables and connections of its own.
//!
//! A [`Subject`] brings the steps that make its tables, in the order in which they were thought of: new ones are added at the
//! end, and what has been released is never changed. A database that knows more steps than this program was written by a
//! later one: it is refused, and left as it is.
//!
//! The journal is a write-ahead log: readers and the writer do not wait for each other, and a process that is killed in the
//! middle of a commit leaves a database that is whole, without that commit.

pub(crate) mod ledger;

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior};
use tidegate_core::config::{StoreKind, StorePolicy};

/// What the file says that it is: `TIDE`.
const APPLICATION: i32 = 0x5449_4445;

/// Which steps the database has gone through, by subject.
const STEPS: &str =
    "CREATE TABLE IF NOT EXISTS store_steps (subject TEXT PRIMARY KEY, taken INTEGER NOT NULL) WITHOUT ROWID";

/// A database. It is there for as long as this is, where it is one in memory.
#[derive(Debug)]
pub(crate) struct Store {
    place: Place,
    /// What is in memory is gone with its last connection.
    _anchor: Mutex<Connection>,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    /// By a name of its own in this process.
    Memory(String),
}

/// A part of the database that knows nothing of the others.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// SQL, each step once, in this order. Only ever appended to.
    pub(crate) steps: &'static [&'static str],
    pub(crate) durability: Durability,
}

/// What a commit is worth once it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It survives the process; the last ones may be lost with the machine, never the database. Waits for no disk.
    Process,
    /// It survives the machine: each commit waits until the disk has it.
    Machine,
}

/// Why a database cannot be used.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// It cannot be opened, read or written.
    Unusable { place: String, why: rusqlite::Error },
    /// It belongs to another program.
    Foreign { place: String },
    /// A later version has written it.
    Newer { place: String, subject: &'static str, taken: u32, known: u32 },
}

impl Store {
    /// Opens the database, or makes it.
    pub(crate) fn open(policy: &StorePolicy) -> Result<Self, StoreError> {
        Self::at(match policy.kind {
            StoreKind::Sqlite => Place::File(PathBuf::from(&policy.path)),
            StoreKind::Memory => {
                static NEXT: AtomicU32 = AtomicU32::new(0);
                Place::Memory(format!("file:/tidegate-{}?vfs=memdb", NEXT.fetch_add(1, Ordering::Relaxed)))
            }
        })
    }

    /// Opens a file that is there, to look at.
    pub(crate) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
        let place = Place::File(path.to_owned());
        let opened = place.connect(OpenFlags::SQLITE_OPEN_READ_ONLY);
        let connection = opened.map_err(|why| place.unusable(why))?;
        let application: i32 = pragma(&connection, "application_id").map_err(|why| place.unusable(why))?;
        if application == APPLICATION { Ok(connection) } else { Err(StoreError::Foreign { place: place.to_string() }) }
    }

    fn at(place: Place) -> Result<Self, StoreError> {
        if let Place::File(path) = &place {
            // What is in it is for its owner alone. An error shows when SQLite opens it, which says more.
            let _ = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        }
        let unusable = |why| place.unusable(why);
        let anchor = place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(unusable)?;
        let is_ours = own(&anchor).map_err(unusable)?;
        if is_ours {
            Ok(Self { place, _anchor: Mutex::new(anchor) })
        } else {
            Err(StoreError::Foreign { place: place.to_string() })
        }
    }

    /// A connection to write with, once the subject's tables are as this version wants them.
    pub(crate) fn connect(&self, subject: &Subject) -> Result<Connection, StoreError> {
        let unusable = |why| self.place.unusable(why);
        let mut connection = self.place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(unusable)?;
        let synchronous = match subject.durability {
            Durability::Process => "NORMAL",
            Durability::Machine => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous).map_err(unusable)?;
        let taken = migrate(&mut connection, subject).map_err(unusable)?;
        let known = subject.known();
        if taken > known {
            return Err(StoreError::Newer { place: self.place.to_string(), subject: subject.name, taken, known });
        }
        Ok(connection)
    }

    /// What went wrong, with the store's name.
    pub(crate) fn unusable(&self, why: rusqlite::Error) -> StoreError {
        self.place.unusable(why)
    }

    /// A connection that cannot write.
    pub(crate) fn reader(&self) -> Result<Connection, StoreError> {
        let unusable = |why| self.place.unusable(why);
        // One in memory cannot be opened for reading alone.
        let connection = self.place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(unusable)?;
        connection.pragma_update(None, "query_only", true).map_err(unusable)?;
        Ok(connection)
    }
}

impl Subject {
    /// How many steps this version knows.
    fn known(&self) -> u32 {
        u32::try_from(self.steps.len()).expect("nobody has written so many")
    }
}

impl Place {
    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self {
            Self::File(path) => Connection::open_with_flags(path, flags),
            Self::Memory(uri) => {
                Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI)
            }
        }?;
        connection.busy_timeout(Duration::from_millis(StorePolicy::BUSY_MAX.0))?;
        Ok(connection)
    }

    fn unusable(&self, why: rusqlite::Error) -> StoreError {
        StoreError::Unusable { place: self.to_string(), why }
    }
}

/// Makes an empty database ours. Says whether it is.
fn own(connection: &Connection) -> rusqlite::Result<bool> {
    let application: i32 = pragma(connection, "application_id")?;
    if application == APPLICATION {
        return Ok(true);
    }
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != 0 || tables > 0 {
        return Ok(false);
    }
    let _: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    Ok(true)
}

/// Takes the steps that the database has not taken yet, all or none. Says how many it has taken by then.
fn migrate(connection: &mut Connection, subject: &Subject) -> rusqlite::Result<u32> {
    // Two processes may start at once: who comes second finds the steps taken.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(STEPS)?;
    let taken = "SELECT taken FROM store_steps WHERE subject = ?";
    let taken: Option<u32> = transaction.query_row(taken, [subject.name], |row| row.get(0)).optional()?;
    let taken = taken.unwrap_or(0);
    let known = subject.known();
    if taken >= known {
        return Ok(taken);
    }
    for step in &subject.steps[taken as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.execute("INSERT OR REPLACE INTO store_steps (subject, taken) VALUES (?, ?)", (subject.name, known))?;
    transaction.commit()?;
    Ok(known)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory(_) => f.write_str("the store in memory"),
        }
    }
}

/// What is wrong with the database that the configuration names.
pub(crate) fn configured(error: &StoreError) -> String {
    format!("store.path: {error}")
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { place, why } => write!(f, "{place} cannot be used: {why}. {}", remedy(why)),
            Self::Foreign { place } => {
                write!(f, "{place} is a database of another program. It has been left as it is: name another file.")
            }
            Self::Newer { place, subject, taken, known } => write!(
                f,
                "{place} was written by a later version of Tidegate ({subject}: step {taken}, this version \
                 knows {known}). It has been left as it is: use that version, or name another file."
            ),
        }
    }
}

/// What to do about it.
fn remedy(why: &rusqlite::Error) -> &'static str {
    match why.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => "Check that its directory exists, and that this user may write there.",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "Check that this user may write it and its directory."
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another program holds it locked: end that one, or name another file."
        }
        Some(ErrorCode::NotADatabase) => "It is no database: name another file, or move this one away.",
        Some(ErrorCode::DatabaseCorrupt) => "It is damaged: restore a copy, or move it away and start with a new one.",
        Some(ErrorCode::DiskFull) => "The disk is full: make room.",
        _ => "Check the file and its disk.",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = "CREATE TABLE one (n INTEGER)";
    const TWO: &str = "ALTER TABLE one ADD COLUMN m INTEGER NOT NULL DEFAULT 7";

    fn subject(steps: &'static [&'static str]) -> Subject {
        Subject { name: "test", steps, durability: Durability::Process }
    }

    struct File(PathBuf);

    impl File {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tidegate-store-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path.join("t.db"))
        }

        fn open(&self) -> Result<Store, StoreError> {
            Store::at(Place::File(self.0.clone()))
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    fn memory() -> Store {
        let (flush, keep) = (tidegate_core::time::Millis(1), tidegate_core::time::Millis(1));
        let path = String::new();
        Store::open(&StorePolicy { kind: StoreKind::Memory, path, flush, lines_max: 1, keep }).unwrap()
    }

    #[test]
    fn an_old_file_takes_the_steps_that_it_lacks() {
        let file = File::new("migrates");
        file.open().unwrap().connect(&subject(&[ONE])).unwrap().execute("INSERT INTO one VALUES (1)", ()).unwrap();
        let connection = file.open().unwrap().connect(&subject(&[ONE, TWO])).unwrap();
        let row: (i64, i64) = connection.query_row("SELECT n, m FROM one", [], |row| row.try_into()).unwrap();
        assert_eq!(row, (1, 7));
        file.open().unwrap().connect(&subject(&[ONE, TWO])).expect("steps are taken once");
        let other = Subject { name: "other", ..subject(&["CREATE TABLE two (n)"]) };
        file.open().unwrap().connect(&other).expect("another subject has steps of its own");
    }

    #[test]
    fn a_step_that_fails_leaves_all_as_it_was() {
        let file = File::new("all-or-none");
        let store = file.open().unwrap();
        store.connect(&subject(&[ONE])).unwrap();
        let error = store.connect(&subject(&[ONE, TWO, "nonsense"])).unwrap_err();
        assert!(error.to_string().contains("syntax error"), "{error}");
        store.connect(&subject(&[ONE, TWO])).expect("the second step had not been taken");
    }

    #[test]
    fn what_a_later_version_wrote_is_refused_and_not_touched() {
        let file = File::new("newer");
        file.open().unwrap().connect(&subject(&[ONE, TWO])).unwrap();
        let before = fs::read(&file.0).unwrap();
        let error = file.open().unwrap().connect(&subject(&[ONE])).unwrap_err();
        assert!(
            error.to_string().contains("later version of Tidegate (test: step 2, this version knows 1)"),
            "{error}"
        );
        assert!(fs::read(&file.0).unwrap() == before, "not a byte of it");
    }

    #[test]
    fn what_is_not_ours_is_refused_and_not_touched() {
        let file = File::new("foreign");
        Connection::open(&file.0).unwrap().execute_batch("CREATE TABLE theirs (n)").unwrap();
        let before = fs::read(&file.0).unwrap();
        assert!(matches!(file.open().unwrap_err(), StoreError::Foreign { .. }));
        assert!(matches!(Store::open_to_read(&file.0).unwrap_err(), StoreError::Foreign { .. }));
        assert!(fs::read(&file.0).unwrap() == before, "not a byte of it");
        fs::write(
            &file.0,
            "a text, and one that is long enough to be taken for the head of a database, at 100 bytes or more. "
                .repeat(3),
        )
        .unwrap();
        let error = file.open().unwrap_err().to_string();
        assert!(error.ends_with("It is no database: name another file, or move this one away."), "{error}");
    }

    #[test]
    fn an_error_says_what_to_do() {
        let nowhere = Store::at(Place::File("/nowhere/at/all/t.db".into())).unwrap_err().to_string();
        assert!(nowhere.contains("/nowhere/at/all/t.db cannot be used"), "{nowhere}");
        assert!(nowhere.ends_with("Check that its directory exists, and that this user may write there."), "{nowhere}");
    }

    #[test]
    fn only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = File::new("mode");
        let _store = file.open().unwrap();
        assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_in_memory_is_shared_by_its_connections_and_with_no_other() {
        let (store, other) = (memory(), memory());
        let writer = store.connect(&subject(&[ONE])).unwrap();
        writer.execute("INSERT INTO one VALUES (5)", ()).unwrap();
        let reader = store.reader().unwrap();
        let sum =
            |connection: &Connection| connection.query_row("SELECT sum(n) FROM one", [], |row| row.get::<_, i64>(0));
        assert_eq!(sum(&reader).unwrap(), 5);
        assert!(reader.execute("INSERT INTO one VALUES (6)", ()).is_err(), "a reader does not write");
        drop(writer);
        assert_eq!(sum(&store.reader().unwrap()).unwrap(), 5);
        assert!(sum(&other.reader().unwrap()).is_err());
    }
}
