//! Staying in: what brings a client back after silence, a restart of the server or a changed address, and when it
//! gives up.

use std::time::Duration;

use rand::RngCore;
use zeroize::Zeroizing;

use super::Client;
use super::entrance::Standing;
use super::event::{Connection, Entered, Event, Notice, Ticket};
use super::log::Start;
use super::session::Session;
use crate::id::Seq;
use crate::now::{Instant, Now, WallMs};
use crate::proto::handshake::Intent;
use crate::proto::rtt::{Rtt, jittered};
use crate::proto::sign::RoomKey;
use crate::record::Keep;
use crate::wire::entrance::Refusal;
use crate::wire::frame::{Bye, ByeReason, Token, TokenAck, WELCOME_KEY_LOG, WELCOME_SEALED, Welcome};
use crate::wire::limits::TOKEN_LIFETIME;

/// What a client comes back with, and how often it tries.
pub struct Staying {
    token: Option<([u8; 32], WallMs)>,
    /// The device secret: with it nobody's wrong guesses lock this installation out.
    pub(super) device: Option<[u8; 32]>,
    /// Of the newest sign-in of this run.
    password: Option<(String, Zeroizing<String>)>,
    /// Once let in, the client comes back by itself until it is refused or closed.
    staying: bool,
    /// Was the attempt under way asked for from outside? Then a refusal is told and nothing is tried again.
    commanded: bool,
    /// Before the next attempt, where one just failed.
    pause: Duration,
    hint_followed: Option<Instant>,
    /// A hint came: the session is in doubt, and is given up if nothing genuine comes until then.
    doubt: Option<Instant>,
    /// What the last session knew of the path.
    rtt: Rtt,
    /// The call that ends the token.
    pub(super) sign_out_ticket: Option<Ticket>,
}

/// The first pause between two attempts to come back.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest: a restarted server has everybody back within 3 s.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// At most one resume for hints in this time (proto.md, section 2).
const HINT_EVERY: Duration = Duration::from_secs(1);

impl Staying {
    /// As the profile remembers.
    pub fn new(token: Option<([u8; 32], WallMs)>, device: Option<[u8; 32]>) -> Staying {
        Staying {
            token,
            device,
            password: None,
            staying: false,
            commanded: true,
            pause: PAUSE_FIRST,
            hint_followed: None,
            doubt: None,
            rtt: Rtt::default(),
            sign_out_ticket: None,
        }
    }

    pub(super) fn remember_password(&mut self, username: &str, password: &str) {
        self.password = Some((username.to_owned(), Zeroizing::new(password.to_owned())));
    }

    /// The token, if it is still good.
    pub(super) fn token(&self, wall: WallMs) -> Option<[u8; 32]> {
        self.token.filter(|(_, ends)| *ends > wall).map(|(token, _)| token)
    }

    /// Is it time for a new token? One is taken when none is held, or half of its life is over.
    pub(super) fn wants_token(&self, wall: WallMs) -> bool {
        let half = TOKEN_LIFETIME.as_millis() as u64 / 2;
        self.token.is_none_or(|(_, ends)| ends.0 < wall.0.saturating_add(half))
    }

    pub(super) fn on_command(&mut self) {
        self.commanded = true;
        self.pause = PAUSE_FIRST;
    }

    pub(super) fn on_renamed(&mut self, username: &str) {
        if self.staying
            && let Some((held, _)) = &mut self.password
        {
            username.clone_into(held);
        }
    }

    pub(super) fn stop(&mut self) {
        (self.staying, self.doubt) = (false, None);
    }

    pub(super) fn may_follow_hint(&mut self, now: Instant) -> bool {
        let may = self.staying && self.hint_followed.is_none_or(|at| at + HINT_EVERY <= now);
        if may {
            self.hint_followed = Some(now);
        }
        may
    }

    /// When a session that a hint put in doubt is given up.
    pub(super) fn doubt(&self) -> Option<Instant> {
        self.doubt
    }

    fn intent(&self) -> Option<Intent> {
        // Whether it is still good is the server's to say: a school's clocks jump.
        if let Some((token, _)) = self.token {
            return Some(Intent::Resume { token });
        }
        let (username, password) = self.password.as_ref()?;
        Some(Intent::SignIn { username: username.clone(), password: password.to_string(), device: self.device })
    }
}

impl Client {
    /// Something genuine was heard in the session: if the server counted as away, it is back, unless a new session is
    /// already being made.
    pub(super) fn on_sign_of_life(&mut self) {
        self.staying.doubt = None;
        if self.is_away() && self.entrance.is_knocking() {
            self.entrance.stop();
            self.set_connection(Connection::Connected);
        }
    }

