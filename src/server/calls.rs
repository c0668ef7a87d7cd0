//! Calls: questions of a member to the server, each carried out once, answered in chunks (proto.md, section 10).

use std::collections::VecDeque;
use std::time::Duration;

use super::Server;
use super::allowance::Allowance;
use super::commit::Work;
use super::fetches::Purpose;
use crate::id::{CallId, SessionIndex, UserId};
use crate::record::{Fetch, Fetched};
use crate::text::name::Username;
use crate::wire::call::{Call, Reply};
use crate::wire::entrance::Refusal;
use crate::wire::frame::{self, Frame};
use crate::wire::limits::{CALL, CALLS_REMEMBERED, CHUNK, CHUNKS};

/// Renames an account may do at once, and how long for one more.
const RENAMES: u32 = 10;
const RENAME_EVERY: Duration = Duration::from_secs(600);

/// The last calls of one session and their answers.
#[derive(Debug, Default)]
pub struct CallMemory {
    calls: VecDeque<(CallId, Option<Vec<u8>>)>,
    /// The highest id that was forgotten: nothing up to it is carried out again.
    forgotten: Option<CallId>,
}

/// What is known of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// It is new: carry it out.
    New,
    /// It is under way.
    UnderWay,
    /// These chunks of its answer are missing.
    Answered(Vec<Frame>),
}

impl CallMemory {
    /// A call came; `have` are the chunks its asker holds.
    pub fn on_call(&mut self, id: CallId, have: u64) -> Known {
        match self.calls.iter().find(|(known, _)| *known == id) {
            Some((_, None)) => Known::UnderWay,
            Some((_, Some(answer))) => Known::Answered(chunks(id, answer, have)),
            None if self.forgotten.is_some_and(|forgotten| id <= forgotten) => Known::UnderWay,
            None => {
                if self.calls.len() == CALLS_REMEMBERED {
                    let (oldest, _) = self.calls.pop_front().expect("as many as are remembered");
                    self.forgotten = self.forgotten.max(Some(oldest));
                }
                self.calls.push_back((id, None));
                Known::New
            }
        }
    }

    /// A call was answered: the chunks to send.
    pub fn on_answer(&mut self, id: CallId, reply: &Reply) -> Vec<Frame> {
        let answer = reply.to_bytes(CHUNK * CHUNKS);
        let chunks = chunks(id, &answer, 0);
        if let Some((_, slot)) = self.calls.iter_mut().find(|(known, _)| *known == id) {
            *slot = Some(answer);
        }
        chunks
    }
}

fn chunks(id: CallId, answer: &[u8], have: u64) -> Vec<Frame> {
    let total = answer.len().div_ceil(CHUNK).max(1) as u8;
    answer
        .chunks(CHUNK)
        .zip(0u8..)
        .filter(|(_, index)| have & (1 << index) == 0)
        .map(|(chunk, index)| frame::Reply { id, index, total, body: chunk.to_vec().into() }.into())
        .collect()
}

impl Server {
    pub(super) fn on_call(&mut self, index: SessionIndex, call: &frame::Call) {
        let Some(session) = self.sessions.get_mut(&index) else { return };
        if call.body.len() > CALL {
            self.counters.dropped_request += 1;
            return;
        }
        match session.calls.on_call(call.id, call.have) {
            Known::UnderWay => {}
            Known::Answered(chunks) => chunks.iter().for_each(|chunk| session.push(chunk, self.config.sealed)),
            Known::New => match Call::from_bytes(&call.body) {
                Ok(asked) => self.carry_out(index, call.id, asked),
                Err(_) => self.reply(index, call.id, &Reply::Refused(Refusal::NotUnderstood)),
            },
        }
    }

    fn carry_out(&mut self, index: SessionIndex, id: CallId, call: Call) {
        let Some(session) = self.sessions.get(&index) else { return };
        let user = session.user;
        let fetch = match call {
            Call::Rename(username) => {
                match Username::parse(&username) {
                    Ok(_) if !self.may_rename(user) => self.reply(index, id, &Reply::Refused(Refusal::Throttled)),
                    Ok(username) => self.enqueue(Work::Rename { session: index, call: id, user, username }),
                    Err(_) => self.reply(index, id, &Reply::Refused(Refusal::NameNotAllowed)),
                }
                return;
            }
            Call::SignOut => {
                match session.token {
                    Some(hash) => self.enqueue(Work::SignOut { session: index, call: id, hash }),
                    None => self.reply(index, id, &Reply::Done),
                }
                return;
            }
            Call::RoomKey(number) => {
                let reply = match self.room.key().filter(|key| key.number == number) {
                    Some(key) => Reply::RoomKey(key.number, key.key),
                    None => Reply::Refused(Refusal::NotUnderstood),
                };
                self.reply(index, id, &reply);
                return;
            }
            Call::RoomHistory { room, before, limit } => Fetch::RoomHistory { room, before, limit: limit.into() },
            Call::InboxHistory { with, before, limit } => {
                Fetch::InboxHistory { user, with, before, limit: limit.into() }
            }
            Call::Search { words, limit } => Fetch::Search { user, words, limit: limit.into() },
        };
        self.fetch(fetch, Purpose::Call(index, id));
    }

    /// A name once taken is taken for ever: nobody may take many.
    fn may_rename(&mut self, user: UserId) -> bool {
        let now = self.now.mono;
        self.renames.entry(user).or_insert(Allowance::new(now, RENAMES, RENAME_EVERY)).spend(now).is_ok()
    }

    pub(super) fn on_call_fetched(&mut self, index: SessionIndex, id: CallId, fetched: Fetched) {
        let reply = match fetched {
            Fetched::Found(messages) => Reply::Messages(messages),
            _ => Reply::Refused(Refusal::StoreFailed),
        };
        self.reply(index, id, &reply);
    }

    pub(super) fn reply(&mut self, index: SessionIndex, id: CallId, reply: &Reply) {
        let sealed = self.config.sealed;
        if let Some(session) = self.sessions.get_mut(&index) {
            session.calls.on_answer(id, reply).iter().for_each(|chunk| session.push(chunk, sealed));
            self.touch(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RoomId, Seq};
    use crate::now::WallMs;
    use crate::record::Found;

    #[test]
    fn a_repeated_call_is_answered_from_memory_with_what_is_missing() {
        let mut memory = CallMemory::default();
        assert_eq!(memory.on_call(CallId(1), 0), Known::New);
        assert_eq!(memory.on_call(CallId(1), 0), Known::UnderWay);
        let message = Found {
            room: Some(RoomId::MAIN),
            seq: Seq(1),
            author: UserId(1),
            to: vec![],
            time: WallMs(0),
            text: "x".repeat(900),
        };
        let sent = memory.on_answer(CallId(1), &Reply::Messages(vec![message; 3]));
        assert_eq!(sent.len(), 3);
        assert_eq!(memory.on_call(CallId(1), 0b101), Known::Answered(vec![sent[1].clone()]));
    }

    #[test]
    fn only_the_last_calls_are_remembered() {
        let mut memory = CallMemory::default();
        (0..100).for_each(|id| assert_eq!(memory.on_call(CallId(id), 0), Known::New));
        assert_eq!(memory.calls.len(), CALLS_REMEMBERED);
        assert_eq!(memory.on_call(CallId(1), 0), Known::UnderWay, "a forgotten one is not carried out again");
    }
}
