//! Questions to the store that are under way, and what their answers are for.

use super::Server;
use super::event::{Event, FetchId};
use super::inbox;
use crate::id::{CallId, Instance, Ordinal, Seq, SessionIndex};
use crate::now::Now;
use crate::record::{Fetch, Fetched};
use crate::wire::frame::Range;

/// Questions under way in all, and of one session; more are not asked, and asked again by their members.
const UNDER_WAY: usize = 1024;
const UNDER_WAY_A_SESSION: usize = 8;

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A call's.
    Call(SessionIndex, CallId),
    /// Pages a member asked for.
    Pages(SessionIndex),
    /// Letters a member asked for.
    Letters(SessionIndex, Range),
    /// Answers to submissions decided long ago.
    Decided(SessionIndex, Instance, Ordinal),
}

impl Purpose {
    fn session(self) -> SessionIndex {
        match self {
            Purpose::Call(session, _)
            | Purpose::Pages(session)
            | Purpose::Letters(session, _)
            | Purpose::Decided(session, ..) => session,
        }
    }

    /// Will the answer to this one do for `other` too? What a store says of a submission it says of later ones.
    fn covers(self, other: Purpose) -> bool {
        match (self, other) {
            (Purpose::Decided(index, instance, from), Purpose::Decided(to, of, n)) => {
                (index, instance) == (to, of) && from <= n
            }
            _ => self == other,
        }
    }
}

impl Server {
    /// Asks the store, unless the same is under way; false if too much is, and it was not asked.
    pub(super) fn fetch(&mut self, fetch: Fetch, purpose: Purpose) -> bool {
        if self.fetches.values().any(|other| other.covers(purpose)) {
            return true;
        }
        let own = self.fetches.values().filter(|other| other.session() == purpose.session()).count();
        if self.fetches.len() >= UNDER_WAY || own >= UNDER_WAY_A_SESSION {
            return false;
        }
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        self.fetches.insert(id, purpose);
        self.events.push_back(Event::Fetch(id, fetch));
        true
    }

    /// The store has read what [`Event::Fetch`] asked for.
    pub fn handle_fetched(&mut self, now: Now, id: FetchId, fetched: Fetched) {
        self.now = now;
        let Some(purpose) = self.fetches.remove(&id) else { return };
        match (purpose, fetched) {
            (Purpose::Call(session, call), fetched) => self.on_call_fetched(session, call, fetched),
            (Purpose::Pages(index), Fetched::Pages(pages)) => {
                let frames = pages.iter().map(|page| self.room.frame_of(page)).collect();
                if let Some(session) = self.sessions.get_mut(&index) {
                    session.answer_want(frames);
                    self.touch(index);
                }
            }
            (Purpose::Letters(index, range), Fetched::Letters(letters)) => {
                let epoch = self.room.epoch();
                if let Some(session) = self.sessions.get_mut(&index) {
                    let frames = inbox::frames_of(session.user, epoch, &letters, range);
                    session.answer_letters_want(frames.into_iter().map(|(bytes, _)| bytes).collect());
                    self.touch(index);
                }
            }
            (Purpose::Decided(index, instance, n), Fetched::Decided(answers)) => {
                self.submissions.on_answers(instance, &answers);
                for (n, decided) in answers.iter().filter(|(other, _)| *other >= n) {
                    self.answer_submission(index, instance, *n, decided);
                }
                self.touch(index);
            }
            // The store could not read: whoever asked asks again.
            _ => {}
        }
    }

    /// The range of letters a want may have, and the question for it.
    pub(super) fn fetch_letters(&mut self, index: SessionIndex, (first, last): Range) {
        let Some(session) = self.sessions.get(&index) else { return };
        let (user, limit) = (session.user, crate::wire::limits::WANT_PAGES);
        let fetch = Fetch::Letters { user, first: Seq(first), last: Seq(last), limit };
        self.fetch(fetch, Purpose::Letters(index, (first, last)));
    }
}
