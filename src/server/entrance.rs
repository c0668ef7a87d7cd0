//! Coming in, on the server's side: cookies, the queue of initiates, handshakes under way, and the session at the end
//! of them (proto.md, section 4).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::RngCore;
use serde_bytes::ByteArray;

use super::Server;
use super::accounts::{Accounts, Guesser, Guesses, hash};
use super::allowance::Allowance;
use super::commit::Work;
use super::event::Event;
use super::session::{Session, Start};
use crate::id::{SessionIndex, UserId};
use crate::now::{Instant, Now};
use crate::proto::cookie::CookieKey;
use crate::proto::handshake::{Finished, PendingProof, Responder};
use crate::record::CredentialKind;
use crate::text::name::{Username, check_person_name};
use crate::wire::entrance::{ATTACH_PRESENT, ATTACH_TOKEN, Attach, Confirm, Outcome, Refusal, Request, Retry};
use crate::wire::frame::{self, ByeReason, Frame, SignedTip, WELCOME_KEY_LOG, WELCOME_SEALED};
use crate::wire::header::{Header, Type};
use crate::wire::limits::{
    COOKIE, HANDSHAKE_LIFETIME, HANDSHAKES, INITIATES, INITIATES_PER_ADDRESS, SESSIONS, SESSIONS_PER_ACCOUNT,
};

/// One handshake in this time: each takes half a millisecond, so a quarter of a core.
const HANDSHAKE_EVERY: Duration = Duration::from_millis(2);
/// Handshakes at once, after a quiet time.
const HANDSHAKE_BURST: u32 = 64;
/// Registrations at once, a school's, and how long for one more.
const REGISTRATIONS: u32 = 500;
const REGISTRATION_EVERY: Duration = Duration::from_secs(1);
/// The same from one address: a class behind a NAT.
const REGISTRATIONS_FROM: u32 = 50;
const REGISTRATION_FROM_EVERY: Duration = Duration::from_secs(10);
/// How long an outcome is told again: a registration whose outcome was lost would find its own name taken.
const OUTCOME_LIFETIME: Duration = Duration::from_secs(60);

/// An initiate whose cookie is good and whose turn has not come.
#[derive(Debug)]
struct Initiate {
    addr: SocketAddr,
    attempt: u64,
    /// Cookie and Noise message 1.
    body: Vec<u8>,
}

/// A handshake between respond and confirm, or a little after.
struct Pending {
    addr: SocketAddr,
    attempt: u64,
    initiate: Vec<u8>,
    respond: Vec<u8>,
    proof: PendingProof,
    purpose: Purpose,
    state: State,
}

enum State {
    /// The confirm has not come.
    Open,
    /// What it asks for is on its way to the disk.
    Committing,
    /// It ended so; a repeated confirm is answered again.
    Ended(Vec<u8>),
}

#[derive(Clone)]
enum Purpose {
    SignIn { proves: Option<Proves>, guesser: Guesser, device: Option<[u8; 32]> },
    Register { username: Username, first_name: String, last_name: String },
    Replace { proves: Option<Proves>, kind: CredentialKind, guesser: Guesser },
    Resume { user: UserId, token: [u8; 32] },
}

/// Whose credential a ke2 was made from, and which one: it may be replaced before it is proven. None where there is none.
#[derive(Clone, Copy)]
struct Proves {
    user: UserId,
    identifier: [u8; 16],
}

/// Everybody who is on the way in.
pub struct Entrance {
    cookies: CookieKey,
    waiting: BTreeMap<IpAddr, VecDeque<Initiate>>,
    waiting_count: usize,
    /// The address served last: the next one is the one after it.
    served: Option<IpAddr>,
    allowance: Allowance,
    pending: BTreeMap<SessionIndex, Pending>,
    by_attempt: BTreeMap<(SocketAddr, u64), SessionIndex>,
    /// Handshakes in the order they began, sessions that came of them too.
    begun: VecDeque<(Instant, SessionIndex)>,
    /// Those that ended in an outcome and ran out, kept so that a lost outcome can be told again.
    ended: VecDeque<(Instant, SessionIndex)>,
    guesses: Guesses,
    /// Registrations, in all and by address.
    registrations: Allowance,
    registrations_from: BTreeMap<IpAddr, Allowance>,
}

