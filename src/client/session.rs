//! An established session: its keys, the frames that wait to be packed into datagrams, and whether the server is there.
//! What the frames mean is the client's.

use std::collections::VecDeque;
use std::time::Duration;

use super::entrance::protection;
use crate::id::SessionIndex;
use crate::now::Instant;
use crate::proto::datagram::{OpenError, Opener, Protector};
use crate::proto::rtt::Rtt;
use crate::wire::Malformed;
use crate::wire::frame::{Bye, ByeReason, Frame, Ping, Protection};
use crate::wire::header::{Header, Type};
use crate::wire::limits::{BODY, HEADER};

/// One session with the server.
pub struct Session {
    index: SessionIndex,
    protector: Protector,
    opener: Opener,
    sealed_room: bool,
    /// The path's: from pings.
    rtt: Rtt,
    heard: Instant,
    sent: Instant,
    pings: VecDeque<(u32, Instant)>,
    nonce: u32,
    last_ping: Instant,
    readable: Bodies,
    sealed: Bodies,
    scratch: Vec<u8>,
    farewell: Option<Farewell>,
}

/// Bodies of datagrams being filled; what is in them is bounded by what the client asks and answers.
#[derive(Default)]
struct Bodies {
    full: VecDeque<Vec<u8>>,
    /// Empty, or the one that still takes frames.
    open: Vec<u8>,
}

/// Byes that are still to be sent.
struct Farewell {
    left: u8,
    next: Instant,
}

/// Silence after which the client asks whether anybody is there (proto.md, section 7).
const SILENCE_PING: Duration = Duration::from_millis(1500);
/// Silence after which it says that nobody is.
const SILENCE_AWAY: Duration = Duration::from_millis(2500);
/// Between two such questions.
const PING_EVERY: Duration = Duration::from_millis(100);
/// A client that sent nothing for so long says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Pings whose pong is awaited: those of one silence.
const PINGS: usize = 16;
/// Byes and the time between them (proto.md, section 5).
const BYES: u8 = 3;
const BYE_EVERY: Duration = Duration::from_millis(20);

/// A datagram that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not genuine.
    Forged(OpenError),
    /// Genuine, but a frame is malformed or travelled otherwise than it should.
    Frames(Malformed),
}

impl Session {
    /// A session that begins now; `rtt` is what the session before it knew of the path.
    pub fn new(now: Instant, index: SessionIndex, keys: (Protector, Opener), sealed_room: bool, rtt: Rtt) -> Session {
        let (protector, opener) = keys;
        Session {
            index,
            protector,
            opener,
            sealed_room,
            rtt,
            heard: now,
            sent: now,
            pings: VecDeque::new(),
            nonce: 0,
            last_ping: Instant::default(),
            readable: Bodies::default(),
            sealed: Bodies::default(),
            scratch: Vec::new(),
            farewell: None,
        }
    }

    /// What its datagrams' headers bear.
    pub fn index(&self) -> SessionIndex {
        self.index
    }

    /// Whether R kinds travel sealed.
    pub fn is_room_sealed(&self) -> bool {
        self.sealed_room
    }

    /// How the room's frames travel here.
    pub fn room_protection(&self) -> Protection {
        if self.sealed_room { Protection::Sealed } else { Protection::Readable }
    }

    /// The path's round-trip time.
    pub fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// Opens a datagram and reads its frames; a genuine one is a sign of life.
    ///
    /// # Errors
    /// [`Unreadable`]: nothing of it may be acted on.
    pub fn open(&mut self, now: Instant, header: &Header, datagram: &mut [u8]) -> Result<Vec<Frame>, Unreadable> {
        let body = self.opener.open(header, datagram).map_err(Unreadable::Forged)?;
        self.heard = now;
        Frame::take_all(body, protection(header.kind), Some(self.sealed_room)).map_err(Unreadable::Frames)
    }

    /// Puts a frame into the next datagram of its protection.
    pub fn put(&mut self, frame: &Frame) {
        self.scratch.clear();
        frame.put(&mut self.scratch);
        let bodies = match frame.travels(self.sealed_room) {
            Protection::Readable => &mut self.readable,
            Protection::Sealed => &mut self.sealed,
            Protection::Credential => return debug_assert!(false, "only servers send credentials"),
        };
        bodies.put(&self.scratch);
    }

