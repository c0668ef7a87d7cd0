//! What members send within their sessions: acks, submissions, wants, pings (proto.md, sections 5, 7 and 8).

use std::net::SocketAddr;

use super::Server;
use super::commit::Work;
use super::fetches::Purpose;
use super::receipts::Count;
use super::session::{FRAGMENTS, Session};
use super::submissions::{Part, Taken};
use crate::id::{Epoch, Instance, RoomId, Seq, SessionIndex};
use crate::now::Now;
use crate::proto::datagram::OpenError;
use crate::record::Fetch;
use crate::wire::Malformed;
use crate::wire::frame::{self, Frame, Pong, Protection, Range, SubmitRefusal};
use crate::wire::header::{Header, Type};
use crate::wire::limits::{WANT_ENTRIES, WANT_PAGES};

impl Server {
    pub(super) fn on_session_datagram(&mut self, now: Now, from: SocketAddr, header: &Header, datagram: &mut [u8]) {
        let index = header.session;
        let Some(session) = self.sessions.get_mut(&index) else {
            self.counters.dropped_unknown_session += 1;
            return self.hint(now, from, index);
        };
        if session.addr != from {
            self.counters.dropped_address += 1;
            return self.hint(now, from, index);
        }
        let body = match session.opener.open(header, datagram) {
            Ok(body) => body,
            Err(OpenError::BadTag) => {
                self.counters.dropped_tag += 1;
                return;
            }
            Err(OpenError::Replayed | OpenError::TooOld) => {
                self.counters.dropped_replay += 1;
                return;
            }
        };
        let came = if header.kind == Type::Sealed { Protection::Sealed } else { Protection::Readable };
        match Frame::take_all(body, came, Some(self.config.sealed)) {
            Ok(frames) => {
                session.on_heard(now.mono);
                frames.into_iter().for_each(|frame| self.on_frame(now, index, frame));
                self.touch(index);
            }
            Err(Malformed::Protection) => self.counters.dropped_protection += 1,
            Err(_) => self.counters.dropped_malformed += 1,
        }
    }

    fn on_frame(&mut self, now: Now, index: SessionIndex, frame: Frame) {
        let Some(session) = self.sessions.get_mut(&index) else { return };
        if session.leaving() {
            return;
        }
        match frame {
            Frame::Ack(ack) => self.on_room_ack(now, index, &ack),
            Frame::RosterAck(ack) => self.on_roster_ack(now, index, &ack),
            Frame::LettersAck(ack) => self.on_letters_ack(now, index, &ack),
            Frame::Ping(ping) => session.push(&Pong { nonce: ping.nonce }.into(), self.config.sealed),
            Frame::Pong(_) => {}
            Frame::Say(say) => {
                let frame::Say { instance, n, room, part, parts, text } = say;
                let refusal = (room != RoomId::MAIN).then_some(SubmitRefusal::NoSuchRoom);
                self.on_part(now, index, instance, Part { n, to: None, part, parts, text, refusal });
            }
            Frame::Tell(tell) => {
                let frame::Tell { instance, n, to, part, parts, text } = tell;
                self.on_part(now, index, instance, Part { n, to: Some(to), part, parts, text, refusal: None });
            }
            Frame::ReceiptAck(ack) => session.room_receipts.on_ack(ack.version),
            Frame::LettersReceiptAck(ack) => session.letters_receipts.on_ack(ack.version),
            Frame::Want(want) => self.on_want(index, &want),
            Frame::LettersWant(want) => self.on_letters_want(index, &want),
            Frame::Call(call) => self.on_call(index, &call),
            Frame::TokenAck(_) => session.on_token_ack(),
            Frame::Bye(_) => self.end_session(now, index),
            Frame::Page(_)
            | Frame::Tip(_)
            | Frame::Roster(_)
            | Frame::Stored(_)
            | Frame::Receipt(_)
            | Frame::Welcome(_)
            | Frame::Told(_)
            | Frame::Letters(_)
            | Frame::LettersReceipt(_)
            | Frame::Refused(_)
            | Frame::Slow(_)
            | Frame::Reply(_)
            | Frame::Token(_) => self.counters.dropped_frame_direction += 1,
        }
    }

    fn on_room_ack(&mut self, now: Now, index: SessionIndex, ack: &frame::Ack) {
        let head = self.room.head();
        if ack.room != RoomId::MAIN || ack.epoch != self.room.epoch() || highest(ack.upto, &ack.ranges) > head.0 {
            self.counters.dropped_ack += 1;
            return;
        }
        let Some(session) = self.sessions.get_mut(&index) else { return };
        let (user, mut counts) = (session.user, Vec::new());
        let (received, audience) = (self.received.entry(user).or_default(), &mut self.audience);
        let Session { room, rtt, .. } = session;
        let sound = room.on_ack(now.mono, (ack.upto, &ack.ranges, ack.delay_us), rtt, |first, last| {
            // More holes than a window can have, over all sessions: not honest, and not counted.
            if received.fragments() > FRAGMENTS {
                return;
            }
            received.insert(first, last, |first, last| {
                audience.on_received(user, (first, last), |count| counts.push(count));
            });
        });
        self.counters.dropped_ack += u64::from(!sound);
        self.on_counts(&counts, |session| &mut session.room_receipts);
    }

