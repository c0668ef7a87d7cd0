//! The loop that drives a client: its socket, its profile's thread, its slow computations, its deadlines.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc as threads;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::clock::Clock;
use super::key_log::KeyLog;
use super::link::Link;
use crate::client::Client;
use crate::client::event::Event;
use crate::now::Instant;
use crate::proto::handshake::{Proven, Stretch, WrongSecret};
use crate::record::Keep;
use crate::store::ProfileStore;
use crate::wire::limits::DATAGRAM;

/// Slow computations at a time in this process: each takes 19 MiB and a processor.
static STRETCHING: Semaphore = Semaphore::const_new(2);

/// How long a goodbye may take: three, 20 ms apart, and the disk's answer to what was to be kept.
const GOODBYE: Duration = Duration::from_millis(200);

/// A client at work.
pub struct Member {
    /// The core. After any command given to it, call [`Member::flush`].
    pub client: Client,
    server: SocketAddr,
    link: Link,
    clock: Clock,
    keeper: Keeper,
    done: UnboundedReceiver<Done>,
    tell_done: UnboundedSender<Done>,
    key_log: Option<KeyLog>,
    buffer: Vec<u8>,
    heard: bool,
    keeping: bool,
}

/// What was done outside of the core.
enum Done {
    Kept(Result<(), String>),
    Stretched(Box<Result<Proven, WrongSecret>>),
}

impl Member {
    /// Puts a client to work.
    ///
    /// # Errors
    /// When the profile's thread cannot start.
    pub fn new(
        client: Client,
        server: SocketAddr,
        link: Link,
        clock: Clock,
        profile: ProfileStore,
        key_log: Option<KeyLog>,
    ) -> io::Result<Member> {
        let (tell_done, done) = unbounded_channel();
        let keeper = Keeper::spawn(profile, tell_done.clone())?;
        let buffer = Vec::with_capacity(DATAGRAM);
        Ok(Member {
            client,
            server,
            link,
            clock,
            keeper,
            done,
            tell_done,
            key_log,
            buffer,
            heard: false,
            keeping: false,
        })
    }

    /// Whether a datagram came from the server's address.
    pub fn heard(&self) -> bool {
        self.heard
    }

    /// The next event that is to be shown; those that ask for work are done here.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            match self.client.poll_event()? {
                Event::Stretch(stretch) => self.stretch(*stretch),
                Event::Keep(changes) => {
                    self.keeping = true;
                    self.keeper.keep(changes);
                }
                Event::KeyLog(line) => {
                    if let Some(log) = &mut self.key_log {
                        log.write(&line);
                    }
                }
                event => return Some(event),
            }
        }
    }

    /// Sends what the core has to send.
    pub async fn flush(&mut self) {
        loop {
            let now = self.clock.now();
            match self.client.poll_transmit(now, &mut self.buffer) {
                Some(to) => self.link.send(now.mono, to, &self.buffer).await,
                None => break,
            }
        }
        self.link.send_due(self.clock.now().mono).await;
    }

    /// Waits until there is something to take, or until `also`. Loses nothing when it is dropped.
    pub async fn wait(&mut self, also: Option<Instant>) {
        let next = [self.client.poll_timeout(), also].into_iter().flatten().min();
        tokio::select! {
            done = self.done.recv() => if let Some(done) = done {
                self.on_done(done);
            },
            () = self.link.ready(&self.clock) => {}
            () = self.clock.sleep_until(next) => {}
        }
    }

    /// Takes what is there.
    pub fn take(&mut self) {
        while let Ok(done) = self.done.try_recv() {
            self.on_done(done);
        }
        let now = self.clock.now();
        let (client, heard, server) = (&mut self.client, &mut self.heard, self.server);
        self.link.receive(now.mono, |from, datagram| {
            *heard |= from == server;
            client.handle_datagram(now, from, datagram);
        });
        if self.client.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.client.handle_timeout(now);
        }
    }

    /// Says goodbye, and waits until what was to be kept is on disk.
    pub async fn leave(mut self) {
        let now = self.clock.now();
        let end = now.mono + GOODBYE;
        self.client.close(now);
        loop {
            while self.poll_event().is_some() {}
            self.flush().await;
            let idle = self.client.poll_timeout().is_none() && !self.keeping;
            if idle || self.clock.now().mono >= end {
                return;
            }
            self.wait(Some(end)).await;
            self.take();
        }
    }

    fn on_done(&mut self, done: Done) {
        let now = self.clock.now();
        match done {
            Done::Kept(result) => {
                self.keeping = false;
                self.client.handle_kept(now, result);
            }
            Done::Stretched(result) => self.client.handle_stretched(now, *result),
        }
    }

    fn stretch(&self, stretch: Stretch) {
        let tell = self.tell_done.clone();
        tokio::spawn(async move {
            let _permit = STRETCHING.acquire().await;
            let result = if stretch.is_slow() {
                let slow = tokio::task::spawn_blocking(move || stretch.run());
                slow.await.expect("a computation neither panics nor is aborted")
            } else {
                stretch.run()
            };
            // Fails only once the member is gone.
            let _ = tell.send(Done::Stretched(Box::new(result)));
        });
    }
}

/// The profile in a thread of its own, so that a slow disk does not hold up acks. Dropping it keeps what it was given.
struct Keeper {
    changes: Option<threads::Sender<Vec<Keep>>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn spawn(mut profile: ProfileStore, tell: UnboundedSender<Done>) -> io::Result<Keeper> {
        let (changes, given) = threads::channel::<Vec<Keep>>();
        let thread = thread::Builder::new().name("profile".into()).spawn(move || {
            for changes in given {
                let result = profile.keep(&changes).map_err(|error| error.to_string());
                let _ = tell.send(Done::Kept(result));
            }
        })?;
        Ok(Keeper { changes: Some(changes), thread: Some(thread) })
    }

    fn keep(&self, changes: Vec<Keep>) {
        // The thread ends only when this end is dropped.
        let _ = self.changes.as_ref().map(|to| to.send(changes));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.changes = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
