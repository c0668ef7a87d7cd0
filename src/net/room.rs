//! The loop that drives a server: its socket, its store's threads, its deadlines.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::clock::Clock;
use super::key_log::KeyLog;
use super::link::Link;
use super::signal::Asked;
use crate::record::Stored;
use crate::server::Server;
use crate::server::event::{Event, FetchId};
use crate::store::{self, ServerStore, StoreEvent, Writer};
use crate::wire::limits::DATAGRAM;

/// How long the goodbyes may take: three, 20 ms apart, and the disk's answer to the last batch.
const GOODBYE: Duration = Duration::from_millis(100);

/// A server at work.
pub struct Room {
    server: Server,
    link: Link,
    writer: Writer,
    /// Unbounded, but the core has one batch outstanding and bounds its questions.
    from_store: UnboundedReceiver<StoreEvent>,
    clock: Clock,
    key_log: Option<KeyLog>,
    buffer: Vec<u8>,
    storing: bool,
}

/// What a room tells whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The disk does not take messages, and why.
    NotStoring(String),
    /// It does again.
    Storing,
}

impl Room {
    /// Puts a server to work on its store.
    ///
    /// # Errors
    /// When the store's threads cannot start.
    pub fn new(
        server: Server,
        link: Link,
        store: ServerStore,
        clock: Clock,
        key_log: Option<KeyLog>,
    ) -> Result<Room, store::SpawnError> {
        let (tell, from_store) = unbounded_channel();
        let writer = Writer::spawn(store, move |event| {
            // Fails only once the room is gone, which asks for nothing any more.
            let _ = tell.send(event);
        })?;
        Ok(Room {
            server,
            link,
            writer,
            from_store,
            clock,
            key_log,
            buffer: Vec::with_capacity(DATAGRAM),
            storing: true,
        })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.link.local_addr()
    }

    /// Serves until the process is asked to end; then says goodbye to everybody and leaves a clean database.
    pub async fn run(mut self, asked: &mut Asked, mut tell: impl FnMut(Told)) {
        loop {
            self.drain().await;
            tokio::select! {
                biased;
                () = asked.to_end() => break,
                event = self.from_store.recv() => self.on_store(event, &mut tell),
                () = self.link.ready(&self.clock) => {}
                () = self.clock.sleep_until(self.server.poll_timeout()) => {}
            }
            self.take(&mut tell);
        }
        self.say_goodbye(&mut tell).await;
        // Joins the store's threads: what they were given is on disk when this returns.
        self.writer.close();
    }

    async fn say_goodbye(&mut self, tell: &mut impl FnMut(Told)) {
        let now = self.clock.now();
        let end = now.mono + GOODBYE;
        self.server.close(now);
        loop {
            self.drain().await;
            let next = self.server.poll_timeout();
            if next.is_none() || self.clock.now().mono >= end {
                return;
            }
            tokio::select! {
                event = self.from_store.recv() => self.on_store(event, tell),
                () = self.link.ready(&self.clock) => {}
                () = self.clock.sleep_until(next.map(|next| next.min(end))) => {}
            }
            self.take(tell);
        }
    }

    /// Takes what is there, after something woke the loop.
    fn take(&mut self, tell: &mut impl FnMut(Told)) {
        while let Ok(event) = self.from_store.try_recv() {
            self.on_store(Some(event), tell);
        }
        let now = self.clock.now();
        self.link.receive(now.mono, |from, datagram| self.server.handle_datagram(now, from, datagram));
        if self.server.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.server.handle_timeout(now);
        }
    }

    async fn drain(&mut self) {
        loop {
            while let Some(event) = self.server.poll_event() {
                match event {
                    Event::Store(batch) => self.writer.store(batch),
                    Event::Fetch(id, fetch) => self.writer.fetch(store::FetchId(id.0), fetch),
                    Event::KeyLog(line) => {
                        if let Some(log) = &mut self.key_log {
                            log.write(&line);
                        }
                    }
                }
            }
            let now = self.clock.now();
            match self.server.poll_transmit(now, &mut self.buffer) {
                Some(to) => self.link.send(now.mono, to, &self.buffer).await,
                None => break,
            }
        }
        self.link.send_due(self.clock.now().mono).await;
    }

    fn on_store(&mut self, event: Option<StoreEvent>, tell: &mut impl FnMut(Told)) {
        let now = self.clock.now();
        match event {
            Some(StoreEvent::Stored(stored)) => {
                let failed = match &stored {
                    Stored::Done => None,
                    Stored::Failed { reason, .. } => Some(reason.clone()),
                };
                if self.storing != failed.is_none() {
                    self.storing = failed.is_none();
                    tell(failed.map_or(Told::Storing, Told::NotStoring));
                }
                self.server.handle_stored(now, stored);
            }
            Some(StoreEvent::Fetched(id, fetched)) => self.server.handle_fetched(now, FetchId(id.0), fetched),
            Some(StoreEvent::Changed(loaded)) => self.server.handle_changed(now, *loaded),
            None => unreachable!("the writer, which this room owns, holds the other end"),
        }
    }
}