impl Entrance {
    pub(super) fn new(cookies: CookieKey, now: Instant) -> Entrance {
        Entrance {
            cookies,
            waiting: BTreeMap::new(),
            waiting_count: 0,
            served: None,
            allowance: Allowance::new(now, HANDSHAKE_BURST, HANDSHAKE_EVERY),
            pending: BTreeMap::new(),
            by_attempt: BTreeMap::new(),
            begun: VecDeque::new(),
            ended: VecDeque::new(),
            guesses: Guesses::default(),
            registrations: Allowance::new(now, REGISTRATIONS, REGISTRATION_EVERY),
            registrations_from: BTreeMap::new(),
        }
    }

    /// When the next waiting initiate may be computed, or a handshake has run out.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let turn = (self.waiting_count > 0).then(|| self.allowance.next());
        let expiry = self.begun.front().map(|(begun, _)| *begun + HANDSHAKE_LIFETIME);
        let forget = self.ended.front().map(|(since, _)| *since + OUTCOME_LIFETIME);
        [turn, expiry, forget].into_iter().flatten().min()
    }

    /// Initiates waiting and handshakes under way.
    pub(super) fn len(&self) -> usize {
        self.waiting_count + self.pending.len()
    }

    fn enqueue(&mut self, initiate: Initiate) -> bool {
        let queue = self.waiting.entry(initiate.addr.ip()).or_default();
        let again = queue.iter().any(|other| other.addr == initiate.addr && other.attempt == initiate.attempt);
        if again {
            return true;
        }
        if self.waiting_count >= INITIATES || queue.len() >= INITIATES_PER_ADDRESS {
            return false;
        }
        queue.push_back(initiate);
        self.waiting_count += 1;
        true
    }

    /// The next initiate, addresses in turn, if the allowance permits one.
    fn next_initiate(&mut self, now: Instant) -> Option<Initiate> {
        if self.waiting_count == 0 {
            return None;
        }
        self.allowance.spend(now).ok()?;
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.served.map_or(Unbounded, Excluded);
        let ip = *self.waiting.range((after, Unbounded)).next().or(self.waiting.iter().next())?.0;
        let queue = self.waiting.get_mut(&ip)?;
        let initiate = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&ip);
        }
        self.served = Some(ip);
        self.waiting_count -= 1;
        initiate
    }

    /// A name once registered is taken for ever: nobody may take many, and all together not too many.
    fn may_register(&mut self, now: Instant, from: IpAddr) -> Result<(), Duration> {
        if self.registrations_from.len() >= INITIATES {
            self.registrations_from.retain(|_, allowance| allowance.next() > now);
        }
        let fresh = Allowance::new(now, REGISTRATIONS_FROM, REGISTRATION_FROM_EVERY);
        self.registrations_from.entry(from).or_insert(fresh).spend(now)?;
        self.registrations.spend(now)
    }

    fn committing(&mut self, index: SessionIndex) {
        if let Some(pending) = self.pending.get_mut(&index) {
            pending.state = State::Committing;
        }
    }

    fn remove(&mut self, index: SessionIndex) {
        if let Some(pending) = self.pending.remove(&index) {
            self.by_attempt.remove(&(pending.addr, pending.attempt));
        }
    }

    /// When there are as many as there may be, the oldest of the address that has most gives way: one address cannot
    /// keep the others out.
    fn make_space(&mut self) {
        if self.pending.len() < HANDSHAKES {
            return;
        }
        let mut by_ip: BTreeMap<IpAddr, usize> = BTreeMap::new();
        self.pending.values().for_each(|pending| *by_ip.entry(pending.addr.ip()).or_insert(0) += 1);
        let Some((busiest, _)) = by_ip.into_iter().max_by_key(|(_, count)| *count) else { return };
        let theirs = |index: &SessionIndex| {
            let held = self.pending.get(index);
            held.is_some_and(|held| held.addr.ip() == busiest && !matches!(held.state, State::Committing))
        };
        let oldest = self.ended.iter().chain(&self.begun).map(|(_, index)| *index).find(theirs);
        oldest.into_iter().for_each(|index| self.remove(index));
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, index)) = self.begun.pop_front_if(|(begun, _)| now.since(*begun) >= HANDSHAKE_LIFETIME) {
            match self.pending.get(&index) {
                Some(Pending { state: State::Ended(_), .. }) => self.ended.push_back((now, index)),
                // The disk is slow: whoever waits must hear what came of it.
                Some(Pending { state: State::Committing, .. }) => self.begun.push_back((now, index)),
                _ => self.remove(index),
            }
        }
        while let Some((_, index)) = self.ended.pop_front_if(|(since, _)| now.since(*since) >= OUTCOME_LIFETIME) {
            self.remove(index);
        }
    }
}

