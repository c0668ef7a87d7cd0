//! The calls of one session and their answers: each is carried out once, and answered again from here (proto.md, section
//! 10).

use std::collections::VecDeque;

use crate::id::CallId;
use crate::wire::call::Reply;
use crate::wire::frame::{self, Frame};
use crate::wire::limits::{CALLS_REMEMBERED, CHUNK, CHUNKS};

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

    /// A call could not be carried out now: when it is repeated it is new.
    pub fn forget(&mut self, id: CallId) {
        self.calls.retain(|(known, _)| *known != id);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RoomId, Seq, UserId};
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
