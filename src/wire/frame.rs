//! Frames: what the body of a sealed, readable or credential datagram is made of (proto.md, section 5).
//!
//! A frame is its kind (one byte) and a MessagePack array of its fields. Decoded frames own what they hold; the few
//! that are sent to many are encoded once by their maker and appended as bytes.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::limits::{ACK_RANGES, CHUNK, CHUNKS, DATAGRAM, LIST, NUMBER, PART_TEXT, PARTS, RECIPIENTS};
use super::{Malformed, put, take};
use crate::id::{Boot, CallId, Epoch, Instance, Ordinal, RoomId, Seq, UserId, Version};
use crate::record::PageHash;

/// How a frame travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// Authenticated; anybody may read.
    Readable,
    /// Encrypted under the session key.
    Sealed,
    /// Encrypted under a key that is never logged.
    Credential,
}

/// `[first, last]`, both included.
pub type Range = (u64, u64);

/// Defines the frame structs and the enum over them, from the table of proto.md, section 5.
macro_rules! frames {
    ($($(#[$doc:meta])* $kind:literal $name:ident $protection:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
            pub struct $name { $($(#[$fdoc])* pub $field: $type,)* }

            impl From<$name> for Frame {
                fn from(frame: $name) -> Frame {
                    Frame::$name(frame)
                }
            }
        )*

        /// One frame of any kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is named by its struct, which is documented")]
        pub enum Frame { $($name($name),)* }

        impl Frame {
            /// The byte it begins with.
            pub fn kind(&self) -> u8 {
                match self { $(Frame::$name(_) => $kind,)* }
            }

            /// How it travels in a readable room.
            pub fn protection(&self) -> Protection {
                match self { $(Frame::$name(_) => Protection::$protection,)* }
            }

            /// Appends its bytes.
            pub fn put(&self, out: &mut Vec<u8>) {
                out.push(self.kind());
                match self { $(Frame::$name(fields) => put(fields, out),)* }
            }

            /// Reads one frame off the front of `bytes`.
            ///
            /// # Errors
            /// [`Malformed::Kind`], [`Malformed::Fields`] or [`Malformed::Bound`].
            pub fn take(bytes: &mut &[u8]) -> Result<Frame, Malformed> {
                let (kind, rest) = bytes.split_first().ok_or(Malformed::Length)?;
                *bytes = rest;
                let frame = match *kind {
                    $($kind => Frame::$name(take(bytes)?),)*
                    _ => return Err(Malformed::Kind),
                };
                if frame.within_bounds() { Ok(frame) } else { Err(Malformed::Bound) }
            }
        }
    };
}

frames! {
    /// Entries of a room, committed together and signed.
    0x01 Page Readable {
        /// Whose log.
        room: RoomId,
        /// The epoch it was signed in.
        epoch: Epoch,
        /// Seq of its first entry.
        first: Seq,
        /// How many entries.
        count: u16,
        /// The room key it is sealed under; 0: none.
        key: u8,
        /// Previous hash, signature, entries; sealed where `key` is not 0.
        blob: ByteBuf,
    }
    /// How far the room and the roster go, and how the server is.
    0x02 Tip Readable {
        /// Whose log.
        room: RoomId,
        /// The current epoch.
        epoch: Epoch,
        /// Its newest seq.
        head: Seq,
        /// Hash of the page that ends there.
        hash: ByteArray<32>,
        /// Over room, epoch, head, hash.
        signature: ByteArray<64>,
        /// The roster's run.
        boot: Boot,
        /// The roster's newest version.
        roster: Version,
        /// [`TIP_STORING`] or [`TIP_NOT_STORING`].
        status: u8,
    }
    /// Entries of a room that arrived.
    0x03 Ack Readable {
        /// Whose log.
        room: RoomId,
        /// The current epoch.
        epoch: Epoch,
        /// Everything up to here.
        upto: u64,
        /// Microseconds since the highest arrived.
        delay_us: u32,
        /// And these.
        ranges: Vec<Range>,
    }
    /// All member records whose version lies in (after, upto].
    0x04 Roster Readable {
        /// The roster's run.
        boot: Boot,
        /// Exclusive.
        after: Version,
        /// Inclusive.
        upto: Version,
        /// The records.
        members: Vec<Member>,
    }
    /// Versions covered.
    0x05 RosterAck Readable {
        /// The roster's run.
        boot: Boot,
        /// Everything up to here.
        upto: u64,
        /// Microseconds since the highest arrived.
        delay_us: u32,
        /// And these.
        ranges: Vec<Range>,
    }
    /// Are you there?
    0x06 Ping Readable {
        /// To be given back.
        nonce: u32,
    }
    /// I am.
    0x07 Pong Readable {
        /// The ping's.
        nonce: u32,
    }
    /// A message to a room, or a part of it.
    0x08 Say Readable {
        /// The outbox.
        instance: Instance,
        /// Its number there.
        n: Ordinal,
        /// To which room.
        room: RoomId,
        /// Which part, from 0.
        part: u8,
        /// Of how many.
        parts: u8,
        /// The part's text.
        text: String,
    }
    /// Submissions to rooms that are on disk.
    0x09 Stored Readable {
        /// The outbox.
        instance: Instance,
        /// Each with its place.
        items: Vec<StoredItem>,
    }
    /// How many have received one's messages in a room.
    0x0a Receipt Readable {
        /// Whose log.
        room: RoomId,
        /// To be acknowledged.
        version: u32,
        /// Each message's count.
        items: Vec<ReceiptItem>,
    }
    /// A receipt arrived.
    0x0b ReceiptAck Readable {
        /// Whose log.
        room: RoomId,
        /// The receipt's.
        version: u32,
    }
    /// Asks for entries of a room.
    0x0c Want Readable {
        /// Whose log.
        room: RoomId,
        /// From.
        first: Seq,
        /// To, included.
        last: Seq,
    }
    /// A session begins.
    0x20 Welcome Sealed {
        /// Who one is.
        user: UserId,
        /// One's username now.
        username: String,
        /// The room's display name.
        name: String,
        /// The current epoch.
        epoch: Epoch,
        /// The room's head when it began.
        since: Seq,
        /// The room's head: the live stream starts after it.
        head: Seq,
        /// One's inbox's head: the live stream starts after it.
        inbox_head: Seq,
        /// Where a fresh client starts in the inbox.
        inbox_from: Seq,
        /// The roster's run.
        boot: Boot,
        /// The roster's newest version.
        roster: Version,
        /// The last decided submission of the attached instance.
        decided: Ordinal,
        /// [`WELCOME_SEALED`] and [`WELCOME_KEY_LOG`].
        flags: u8,
        /// The room key's number; 0 in a readable room.
        key: u8,
        /// The room key.
        room_key: Option<ByteArray<32>>,
    }
    /// A private message, or a part of it.
    0x21 Tell Sealed {
        /// The outbox.
        instance: Instance,
        /// Its number there.
        n: Ordinal,
        /// To whom.
        to: Vec<UserId>,
        /// Which part, from 0.
        part: u8,
        /// Of how many.
        parts: u8,
        /// The part's text.
        text: String,
    }
    /// Private submissions that are on disk.
    0x22 Told Sealed {
        /// The outbox.
        instance: Instance,
        /// Each with its place.
        items: Vec<ToldItem>,
    }
    /// Entries of one's inbox.
    0x23 Letters Sealed {
        /// The current epoch.
        epoch: Epoch,
        /// Seq of the first entry.
        first: Seq,
        /// The entries.
        entries: ByteBuf,
    }
    /// Entries of one's inbox that arrived.
    0x24 LettersAck Sealed {
        /// The current epoch.
        epoch: Epoch,
        /// Everything up to here.
        upto: u64,
        /// Microseconds since the highest arrived.
        delay_us: u32,
        /// And these.
        ranges: Vec<Range>,
    }
    /// Asks for entries of one's inbox.
    0x25 LettersWant Sealed {
        /// From.
        first: Seq,
        /// To, included.
        last: Seq,
    }
    /// How many recipients have received one's private messages.
    0x26 LettersReceipt Sealed {
        /// To be acknowledged.
        version: u32,
        /// Each message's count.
        items: Vec<ReceiptItem>,
    }
    /// A letters receipt arrived.
    0x27 LettersReceiptAck Sealed {
        /// The receipt's.
        version: u32,
    }
    /// A submission is refused for good.
    0x28 Refused Sealed {
        /// The outbox.
        instance: Instance,
        /// Its number there.
        n: Ordinal,
        /// Why: a [`SubmitRefusal`].
        code: u8,
    }
    /// Too fast: keep it and wait.
    0x29 Slow Sealed {
        /// How long.
        wait_ms: u32,
    }
    /// A question to the server.
    0x2a Call Sealed {
        /// New for each in a session.
        id: CallId,
        /// Chunks of the answer held already.
        have: u64,
        /// See `call`.
        body: ByteBuf,
    }
    /// A chunk of an answer.
    0x2b Reply Sealed {
        /// The call's.
        id: CallId,
        /// Which chunk, from 0.
        index: u8,
        /// Of how many.
        total: u8,
        /// Its bytes.
        body: ByteBuf,
    }
    /// The session ends.
    0x2c Bye Sealed {
        /// A [`ByeReason`].
        reason: u8,
    }
    /// The token arrived.
    0x2d TokenAck Sealed {
    }
    /// What brings a member back without the password.
    0x40 Token Credential {
        /// The token.
        token: ByteArray<32>,
        /// Seconds until it ends.
        lifetime_s: u32,
        /// The device secret; zeros: the one held stays.
        device: ByteArray<32>,
    }
}

/// A submission stored in a room: `[n, room, seq, of]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredItem {
    /// Its number.
    pub n: Ordinal,
    /// Which room.
    pub room: RoomId,
    /// The seq of its last entry.
    pub seq: Seq,
    /// Other members online when it was stored.
    pub of: u32,
}

/// A private submission stored: `[n, seq, to, absent]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldItem {
    /// Its number.
    pub n: Ordinal,
    /// The seq of its last entry in the author's own inbox.
    pub seq: Seq,
    /// To whom it went.
    pub to: Vec<UserId>,
    /// Those of them who were not online.
    pub absent: Vec<UserId>,
}

/// A message's receipts: `[seq, received, of]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptItem {
    /// Which message.
    pub seq: Seq,
    /// How many have it.
    pub received: u32,
    /// Of how many.
    pub of: u32,
}

/// A member's record in the roster (proto.md, section 9).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Whose.
    pub user: UserId,
    /// The number of its latest change.
    pub version: Version,
    /// The username now.
    pub username: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// The username before the latest rename.
    pub former: Option<String>,
    /// [`MEMBER_ONLINE`], [`MEMBER_TEACHER`], [`MEMBER_REMOVED`].
    pub flags: u8,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member({} v{} flags {})", self.user, self.version, self.flags)
    }
}

