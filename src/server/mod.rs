//! The central node, sans-IO: accounts, the room, inboxes, the roster, and what is on its way to each member.

mod accounts;
mod allowance;
mod call_memory;
mod calls;
mod changed;
mod commit;
pub mod counters;
mod delivery;
mod entrance;
pub mod event;
mod fetches;
mod inbox;
mod receipts;
mod room;
mod roster;
mod session;
mod submissions;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngCore, SeedableRng};

use self::accounts::Accounts;
use self::allowance::Allowance;
use self::commit::Commit;
use self::counters::Counters;
use self::entrance::Entrance;
use self::event::{Event, FetchId};
use self::fetches::Purpose;
use self::inbox::Inboxes;
use self::receipts::Audience;
use self::room::Room;
use self::roster::Roster;
use self::session::{Logs, Session};
use self::submissions::Submissions;
use crate::id::{Boot, Instance, RoomId, SessionIndex, UserId};
use crate::now::{Instant, Now, WallMs};
use crate::proto::cookie::CookieKey;
use crate::proto::keys::ServerKeys;
use crate::proto::ranges::Ranges;
use crate::proto::rng::Rng;
use crate::proto::sign::{RoomKey, Verifier};
use crate::record::{LOADED_PAGES, Loaded};
use crate::wire::frame::{ByeReason, Frame};
use crate::wire::header::{Header, Type};

/// How a server is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The room's display name, at most 64 characters.
    pub name: String,
    /// Seal the room too: nobody but members reads it on the wire, and a class sees less. Typical: false.
    pub sealed: bool,
    /// Messages a second a member may send after a burst of 200: less is calmer, more is livelier. Typical: 20; None: no
    /// limit, for measuring.
    pub rate: Option<u32>,
    /// Give the session keys out for a key log, and tell every member so. Typical: false.
    pub key_log: bool,
}

/// The server. A value: datagrams, answers of the store and the time go in; datagrams, events and one deadline come out.
///
/// After any `handle_*` call, drain [`Server::poll_event`] and [`Server::poll_transmit`] until both give None, then call
/// [`Server::handle_timeout`] when [`Server::poll_timeout`] has passed. It draws from the seed it was given, so the same
/// inputs give the same outputs.
pub struct Server {
    config: Config,
    keys: ServerKeys,
    verifier: Verifier,
    rng: Rng,
    accounts: Accounts,
    roster: Roster,
    room: Room,
    inboxes: Inboxes,
    /// The newest letter's time: those of a log never decrease, whatever the clock does.
    letters_time: WallMs,
    submissions: Submissions,
    audience: Audience,
    audience_cache: Option<Arc<[UserId]>>,
    /// What each member has acknowledged of the room, on any device, in this run.
    received: BTreeMap<UserId, Ranges>,
    entrance: Entrance,
    sessions: BTreeMap<SessionIndex, Session>,
    by_instance: BTreeMap<Instance, SessionIndex>,
    commit: Commit,
    fetches: BTreeMap<FetchId, Purpose>,
    next_fetch: u64,
    events: VecDeque<Event>,
    /// Datagrams that belong to no session.
    loose: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Sessions that have something to send, in turn.
    ready: VecDeque<SessionIndex>,
    timers: BTreeSet<(Instant, SessionIndex)>,
    hints: Allowance,
    /// Renames of each account that took another name in this run.
    renames: BTreeMap<UserId, Allowance>,
    counters: Counters,
    failure: Option<String>,
    closing: bool,
    /// The time of the latest call, for [`Server::poll_event`].
    now: Now,
}

/// Datagrams outside of sessions that wait to be sent; more are dropped, and asked for again.
const LOOSE: usize = 4096;
/// Hints in a second, in all.
const HINTS: u32 = 100;