    /// Somebody, perhaps the server, says that it does not know our session: ask it, and come back if nothing genuine
    /// answers.
    pub(super) fn on_hint_of_session(&mut self, now: Now) {
        let Some(session) = &mut self.session else { return };
        session.ping(now.mono);
        self.counters.pings += 1;
        self.staying.doubt.get_or_insert(now.mono + session.rtt().probe_timeout(0));
    }

    /// Nothing answered since the hint.
    pub(super) fn on_doubt(&mut self, now: Now) {
        self.staying.doubt = None;
        if self.entrance.is_idle() {
            self.come_back(now, Duration::ZERO);
        }
    }

    /// Nothing was heard for too long.
    pub(super) fn on_silence(&mut self, now: Now) {
        self.set_connection(Connection::Away);
        if self.entrance.is_idle() {
            self.come_back(now, Duration::ZERO);
        }
    }

    /// Begins to come back, after a pause.
    pub(super) fn come_back(&mut self, now: Now, pause: Duration) {
        self.staying.commanded = false;
        match self.staying.intent() {
            Some(intent) => self.entrance.start(now.mono, pause, intent, true),
            None => self.give_up(Refusal::TokenInvalid, 0),
        }
    }

    /// The server ends the session.
    pub(super) fn on_bye(&mut self, now: Now, reason: ByeReason) {
        if self.closed {
            return;
        }
        if let Some(former) = self.session.take() {
            self.staying.rtt = *former.rtt();
        }
        match reason {
            ByeReason::Closing | ByeReason::Left => {
                self.set_connection(Connection::Away);
                let pause = jittered(PAUSE_FIRST, self.rng.next_u32());
                if self.entrance.is_idle() {
                    self.come_back(now, pause);
                }
            }
            ByeReason::Revoked | ByeReason::Removed | ByeReason::TooMany => {
                self.stop();
                if reason != ByeReason::TooMany {
                    self.forget_token();
                }
                self.set_connection(Connection::Ended(reason));
            }
        }
    }

    /// The server said no.
    pub(super) fn on_not_let_in(&mut self, now: Now, refusal: Refusal, wait_ms: u32, intent: Intent) {
        let by_token = matches!(intent, Intent::Resume { .. });
        let returning = !self.staying.commanded;
        match refusal {
            Refusal::TokenInvalid if by_token => {
                self.forget_token();
                match self.staying.intent().filter(|_| returning) {
                    Some(intent) => self.entrance.start(now.mono, Duration::ZERO, intent, true),
                    None => self.give_up(refusal, wait_ms),
                }
            }
            Refusal::Busy => self.try_again(now, wait_ms, intent),
            Refusal::Throttled | Refusal::StoreFailed | Refusal::TooManySessions if returning => {
                self.try_again(now, wait_ms, intent);
            }
            Refusal::WrongCredentials => {
                self.staying.password = None;
                self.give_up(refusal, wait_ms);
            }
            _ => self.give_up(refusal, wait_ms),
        }
    }

    fn try_again(&mut self, now: Now, wait_ms: u32, intent: Intent) {
        let pause = jittered(self.staying.pause, self.rng.next_u32()).max(Duration::from_millis(wait_ms.into()));
        self.staying.pause = (self.staying.pause * 3 / 2).min(PAUSE_MAX);
        self.entrance.start(now.mono, pause, intent, !self.staying.commanded);
    }

    /// Tells the refusal. A session that still lives goes on: what failed may have been a resume for a forged hint.
    fn give_up(&mut self, refusal: Refusal, wait_ms: u32) {
        let alive = self.session.is_some() && !self.is_away();
        if alive && !self.staying.commanded {
            return;
        }
        if !alive {
            self.stop();
        }
        self.events.push_back(Event::Refused { refusal, wait_ms });
    }

    /// Nothing is tried any more, until a command.
    pub(super) fn stop(&mut self) {
        self.session = None;
        self.entrance.stop();
        self.staying.stop();
    }

    /// A registration or a replacement is done.
    pub(super) fn on_done(&mut self, intent: Intent) {
        let recovery_code = match &intent {
            Intent::Register { recovery_code, .. } => recovery_code.clone(),
            Intent::Replace { new_recovery_code, .. } => new_recovery_code.clone(),
            Intent::SignIn { .. } | Intent::Resume { .. } => return,
        };
        self.events.push_back(Event::Outcome { recovery_code });
    }