    /// Does anything of this protection wait to be sent?
    pub fn has(&self, protection: Protection) -> bool {
        match protection {
            Protection::Readable => !self.readable.is_empty(),
            Protection::Sealed => !self.sealed.is_empty(),
            Protection::Credential => false,
        }
    }

    /// Writes the next datagram into `buf`; false if there is none.
    pub fn take_datagram(&mut self, now: Instant, buf: &mut Vec<u8>) -> bool {
        let (kind, body) = if let Some(body) = self.readable.take() {
            (Type::Readable, body)
        } else if let Some(body) = self.sealed.take() {
            (Type::Sealed, body)
        } else {
            return false;
        };
        buf.clear();
        buf.resize(HEADER, 0);
        buf.extend_from_slice(&body);
        self.protector.seal(kind, self.index, buf);
        self.sent = now;
        true
    }

    /// Asks whether the server is there; the answer is an RTT sample.
    pub fn ping(&mut self, now: Instant) {
        self.nonce = self.nonce.wrapping_add(1);
        self.last_ping = now;
        if self.pings.len() >= PINGS {
            self.pings.pop_front();
        }
        self.pings.push_back((self.nonce, now));
        self.put(&Ping { nonce: self.nonce }.into());
    }

    /// The answer to a ping; a nonce that was never sent or was answered before means nothing.
    pub fn on_pong(&mut self, now: Instant, nonce: u32) -> bool {
        let Some(index) = self.pings.iter().position(|(sent, _)| *sent == nonce) else { return false };
        self.rtt.update(now.since(self.pings[index].1), Duration::ZERO);
        self.pings.drain(..=index);
        true
    }

    /// Has nothing been heard for so long that the server counts as away?
    pub fn is_silent(&self, now: Instant) -> bool {
        self.heard + SILENCE_AWAY <= now
    }

    /// When [`Session::handle_timeout`] has something to do. While the server is `away` nobody is asked: the entrance
    /// knocks instead.
    pub fn timeout(&self, away: bool) -> Option<Instant> {
        if let Some(farewell) = &self.farewell {
            return (farewell.left > 0).then_some(farewell.next);
        }
        let alive = self.sent + KEEP_ALIVE;
        let silence = (!away).then(|| self.next_question().min(self.heard + SILENCE_AWAY));
        [Some(alive), silence].into_iter().flatten().min()
    }

    /// Time has passed: asks, says that we are there, says goodbye again.
    pub fn handle_timeout(&mut self, now: Instant, away: bool) -> bool {
        if let Some(farewell) = &mut self.farewell {
            if farewell.left > 0 && farewell.next <= now {
                farewell.left -= 1;
                farewell.next = now + BYE_EVERY;
                self.put(&Bye { reason: ByeReason::Left as u8 }.into());
            }
            return false;
        }
        let asks = !away && self.next_question() <= now && !self.is_silent(now);
        if asks || self.sent + KEEP_ALIVE <= now {
            self.ping(now);
            return true;
        }
        false
    }

    /// Says goodbye: three times, the first now.
    pub fn farewell(&mut self, now: Instant) {
        self.farewell = Some(Farewell { left: BYES, next: now });
        self.handle_timeout(now, false);
    }

    /// Was the last goodbye sent?
    pub fn is_over(&self) -> bool {
        self.farewell.as_ref().is_some_and(|farewell| farewell.left == 0)
            && self.readable.is_empty()
            && self.sealed.is_empty()
    }

    fn next_question(&self) -> Instant {
        (self.heard + SILENCE_PING).max(self.last_ping + PING_EVERY)
    }
}

impl Bodies {
    fn put(&mut self, frame: &[u8]) {
        debug_assert!(frame.len() <= BODY, "a frame of {} bytes", frame.len());
        if self.open.len() + frame.len() > BODY {
            self.full.push_back(std::mem::take(&mut self.open));
        }
        self.open.extend_from_slice(frame);
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.full.pop_front().or_else(|| (!self.open.is_empty()).then(|| std::mem::take(&mut self.open)))
    }
}