impl Server {
    /// A server that starts now with what its store holds. `seed` must be fresh randomness in the product.
    pub fn new(config: Config, keys: ServerKeys, loaded: Loaded, seed: [u8; 32], now: Now) -> Server {
        let mut rng = Rng::from_seed(seed);
        let boot = Boot(rng.next_u32());
        let key = config.sealed.then(|| RoomKey::generate(1, &mut rng));
        let mut inboxes = Inboxes::default();
        inboxes.reload(loaded.accounts.iter().map(|account| (account.id, account.inbox_head)));
        let mut server = Server {
            verifier: keys.verifier(),
            accounts: Accounts::new(&loaded),
            roster: Roster::new(boot, loaded.accounts.iter()),
            submissions: Submissions::new(config.rate, &loaded.instances),
            room: Room::new(RoomId::MAIN, keys.suite(), loaded.epochs, loaded.pages, key),
            inboxes,
            letters_time: loaded.newest_letter,
            audience: Audience::default(),
            audience_cache: None,
            received: BTreeMap::new(),
            entrance: Entrance::new(CookieKey::generate(&mut rng), now.mono),
            sessions: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            commit: Commit::default(),
            fetches: BTreeMap::new(),
            next_fetch: 0,
            events: VecDeque::new(),
            loose: VecDeque::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            hints: Allowance::new(now.mono, HINTS, Duration::from_secs(1) / HINTS),
            renames: BTreeMap::new(),
            counters: Counters::default(),
            failure: None,
            closing: false,
            now,
            config,
            keys,
            rng,
        };
        server.log_room_key();
        server
    }

