//! Questions to the server (proto.md, section 10): repeated until their answer is whole, and asked anew when another
//! session begins.

use std::collections::VecDeque;

use serde_bytes::ByteBuf;

use super::event::Ticket;
use crate::id::CallId;
use crate::now::Instant;
use crate::proto::rtt::{Rtt, jittered};
use crate::wire::call::{Call, Reply};
use crate::wire::frame::{Call as CallFrame, Reply as ReplyFrame};
use crate::wire::limits::CALLS_REMEMBERED;

/// Calls that are not answered yet, in the order they were made. Like the outbox it is as long as its owner makes it;
/// only the first [`CALLS_REMEMBERED`] are under way, since the server remembers the answers of no more.
#[derive(Debug, Default)]
pub struct Calls {
    waiting: VecDeque<Pending>,
    next_ticket: u64,
    next_id: u32,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    body: Vec<u8>,
    /// None until it is asked in this session.
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    id: CallId,
    again_at: Instant,
    backoff: u32,
    have: u64,
    chunks: Vec<Vec<u8>>,
}

impl Calls {
    /// Takes a call in.
    pub fn push(&mut self, call: &Call) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.waiting.push_back(Pending { ticket, body: call.to_bytes(), asked: None });
        ticket
    }

    /// Another session begins: its server knows nothing of what was asked.
    pub fn on_session(&mut self) {
        self.waiting.iter_mut().for_each(|pending| pending.asked = None);
        self.next_id = 0;
    }

    /// The next call to send now, for the first time or again.
    pub fn take_next(&mut self, now: Instant, rtt: &Rtt) -> Option<CallFrame> {
        let under_way = self.waiting.iter_mut().take(CALLS_REMEMBERED);
        let pending = under_way.into_iter().find(|pending| pending.due().is_none_or(|at| at <= now))?;
        let asked = match &mut pending.asked {
            Some(asked) => {
                asked.backoff += 1;
                asked
            }
            asked => {
                self.next_id += 1;
                let id = CallId(self.next_id);
                asked.insert(Asked { id, again_at: now, backoff: 0, have: 0, chunks: Vec::new() })
            }
        };
        let draw = (asked.id.0 ^ asked.backoff ^ now.0 as u32).wrapping_mul(0x9e37_79b9);
        asked.again_at = now + jittered(rtt.probe_timeout(asked.backoff), draw);
        Some(CallFrame { id: asked.id, have: asked.have, body: ByteBuf::from(pending.body.clone()) })
    }

    /// When [`Calls::take_next`] has something; the past if it has already.
    pub fn timeout(&self) -> Option<Instant> {
        self.waiting.iter().take(CALLS_REMEMBERED).map(|pending| pending.due().unwrap_or_default()).min()
    }

    /// A chunk came. Gives the answer when it is whole; one that makes no sense is dropped, and asked for again.
    pub fn on_reply(&mut self, now: Instant, frame: ReplyFrame, rtt: &Rtt) -> Option<(Ticket, Reply)> {
        let ours = |pending: &Pending| pending.asked.as_ref().is_some_and(|asked| asked.id == frame.id);
        let index = self.waiting.iter().take(CALLS_REMEMBERED).position(ours)?;
        let asked = self.waiting[index].asked.as_mut()?;
        if asked.chunks.len() != usize::from(frame.total) {
            asked.chunks = vec![Vec::new(); usize::from(frame.total)];
            asked.have = 0;
        }
        *asked.chunks.get_mut(usize::from(frame.index))? = frame.body.into_vec();
        asked.have |= 1 << frame.index;
        asked.backoff = 0;
        asked.again_at = now + rtt.probe_timeout(0);
        if asked.have.count_ones() < u32::from(frame.total) {
            return None;
        }
        match Reply::from_bytes(&asked.chunks.concat()) {
            Ok(reply) => {
                let pending = self.waiting.remove(index)?;
                Some((pending.ticket, reply))
            }
            Err(_) => {
                (asked.have, asked.chunks) = (0, Vec::new());
                None
            }
        }
    }
}

impl Pending {
    fn due(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.again_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::entrance::Refusal;

    fn reply(id: u32, index: u8, total: u8, body: &[u8]) -> ReplyFrame {
        ReplyFrame { id: CallId(id), index, total, body: ByteBuf::from(body) }
    }

    #[test]
    fn an_answer_in_chunks_is_put_together_and_only_what_lacks_is_asked_again() {
        let (mut calls, rtt) = (Calls::default(), Rtt::default());
        let ticket = calls.push(&Call::RoomKey(1));
        assert_eq!(calls.timeout(), Some(Instant(0)));
        assert_eq!(calls.take_next(Instant(5), &rtt).unwrap().have, 0);
        assert_eq!(calls.take_next(Instant(5), &rtt), None);
        let bytes = Reply::RoomKey(1, [7; 32]).to_bytes(1000);
        assert_eq!(calls.on_reply(Instant(6), reply(1, 1, 2, &bytes[20..]), &rtt), None);
        let again = calls.take_next(calls.timeout().unwrap(), &rtt).unwrap();
        assert_eq!((again.id, again.have), (CallId(1), 0b10));
        let whole = calls.on_reply(Instant(7), reply(1, 0, 2, &bytes[..20]), &rtt);
        assert_eq!(whole, Some((ticket, Reply::RoomKey(1, [7; 32]))));
        assert_eq!(calls.timeout(), None, "no timer is left");
        assert_eq!(calls.on_reply(Instant(8), reply(1, 0, 2, &bytes[..20]), &rtt), None);
    }

    #[test]
    fn another_session_is_asked_anew() {
        let (mut calls, rtt) = (Calls::default(), Rtt::default());
        let ticket = calls.push(&Call::SignOut);
        calls.take_next(Instant(5), &rtt).unwrap();
        calls.on_session();
        assert_eq!(calls.take_next(Instant(6), &rtt).unwrap().id, CallId(1));
        let refused = Reply::Refused(Refusal::NotPermitted);
        assert_eq!(calls.on_reply(Instant(7), reply(1, 0, 1, &refused.to_bytes(9)), &rtt), Some((ticket, refused)));
    }

    #[test]
    fn no_more_are_under_way_than_the_server_remembers() {
        let (mut calls, rtt) = (Calls::default(), Rtt::default());
        (0..10).for_each(|_| {
            calls.push(&Call::SignOut);
        });
        let asked: Vec<u32> = std::iter::from_fn(|| calls.take_next(Instant(0), &rtt)).map(|call| call.id.0).collect();
        assert_eq!(asked, (1..=8).collect::<Vec<_>>());
        calls.on_reply(Instant(1), reply(3, 0, 1, &Reply::Done.to_bytes(9)), &rtt).unwrap();
        assert_eq!(calls.take_next(Instant(1), &rtt).unwrap().id, CallId(9));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_dropped_and_asked_for_again() {
        let (mut calls, rtt) = (Calls::default(), Rtt::default());
        calls.push(&Call::SignOut);
        calls.take_next(Instant(0), &rtt).unwrap();
        assert_eq!(calls.on_reply(Instant(1), reply(1, 0, 1, &[0xc1]), &rtt), None);
        assert_eq!(calls.take_next(calls.timeout().unwrap(), &rtt).unwrap().have, 0);
    }
}
