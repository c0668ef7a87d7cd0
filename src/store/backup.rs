//! Saving a server to one file, bringing it back, and checking that what is stored is whole.
//!
//! A backup is the database as of one moment with the server's keys inside it: whoever holds the file can be the
//! room. A restored server begins a new epoch (proto.md, Epochs).

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, params};

use super::server::{Location, migrate};
use super::{DATABASE_FILE, KEYS_FILE, StoreError, files, read_keys, write_keys};
use crate::id::RoomId;
use crate::record::USER_STEP;

/// Pages copied in one step: all of them, since a step in WAL reads as of one moment and holds nobody up, where many
/// steps would begin again at each commit between them.
const ALL_PAGES: i32 = i32::MAX;

/// How long to wait where the database is busy: recovering after a crash takes milliseconds.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The database while it is being restored: it has its proper name only once it begins a new epoch.
const UNFINISHED_FILE: &str = "restoring.db";

/// Saves the data directory `from_dir` to a new file, also while its server runs. On failure no file is left.
pub fn backup(from_dir: &Path, to_file: &Path) -> Result<(), StoreError> {
    let source = Location::File(files::existing_database(from_dir)?).connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let keys = read_keys(from_dir)?.ok_or_else(|| StoreError::NoKeys(from_dir.to_owned()))?;
    files::create_new_private(to_file)?;
    let save = || {
        let mut target = Connection::open(to_file)?;
        copy(&source, &mut target)?;
        target.execute_batch("CREATE TABLE server_keys (bytes BLOB NOT NULL) STRICT")?;
        target.execute("INSERT INTO server_keys (bytes) VALUES (?1)", params![keys])?;
        // Accounts made after the backup had ids that other clients may still know and write to.
        target.execute("UPDATE meta SET next_user = coalesce((SELECT max(id) FROM account), 0) + ?1", [USER_STEP])?;
        target.close().map_err(|(_, error)| error)?;
        files::sync_file(to_file)
    };
    save().inspect_err(|_| {
        let _ = fs::remove_file(to_file);
    })
}

/// Brings a backup back to a directory that is empty or absent, with a new epoch. On failure the directory is left
/// empty.
pub fn restore(file: &Path, to_dir: &Path) -> Result<(), StoreError> {
    let not_a_backup = |_| StoreError::NotABackup(file.to_owned());
    let source = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(not_a_backup)?;
    let keys: Vec<u8> =
        source.query_row("SELECT bytes FROM server_keys", [], |row| row.get(0)).map_err(not_a_backup)?;
    integrity(&source)?;
    files::create_dir(to_dir)?;
    if fs::read_dir(to_dir).map_err(StoreError::file(to_dir))?.next().is_some() {
        return Err(StoreError::NotEmpty(to_dir.to_owned()));
    }
    let unfinished = to_dir.join(UNFINISHED_FILE);
    let bring_back = || {
        restore_database(&source, &unfinished)?;
        write_keys(to_dir, &keys)?;
        let database = to_dir.join(DATABASE_FILE);
        fs::rename(&unfinished, &database).map_err(StoreError::file(&database))?;
        files::sync_dir(to_dir)
    };
    bring_back().inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
        let _ = fs::remove_file(to_dir.join(KEYS_FILE));
    })
}

/// Makes a server's database of a backup: without the keys, its tables up to date, its epoch a new one.
fn restore_database(source: &Connection, path: &Path) -> Result<(), StoreError> {
    files::create_new_private(path)?;
    let mut target = Connection::open(path)?;
    copy(source, &mut target)?;
    // The keys must not stay behind in the database's unused pages, nor in a journal.
    target.pragma_update(None, "journal_mode", "MEMORY")?;
    target.pragma_update(None, "secure_delete", true)?;
    target.execute_batch("DROP TABLE server_keys; VACUUM;")?;
    migrate(&mut target)?;
    target.execute(
        "INSERT INTO epoch (epoch, since)
             SELECT max(epoch) + 1, coalesce((SELECT max(first + count - 1) FROM page WHERE room = ?1), 0) FROM epoch",
        [RoomId::MAIN.0],
    )?;
    // Accounts made after the backup had ids that other clients may still know and write to.
    target.execute("UPDATE meta SET next_user = coalesce((SELECT max(id) FROM account), 0) + ?1", [USER_STEP])?;
    target.close().map_err(|(_, error)| error)?;
    files::sync_file(path)
}

/// Looks for damage in a data directory, also while its server runs. Gives what is wrong, in words; empty: all is
/// well.
pub fn check(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut db = Location::File(files::existing_database(dir)?).connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let snapshot = db.transaction()?;
    let mut wrong = Vec::new();
    for (what, sql) in CHECKS {
        let mut statement = snapshot.prepare(sql)?;
        for place in statement.query_map([], |row| row.get::<_, String>(0))? {
            wrong.push(format!("{what}: {}", place?));
        }
    }
    if read_keys(dir)?.is_none() {
        wrong.push("the server's keys are missing".into());
    }
    Ok(wrong)
}

/// What [`check`] looks for: each query gives a line for every fault.
const CHECKS: [(&str, &str); 7] = [
    ("the file is damaged", "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
    (
        "a row refers to one that is not there",
        "SELECT \"table\" || ' to ' || parent || ', ' || count(*) || ' rows'
         FROM pragma_foreign_key_check GROUP BY \"table\", parent",
    ),
    (
        "the room's log has a hole or an overlap",
        "SELECT 'room ' || room || ', page #' || first FROM
             (SELECT room, first, lag(first + count, 1, 1) OVER (PARTITION BY room ORDER BY first) AS due FROM page)
         WHERE first <> due",
    ),
    (
        "a page does not follow from the one before",
        "SELECT 'room ' || room || ', page #' || first FROM
             (SELECT room, first, blob, lag(hash, 1, zeroblob(32)) OVER (PARTITION BY room ORDER BY first) AS previous
              FROM page)
         WHERE substr(blob, 1, 32) <> previous",
    ),
    (
        "a message is not in the room's log",
        "SELECT 'room ' || message.room || ', #' || seq FROM message
         WHERE seq > coalesce((SELECT max(first + count - 1) FROM page WHERE page.room = message.room), 0)",
    ),
    (
        "an inbox has a hole or an overlap",
        "SELECT 'inbox ' || user || ', #' || seq FROM
             (SELECT user, seq, entries, lag(seq, 1, 0) OVER (PARTITION BY user ORDER BY seq) AS before
              FROM letter_place JOIN letter ON letter.id = letter_place.letter)
         WHERE seq - entries <> before",
    ),
    (
        "a letter is not in its author's inbox",
        "SELECT 'letter ' || id FROM letter
         WHERE NOT EXISTS (SELECT 1 FROM letter_place WHERE letter = letter.id AND user = letter.author)",
    ),
];

/// Copies a whole database into an empty file, which gets no log beside it.
fn copy(source: &Connection, target: &mut Connection) -> Result<(), StoreError> {
    Backup::new(source, target)?.run_to_completion(ALL_PAGES, BUSY_PAUSE, None)?;
    target.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

/// Refuses a database that SQLite finds damaged.
fn integrity(db: &Connection) -> Result<(), StoreError> {
    let answer: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if answer == "ok" { Ok(()) } else { Err(StoreError::Damaged(answer)) }
}
