//! A room's log in memory: its head, its newest pages as they travel, its tip (proto.md, section 6). Older pages are in
//! the store.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_bytes::{ByteArray, ByteBuf};

use crate::id::{Boot, Epoch, RoomId, Seq, UserId, Version};
use crate::now::WallMs;
use crate::proto::keys::ServerKeys;
use crate::proto::sign::{self, NO_PAGE, PageId, RoomKey};
use crate::proto::suite::Suite;
use crate::record::{LOADED_PAGES, PageHash, PageRecord};
use crate::wire::entry::{self, Entry};
use crate::wire::frame::{self, Frame, SignedTip};
use crate::wire::limits::PAGE_ENTRIES;

/// A room's log. What is here is on disk.
#[derive(Debug)]
pub struct Room {
    id: RoomId,
    suite: Suite,
    /// Every epoch and the head when it began, the current one last; never empty.
    epochs: Vec<(Epoch, Seq)>,
    head: Seq,
    hash: PageHash,
    last_time: WallMs,
    pages: VecDeque<HeldPage>,
    key: Option<RoomKey>,
    tip: Option<SignedTip>,
}

#[derive(Debug)]
struct HeldPage {
    record: PageRecord,
    /// The page frame, encoded (and sealed) once, at the first sending.
    frame: Option<Arc<[u8]>>,
}

/// Where the next entries of a log will stand; given up if they are not stored.
#[derive(Clone, Debug)]
pub struct Draft {
    head: Seq,
    hash: PageHash,
    time: WallMs,
    /// Entries of the page being filled.
    entries: Vec<u8>,
    count: u16,
    /// Pages that are full.
    pages: Vec<PageRecord>,
}

impl Room {
    /// From the newest pages the store holds, oldest first; `key` seals the room.
    pub fn new(
        id: RoomId,
        suite: Suite,
        mut epochs: Vec<(Epoch, Seq)>,
        pages: Vec<PageRecord>,
        key: Option<RoomKey>,
    ) -> Room {
        if epochs.is_empty() {
            epochs.push((Epoch(1), Seq(0)));
        }
        let mut room = Room {
            id,
            suite,
            epochs,
            head: Seq(0),
            hash: NO_PAGE,
            last_time: WallMs(0),
            pages: VecDeque::new(),
            key,
            tip: None,
        };
        pages.into_iter().filter(|page| page.room == id).for_each(|page| room.append(page));
        room
    }

    /// Seq of the newest entry.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The current epoch.
    pub fn epoch(&self) -> Epoch {
        self.epochs[self.epochs.len() - 1].0
    }

    /// Up to where a client that stands in `epoch` has the same history: the head when the first later epoch began.
    /// In the current epoch, and for a client that stands nowhere, the head when the current one began.
    pub fn since(&self, epoch: Option<Epoch>) -> Seq {
        let later = self.epochs.iter().filter(|(other, _)| epoch.is_some_and(|epoch| epoch < *other));
        later.map(|(_, since)| *since).min().unwrap_or(self.epochs[self.epochs.len() - 1].1)
    }

    /// The key in use, in a sealed room.
    pub fn key(&self) -> Option<&RoomKey> {
        self.key.as_ref()
    }

    /// From now on pages are sealed under another key.
    pub fn rekey(&mut self, key: RoomKey) {
        self.key = Some(key);
        self.pages.iter_mut().for_each(|page| page.frame = None);
    }

    /// A new epoch begins at the head.
    pub fn begin_epoch(&mut self, epoch: Epoch, since: Seq) {
        self.epochs.push((epoch, since));
        self.tip = None;
    }

    /// Seq of the oldest entry in memory; one above the head if there is none.
    pub fn held_from(&self) -> Seq {
        self.pages.front().map_or(self.head.next(), |page| page.record.first)
    }

    /// Is it certain that no page of this hash ends at `seq`? Bounds are permanent, so another cut is another history.
    /// What is not in memory is not certain.
    pub fn contradicts(&self, seq: Seq, hash: &PageHash) -> bool {
        self.index_of(seq).is_some_and(|index| {
            let record = &self.pages[index].record;
            record.last() != seq || record.hash != *hash
        })
    }

