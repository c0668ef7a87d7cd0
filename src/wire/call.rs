//! What calls ask and how they are answered (proto.md, section 10).

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::entrance::Refusal;
use super::limits::CALL_MESSAGES;
use super::{Malformed, put, take, take_all};
use crate::id::{RoomId, Seq, UserId};
use crate::now::WallMs;
use crate::record::Found;

/// A question to the server.
#[derive(Clone, PartialEq, Eq)]
pub enum Call {
    /// A new username.
    Rename(String),
    /// The newest messages of a room before a seq (None: from the newest).
    RoomHistory {
        /// Which room.
        room: RoomId,
        /// Exclusive.
        before: Option<Seq>,
        /// At most so many, up to 200.
        limit: u16,
    },
    /// One's newest private messages.
    InboxHistory {
        /// Only those with this member.
        with: Option<UserId>,
        /// Exclusive.
        before: Option<Seq>,
        /// At most so many, up to 200.
        limit: u16,
    },
    /// The newest messages that hold all the words.
    Search {
        /// As typed.
        words: String,
        /// At most so many, up to 200.
        limit: u16,
    },
    /// The room key of a number.
    RoomKey(u8),
    /// End this session's token.
    SignOut,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Call::Rename(_) => "Rename",
            Call::RoomHistory { .. } => "RoomHistory",
            Call::InboxHistory { .. } => "InboxHistory",
            Call::Search { .. } => "Search",
            Call::RoomKey(_) => "RoomKey",
            Call::SignOut => "SignOut",
        })
    }
}

impl Call {
    /// Its bytes, for the body of a call frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let or_0 = |seq: &Option<Seq>| seq.map_or(0, |seq| seq.0);
        match self {
            Call::Rename(username) => put(&(1u8, username), &mut out),
            Call::RoomHistory { room, before, limit } => put(&(2u8, room, or_0(before), limit), &mut out),
            Call::InboxHistory { with, before, limit } => {
                put(&(3u8, with.unwrap_or(UserId(0)), or_0(before), limit), &mut out);
            }
            Call::Search { words, limit } => put(&(4u8, words, limit), &mut out),
            Call::RoomKey(key) => put(&(5u8, key), &mut out),
            Call::SignOut => put(&(6u8,), &mut out),
        }
        out
    }

    /// # Errors
    /// [`Malformed::Fields`], [`Malformed::Kind`] or [`Malformed::Bound`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Call, Malformed> {
        let or_none = |seq: u64| (seq != 0).then_some(Seq(seq));
        let call = match bytes.get(1).ok_or(Malformed::Fields)? {
            1 => take_all::<(u8, String)>(bytes).map(|(_, username)| Call::Rename(username))?,
            2 => take_all::<(u8, RoomId, u64, u16)>(bytes).map(|(_, room, before, limit)| Call::RoomHistory {
                room,
                before: or_none(before),
                limit,
            })?,
            3 => take_all::<(u8, UserId, u64, u16)>(bytes).map(|(_, with, before, limit)| {
                let with = (with != UserId(0)).then_some(with);
                Call::InboxHistory { with, before: or_none(before), limit }
            })?,
            4 => take_all::<(u8, String, u16)>(bytes).map(|(_, words, limit)| Call::Search { words, limit })?,
            5 => take_all::<(u8, u8)>(bytes).map(|(_, key)| Call::RoomKey(key))?,
            6 => take_all::<(u8,)>(bytes).map(|_| Call::SignOut)?,
            _ => return Err(Malformed::Kind),
        };
        match call {
            Call::RoomHistory { limit, .. } | Call::InboxHistory { limit, .. } | Call::Search { limit, .. }
                if usize::from(limit) > CALL_MESSAGES =>
            {
                Err(Malformed::Bound)
            }
            call => Ok(call),
        }
    }
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done; there is nothing to tell.
    Done,
    /// Messages, oldest first.
    Messages(Vec<Found>),
    /// A room key and its number.
    RoomKey(u8, [u8; 32]),
    /// Not done.
    Refused(Refusal),
}

#[derive(Serialize, Deserialize)]
struct MessageFields(RoomId, Seq, UserId, Vec<UserId>, u64, String);

fn message_bytes(found: &Found) -> Vec<u8> {
    let mut out = Vec::new();
    let room = found.room.unwrap_or(RoomId(0));
    put(&(room, found.seq, found.author, &found.to, found.time.0, &found.text), &mut out);
    out
}