impl Server {
    pub(super) fn on_hello(&mut self, now: Now, from: SocketAddr, attempt: u64) {
        let public = self.keys.public();
        let retry = Retry {
            cookie: ByteArray::new(self.entrance.cookies.make(from, attempt, now.mono)),
            ed25519: ByteArray::new(public.ed25519),
            x25519: ByteArray::new(public.x25519),
            name: self.config.name.clone(),
        };
        let mut datagram = Header { kind: Type::Retry, session: SessionIndex(0), counter: attempt }.to_bytes().to_vec();
        datagram.extend_from_slice(&retry.to_bytes());
        self.send_to(from, datagram);
    }

    pub(super) fn on_initiate(&mut self, now: Now, from: SocketAddr, attempt: u64, body: &[u8]) {
        let Some((cookie, _)) = body.split_first_chunk::<COOKIE>() else { return };
        if !self.entrance.cookies.check(from, attempt, cookie, now.mono) {
            self.counters.dropped_cookie += 1;
            return;
        }
        if let Some(index) = self.entrance.by_attempt.get(&(from, attempt)) {
            let pending = &self.entrance.pending[index];
            if pending.initiate == body {
                let respond = pending.respond.clone();
                self.send_to(from, respond);
            } else {
                self.counters.dropped_handshake += 1;
            }
            return;
        }
        if !self.entrance.enqueue(Initiate { addr: from, attempt, body: body.to_vec() }) {
            self.counters.dropped_busy += 1;
        }
        self.serve_initiates(now);
    }

    /// Computes what waits, as far as the allowance goes, and forgets what ran out.
    pub(super) fn serve_initiates(&mut self, now: Now) {
        self.entrance.expire(now.mono);
        while let Some(initiate) = self.entrance.next_initiate(now.mono) {
            self.respond(now, initiate);
        }
    }

    fn respond(&mut self, now: Now, initiate: Initiate) {
        let Initiate { addr, attempt, body } = initiate;
        let Some((cookie, noise)) = body.split_first_chunk::<COOKIE>() else { return };
        let Ok((responder, request)) = Responder::read(&self.keys, &mut self.rng, attempt, cookie, noise) else {
            self.counters.dropped_handshake += 1;
            return;
        };
        self.counters.handshakes += 1;
        let purpose = match self.examine(now, &request) {
            Ok(purpose) => purpose,
            Err((refusal, wait)) => {
                let datagram = responder.refuse(refusal, wait.as_millis().min(u128::from(u32::MAX)) as u32);
                self.send_to(addr, datagram);
                return;
            }
        };
        self.entrance.make_space();
        let index = self.free_index();
        let Some((respond, proof)) = self.answer(now, responder, &request, &purpose, index) else {
            self.counters.dropped_handshake += 1;
            return;
        };
        self.entrance.by_attempt.insert((addr, attempt), index);
        let pending =
            Pending { addr, attempt, initiate: body, respond: respond.clone(), proof, purpose, state: State::Open };
        self.entrance.begun.push_back((now.mono, index));
        self.entrance.pending.insert(index, pending);
        self.send_to(addr, respond);
    }

