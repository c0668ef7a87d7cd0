//! What is to be on this disk: urgent things at once, cursors lazily, one batch at a time (group commit), and nothing
//! lost when the disk refuses.

use std::time::Duration;

use crate::id::{Epoch, Ordinal, Seq};
use crate::now::Instant;
use crate::record::Keep;

/// Changes of the profile that are not on disk yet.
#[derive(Debug, Default)]
pub struct Keeper {
    /// In order; leave as soon as no batch is out.
    urgent: Vec<Keep>,
    /// Leave with the next batch, or when `lazy_at` comes.
    settled: Vec<Ordinal>,
    room: Option<(Epoch, Seq)>,
    inbox: Option<(Epoch, Seq)>,
    tip: Option<Vec<u8>>,
    lazy_at: Option<Instant>,
    /// The batch that is being written.
    out: Option<Vec<Keep>>,
    /// The disk refused: not before.
    retry_at: Option<Instant>,
}

/// So long may a cursor wait: what a crash makes the client show again is not more than this.
const LAZY: Duration = Duration::from_millis(200);
/// A full disk is asked again at this pace.
const RETRY: Duration = Duration::from_secs(1);

impl Keeper {
    /// To be kept as soon as possible.
    pub fn keep(&mut self, keep: Keep) {
        self.urgent.push(keep);
    }

    /// A submission was decided: its row goes.
    pub fn settle(&mut self, now: Instant, n: Ordinal) {
        self.settled.push(n);
        self.later(now);
    }

    /// The room was shown up to here.
    pub fn room_cursor(&mut self, now: Instant, cursor: (Epoch, Seq)) {
        self.room = Some(cursor);
        self.later(now);
    }

    /// The inbox was shown up to here.
    pub fn inbox_cursor(&mut self, now: Instant, cursor: (Epoch, Seq)) {
        self.inbox = Some(cursor);
        self.later(now);
    }

    /// The newest tip.
    pub fn tip(&mut self, now: Instant, tip: Vec<u8>) {
        self.tip = Some(tip);
        self.later(now);
    }

    /// Nothing waits any longer: the client closes.
    pub fn flush(&mut self, now: Instant) {
        if self.lazy_at.is_some() {
            self.lazy_at = Some(now);
        }
    }

    /// When [`Keeper::take_batch`] has something without anything else happening.
    pub fn timeout(&self) -> Option<Instant> {
        match self.out {
            Some(_) => None,
            None if !self.urgent.is_empty() => Some(self.retry_at.unwrap_or_default()),
            None => self.lazy_at.map(|at| self.retry_at.map_or(at, |retry| retry.max(at))),
        }
    }

    /// The next batch to write, if it is time and none is out.
    pub fn take_batch(&mut self, now: Instant) -> Option<Vec<Keep>> {
        self.timeout().filter(|&at| at <= now)?;
        let mut batch = std::mem::take(&mut self.urgent);
        batch.extend(self.settled.drain(..).map(Keep::Settle));
        batch.extend(self.room.take().map(|(epoch, seq)| Keep::RoomCursor { epoch, seq }));
        batch.extend(self.inbox.take().map(|(epoch, seq)| Keep::InboxCursor { epoch, seq }));
        batch.extend(self.tip.take().map(Keep::Tip));
        self.lazy_at = None;
        self.out = Some(batch.clone());
        Some(batch)
    }

    /// The batch is on disk; gives the numbers of the messages in it.
    pub fn on_kept(&mut self) -> Vec<Ordinal> {
        self.retry_at = None;
        let queued = |keep: &Keep| match keep {
            Keep::Queue(queued) => Some(queued.n),
            _ => None,
        };
        self.out.take().unwrap_or_default().iter().filter_map(queued).collect()
    }

    /// The batch is not on disk; it will be tried again. Gives true at the first failure of a row.
    pub fn on_failed(&mut self, now: Instant) -> bool {
        let Some(mut batch) = self.out.take() else { return false };
        batch.append(&mut self.urgent);
        self.urgent = batch;
        self.retry_at.replace(now + RETRY).is_none()
    }

    fn later(&mut self, now: Instant) {
        self.lazy_at.get_or_insert(now + LAZY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Queued;

    fn queue(n: u64) -> Keep {
        Keep::Queue(Queued { n: Ordinal(n), to: vec![], text: "x".into() })
    }

    #[test]
    fn one_batch_is_out_and_what_gathers_is_the_next() {
        let mut keeper = Keeper::default();
        keeper.keep(queue(1));
        assert_eq!(keeper.take_batch(Instant(0)), Some(vec![queue(1)]));
        keeper.keep(queue(2));
        keeper.keep(queue(3));
        assert_eq!((keeper.take_batch(Instant(0)), keeper.timeout()), (None, None));
        assert_eq!(keeper.on_kept(), [Ordinal(1)]);
        assert_eq!(keeper.take_batch(Instant(0)), Some(vec![queue(2), queue(3)]));
        assert_eq!(keeper.on_kept(), [Ordinal(2), Ordinal(3)]);
        assert_eq!(keeper.timeout(), None);
    }

    #[test]
    fn cursors_wait_and_only_the_newest_is_written() {
        let mut keeper = Keeper::default();
        keeper.room_cursor(Instant(0), (Epoch(1), Seq(1)));
        keeper.settle(Instant(100_000), Ordinal(4));
        keeper.room_cursor(Instant(100_000), (Epoch(1), Seq(9)));
        assert_eq!(keeper.take_batch(Instant(199_999)), None);
        let batch = vec![Keep::Settle(Ordinal(4)), Keep::RoomCursor { epoch: Epoch(1), seq: Seq(9) }];
        assert_eq!(keeper.take_batch(keeper.timeout().unwrap()), Some(batch));
    }

    #[test]
    fn a_refusing_disk_loses_nothing() {
        let mut keeper = Keeper::default();
        keeper.keep(queue(1));
        keeper.take_batch(Instant(0)).unwrap();
        keeper.keep(queue(2));
        assert!(keeper.on_failed(Instant(5)));
        assert_eq!(keeper.take_batch(Instant(6)), None);
        let at = keeper.timeout().unwrap();
        assert_eq!(at, Instant(1_000_005));
        assert_eq!(keeper.take_batch(at), Some(vec![queue(1), queue(2)]));
        assert!(!keeper.on_failed(at), "told once");
        keeper.flush(at);
        keeper.take_batch(keeper.timeout().unwrap()).unwrap();
        assert_eq!(keeper.on_kept(), [Ordinal(1), Ordinal(2)]);
    }
}
