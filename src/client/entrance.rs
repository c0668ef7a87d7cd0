//! Coming in, from the client's side (proto.md, section 4): hello, the room's pin, initiate, the slow computation, and
//! confirm; each resent until the server's next word. One attempt at a time; which one, and what to do when it was
//! refused, is the client's to say.

use std::time::Duration;

use rand::{Rng as _, RngCore};

use super::Trust;
use super::counters::Counters;
use crate::id::SessionIndex;
use crate::now::Instant;
use crate::proto::datagram::{Opener, Protector};
use crate::proto::handshake::{Initiator, Intent, Proven, Responded, Stretch, WrongSecret};
use crate::proto::keys::{Pin, PublicKeys};
use crate::proto::rng::Rng;
use crate::proto::rtt::jittered;
use crate::proto::suite::Suite;
use crate::wire::entrance::{Attach, Refusal, Retry};
use crate::wire::frame::{Frame, Protection, Welcome};
use crate::wire::header::{Header, Type};
use crate::wire::limits::{COOKIE, HEADER, HELLO};

/// The door, and where before it we stand.
pub struct Entrance {
    suite: Suite,
    /// The room we know; a confirmation or first trust sets it.
    pin: Option<Pin>,
    trust: Trust,
    /// What we come in for; None while idle.
    intent: Option<Intent>,
    /// A session was interrupted: try again sooner.
    returning: bool,
    state: State,
    /// At most one datagram is under way: the newest replaces what was not taken.
    outgoing: Option<Vec<u8>>,
    /// Computations whose result nobody waits for any more.
    abandoned: u32,
}

enum State {
    Idle,
    /// A pause before the next attempt.
    Resting {
        until: Instant,
    },
    Hello {
        attempt: u64,
        resend: Resend,
        foreign: Option<(Instant, Pin)>,
    },
    /// A person compares the words.
    AwaitPin {
        pin: Pin,
    },
    Initiate {
        attempt: u64,
        keys: PublicKeys,
        /// One for each cookie that came: nothing protects a retry, so the first may be somebody else's.
        tries: Vec<Try>,
        /// How many datagrams have left.
        sent: usize,
        resend: Resend,
        give_up: Instant,
    },
    Stretching {
        index: SessionIndex,
    },
    Confirming(Box<Confirming>),
}

/// An initiate under one cookie.
struct Try {
    cookie: [u8; COOKIE],
    initiator: Initiator,
    datagram: Vec<u8>,
}

struct Confirming {
    proven: Proven,
    keys: Option<(Protector, Opener)>,
    key_log_line: Option<String>,
    datagram: Vec<u8>,
    resend: Resend,
    give_up: Instant,
}

/// Something for the client to act on.
pub enum Step {
    /// Who we are talking to was decided without asking: to be kept.
    Trusted(Pin),
    /// Who we are talking to must be decided by a person.
    ConfirmPin {
        /// Of the room that answered.
        pin: Pin,
        /// Its display name.
        name: String,
    },
    /// Only rooms with other keys answered; the entrance is idle.
    PinChanged(Pin),
    /// To be run elsewhere.
    Stretch(Box<Stretch>),
    /// Not let in; the entrance is idle. What was asked for comes back.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Milliseconds.
        wait_ms: u32,
        /// What was refused.
        intent: Intent,
    },
    /// A registration or replacement is done; the entrance is idle.
    Done(Intent),
}

/// A session at its beginning.
pub struct Standing {
    /// Its index.
    pub index: SessionIndex,
    /// Protects what we send.
    pub protector: Protector,
    /// Opens what we receive.
    pub opener: Opener,
    /// For a key log.
    pub key_log_line: String,
    /// What the server said.
    pub welcome: Welcome,
    /// What followed in the same datagram.
    pub more: Vec<Frame>,
}

/// Resends begin after this and double up to [`RESEND_MAX`].
const RESEND_FIRST: Duration = Duration::from_millis(100);
/// A server that is restarted has everybody back soon after; a class that waits is a megabyte a second at most.
const RESEND_MAX: Duration = Duration::from_millis(400);
/// Cookies tried in one attempt.
const COOKIES: usize = 4;
/// An initiate or confirm unanswered for so long goes back to a hello: the cookie may have died with its server.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same on the way back into a room, where a restarted server is the likely reason.
const PATIENCE_RETURNING: Duration = Duration::from_secs(2);
/// A registration or replacement waits longer for its outcome: the server tells it again for a minute, and a second
/// try would find the name taken by the first.
const PATIENCE_OUTCOME: Duration = Duration::from_secs(30);
/// So long may nothing but foreign keys answer (proto.md, section 4).
const FOREIGN: Duration = Duration::from_secs(3);

