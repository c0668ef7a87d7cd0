//! One session: what is on its way to a member, and how it is packed into datagrams (proto.md, sections 5 and 7).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_bytes::ByteBuf;

use super::call_memory::CallMemory;
use super::counters::Counters;
use super::inbox::Inboxes;
use super::receipts::Receipts;
use super::room::Room;
use super::roster::Roster;
use crate::id::{Epoch, Instance, RoomId, Seq, SessionIndex, UserId, Version};
use crate::now::Instant;
use crate::proto::datagram::{Opener, Protector, SessionKeys};
use crate::proto::in_flight::InFlight;
use crate::proto::ranges::Ranges;
use crate::proto::rtt::Rtt;
use crate::record::SecretHash;
use crate::wire::frame::{self, Bye, ByeReason, Frame, LettersReceipt, Protection, Range, Receipt};
use crate::wire::header::Type;
use crate::wire::limits::{BODY, HEADER, IN_FLIGHT, SESSION_SILENCE};

/// Small frames waiting for a session: all of them are asked for again if they are lost.
const CONTROL: usize = 512;
/// Stretches of acknowledged numbers remembered above the first gap: more than a window can have.
pub const FRAGMENTS: usize = 1024;
/// Tips of different sessions leave together where they can: a server of thirty members wakes up ten times a second for
/// them in place of sixty.
const TIP_GRID: Duration = Duration::from_millis(100);
/// A tip leaves when neither a tip nor a new page did for so long, and up to [`TIP_GRID`] later.
const TIP_AFTER: Duration = Duration::from_secs(1);
/// A member whose inbox went on without them is told so again after this.
const LETTERS_TIP_EVERY: Duration = Duration::from_secs(1);
/// Byes are sent so often, this far apart: nothing acknowledges them.
const BYES: u8 = 3;
const BYE_APART: Duration = Duration::from_millis(20);
/// An unacknowledged token is resent after this, doubling.
const TOKEN_RESEND: Duration = Duration::from_millis(250);
const TOKEN_RESEND_MAX: Duration = Duration::from_secs(2);

/// What is pushed of one log, and what came back.
#[derive(Debug)]
pub struct Flow {
    in_flight: InFlight,
    /// The number to be pushed next.
    next: u64,
    acked: Ranges,
    /// The highest number that was sent, is not acknowledged, and is not in memory any more.
    forgotten_to: u64,
}

impl Flow {
    fn after(head: u64, seed: u64) -> Flow {
        Flow { in_flight: InFlight::new(seed), next: head + 1, acked: Ranges::default(), forgotten_to: 0 }
    }

    /// Takes an ack in, already known to be of what exists; `added` gets each newly acknowledged stretch. False if it
    /// left more holes than a window can have.
    pub fn on_ack(
        &mut self,
        now: Instant,
        (upto, ranges, delay_us): (u64, &[Range], u32),
        rtt: &mut Rtt,
        added: impl FnMut(u64, u64),
    ) -> bool {
        let sound = self.acked.fragments() + ranges.len() <= FRAGMENTS;
        self.acked.insert_ack(upto, if sound { ranges } else { &[] }, added);
        self.in_flight.on_ack(now, &self.acked, Duration::from_micros(delay_us.into()), rtt);
        self.next = self.next.max(self.acked.upto().saturating_add(1));
        sound
    }

