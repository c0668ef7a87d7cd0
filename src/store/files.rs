//! Directories and files that only their owner may read, and locks on them.
//!
//! On Unix directories are made with mode 0700 and files with 0600; on Windows a user's own directories are private
//! by inheritance.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::StoreError;

/// The server's database in its data directory.
pub const DATABASE_FILE: &str = "room.db";

/// The server's keys beside the database: apart from it, so that a database alone permits no guessing.
pub const KEYS_FILE: &str = "keys";

/// The file a lock is held on: never the database, whose locks are SQLite's.
const LOCK_FILE: &str = "lock";

/// While it lives, no other process has the directory locked. Dropping it, or dying, frees it.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Locks a directory (made if absent) for one process; None when another one has it.
pub fn lock_dir(dir: &Path) -> Result<Option<DirLock>, StoreError> {
    create_dir(dir)?;
    let path = dir.join(LOCK_FILE);
    let file = private_options().create(true).open(&path).map_err(StoreError::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(DirLock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(StoreError::File { path, source }),
    }
}

/// Writes a server's keys for the first time, flushed to disk; keys that exist are never overwritten.
pub fn write_keys(dir: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    create_dir(dir)?;
    let path = dir.join(KEYS_FILE);
    let write = || {
        let mut file = private_options().create_new(true).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(StoreError::file(&path))?;
    sync_dir(dir)
}

/// A server's keys; None where there are none yet.
pub fn read_keys(dir: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let path = dir.join(KEYS_FILE);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::File { path, source }),
    }
}

/// Makes the directory and its parents, private, if absent.
pub(super) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(StoreError::file(dir))
}

/// Makes a database's file before SQLite does, so that it and the files beside it (which take its mode) are private.
pub(super) fn create_private(path: &Path) -> Result<(), StoreError> {
    private_options().create(true).open(path).map(drop).map_err(StoreError::file(path))
}

/// Makes a private file that must not exist yet.
pub(super) fn create_new_private(path: &Path) -> Result<(), StoreError> {
    match private_options().create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::Exists(path.to_owned())),
        Err(source) => Err(StoreError::File { path: path.to_owned(), source }),
    }
}

/// Flushes a file that SQLite wrote, and the directory that names it.
pub(super) fn sync_file(path: &Path) -> Result<(), StoreError> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(StoreError::file(path))?;
    file.sync_all().map_err(StoreError::file(path))?;
    sync_dir(parent(path))
}

/// Flushes a directory's names. Windows has no such call and needs none.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::file(dir))?;
    }
    Ok(())
}

/// The directory of a file; of a bare name, the current one.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The database of a data directory, if there is one.
pub(super) fn existing_database(dir: &Path) -> Result<PathBuf, StoreError> {
    let path = dir.join(DATABASE_FILE);
    if path.is_file() { Ok(path) } else { Err(StoreError::NoData(dir.to_owned())) }
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
