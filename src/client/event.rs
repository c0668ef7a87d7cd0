//! What a client tells whoever drives it: things to do for it, and things to show.

use crate::id::{Epoch, Ordinal, RoomId, Seq, UserId};
use crate::now::WallMs;
use crate::proto::handshake::Stretch;
use crate::proto::keys::Pin;
use crate::record::Keep;
use crate::wire::call::Reply;
use crate::wire::entrance::Refusal;
use crate::wire::frame::{ByeReason, SubmitRefusal};

/// Something that happened. The first three ask for work outside of the core; the rest is to be shown.
#[derive(Debug)]
pub enum Event {
    /// Run this (it takes tens of milliseconds) and give the result to `handle_stretched`. What is quick, as with a token
    /// or without cryptography, the client runs itself.
    Stretch(Box<Stretch>),
    /// Put this on disk, whole, then call `handle_kept`. No other batch comes before.
    Keep(Vec<Keep>),
    /// A line for the key log, if one is kept.
    KeyLog(String),

    /// First contact: show the words, let a person compare, then `confirm_pin`.
    ConfirmPin {
        /// Of the room that answered.
        pin: Pin,
        /// Its display name.
        name: String,
    },
    /// For 3 s nothing but rooms with other keys answered: this is not the room one knows. The client stopped.
    PinChanged {
        /// What answered in its place.
        pin: Pin,
    },
    /// A session began; the first one, or a resumed one.
    Entered(Entered),
    /// Not let in, or thrown out; the client stopped.
    Refused {
        /// Why.
        refusal: Refusal,
        /// When to try again, in milliseconds; 0: no matter.
        wait_ms: u32,
    },
    /// The account was registered, or its password replaced; the client stopped. The code is shown once.
    Outcome {
        /// The new recovery code, in groups.
        recovery_code: String,
    },
    /// The link changed.
    Connection(Connection),
    /// A message to show, one's own included; each once, in its log's order.
    Message(Message),
    /// What became of one's own message.
    Own {
        /// Which submission.
        n: Ordinal,
        /// Its state now.
        state: OwnState,
    },
    /// Somebody came or went. Not sent for those who are there when one enters.
    Presence {
        /// Who.
        user: UserId,
        /// Here or gone.
        online: bool,
    },
    /// Somebody has another name.
    Renamed {
        /// Who.
        user: UserId,
        /// The name before.
        from: String,
        /// The name now.
        to: String,
    },
    /// The roster is complete for the first time in this run: names can be looked up.
    RosterComplete,
    /// Something to know.
    Notice(Notice),
    /// The answer to a call.
    Replied {
        /// What `call` gave.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
}

/// Names one call of a client, over reconnections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The state of a session when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Who one is.
    pub user: UserId,
    /// One's username.
    pub username: String,
    /// The room's display name.
    pub room_name: String,
    /// Its pin.
    pub pin: Pin,
    /// The current epoch.
    pub epoch: Epoch,
    /// The room's head when one entered.
    pub head: Seq,
    /// The room is sealed.
    pub sealed: bool,
    /// The server writes a key log.
    pub key_log: bool,
    /// False when an interrupted session goes on.
    pub first: bool,
}

/// How the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Looking for the server.
    Connecting,
    /// In a session.
    Connected,
    /// The server is silent or unreachable; the client goes on trying by itself.
    Away,
    /// The session ended for good.
    Ended(ByeReason),
}

/// A whole message of a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// In which room; None: in one's inbox.
    pub room: Option<RoomId>,
    /// The epoch it was shown in.
    pub epoch: Epoch,
    /// Seq of its last entry.
    pub seq: Seq,
    /// Who wrote it.
    pub author: UserId,
    /// To whom, where private.
    pub to: Vec<UserId>,
    /// When it was committed.
    pub time: WallMs,
    /// The whole text.
    pub text: String,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({:?} #{} by {}, {} bytes)", self.room, self.seq, self.author, self.text.len())
    }
}

/// What became of one's own message. It only goes forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnState {
    /// On this disk.
    Queued,
    /// A datagram left.
    Sent,
    /// On the server's disk.
    Stored {
        /// In which room; None: in one's inbox.
        room: Option<RoomId>,
        /// Its place there.
        seq: Seq,
        /// Other members online then (in a private message: recipients).
        of: u32,
        /// Recipients of a private message who were not online.
        absent: Vec<UserId>,
    },
    /// Acknowledged by so many.
    Received {
        /// In which room; None: in one's inbox.
        room: Option<RoomId>,
        /// Its place there.
        seq: Seq,
        /// How many have it.
        received: u32,
        /// Of how many.
        of: u32,
    },
    /// Refused for good.
    Failed(SubmitRefusal),
}

/// Something to know that is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The server asks to slow down; what is queued goes on after the wait.
    RateLimited {
        /// Milliseconds.
        wait_ms: u32,
    },
    /// The server cannot store: its disk is full or failing.
    ServerNotStoring,
    /// It stores again.
    ServerStoring,
    /// The server's history was restored from an earlier state: some of what was shown is gone there.
    HistoryRestored {
        /// What is shown goes on after this seq.
        since: Seq,
    },
    /// This disk does not take the outbox: nothing more is sent until it does.
    ProfileFailed(String),
}