/// [`Member::flags`]: has a session.
pub const MEMBER_ONLINE: u8 = 1;
/// [`Member::flags`]: is a teacher.
pub const MEMBER_TEACHER: u8 = 2;
/// [`Member::flags`]: may not sign in any more.
pub const MEMBER_REMOVED: u8 = 4;

/// [`Tip::status`]: all is well.
pub const TIP_STORING: u8 = 0;
/// [`Tip::status`]: the server's disk is full or failing.
pub const TIP_NOT_STORING: u8 = 1;

/// [`Welcome::flags`]: the room is sealed.
pub const WELCOME_SEALED: u8 = 1;
/// [`Welcome::flags`]: the server writes a key log.
pub const WELCOME_KEY_LOG: u8 = 2;

/// Why a submission is refused for good (proto.md, section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SubmitRefusal {
    /// The text is empty.
    Empty = 1,
    /// The text is longer than 4,096 bytes.
    TooLong = 2,
    /// A recipient is not a member.
    NoSuchMember = 3,
    /// There is no such room.
    NoSuchRoom = 4,
    /// More than 32 recipients, or none.
    TooManyRecipients = 5,
    /// The parts do not fit together.
    Parts = 6,
}

impl SubmitRefusal {
    /// The refusal of a code, if it is assigned.
    pub fn from_code(code: u8) -> Option<SubmitRefusal> {
        use SubmitRefusal::*;
        [Empty, TooLong, NoSuchMember, NoSuchRoom, TooManyRecipients, Parts]
            .into_iter()
            .find(|refusal| *refusal as u8 == code)
    }
}

