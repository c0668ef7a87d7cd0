//! The member's node, sans-IO: it comes in, keeps itself in, receives the logs and sends its owner's messages.
//!
//! [`Client`] owns the parts and passes things on between them: [`entrance`] comes in, [`session`] packs and protects,
//! [`log`] receives a log, [`roster`] knows who is here, [`outbox`] sends, [`calls`] asks, [`keeper`] decides what is
//! written to this disk and when, [`model`] is what front ends show. What frames do is in `receive`.

pub mod calls;
pub mod counters;
pub mod entrance;
pub mod event;
pub mod keeper;
pub mod log;
pub mod model;
pub mod outbox;
mod receive;
pub mod roster;
pub mod session;
mod staying;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand::{Rng as _, SeedableRng};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use self::calls::Calls;
use self::counters::Counters;
use self::entrance::{Entrance, Responding};
use self::event::{Connection, Event, Notice, Ticket};
use self::keeper::Keeper;
use self::log::{Kind, Log};
use self::model::Model;
use self::outbox::Outbox;
use self::roster::Roster;
use self::session::Session;
use self::staying::Staying;
use crate::id::{Epoch, Ordinal, RoomId, Seq, UserId};
use crate::now::{Instant, Now, WallMs};
use crate::proto::handshake::{Intent, Proven, WrongSecret};
use crate::proto::keys::Pin;
use crate::proto::opaque;
use crate::proto::rng::Rng;
use crate::proto::sign::RoomKey;
use crate::proto::suite::Suite;
use crate::record::{CredentialKind, Keep, Profile};
use crate::wire::call::Call;
use crate::wire::entrance::{ATTACH_PRESENT, ATTACH_TOKEN, Attach};
use crate::wire::frame::{Ack, LettersAck, LettersWant, Protection, RosterAck, SignedTip, SubmitRefusal, Want};
use crate::wire::header::{Header, Type};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cryptography; real outside of simulations.
    pub suite: Suite,
    /// Where the server is. Datagrams from elsewhere are dropped.
    pub server: SocketAddr,
    /// What to make of a room that the profile does not know yet.
    pub trust: Trust,
    /// Count as online and receive the logs; `account` commands do not.
    pub present: bool,
    /// Ask for a resume token: coming back needs no password then, at the price of a secret on this disk.
    pub token: bool,
}

/// What to make of a room at first contact. A pin in the profile always wins over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A person compares the words.
    Ask,
    /// Whoever answers first.
    FirstUse,
    /// The six words, as typed.
    Words(String),
}

/// What a new account is made of.
pub struct Registration {
    /// The username wanted.
    pub username: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// The password.
    pub password: Zeroizing<String>,
}

/// What puts a new password in place of the old one.
pub struct Replacement {
    /// Whose.
    pub username: String,
    /// What `secret` is.
    pub kind: CredentialKind,
    /// The old password or a code, as typed.
    pub secret: Zeroizing<String>,
    /// The new password.
    pub new_password: Zeroizing<String>,
}

/// A member's node.
///
/// It is driven like this: after **any** call that takes `&mut self`, drain [`poll_event`](Client::poll_event) and
/// [`poll_transmit`](Client::poll_transmit) until both give None, then wait for a datagram, for a command, or until
/// [`poll_timeout`](Client::poll_timeout), and call [`handle_timeout`](Client::handle_timeout) when that has passed.
/// [`Event::Stretch`] and [`Event::Keep`] are answered by [`handle_stretched`](Client::handle_stretched) and
/// [`handle_kept`](Client::handle_kept) whenever the work is done.
///
/// It is idle until one of [`sign_in`](Client::sign_in), [`resume`](Client::resume), [`register`](Client::register) and
/// [`replace`](Client::replace). Once it was let in it keeps itself in, over silence, restarts of the server and
/// changes of its own address, until it is refused or closed. A profile belongs to one account.
pub struct Client {
    config: Config,
    rng: Rng,
    counters: Counters,
    events: VecDeque<Event>,
    model: Model,
    entrance: Entrance,
    staying: Staying,
    session: Option<Session>,
    /// A goodbye to a session that another took the place of.
    parting: Option<Vec<u8>>,
    room: Log,
    inbox: Log,
    roster: Roster,
    outbox: Outbox,
    calls: Calls,
    keeper: Keeper,
    /// What the profile holds of the newest tip.
    tip: Option<SignedTip>,
    room_keys: Vec<RoomKey>,
    /// The call for a room key that is under way, and the key's number.
    key_call: Option<(Ticket, u8)>,
    server_stores: bool,
    username: Option<String>,
    closed: bool,
}

