//! What the frames of a session do to a client.

use std::time::Duration;

use super::Client;
use super::entrance::Step;
use super::event::{Event, Message, Notice, OwnState};
use super::log::{self, Log};
use super::outbox::Decision;
use super::roster;
use super::session::Unreadable;
use crate::id::{Epoch, Instance, RoomId, Seq};
use crate::now::Now;
use crate::proto::sign::{Blob, PageId, RoomKey};
use crate::record::Keep;
use crate::wire::Malformed;
use crate::wire::call::{Call, Reply};
use crate::wire::entry::Entry;
use crate::wire::frame::{
    ByeReason, Frame, Letters, LettersReceiptAck, Page, Pong, ReceiptAck, Refused, Reply as ReplyFrame,
    Roster as RosterFrame, SignedTip, Stored, SubmitRefusal, TIP_STORING, Tip, Told,
};
use crate::wire::header::Header;

impl Client {
    /// A datagram that a session key protects.
    pub(super) fn on_protected(&mut self, now: Now, header: &Header, datagram: &mut [u8]) {
        if let Some(session) = self.session.as_mut().filter(|session| session.index() == header.session) {
            match session.open(now.mono, header, datagram) {
                Ok(frames) => {
                    self.on_sign_of_life();
                    for frame in frames {
                        self.on_frame(now, frame);
                    }
                }
                Err(Unreadable::Forged(_)) => self.counters.dropped_forged += 1,
                Err(Unreadable::Frames(_)) => self.counters.dropped_frames += 1,
            }
        } else if self.entrance.confirming() == Some(header.session) {
            if let Some(standing) = self.entrance.handle_session(header, datagram, &mut self.counters) {
                self.on_session(now, standing);
            }
        } else {
            self.counters.dropped_session += 1;
        }
    }

    pub(super) fn on_frame(&mut self, now: Now, frame: Frame) {
        match frame {
            Frame::Page(page) => self.on_page(now, &page),
            Frame::Letters(letters) => self.on_letters(now, &letters),
            Frame::Tip(tip) => self.on_tip(now, &tip),
            Frame::Roster(roster) => self.on_roster(now, roster),
            Frame::Ping(ping) => self.put(Pong { nonce: ping.nonce }),
            Frame::Pong(pong) => {
                let awaited = self.session.as_mut().is_some_and(|session| session.on_pong(now.mono, pong.nonce));
                self.counters.dropped_unexpected += u64::from(!awaited);
            }
            Frame::Stored(stored) => self.on_stored(now, stored),
            Frame::Told(told) => self.on_told(now, told),
            Frame::Refused(refused) => self.on_refused(now, &refused),
            Frame::Receipt(receipt) if receipt.room == RoomId::MAIN => {
                let (room, version) = (receipt.room, receipt.version);
                self.put(ReceiptAck { room, version });
                self.outbox.on_receipt(Some(room), &receipt.items, |event| self.events.push_back(event));
            }
            Frame::LettersReceipt(receipt) => {
                self.put(LettersReceiptAck { version: receipt.version });
                self.outbox.on_receipt(None, &receipt.items, |event| self.events.push_back(event));
            }
            Frame::Slow(slow) => {
                if self.outbox.on_slow(now.mono, Duration::from_millis(slow.wait_ms.into())) {
                    self.events.push_back(Event::Notice(Notice::RateLimited { wait_ms: slow.wait_ms }));
                }
            }
            Frame::Reply(reply) => self.on_reply(now, reply),
            Frame::Bye(bye) => self.on_bye(now, ByeReason::from_code(bye.reason)),
            Frame::Token(token) => self.on_token(now, &token),
            // The answer to a confirm that was repeated in vain.
            Frame::Welcome(_) => {}
            _ => self.counters.dropped_unexpected += 1,
        }
    }

    pub(super) fn put(&mut self, frame: impl Into<Frame>) {
        // A bye in the same datagram may have ended the session.
        if let Some(session) = &mut self.session {
            session.put(&frame.into());
        }
    }