impl Reply {
    /// Its bytes, not yet cut into chunks; of messages only the newest that fit `room_for` bytes.
    pub fn to_bytes(&self, room_for: usize) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Reply::Done => put(&(0u8,), &mut out),
            Reply::RoomKey(key, room_key) => put(&(0u8, key, ByteArray::new(*room_key)), &mut out),
            Reply::Refused(refusal) => put(&(*refusal as u8,), &mut out),
            Reply::Messages(messages) => {
                // Status, array headers: 1 + 1 + 3 bytes.
                let mut left = room_for.saturating_sub(5);
                let mut newest: Vec<Vec<u8>> = messages
                    .iter()
                    .rev()
                    .map(message_bytes)
                    .take_while(|bytes| {
                        let fits = bytes.len() <= left;
                        left = left.saturating_sub(bytes.len());
                        fits
                    })
                    .collect();
                newest.reverse();
                out.extend_from_slice(&[0x92, 0]);
                put_array_len(newest.len(), &mut out);
                newest.iter().for_each(|bytes| out.extend_from_slice(bytes));
            }
        }
        out
    }

    /// # Errors
    /// [`Malformed::Fields`] or [`Malformed::Kind`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Reply, Malformed> {
        let mut rest = bytes.get(1..).ok_or(Malformed::Fields)?;
        let status: u8 = take(&mut rest)?;
        if status != 0 {
            take_all::<(u8,)>(bytes)?;
            return Refusal::from_code(status).map(Reply::Refused).ok_or(Malformed::Kind);
        }
        Ok(match bytes[0] {
            0x91 => take_all::<(u8,)>(bytes).map(|_| Reply::Done)?,
            0x93 => take_all::<(u8, u8, ByteArray<32>)>(bytes)
                .map(|(_, key, room_key)| Reply::RoomKey(key, room_key.into_array()))?,
            _ => {
                let (_, messages): (u8, Vec<MessageFields>) = take_all(bytes)?;
                Reply::Messages(messages.into_iter().map(found).collect())
            }
        })
    }
}

fn put_array_len(len: usize, out: &mut Vec<u8>) {
    out.push(0xdc);
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
}

fn found(MessageFields(room, seq, author, to, time, text): MessageFields) -> Found {
    Found { room: (room != RoomId(0)).then_some(room), seq, author, to, time: WallMs(time), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_back_as_they_were_written() {
        let calls = [
            Call::Rename("amina".into()),
            Call::RoomHistory { room: RoomId::MAIN, before: None, limit: 50 },
            Call::InboxHistory { with: Some(UserId(2)), before: Some(Seq(9)), limit: 200 },
            Call::Search { words: "demain \"ou".into(), limit: 10 },
            Call::RoomKey(3),
            Call::SignOut,
        ];
        for call in calls {
            let bytes = call.to_bytes();
            assert_eq!(Call::from_bytes(&bytes).unwrap(), call);
            for cut in 0..bytes.len() {
                assert!(Call::from_bytes(&bytes[..cut]).is_err(), "{call:?} truncated at {cut}");
            }
        }
        assert_eq!(
            Call::from_bytes(&Call::Search { words: String::new(), limit: 201 }.to_bytes()),
            Err(Malformed::Bound)
        );
    }

    #[test]
    fn replies_come_back_as_they_were_written() {
        let message = Found {
            room: None,
            seq: Seq(4),
            author: UserId(1),
            to: vec![UserId(2)],
            time: WallMs(5),
            text: "à demain".into(),
        };
        let replies = [
            Reply::Done,
            Reply::Messages(vec![]),
            Reply::Messages(vec![message.clone(), Found { room: Some(RoomId::MAIN), ..message }]),
            Reply::RoomKey(1, [7; 32]),
            Reply::Refused(Refusal::NameTaken),
        ];
        for reply in replies {
            let bytes = reply.to_bytes(64_000);
            assert_eq!(Reply::from_bytes(&bytes).unwrap(), reply);
            for cut in 0..bytes.len() {
                assert!(Reply::from_bytes(&bytes[..cut]).is_err(), "{reply:?} truncated at {cut}");
            }
        }
    }

    #[test]
    fn a_reply_that_would_be_too_long_keeps_the_newest() {
        let messages: Vec<Found> = (1..=10)
            .map(|seq| Found {
                room: Some(RoomId::MAIN),
                seq: Seq(seq),
                author: UserId(1),
                to: vec![],
                time: WallMs(0),
                text: "x".repeat(100),
            })
            .collect();
        let bytes = Reply::Messages(messages).to_bytes(350);
        assert!(bytes.len() <= 350);
        let Reply::Messages(kept) = Reply::from_bytes(&bytes).unwrap() else { panic!("not messages") };
        assert_eq!(kept.iter().map(|message| message.seq.0).collect::<Vec<_>>(), [8, 9, 10]);
    }
}