/// Why a session ends (proto.md, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ByeReason {
    /// The sender leaves.
    Left = 0,
    /// The server is closing.
    Closing = 1,
    /// The account's sessions were revoked: sign in again.
    Revoked = 2,
    /// The account was removed.
    Removed = 3,
    /// The account has too many sessions: the most silent one ends.
    TooMany = 4,
}

impl ByeReason {
    /// The reason of a code; an unknown one counts as [`ByeReason::Left`].
    pub fn from_code(code: u8) -> ByeReason {
        match code {
            1 => ByeReason::Closing,
            2 => ByeReason::Revoked,
            3 => ByeReason::Removed,
            4 => ByeReason::TooMany,
            _ => ByeReason::Left,
        }
    }
}

/// What a tip signs, with the signature: what a client keeps and presents in attach (proto.md, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedTip {
    /// Whose log.
    pub room: RoomId,
    /// The epoch.
    pub epoch: Epoch,
    /// Its head then.
    pub head: Seq,
    /// Hash of the page that ends there.
    pub hash: PageHash,
    /// The server's.
    pub signature: [u8; 64],
}

impl SignedTip {
    /// The length of its bytes.
    pub const LEN: usize = 144;

    /// As kept and as presented.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.room.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.head.0.to_be_bytes());
        bytes[16..48].copy_from_slice(&self.hash);
        bytes[80..].copy_from_slice(&self.signature);
        bytes
    }

    /// Reads what [`SignedTip::to_bytes`] wrote; the signature is not verified here.
    pub fn from_bytes(bytes: &[u8]) -> Option<SignedTip> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        Some(SignedTip {
            room: RoomId(u32::from_be_bytes(bytes[..4].try_into().ok()?)),
            epoch: Epoch(u32::from_be_bytes(bytes[4..8].try_into().ok()?)),
            head: Seq(u64::from_be_bytes(bytes[8..16].try_into().ok()?)),
            hash: bytes[16..48].try_into().ok()?,
            signature: bytes[80..].try_into().ok()?,
        })
    }
}