    fn on_letters_ack(&mut self, now: Now, index: SessionIndex, ack: &frame::LettersAck) {
        let Some(session) = self.sessions.get_mut(&index) else { return };
        let user = session.user;
        if ack.epoch != self.room.epoch() || highest(ack.upto, &ack.ranges) > self.inboxes.head(user).0 {
            self.counters.dropped_ack += 1;
            return;
        }
        let Session { letters, rtt, .. } = session;
        let sound = letters.on_ack(now.mono, (ack.upto, &ack.ranges, ack.delay_us), rtt, |_, _| {});
        self.counters.dropped_ack += u64::from(!sound);
        if let Some(whole) = self.inboxes.whole(user, ack.upto)
            && let Some(account) = self.accounts.account_mut(user)
            && account.inbox_received < whole
        {
            account.inbox_received = whole;
            self.commit.note_received(now.mono, user);
        }
        let mut counts = Vec::new();
        self.inboxes.on_received(user, Seq(ack.upto), |count| counts.push(count));
        self.on_counts(&counts, |session| &mut session.letters_receipts);
    }

    fn on_roster_ack(&mut self, now: Now, index: SessionIndex, ack: &frame::RosterAck) {
        let Some(session) = self.sessions.get_mut(&index) else { return };
        if ack.boot != self.roster.boot() || highest(ack.upto, &ack.ranges) > self.roster.head().0 {
            self.counters.dropped_ack += 1;
            return;
        }
        let Session { roster, rtt, .. } = session;
        let sound = roster.on_ack(now.mono, (ack.upto, &ack.ranges, ack.delay_us), rtt, |_, _| {});
        self.counters.dropped_ack += u64::from(!sound);
    }

    /// Counts that changed go to their authors' sessions.
    fn on_counts(&mut self, counts: &[Count], receipts: impl Fn(&mut Session) -> &mut super::receipts::Receipts) {
        for count in counts {
            let Some(index) = self.by_instance.get(&count.instance).copied() else { continue };
            if let Some(session) = self.sessions.get_mut(&index) {
                receipts(session).note(count.item);
                self.touch(index);
            }
        }
    }

    fn on_part(&mut self, now: Now, index: SessionIndex, instance: Instance, part: Part) {
        if self.by_instance.get(&instance) != Some(&index) {
            self.counters.dropped_instance += 1;
            return;
        }
        let n = part.n;
        match self.submissions.take(instance, part) {
            Taken::Kept => {}
            Taken::Decided(decided) => self.answer_submission(index, instance, n, &decided),
            Taken::Forgotten => {
                let limit = crate::wire::limits::UNDECIDED_KEPT as usize;
                self.fetch(Fetch::Decided { instance, from: n, limit }, Purpose::Decided(index, instance, n));
            }
            Taken::BeyondWindow => self.counters.dropped_window += 1,
        }
        loop {
            match self.submissions.next_ready(now.mono, instance) {
                Ok(Some(ready)) => self.enqueue(Work::Submission(ready)),
                Ok(None) => break,
                Err(wait) => {
                    self.counters.rate_limited += 1;
                    self.submissions.drop_waiting(instance);
                    let wait_ms = wait.as_millis().clamp(1, 60_000) as u32;
                    self.push(index, &frame::Slow { wait_ms }.into());
                    break;
                }
            }
        }
    }

    fn on_want(&mut self, index: SessionIndex, want: &frame::Want) {
        let last = want.last.min(self.room.head());
        if want.room != RoomId::MAIN || want.first > last || last.0 - want.first.0 >= WANT_ENTRIES {
            self.counters.dropped_request += 1;
            return;
        }
        if want.first < self.room.held_from() {
            let fetch = Fetch::Pages { room: want.room, first: want.first, last, limit: WANT_PAGES };
            self.fetch(fetch, Purpose::Pages(index));
            return;
        }
        let mut pages = Vec::new();
        let mut next = want.first;
        while next <= last && pages.len() < WANT_PAGES {
            let Some((frame, _, end)) = self.room.frame_at(next) else { break };
            pages.push(frame);
            next = end.next();
        }
        if let Some(session) = self.sessions.get_mut(&index) {
            session.answer_want(pages);
        }
    }

    fn on_letters_want(&mut self, index: SessionIndex, want: &frame::LettersWant) {
        let Some(session) = self.sessions.get(&index) else { return };
        let (user, epoch) = (session.user, self.room.epoch());
        let last = want.last.min(self.inboxes.head(user));
        if want.first > last || last.0 - want.first.0 >= WANT_ENTRIES {
            self.counters.dropped_request += 1;
            return;
        }
        match self.letters_in_memory(user, epoch, (want.first.0, last.0)) {
            Some(frames) => {
                if let Some(session) = self.sessions.get_mut(&index) {
                    session.answer_letters_want(frames);
                }
            }
            None => self.fetch_letters(index, (want.first.0, last.0)),
        }
    }

    fn letters_in_memory(&self, user: crate::id::UserId, epoch: Epoch, (first, last): Range) -> Option<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut next = first;
        while next <= last && frames.len() < WANT_PAGES {
            let (bytes, end) = self.inboxes.frame(user, epoch, Seq(next), Seq(last))?;
            frames.push(bytes);
            next = end.0 + 1;
        }
        Some(frames)
    }
}

fn highest(upto: u64, ranges: &[Range]) -> u64 {
    ranges.last().map_or(upto, |&(_, last)| last)
}