    pub(super) fn on_token(&mut self, now: Now, token: &Token) {
        self.put(TokenAck {});
        if !self.config.token {
            self.counters.dropped_unexpected += 1;
            return;
        }
        if self.staying.token.is_none_or(|(held, _)| held != *token.token) {
            let ends = WallMs(now.wall.0.saturating_add(u64::from(token.lifetime_s) * 1000));
            self.staying.token = Some((*token.token, ends));
            self.keeper.keep(Keep::Token(self.staying.token));
        }
        // Zeros: the one that is held stays.
        if *token.device != [0; 32] && self.staying.device != Some(*token.device) {
            self.staying.device = Some(*token.device);
            self.keeper.keep(Keep::Device(*token.device));
        }
    }

    pub(super) fn forget_token(&mut self) {
        if self.staying.token.take().is_some() {
            self.keeper.keep(Keep::Token(None));
        }
    }

    /// A new session stands; it takes the place of the one before.
    pub(super) fn on_session(&mut self, now: Now, standing: Standing) {
        self.staying.doubt = None;
        let Standing { index, protector, opener, key_log_line, welcome, more } = standing;
        self.counters.sessions += 1;
        let rtt = self.session.as_ref().map(|former| *former.rtt()).unwrap_or(self.staying.rtt);
        if let Some(mut former) = self.session.take() {
            former.put(&Bye { reason: ByeReason::Left as u8 }.into());
            let mut datagram = Vec::new();
            while former.take_datagram(now.mono, &mut datagram) {
                self.parting = Some(std::mem::take(&mut datagram));
            }
        }
        let sealed = welcome.flags & WELCOME_SEALED != 0;
        let mut session = Session::new(now.mono, index, (protector, opener), sealed, rtt);
        // The server knows by our first datagram that its welcome came; the answer is the first RTT sample.
        session.ping(now.mono);
        self.counters.pings += 1;
        self.session = Some(session);
        self.events.push_back(Event::KeyLog(key_log_line));
        let first = !std::mem::replace(&mut self.staying.staying, true);
        (self.staying.commanded, self.staying.pause) = (false, PAUSE_FIRST);
        self.on_welcome(now, &welcome, first);
        self.outbox.on_session(welcome.decided);
        self.calls.on_session();
        for frame in more {
            self.on_frame(now, frame);
        }
    }

    fn on_welcome(&mut self, now: Now, welcome: &Welcome, first: bool) {
        if self.model.me != Some(welcome.user) || self.username.as_ref() != Some(&welcome.username) {
            self.model.me = Some(welcome.user);
            self.username = Some(welcome.username.clone());
            self.keeper.keep(Keep::User { id: welcome.user, username: welcome.username.clone() });
        }
        self.room_keys.clear();
        if let Some(key) = welcome.room_key.filter(|_| welcome.key != 0) {
            self.add_room_key(RoomKey { number: welcome.key, key: *key });
        }
        self.set_connection(Connection::Connected);
        if let Some(pin) = self.entrance.pin() {
            self.events.push_back(Event::Entered(Entered {
                user: welcome.user,
                username: welcome.username.clone(),
                room_name: welcome.name.clone(),
                pin,
                epoch: welcome.epoch,
                head: welcome.head,
                sealed: welcome.flags & WELCOME_SEALED != 0,
                key_log: welcome.flags & WELCOME_KEY_LOG != 0,
                first,
            }));
        }
        if self.config.present {
            self.attach_logs(now, welcome);
        }
    }

    fn attach_logs(&mut self, now: Now, welcome: &Welcome) {
        // In the same run of the server a welcome may be older than what the session before it brought.
        let restarted = self.roster.boot() != Some(welcome.boot);
        let agrees_to = |ours, since: Seq, head: Seq| match (welcome.epoch != ours, restarted) {
            (true, _) => Some(since),
            (false, true) => Some(head),
            (false, false) => None,
        };
        let (epoch, room_before, inbox_before) = (welcome.epoch, self.room.cursor(), self.inbox.cursor());
        let room = Start {
            epoch,
            head: welcome.head,
            fresh: welcome.head,
            agrees_to: agrees_to(self.room.epoch(), welcome.since, welcome.head),
        };
        if let Some(since) = self.room.on_session(now.mono, room) {
            self.events.push_back(Event::Notice(Notice::HistoryRestored { since }));
        }
        let inbox = Start {
            epoch,
            head: welcome.inbox_head,
            fresh: welcome.inbox_from,
            agrees_to: agrees_to(self.inbox.epoch(), welcome.inbox_from, welcome.inbox_head),
        };
        self.inbox.on_session(now.mono, inbox);
        self.roster.on_session(welcome.boot, welcome.roster, &self.model);
        self.keep_room_cursor(now.mono, room_before);
        self.keep_inbox_cursor(now.mono, inbox_before);
    }
}