/// When a datagram is sent again.
struct Resend {
    at: Instant,
    wait: Duration,
}

impl Resend {
    fn begin(now: Instant, rng: &mut Rng) -> Resend {
        Resend { at: now + jittered(RESEND_FIRST, rng.next_u32()), wait: RESEND_FIRST }
    }

    fn again(&mut self, now: Instant, rng: &mut Rng) {
        self.wait = (self.wait * 2).min(RESEND_MAX);
        self.at = now + jittered(self.wait, rng.next_u32());
    }
}

impl Entrance {
    /// Before the door, idle.
    pub fn new(suite: Suite, pin: Option<Pin>, trust: Trust) -> Entrance {
        let state = State::Idle;
        Entrance { suite, pin, trust, intent: None, returning: false, state, outgoing: None, abandoned: 0 }
    }

    /// Is nothing under way?
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Has the server not been reached yet in this attempt?
    pub fn is_knocking(&self) -> bool {
        matches!(self.state, State::Resting { .. } | State::Hello { .. })
    }

    /// The room's pin, once it is known.
    pub fn pin(&self) -> Option<Pin> {
        self.pin
    }

    /// The session index that is being confirmed.
    pub fn confirming(&self) -> Option<SessionIndex> {
        match &self.state {
            State::Confirming(confirming) => Some(confirming.proven.index),
            _ => None,
        }
    }

    /// Begins to come in, after a pause; what was under way is given up.
    pub fn start(&mut self, now: Instant, pause: Duration, intent: Intent, returning: bool) {
        self.stop();
        self.intent = Some(intent);
        self.returning = returning;
        self.state = State::Resting { until: now + pause };
    }

    /// Gives up.
    pub fn stop(&mut self) {
        if matches!(self.state, State::Stretching { .. }) {
            self.abandoned += 1;
        }
        self.state = State::Idle;
        self.intent = None;
        self.outgoing = None;
    }

    /// A person compared the words.
    pub fn confirm_pin(&mut self, now: Instant, accept: bool) -> Vec<Step> {
        let State::AwaitPin { pin } = self.state else { return Vec::new() };
        if !accept {
            self.stop();
            return Vec::new();
        }
        self.pin = Some(pin);
        // The cookie may be too old by now.
        self.state = State::Resting { until: now };
        vec![Step::Trusted(pin)]
    }