impl Client {
    /// A client as its profile was kept; `seed` decides all its randomness.
    pub fn new(config: Config, mut profile: Profile, seed: [u8; 32], _now: Now) -> Client {
        let mut rng = Rng::from_seed(seed);
        let outbox = Outbox::new(&mut profile, rng.r#gen());
        let mut model = Model::new(profile.user.as_ref().map(|(id, _)| *id));
        model.undecided = outbox.undecided();
        Client {
            entrance: Entrance::new(config.suite, profile.pin.map(Pin), config.trust.clone()),
            staying: Staying::new(profile.token, profile.device),
            room: Log::new(Kind::Room, profile.room_cursor),
            inbox: Log::new(Kind::Inbox, profile.inbox_cursor),
            tip: profile.tip.as_deref().and_then(SignedTip::from_bytes),
            username: profile.user.map(|(_, username)| username),
            config,
            rng,
            counters: Counters::default(),
            events: VecDeque::new(),
            model,
            session: None,
            parting: None,
            roster: Roster::default(),
            outbox,
            calls: Calls::default(),
            keeper: Keeper::default(),
            room_keys: Vec::new(),
            key_call: None,
            server_stores: true,
            closed: false,
        }
    }

    /// Comes in by password; the password of the newest sign-in is held, to come back where a token does not.
    pub fn sign_in(&mut self, now: Now, username: &str, password: &str) {
        self.staying.remember_password(username, password);
        let intent = Intent::SignIn {
            username: username.to_owned(),
            password: password.to_owned(),
            device: self.staying.device,
        };
        self.come_in(now, intent);
    }

    /// Comes in by the profile's token; false, and nothing begins, if there is none that is still good.
    pub fn resume(&mut self, now: Now) -> bool {
        let Some(token) = self.staying.token(now.wall) else { return false };
        self.come_in(now, Intent::Resume { token });
        true
    }

    /// Makes an account; ends in [`Event::Outcome`] or [`Event::Refused`].
    pub fn register(&mut self, now: Now, registration: Registration) {
        let Registration { username, first_name, last_name, password } = registration;
        let recovery_code = opaque::recovery_code(&mut self.rng).to_string();
        let password = password.to_string();
        self.come_in(now, Intent::Register { username, first_name, last_name, password, recovery_code });
    }

    /// Puts a new password in place; ends in [`Event::Outcome`] or [`Event::Refused`].
    pub fn replace(&mut self, now: Now, replacement: Replacement) {
        let Replacement { username, kind, secret, new_password } = replacement;
        let intent = Intent::Replace {
            username,
            kind,
            secret: secret.to_string(),
            new_password: new_password.to_string(),
            new_recovery_code: opaque::recovery_code(&mut self.rng).to_string(),
            device: self.staying.device,
        };
        self.come_in(now, intent);
    }

    /// A person compared the words of [`Event::ConfirmPin`]. If they differ the client is idle again.
    pub fn confirm_pin(&mut self, now: Now, accept: bool) {
        let steps = self.entrance.confirm_pin(now.mono, accept);
        self.on_steps(now, steps);
        self.settle(now);
    }

    /// Takes a message for the room (`to` is empty) or for some members, also while the server is away. Gives its number,
    /// by which [`Event::Own`] tells what becomes of it.
    ///
    /// # Errors
    /// What the server would refuse; nothing was taken.
    pub fn send(&mut self, now: Now, to: Vec<UserId>, text: String) -> Result<Ordinal, SubmitRefusal> {
        let queued = self.outbox.push(to, text)?;
        let n = queued.n;
        self.keeper.keep(Keep::Queue(queued.clone()));
        self.settle(now);
        Ok(n)
    }

    /// Asks the server something, now or when it is back; [`Event::Replied`] brings the answer.
    pub fn call(&mut self, now: Now, call: Call) -> Ticket {
        let ticket = self.calls.push(&call);
        if call == Call::SignOut {
            self.staying.sign_out_ticket = Some(ticket);
        }
        self.settle(now);
        ticket
    }

    /// Says goodbye. Drive the client on until [`poll_timeout`](Client::poll_timeout) gives None.
    pub fn close(&mut self, now: Now) {
        self.closed = true;
        self.entrance.stop();
        self.staying.stop();
        self.keeper.flush(now.mono);
        if let Some(session) = &mut self.session {
            put_acks(now.mono, session, &mut self.room, &mut self.inbox, &mut self.roster, true);
            session.farewell(now.mono);
        }
        self.settle(now);
    }

    /// A datagram came; it may be decrypted in place.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8]) {
        self.counters.datagrams_received += 1;
        if from != self.config.server {
            self.counters.dropped_source += 1;
            return;
        }
        let Ok((header, body)) = Header::split(datagram) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        let (entrance, rng, counters) = (&mut self.entrance, &mut self.rng, &mut self.counters);
        match header.kind {
            Type::Retry => {
                let steps = entrance.handle_retry(now.mono, &header, body, rng, counters);
                self.on_steps(now, steps);
            }
            Type::Respond => match entrance.handle_respond(&header, body, counters) {
                Some(Responding::Step(step)) => self.on_steps(now, vec![step]),
                Some(Responding::Stretched(result)) => self.on_stretched(now, *result),
                None => {}
            },
            Type::Outcome => {
                let step = entrance.handle_outcome(datagram, counters);
                self.on_steps(now, step.into_iter().collect());
            }
            Type::Sealed | Type::Readable | Type::Credential => self.on_protected(now, &header, datagram),
            Type::Hint => self.on_hint(now, &header),
            Type::Hello | Type::Initiate | Type::Confirm => self.counters.dropped_type += 1,
        }
        self.settle(now);
    }