    /// A datagram came; it is decrypted in place.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8]) {
        self.now = now;
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += datagram.len() as u64;
        let Ok((header, body)) = Header::split(datagram) else {
            self.counters.dropped_header += 1;
            return;
        };
        match header.kind {
            _ if self.closing => {}
            Type::Hello => self.on_hello(now, from, header.counter),
            Type::Initiate => {
                let body = body.to_vec();
                self.on_initiate(now, from, header.counter, &body);
            }
            Type::Confirm => self.on_confirm(now, from, header.session, datagram),
            Type::Sealed | Type::Readable => self.on_session_datagram(now, from, &header, datagram),
            Type::Retry | Type::Respond | Type::Outcome | Type::Credential | Type::Hint => {
                self.counters.dropped_direction += 1;
            }
        }
    }

    /// The time that [`Server::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        while let Some((_, index)) = self.timers.first().copied().filter(|(due, _)| *due <= now.mono) {
            self.timers.pop_first();
            let Some(session) = self.sessions.get_mut(&index) else { continue };
            session.timer = None;
            session.handle_timeout(now.mono, self.config.sealed);
            if session.gone(now.mono) {
                self.end_session(now, index);
            } else {
                self.touch(index);
            }
        }
        if self.roster.handle_timeout(now.mono) {
            self.touch_present();
        }
        self.serve_initiates(now);
    }

    /// Says goodbye to every session: drive it on until [`Server::poll_timeout`] gives None.
    pub fn close(&mut self, now: Now) {
        self.now = now;
        self.goodbye_all(now, ByeReason::Closing);
        self.closing = true;
    }

    /// The next datagram to send, written into `buf`, and to whom.
    pub fn poll_transmit(&mut self, now: Now, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        if let Some((to, datagram)) = self.loose.pop_front() {
            buf.clear();
            buf.extend_from_slice(&datagram);
            return Some(self.on_transmit(to, buf));
        }
        let mut tip = None;
        while let Some(index) = self.ready.pop_front() {
            let Some(session) = self.sessions.get_mut(&index) else { continue };
            let (boot, version, status) = (self.roster.boot(), self.roster.head(), self.commit.status());
            let tip = tip.get_or_insert_with(|| self.room.tip_frame(&self.keys, boot, version, status));
            let mut logs = Logs {
                room: &mut self.room,
                inboxes: &self.inboxes,
                roster: &self.roster,
                tip,
                sealed: self.config.sealed,
                counters: &mut self.counters,
            };
            if session.poll_transmit(now.mono, &mut logs, buf) {
                let to = session.addr;
                self.ready.push_back(index);
                return Some(self.on_transmit(to, buf));
            }
            session.queued = false;
            self.rearm(index);
        }
        None
    }

    /// The next piece of work for the driver.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| self.next_batch(self.now))
    }

    /// When [`Server::handle_timeout`] is to be called; None: never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.timers.first().map(|(due, _)| *due);
        if self.closing {
            return first;
        }
        [first, self.roster.timeout(), self.entrance.timeout(), self.commit.timeout()].into_iter().flatten().min()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many members are online.
    pub fn online(&self) -> usize {
        self.roster.online_users().count()
    }

    /// Why storing last failed, in words; None while it works.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref().filter(|_| self.commit.failing)
    }

    /// Things held in memory that peers can make grow, for bounds to be checked: sessions, handshakes, work for the disk,
    /// waiting submissions, questions to the store.
    pub fn held(&self) -> [(&'static str, usize); 5] {
        [
            ("sessions", self.sessions.len()),
            ("handshakes", self.entrance.len()),
            ("work", self.commit.len()),
            ("submissions", self.submissions.waiting()),
            ("fetches", self.fetches.len()),
        ]
    }

    fn on_transmit(&mut self, to: SocketAddr, buf: &[u8]) -> SocketAddr {
        self.counters.datagrams_out += 1;
        self.counters.bytes_out += buf.len() as u64;
        to
    }

    fn send_to(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        if self.loose.len() < LOOSE {
            self.loose.push_back((to, datagram));
        }
    }

    /// A session's datagram that is not known here: its client may want to resume.
    fn hint(&mut self, now: Now, to: SocketAddr, index: SessionIndex) {
        if self.hints.spend(now.mono).is_ok() {
            self.counters.hints += 1;
            let header = Header { kind: Type::Hint, session: index, counter: 0 };
            self.send_to(to, header.to_bytes().to_vec());
        }
    }

    /// A session may have something to send, or other deadlines.
    fn touch(&mut self, index: SessionIndex) {
        if let Some(session) = self.sessions.get_mut(&index)
            && !std::mem::replace(&mut session.queued, true)
        {
            self.ready.push_back(index);
        }
    }

    fn touch_present(&mut self) {
        for (index, session) in &mut self.sessions {
            if session.present && !std::mem::replace(&mut session.queued, true) {
                self.ready.push_back(*index);
            }
        }
    }

    fn touch_user(&mut self, user: UserId) {
        for (index, session) in &mut self.sessions {
            if session.user == user && !std::mem::replace(&mut session.queued, true) {
                self.ready.push_back(*index);
            }
        }
    }

    /// Puts the session's next deadline into the timers.
    fn rearm(&mut self, index: SessionIndex) {
        let Some(session) = self.sessions.get_mut(&index) else { return };
        let due = session.timeout();
        if session.timer != Some(due) {
            if let Some(old) = session.timer.replace(due) {
                self.timers.remove(&(old, index));
            }
            self.timers.insert((due, index));
        }
    }

    fn push(&mut self, index: SessionIndex, frame: &Frame) {
        if let Some(session) = self.sessions.get_mut(&index) {
            session.push(frame, self.config.sealed);
            self.touch(index);
        }
    }

    fn on_came(&mut self, now: Now, user: UserId) {
        self.audience_cache = None;
        if self.roster.came(now.mono, user) {
            self.touch_present();
        }
    }

    fn end_session(&mut self, now: Now, index: SessionIndex) {
        let Some(session) = self.sessions.remove(&index) else { return };
        if let Some(due) = session.timer {
            self.timers.remove(&(due, index));
        }
        if self.by_instance.get(&session.instance) == Some(&index) {
            self.by_instance.remove(&session.instance);
            self.submissions.detach(session.instance);
        }
        if session.present {
            self.audience_cache = None;
            if self.roster.went(now.mono, session.user) {
                self.touch_present();
            }
            if !self.roster.online(session.user) {
                self.inboxes.release(session.user);
            }
        }
    }

    fn goodbye_all(&mut self, now: Now, reason: ByeReason) {
        let all: Vec<SessionIndex> = self.sessions.keys().copied().collect();
        for index in all {
            if let Some(session) = self.sessions.get_mut(&index) {
                session.say_bye(now.mono, reason);
                self.touch(index);
            }
        }
    }

    /// The server's state changed: a tip says so to everybody.
    fn tell_all(&mut self) {
        self.sessions.values_mut().for_each(Session::want_tip);
        self.touch_present();
    }

    /// Who is online, ascending, shared until it changes.
    fn audience_now(&mut self) -> Arc<[UserId]> {
        let roster = &self.roster;
        self.audience_cache.get_or_insert_with(|| roster.online_users().collect()).clone()
    }

    /// Somebody lost membership: from now on the room is sealed under a key they do not hold.
    fn rekey(&mut self) {
        if let Some(number) = self.room.key().map(|key| key.number) {
            self.room.rekey(RoomKey::generate(number % u8::MAX + 1, &mut self.rng));
            self.log_room_key();
        }
    }

    fn log_room_key(&mut self) {
        if let Some(key) = self.room.key().filter(|_| self.config.key_log) {
            self.events.push_back(Event::KeyLog(key.key_log_line(RoomId::MAIN)));
        }
    }
}

const _: () = assert!(LOADED_PAGES >= crate::wire::limits::IN_FLIGHT, "what is in flight is in memory");
