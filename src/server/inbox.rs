//! Inboxes in memory: the newest entries of the members who are here, and whose receipts are counted (proto.md,
//! sections 6 and 7). Older letters are in the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_bytes::ByteBuf;

use crate::id::{Epoch, Instance, Seq, UserId};
use crate::record::Letter;
use crate::wire::entry::{self, Entry};
use crate::wire::frame::{self, Frame, Range, ReceiptItem};
use crate::wire::limits::{IN_FLIGHT, PAGE_ENTRIES};

use super::receipts::Count;

/// Letters of one inbox whose authors wait for a receipt.
const TRACKED: usize = 1024;
/// Letters in all whose receipts are counted.
const COUNTED: usize = 4096;

/// One member's inbox.
#[derive(Debug, Default)]
struct Inbox {
    head: Seq,
    /// Entries, consecutive up to the head, at most [`IN_FLIGHT`]; empty while the member is away.
    recent: VecDeque<Arc<[u8]>>,
    /// The seqs in `recent` at which a letter ends.
    ends: VecDeque<u64>,
    /// Letters that this member has not acknowledged: place here, author, author's place.
    tracked: VecDeque<(Seq, UserId, Seq)>,
}

impl Inbox {
    /// The seq of the first entry in memory; after the head, if there is none.
    fn oldest(&self) -> u64 {
        self.head.0 + 1 - self.recent.len() as u64
    }

    fn forget(&mut self) {
        self.recent.clear();
        self.ends.clear();
    }
}

#[derive(Debug)]
struct Counted {
    instance: Instance,
    received: u32,
    of: u32,
}

/// All inboxes that have an entry.
#[derive(Debug, Default)]
pub struct Inboxes {
    inboxes: BTreeMap<UserId, Inbox>,
    /// By author and place in the author's inbox.
    counted: BTreeMap<(UserId, Seq), Counted>,
    /// Their keys, oldest first, those that everybody has received too.
    counted_since: VecDeque<(UserId, Seq)>,
}

impl Inboxes {
    /// Takes over the heads that the store holds.
    pub fn reload(&mut self, heads: impl Iterator<Item = (UserId, Seq)>) {
        for (user, head) in heads {
            let inbox = self.inboxes.entry(user).or_default();
            if inbox.head != head {
                inbox.head = head;
                inbox.forget();
            }
        }
    }

    /// The newest seq of a member's inbox.
    pub fn head(&self, user: UserId) -> Seq {
        self.inboxes.get(&user).map_or(Seq(0), |inbox| inbox.head)
    }

    /// A member has no session any more: the store will do for them.
    pub fn release(&mut self, user: UserId) {
        if let Some(inbox) = self.inboxes.get_mut(&user) {
            inbox.forget();
        }
    }

    /// A letter is on disk: `here` says who has a session. The inboxes concerned are those of `letter.places`.
    pub fn append(&mut self, letter: &Letter, here: impl Fn(UserId) -> bool) {
        let entries: Vec<Arc<[u8]>> = entries(letter).into_iter().map(Into::into).collect();
        let author_seq = letter.places.iter().find(|(user, _)| *user == letter.author).map(|(_, seq)| *seq);
        let of = letter.to.iter().filter(|user| **user != letter.author).count() as u32;
        for &(user, seq) in &letter.places {
            let inbox = self.inboxes.entry(user).or_default();
            inbox.head = seq;
            if here(user) {
                inbox.recent.extend(entries.iter().cloned());
                let excess = inbox.recent.len().saturating_sub(IN_FLIGHT);
                inbox.recent.drain(..excess);
                inbox.ends.push_back(seq.0);
                let oldest = inbox.oldest();
                while inbox.ends.front().is_some_and(|end| *end < oldest) {
                    inbox.ends.pop_front();
                }
            } else {
                inbox.forget();
            }
            if let Some(author_seq) = author_seq.filter(|_| user != letter.author) {
                if inbox.tracked.len() == TRACKED {
                    inbox.tracked.pop_front();
                }
                inbox.tracked.push_back((seq, letter.author, author_seq));
            }
        }
        if let Some(author_seq) = author_seq.filter(|_| of > 0) {
            if self.counted_since.len() == COUNTED {
                self.counted_since.pop_front().map(|oldest| self.counted.remove(&oldest));
            }
            self.counted_since.push_back((letter.author, author_seq));
            let counted = Counted { instance: letter.origin.instance, received: 0, of };
            self.counted.insert((letter.author, author_seq), counted);
        }
    }

