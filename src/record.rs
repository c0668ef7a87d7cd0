//! What outlives a process: the words that the server's and the client's cores share with their stores.
//!
//! A core emits a [`Batch`] or [`Keep`] and goes on when it is told that the store has it on disk; it asks by
//! [`Fetch`] for what it does not hold. Nothing here knows SQLite, and nothing here is on the wire.

use std::fmt;

use crate::id::{Epoch, Instance, Ordinal, RoomId, Seq, UserId};
use crate::now::WallMs;

/// SHA-256 of a token or of a device secret: what the store keeps in their place.
pub type SecretHash = [u8; 32];

/// SHA-256 that links a page to the page before it (proto.md, Pages).
pub type PageHash = [u8; 32];

/// What a member may do beyond chatting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Chats.
    #[default]
    Member,
    /// Also issues reset codes, removes members, closes registration.
    Teacher,
}

/// One OPAQUE registration (RFC 9807, 4.1): a password's, or a one-use code's.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// OPAQUE's `credential_identifier`: random for each record, so that renaming changes nothing.
    pub identifier: [u8; 16],
    /// The serialized `RegistrationRecord`, 192 bytes.
    pub upload: Vec<u8>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({} bytes)", self.upload.len())
    }
}

/// Which of an account's credentials a sign-in or a replacement proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// The password.
    Password,
    /// The recovery code given at registration (100 bits, one use).
    Recovery,
    /// A reset code issued by a teacher (50 bits, one use, expires).
    Reset,
}

/// An account, as the server holds it in memory. `Debug` shows no personal name.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// What history refers to.
    pub id: UserId,
    /// NFC, 2–32 characters (proto.md, Names).
    pub username: String,
    /// The username folded for case and confusables: unique over all accounts and for all time.
    pub name_key: String,
    /// First name, as given.
    pub first_name: String,
    /// Last name, as given.
    pub last_name: String,
    /// The username before the latest rename.
    pub former: Option<String>,
    /// Member or teacher.
    pub role: Role,
    /// Removed by a teacher: cannot sign in; history keeps the name.
    pub removed: bool,
    /// How often its sessions were ended: a session that began before the latest time has no right any more.
    pub revocations: u64,
    /// The password's record.
    pub password: Credential,
    /// The recovery code's record; a used one is replaced by the next code's.
    pub recovery: Option<Credential>,
    /// A reset code's record and when it expires.
    pub reset: Option<(Credential, WallMs)>,
    /// Highest seq of the account's inbox; 0 while it is empty.
    pub inbox_head: Seq,
    /// Highest inbox seq up to which some device acknowledged everything: where a new device starts.
    pub inbox_received: Seq,
    /// Devices that signed in before, newest last, at most [`MAX_DEVICES`].
    pub devices: Vec<SecretHash>,
}

/// Account ids left out when a new epoch begins: accounts made in the lost part of the history had ids that other
/// clients may still write to.
pub const USER_STEP: u32 = 1 << 20;

/// Devices remembered for an account: a school year's worth; the oldest is forgotten.
pub const MAX_DEVICES: usize = 16;

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({}{})", self.id, if self.removed { ", removed" } else { "" })
    }
}

/// Resume tokens kept for an account: as many as it may have sessions (proto.md, Bounds); the first to expire goes.
pub const MAX_TOKENS: usize = 16;

/// A resume token, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the 32 random bytes the client holds.
    pub hash: SecretHash,
    /// Whose.
    pub user: UserId,
    /// When it ends.
    pub expires: WallMs,
}

/// A page of a room: entries committed together (proto.md, Pages). Kept as it was signed.
#[derive(Clone, PartialEq, Eq)]
pub struct PageRecord {
    /// Whose log.
    pub room: RoomId,
    /// The epoch it was signed in.
    pub epoch: Epoch,
    /// Seq of its first entry.
    pub first: Seq,
    /// How many entries.
    pub count: u16,
    /// This page's own hash, which the next page names.
    pub hash: PageHash,
    /// Hash of the page before, signature, entries: the `blob` of a page frame whose key is 0.
    pub blob: Vec<u8>,
}