    /// Looks at a request before anything is computed for it.
    fn examine(&mut self, now: Now, request: &Request) -> Result<Purpose, (Refusal, Duration)> {
        let no_wait = |refusal| (refusal, Duration::ZERO);
        match request {
            Request::SignIn { username, device, .. } => {
                let (proves, guesser) = self.on_guess(now, username, CredentialKind::Password, *device)?;
                Ok(Purpose::SignIn { proves, guesser, device: *device })
            }
            Request::Replace { username, kind, device, .. } => {
                let (proves, guesser) = self.on_guess(now, username, *kind, *device)?;
                Ok(Purpose::Replace { proves, kind: *kind, guesser })
            }
            Request::Register { username, first_name, last_name, .. } => {
                if !self.accounts.registration_open {
                    return Err(no_wait(Refusal::RegistrationClosed));
                }
                let username = Username::parse(username).map_err(|_| no_wait(Refusal::NameNotAllowed))?;
                let first_name = check_person_name(first_name).map_err(|_| no_wait(Refusal::PersonName))?;
                let last_name = check_person_name(last_name).map_err(|_| no_wait(Refusal::PersonName))?;
                if !self.accounts.name_free(&username.key(), None) {
                    return Err(no_wait(Refusal::NameTaken));
                }
                Ok(Purpose::Register { username, first_name, last_name })
            }
            Request::Resume { token } => {
                let user = self.accounts.token(&hash(token), now.wall).ok_or(no_wait(Refusal::TokenInvalid))?;
                Ok(Purpose::Resume { user, token: *token })
            }
        }
    }

    /// Counts a try at a name, known or not; a known device has a counter of its own.
    fn on_guess(
        &mut self,
        now: Now,
        username: &str,
        kind: CredentialKind,
        device: Option<[u8; 32]>,
    ) -> Result<(Option<Proves>, Guesser), (Refusal, Duration)> {
        // What is no name is nobody's: all of it is counted together, and not folded.
        let key = Username::parse(username).map(|username| username.key()).unwrap_or_default();
        let account = self.accounts.named(username).filter(|_| !key.is_empty());
        let device = device.map(|device| hash(&device));
        let known = device.filter(|device| account.is_some_and(|account| account.devices.contains(device)));
        let guesser = (key, known);
        let exists = account.is_some();
        let proves = account.and_then(|account| {
            let credential = Accounts::credential(account, kind, now.wall)?;
            Some(Proves { user: account.id, identifier: credential.identifier })
        });
        self.entrance.guesses.on_try(now.mono, guesser.clone(), exists).map_err(|wait| {
            self.counters.throttled += 1;
            (Refusal::Throttled, wait)
        })?;
        Ok((proves, guesser))
    }

    fn answer(
        &mut self,
        now: Now,
        responder: Responder,
        request: &Request,
        purpose: &Purpose,
        index: SessionIndex,
    ) -> Option<(Vec<u8>, PendingProof)> {
        let (keys, rng, accounts) = (&self.keys, &mut self.rng, &self.accounts);
        let credential = |proves: &Option<Proves>, kind| {
            let account = accounts.account((*proves)?.user)?;
            Accounts::credential(account, kind, now.wall)
        };
        match (request, purpose) {
            (Request::SignIn { ke1, .. }, Purpose::SignIn { proves, guesser, .. }) => {
                let credential = credential(proves, CredentialKind::Password);
                responder.sign_in(keys, rng, index, ke1, credential, &fake(guesser, CredentialKind::Password)).ok()
            }
            (Request::Register { password, recovery, .. }, _) => {
                responder.register(keys, rng, index, password, recovery).ok()
            }
            (Request::Replace { ke1, password, recovery, .. }, Purpose::Replace { proves, kind, guesser }) => {
                let credential = credential(proves, *kind);
                let fake = fake(guesser, *kind);
                responder.replace(keys, rng, index, ke1, credential, &fake, (password, recovery)).ok()
            }
            (Request::Resume { token }, _) => Some(responder.resume(keys, index, token)),
            _ => None,
        }
    }

    pub(super) fn on_confirm(&mut self, now: Now, from: SocketAddr, index: SessionIndex, datagram: &mut [u8]) {
        if let Some(session) = self.sessions.get_mut(&index).filter(|session| session.addr == from) {
            session.repeat_welcome();
            self.touch(index);
            return;
        }
        let Some(pending) = self.entrance.pending.get(&index).filter(|pending| pending.addr == from) else {
            self.counters.dropped_unknown_session += 1;
            self.hint(now, from, index);
            return;
        };
        match &pending.state {
            State::Committing => return,
            State::Ended(outcome) => {
                let outcome = outcome.clone();
                self.send_to(from, outcome);
                return;
            }
            State::Open => {}
        }
        let Some(confirm) = pending.proof.open_confirm(datagram) else {
            self.counters.dropped_handshake += 1;
            return;
        };
        match pending.proof.finish(&confirm) {
            Ok(finished) => self.on_proven(now, index, confirm, finished),
            Err(_) => {
                self.counters.wrong_proofs += 1;
                self.end_handshake(index, Some(Refusal::WrongCredentials));
            }
        }
    }