    /// A member's device acknowledged everything up to `upto`: the authors' counts.
    pub fn on_received(&mut self, user: UserId, upto: Seq, mut changed: impl FnMut(Count)) {
        let Some(inbox) = self.inboxes.get_mut(&user) else { return };
        while let Some(&(seq, author, author_seq)) = inbox.tracked.front().filter(|(seq, ..)| *seq <= upto) {
            inbox.tracked.pop_front();
            debug_assert!(seq <= upto);
            if let Some(counted) = self.counted.get_mut(&(author, author_seq)) {
                counted.received += 1;
                let item = ReceiptItem { seq: author_seq, received: counted.received, of: counted.of };
                changed(Count { instance: counted.instance, item });
                if counted.received == counted.of {
                    self.counted.remove(&(author, author_seq));
                }
            }
        }
    }

    /// The end of the last whole letter in what a device has, if it has everything up to `upto`: a new device that
    /// began in the middle of a letter would show a torn one. None where only the store could tell.
    pub fn whole(&self, user: UserId, upto: u64) -> Option<Seq> {
        let inbox = self.inboxes.get(&user)?;
        if upto >= inbox.head.0 {
            return Some(inbox.head);
        }
        inbox.ends.iter().rev().find(|end| **end <= upto).map(|end| Seq(*end))
    }

    /// The bytes of a letters frame that begins at `first` and goes as far as `last`, the head and the datagram
    /// allow, and the last seq in it; None if `first` is not in memory.
    pub fn frame(&self, user: UserId, epoch: Epoch, first: Seq, last: Seq) -> Option<(Vec<u8>, Seq)> {
        let inbox = self.inboxes.get(&user)?;
        let index = usize::try_from(first.0.checked_sub(inbox.oldest())?).ok()?;
        let wanted = usize::try_from(last.0.checked_sub(first.0)?.saturating_add(1)).ok()?;
        let entries = inbox.recent.iter().skip(index).take(wanted).map(|entry| &entry[..]);
        pack(epoch, first, entries).map(|(bytes, count)| (bytes, Seq(first.0 + count - 1)))
    }
}

/// The bytes of each entry of a letter.
fn entries(letter: &Letter) -> Vec<Vec<u8>> {
    let parts = entry::parts(&letter.text);
    let count = parts.len();
    let entry = |(index, part): (usize, &str)| {
        let rest = (count - 1 - index) as u8;
        let mut bytes = Vec::new();
        let to = Some(letter.to.clone());
        Entry { author: letter.author, time: letter.time, rest, to, text: part.to_owned() }.put(&mut bytes);
        bytes
    };
    parts.into_iter().enumerate().map(entry).collect()
}

/// How many entries a text takes.
pub fn entry_count(text: &str) -> u8 {
    entry::parts(text).len() as u8
}

/// Letters frames for letters read from the store (ascending), with the entries of `first..=last` alone; each with the
/// seqs it spans.
pub fn frames_of(user: UserId, epoch: Epoch, letters: &[Letter], (first, last): Range) -> Vec<(Vec<u8>, Range)> {
    let mut numbered: Vec<(u64, Vec<u8>)> = Vec::new();
    for letter in letters {
        let Some(&(_, seq)) = letter.places.iter().find(|(place, _)| *place == user) else { continue };
        let entries = entries(letter);
        let from = seq.0 + 1 - entries.len() as u64;
        numbered.extend((from..).zip(entries).filter(|(seq, _)| (first..=last).contains(seq)));
    }
    let mut frames = Vec::new();
    let mut rest = &numbered[..];
    while let Some(&(from, _)) = rest.first() {
        let run = rest.iter().zip(from..).take_while(|((seq, _), expected)| seq == expected).count();
        let Some((bytes, count)) = pack(epoch, Seq(from), rest[..run].iter().map(|(_, entry)| &entry[..])) else {
            break;
        };
        frames.push((bytes, (from, from + count - 1)));
        rest = &rest[count as usize..];
    }
    frames
}

