//! A client's profile: who it is, how far it read, and its outbox, in a directory that one process has at a time.

use std::path::Path;
use std::sync::LazyLock;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use rusqlite_migration::{M, Migrations};

use super::value::{bound, count, instance, instance_to_sql, user, users, users_to_sql};
use super::{DirLock, ProfileError, files, load};
use crate::id::{Epoch, Instance, Ordinal, Seq};
use crate::now::WallMs;
use crate::record::{Keep, Profile, Queued};

static MIGRATIONS: LazyLock<Migrations<'static>> =
    LazyLock::new(|| Migrations::new(vec![M::up(include_str!("../../migrations/profile/001-first-tables.sql"))]));

/// The profile's database in its directory.
const PROFILE_FILE: &str = "profile.db";

/// A profile, open and locked. It belongs to one account at one room: the caller gives each its directory.
#[derive(Debug)]
pub struct ProfileStore {
    // Closed before the lock is freed: fields are dropped in this order.
    db: Connection,
    _lock: DirLock,
}

impl ProfileStore {
    /// Opens the profile in `dir`, making both, private, where absent. `fresh_instance` is 64 random bits, used only
    /// where the profile is new.
    pub fn open(dir: &Path, fresh_instance: u64) -> Result<(ProfileStore, Profile), ProfileError> {
        let lock = files::lock_dir(dir)?.ok_or(ProfileError::InUse)?;
        let path = dir.join(PROFILE_FILE);
        files::create_private(&path)?;
        let mut db = Connection::open(&path)?;
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?; // ours alone: no shared memory beside it
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "fullfsync", true)?; // macOS, where fsync alone does not reach the disk
        db.pragma_update(None, "secure_delete", true)?; // a forgotten token is to be gone
        MIGRATIONS.to_latest(&mut db).map_err(|error| ProfileError::Store(error.into()))?;
        db.execute(
            "INSERT INTO profile (id, instance, next) VALUES (1, ?1, 1) ON CONFLICT DO NOTHING",
            [instance_to_sql(Instance(fresh_instance))],
        )?;
        let profile = read(&db)?;
        Ok((ProfileStore { db, _lock: lock }, profile))
    }

    /// Keeps all of it, flushed to disk, or nothing.
    pub fn keep(&mut self, changes: &[Keep]) -> Result<(), ProfileError> {
        if changes.is_empty() {
            return Ok(());
        }
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in changes {
            keep(&transaction, change)?;
        }
        Ok(transaction.commit()?)
    }
}

fn keep(db: &Transaction<'_>, change: &Keep) -> Result<(), ProfileError> {
    match change {
        Keep::Pin(pin) => db.execute("UPDATE profile SET pin = ?1", params![pin])?,
        Keep::Queue(queued) => {
            let n = bound(queued.n.0);
            if db.execute("UPDATE profile SET next = ?1 + 1 WHERE next <= ?1 AND ?1 < ?2", params![n, i64::MAX])? == 0 {
                return Err(ProfileError::NumberUsed(queued.n));
            }
            db.prepare_cached("INSERT INTO outbox (n, recipients, text) VALUES (?1, ?2, ?3)")?.execute(params![
                n,
                users_to_sql(&queued.to),
                queued.text
            ])?
        }
        Keep::Settle(n) => db.execute("DELETE FROM outbox WHERE n = ?1", params![bound(n.0)])?,
        Keep::RoomCursor { epoch, seq } => {
            db.execute("UPDATE profile SET room_epoch = ?1, room_seq = ?2", params![epoch.0, bound(seq.0)])?
        }
        Keep::Tip(tip) => db.execute("UPDATE profile SET tip = ?1", params![tip])?,
        Keep::InboxCursor { epoch, seq } => {
            db.execute("UPDATE profile SET inbox_epoch = ?1, inbox_seq = ?2", params![epoch.0, bound(seq.0)])?
        }
        Keep::Token(token) => db.execute(
            "UPDATE profile SET token = ?1, token_expires = ?2",
            params![token.map(|(token, _)| token), token.map(|(_, expires)| bound(expires.0))],
        )?,
        Keep::Device(device) => db.execute("UPDATE profile SET device = ?1", params![device])?,
        Keep::User { id, username } => {
            db.execute("UPDATE profile SET user = ?1, username = ?2", params![id.0, username])?
        }
    };
    Ok(())
}

fn read(db: &Connection) -> rusqlite::Result<Profile> {
    let outbox = load::rows(db, "SELECT n, recipients, text FROM outbox ORDER BY n", [], |row| {
        Ok(Queued { n: Ordinal(count(row, 0)?), to: users(row, 1)?, text: row.get(2)? })
    })?;
    let sql = "SELECT instance, next, pin, room_epoch, room_seq, inbox_epoch, inbox_seq, tip, token, token_expires,
                   device, user, username
               FROM profile";
    db.query_row(sql, [], |row| {
        let cursor = |column| -> rusqlite::Result<_> {
            let epoch: Option<u32> = row.get(column)?;
            let seq = epoch.map(|_| count(row, column + 1)).transpose()?;
            Ok(epoch.map(Epoch).zip(seq.map(Seq)))
        };
        let token: Option<[u8; 32]> = row.get(8)?;
        let username: Option<String> = row.get(12)?;
        Ok(Profile {
            instance: instance(row, 0)?,
            next: Ordinal(count(row, 1)?),
            outbox,
            pin: row.get(2)?,
            room_cursor: cursor(3)?,
            inbox_cursor: cursor(5)?,
            tip: row.get(7)?,
            token: token.map(|token| count(row, 9).map(|expires| (token, WallMs(expires)))).transpose()?,
            device: row.get(10)?,
            user: username.map(|name| user(row, 11).map(|id| (id, name))).transpose()?,
        })
    })
}
