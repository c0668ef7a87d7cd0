//! Search by words, in the room and in the asker's own inbox.
//!
//! Both indexes are walked from the newest row down and left as soon as there are enough hits, so that a word with a
//! million hits costs no more than a rare one. Only whole words are looked for: SQLite gathers every hit of a prefix
//! before it gives the first.

use rusqlite::{Connection, params};

use super::fetch::{in_inbox, in_room};
use super::load::rows;
use super::value::limit;
use crate::id::UserId;
use crate::record::Found;

/// Words looked at: more than anybody types; a page of text pasted by mistake must not keep the reader busy.
const MAX_WORDS: usize = 32;

/// The room's newest hits. CROSS JOIN keeps SQLite to this order: the words first, by falling id, each hit's row after.
pub(super) const ROOM_HITS: &str = "SELECT seq, author, time, message.text, room
     FROM message_words CROSS JOIN message ON message.id = message_words.rowid
     WHERE message_words MATCH ?1 ORDER BY message_words.rowid DESC LIMIT ?2";

/// An inbox's newest hits. The inbox's owner is a word of the index too, so that a word with a million hits in the
/// letters of others is no slower; `letter_place` holds the line once more, and knows the seq.
pub(super) const INBOX_HITS: &str = "SELECT place.seq, author, time, letter.text, recipients
     FROM letter_words CROSS JOIN letter ON letter.id = letter_words.rowid
         CROSS JOIN letter_place AS place ON place.letter = letter.id AND place.user = ?3
     WHERE letter_words MATCH ?1 ORDER BY letter_words.rowid DESC LIMIT ?2";

/// The newest messages that hold all the words, oldest first.
pub(super) fn search(db: &Connection, asker: UserId, words: &str, at_most: usize) -> rusqlite::Result<Vec<Found>> {
    let Some(phrases) = phrases(words) else { return Ok(Vec::new()) };
    let in_text = format!("text : ({phrases})");
    let mut found = rows(db, ROOM_HITS, params![in_text, limit(at_most)], in_room)?;
    let in_own = format!("inboxes : \"{asker}\" AND {in_text}");
    found.extend(rows(db, INBOX_HITS, params![in_own, limit(at_most), asker.0], in_inbox)?);
    found.sort_by_key(|hit| (hit.time, hit.room, hit.seq));
    Ok(found.split_off(found.len().saturating_sub(at_most)))
}

/// What was typed as quoted phrases of FTS5, so that nothing in it is query syntax; None where there is nothing.
/// A phrase without a letter or digit is one that FTS5 leaves out.
fn phrases(words: &str) -> Option<String> {
    let plain = words.replace(char::is_control, " ").replace('"', " ");
    let quoted: Vec<String> = plain.split_whitespace().take(MAX_WORDS).map(|word| format!("\"{word}\"")).collect();
    if quoted.is_empty() { None } else { Some(quoted.join(" ")) }
}
