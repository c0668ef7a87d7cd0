//! A server in memory and clients that speak frames: what tests of single datagrams need. Time is stepped, nothing waits.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking too")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use preau::id::{Instance, Ordinal, SessionIndex};
use preau::now::{Instant, Now, WallMs};
use preau::proto::datagram::{Opener, Protector};
use preau::proto::handshake::{Initiator, Intent, Proven, Responded};
use preau::proto::keys::{PublicKeys, ServerKeys};
use preau::proto::rng::Rng;
use preau::proto::suite::Suite;
use preau::record::{Batch, Op, Stored};
use preau::server::event::Event;
use preau::server::{Config, Server};
use preau::store::{Reader, ServerStore};
use preau::wire::entrance::{ATTACH_PRESENT, Attach, Outcome, Refusal, Retry};
use preau::wire::frame::{Frame, Protection, Welcome};
use preau::wire::header::{Header, Type};
use preau::wire::limits::{HEADER, HELLO};
use rand::{RngCore, SeedableRng};

/// A server over SQLite in memory.
pub struct Host {
    pub server: Server,
    pub now: Now,
    store: ServerStore,
    reader: Reader,
    pub suite: Suite,
    pub rng: Rng,
    /// Datagrams the server sent and nobody has looked at.
    pub sent: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Every batch that is on its disk.
    pub batches: Vec<Batch>,
    /// Batches fail with this reason.
    pub disk_fault: Option<String>,
    /// The disk is slow: batches wait here until [`Host::release`].
    pub held: Option<Vec<Batch>>,
}

pub fn config() -> Config {
    Config { name: "Test".into(), sealed: false, rate: None, key_log: false }
}

impl Host {
    pub fn new(suite: Suite, config: Config) -> Host {
        let mut rng = Rng::seed_from_u64(11);
        let (store, loaded) = ServerStore::in_memory().unwrap();
        let reader = store.reader().unwrap();
        let now = Now { mono: Instant(1_000_000), wall: WallMs(1_700_000_000_000) };
        let keys = ServerKeys::generate(suite, &mut rng);
        let server = Server::new(config, keys, loaded, [7; 32], now);
        let (sent, batches) = (VecDeque::new(), Vec::new());
        Host { server, now, store, reader, suite, rng, sent, batches, disk_fault: None, held: None }
    }

