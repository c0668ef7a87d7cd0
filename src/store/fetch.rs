//! Answering the core's questions from a connection of their own, which only reads.

use std::collections::BTreeMap;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::error::plain;
use super::load::{page, rows};
use super::server::Location;
use super::value::{bound, count, instance, instance_to_sql, limit, seq, user, users};
use super::{StoreError, search};
use crate::id::{Instance, Ordinal, RoomId, Seq, UserId};
use crate::now::WallMs;
use crate::record::{Decided, Fetch, Fetched, Found, Letter, Origin, PageRecord};

/// The server's database, open for reading beside its [`ServerStore`](super::ServerStore); it may live in another
/// thread. It sees what is committed, and a slow answer holds up no commit.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
}

impl Reader {
    pub(super) fn at(location: &Location) -> Result<Reader, StoreError> {
        let db = location.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.pragma_update(None, "query_only", true)?;
        Ok(Reader { db })
    }

    /// Answers one question, as of one moment.
    pub fn fetch(&mut self, fetch: &Fetch) -> Fetched {
        self.answer(fetch).unwrap_or_else(|error| Fetched::Failed(plain(&error)))
    }

    fn answer(&mut self, fetch: &Fetch) -> rusqlite::Result<Fetched> {
        let snapshot = self.db.transaction()?;
        let db = &snapshot;
        Ok(match fetch {
            Fetch::Pages { room, first, last, limit } => Fetched::Pages(pages(db, *room, *first, *last, *limit)?),
            Fetch::Letters { user, first, last, limit } => Fetched::Letters(letters(db, *user, *first, *last, *limit)?),
            Fetch::Decided { instance, from, limit } => Fetched::Decided(decided(db, *instance, *from, *limit)?),
            Fetch::RoomHistory { room, before, limit } => Fetched::Found(room_history(db, *room, *before, *limit)?),
            Fetch::InboxHistory { user, with, before, limit } => {
                Fetched::Found(inbox_history(db, *user, *with, *before, *limit)?)
            }
            Fetch::Search { user, words, limit } => Fetched::Found(search::search(db, *user, words, *limit)?),
        })
    }
}

fn pages(db: &Connection, room: RoomId, first: Seq, last: Seq, at_most: usize) -> rusqlite::Result<Vec<PageRecord>> {
    // The page that holds `first` is the last one that begins at it or before.
    let sql = "SELECT room, first, count, epoch, hash, blob FROM page
               WHERE room = ?1 AND first <= ?3 AND first + count > ?2
                   AND first >= coalesce((SELECT max(first) FROM page WHERE room = ?1 AND first <= ?2), 0)
               ORDER BY first LIMIT ?4";
    rows(db, sql, params![room.0, bound(first.0), bound(last.0), limit(at_most)], page)
}

fn letters(db: &Connection, owner: UserId, first: Seq, last: Seq, at_most: usize) -> rusqlite::Result<Vec<Letter>> {
    // A letter's entries end at its seq, so that the last one wanted may end a little (a u8) after `last`.
    let sql = "SELECT letter.id, author, recipients, time, text, entries, instance, n
               FROM letter_place AS place JOIN letter ON letter.id = place.letter
               WHERE place.user = ?1 AND place.seq >= ?2 AND place.seq <= ?4 AND place.seq - entries < ?3
               ORDER BY place.seq LIMIT ?5";
    let furthest = bound(last.0.saturating_add(u64::from(u8::MAX)));
    let range = params![owner.0, bound(first.0), bound(last.0), furthest, limit(at_most)];
    let mut letters = rows(db, sql, range, |row| Ok((row.get::<_, i64>(0)?, letter(row)?)))?;
    for (id, letter) in &mut letters {
        letter.places = rows(db, "SELECT user, seq FROM letter_place WHERE letter = ?1 ORDER BY user", [*id], |row| {
            Ok((user(row, 0)?, seq(row, 1)?))
        })?;
    }
    Ok(letters.into_iter().map(|(_, letter)| letter).collect())
}

