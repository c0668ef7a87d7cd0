//! Names of things: newtypes so that a user is never taken for a room, nor a seq for a count.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// An account. What history refers to: a rename changes the name, never this. Given from 1 up, never again.
    UserId(u32)
}
id! {
    /// A room of the server. There is one at first, [`RoomId::MAIN`].
    RoomId(u32)
}
id! {
    /// A history of the server: it grows by one when an older backup was restored, so that two histories
    /// which share seqs are never mixed (proto.md, Epochs).
    Epoch(u32)
}
id! {
    /// The place of an entry in its log: 1, 2, 3 … without holes. 0 stands before the first.
    Seq(u64)
}
id! {
    /// A session at the server, random; it stands in every datagram's header.
    SessionIndex(u32)
}
id! {
    /// One client installation: an outbox and the numbers in it. Random, kept with the outbox.
    Instance(u64)
}
id! {
    /// The number of a submission within its [`Instance`]: 1, 2, 3 … over all logs.
    Ordinal(u64)
}
id! {
    /// One run of the server, random: versions of the roster count within it.
    Boot(u32)
}
id! {
    /// A change of the roster: each record bears the number of its latest change.
    Version(u64)
}
id! {
    /// A member's question to the server, numbered by the client within one session.
    CallId(u32)
}

impl RoomId {
    /// The room everybody is in.
    pub const MAIN: RoomId = RoomId(1);
}

impl Seq {
    /// The seq after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl Ordinal {
    /// The number after this one.
    pub fn next(self) -> Ordinal {
        Ordinal(self.0 + 1)
    }
}