    /// The frame of the page that holds `seq`, if it is in memory, and the seqs it spans.
    pub fn frame_at(&mut self, seq: Seq) -> Option<(Arc<[u8]>, Seq, Seq)> {
        let index = self.index_of(seq)?;
        let page = &mut self.pages[index];
        let (suite, key) = (self.suite, self.key.as_ref());
        let frame = page.frame.get_or_insert_with(|| encode(suite, &page.record, key));
        Some((frame.clone(), page.record.first, page.record.last()))
    }

    /// The frame of a page read from the store.
    pub fn frame_of(&self, record: &PageRecord) -> Arc<[u8]> {
        encode(self.suite, record, self.key.as_ref())
    }

    /// The bytes of a tip frame.
    pub fn tip_frame(&mut self, keys: &ServerKeys, boot: Boot, roster: Version, status: u8) -> Vec<u8> {
        let (id, epoch, head, hash) = (self.id, self.epoch(), self.head, self.hash);
        let tip = self.tip.get_or_insert_with(|| sign::sign_tip(keys, id, epoch, head, hash));
        let mut bytes = Vec::with_capacity(160);
        Frame::from(frame::Tip {
            room: tip.room,
            epoch: tip.epoch,
            head: tip.head,
            hash: ByteArray::new(tip.hash),
            signature: ByteArray::new(tip.signature),
            boot,
            roster,
            status,
        })
        .put(&mut bytes);
        bytes
    }

    /// Begins to lay out the next entries; `now` stamps them unless the log is ahead of the clock.
    pub fn draft(&self, now: WallMs) -> Draft {
        let time = now.max(self.last_time);
        Draft { head: self.head, hash: self.hash, time, entries: Vec::new(), count: 0, pages: Vec::new() }
    }

    /// Lays out one message, all of its entries; gives the last one's seq.
    pub fn write(&self, draft: &mut Draft, keys: &ServerKeys, author: UserId, text: &str) -> Seq {
        let parts = entry::parts(text);
        let mut bytes = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            bytes.clear();
            let rest = (parts.len() - 1 - index) as u8;
            Entry { author, time: draft.time, rest, to: None, text: (*part).to_owned() }.put(&mut bytes);
            if draft.entries.len() + bytes.len() > PAGE_ENTRIES {
                self.close_page(draft, keys);
            }
            draft.entries.extend_from_slice(&bytes);
            draft.count += 1;
        }
        Seq(draft.head.0 + u64::from(draft.count))
    }

    /// When entries of this draft are stamped.
    pub fn draft_time(draft: &Draft) -> WallMs {
        draft.time
    }

    /// Signs what was laid out: the pages to store, in order.
    pub fn finish(&self, mut draft: Draft, keys: &ServerKeys) -> Vec<PageRecord> {
        if draft.count > 0 {
            self.close_page(&mut draft, keys);
        }
        draft.pages
    }

    fn close_page(&self, draft: &mut Draft, keys: &ServerKeys) {
        let id = PageId { room: self.id, epoch: self.epoch(), first: draft.head.next(), count: draft.count };
        let page = sign::sign_page(keys, id, &draft.hash, &draft.entries);
        draft.entries.clear();
        (draft.head, draft.hash, draft.count) = (page.last(), page.hash, 0);
        draft.pages.push(page);
    }

    /// A page is on disk.
    pub fn append(&mut self, record: PageRecord) {
        if let Some(entry) = last_entry(&record) {
            self.last_time = self.last_time.max(entry.time);
        }
        (self.head, self.hash, self.tip) = (record.last(), record.hash, None);
        if self.pages.len() == LOADED_PAGES {
            self.pages.pop_front();
        }
        self.pages.push_back(HeldPage { record, frame: None });
    }

    fn index_of(&self, seq: Seq) -> Option<usize> {
        let after = self.pages.partition_point(|page| page.record.first <= seq);
        let index = after.checked_sub(1)?;
        (self.pages[index].record.last() >= seq).then_some(index)
    }
}

fn last_entry(record: &PageRecord) -> Option<Entry> {
    let blob = sign::Blob::split(&record.blob)?;
    Entry::take_all(blob.entries).ok()?.pop()
}

