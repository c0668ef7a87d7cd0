//! The receiving side of one log, the room's or one's inbox (proto.md, sections 6 and 7): what has arrived, what to
//! acknowledge, which gap to ask for, and every message once and in order.
//!
//! It lives as long as the client: sessions come and go, and none of them can make it show a message twice. Opening
//! sealed pages and turning asks into frames is left to the client.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{Epoch, Seq};
use crate::now::Instant;
use crate::proto::ranges::Ranges;
use crate::proto::rtt::{Rtt, jittered};
use crate::wire::Malformed;
use crate::wire::entry::Entry;
use crate::wire::frame::Range;
use crate::wire::limits::{ACK_DELAY, ACK_EVERY, WANT_ENTRIES, WANT_PAGES};

/// One log as far as it has come here.
#[derive(Debug)]
pub struct Log {
    kind: Kind,
    epoch: Epoch,
    /// Has a session with this log begun in this run?
    attached: bool,
    /// None in a fresh profile, until the first session says where to start.
    shown: Option<Seq>,
    /// All that arrived. Everything up to its `upto` went through `partial`.
    have: Ranges,
    /// Pages above a gap, by their first seq: at most [`WAITING`].
    waiting: BTreeMap<u64, Vec<Entry>>,
    /// The beginning of a long message whose end has not come yet.
    partial: Option<Entry>,
    /// The newest entry known to exist.
    head: u64,
    /// Up to here the client asks for what it lacks; the server pushes what lies beyond.
    asking_to: u64,
    want: Option<Want>,
    /// When something new came last, or the session began.
    progress: Instant,
    /// When the highest entry came.
    highest_at: Instant,
    unacked: u32,
    ack_due: Option<Instant>,
}

/// Which of the two it is: what its entries must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entries for everybody.
    Room,
    /// Entries with recipients.
    Inbox,
}

/// What a page brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Something new.
    New,
    /// Nothing new.
    Again,
    /// New, but there is no room for it before the gap below is filled; it is asked for later.
    Overfull,
}

/// What to acknowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Everything up to here.
    pub upto: u64,
    /// Since the highest arrived, in microseconds.
    pub delay_us: u32,
    /// And these.
    pub ranges: Vec<Range>,
}

/// Where a log stands when a session begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The server's epoch.
    pub epoch: Epoch,
    /// Its newest entry.
    pub head: Seq,
    /// Where a fresh profile starts.
    pub fresh: Seq,
    /// The server's history and ours agree up to here; None: as far as ours goes.
    pub agrees_to: Option<Seq>,
}

#[derive(Debug)]
struct Want {
    last: u64,
    pages: usize,
    /// Askings without anything new since.
    backoff: u32,
    asked: Instant,
}

/// Pages that wait above a gap: twice what a server has in flight, so that live pages are kept while old ones are
/// fetched; half a megabyte.
pub const WAITING: usize = 512;
/// Wants in vain after which the wait grows no more: a question is small, and what it asks for is missed by a person.
const WANT_BACKOFF: u32 = 2;
/// When nothing new came for so long though there is more, the client asks (proto.md, section 7).
const STALL: Duration = Duration::from_secs(1);

impl Log {
    /// A log as the profile kept it; `cursor` is None where nothing was kept.
    pub fn new(kind: Kind, cursor: Option<(Epoch, Seq)>) -> Log {
        let (epoch, seq) = cursor.unwrap_or_default();
        Log {
            kind,
            epoch,
            attached: false,
            shown: cursor.map(|_| seq),
            have: Ranges::up_to(seq.0),
            waiting: BTreeMap::new(),
            partial: None,
            head: seq.0,
            asking_to: seq.0,
            want: None,
            progress: Instant::default(),
            highest_at: Instant::default(),
            unacked: 0,
            ack_due: None,
        }
    }

    /// The current epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Up to where everything was shown; None in a fresh profile.
    pub fn cursor(&self) -> Option<(Epoch, Seq)> {
        self.shown.map(|seq| (self.epoch, seq))
    }