/// A letters frame of as many entries as fit, and how many that is; None of none.
fn pack<'a>(epoch: Epoch, first: Seq, entries: impl Iterator<Item = &'a [u8]>) -> Option<(Vec<u8>, u64)> {
    let mut packed = Vec::new();
    let mut count = 0;
    for entry in entries {
        if packed.len() + entry.len() > PAGE_ENTRIES && count > 0 {
            break;
        }
        packed.extend_from_slice(entry);
        count += 1;
    }
    if count == 0 {
        return None;
    }
    let mut bytes = Vec::with_capacity(packed.len() + 24);
    Frame::from(frame::Letters { epoch, first, entries: ByteBuf::from(packed) }).put(&mut bytes);
    Some((bytes, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ordinal;
    use crate::now::WallMs;
    use crate::record::Origin;
    use crate::wire::frame::Protection;
    use crate::wire::limits::BODY;

    const AMINA: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    fn letter(n: u64, text: &str, places: &[(UserId, u64)]) -> Letter {
        Letter {
            author: AMINA,
            to: vec![BOB],
            time: WallMs(1),
            text: text.into(),
            origin: Origin { instance: Instance(9), n: Ordinal(n) },
            places: places.iter().map(|&(user, seq)| (user, Seq(seq))).collect(),
            entries: entry_count(text),
        }
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        let Frame::Letters(letters) = Frame::take_all(bytes, Protection::Sealed, Some(false)).unwrap().remove(0) else {
            panic!("not letters")
        };
        Entry::take_all(&letters.entries).unwrap().into_iter().map(|entry| entry.text).collect()
    }

    #[test]
    fn entries_of_those_who_are_here_are_framed_from_memory() {
        let mut inboxes = Inboxes::default();
        inboxes.append(&letter(1, "un", &[(AMINA, 1), (BOB, 4)]), |user| user == BOB);
        inboxes.append(&letter(2, "deux", &[(AMINA, 2), (BOB, 5)]), |user| user == BOB);
        let (bytes, last) = inboxes.frame(BOB, Epoch(1), Seq(4), Seq(9)).unwrap();
        assert_eq!((texts(&bytes), last), (vec!["un".to_owned(), "deux".to_owned()], Seq(5)));
        assert!(inboxes.frame(BOB, Epoch(1), Seq(3), Seq(9)).is_none());
        assert!(inboxes.frame(AMINA, Epoch(1), Seq(1), Seq(9)).is_none(), "not here");
        assert_eq!(inboxes.head(AMINA), Seq(2));
    }

    #[test]
    fn long_letters_are_cut_into_frames_that_fit() {
        let long = "x".repeat(4096);
        let letters = [letter(1, &long, &[(BOB, 6)]), letter(2, "short", &[(BOB, 7)])];
        let frames = frames_of(BOB, Epoch(1), &letters, (1, 7));
        assert!(frames.iter().all(|(bytes, _)| bytes.len() <= BODY));
        assert_eq!(frames.iter().map(|(bytes, _)| texts(bytes).concat()).collect::<String>(), long + "short");
        assert_eq!((frames[0].1.0, frames.last().unwrap().1.1), (1, 7));
        assert_eq!(frames_of(BOB, Epoch(1), &letters, (7, 7)).len(), 1);
    }

    #[test]
    fn what_was_received_ends_with_a_whole_letter() {
        let mut inboxes = Inboxes::default();
        inboxes.append(&letter(1, "un", &[(BOB, 1)]), |_| true);
        inboxes.append(&letter(2, &"x".repeat(2000), &[(BOB, 4)]), |_| true);
        inboxes.append(&letter(3, "trois", &[(BOB, 5)]), |_| true);
        let whole: Vec<_> = (0..=6).map(|upto| inboxes.whole(BOB, upto)).collect();
        assert_eq!(whole, [None, Some(1), Some(1), Some(1), Some(4), Some(5), Some(5)].map(|end| end.map(Seq)));
        inboxes.release(BOB);
        assert_eq!((inboxes.whole(BOB, 4), inboxes.whole(BOB, 5)), (None, Some(Seq(5))));
    }

    #[test]
    fn a_recipient_counts_once_when_they_have_it() {
        let mut inboxes = Inboxes::default();
        inboxes.append(&letter(1, "un", &[(AMINA, 1), (BOB, 4)]), |_| true);
        let mut counts = Vec::new();
        inboxes.on_received(BOB, Seq(3), |count| counts.push(count.item));
        assert_eq!(counts, []);
        inboxes.on_received(BOB, Seq(4), |count| counts.push(count.item));
        inboxes.on_received(BOB, Seq(4), |count| counts.push(count.item));
        inboxes.on_received(AMINA, Seq(1), |count| counts.push(count.item));
        assert_eq!(counts, [ReceiptItem { seq: Seq(1), received: 1, of: 1 }]);
    }
}
