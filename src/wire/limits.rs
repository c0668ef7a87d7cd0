//! The bounds of proto.md, section 13: what may grow, and how far.

use std::time::Duration;

/// The server's UDP port unless told otherwise.
pub const SERVER_PORT: u16 = 26262;
/// A datagram, header and tag included, in bytes: passes any LAN, VPN and Wi-Fi unfragmented.
pub const DATAGRAM: usize = 1200;
/// The header of every datagram, in bytes.
pub const HEADER: usize = 15;
/// A ChaCha20-Poly1305 tag, in bytes.
pub const TAG: usize = 16;
/// The plaintext of a sealed datagram, the body of a readable one, in bytes.
pub const BODY: usize = DATAGRAM - HEADER - TAG;
/// A hello, in bytes: no answer before the cookie is larger.
pub const HELLO: usize = 512;
/// A cookie, in bytes.
pub const COOKIE: usize = 24;
/// How long a cookie is good.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(30);
/// The entries of a page or of a letters frame, in bytes.
pub const PAGE_ENTRIES: usize = 1024;
/// Bytes of text in one entry or one part of a submission.
pub const PART_TEXT: usize = 800;
/// Parts of one text.
pub const PARTS: usize = 6;
/// Bytes of UTF-8 in one text.
pub const TEXT: usize = 4096;
/// Recipients of a private message: their ids and a part of text fit one datagram.
pub const RECIPIENTS: usize = 32;
/// Elements of a list in a frame.
pub const LIST: usize = 64;
/// Ranges in an ack.
pub const ACK_RANGES: usize = 16;
/// Unacknowledged pages, letters frames or roster frames a session and log: 300 KB, a default socket buffer.
pub const IN_FLIGHT: usize = 256;
/// Submissions a client has undecided at a time.
pub const UNDECIDED_SENT: u64 = 32;
/// The highest number, seq or version anything honest comes to: a store's integers hold it, and adding never overflows.
pub const NUMBER: u64 = 1 << 53;
/// Submissions a server keeps beyond the last decided one.
pub const UNDECIDED_KEPT: u64 = 64;
/// Entries one want may name.
pub const WANT_ENTRIES: u64 = 4096;
/// Pages sent for one want.
pub const WANT_PAGES: usize = 64;
/// Bytes of a reply's chunk.
pub const CHUNK: usize = 1000;
/// Chunks of a reply: one bit each in `have`.
pub const CHUNKS: usize = 64;
/// Bytes of a call's body.
pub const CALL: usize = 1000;
/// Messages one call may ask for.
pub const CALL_MESSAGES: usize = 200;
/// Calls whose answer is remembered, a session.
pub const CALLS_REMEMBERED: usize = 8;
/// The replay window, in counters.
pub const REPLAY_WINDOW: u64 = 2048;
/// Sessions a server holds.
pub const SESSIONS: usize = 4096;
/// Sessions of one account.
pub const SESSIONS_PER_ACCOUNT: usize = 16;
/// Handshakes between initiate and confirm.
pub const HANDSHAKES: usize = 1024;
/// How long a handshake may take.
pub const HANDSHAKE_LIFETIME: Duration = Duration::from_secs(10);
/// Initiates that wait to be computed, in all.
pub const INITIATES: usize = 256;
/// Initiates that wait, from one address.
pub const INITIATES_PER_ADDRESS: usize = 64;
/// Characters of a room's display name.
pub const ROOM_NAME: usize = 64;
/// Characters of a first or last name.
pub const PERSON_NAME: usize = 64;
/// Characters of a username.
pub const USERNAME: std::ops::RangeInclusive<usize> = 2..=32;
/// How long a resume token is good.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Silence after which a server ends a session.
pub const SESSION_SILENCE: Duration = Duration::from_secs(15);
/// The longest an ack waits for data to ride with.
pub const ACK_DELAY: Duration = Duration::from_millis(25);
/// Pages after which an ack leaves at once.
pub const ACK_EVERY: u32 = 64;