    /// The time that [`poll_timeout`](Client::poll_timeout) named has come. Too early does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        let steps = self.entrance.handle_timeout(now.mono, &mut self.rng, &mut self.counters);
        self.on_steps(now, steps);
        let away = self.is_away();
        if let Some(session) = &mut self.session {
            self.counters.pings += u64::from(session.handle_timeout(now.mono, away));
            if self.closed && session.is_over() {
                self.session = None;
            } else if !self.closed && !away && session.is_silent(now.mono) {
                self.on_silence(now);
            }
            self.outbox.on_timeout(now.mono);
            if self.staying.doubt().is_some_and(|due| due <= now.mono) {
                self.on_doubt(now);
            }
        }
        self.settle(now);
    }

    /// The work of [`Event::Stretch`] is done.
    pub fn handle_stretched(&mut self, now: Now, result: Result<Proven, WrongSecret>) {
        self.on_stretched(now, result);
        self.settle(now);
    }

    /// The work of [`Event::Keep`] is done, or could not be, in words.
    pub fn handle_kept(&mut self, now: Now, result: Result<(), String>) {
        match result {
            Ok(()) => {
                for n in self.keeper.on_kept() {
                    self.outbox.on_kept(n);
                    self.events.push_back(Event::Own { n, state: event::OwnState::Queued });
                }
            }
            Err(reason) => {
                if self.keeper.on_failed(now.mono) {
                    self.events.push_back(Event::Notice(Notice::ProfileFailed(reason)));
                }
            }
        }
        self.settle(now);
    }

    /// Clears `buf` and fills it with the next datagram to send; gives where to.
    pub fn poll_transmit(&mut self, now: Now, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let taken = if let Some(datagram) = self.parting.take().or_else(|| self.entrance.take_datagram()) {
            *buf = datagram;
            true
        } else {
            self.gather(now.mono);
            self.session.as_mut().is_some_and(|session| session.take_datagram(now.mono, buf))
        };
        if taken {
            self.counters.datagrams_sent += 1;
            return Some(self.config.server);
        }
        if self.closed && self.session.as_ref().is_some_and(Session::is_over) {
            self.session = None;
        }
        None
    }

    /// The next thing to do or to show.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Client::handle_timeout) at the latest; None: when something else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut earliest = [self.entrance.timeout(), self.keeper.timeout()].into_iter().flatten().min();
        let Some(session) = &self.session else { return earliest };
        let mut consider = |at: Option<Instant>| earliest = [earliest, at].into_iter().flatten().min();
        consider(session.timeout(self.is_away()));
        if !self.closed {
            consider(self.room.ack_due());
            consider(self.inbox.ack_due());
            consider(self.roster.ack_due());
            consider(self.room.want_due(session.rtt()));
            consider(self.inbox.want_due(session.rtt()));
            consider(self.outbox.timeout());
            consider(self.calls.timeout());
            consider(self.staying.doubt());
        }
        earliest
    }

    /// What there is to show.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn come_in(&mut self, now: Now, intent: Intent) {
        self.closed = false;
        self.staying.on_command();
        self.set_connection(if self.session.is_some() { self.model.connection } else { Connection::Connecting });
        self.entrance.start(now.mono, Duration::ZERO, intent, false);
        let steps = self.entrance.handle_timeout(now.mono, &mut self.rng, &mut self.counters);
        self.on_steps(now, steps);
        self.settle(now);
    }

    fn on_stretched(&mut self, now: Now, result: Result<Proven, WrongSecret>) {
        let attach = self.attach(now.wall);
        let step = self.entrance.handle_stretched(now.mono, result, attach, &mut self.rng);
        self.on_steps(now, step.into_iter().collect());
    }

    /// Where this client stands now.
    fn attach(&self, wall: WallMs) -> Attach {
        let mut flags = 0;
        if self.config.present {
            flags |= ATTACH_PRESENT;
        }
        if self.config.token && self.staying.wants_token(wall) {
            flags |= ATTACH_TOKEN;
        }
        Attach {
            instance: self.outbox.instance(),
            first: self.outbox.first(),
            room: self.room.cursor(),
            inbox: self.inbox.cursor(),
            tip: self.tip.map(|tip| ByteBuf::from(tip.to_bytes())),
            flags,
        }
    }

    /// Puts what is due into the session's datagrams; acks ride with what leaves anyway.
    fn gather(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        if self.closed {
            return;
        }
        while let Some((n, first)) = self.outbox.take_next(now, |frame| session.put(&frame)) {
            self.counters.submissions += u64::from(first);
            self.counters.submissions_again += u64::from(!first);
            if first {
                self.events.push_back(Event::Own { n, state: event::OwnState::Sent });
            }
        }
        while let Some(call) = self.calls.take_next(now, session.rtt()) {
            self.counters.calls += 1;
            session.put(&call.into());
        }
        if let Some((first, last)) = self.room.take_want(now, session.rtt()) {
            self.counters.wants += 1;
            session.put(&Want { room: RoomId::MAIN, first, last }.into());
        }
        if let Some((first, last)) = self.inbox.take_want(now, session.rtt()) {
            self.counters.wants += 1;
            session.put(&LettersWant { first, last }.into());
        }
        put_acks(now, session, &mut self.room, &mut self.inbox, &mut self.roster, false);
    }

    fn set_connection(&mut self, connection: Connection) {
        if self.model.connection != connection || connection == Connection::Connecting {
            self.model.connection = connection;
            self.events.push_back(Event::Connection(connection));
        }
    }

    fn is_away(&self) -> bool {
        self.model.connection == Connection::Away
    }

    /// After every change: what is to be written leaves, what is shown is right.
    fn settle(&mut self, now: Now) {
        if let Some(batch) = self.keeper.take_batch(now.mono) {
            self.events.push_back(Event::Keep(batch));
        }
        self.model.undecided = self.outbox.undecided();
    }

    fn keep_room_cursor(&mut self, now: Instant, before: Option<(Epoch, Seq)>) {
        let cursor = self.room.cursor();
        if cursor != before
            && let Some(cursor) = cursor
        {
            self.keeper.room_cursor(now, cursor);
        }
    }

    fn keep_inbox_cursor(&mut self, now: Instant, before: Option<(Epoch, Seq)>) {
        let cursor = self.inbox.cursor();
        if cursor != before
            && let Some(cursor) = cursor
        {
            self.keeper.inbox_cursor(now, cursor);
        }
    }
}

/// Puts the acks that are due, those that can ride with something, or `all` there are.
fn put_acks(now: Instant, session: &mut Session, room: &mut Log, inbox: &mut Log, roster: &mut Roster, all: bool) {
    let protection = session.room_protection();
    if let Some(ack) = room.take_ack(now, all || session.has(protection)) {
        let (upto, delay_us, ranges) = (ack.upto, ack.delay_us, ack.ranges);
        session.put(&Ack { room: RoomId::MAIN, epoch: room.epoch(), upto, delay_us, ranges }.into());
    }
    if let Some((boot, ack)) = roster.take_ack(now, all || session.has(protection)) {
        session.put(&RosterAck { boot, upto: ack.upto, delay_us: ack.delay_us, ranges: ack.ranges }.into());
    }
    if let Some(ack) = inbox.take_ack(now, all || session.has(Protection::Sealed)) {
        let (upto, delay_us, ranges) = (ack.upto, ack.delay_us, ack.ranges);
        session.put(&LettersAck { epoch: inbox.epoch(), upto, delay_us, ranges }.into());
    }
}