fn encode(suite: Suite, record: &PageRecord, key: Option<&RoomKey>) -> Arc<[u8]> {
    let id = PageId { room: record.room, epoch: record.epoch, first: record.first, count: record.count };
    let (number, blob) = match key {
        Some(key) => (key.number, key.seal(suite, id, &record.blob)),
        None => (0, record.blob.clone()),
    };
    let mut bytes = Vec::with_capacity(blob.len() + 32);
    Frame::from(frame::Page {
        room: record.room,
        epoch: record.epoch,
        first: record.first,
        count: record.count,
        key: number,
        blob: ByteBuf::from(blob),
    })
    .put(&mut bytes);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::null_keys;
    use crate::wire::frame::Protection;
    use crate::wire::limits::BODY;

    fn room() -> Room {
        Room::new(RoomId::MAIN, Suite::Null, vec![], vec![], None)
    }

    fn store(room: &mut Room, now: u64, texts: &[&str]) -> Vec<PageRecord> {
        let keys = null_keys();
        let mut draft = room.draft(WallMs(now));
        texts.iter().for_each(|text| {
            room.write(&mut draft, &keys, UserId(1), text);
        });
        let pages = room.finish(draft, &keys);
        pages.iter().for_each(|page| room.append(page.clone()));
        pages
    }

    #[test]
    fn entries_of_one_commit_share_a_page_until_it_is_full() {
        let mut room = room();
        let pages = store(&mut room, 5, &["a", "b", "c"]);
        assert_eq!((pages.len(), pages[0].count, room.head()), (1, 3, Seq(3)));
        let long = "x".repeat(4000);
        let pages = store(&mut room, 5, &[&long]);
        assert_eq!((pages.len(), room.head()), (5, Seq(8)));
        assert!(pages.windows(2).all(|pair| pair[0].last().next() == pair[1].first));
    }

    #[test]
    fn the_fullest_page_fits_a_datagram_sealed_too() {
        let mut room = room();
        store(&mut room, u64::MAX, &["x".repeat(800).as_str(), "y".repeat(180).as_str()]);
        assert_eq!(room.head(), Seq(2));
        let (frame, ..) = room.frame_at(Seq(1)).unwrap();
        assert!(frame.len() + 16 + 10 <= BODY, "{} bytes", frame.len());
    }

    #[test]
    fn time_never_goes_back_along_the_log() {
        let mut room = room();
        store(&mut room, 1000, &["a"]);
        store(&mut room, 400, &["b"]);
        let (frame, ..) = room.frame_at(Seq(2)).unwrap();
        let Frame::Page(page) = Frame::take_all(&frame, Protection::Readable, Some(false)).unwrap().remove(0) else {
            panic!("not a page")
        };
        let blob = sign::Blob::split(&page.blob).unwrap();
        assert_eq!(Entry::take_all(blob.entries).unwrap()[0].time, WallMs(1000));
    }

    #[test]
    fn any_seq_yields_its_page() {
        let mut room = room();
        store(&mut room, 1, &["a", "b"]);
        store(&mut room, 1, &["c"]);
        let spans: Vec<_> =
            (1..=4).map(|seq| room.frame_at(Seq(seq)).map(|(_, first, last)| (first.0, last.0))).collect();
        assert_eq!(spans, [Some((1, 2)), Some((1, 2)), Some((3, 3)), None]);
        let hash = room.pages[0].record.hash;
        assert!(room.contradicts(Seq(1), &hash), "no page ends there");
        assert!(!room.contradicts(Seq(2), &hash));
        assert!(room.contradicts(Seq(2), &[9; 32]) && !room.contradicts(Seq(9), &hash));
    }

    #[test]
    fn a_client_of_an_older_epoch_goes_on_where_the_first_later_one_began() {
        let mut room = room();
        room.begin_epoch(Epoch(2), Seq(300));
        room.begin_epoch(Epoch(3), Seq(500));
        let since = |epoch| room.since(epoch).0;
        assert_eq!(
            [since(Some(Epoch(1))), since(Some(Epoch(2))), since(Some(Epoch(3))), since(None)],
            [300, 500, 500, 500]
        );
    }

    #[test]
    fn a_draft_that_is_given_up_leaves_no_hole() {
        let mut room = room();
        let keys = null_keys();
        let mut draft = room.draft(WallMs(1));
        room.write(&mut draft, &keys, UserId(1), "lost");
        drop(draft);
        assert_eq!(store(&mut room, 1, &["kept"])[0].first, Seq(1));
    }
}
