//! Reading what the server's core keeps in memory: everything but texts, letters and old pages.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::value::{count, credential, hash, instance, limit, seq, user};
use crate::id::{Epoch, Ordinal, RoomId, UserId};
use crate::now::WallMs;
use crate::record::{Account, LOADED_PAGES, Loaded, PageRecord, Role, SecretHash, Token};

/// Reads all of it; the caller holds a transaction, so that it is of one moment.
pub(super) fn load(db: &Connection) -> rusqlite::Result<Loaded> {
    Ok(Loaded {
        accounts: accounts(db)?,
        taken: rows(db, "SELECT name_key, user FROM name ORDER BY name_key", [], |row| {
            Ok((row.get(0)?, user(row, 1)?))
        })?,
        tokens: rows(db, "SELECT hash, user, expires FROM token ORDER BY user, expires, hash", [], |row| {
            Ok(Token { hash: hash(row, 0)?, user: user(row, 1)?, expires: WallMs(count(row, 2)?) })
        })?,
        epochs: rows(db, "SELECT epoch, since FROM epoch ORDER BY epoch", [], |row| {
            Ok((Epoch(row.get(0)?), seq(row, 1)?))
        })?,
        pages: newest_pages(db)?,
        newest_letter: db
            .query_row("SELECT time FROM letter ORDER BY id DESC LIMIT 1", [], |row| count(row, 0))
            .optional()?
            .map_or(WallMs(0), WallMs),
        instances: rows(db, "SELECT instance, user, decided FROM instance ORDER BY instance", [], |row| {
            Ok((instance(row, 0)?, user(row, 1)?, Ordinal(count(row, 2)?)))
        })?,
        next_user: UserId(db.query_row("SELECT next_user FROM meta", [], |row| row.get(0))?),
        registration_open: db.query_row("SELECT registration_open FROM meta", [], |row| row.get(0))?,
    })
}

fn accounts(db: &Connection) -> rusqlite::Result<Vec<Account>> {
    let mut devices: BTreeMap<UserId, Vec<SecretHash>> = BTreeMap::new();
    for (user, hash) in
        rows(db, "SELECT user, hash FROM device ORDER BY id", [], |row| Ok((user(row, 0)?, hash(row, 1)?)))?
    {
        devices.entry(user).or_default().push(hash);
    }
    let sql = "SELECT id, username, name_key, first_name, last_name, former, teacher, removed,
                   password_identifier, password_upload, recovery_identifier, recovery_upload,
                   reset_identifier, reset_upload, reset_expires, inbox_received, revocations,
                   coalesce((SELECT max(seq) FROM letter_place WHERE letter_place.user = account.id), 0)
               FROM account ORDER BY id";
    rows(db, sql, [], |row| {
        let id = user(row, 0)?;
        let expires: Option<i64> = row.get(14)?;
        Ok(Account {
            id,
            username: row.get(1)?,
            name_key: row.get(2)?,
            first_name: row.get(3)?,
            last_name: row.get(4)?,
            former: row.get(5)?,
            role: if row.get(6)? { Role::Teacher } else { Role::Member },
            removed: row.get(7)?,
            password: credential(row, 8)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?,
            recovery: credential(row, 10)?,
            reset: credential(row, 12)?.zip(expires.map(|ms| WallMs(ms.cast_unsigned()))),
            inbox_received: seq(row, 15)?,
            revocations: count(row, 16)?,
            inbox_head: seq(row, 17)?,
            devices: devices.remove(&id).unwrap_or_default(),
        })
    })
}

/// The newest pages of each room, rooms in order, each oldest first. Rooms are found by hopping from one to the next:
/// a DISTINCT would read the whole index.
fn newest_pages(db: &Connection) -> rusqlite::Result<Vec<PageRecord>> {
    let mut pages = Vec::new();
    let mut after = -1;
    let next_room = "SELECT room FROM page WHERE room > ?1 ORDER BY room LIMIT 1";
    while let Some(room) = db.query_row(next_room, [after], |row| row.get::<_, i64>(0)).optional()? {
        let sql = "SELECT room, first, count, epoch, hash, blob FROM page WHERE room = ?1 ORDER BY first DESC LIMIT ?2";
        let newest = rows(db, sql, params![room, limit(LOADED_PAGES)], page)?;
        pages.extend(newest.into_iter().rev());
        after = room;
    }
    Ok(pages)
}

/// A page from the columns room, first, count, epoch, hash, blob.
pub(super) fn page(row: &Row<'_>) -> rusqlite::Result<PageRecord> {
    Ok(PageRecord {
        room: RoomId(row.get(0)?),
        first: seq(row, 1)?,
        count: row.get(2)?,
        epoch: Epoch(row.get(3)?),
        hash: row.get(4)?,
        blob: row.get(5)?,
    })
}

/// All rows of a query.
pub(super) fn rows<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map(params, read)?.collect()
}
