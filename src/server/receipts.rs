//! Who has received what: counts an author's messages up as members acknowledge them, and tells the author at most
//! once in 250 ms (proto.md, section 7, Receipts).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{Instance, Seq, UserId};
use crate::now::Instant;
use crate::wire::frame::{Range, ReceiptItem};

/// Messages of one log whose receipts are still counted: some minutes of a busy class.
const TRACKED: usize = 4096;
/// A receipt is sent at most once in this time.
const PACE: Duration = Duration::from_millis(250);
/// An unacknowledged receipt is resent after at most this.
const MAX_WAIT: Duration = Duration::from_secs(4);
/// Messages in one receipt.
const ITEMS: usize = 32;
/// Messages of one session waiting for a receipt; the oldest are forgotten.
const WAITING: usize = 256;

/// A message of the room whose receipts are counted.
#[derive(Debug)]
struct Tracked {
    seq: Seq,
    author: UserId,
    instance: Instance,
    audience: Arc<[UserId]>,
    received: u32,
    of: u32,
}

/// A count that changed, and for whose outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The author's outbox.
    pub instance: Instance,
    /// The message, with its new count.
    pub item: ReceiptItem,
}

/// The room's messages whose receipts are counted, oldest first.
#[derive(Debug, Default)]
pub struct Audience {
    messages: VecDeque<Tracked>,
}

impl Audience {
    /// A message was stored while `audience` (ascending) was online, its author perhaps among them. Gives how many
    /// others that is.
    pub fn track(&mut self, seq: Seq, author: UserId, instance: Instance, audience: &Arc<[UserId]>) -> u32 {
        let of = others(audience, author);
        if self.messages.len() == TRACKED {
            self.messages.pop_front();
        }
        self.messages.push_back(Tracked { seq, author, instance, audience: audience.clone(), received: 0, of });
        of
    }

    /// A member acknowledged entries that none of their devices had acknowledged before.
    pub fn on_received(&mut self, user: UserId, (first, last): Range, mut changed: impl FnMut(Count)) {
        let from = self.messages.partition_point(|message| message.seq.0 < first);
        for message in self.messages.range_mut(from..).take_while(|message| message.seq.0 <= last) {
            if message.author != user && message.audience.binary_search(&user).is_ok() {
                message.received += 1;
                let item = ReceiptItem { seq: message.seq, received: message.received, of: message.of };
                changed(Count { instance: message.instance, item });
            }
        }
    }
}

/// How many of `audience` (ascending) are not `author`.
pub fn others(audience: &[UserId], author: UserId) -> u32 {
    audience.len() as u32 - u32::from(audience.binary_search(&author).is_ok())
}

/// What one session is to be told of its own messages in one log.
#[derive(Debug, Default)]
pub struct Receipts {
    waiting: BTreeMap<Seq, ReceiptItem>,
    version: u32,
    sent: Vec<ReceiptItem>,
    last_sent: Option<Instant>,
    unanswered: u32,
}

impl Receipts {
    /// A count changed.
    pub fn note(&mut self, item: ReceiptItem) {
        if self.waiting.len() == WAITING && !self.waiting.contains_key(&item.seq) {
            self.waiting.pop_first();
        }
        self.waiting.insert(item.seq, item);
    }

    /// When a receipt is to leave; None when there is nothing to tell.
    pub fn timeout(&self) -> Option<Instant> {
        let wait = (PACE * (1 << self.unanswered.min(4))).min(MAX_WAIT);
        (!self.waiting.is_empty()).then(|| self.last_sent.map_or(Instant(0), |sent| sent + wait))
    }

    /// The receipt that is due, newest messages first; its version is to be acknowledged.
    pub fn poll(&mut self, now: Instant) -> Option<(u32, Vec<ReceiptItem>)> {
        if self.timeout().is_none_or(|due| now < due) {
            return None;
        }
        self.version += 1;
        self.last_sent = Some(now);
        self.unanswered += 1;
        self.sent = self.waiting.values().rev().take(ITEMS).copied().collect();
        Some((self.version, self.sent.clone()))
    }

    /// The author has the receipt of this version.
    pub fn on_ack(&mut self, version: u32) {
        if version != self.version {
            return;
        }
        self.unanswered = 0;
        for item in self.sent.drain(..) {
            if self.waiting.get(&item.seq) == Some(&item) {
                self.waiting.remove(&item.seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(seq: u64, received: u32) -> ReceiptItem {
        ReceiptItem { seq: Seq(seq), received, of: 9 }
    }

    #[test]
    fn only_those_who_were_there_count_and_never_the_author() {
        let audience: Arc<[UserId]> = [1, 2, 3].map(UserId).into();
        let mut tracked = Audience::default();
        assert_eq!(tracked.track(Seq(5), UserId(1), Instance(7), &audience), 2);
        assert_eq!(tracked.track(Seq(6), UserId(9), Instance(8), &audience), 3);
        let mut counts = Vec::new();
        tracked.on_received(UserId(1), (1, 5), |count| counts.push(count.item));
        tracked.on_received(UserId(4), (1, 9), |count| counts.push(count.item));
        assert_eq!(counts, []);
        tracked.on_received(UserId(2), (5, 5), |count| counts.push(count.item));
        tracked.on_received(UserId(3), (5, 6), |count| counts.push(count.item));
        let told: Vec<_> = counts.iter().map(|item| (item.seq.0, item.received, item.of)).collect();
        assert_eq!(told, [(5, 1, 2), (5, 2, 2), (6, 1, 3)]);
    }

    #[test]
    fn a_receipt_leaves_at_once_then_at_most_every_quarter_second() {
        let mut receipts = Receipts::default();
        receipts.note(item(1, 1));
        assert_eq!(receipts.poll(Instant(1000)), Some((1, vec![item(1, 1)])));
        receipts.on_ack(1);
        assert_eq!(receipts.timeout(), None);
        receipts.note(item(1, 2));
        receipts.note(item(2, 1));
        assert_eq!(receipts.poll(Instant(2000)), None);
        assert_eq!(receipts.poll(Instant(251_000)), Some((2, vec![item(2, 1), item(1, 2)])));
    }

    #[test]
    fn an_unacknowledged_receipt_is_resent_with_growing_pauses() {
        let mut receipts = Receipts::default();
        receipts.note(item(1, 1));
        receipts.poll(Instant(0)).unwrap();
        assert_eq!(receipts.timeout(), Some(Instant(500_000)));
        receipts.on_ack(77);
        assert!(receipts.timeout().is_some(), "another version's ack proves nothing");
        receipts.poll(Instant(500_000)).unwrap();
        assert_eq!(receipts.timeout(), Some(Instant(1_500_000)));
    }

    #[test]
    fn what_changed_after_the_receipt_left_is_told_again() {
        let mut receipts = Receipts::default();
        receipts.note(item(1, 1));
        receipts.poll(Instant(0)).unwrap();
        receipts.note(item(1, 2));
        receipts.on_ack(1);
        assert_eq!(receipts.poll(Instant(300_000)), Some((2, vec![item(1, 2)])));
    }
}