impl PageRecord {
    /// Seq of its last entry.
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count) - 1)
    }
}

impl fmt::Debug for PageRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageRecord({}, {}..={}, {} bytes)", self.room, self.first, self.last(), self.blob.len())
    }
}

/// Which submission made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Whose outbox.
    pub instance: Instance,
    /// Its number there.
    pub n: Ordinal,
}

/// A message of a room, for search, history by words and answers to resends. Its bytes for the wire are in a
/// [`PageRecord`]; a long text occupies several entries and bears the last one's seq.
#[derive(Clone, PartialEq, Eq)]
pub struct RoomMessage {
    /// Which room.
    pub room: RoomId,
    /// Seq of its last entry.
    pub seq: Seq,
    /// Who wrote it.
    pub author: UserId,
    /// When it was committed; never decreases along a log.
    pub time: WallMs,
    /// The whole text.
    pub text: String,
    /// The submission it came by.
    pub origin: Origin,
    /// How many other members were online when it was stored.
    pub of: u32,
}

impl fmt::Debug for RoomMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomMessage({} #{}, by {}, {} bytes)", self.room, self.seq, self.author, self.text.len())
    }
}

/// A private message: its body once, and where it stands in each inbox concerned, its author's included.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// Who wrote it.
    pub author: UserId,
    /// To whom; the author is among them only when they wrote to themself.
    pub to: Vec<UserId>,
    /// When it was committed.
    pub time: WallMs,
    /// The whole text.
    pub text: String,
    /// The submission it came by.
    pub origin: Origin,
    /// For each inbox concerned (each once), the seq of its last entry there.
    pub places: Vec<(UserId, Seq)>,
    /// How many consecutive entries it takes in each inbox.
    pub entries: u8,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter(by {}, {} inboxes, {} bytes)", self.author, self.places.len(), self.text.len())
    }
}

/// One durable change of the server. A batch is applied whole or not at all, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new account. Its `devices`, `inbox_head` and `inbox_received` are empty and zero.
    Register(Box<Account>),
    /// A new username; the old one stays taken for ever.
    Rename {
        /// Whose.
        user: UserId,
        /// The new one.
        username: String,
        /// The new one, folded.
        name_key: String,
    },
    /// A proven password, recovery or reset code put new credentials in place: revokes the account's tokens; the
    /// reset code, if any, is gone too.
    Replace {
        /// Whose.
        user: UserId,
        /// The new password's record.
        password: Credential,
        /// The new recovery code's record; None keeps the one there is.
        recovery: Option<Credential>,
    },
    /// A reset code issued by a teacher.
    Reset {
        /// Whose.
        user: UserId,
        /// Its record.
        code: Credential,
        /// When it expires.
        expires: WallMs,
    },
    /// A resume token; the first to expire goes when the account has more than [`MAX_TOKENS`].
    Token(Token),
    /// A device that signed in, which makes it the newest; the oldest goes when there are more than [`MAX_DEVICES`].
    Device(UserId, SecretHash),
    /// All tokens of an account end.
    RevokeTokens(UserId),
    /// One token ends (sign-out).
    RevokeToken(SecretHash),
    /// A role given or taken.
    Role(UserId, Role),
    /// The account may not sign in any more; its tokens end.
    Remove(UserId),
    /// Registration is open or closed.
    RegistrationOpen(bool),
    /// A page of a room.
    Page(PageRecord),
    /// A message of that page.
    Message(RoomMessage),
    /// A private message.
    Letter(Letter),
    /// A submission refused for good: it consumes its number.
    Refused {
        /// The submission.
        origin: Origin,
        /// Whose instance it is.
        author: UserId,
        /// Why (proto.md, Refusals).
        code: u8,
    },
    /// Some device of the account has everything in its inbox up to here.
    InboxReceived(UserId, Seq),
    /// A new epoch begins after `since`.
    Epoch {
        /// The new one.
        epoch: Epoch,
        /// The room's head when it began.
        since: Seq,
    },
}

/// Changes committed in one transaction (group commit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch(pub Vec<Op>);

