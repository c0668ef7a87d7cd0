//! How the store fails, and the plain words for it that members and logs get.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite_migration::MigrationDefinitionError;
use thiserror::Error;

/// Why a server's data could not be opened, read, saved or brought back. Nothing was changed unless said.
#[derive(Debug, Error)]
pub enum StoreError {
    /// SQLite's own account of it.
    #[error("{}", plain(.0))]
    Sqlite(#[from] rusqlite::Error),
    /// A file or directory that SQLite does not handle.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database has migrations that this program does not know.
    #[error("the database was made by a newer version of this program")]
    Newer,
    /// A migration failed.
    #[error("the database could not be brought up to date: {0}")]
    Migration(String),
    /// What is stored contradicts itself: the database was damaged or edited.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// There is no database where one is needed.
    #[error("{}: there is no room's data here", .0.display())]
    NoData(PathBuf),
    /// The directory has no keys file, without which a backup could not be used.
    #[error("{}: the server's keys are missing", .0.display())]
    NoKeys(PathBuf),
    /// A backup goes to a new file only.
    #[error("{}: there is a file of this name already", .0.display())]
    Exists(PathBuf),
    /// A backup comes back to an empty directory only.
    #[error("{}: the directory is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The file is not a backup of a server.
    #[error("{}: this is not a backup", .0.display())]
    NotABackup(PathBuf),
}

impl StoreError {
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
        |source| StoreError::File { path: path.to_owned(), source }
    }
}

impl From<rusqlite_migration::Error> for StoreError {
    fn from(error: rusqlite_migration::Error) -> StoreError {
        match error {
            rusqlite_migration::Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
                StoreError::Newer
            }
            rusqlite_migration::Error::RusqliteError { err, .. } if is_of_the_machine(&err) => StoreError::Sqlite(err),
            other => StoreError::Migration(other.to_string()),
        }
    }
}

/// Why a client's profile could not be opened or written. Nothing was kept of what was asked.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// Another process has it open: two would give one number to two texts.
    #[error("the profile is in use by another program")]
    InUse,
    /// A number that this instance used before would name another text.
    #[error("submission {0} was numbered before")]
    NumberUsed(crate::id::Ordinal),
    /// As a server's store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for ProfileError {
    fn from(error: rusqlite::Error) -> ProfileError {
        ProfileError::Store(error.into())
    }
}

/// What SQLite says, in words for people; what has none is given as it is, without the SQL.
pub(super) fn plain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".into(),
        Some(ErrorCode::SystemIoFailure) => "the disk failed to read or write".into(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "the database may not be written".into(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has kept the database busy for too long".into()
        }
        Some(ErrorCode::CannotOpen) => "the database could not be opened".into(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "the database is damaged".into(),
        Some(ErrorCode::OutOfMemory) => "there is not enough memory".into(),
        _ => match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            other => other.to_string(),
        },
    }
}

/// True for failures that lie in the machine (disk, permissions, other programs) and not in what was asked.
pub(super) fn is_of_the_machine(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::OutOfMemory
        )
    )
}