    fn on_page(&mut self, now: Now, page: &Page) {
        let sealed = self.session.as_ref().is_some_and(|session| session.is_room_sealed());
        if page.room != RoomId::MAIN || (page.key != 0) != sealed {
            self.counters.dropped_unexpected += 1;
            return;
        }
        if self.room.has_page(now.mono, page.first, page.count) {
            self.counters.pages_again += 1;
            return;
        }
        let opened;
        let blob: &[u8] = if page.key == 0 {
            &page.blob
        } else {
            let Some(key) = self.room_keys.iter().find(|key| key.number == page.key) else {
                self.counters.dropped_unknown_key += 1;
                self.ask_room_key(page.key);
                return;
            };
            let id = PageId { room: page.room, epoch: page.epoch, first: page.first, count: page.count };
            let Some(plain) = key.open(self.config.suite, id, &page.blob) else {
                self.counters.dropped_page_seal += 1;
                return;
            };
            opened = plain;
            &opened
        };
        let Some(Blob { entries, .. }) = Blob::split(blob) else {
            self.counters.dropped_entries += 1;
            return;
        };
        self.room.on_epoch(page.epoch);
        let before = self.room.cursor();
        let arrival =
            take_in(&mut self.room, &mut self.events, now, Some(page.room), page.first, Some(page.count), entries);
        match arrival {
            Ok(log::Arrival::New) => self.counters.pages += 1,
            Ok(log::Arrival::Again) => self.counters.pages_again += 1,
            Ok(log::Arrival::Overfull) => self.counters.dropped_overfull += 1,
            Err(_) => self.counters.dropped_entries += 1,
        }
        self.keep_room_cursor(now.mono, before);
    }

    fn on_letters(&mut self, now: Now, letters: &Letters) {
        self.inbox.on_epoch(letters.epoch);
        if letters.entries.is_empty() {
            return self.inbox.on_head(Seq(letters.first.0.saturating_sub(1)));
        }
        let before = self.inbox.cursor();
        match take_in(&mut self.inbox, &mut self.events, now, None, letters.first, None, &letters.entries) {
            Ok(log::Arrival::New) => self.counters.letters += 1,
            Ok(log::Arrival::Again) => self.counters.letters_again += 1,
            Ok(log::Arrival::Overfull) => self.counters.dropped_overfull += 1,
            Err(_) => self.counters.dropped_entries += 1,
        }
        self.keep_inbox_cursor(now.mono, before);
    }

    fn on_tip(&mut self, now: Now, tip: &Tip) {
        if tip.room != RoomId::MAIN {
            self.counters.dropped_unexpected += 1;
            return;
        }
        self.room.on_epoch(tip.epoch);
        self.inbox.on_epoch(tip.epoch);
        self.room.on_head(tip.head);
        let stores = tip.status == TIP_STORING;
        if stores != std::mem::replace(&mut self.server_stores, stores) {
            let notice = if stores { Notice::ServerStoring } else { Notice::ServerNotStoring };
            self.events.push_back(Event::Notice(notice));
        }
        let newer = |held: &SignedTip| (held.epoch, held.head) < (tip.epoch, tip.head);
        if tip.head > Seq(0) && self.tip.as_ref().is_none_or(newer) {
            let (hash, signature) = (*tip.hash, *tip.signature);
            let signed = SignedTip { room: tip.room, epoch: tip.epoch, head: tip.head, hash, signature };
            self.tip = Some(signed);
            self.keeper.tip(now.mono, signed.to_bytes().to_vec());
        }
    }

    fn on_roster(&mut self, now: Now, frame: RosterFrame) {
        match self.roster.on_frame(now.mono, frame, &mut self.model, |event| self.events.push_back(event)) {
            roster::Arrival::New => self.counters.roster += 1,
            roster::Arrival::Again => self.counters.roster_again += 1,
            roster::Arrival::Overfull => self.counters.dropped_overfull += 1,
            roster::Arrival::Foreign => self.counters.dropped_unexpected += 1,
        }
        let Some(me) = self.model.me else { return };
        let Some(member) = self.model.members.get(&me) else { return };
        if self.username.as_ref() != Some(&member.username) {
            let username = member.username.clone();
            self.staying.on_renamed(&username);
            self.username = Some(username.clone());
            self.keeper.keep(Keep::User { id: me, username });
        }
    }

    fn is_ours(&mut self, instance: Instance) -> bool {
        let ours = instance == self.outbox.instance();
        self.counters.dropped_foreign_answer += u64::from(!ours);
        ours
    }

    fn on_stored(&mut self, now: Now, stored: Stored) {
        if self.is_ours(stored.instance) {
            let decision = |item: crate::wire::frame::StoredItem| Decision {
                n: item.n,
                state: OwnState::Stored { room: Some(item.room), seq: item.seq, of: item.of, absent: Vec::new() },
            };
            self.on_decided(now, stored.items.into_iter().map(decision).collect());
        }
    }