    /// A session begins. Gives the seq after which what is shown goes on, if what was shown beyond it is not in the
    /// server's history any more (proto.md, Epochs).
    pub fn on_session(&mut self, now: Instant, start: Start) -> Option<Seq> {
        let from = self.shown.unwrap_or(start.fresh);
        let restored = start.agrees_to.filter(|&agreed| self.shown.is_some_and(|shown| shown > agreed));
        if self.shown.is_none() || restored.is_some() {
            self.restart_at(restored.unwrap_or(from));
        } else if start.agrees_to.is_some_and(|agreed| self.have.highest() > agreed.0) {
            self.restart_at(from);
        }
        self.attached = true;
        self.epoch = start.epoch;
        self.head = self.have.highest().max(start.head.0);
        self.asking_to = start.head.0;
        self.want = None;
        self.progress = now;
        restored
    }

    /// The server is in a new epoch while the session goes on: seqs go on too.
    pub fn on_epoch(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
    }

    /// The log goes on to here at least.
    pub fn on_head(&mut self, head: Seq) {
        if self.attached {
            self.head = self.head.max(head.0);
        }
    }

    /// Is a page with these permanent bounds here already? If so it is acknowledged again, and need not be opened.
    pub fn has_page(&mut self, now: Instant, first: Seq, count: u16) -> bool {
        let last = first.0.saturating_add(u64::from(count).saturating_sub(1));
        let known = self.attached && self.have.contains(first.0) && self.have.contains(last);
        if known {
            self.ack_due = Some(now);
        }
        known
    }

    /// Entries from `first` on came; `count` is what their frame says, where it says so. Whole messages that are now
    /// next in order are given to `show`, with the whole text, under their last entry's seq.
    ///
    /// # Errors
    /// When the entries are not well formed, not of this log's kind, or not `count`; nothing has changed then.
    pub fn on_entries(
        &mut self,
        now: Instant,
        first: Seq,
        count: Option<u16>,
        bytes: &[u8],
        mut show: impl FnMut(Seq, Entry),
    ) -> Result<Arrival, Malformed> {
        if !self.attached {
            return Ok(Arrival::Overfull);
        }
        let entries = Entry::take_all(bytes)?;
        let fits = count.is_none_or(|count| usize::from(count) == entries.len());
        let kind_fits = entries.iter().all(|entry| entry.to.is_some() == (self.kind == Kind::Inbox));
        if entries.is_empty() || !fits || !kind_fits {
            return Err(Malformed::Fields);
        }
        let last = first.0.checked_add(entries.len() as u64 - 1).ok_or(Malformed::Bound)?;
        let in_order = first.0 <= self.have.upto() + 1;
        if !in_order && self.waiting.len() >= WAITING && !self.waiting.contains_key(&first.0) {
            self.asking_to = self.asking_to.max(last);
            return Ok(Arrival::Overfull);
        }
        Ok(self.take_in(now, first.0, last, entries, &mut show))
    }

    /// The ack that is due, or that may ride with data if `riding`.
    pub fn take_ack(&mut self, now: Instant, riding: bool) -> Option<Acked> {
        self.ack_due.filter(|&due| riding || due <= now)?;
        (self.ack_due, self.unacked) = (None, 0);
        let delay_us = now.since(self.highest_at).as_micros().min(u128::from(u32::MAX)) as u32;
        Some(Acked { upto: self.have.upto(), delay_us, ranges: self.have.for_ack() })
    }

    /// When an ack must leave, alone if need be.
    pub fn ack_due(&self) -> Option<Instant> {
        self.ack_due
    }

    /// The range to ask for now, if there is one.
    pub fn take_want(&mut self, now: Instant, rtt: &Rtt) -> Option<(Seq, Seq)> {
        if self.stalled_at().is_some_and(|at| at <= now) {
            self.asking_to = self.head;
        }
        if self.have.upto() >= self.asking_to {
            self.want = None;
            return None;
        }
        let (first, last) = self.have.first_gap(self.asking_to)?;
        let mut backoff = 0;
        if let Some(want) = &self.want {
            let whole = first > want.last || want.pages >= WANT_PAGES;
            if !whole {
                if self.want_again_at(want, rtt) > now {
                    return None;
                }
                backoff = want.backoff + 1;
            }
        }
        let last = last.min(first + (WANT_ENTRIES - 1));
        self.want = Some(Want { last, pages: 0, backoff, asked: now });
        Some((Seq(first), Seq(last)))
    }

    /// When [`Log::take_want`] may have something to ask without a datagram having come.
    pub fn want_due(&self, rtt: &Rtt) -> Option<Instant> {
        let again = self.want.as_ref().map(|want| self.want_again_at(want, rtt));
        [again, self.stalled_at()].into_iter().flatten().min()
    }