    /// Sends what is lost, then what is new up to `head`, as long as `frame` finds it and it fits `buf`. `frame` gives the
    /// bytes for the numbers from .. and the last number they span.
    fn fill<B: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        head: u64,
        buf: &mut Vec<u8>,
        counters: &mut Counters,
        mut frame: impl FnMut(u64, u64, usize) -> Fit<B>,
    ) {
        while let Some((first, last)) = self.in_flight.peek_resend() {
            match frame(first, last, left(buf)) {
                // A resend must span its whole flight: cut short by a full datagram it waits for the next one.
                Fit::Frame(_, upto) if upto < last && buf.len() > HEADER => return,
                Fit::Frame(bytes, _) => {
                    buf.extend_from_slice(bytes.as_ref());
                    self.in_flight.next_resend(now);
                    counters.resends += 1;
                }
                Fit::TooLong => return,
                Fit::NotHeld => {
                    self.in_flight.forget(first);
                    self.forgotten_to = self.forgotten_to.max(last);
                }
            }
        }
        while self.next <= head && self.in_flight.len() < IN_FLIGHT {
            if self.acked.contains(self.next) {
                self.next += 1;
                continue;
            }
            match frame(self.next, head, left(buf)) {
                Fit::Frame(bytes, last) => {
                    buf.extend_from_slice(bytes.as_ref());
                    self.in_flight.on_sent(now, self.next, last);
                    self.next = last + 1;
                    counters.pages_sent += 1;
                }
                // Not held: the member is far behind and asks for it.
                Fit::TooLong | Fit::NotHeld => return,
            }
        }
    }

    /// Is there something the member lacks that is not pushed, and nothing on its way whose ack would change that?
    fn stalled(&self, head: u64) -> bool {
        self.in_flight.is_empty() && (self.next <= head || self.acked.upto() < self.forgotten_to)
    }

    fn timeout(&self, rtt: &Rtt) -> Option<Instant> {
        self.in_flight.timeout(rtt)
    }

    fn handle_timeout(&mut self, now: Instant, rtt: &Rtt) -> bool {
        let due = self.timeout(rtt).is_some_and(|due| due <= now);
        if due {
            self.in_flight.on_timeout();
        }
        due
    }
}

/// What a log has for a number.
enum Fit<B> {
    /// These bytes, which span up to this number.
    Frame(B, u64),
    /// It does not fit what is left of the datagram.
    TooLong,
    /// It is not in memory.
    NotHeld,
}

fn left(buf: &[u8]) -> usize {
    HEADER + BODY - buf.len()
}

fn fit<B: AsRef<[u8]>>(found: Option<(B, u64)>, left: usize) -> Fit<B> {
    match found {
        None => Fit::NotHeld,
        Some((bytes, _)) if bytes.as_ref().len() > left => Fit::TooLong,
        Some((bytes, last)) => Fit::Frame(bytes, last),
    }
}

/// What all sessions send from.
pub struct Logs<'a> {
    /// The room.
    pub room: &'a mut Room,
    /// Everybody's inboxes.
    pub inboxes: &'a Inboxes,
    /// The roster.
    pub roster: &'a Roster,
    /// A tip frame of now.
    pub tip: &'a [u8],
    /// The room is sealed.
    pub sealed: bool,
    /// What is counted.
    pub counters: &'a mut Counters,
}

/// A token on its way until it is acknowledged.
#[derive(Debug)]
struct TokenSend {
    frame: Vec<u8>,
    due: Instant,
    wait: Duration,
}

#[derive(Debug)]
struct ByeSend {
    reason: ByeReason,
    left: u8,
    due: Instant,
}

/// A member's session.
pub struct Session {
    /// In every datagram's header.
    pub index: SessionIndex,
    /// Whose.
    pub user: UserId,
    /// From where, and to where.
    pub addr: SocketAddr,
    /// Counts as online and receives the logs.
    pub present: bool,
    /// Its outbox.
    pub instance: Instance,
    /// Its token, if it has one.
    pub token: Option<SecretHash>,
    /// The account's count of revocations when it began.
    pub revocations: u64,
    /// The client has shown that it holds the session keys.
    pub established: bool,
    /// Opens what comes.
    pub opener: Opener,
    protector: Protector,
    /// Round trips.
    pub rtt: Rtt,
    /// Pages of the room.
    pub room: Flow,
    /// Entries of the inbox.
    pub letters: Flow,
    /// Versions of the roster.
    pub roster: Flow,
    /// Own messages in the room.
    pub room_receipts: Receipts,
    /// Own private messages.
    pub letters_receipts: Receipts,
    /// Questions asked.
    pub calls: CallMemory,
    welcome: Vec<u8>,
    readable: VecDeque<Vec<u8>>,
    sealed: VecDeque<Vec<u8>>,
    credential: VecDeque<Vec<u8>>,
    asked_pages: VecDeque<Arc<[u8]>>,
    asked_letters: VecDeque<Vec<u8>>,
    token_send: Option<TokenSend>,
    bye: Option<ByeSend>,
    tip_due: bool,
    /// Set while the inbox holds what can only be asked for: when to say so again.
    letters_tip_at: Option<Instant>,
    last_heard: Instant,
    /// When a tip or a new page last left.
    last_news: Instant,
    /// In the server's queue of sessions that have something to send.
    pub queued: bool,
    /// Under which deadline it stands in the server's timers.
    pub timer: Option<Instant>,
}