/// A letter from the columns id, author, recipients, time, text, entries, instance, n; its places come apart.
fn letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    Ok(Letter {
        author: user(row, 1)?,
        to: users(row, 2)?,
        time: WallMs(count(row, 3)?),
        text: row.get(4)?,
        entries: row.get(5)?,
        origin: Origin { instance: instance(row, 6)?, n: Ordinal(count(row, 7)?) },
        places: Vec::new(),
    })
}

fn decided(
    db: &Connection,
    instance: Instance,
    from: Ordinal,
    at_most: usize,
) -> rusqlite::Result<Vec<(Ordinal, Decided)>> {
    let asked = params![instance_to_sql(instance), bound(from.0), limit(at_most)];
    let mut all: BTreeMap<Ordinal, Decided> = BTreeMap::new();
    let in_rooms = "SELECT n, room, seq, others FROM message WHERE instance = ?1 AND n >= ?2 ORDER BY n LIMIT ?3";
    all.extend(rows(db, in_rooms, asked, |row| {
        Ok((Ordinal(count(row, 0)?), Decided::Room { room: RoomId(row.get(1)?), seq: seq(row, 2)?, of: row.get(3)? }))
    })?);
    let in_inboxes = "SELECT n, place.seq, recipients
                      FROM letter JOIN letter_place AS place ON place.letter = letter.id AND place.user = letter.author
                      WHERE instance = ?1 AND n >= ?2 ORDER BY n LIMIT ?3";
    all.extend(rows(db, in_inboxes, asked, |row| {
        Ok((Ordinal(count(row, 0)?), Decided::Inbox { seq: seq(row, 1)?, to: users(row, 2)? }))
    })?);
    let refused = "SELECT n, code FROM refused WHERE instance = ?1 AND n >= ?2 ORDER BY n LIMIT ?3";
    all.extend(rows(db, refused, asked, |row| Ok((Ordinal(count(row, 0)?), Decided::Refused { code: row.get(1)? })))?);
    Ok(all.into_iter().take(at_most).collect())
}

fn room_history(db: &Connection, room: RoomId, before: Option<Seq>, at_most: usize) -> rusqlite::Result<Vec<Found>> {
    let sql = "SELECT seq, author, time, text, room FROM message
               WHERE room = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
    let mut found = rows(db, sql, params![room.0, before_or_newest(before), limit(at_most)], in_room)?;
    found.reverse();
    Ok(found)
}

fn inbox_history(
    db: &Connection,
    owner: UserId,
    with: Option<UserId>,
    before: Option<Seq>,
    at_most: usize,
) -> rusqlite::Result<Vec<Found>> {
    // With somebody else: theirs to me, mine to them. With oneself: mine to me.
    let sql = "SELECT place.seq, author, time, text, recipients
               FROM letter_place AS place JOIN letter ON letter.id = place.letter
               WHERE place.user = ?1 AND place.seq < ?2
                   AND (?3 IS NULL
                       OR author = ?3 AND ?3 <> ?1
                       OR author = ?1 AND instr(' ' || recipients || ' ', ' ' || ?3 || ' ') > 0)
               ORDER BY place.seq DESC LIMIT ?4";
    let asked = params![owner.0, before_or_newest(before), with.map(|user| user.0), limit(at_most)];
    let mut found = rows(db, sql, asked, in_inbox)?;
    found.reverse();
    Ok(found)
}

/// A room's message from the columns seq, author, time, text, room.
pub(super) fn in_room(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found { room: Some(RoomId(row.get(4)?)), to: Vec::new(), ..in_some_log(row)? })
}

/// A private message from the columns seq, author, time, text, recipients.
pub(super) fn in_inbox(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found { room: None, to: users(row, 4)?, ..in_some_log(row)? })
}

fn in_some_log(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        room: None,
        seq: seq(row, 0)?,
        author: user(row, 1)?,
        to: Vec::new(),
        time: WallMs(count(row, 2)?),
        text: row.get(3)?,
    })
}

fn before_or_newest(before: Option<Seq>) -> i64 {
    before.map_or(i64::MAX, |seq| bound(seq.0))
}