    /// When [`Entrance::handle_timeout`] has something to do.
    pub fn timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Idle | State::AwaitPin { .. } | State::Stretching { .. } => None,
            State::Resting { until } => Some(*until),
            State::Hello { resend, foreign, .. } => {
                Some(foreign.map_or(resend.at, |(since, _)| resend.at.min(since + FOREIGN)))
            }
            State::Initiate { resend, give_up, .. } => Some(resend.at.min(*give_up)),
            State::Confirming(confirming) => Some(confirming.resend.at.min(confirming.give_up)),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut Rng, counters: &mut Counters) -> Vec<Step> {
        match &mut self.state {
            State::Resting { until } if *until <= now => self.hello(now, rng, counters),
            State::Hello { foreign: Some((since, pin)), .. } if *since + FOREIGN <= now => {
                let pin = *pin;
                self.stop();
                return vec![Step::PinChanged(pin)];
            }
            State::Hello { attempt, resend, .. } if resend.at <= now => {
                resend.again(now, rng);
                self.outgoing = Some(hello_datagram(*attempt));
            }
            State::Initiate { give_up, .. } if *give_up <= now => self.hello(now, rng, counters),
            State::Initiate { resend, tries, sent, .. } if resend.at <= now => {
                resend.again(now, rng);
                self.outgoing = Some(tries[*sent % tries.len()].datagram.clone());
                *sent += 1;
            }
            State::Confirming(confirming) if confirming.give_up <= now => self.hello(now, rng, counters),
            State::Confirming(confirming) if confirming.resend.at <= now => {
                confirming.resend.again(now, rng);
                self.outgoing = Some(confirming.datagram.clone());
            }
            _ => {}
        }
        Vec::new()
    }

    /// The server says that it does not know the session being confirmed: it was restarted, perhaps.
    pub fn handle_hint(&mut self, now: Instant, rng: &mut Rng, counters: &mut Counters) {
        self.hello(now, rng, counters);
    }

    /// A retry came.
    pub fn handle_retry(
        &mut self,
        now: Instant,
        header: &Header,
        body: &[u8],
        rng: &mut Rng,
        counters: &mut Counters,
    ) -> Vec<Step> {
        let attempt = match &self.state {
            State::Hello { attempt, .. } => *attempt,
            State::Initiate { attempt, .. } => *attempt,
            _ => {
                counters.dropped_attempt += 1;
                return Vec::new();
            }
        };
        if header.counter != attempt || header.session != SessionIndex(0) {
            counters.dropped_attempt += 1;
            return Vec::new();
        }
        let Ok(retry) = Retry::from_bytes(body) else {
            counters.dropped_malformed += 1;
            return Vec::new();
        };
        let keys = PublicKeys { ed25519: retry.ed25519.into_array(), x25519: retry.x25519.into_array() };
        if let State::Initiate { keys: known, tries, .. } = &self.state {
            let cookie = retry.cookie.into_array();
            if keys == *known && tries.len() < COOKIES && tries.iter().all(|held| held.cookie != cookie) {
                return self.initiate(now, &keys, attempt, cookie, rng).into_iter().collect();
            }
            counters.dropped_attempt += 1;
            return Vec::new();
        }
        let pin = keys.pin();
        let (trusted, newly) = match (&self.pin, &self.trust) {
            (Some(known), _) => (*known == pin, false),
            (None, Trust::FirstUse) => (true, true),
            (None, Trust::Words(words)) => (pin.matches_words(words), true),
            (None, Trust::Ask) => {
                self.state = State::AwaitPin { pin };
                self.outgoing = None;
                return vec![Step::ConfirmPin { pin, name: retry.name }];
            }
        };
        if !trusted {
            counters.foreign_keys += 1;
            if let State::Hello { foreign, .. } = &mut self.state {
                foreign.get_or_insert((now, pin)).1 = pin;
            }
            return Vec::new();
        }
        self.pin = Some(pin);
        let mut steps = if newly { vec![Step::Trusted(pin)] } else { Vec::new() };
        steps.extend(self.initiate(now, &keys, attempt, retry.cookie.into_array(), rng));
        steps
    }

    /// A respond came.
    pub fn handle_respond(&mut self, header: &Header, body: &[u8], counters: &mut Counters) -> Option<Responding> {
        let State::Initiate { tries, .. } = &mut self.state else {
            counters.dropped_attempt += 1;
            return None;
        };
        match tries.iter_mut().find_map(|held| held.initiator.handle_respond(header, body).ok()) {
            None => {
                counters.dropped_forged += 1;
                None
            }
            Some(Responded::Refused(refusal, wait_ms)) => self.refused(refusal, wait_ms).map(Responding::Step),
            Some(Responded::Proceed(stretch)) => {
                self.state = State::Stretching { index: header.session };
                self.outgoing = None;
                // Without Argon2 it takes no longer than a datagram does.
                Some(if stretch.is_slow() {
                    Responding::Step(Step::Stretch(stretch))
                } else {
                    Responding::Stretched(Box::new(stretch.run()))
                })
            }
        }
    }

    /// The computation is done; `attach` is where the client stands now.
    pub fn handle_stretched(
        &mut self,
        now: Instant,
        result: Result<Proven, WrongSecret>,
        attach: Attach,
        rng: &mut Rng,
    ) -> Option<Step> {
        let State::Stretching { index } = &self.state else {
            self.abandoned = self.abandoned.saturating_sub(1);
            return None;
        };
        let stale = self.abandoned > 0 && result.as_ref().map_or(true, |proven| proven.index != *index);
        if stale {
            self.abandoned -= 1;
            return None;
        }
        let Ok(mut proven) = result else {
            return self.refused(Refusal::WrongCredentials, 0);
        };
        let keys = proven.keys.take();
        let key_log_line = keys.as_ref().map(|keys| keys.key_log_line(proven.index));
        let patience = if keys.is_some() { self.patience() } else { PATIENCE_OUTCOME };
        let datagram = proven.confirm(keys.is_some().then_some(attach));
        self.outgoing = Some(datagram.clone());
        self.state = State::Confirming(Box::new(Confirming {
            proven,
            keys: keys.map(|keys| keys.split()),
            key_log_line,
            datagram,
            resend: Resend::begin(now, rng),
            give_up: now + patience,
        }));
        None
    }

    /// An outcome came.
    pub fn handle_outcome(&mut self, datagram: &mut [u8], counters: &mut Counters) -> Option<Step> {
        let State::Confirming(confirming) = &mut self.state else {
            counters.dropped_attempt += 1;
            return None;
        };
        let Some(outcome) = confirming.proven.open_outcome(datagram) else {
            counters.dropped_forged += 1;
            return None;
        };
        match outcome.refusal {
            Some(refusal) => self.refused(refusal, outcome.wait_ms),
            None if confirming.keys.is_none() => {
                let intent = self.intent.take();
                self.stop();
                intent.map(Step::Done)
            }
            None => {
                counters.dropped_unexpected += 1;
                None
            }
        }
    }

    /// A datagram of the session that is being confirmed came. It stands with its welcome; what overtook that comes
    /// again, since nothing of it is acknowledged.
    pub fn handle_session(
        &mut self,
        header: &Header,
        datagram: &mut [u8],
        counters: &mut Counters,
    ) -> Option<Standing> {
        let State::Confirming(confirming) = &mut self.state else { return None };
        let Some((_, opener)) = &mut confirming.keys else {
            counters.dropped_session += 1;
            return None;
        };
        let Ok(body) = opener.open(header, datagram) else {
            counters.dropped_forged += 1;
            return None;
        };
        let Ok(frames) = Frame::take_all(body, protection(header.kind), None) else {
            counters.dropped_frames += 1;
            return None;
        };
        let welcome = frames.iter().position(|frame| matches!(frame, Frame::Welcome(_)))?;
        let mut frames = frames.into_iter().skip(welcome);
        let Some(Frame::Welcome(welcome)) = frames.next() else { return None };
        let (protector, opener) = confirming.keys.take()?;
        let standing = Standing {
            index: confirming.proven.index,
            protector,
            opener,
            key_log_line: confirming.key_log_line.take().unwrap_or_default(),
            welcome,
            more: frames.collect(),
        };
        self.stop();
        Some(standing)
    }

    /// The datagram to send, if there is one.
    pub fn take_datagram(&mut self) -> Option<Vec<u8>> {
        self.outgoing.take()
    }

    fn patience(&self) -> Duration {
        if self.returning { PATIENCE_RETURNING } else { PATIENCE }
    }

    fn hello(&mut self, now: Instant, rng: &mut Rng, counters: &mut Counters) {
        counters.attempts += 1;
        let attempt = rng.r#gen();
        self.outgoing = Some(hello_datagram(attempt));
        self.state = State::Hello { attempt, resend: Resend::begin(now, rng), foreign: None };
    }

    fn initiate(
        &mut self,
        now: Instant,
        keys: &PublicKeys,
        attempt: u64,
        cookie: [u8; COOKIE],
        rng: &mut Rng,
    ) -> Option<Step> {
        let intent = self.intent.as_ref()?;
        match Initiator::begin(self.suite, rng, keys, attempt, cookie, intent) {
            Ok((initiator, body)) => {
                let header = Header { kind: Type::Initiate, session: SessionIndex(0), counter: attempt };
                let datagram = [&header.to_bytes()[..], &body].concat();
                self.outgoing = Some(datagram.clone());
                let held = Try { cookie, initiator, datagram };
                if let State::Initiate { tries, .. } = &mut self.state {
                    tries.push(held);
                } else {
                    let (resend, give_up) = (Resend::begin(now, rng), now + self.patience());
                    let (keys, tries) = (*keys, vec![held]);
                    self.state = State::Initiate { attempt, keys, tries, sent: 1, resend, give_up };
                }
                None
            }
            // What no datagram holds, no server knows or would take.
            Err(_) => {
                let registers = matches!(intent, Intent::Register { .. });
                let refusal = if registers { Refusal::NameNotAllowed } else { Refusal::WrongCredentials };
                self.refused(refusal, 0)
            }
        }
    }

    fn refused(&mut self, refusal: Refusal, wait_ms: u32) -> Option<Step> {
        self.state = State::Idle;
        self.outgoing = None;
        self.intent.take().map(|intent| Step::Refused { refusal, wait_ms, intent })
    }
}

/// What a respond leads to.
pub enum Responding {
    /// Something to act on.
    Step(Step),
    /// The computation was quick and is done: give it to [`Entrance::handle_stretched`].
    Stretched(Box<Result<Proven, WrongSecret>>),
}

/// How frames of a datagram of this type travelled.
pub fn protection(kind: Type) -> Protection {
    match kind {
        Type::Readable => Protection::Readable,
        Type::Credential => Protection::Credential,
        _ => Protection::Sealed,
    }
}

fn hello_datagram(attempt: u64) -> Vec<u8> {
    let mut datagram = Header { kind: Type::Hello, session: SessionIndex(0), counter: attempt }.to_bytes().to_vec();
    debug_assert_eq!(datagram.len(), HEADER);
    datagram.resize(HELLO, 0);
    datagram
}
