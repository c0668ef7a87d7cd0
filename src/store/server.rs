//! The server's database: opening it, committing batches, and noticing what others changed in it.
//!
//! One connection, which writes. Questions go to a [`Reader`], whose own connection never waits for a commit nor
//! holds one up (WAL). What an operation does to the tables is in `apply`, how they are read back in `load`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

use super::apply::{self, ApplyError};
use super::error::is_of_the_machine;
use super::{DATABASE_FILE, Reader, StoreError, files, load};
use crate::record::{Batch, Loaded, Stored};

static MIGRATIONS: LazyLock<Migrations<'static>> =
    LazyLock::new(|| Migrations::new(vec![M::up(include_str!("../../migrations/server/001-first-tables.sql"))]));

/// How long a statement waits for another program (`preau admin`), whose transactions are of milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepared statements kept by a connection: more than there are in this module.
const STATEMENTS: usize = 64;

/// The server's database, open for writing.
#[derive(Debug)]
pub struct ServerStore {
    db: Connection,
    location: Location,
    /// SQLite's `data_version` when the database was last loaded.
    loaded_version: i64,
    /// A commit failed and what it left could not be read: nobody knows yet what there is.
    pub(super) untold: bool,
}

/// Where a database is.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// A file.
    File(PathBuf),
    /// A database in memory, shared by this process's connections, by its URI; it goes with the last of them.
    Memory(String),
}

impl ServerStore {
    /// Opens the database of a data directory; makes both, private, where absent. Brings old tables up to date.
    pub fn open(dir: &Path) -> Result<(ServerStore, Loaded), StoreError> {
        files::create_dir(dir)?;
        let path = dir.join(DATABASE_FILE);
        files::create_private(&path)?;
        ServerStore::at(Location::File(path))
    }

    /// As [`open`](Self::open), but the directory must hold a database already: what `preau admin` wants, so that a
    /// mistyped path makes nothing.
    pub fn open_existing(dir: &Path) -> Result<(ServerStore, Loaded), StoreError> {
        ServerStore::at(Location::File(files::existing_database(dir)?))
    }

    /// A database that lasts as long as its connections: for tests.
    pub fn in_memory() -> Result<(ServerStore, Loaded), StoreError> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        ServerStore::at(Location::Memory(format!("file:/preau-{number}?vfs=memdb")))
    }

    fn at(location: Location) -> Result<(ServerStore, Loaded), StoreError> {
        let mut store = ServerStore { db: connect(&location)?, location, loaded_version: 0, untold: false };
        let loaded = store.load()?;
        Ok((store, loaded))
    }

    /// A second connection, which only reads and may live in another thread.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::at(&self.location)
    }

    /// Applies a batch whole and flushes it to disk, or applies nothing of it. After a failure the store is ready
    /// for the next batch: once the cause is gone, commits work again. After a failure of which even the outcome could
    /// not be read, the next batch is not applied: it fails, and tells what there is.
    pub fn commit(&mut self, batch: &Batch) -> Stored {
        if batch.0.is_empty() {
            return Stored::Done;
        }
        if self.untold {
            return self.failed("what an earlier failure left had to be read first".into());
        }
        match self.try_commit(batch) {
            Ok(()) => Stored::Done,
            Err(error) => {
                if let ApplyError::Sqlite(error) = &error {
                    self.reopen_after(error);
                }
                self.failed(error.to_string())
            }
        }
    }

    fn failed(&mut self, reason: String) -> Stored {
        let loaded = self.load().ok().map(Box::new);
        self.untold = loaded.is_none();
        Stored::Failed { reason, loaded }
    }

    fn try_commit(&mut self, batch: &Batch) -> Result<(), ApplyError> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        apply::apply(&transaction, &batch.0)?;
        Ok(transaction.commit()?)
    }

    /// Takes a fresh connection where the disk failed: what the old one holds in memory may not be what is on disk.
    /// Where that fails too, the old one stays, and the next failure tries again.
    fn reopen_after(&mut self, error: &rusqlite::Error) {
        let full = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
        if matches!(self.location, Location::File(_))
            && is_of_the_machine(error)
            && !full
            && let Ok(db) = connect(&self.location)
        {
            self.db = db;
        }
    }

    /// Reads what the core keeps in memory, as of one moment.
    pub fn load(&mut self) -> Result<Loaded, StoreError> {
        let snapshot = self.db.transaction()?;
        let version = data_version(&snapshot)?;
        let loaded = load::load(&snapshot)?;
        snapshot.commit()?;
        self.loaded_version = version;
        Ok(loaded)
    }

    /// True when somebody else (`preau admin`) committed something since the last [`load`](Self::load).
    pub fn changed_by_others(&mut self) -> Result<bool, StoreError> {
        Ok(data_version(&self.db)? != self.loaded_version)
    }

    /// Closes the database so that its file alone is whole, with no log beside it.
    pub fn close(self) -> Result<(), StoreError> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.db.close().map_err(|(_, error)| error.into())
    }

    #[cfg(test)]
    pub(super) fn db(&self) -> &Connection {
        &self.db
    }
}

/// A connection that writes, durably, with its tables up to date.
fn connect(location: &Location) -> Result<Connection, StoreError> {
    let mut db = location.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "fullfsync", true)?; // macOS, where fsync alone does not reach the disk
    db.pragma_update(None, "foreign_keys", true)?;
    migrate(&mut db)?;
    Ok(db)
}

/// Brings a server's tables up to date.
pub(super) fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    Ok(MIGRATIONS.to_latest(db)?)
}

impl Location {
    /// Opens a connection for reading alone or for writing too.
    pub(super) fn connect(&self, access: OpenFlags) -> Result<Connection, StoreError> {
        let db = match self {
            Location::File(path) => Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?,
            Location::Memory(uri) => Connection::open_with_flags(uri, OpenFlags::default())?,
        };
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(db)
    }
}

/// A number that changes when another connection commits.
fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "data_version", |row| row.get(0))
}