    fn on_proven(&mut self, now: Now, index: SessionIndex, confirm: Confirm, finished: Finished) {
        let Some(pending) = self.entrance.pending.get(&index) else { return };
        let purpose = pending.purpose.clone();
        if let Purpose::SignIn { guesser, .. } | Purpose::Replace { guesser, .. } = &purpose {
            self.entrance.guesses.on_proof(guesser);
        }
        match (purpose, finished, confirm.attach) {
            (
                Purpose::SignIn { proves: Some(Proves { user, identifier }), device, .. },
                Finished { keys: Some(keys), .. },
                Some(attach),
            ) if self.accounts.holds(user, CredentialKind::Password, identifier, now.wall) => {
                let known = device.filter(|device| {
                    self.accounts.account(user).is_some_and(|account| account.devices.contains(&hash(device)))
                });
                self.begin_session(now, index, user, keys, &attach, None, known);
            }
            (Purpose::Resume { token, .. }, ..) if self.accounts.token(&hash(&token), now.wall).is_none() => {
                self.end_handshake(index, Some(Refusal::TokenInvalid));
            }
            (Purpose::Resume { user, token }, Finished { keys: Some(keys), .. }, Some(attach)) => {
                self.begin_session(now, index, user, keys, &attach, Some(token), None);
            }
            (
                Purpose::Register { username, first_name, last_name },
                Finished { password: Some(password), recovery: Some(recovery), .. },
                _,
            ) => {
                let from = pending.addr.ip();
                if let Err(wait) = self.entrance.may_register(now.mono, from) {
                    return self.refuse_handshake(index, Refusal::Busy, wait);
                }
                self.entrance.committing(index);
                self.enqueue(Work::Register { index, username, first_name, last_name, password, recovery });
            }
            (
                Purpose::Replace { proves: Some(Proves { user, identifier: proves }), kind, .. },
                Finished { password: Some(password), recovery: Some(recovery), .. },
                _,
            ) => {
                self.entrance.committing(index);
                self.enqueue(Work::Replace { index, user, kind, proves, password, recovery });
            }
            _ => self.end_handshake(index, Some(Refusal::WrongCredentials)),
        }
    }

    /// Answers a handshake that leads to no session.
    pub(super) fn end_handshake(&mut self, index: SessionIndex, refusal: Option<Refusal>) {
        self.tell_outcome(index, Outcome { refusal, wait_ms: 0 });
    }

    fn refuse_handshake(&mut self, index: SessionIndex, refusal: Refusal, wait: Duration) {
        let wait_ms = wait.as_millis().min(u128::from(u32::MAX)) as u32;
        self.tell_outcome(index, Outcome { refusal: Some(refusal), wait_ms });
    }

    fn tell_outcome(&mut self, index: SessionIndex, outcome: Outcome) {
        let Some(pending) = self.entrance.pending.get_mut(&index) else { return };
        let outcome = pending.proof.outcome(outcome);
        pending.state = State::Ended(outcome.clone());
        let addr = pending.addr;
        self.send_to(addr, outcome);
    }

    #[expect(clippy::too_many_arguments, reason = "what a handshake proved, once")]
    fn begin_session(
        &mut self,
        now: Now,
        index: SessionIndex,
        user: UserId,
        keys: crate::proto::datagram::SessionKeys,
        attach: &Attach,
        token: Option<[u8; 32]>,
        known_device: Option<[u8; 32]>,
    ) {
        if !self.submissions.may_attach(attach.instance, user, attach.first) {
            return self.end_handshake(index, Some(Refusal::NotPermitted));
        }
        self.make_way(now, user, attach);
        if self.sessions.len() >= SESSIONS {
            return self.end_handshake(index, Some(Refusal::TooManySessions));
        }
        let decided = self.submissions.attach(attach.instance, user, attach.first);
        let Some(addr) = self.entrance.pending.get(&index).map(|pending| pending.addr) else { return };
        self.entrance.remove(index);
        self.check_tip(attach);
        if self.config.key_log {
            self.events.push_back(Event::KeyLog(keys.key_log_line(index)));
        }
        let start = Start {
            index,
            user,
            addr,
            present: attach.flags & ATTACH_PRESENT != 0,
            instance: attach.instance,
            token: token.as_ref().map(hash),
            revocations: self.accounts.account(user).map_or(0, |account| account.revocations),
            room_head: self.room.head(),
            inbox_head: self.inboxes.head(user),
            seed: self.rng.next_u64(),
        };
        let present = start.present;
        let mut welcome = Vec::new();
        self.welcome(user, decided, attach).put(&mut welcome);
        self.sessions.insert(index, Session::new(now.mono, start, keys, welcome));
        self.by_instance.insert(attach.instance, index);
        self.counters.sessions += 1;
        if present {
            self.on_came(now, user);
        }
        if attach.flags & ATTACH_TOKEN != 0 {
            self.give_token(index, token.is_some(), known_device);
        }
        self.touch(index);
    }

