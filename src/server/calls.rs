//! Calls: what members ask the server to do or to tell (proto.md, section 10).

use std::time::Duration;

use super::Server;
use super::allowance::Allowance;
use super::call_memory::Known;
use super::commit::Work;
use super::fetches::Purpose;
use crate::id::{CallId, SessionIndex, UserId};
use crate::record::{Fetch, Fetched};
use crate::text::name::Username;
use crate::wire::call::{Call, Reply};
use crate::wire::entrance::Refusal;
use crate::wire::frame;
use crate::wire::limits::CALL;

/// Renames an account may do at once, and how long for one more.
const RENAMES: u32 = 10;
const RENAME_EVERY: Duration = Duration::from_secs(600);

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
            Call::SignOut => return self.enqueue(Work::SignOut { session: index, call: id }),
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
        if !self.fetch(fetch, Purpose::Call(index, id))
            && let Some(session) = self.sessions.get_mut(&index)
        {
            // Too much is asked for just now: the repeat is a new call.
            session.calls.forget(id);
        }
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