/// Where a session starts.
pub struct Start {
    /// In every datagram's header.
    pub index: SessionIndex,
    /// Whose.
    pub user: UserId,
    /// From where.
    pub addr: SocketAddr,
    /// Counts as online.
    pub present: bool,
    /// Its outbox.
    pub instance: Instance,
    /// Its token.
    pub token: Option<SecretHash>,
    /// The account's count of revocations.
    pub revocations: u64,
    /// The room's head: pushed from after it.
    pub room_head: Seq,
    /// The inbox's head, likewise.
    pub inbox_head: Seq,
    /// Spreads timers.
    pub seed: u64,
}

impl Session {
    /// A session that begins now; the welcome leaves first, and again until the client has shown the keys.
    pub fn new(now: Instant, start: Start, keys: SessionKeys, welcome: Vec<u8>) -> Session {
        let (protector, opener) = keys.split();
        Session {
            index: start.index,
            user: start.user,
            addr: start.addr,
            present: start.present,
            instance: start.instance,
            token: start.token,
            revocations: start.revocations,
            established: false,
            opener,
            protector,
            rtt: Rtt::default(),
            room: Flow::after(start.room_head.0, start.seed),
            letters: Flow::after(start.inbox_head.0, start.seed ^ 1),
            roster: Flow::after(0, start.seed ^ 2),
            room_receipts: Receipts::default(),
            letters_receipts: Receipts::default(),
            calls: CallMemory::default(),
            sealed: VecDeque::from([welcome.clone()]),
            welcome,
            readable: VecDeque::new(),
            credential: VecDeque::new(),
            asked_pages: VecDeque::new(),
            asked_letters: VecDeque::new(),
            token_send: None,
            bye: None,
            tip_due: false,
            letters_tip_at: None,
            last_heard: now,
            last_news: now,
            queued: false,
            timer: None,
        }
    }