impl Frame {
    /// How it travels in a room that is sealed or not (proto.md, section 5).
    pub fn travels(&self, sealed_room: bool) -> Protection {
        match self.protection() {
            Protection::Readable if sealed_room && !matches!(self, Frame::Page(_) | Frame::Tip(_)) => {
                Protection::Sealed
            }
            protection => protection,
        }
    }

    /// Reads the body of a datagram: all its frames, each of which must travel as the datagram did. Whether the room is
    /// sealed decides about R kinds; before a client knows (None), both are let through.
    ///
    /// # Errors
    /// The first fault found; nothing of such a body may be acted on.
    pub fn take_all(mut body: &[u8], came: Protection, sealed_room: Option<bool>) -> Result<Vec<Frame>, Malformed> {
        let mut frames = Vec::with_capacity(2);
        while !body.is_empty() {
            let frame = Frame::take(&mut body)?;
            let allowed = match sealed_room {
                Some(sealed) => frame.travels(sealed) == came,
                None => frame.travels(false) == came || frame.travels(true) == came,
            };
            if !allowed {
                return Err(Malformed::Protection);
            }
            frames.push(frame);
        }
        Ok(frames)
    }

    fn within_bounds(&self) -> bool {
        let part =
            |part: u8, parts: u8, text: &str| part < parts && usize::from(parts) <= PARTS && text.len() <= PART_TEXT;
        match self {
            Frame::Page(page) => {
                page.count > 0
                    && (1..=NUMBER).contains(&page.first.0)
                    && page.blob.len() <= DATAGRAM
                    && no_overflow(page.first, page.count)
            }
            Frame::Ack(Ack { upto, ranges, .. })
            | Frame::RosterAck(RosterAck { upto, ranges, .. })
            | Frame::LettersAck(LettersAck { upto, ranges, .. }) => ranges_ordered(*upto, ranges),
            Frame::Tip(tip) => tip.head.0 <= NUMBER && tip.roster.0 <= NUMBER,
            Frame::Welcome(welcome) => {
                let seqs = [welcome.since, welcome.head, welcome.inbox_head, welcome.inbox_from];
                let counted = welcome.decided.0 <= NUMBER && welcome.roster.0 <= NUMBER;
                counted && seqs.iter().all(|seq| seq.0 <= NUMBER)
            }
            Frame::Roster(roster) => {
                roster.after <= roster.upto && roster.upto.0 <= NUMBER && roster.members.len() <= LIST
            }
            Frame::Say(say) => (1..=NUMBER).contains(&say.n.0) && part(say.part, say.parts, &say.text),
            Frame::Stored(stored) => stored.items.len() <= LIST,
            Frame::Receipt(receipt) => receipt.items.len() <= LIST,
            Frame::Want(want) => want.first.0 > 0 && want.last.0 <= NUMBER && want.first <= want.last,
            Frame::Tell(tell) => {
                (1..=NUMBER).contains(&tell.n.0)
                    && tell.to.len() <= RECIPIENTS
                    && part(tell.part, tell.parts, &tell.text)
            }
            Frame::Told(told) => told.items.len() <= LIST,
            Frame::Letters(letters) => (1..=NUMBER).contains(&letters.first.0) && letters.entries.len() <= DATAGRAM,
            Frame::LettersWant(want) => want.first.0 > 0 && want.last.0 <= NUMBER && want.first <= want.last,
            Frame::LettersReceipt(receipt) => receipt.items.len() <= LIST,
            Frame::Reply(reply) => {
                reply.index < reply.total && usize::from(reply.total) <= CHUNKS && reply.body.len() <= CHUNK
            }
            _ => true,
        }
    }
}

