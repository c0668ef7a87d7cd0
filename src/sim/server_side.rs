//! The server's host in a run: its disk, its timer, its crashes.

use std::time::Duration;

use super::Bug;
use super::watch::Broken;
use super::world::{Happening, World};
use crate::record::{Batch, Fetch, Fetched, Op, Stored};
use crate::server::Server;
use crate::server::event::{Event, FetchId};

impl World {
    pub(super) fn drain_server(&mut self) -> Result<(), Broken> {
        let now = self.server_clock();
        loop {
            let Some(core) = &mut self.server.core else { return Ok(()) };
            if let Some(event) = core.poll_event() {
                self.on_server_event(event)?;
                continue;
            }
            let mut datagram = self.pool.pop().unwrap_or_default();
            let Some(to) = core.poll_transmit(now, &mut datagram) else {
                self.pool.push(datagram);
                break;
            };
            self.send_down(to, datagram);
        }
        let due = self.server.core.as_ref().and_then(Server::poll_timeout);
        if let Some(at) = self.earlier(due, self.server.armed) {
            self.server.armed = Some(at);
            self.queue.push(at, Happening::ServerTimer);
        }
        Ok(())
    }

    pub(super) fn on_server_timer(&mut self) -> Result<(), Broken> {
        if self.server.armed != Some(self.now) {
            return Ok(());
        }
        self.server.armed = None;
        let now = self.server_clock();
        if let Some(core) = &mut self.server.core
            && core.poll_timeout().is_some_and(|due| due <= now.mono)
        {
            core.handle_timeout(now);
            self.spin("the server")?;
        }
        self.drain_server()
    }

    pub(super) fn on_server_event(&mut self, event: Event) -> Result<(), Broken> {
        let run = self.server.run;
        match event {
            Event::Store(Batch(ops)) => {
                let early = self.bug == Some(Bug::AcknowledgeEarly);
                if !self.server.writing.is_empty() && !early {
                    return Err("a batch before the one before it was answered".into());
                }
                self.server.writing.push_back(ops);
                let (least, most) = self.commit_us;
                let wait = self.dice.micros(least..=most);
                self.after(wait, Happening::Committed { run });
                let now = self.server_clock();
                if let Some(core) = self.server.core.as_mut().filter(|_| early) {
                    core.handle_stored(now, Stored::Done);
                }
            }
            Event::Fetch(id, fetch) => {
                let wait = self.dice.micros(50..=5_000);
                self.after(wait, Happening::Fetched { run, id, fetch });
            }
            Event::KeyLog(_) => return Err("a key log that nobody asked for".into()),
        }
        Ok(())
    }

    pub(super) fn on_committed(&mut self, run: u32) -> Result<(), Broken> {
        if self.server.run != run {
            return Ok(());
        }
        let Some(ops) = self.server.writing.pop_front() else { return Ok(()) };
        let fails = self.now < self.server.disk_fails_until;
        let stored = if fails { self.fail_commit(&ops)? } else { self.commit(&ops)? };
        let now = self.server_clock();
        if let Some(core) = self.server.core.as_mut().filter(|_| self.bug != Some(Bug::AcknowledgeEarly)) {
            core.handle_stored(now, stored);
        }
        self.drain_server()
    }

    /// Applies a batch; one that does not fit fails the run. While the server has not been told what an earlier failure
    /// left, nothing is applied, and it is told, as by the real store.
    fn commit(&mut self, ops: &[Op]) -> Result<Stored, Broken> {
        if std::mem::take(&mut self.server.unseen) {
            let loaded = Some(Box::new(self.disk.load()));
            return Ok(Stored::Failed { reason: "an earlier failure had to be read first".into(), loaded });
        }
        self.disk.apply(ops).map(|()| Stored::Done)
    }

    /// Nobody can say what a failed commit did: it is there or not, and sometimes the disk cannot even be read.
    pub(super) fn fail_commit(&mut self, ops: &[Op]) -> Result<Stored, Broken> {
        let there = self.dice.per_mille(500);
        if there {
            match self.commit(ops)? {
                Stored::Done => {}
                failed @ Stored::Failed { .. } => return Ok(failed),
            }
        }
        let read = self.dice.per_mille(700);
        self.server.unseen = !read;
        let loaded = read.then(|| Box::new(self.disk.load()));
        Ok(Stored::Failed { reason: "the disk is full".into(), loaded })
    }

    pub(super) fn on_fetched(&mut self, run: u32, id: FetchId, fetch: &Fetch) -> Result<(), Broken> {
        let fails = self.now < self.server.disk_fails_until && self.dice.per_mille(300);
        let now = self.server_clock();
        if let Some(core) = self.server.core.as_mut().filter(|_| self.server.run == run) {
            let fetched = match (fetch, self.bug) {
                _ if fails => Fetched::Failed("the disk cannot be read".into()),
                (Fetch::Letters { user, first, last, limit }, Some(Bug::MisplaceLetters)) => {
                    self.disk.fetch_misplaced(*user, *first, *last, *limit)
                }
                _ => self.disk.fetch(fetch),
            };
            core.handle_fetched(now, id, fetched);
        }
        self.drain_server()
    }

    pub(super) fn start_server(&mut self) -> Result<(), Broken> {
        if self.server.core.is_some() {
            return Ok(());
        }
        let loaded = match self.bug {
            Some(Bug::StoreTwice) => self.disk.load_forgetting(|instance, n| {
                self.devices.iter().any(|node| node.kept.profile().instance == instance && node.watch.awaits(n))
            }),
            _ => self.disk.load(),
        };
        self.skew_ms = self.dice.within(0..=20_000);
        let now = self.server_clock();
        let seed = self.dice.bytes();
        self.server.core = Some(Server::new(self.config.clone(), self.keys.clone(), loaded, seed, now));
        self.drain_server()
    }

    /// The batch that was being written is there whole or not at all.
    pub(super) fn crash_server(&mut self) -> Result<(), Broken> {
        let there = self.dice.per_mille(500);
        if let Some(ops) = self.server.writing.pop_front().filter(|_| there) {
            self.commit(&ops)?;
        }
        self.server.writing.clear();
        (self.server.core, self.server.armed, self.server.closing) = (None, None, false);
        self.server.unseen = false;
        self.server.run += 1;
        Ok(())
    }

    pub(super) fn close_server(&mut self) -> Result<(), Broken> {
        let now = self.server_clock();
        if let Some(core) = &mut self.server.core {
            core.close(now);
            self.server.closing = true;
            let run = self.server.run;
            // 100 ms for its goodbyes, and what the disk has still to answer.
            self.after(Duration::from_millis(600), Happening::ServerGone { run });
        }
        self.drain_server()
    }

    pub(super) fn on_server_gone(&mut self, run: u32) -> Result<(), Broken> {
        if self.server.run != run {
            return Ok(());
        }
        if let Some(due) = self.server.core.as_ref().and_then(Server::poll_timeout) {
            return Err(format!("the closed server still has a timer, for {due:?}"));
        }
        self.crash_server()
    }
}
