//! Entries of logs: what a page's or a letters frame's bytes hold (proto.md, section 6).

use serde::{Deserialize, Serialize};

use super::limits::{PART_TEXT, PARTS, RECIPIENTS};
use super::{Malformed, put, take};
use crate::id::UserId;
use crate::now::WallMs;

/// One entry of a room's log or of an inbox. A long text is several, counted down by `rest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who wrote it.
    pub author: UserId,
    /// When it was committed.
    pub time: WallMs,
    /// How many entries of the same message follow.
    pub rest: u8,
    /// To whom, in an inbox; None in a room.
    pub to: Option<Vec<UserId>>,
    /// This entry's share of the text, at most [`PART_TEXT`] bytes.
    pub text: String,
}

#[derive(Serialize, Deserialize)]
struct RoomEntry(u8, UserId, u64, u8, String);

#[derive(Serialize, Deserialize)]
struct InboxEntry(u8, UserId, u64, u8, Vec<UserId>, String);

const ROOM: u8 = 1;
const INBOX: u8 = 2;
/// A MessagePack array of 5: how a room entry begins; an inbox entry is an array of 6.
const ARRAY_OF_5: u8 = 0x95;

impl Entry {
    /// Appends the entry's bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        match &self.to {
            None => put(&(ROOM, self.author, self.time.0, self.rest, &self.text), out),
            Some(to) => put(&(INBOX, self.author, self.time.0, self.rest, to, &self.text), out),
        }
    }

    /// Reads one entry off the front of `bytes`.
    ///
    /// # Errors
    /// [`Malformed::Fields`], [`Malformed::Kind`] or [`Malformed::Bound`].
    pub fn take(bytes: &mut &[u8]) -> Result<Entry, Malformed> {
        let (kind, entry) = if bytes.first() == Some(&ARRAY_OF_5) {
            let RoomEntry(kind, author, time, rest, text) = take(bytes)?;
            (kind, Entry { author, time: WallMs(time), rest, to: None, text })
        } else {
            let InboxEntry(kind, author, time, rest, to, text) = take(bytes)?;
            (kind, Entry { author, time: WallMs(time), rest, to: Some(to), text })
        };
        if kind != if entry.to.is_none() { ROOM } else { INBOX } {
            return Err(Malformed::Kind);
        }
        let recipients = entry.to.as_ref().map_or(0, Vec::len);
        if entry.text.len() > PART_TEXT || usize::from(entry.rest) >= PARTS || recipients > RECIPIENTS {
            return Err(Malformed::Bound);
        }
        Ok(entry)
    }

    /// Reads all entries of a page or a letters frame.
    ///
    /// # Errors
    /// As [`Entry::take`].
    pub fn take_all(mut bytes: &[u8]) -> Result<Vec<Entry>, Malformed> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            entries.push(Entry::take(&mut bytes)?);
        }
        Ok(entries)
    }
}

/// Cuts a text into parts of at most [`PART_TEXT`] bytes, at character boundaries; a short text is one part.
pub fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > PART_TEXT {
        let (part, after) = rest.split_at(rest.floor_char_boundary(PART_TEXT));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, to: Option<Vec<UserId>>) -> Entry {
        Entry { author: UserId(7), time: WallMs(1_700_000_000_000), rest: 0, to, text: text.into() }
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        let entries = [entry("bonjour", None), entry("", Some(vec![])), entry("é", Some(vec![UserId(1), UserId(2)]))];
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.put(&mut bytes));
        assert_eq!(Entry::take_all(&bytes).unwrap(), entries);
        assert_eq!(Entry::take_all(&bytes[..bytes.len() - 1]), Err(Malformed::Fields));
    }

    #[test]
    fn an_entry_beyond_its_bounds_is_refused() {
        let mut bytes = Vec::new();
        entry(&"x".repeat(PART_TEXT + 1), None).put(&mut bytes);
        assert_eq!(Entry::take_all(&bytes), Err(Malformed::Bound));
    }

    #[test]
    fn a_text_is_cut_at_character_boundaries() {
        let text = "é".repeat(2048);
        let cut = parts(&text);
        assert_eq!(cut.concat(), text);
        assert!(cut.len() <= PARTS && cut.iter().all(|part| part.len() <= PART_TEXT));
        assert_eq!(parts(""), [""]);
    }

    #[test]
    fn the_worst_text_of_four_byte_characters_fits_six_parts() {
        let text = format!("abc{}", "🎒".repeat(1023));
        assert!(parts(&text).len() <= PARTS);
    }
}