fn no_overflow(first: Seq, count: u16) -> bool {
    first.0.checked_add(u64::from(count)).is_some()
}

/// Ascending, disjoint, above `upto + 1`, each first ≤ last, at most 16.
fn ranges_ordered(upto: u64, ranges: &[Range]) -> bool {
    let mut below = upto;
    ranges.len() <= ACK_RANGES
        && ranges.iter().all(|&(first, last)| {
            let ordered = below.checked_add(1).is_some_and(|next| first > next) && first <= last;
            below = last;
            ordered
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One frame of every kind.
    pub(crate) fn specimens() -> Vec<Frame> {
        let instance = Instance(0x1122_3344_5566_7788);
        let member = Member {
            user: UserId(3),
            version: Version(9),
            username: "zoé".into(),
            first_name: "Zoé".into(),
            last_name: "Lambert".into(),
            former: Some("zo".into()),
            flags: MEMBER_ONLINE,
        };
        vec![
            Page {
                room: RoomId::MAIN,
                epoch: Epoch(1),
                first: Seq(42),
                count: 2,
                key: 0,
                blob: ByteBuf::from([7; 130]),
            }
            .into(),
            Tip {
                room: RoomId::MAIN,
                epoch: Epoch(1),
                head: Seq(43),
                hash: ByteArray::new([1; 32]),
                signature: ByteArray::new([2; 64]),
                boot: Boot(5),
                roster: Version(9),
                status: TIP_STORING,
            }
            .into(),
            Ack { room: RoomId::MAIN, epoch: Epoch(1), upto: 42, delay_us: 900, ranges: vec![(44, 45)] }.into(),
            Roster { boot: Boot(5), after: Version(0), upto: Version(9), members: vec![member] }.into(),
            RosterAck { boot: Boot(5), upto: 9, delay_us: 0, ranges: vec![] }.into(),
            Ping { nonce: 1 }.into(),
            Pong { nonce: 1 }.into(),
            Say { instance, n: Ordinal(1), room: RoomId::MAIN, part: 0, parts: 1, text: "salut".into() }.into(),
            Stored { instance, items: vec![StoredItem { n: Ordinal(1), room: RoomId::MAIN, seq: Seq(42), of: 3 }] }
                .into(),
            Receipt { room: RoomId::MAIN, version: 4, items: vec![ReceiptItem { seq: Seq(42), received: 2, of: 3 }] }
                .into(),
            ReceiptAck { room: RoomId::MAIN, version: 4 }.into(),
            Want { room: RoomId::MAIN, first: Seq(1), last: Seq(40) }.into(),
            Welcome {
                user: UserId(3),
                username: "zoé".into(),
                name: "Salle 12".into(),
                epoch: Epoch(1),
                since: Seq(0),
                head: Seq(43),
                inbox_head: Seq(2),
                inbox_from: Seq(1),
                boot: Boot(5),
                roster: Version(9),
                decided: Ordinal(1),
                flags: WELCOME_KEY_LOG,
                key: 0,
                room_key: None,
            }
            .into(),
            Tell { instance, n: Ordinal(2), to: vec![UserId(4)], part: 0, parts: 1, text: "psst".into() }.into(),
            Told {
                instance,
                items: vec![ToldItem { n: Ordinal(2), seq: Seq(2), to: vec![UserId(4)], absent: vec![UserId(4)] }],
            }
            .into(),
            Letters { epoch: Epoch(1), first: Seq(2), entries: ByteBuf::from([1, 2, 3]) }.into(),
            LettersAck { epoch: Epoch(1), upto: 2, delay_us: 10, ranges: vec![] }.into(),
            LettersWant { first: Seq(1), last: Seq(2) }.into(),
            LettersReceipt { version: 1, items: vec![ReceiptItem { seq: Seq(2), received: 0, of: 1 }] }.into(),
            LettersReceiptAck { version: 1 }.into(),
            Refused { instance, n: Ordinal(3), code: SubmitRefusal::NoSuchMember as u8 }.into(),
            Slow { wait_ms: 50 }.into(),
            Call { id: CallId(1), have: 0, body: ByteBuf::from([0x91, 6]) }.into(),
            Reply { id: CallId(1), index: 0, total: 1, body: ByteBuf::from([0x91, 0]) }.into(),
            Bye { reason: ByeReason::Closing as u8 }.into(),
            TokenAck {}.into(),
            Token { token: ByteArray::new([8; 32]), lifetime_s: 43_200, device: ByteArray::new([9; 32]) }.into(),
        ]
    }

    #[test]
    fn every_frame_comes_back_as_it_was_written() {
        for frame in specimens() {
            let mut bytes = Vec::new();
            frame.put(&mut bytes);
            let came = frame.protection();
            assert_eq!(Frame::take_all(&bytes, came, Some(false)).unwrap(), std::slice::from_ref(&frame));
            for cut in 1..bytes.len() {
                assert!(Frame::take_all(&bytes[..cut], came, Some(false)).is_err(), "{frame:?} truncated at {cut}");
            }
            bytes.push(0xc1);
            assert!(Frame::take_all(&bytes, came, Some(false)).is_err(), "{frame:?} with a trailing byte");
        }
    }

    #[test]
    fn a_frame_that_travels_otherwise_is_refused() {
        for frame in specimens() {
            let mut bytes = Vec::new();
            frame.put(&mut bytes);
            for sealed_room in [false, true] {
                for came in [Protection::Readable, Protection::Sealed, Protection::Credential] {
                    let taken = Frame::take_all(&bytes, came, Some(sealed_room));
                    assert_eq!(taken.is_ok(), frame.travels(sealed_room) == came, "{frame:?} {came:?} {sealed_room}");
                }
            }
        }
    }

    #[test]
    fn frames_of_one_body_are_read_in_order() {
        let mut bytes = Vec::new();
        Frame::from(Ping { nonce: 1 }).put(&mut bytes);
        Frame::from(Pong { nonce: 2 }).put(&mut bytes);
        let frames = Frame::take_all(&bytes, Protection::Readable, Some(false)).unwrap();
        assert_eq!(frames, [Ping { nonce: 1 }.into(), Pong { nonce: 2 }.into()]);
    }

    #[test]
    fn ranges_out_of_order_are_refused() {
        let ack = |upto, ranges: &[Range]| {
            let mut bytes = Vec::new();
            Frame::from(Ack { room: RoomId::MAIN, epoch: Epoch(1), upto, delay_us: 0, ranges: ranges.to_vec() })
                .put(&mut bytes);
            Frame::take_all(&bytes, Protection::Readable, Some(false)).is_ok()
        };
        assert!(ack(5, &[(7, 7), (9, 12)]));
        assert!(!ack(5, &[(6, 7)]), "touches upto");
        assert!(!ack(5, &[(9, 7)]), "inverted");
        assert!(!ack(5, &[(9, 12), (7, 7)]), "descending");
        assert!(!ack(5, &[(7, 9), (9, 12)]), "overlapping");
        assert!(!ack(u64::MAX, &[(7, 9)]), "beyond everything");
        assert!(!ack(0, &(1..=17).map(|i| (i * 10, i * 10)).collect::<Vec<_>>()), "too many");
    }

    #[test]
    fn claimed_lengths_and_nesting_are_not_believed() {
        let huge_bin = [0x2a, 0x93, 1, 0, 0xc6, 0xff, 0xff, 0xff, 0xff];
        let huge_list = [0x03, 0x95, 1, 1, 0, 0, 0xdd, 0xff, 0xff, 0xff, 0xff];
        let mut nested = vec![0x03, 0x95, 1, 1, 0, 0];
        nested.extend([0x91; 1000]);
        for bytes in [&huge_bin[..], &huge_list, &nested] {
            assert!(Frame::take(&mut &*bytes).is_err());
        }
    }

    #[test]
    fn a_signed_tip_comes_back_as_it_was_kept() {
        let tip = SignedTip { room: RoomId::MAIN, epoch: Epoch(2), head: Seq(77), hash: [3; 32], signature: [4; 64] };
        assert_eq!(SignedTip::from_bytes(&tip.to_bytes()), Some(tip));
        assert_eq!(SignedTip::from_bytes(&[0; 143]), None);
    }
}