    /// An authentic datagram came.
    pub fn on_heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.established = true;
    }

    /// When something authentic last came.
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// The confirm came again: the welcome was lost.
    pub fn repeat_welcome(&mut self) {
        if !self.established && self.sealed.is_empty() {
            self.sealed.push_back(self.welcome.clone());
        }
    }

    /// Queues a small frame.
    pub fn push(&mut self, frame: &Frame, sealed_room: bool) {
        let queue = match frame.travels(sealed_room) {
            Protection::Readable => &mut self.readable,
            Protection::Sealed => &mut self.sealed,
            Protection::Credential => &mut self.credential,
        };
        if queue.len() < CONTROL {
            // Most of them are shorter: one allocation, not four.
            let mut bytes = Vec::with_capacity(64);
            frame.put(&mut bytes);
            queue.push_back(bytes);
        }
    }

    /// Pages that were asked for; they replace those asked for before.
    pub fn answer_want(&mut self, pages: Vec<Arc<[u8]>>) {
        self.asked_pages = pages.into();
    }

    /// Letters that were asked for; they replace those asked for before.
    pub fn answer_letters_want(&mut self, letters: Vec<Vec<u8>>) {
        self.asked_letters = letters.into();
    }

    /// The token is on disk: it leaves until it is acknowledged.
    pub fn send_token(&mut self, now: Instant, token: &Frame) {
        let mut frame = Vec::new();
        token.put(&mut frame);
        self.credential.push_back(frame.clone());
        self.token_send = Some(TokenSend { frame, due: now + TOKEN_RESEND, wait: TOKEN_RESEND });
    }

    /// The token arrived.
    pub fn on_token_ack(&mut self) {
        self.token_send = None;
        self.credential.clear();
    }

    /// Says goodbye; the session is over when [`Session::gone`] says so.
    pub fn say_bye(&mut self, now: Instant, reason: ByeReason) {
        self.bye.get_or_insert(ByeSend { reason, left: BYES, due: now });
    }

    /// Is it saying goodbye?
    pub fn leaving(&self) -> bool {
        self.bye.is_some()
    }

    /// All goodbyes were said, or the member was silent for too long.
    pub fn gone(&self, now: Instant) -> bool {
        let said = self.bye.as_ref().is_some_and(|bye| bye.left == 0) && self.sealed.is_empty();
        said || now.since(self.last_heard) >= SESSION_SILENCE
    }

    /// The next time it has something to do by itself.
    pub fn timeout(&self) -> Instant {
        if let Some(bye) = &self.bye {
            return bye.due;
        }
        let mut earliest = self.last_heard + SESSION_SILENCE;
        let mut at = |time: Option<Instant>| earliest = earliest.min(time.unwrap_or(earliest));
        at(self.room.timeout(&self.rtt));
        at(self.letters.timeout(&self.rtt));
        at(self.roster.timeout(&self.rtt));
        at(self.room_receipts.timeout());
        at(self.letters_receipts.timeout());
        at(self.token_send.as_ref().map(|token| token.due));
        at((self.present && !self.tip_due).then(|| self.tip_at()));
        at(self.letters_tip_at);
        earliest
    }

    /// Does what is due; there may be something to send then.
    pub fn handle_timeout(&mut self, now: Instant, sealed_room: bool) {
        if let Some(bye) = self.bye.as_mut() {
            if bye.due <= now && bye.left > 0 {
                (bye.left, bye.due) = (bye.left - 1, now + BYE_APART);
                let reason = bye.reason as u8;
                self.push(&Bye { reason }.into(), sealed_room);
            }
            return;
        }
        self.room.handle_timeout(now, &self.rtt);
        self.letters.handle_timeout(now, &self.rtt);
        self.roster.handle_timeout(now, &self.rtt);
        if let Some((version, items)) = self.room_receipts.poll(now) {
            self.push(&Receipt { room: RoomId::MAIN, version, items }.into(), sealed_room);
        }
        if let Some((version, items)) = self.letters_receipts.poll(now) {
            self.push(&LettersReceipt { version, items }.into(), sealed_room);
        }
        if let Some(token) = self.token_send.as_mut().filter(|token| token.due <= now) {
            token.wait = (token.wait * 2).min(TOKEN_RESEND_MAX);
            token.due = now + token.wait;
            self.credential.push_back(token.frame.clone());
        }
        if self.present && self.tip_at() <= now {
            self.tip_due = true;
        }
    }

    fn tip_at(&self) -> Instant {
        let grid = TIP_GRID.as_micros() as u64;
        Instant((self.last_news + TIP_AFTER).0.next_multiple_of(grid))
    }

    /// A tip is to leave soon, whatever else does: the server's state changed.
    pub fn want_tip(&mut self) {
        self.tip_due = self.present;
    }

    /// Writes the next datagram into `buf`; false if there is nothing to send.
    pub fn poll_transmit(&mut self, now: Instant, logs: &mut Logs<'_>, buf: &mut Vec<u8>) -> bool {
        let kinds = [
            (Protection::Sealed, Type::Sealed),
            (Protection::Credential, Type::Credential),
            (Protection::Readable, Type::Readable),
        ];
        for (protection, kind) in kinds {
            buf.clear();
            buf.resize(HEADER, 0);
            self.fill(protection, now, logs, buf);
            if buf.len() > HEADER {
                self.protector.seal(kind, self.index, buf);
                return true;
            }
        }
        false
    }

    fn fill(&mut self, protection: Protection, now: Instant, logs: &mut Logs<'_>, buf: &mut Vec<u8>) {
        let control = match protection {
            Protection::Readable => &mut self.readable,
            Protection::Sealed => &mut self.sealed,
            Protection::Credential => &mut self.credential,
        };
        while control.front().is_some_and(|frame| frame.len() <= left(buf)) {
            control.pop_front().into_iter().for_each(|frame| buf.extend_from_slice(&frame));
        }
        if self.leaving() || !self.present {
            return;
        }
        let roster_travels = if logs.sealed { Protection::Sealed } else { Protection::Readable };
        if protection == roster_travels {
            let (roster, head) = (logs.roster, logs.roster.head().0);
            self.roster.fill(now, head, buf, logs.counters, |first, last, left| {
                match roster.frame(Version(first - 1), Version(last), left) {
                    Some((bytes, upto)) => Fit::Frame(bytes, upto.0),
                    None => Fit::TooLong,
                }
            });
        }
        match protection {
            Protection::Readable => self.fill_room(now, logs, buf),
            Protection::Sealed => self.fill_letters(now, logs, buf),
            Protection::Credential => {}
        }
    }

    fn fill_room(&mut self, now: Instant, logs: &mut Logs<'_>, buf: &mut Vec<u8>) {
        let head = logs.room.head().0;
        let (room, next) = (&mut *logs.room, self.room.next);
        self.room.fill(now, head, buf, logs.counters, |first, _, left| {
            fit(room.frame_at(Seq(first)).map(|(frame, _, last)| (frame, last.0)), left)
        });
        if self.room.next > next {
            self.last_news = now;
        }
        while self.asked_pages.front().is_some_and(|frame| frame.len() <= left(buf)) {
            self.asked_pages.pop_front().into_iter().for_each(|frame| buf.extend_from_slice(&frame));
            logs.counters.pages_asked += 1;
        }
        if self.tip_due && logs.tip.len() <= left(buf) {
            buf.extend_from_slice(logs.tip);
            (self.tip_due, self.last_news) = (false, now);
        }
    }

    fn fill_letters(&mut self, now: Instant, logs: &mut Logs<'_>, buf: &mut Vec<u8>) {
        let (inboxes, user) = (logs.inboxes, self.user);
        let (epoch, head): (Epoch, u64) = (logs.room.epoch(), inboxes.head(user).0);
        self.letters.fill(now, head, buf, logs.counters, |first, last, left| {
            fit(inboxes.frame(user, epoch, Seq(first), Seq(last)).map(|(bytes, last)| (bytes, last.0)), left)
        });
        self.tell_of_letters(now, epoch, head, buf);
        while self.asked_letters.front().is_some_and(|frame| frame.len() <= left(buf)) {
            self.asked_letters.pop_front().into_iter().for_each(|frame| buf.extend_from_slice(&frame));
            logs.counters.pages_asked += 1;
        }
    }

    /// Tips say nothing of the inbox: where its letters are no longer in memory, an empty letters frame says how far it
    /// goes, and the member asks (proto.md, section 7).
    fn tell_of_letters(&mut self, now: Instant, epoch: Epoch, head: u64, buf: &mut Vec<u8>) {
        if !self.letters.stalled(head) {
            self.letters_tip_at = None;
        } else if self.letters_tip_at.is_none_or(|at| at <= now) {
            let tip = frame::Letters { epoch, first: Seq(head + 1), entries: ByteBuf::new() };
            let mut bytes = Vec::new();
            Frame::from(tip).put(&mut bytes);
            if bytes.len() <= left(buf) {
                buf.extend_from_slice(&bytes);
                self.letters_tip_at = Some(now + LETTERS_TIP_EVERY);
            }
        }
    }
}