    fn want_again_at(&self, want: &Want, rtt: &Rtt) -> Instant {
        // The jitter need only differ between members and askings.
        let draw = (self.progress.0 ^ want.last ^ u64::from(want.backoff)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.progress.max(want.asked) + jittered(rtt.probe_timeout(want.backoff.min(WANT_BACKOFF)), (draw >> 32) as u32)
    }

    /// When the client starts asking for what should have been pushed.
    fn stalled_at(&self) -> Option<Instant> {
        (self.attached && self.asking_to < self.head && self.have.upto() < self.head).then(|| self.progress + STALL)
    }

    fn restart_at(&mut self, seq: Seq) {
        self.have = Ranges::up_to(seq.0);
        self.waiting.clear();
        self.partial = None;
        self.shown = Some(seq);
        self.ack_due = None;
    }

    fn take_in(
        &mut self,
        now: Instant,
        first: u64,
        last: u64,
        entries: Vec<Entry>,
        show: &mut impl FnMut(Seq, Entry),
    ) -> Arrival {
        let (done, highest) = (self.have.upto(), self.have.highest());
        let mut new = false;
        self.have.insert(first, last, |_, _| new = true);
        if !new {
            self.ack_due = Some(now);
            return Arrival::Again;
        }
        self.progress = now;
        self.head = self.head.max(last);
        if last > highest {
            self.highest_at = now;
        }
        if let Some(want) = &mut self.want {
            want.pages += usize::from(first <= want.last);
            want.backoff = 0;
        }
        if first > done + 1 {
            self.ack_due = Some(now);
            let held = self.waiting.entry(first).or_default();
            if held.len() < entries.len() {
                *held = entries;
            }
            return Arrival::New;
        }
        self.unacked += 1;
        let by = if self.unacked >= ACK_EVERY { now } else { now + ACK_DELAY };
        self.ack_due = Some(self.ack_due.map_or(by, |due| due.min(by)));
        let mut done = self.pass_on(done, first, entries, show);
        while let Some(next) = self.waiting.first_entry().filter(|next| *next.key() <= done + 1) {
            let (first, entries) = next.remove_entry();
            done = self.pass_on(done, first, entries, show);
        }
        Arrival::New
    }

    /// Puts the entries above `done` through the assembly of messages; gives the last one's seq.
    fn pass_on(&mut self, done: u64, first: u64, entries: Vec<Entry>, show: &mut impl FnMut(Seq, Entry)) -> u64 {
        let last = first + (entries.len() as u64 - 1);
        let known = (done + 1).saturating_sub(first).min(entries.len() as u64) as usize;
        for (seq, entry) in (first..).zip(entries).skip(known) {
            if let Some(whole) = self.assemble(entry) {
                show(Seq(seq), whole);
                self.shown = Some(Seq(seq));
            }
        }
        last.max(done)
    }

    fn assemble(&mut self, entry: Entry) -> Option<Entry> {
        let whole = match self.partial.take() {
            Some(mut partial) if partial.rest == entry.rest + 1 && partial.author == entry.author => {
                partial.text.push_str(&entry.text);
                Entry { text: partial.text, ..entry }
            }
            _ => entry,
        };
        if whole.rest == 0 {
            return Some(whole);
        }
        self.partial = Some(whole);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::UserId;
    use crate::now::WallMs;

    const MS: u64 = 1000;

    fn bytes(texts: &[(&str, u8)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(text, rest) in texts {
            Entry { author: UserId(1), time: WallMs(9), rest, to: None, text: text.into() }.put(&mut bytes);
        }
        bytes
    }

    fn start(head: u64) -> Start {
        Start { epoch: Epoch(1), head: Seq(head), fresh: Seq(head), agrees_to: None }
    }

    fn began(cursor: u64, head: u64) -> Log {
        let mut log = Log::new(Kind::Room, Some((Epoch(1), Seq(cursor))));
        assert_eq!(log.on_session(Instant(0), start(head)), None);
        log
    }

    /// Hands in one-entry messages named by their seq; gives what was shown.
    fn page(log: &mut Log, at: u64, first: u64, last: u64) -> (Arrival, Vec<u64>) {
        let texts: Vec<String> = (first..=last).map(|seq| seq.to_string()).collect();
        let texts: Vec<(&str, u8)> = texts.iter().map(|text| (text.as_str(), 0)).collect();
        let mut shown = Vec::new();
        let count = Some((last - first + 1) as u16);
        let arrival = log.on_entries(Instant(at), Seq(first), count, &bytes(&texts), |seq, entry| {
            assert_eq!(entry.text, seq.to_string());
            shown.push(seq.0);
        });
        (arrival.unwrap(), shown)
    }

    #[test]
    fn messages_are_shown_once_and_in_order_however_they_come() {
        let mut log = began(0, 0);
        assert_eq!(page(&mut log, 1, 3, 4), (Arrival::New, vec![]));
        assert_eq!(page(&mut log, 2, 6, 6), (Arrival::New, vec![]));
        assert_eq!(page(&mut log, 3, 3, 4), (Arrival::Again, vec![]));
        assert_eq!(page(&mut log, 4, 1, 2), (Arrival::New, vec![1, 2, 3, 4]));
        assert_eq!(page(&mut log, 5, 5, 5), (Arrival::New, vec![5, 6]));
        assert_eq!(page(&mut log, 6, 5, 5), (Arrival::Again, vec![]));
        assert_eq!(log.cursor(), Some((Epoch(1), Seq(6))));
    }

    #[test]
    fn letters_cut_differently_the_second_time_are_not_shown_twice() {
        let mut log = began(0, 0);
        assert!(page(&mut log, 1, 2, 3).1.is_empty());
        assert_eq!(page(&mut log, 2, 1, 2).1, [1, 2, 3]);
        assert_eq!(page(&mut log, 3, 3, 5).1, [4, 5]);
    }

    #[test]
    fn a_long_message_is_shown_whole_under_its_last_seq() {
        let mut log = began(0, 0);
        let mut shown = Vec::new();
        log.on_entries(Instant(1), Seq(1), Some(2), &bytes(&[("one", 0), ("long ", 2)]), |seq, e| {
            shown.push((seq, e.text))
        })
        .unwrap();
        assert_eq!(log.cursor(), Some((Epoch(1), Seq(1))), "not beyond what was shown");
        log.on_entries(Instant(2), Seq(3), Some(2), &bytes(&[("and ", 1), ("whole", 0)]), |seq, e| {
            shown.push((seq, e.text))
        })
        .unwrap();
        assert_eq!(shown, [(Seq(1), "one".into()), (Seq(4), "long and whole".into())]);
    }

    #[test]
    fn entries_that_are_not_as_said_change_nothing() {
        let mut log = began(0, 0);
        let mut nothing =
            |count, bytes: &[u8]| log.on_entries(Instant(1), Seq(1), count, bytes, |_, _| panic!("shown"));
        assert!(nothing(Some(2), &bytes(&[("one", 0)])).is_err());
        assert!(nothing(None, &[]).is_err());
        assert!(nothing(Some(1), &[0xc1]).is_err());
        let mut letter = Vec::new();
        Entry { author: UserId(1), time: WallMs(9), rest: 0, to: Some(vec![]), text: String::new() }.put(&mut letter);
        assert!(nothing(Some(1), &letter).is_err());
        assert!(log.on_entries(Instant(1), Seq(u64::MAX), None, &bytes(&[("a", 0), ("b", 0)]), |_, _| {}).is_err());
        assert_eq!(log.cursor(), Some((Epoch(1), Seq(0))));
    }

    #[test]
    fn acks_wait_for_company_but_not_for_long() {
        let mut log = began(0, 0);
        page(&mut log, 10, 1, 2);
        assert_eq!(log.take_ack(Instant(10), false), None);
        assert_eq!(log.ack_due(), Some(Instant(10 + 25 * MS)));
        assert_eq!(log.take_ack(Instant(12), true), Some(Acked { upto: 2, delay_us: 2, ranges: vec![] }));
        assert_eq!(log.ack_due(), None);
        for seq in 3..67 {
            page(&mut log, 20, seq, seq);
        }
        assert_eq!(log.take_ack(Instant(20), false), Some(Acked { upto: 66, delay_us: 0, ranges: vec![] }));
    }

    #[test]
    fn a_gap_or_a_duplicate_is_acknowledged_at_once() {
        let mut log = began(0, 0);
        page(&mut log, 10, 2, 3);
        assert_eq!(log.take_ack(Instant(10), false), Some(Acked { upto: 0, delay_us: 0, ranges: vec![(2, 3)] }));
        page(&mut log, 15, 2, 3);
        assert_eq!(log.take_ack(Instant(15), false), Some(Acked { upto: 0, delay_us: 5, ranges: vec![(2, 3)] }));
    }

    #[test]
    fn what_lies_before_the_session_is_asked_for_gap_by_gap() {
        let (mut log, rtt) = (began(10, 20), Rtt::default());
        page(&mut log, 1, 21, 21);
        page(&mut log, 1, 14, 15);
        assert_eq!(log.take_want(Instant(2), &rtt), Some((Seq(11), Seq(13))));
        assert_eq!(log.take_want(Instant(2), &rtt), None, "one in flight");
        page(&mut log, 3, 11, 13);
        assert_eq!(log.take_want(Instant(3), &rtt), Some((Seq(16), Seq(20))), "at once when the range has come");
        let due = log.want_due(&rtt).unwrap();
        assert_eq!(log.take_want(Instant(due.0 - 1), &rtt), None);
        assert_eq!(log.take_want(due, &rtt), Some((Seq(16), Seq(20))), "again after a probe timeout");
        assert!(log.want_due(&rtt).unwrap().since(due) > due.since(Instant(3)), "more and more slowly");
        assert_eq!(page(&mut log, due.0 + 1, 16, 20).1.len(), 6);
        assert_eq!(log.take_want(Instant(due.0 + 1), &rtt), None);
        assert_eq!(log.want_due(&rtt), None, "no timer is left");
    }

    #[test]
    fn what_should_have_been_pushed_is_asked_for_after_a_second() {
        let (mut log, rtt) = (began(5, 5), Rtt::default());
        page(&mut log, 100 * MS, 6, 6);
        log.on_head(Seq(8));
        assert_eq!(log.take_want(Instant(200 * MS), &rtt), None);
        assert_eq!(log.want_due(&rtt), Some(Instant(1100 * MS)));
        assert_eq!(log.take_want(Instant(1100 * MS), &rtt), Some((Seq(7), Seq(8))));
    }

    #[test]
    fn what_waits_for_a_gap_is_bounded_and_asked_for_again() {
        let (mut log, rtt) = (began(0, 0), Rtt::default());
        let pages = WAITING as u64;
        for i in 1..=pages {
            assert_eq!(page(&mut log, 1, 2 * i, 2 * i).0, Arrival::New);
        }
        assert_eq!(page(&mut log, 1, 5000, 5000).0, Arrival::Overfull);
        assert_eq!(log.waiting.len(), WAITING);
        assert_eq!(log.take_want(Instant(2), &rtt), Some((Seq(1), Seq(1))));
        for i in 0..pages {
            page(&mut log, 3, 2 * i + 1, 2 * i + 1);
        }
        assert_eq!(log.take_want(Instant(4), &rtt), Some((Seq(2 * pages + 1), Seq(5000))));
    }

    #[test]
    fn a_fresh_profile_starts_where_the_server_says() {
        let mut log = Log::new(Kind::Room, None);
        assert_eq!(log.cursor(), None);
        log.on_session(Instant(0), start(40));
        assert_eq!(log.cursor(), Some((Epoch(1), Seq(40))));
        assert_eq!(log.take_want(Instant(0), &Rtt::default()), None);
        assert_eq!(page(&mut log, 1, 41, 41).1, [41]);
    }

    #[test]
    fn a_restored_history_goes_on_after_what_both_know() {
        let restored = |epoch, agrees_to| Start { epoch: Epoch(epoch), head: Seq(30), fresh: Seq(30), agrees_to };
        let mut log = began(20, 20);
        page(&mut log, 1, 22, 22);
        assert_eq!(log.on_session(Instant(2), restored(2, Some(Seq(12)))), Some(Seq(12)));
        assert_eq!(log.cursor(), Some((Epoch(2), Seq(12))));
        assert_eq!(log.take_want(Instant(2), &Rtt::default()), Some((Seq(13), Seq(30))), "22 was of the old history");

        let mut log = began(10, 20);
        page(&mut log, 1, 15, 15);
        assert_eq!(log.on_session(Instant(2), restored(2, Some(Seq(12)))), None, "10 is in both");
        assert_eq!(log.cursor(), Some((Epoch(2), Seq(10))));
        assert_eq!(page(&mut log, 3, 11, 15).1, [11, 12, 13, 14, 15]);
    }
}