    /// Time passes: every timer on the way fires.
    pub fn advance(&mut self, wait: Duration) {
        let end = self.now.mono + wait;
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.step_to(due.max(self.now.mono));
            self.server.handle_timeout(self.now);
            self.drain();
        }
        self.step_to(end);
    }

    fn step_to(&mut self, mono: Instant) {
        self.now.wall.0 += mono.since(self.now.mono).as_millis() as u64;
        self.now.mono = mono;
    }

    /// The server is given a datagram and does all it can.
    pub fn give(&mut self, from: SocketAddr, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        self.server.handle_datagram(self.now, from, &mut datagram);
        self.drain();
    }

    pub fn drain(&mut self) {
        let mut buf = Vec::new();
        loop {
            let mut idle = true;
            while let Some(event) = self.server.poll_event() {
                idle = false;
                match event {
                    Event::Store(batch) if self.held.is_some() => {
                        self.held.iter_mut().for_each(|held| held.push(batch.clone()))
                    }
                    Event::Store(batch) => {
                        let stored = match &self.disk_fault {
                            Some(reason) => {
                                Stored::Failed { reason: reason.clone(), loaded: self.store.load().ok().map(Box::new) }
                            }
                            None => self.store.commit(&batch),
                        };
                        assert!(
                            self.disk_fault.is_some() || matches!(stored, Stored::Done),
                            "the store refused a batch of the server: {stored:?}"
                        );
                        if matches!(stored, Stored::Done) {
                            self.batches.push(batch);
                        }
                        self.server.handle_stored(self.now, stored);
                    }
                    Event::Fetch(id, fetch) => {
                        let fetched = self.reader.fetch(&fetch);
                        self.server.handle_fetched(self.now, id, fetched);
                    }
                    Event::KeyLog(_) => {}
                }
            }
            while let Some(to) = self.server.poll_transmit(self.now, &mut buf) {
                idle = false;
                self.sent.push_back((to, buf.clone()));
            }
            if idle {
                return;
            }
        }
    }

    /// The oldest datagram sent to an address, in the order of sending.
    pub fn take_sent(&mut self, to: SocketAddr) -> Option<Vec<u8>> {
        let index = self.sent.iter().position(|(addr, _)| *addr == to)?;
        self.sent.remove(index).map(|(_, datagram)| datagram)
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.server.counters().iter().find(|(other, _)| *other == name).expect("a counter of that name").1
    }

    /// The slow disk is done with what it was given.
    pub fn release(&mut self) {
        for batch in self.held.take().unwrap_or_default() {
            let stored = self.store.commit(&batch);
            assert!(matches!(stored, Stored::Done), "{stored:?}");
            self.server.handle_stored(self.now, stored);
        }
        self.drain();
    }

    /// Another process changes what is stored.
    pub fn admin(&mut self, op: Op) {
        assert!(matches!(self.store.commit(&Batch(vec![op])), Stored::Done));
        let loaded = self.store.load().unwrap();
        self.server.handle_changed(self.now, loaded);
        self.drain();
    }

    /// Goes through the whole handshake; a session's first datagrams are left in `sent`.
    pub fn come_in(&mut self, from: SocketAddr, intent: &Intent, attach: Option<Attach>) -> Result<Proven, Refusal> {
        let proven = self.prove(from, intent)?;
        let confirm = proven.confirm(attach.clone());
        self.give(from, &confirm);
        if attach.is_none() {
            let mut outcome = self.take_sent(from).expect("an outcome");
            if let Outcome { refusal: Some(refusal), .. } = proven.open_outcome(&mut outcome).expect("genuine") {
                return Err(refusal);
            }
        }
        Ok(proven)
    }

    /// Goes through the handshake up to the confirm, which is not sent.
    pub fn prove(&mut self, from: SocketAddr, intent: &Intent) -> Result<Proven, Refusal> {
        let attempt = self.rng.next_u64();
        self.give(from, &hello(attempt));
        let retry = self.take_sent(from).expect("a retry");
        let retry = Retry::from_bytes(&retry[HEADER..]).unwrap();
        let public = PublicKeys { ed25519: retry.ed25519.into_array(), x25519: retry.x25519.into_array() };
        let cookie = retry.cookie.into_array();
        let (mut initiator, body) =
            Initiator::begin(self.suite, &mut self.rng, &public, attempt, cookie, intent).unwrap();
        self.give(from, &initiate(attempt, &body));
        let respond = self.take_sent(from).expect("a respond");
        let (header, body) = Header::split(&respond).unwrap();
        let stretch = match initiator.handle_respond(&header, body).unwrap() {
            Responded::Refused(refusal, _) => return Err(refusal),
            Responded::Proceed(stretch) => stretch,
        };
        stretch.run().map_err(|_| Refusal::WrongCredentials)
    }

    /// Gives a proven client's confirm, and listens as the member it becomes; nothing is heard where it is refused.
    pub fn attach(&mut self, from: SocketAddr, mut proven: Proven, attach: Attach) -> Member {
        let instance = attach.instance;
        let confirm = proven.confirm(Some(attach));
        self.give(from, &confirm);
        let (protector, opener) = proven.keys.take().unwrap().split();
        let mut member = Member { addr: from, index: proven.index, instance, protector, opener, heard: Vec::new() };
        member.listen(self);
        member
    }

    pub fn register(&mut self, from: SocketAddr, username: &str) {
        let intent = Intent::Register {
            username: username.into(),
            first_name: "First".into(),
            last_name: "Last".into(),
            password: format!("{username}'s password"),
            recovery_code: "0123456789ABCDEFGHJK".to_owned(),
        };
        self.come_in(from, &intent, None).expect("registered");
    }

    /// A registration that reaches the server while its disk is slow: the client, and its confirm.
    pub fn register_slowly(&mut self, from: SocketAddr, username: &str) -> (Proven, Vec<u8>) {
        let intent = Intent::Register {
            username: username.into(),
            first_name: "First".into(),
            last_name: "Last".into(),
            password: format!("{username}'s password"),
            recovery_code: "0123456789ABCDEFGHJK".to_owned(),
        };
        let proven = self.prove(from, &intent).expect("answered");
        let confirm = proven.confirm(None);
        self.give(from, &confirm);
        (proven, confirm)
    }

    /// Registers and signs in; what the server sent in the first moment is in the member's `heard`.
    pub fn member(&mut self, from: SocketAddr, username: &str) -> Member {
        self.register(from, username);
        self.sign_in(from, username)
    }

    pub fn sign_in(&mut self, from: SocketAddr, username: &str) -> Member {
        let intent =
            Intent::SignIn { username: username.into(), password: format!("{username}'s password"), device: None };
        let instance = Instance(self.rng.next_u64());
        let attach = Attach { instance, first: Ordinal(1), room: None, inbox: None, tip: None, flags: ATTACH_PRESENT };
        let proven = self.prove(from, &intent).expect("let in");
        self.attach(from, proven, attach)
    }
}