/// What happened to a batch.
#[derive(Clone, Debug)]
pub enum Stored {
    /// It is on disk (fsynced).
    Done,
    /// It is not, or nobody can say. `loaded` is what the store holds now, read afresh.
    Failed {
        /// In words, for members and logs.
        reason: String,
        /// None when even reading failed: the core keeps what it has and tries again later.
        loaded: Option<Box<Loaded>>,
    },
}

/// The server's state as the store holds it: read at start, after a failed commit, and when another process
/// (`preau admin`) changed it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// All accounts, removed ones too, by id.
    pub accounts: Vec<Account>,
    /// Every folded name ever taken, and by whom.
    pub taken: Vec<(String, UserId)>,
    /// Tokens, at most [`MAX_TOKENS`] an account. The store has no clock: expired ones are among them.
    pub tokens: Vec<Token>,
    /// Every epoch and the room's head when it began, the current one last.
    pub epochs: Vec<(Epoch, Seq)>,
    /// The newest pages of each room, oldest first, at most [`LOADED_PAGES`] a room.
    pub pages: Vec<PageRecord>,
    /// When the newest letter was committed: a clock that is set back dates no later one before it.
    pub newest_letter: WallMs,
    /// For each instance that ever submitted: whose it is, and its last decided number.
    pub instances: Vec<(Instance, UserId, Ordinal)>,
    /// Whether newcomers may register.
    pub registration_open: bool,
    /// The next account's id is at least this.
    pub next_user: UserId,
}

/// Pages read at start: what members who come back within minutes lack, and about a megabyte.
pub const LOADED_PAGES: usize = 1024;

/// What became of a submission that was decided before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// In the room.
    Room {
        /// Which.
        room: RoomId,
        /// The seq of its last entry.
        seq: Seq,
        /// Other members online when it was stored.
        of: u32,
    },
    /// In inboxes; the seq is the author's.
    Inbox {
        /// The seq of its last entry in its author's inbox.
        seq: Seq,
        /// To whom it went.
        to: Vec<UserId>,
    },
    /// Refused for good.
    Refused {
        /// Why (proto.md, Refusals).
        code: u8,
    },
}

/// A question to the store's reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The pages that hold `first..=last`, oldest first, at most `limit`.
    Pages {
        /// Which room.
        room: RoomId,
        /// From this entry's page.
        first: Seq,
        /// To this entry's page.
        last: Seq,
        /// At most so many.
        limit: usize,
    },
    /// The letters of one inbox whose entries meet `first..=last`, oldest first, at most `limit`.
    Letters {
        /// Whose inbox.
        user: UserId,
        /// From.
        first: Seq,
        /// To.
        last: Seq,
        /// At most so many.
        limit: usize,
    },
    /// What became of an instance's submissions `from..`, at most `limit`, in order.
    Decided {
        /// Whose outbox.
        instance: Instance,
        /// From this number.
        from: Ordinal,
        /// At most so many.
        limit: usize,
    },
    /// The room's newest messages before a seq (exclusive), newest last.
    RoomHistory {
        /// Which room.
        room: RoomId,
        /// Before this one; None from the newest.
        before: Option<Seq>,
        /// At most so many.
        limit: usize,
    },
    /// A member's newest private messages, only those with `with` if given, newest last.
    InboxHistory {
        /// Whose inbox.
        user: UserId,
        /// The other side.
        with: Option<UserId>,
        /// Before this one; None from the newest.
        before: Option<Seq>,
        /// At most so many.
        limit: usize,
    },
    /// The newest messages that hold all the words, in the room and in the member's own inbox, oldest first.
    Search {
        /// Who asks: only their own inbox is read.
        user: UserId,
        /// As typed; taken as plain words, never as query syntax.
        words: String,
        /// At most so many.
        limit: usize,
    },
}

/// A message found by history or search.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// None: the asker's inbox.
    pub room: Option<RoomId>,
    /// Seq of its last entry in that log.
    pub seq: Seq,
    /// Who wrote it.
    pub author: UserId,
    /// To whom, where private.
    pub to: Vec<UserId>,
    /// When.
    pub time: WallMs,
    /// The whole text.
    pub text: String,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Found(#{}, {} bytes)", self.seq, self.text.len())
    }
}