    /// The same outbox's earlier session is over, and the account's most silent one if there are too many.
    fn make_way(&mut self, now: Now, user: UserId, attach: &Attach) {
        if let Some(old) = self.by_instance.get(&attach.instance).copied() {
            self.end_session(now, old);
        }
        let own: Vec<&Session> =
            self.sessions.values().filter(|session| session.user == user && !session.leaving()).collect();
        if own.len() >= SESSIONS_PER_ACCOUNT {
            let silent = own.iter().min_by_key(|session| session.last_heard()).map(|session| session.index);
            if let Some(session) = silent.and_then(|index| self.sessions.get_mut(&index)) {
                session.say_bye(now.mono, ByeReason::TooMany);
            }
            silent.into_iter().for_each(|index| self.touch(index));
        }
    }

    /// A tip of ours beyond what we hold: this server was restored from an older state (proto.md, section 6).
    fn check_tip(&mut self, attach: &Attach) {
        let Some(tip) = attach.tip.as_ref().and_then(|bytes| SignedTip::from_bytes(bytes)) else { return };
        let (epoch, head) = (self.room.epoch(), self.room.head());
        let beyond = tip.epoch > epoch || (tip.epoch == epoch && tip.head > head);
        let differs = tip.epoch == epoch && self.room.contradicts(tip.head, &tip.hash);
        if (beyond || differs) && self.verifier.verify_tip(&tip).is_ok() {
            let epoch = crate::id::Epoch(epoch.max(tip.epoch).0 + 1);
            self.enqueue(Work::Epoch { epoch });
        }
    }

    fn welcome(&self, user: UserId, decided: crate::id::Ordinal, attach: &Attach) -> Frame {
        let account = self.accounts.account(user);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        frame::Welcome {
            user,
            username: account.map(|account| account.username.clone()).unwrap_or_default(),
            name: self.config.name.clone(),
            epoch: self.room.epoch(),
            since: self.room.since(attach.room.map(|(epoch, _)| epoch)),
            head: self.room.head(),
            inbox_head: self.inboxes.head(user),
            inbox_from: account.map(|account| account.inbox_received).unwrap_or_default(),
            boot: self.roster.boot(),
            roster: self.roster.head(),
            decided,
            flags: flag(self.config.sealed, WELCOME_SEALED) | flag(self.config.key_log, WELCOME_KEY_LOG),
            key: self.room.key().map_or(0, |key| key.number),
            room_key: self.room.key().map(|key| ByteArray::new(key.key)),
        }
        .into()
    }

    /// A new token, once it is on disk; a device that is known, or resumes, keeps its secret.
    fn give_token(&mut self, index: SessionIndex, resumed: bool, known: Option<[u8; 32]>) {
        let (mut token, mut device) = ([0; 32], [0; 32]);
        self.rng.fill_bytes(&mut token);
        if known.is_none() && !resumed {
            self.rng.fill_bytes(&mut device);
        }
        self.enqueue(Work::Token { session: index, token, device });
    }

    fn free_index(&mut self) -> SessionIndex {
        loop {
            let index = SessionIndex(self.rng.next_u32());
            let taken = self.sessions.contains_key(&index) || self.entrance.pending.contains_key(&index);
            if index != SessionIndex(0) && !taken {
                return index;
            }
        }
    }
}

/// What stands for a credential that does not exist: another for each name and kind, as those that exist are.
fn fake((name, _): &Guesser, kind: CredentialKind) -> String {
    format!("{kind:?} {name}")
}