pub fn hello(attempt: u64) -> Vec<u8> {
    let mut datagram = Header { kind: Type::Hello, session: SessionIndex(0), counter: attempt }.to_bytes().to_vec();
    datagram.resize(HELLO, 0);
    datagram
}

pub fn initiate(attempt: u64, body: &[u8]) -> Vec<u8> {
    let header = Header { kind: Type::Initiate, session: SessionIndex(0), counter: attempt };
    [&header.to_bytes()[..], body].concat()
}

pub fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 40_000))
}

/// A signed-in member that says exactly what a test wants.
pub struct Member {
    pub addr: SocketAddr,
    pub index: SessionIndex,
    pub instance: Instance,
    pub protector: Protector,
    pub opener: Opener,
    /// Every frame that came.
    pub heard: Vec<Frame>,
}

impl Member {
    /// A datagram of this session with any body.
    pub fn seal(&mut self, kind: Type, body: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; HEADER];
        datagram.extend_from_slice(body);
        self.protector.seal(kind, self.index, &mut datagram);
        datagram
    }

    /// Says frames as they must travel in a readable room, and hears the answers.
    pub fn say(&mut self, host: &mut Host, frames: &[Frame]) {
        for frame in frames {
            let kind = match frame.travels(false) {
                Protection::Readable => Type::Readable,
                _ => Type::Sealed,
            };
            self.say_as(host, kind, std::slice::from_ref(frame));
        }
    }

    /// Says frames in a datagram of this type.
    pub fn say_as(&mut self, host: &mut Host, kind: Type, frames: &[Frame]) {
        let mut body = Vec::new();
        frames.iter().for_each(|frame| frame.put(&mut body));
        let datagram = self.seal(kind, &body);
        host.give(self.addr, &datagram);
        self.listen(host);
    }

    /// Takes in everything the server sent here.
    pub fn listen(&mut self, host: &mut Host) {
        while let Some(mut datagram) = host.take_sent(self.addr) {
            let (header, _) = Header::split(&datagram).unwrap();
            let came = match header.kind {
                Type::Sealed => Protection::Sealed,
                Type::Readable => Protection::Readable,
                Type::Credential => Protection::Credential,
                _ => continue,
            };
            let body = self.opener.open(&header, &mut datagram).expect("the server's datagrams open");
            self.heard.extend(Frame::take_all(body, came, Some(false)).expect("and hold frames"));
        }
    }

    pub fn welcome(&self) -> &Welcome {
        let welcome = |frame: &'_ Frame| matches!(frame, Frame::Welcome(_));
        match self.heard.iter().find(|frame| welcome(frame)) {
            Some(Frame::Welcome(welcome)) => welcome,
            _ => panic!("no welcome"),
        }
    }
}