/// The answer to a [`Fetch`], of the kind that was asked.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// To [`Fetch::Pages`].
    Pages(Vec<PageRecord>),
    /// To [`Fetch::Letters`].
    Letters(Vec<Letter>),
    /// To [`Fetch::Decided`].
    Decided(Vec<(Ordinal, Decided)>),
    /// To the histories and the search.
    Found(Vec<Found>),
    /// It could not be read, in words.
    Failed(String),
}

/// One durable change of a client's profile. Kept in order; a batch is applied whole.
#[derive(Clone, PartialEq, Eq)]
pub enum Keep {
    /// The room's pin was confirmed by a person, or trusted at first use.
    Pin([u8; 32]),
    /// A message to send: on disk before its first datagram leaves, so that its number never names another text.
    Queue(Queued),
    /// A submission was decided: its row goes.
    Settle(Ordinal),
    /// Everything in the room up to here was shown; the hash is that of the page it ends.
    RoomCursor {
        /// Epoch of that page.
        epoch: Epoch,
        /// Its last seq.
        seq: Seq,
    },
    /// The newest signed tip seen: what proves to a restored server that it is older.
    Tip(Vec<u8>),
    /// Everything in one's inbox up to here was shown.
    InboxCursor {
        /// Epoch.
        epoch: Epoch,
        /// Seq.
        seq: Seq,
    },
    /// A resume token and when it ends; None forgets it.
    Token(Option<([u8; 32], WallMs)>),
    /// The device secret.
    Device([u8; 32]),
    /// The account that signed in.
    User {
        /// Its id.
        id: UserId,
        /// Its name now.
        username: String,
    },
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::Pin(_) => f.write_str("Pin"),
            Keep::Queue(queued) => write!(f, "Queue({}, {} bytes)", queued.n, queued.text.len()),
            Keep::Settle(n) => write!(f, "Settle({n})"),
            Keep::RoomCursor { epoch, seq } => write!(f, "RoomCursor({epoch}, {seq})"),
            Keep::Tip(_) => f.write_str("Tip"),
            Keep::InboxCursor { epoch, seq } => write!(f, "InboxCursor({epoch}, {seq})"),
            Keep::Token(token) => write!(f, "Token({})", if token.is_some() { "kept" } else { "forgotten" }),
            Keep::Device(_) => f.write_str("Device"),
            Keep::User { id, .. } => write!(f, "User({id})"),
        }
    }
}

/// A message waiting in the outbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its number.
    pub n: Ordinal,
    /// To whom; empty: to everybody.
    pub to: Vec<UserId>,
    /// The whole text.
    pub text: String,
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queued({}, to {}, {} bytes)", self.n, self.to.len(), self.text.len())
    }
}

/// A profile as it was kept: what a client starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Kept with the outbox; random when the profile was made.
    pub instance: Instance,
    /// The number of the next submission: greater than any ever used by this instance.
    pub next: Ordinal,
    /// What waits, in order.
    pub outbox: Vec<Queued>,
    /// The room's pin, once trusted.
    pub pin: Option<[u8; 32]>,
    /// Where the room was read to; None in a fresh profile.
    pub room_cursor: Option<(Epoch, Seq)>,
    /// Where the inbox was read to; None in a fresh profile.
    pub inbox_cursor: Option<(Epoch, Seq)>,
    /// The newest signed tip seen.
    pub tip: Option<Vec<u8>>,
    /// A resume token and when it ends.
    pub token: Option<([u8; 32], WallMs)>,
    /// The device secret.
    pub device: Option<[u8; 32]>,
    /// The account that used it.
    pub user: Option<(UserId, String)>,
}

impl Profile {
    /// A profile that was never used: nothing sent, nobody trusted, nothing read.
    pub fn fresh(instance: Instance) -> Profile {
        Profile {
            instance,
            next: Ordinal(1),
            outbox: Vec::new(),
            pin: None,
            room_cursor: None,
            inbox_cursor: None,
            tip: None,
            token: None,
            device: None,
            user: None,
        }
    }
}