    fn on_told(&mut self, now: Now, told: Told) {
        if self.is_ours(told.instance) {
            let decision = |item: crate::wire::frame::ToldItem| Decision {
                n: item.n,
                state: OwnState::Stored { room: None, seq: item.seq, of: item.to.len() as u32, absent: item.absent },
            };
            self.on_decided(now, told.items.into_iter().map(decision).collect());
        }
    }

    fn on_refused(&mut self, now: Now, refused: &Refused) {
        if self.is_ours(refused.instance) {
            match SubmitRefusal::from_code(refused.code) {
                Some(refusal) => {
                    self.on_decided(now, vec![Decision { n: refused.n, state: OwnState::Failed(refusal) }]);
                }
                None => self.counters.dropped_unexpected += 1,
            }
        }
    }

    fn on_decided(&mut self, now: Now, decisions: Vec<Decision>) {
        for n in self.outbox.on_decided(now.mono, decisions, |event| self.events.push_back(event)) {
            self.keeper.settle(now.mono, n);
        }
    }

    fn ask_room_key(&mut self, number: u8) {
        if self.key_call.is_none_or(|(_, asked)| asked != number) {
            self.key_call = Some((self.calls.push(&Call::RoomKey(number)), number));
        }
    }

    fn on_reply(&mut self, now: Now, frame: ReplyFrame) {
        let Some(session) = &self.session else { return };
        let Some((ticket, reply)) = self.calls.on_reply(now.mono, frame, session.rtt()) else { return };
        if self.key_call.is_some_and(|(asked, _)| asked == ticket) {
            self.key_call = None;
            if let Reply::RoomKey(number, key) = reply {
                self.add_room_key(RoomKey { number, key });
            }
            return;
        }
        if self.staying.sign_out_ticket == Some(ticket) && reply == Reply::Done {
            self.staying.sign_out_ticket = None;
            self.forget_token();
        }
        self.events.push_back(Event::Replied { ticket, reply });
    }

    /// Holds a room key beside the one before: pages of both are on their way.
    pub(super) fn add_room_key(&mut self, key: RoomKey) {
        self.events.push_back(Event::KeyLog(key.key_log_line(RoomId::MAIN)));
        self.room_keys.retain(|held| held.number != key.number);
        self.room_keys.insert(0, key);
        self.room_keys.truncate(ROOM_KEYS);
    }

    /// The server says that it does not know a session: only one that we hold is brought back, not more than once a
    /// second, since anybody could have sent this.
    pub(super) fn on_hint(&mut self, now: Now, header: &Header) {
        let current = self.session.as_ref().is_some_and(|session| session.index() == header.session);
        let confirming = self.entrance.confirming() == Some(header.session);
        if !(current && self.entrance.is_idle() || confirming) {
            self.counters.dropped_session += 1;
        } else if self.staying.may_follow_hint(now.mono) {
            self.counters.hints += 1;
            if confirming {
                self.entrance.handle_hint(now.mono, &mut self.rng, &mut self.counters);
            } else {
                self.on_hint_of_session(now);
            }
        }
    }

    /// What coming in led to.
    pub(super) fn on_steps(&mut self, now: Now, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Trusted(pin) => self.keeper.keep(Keep::Pin(pin.0)),
                Step::ConfirmPin { pin, name } => self.events.push_back(Event::ConfirmPin { pin, name }),
                Step::PinChanged(pin) => {
                    self.stop();
                    self.events.push_back(Event::PinChanged { pin });
                }
                Step::Stretch(stretch) => self.events.push_back(Event::Stretch(stretch)),
                Step::Refused { refusal, wait_ms, intent } => self.on_not_let_in(now, refusal, wait_ms, intent),
                Step::Done(intent) => self.on_done(intent),
            }
        }
    }
}

/// Room keys held at a time: the newest, and those whose pages may still be under way.
const ROOM_KEYS: usize = 4;

/// Hands entries to a log and what it shows to the events.
fn take_in(
    log: &mut Log,
    events: &mut std::collections::VecDeque<Event>,
    now: Now,
    room: Option<RoomId>,
    first: Seq,
    count: Option<u16>,
    entries: &[u8],
) -> Result<log::Arrival, Malformed> {
    let epoch: Epoch = log.epoch();
    log.on_entries(now.mono, first, count, entries, |seq, entry| {
        let Entry { author, time, to, text, .. } = entry;
        let to = to.unwrap_or_default();
        events.push_back(Event::Message(Message { room, epoch, seq, author, to, time, text }));
    })
}
