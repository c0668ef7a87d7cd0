//! Protection of datagrams once keys are agreed (proto.md, section 2): sealed, readable, credential; counters; the
//! lines of a key log. Which frames may travel how is `wire::frame`'s.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::ZeroizeOnDrop;

use super::replay::{Place, Window};
use super::schedule::{Pair, Side};
use super::suite::{Suite, fill, mix};
use crate::id::SessionIndex;
use crate::wire::header::{Header, Type};
use crate::wire::limits::{DATAGRAM, HEADER, TAG};

/// One AEAD key, ready to use.
pub(super) enum Key {
    Real(Box<LessSafeKey>),
    Null(u64),
}

impl Key {
    pub(super) fn new(suite: Suite, key: &[u8; 32]) -> Key {
        match suite {
            Suite::Real => {
                let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the algorithm's 32 bytes");
                Key::Real(Box::new(LessSafeKey::new(key)))
            }
            Suite::Null => Key::Null(mix(&[key])),
        }
    }

    /// Encrypts `text` in place; `nonce` is the last 8 of its 12 bytes.
    pub(super) fn encrypt(&self, nonce: u64, aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
        match self {
            Key::Real(key) => {
                let sealed = key.seal_in_place_separate_tag(twelve(nonce), Aad::from(aad), text);
                let tag = sealed.expect("a datagram is far below the 256 GB an AEAD takes");
                tag.as_ref().try_into().expect("a tag has 16 bytes")
            }
            Key::Null(key) => null_tag(*key, nonce, aad),
        }
    }

    /// Decrypts `text`, which ends with its tag, in place. On a bad tag `text` is of no further use.
    pub(super) fn decrypt<'a>(&self, nonce: u64, aad: &[u8], text: &'a mut [u8]) -> Option<&'a mut [u8]> {
        match self {
            Key::Real(key) => key.open_in_place(twelve(nonce), Aad::from(aad), text).ok(),
            Key::Null(key) => {
                let (text, tag) = text.split_last_chunk_mut::<TAG>()?;
                (*tag == null_tag(*key, nonce, aad)).then_some(text)
            }
        }
    }

    /// Encrypts what follows the 15 bytes of header in `buf`, writes the header there and appends the tag.
    pub(super) fn seal_datagram(&self, header: Header, buf: &mut Vec<u8>) {
        let head = header.to_bytes();
        buf[..HEADER].copy_from_slice(&head);
        let tag = match header.kind {
            Type::Readable => self.encrypt(header.counter, readable_aad(self, buf), &mut []),
            _ => self.encrypt(header.counter, &head, &mut buf[HEADER..]),
        };
        buf.extend_from_slice(&tag);
        debug_assert!(buf.len() <= DATAGRAM, "a datagram of {} bytes", buf.len());
    }

    /// The body of a whole datagram, if its tag verifies.
    pub(super) fn open_datagram<'a>(&self, header: &Header, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        let body_end = datagram.len().checked_sub(TAG).filter(|end| *end >= HEADER)?;
        if header.kind == Type::Readable {
            let (text, tag) = datagram.split_at_mut(body_end);
            self.decrypt(header.counter, readable_aad(self, text), tag)?;
            return Some(&text[HEADER..]);
        }
        let (head, body) = datagram.split_at_mut(HEADER);
        self.decrypt(header.counter, head, body).map(|body| &*body)
    }
}

/// The null tag does not cover the body: nobody forges in a simulation, and hashing it would be half of a datagram's
/// cost there.
fn readable_aad<'a>(key: &Key, datagram: &'a [u8]) -> &'a [u8] {
    match key {
        Key::Real(_) => datagram,
        Key::Null(_) => &datagram[..HEADER],
    }
}

fn null_tag(key: u64, nonce: u64, aad: &[u8]) -> [u8; TAG] {
    fill(mix(&[&key.to_le_bytes(), &nonce.to_le_bytes(), aad]))
}

fn twelve(nonce: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&nonce.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// The keys of one session, on one side. Not `Clone`, and [`SessionKeys::split`] takes it: two protectors of one key
/// would use a counter twice.
#[derive(ZeroizeOnDrop)]
pub struct SessionKeys {
    #[zeroize(skip)]
    suite: Suite,
    #[zeroize(skip)]
    side: Side,
    #[zeroize(skip)]
    session: Pair,
    #[zeroize(skip)]
    credential: Pair,
}

impl SessionKeys {
    pub(super) fn new(suite: Suite, side: Side, session: Pair, credential: Pair) -> SessionKeys {
        SessionKeys { suite, side, session, credential }
    }

    /// What protects our datagrams and what opens theirs.
    pub fn split(self) -> (Protector, Opener) {
        let pair = |pair: &Pair| {
            let client = Key::new(self.suite, &pair.client_to_server);
            let server = Key::new(self.suite, &pair.server_to_client);
            match self.side {
                Side::Client => (client, server),
                Side::Server => (server, client),
            }
        };
        let (send, receive) = pair(&self.session);
        let (credential_send, credential_receive) = pair(&self.credential);
        (
            Protector { session: send, credential: credential_send, next: 1 },
            Opener { session: receive, credential: credential_receive, window: Window::default() },
        )
    }

    /// The session's line of a key log (proto.md, section 15), without a line end: the same on both sides. Credential
    /// keys are in no log.
    pub fn key_log_line(&self, index: SessionIndex) -> String {
        let (client, server) = (&self.session.client_to_server, &self.session.server_to_client);
        format!("SESSION {:08x} {} {}", index.0, hex(client), hex(server))
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKeys({:?})", self.side)
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Protects what one side of a session sends; owns its counter.
pub struct Protector {
    session: Key,
    credential: Key,
    next: u64,
}

impl Protector {
    /// Makes a datagram of `buf`, which holds [`HEADER`] bytes of anything, then the plaintext body: writes the
    /// header, encrypts or authenticates in place, appends the tag. Returns the counter it used.
    ///
    /// # Panics
    /// If `kind` is not sealed, readable or credential, or `buf` has no room for the header: mistakes of ours.
    pub fn seal(&mut self, kind: Type, session: SessionIndex, buf: &mut Vec<u8>) -> u64 {
        let counter = self.next;
        self.next += 1;
        let key = match kind {
            Type::Sealed | Type::Readable => &self.session,
            Type::Credential => &self.credential,
            other => panic!("{other:?} is not protected by session keys"),
        };
        key.seal_datagram(Header { kind, session, counter }, buf);
        counter
    }
}

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// Its counter was seen before.
    #[error("replayed")]
    Replayed,
    /// Its counter is before the window.
    #[error("too old")]
    TooOld,
    /// Its tag does not verify, or its type is not one that a session key protects.
    #[error("bad tag")]
    BadTag,
}

/// Opens what one side of a session receives; owns the replay window.
pub struct Opener {
    session: Key,
    credential: Key,
    window: Window,
}

impl Opener {
    /// The body of a datagram, in place; `header` is what [`Header::split`] read from it. The window moves only when
    /// the tag verifies.
    ///
    /// # Errors
    /// [`OpenError`]; no state has changed, but the bytes of the datagram may have.
    pub fn open<'a>(&mut self, header: &Header, datagram: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
        match self.window.place(header.counter) {
            Place::Fresh => {}
            Place::Replayed => return Err(OpenError::Replayed),
            Place::TooOld => return Err(OpenError::TooOld),
        }
        let key = match header.kind {
            Type::Sealed | Type::Readable => &self.session,
            Type::Credential => &self.credential,
            _ => return Err(OpenError::BadTag),
        };
        let body = key.open_datagram(header, datagram).ok_or(OpenError::BadTag)?;
        self.window.mark(header.counter);
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::schedule::Schedule;

    const INDEX: SessionIndex = SessionIndex(0xabcd_ef01);
    const KINDS: [Type; 3] = [Type::Sealed, Type::Readable, Type::Credential];

    fn sides(suite: Suite) -> (Protector, Opener) {
        let schedule = Schedule::new(suite, [1; 32], [2; 32], [3; 32]);
        let (protector, _) = schedule.session(Side::Client, &[4; 64]).split();
        let (_, opener) = schedule.session(Side::Server, &[4; 64]).split();
        (protector, opener)
    }

    fn seal(protector: &mut Protector, kind: Type, body: &[u8]) -> Vec<u8> {
        let mut datagram = [&[0xee; HEADER], body].concat();
        protector.seal(kind, INDEX, &mut datagram);
        datagram
    }

    fn open(opener: &mut Opener, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (header, _) = Header::split(datagram).unwrap();
        opener.open(&header, &mut datagram.to_vec()).map(<[u8]>::to_vec)
    }

    /// Computed by another implementation of RFC 8439.
    #[test]
    fn datagrams_are_protected_as_known() {
        let (mut protector, _) = sides(Suite::Real);
        let known = [
            "d5e107abcdef01000000000000000176cd3b994133439715c763171327c76c7000bef41378ae",
            "d5e108abcdef010000000000000002626f6e6a6f75722650d9da57599fa58c6f0099df0bafc6",
            "d5e109abcdef01000000000000000332b878691ad4d1b5527daa6ed1529afa7e11f3e8ce38e8",
        ];
        for (kind, known) in KINDS.into_iter().zip(known) {
            assert_eq!(hex(&seal(&mut protector, kind, b"bonjour")), known, "{kind:?}");
        }
    }

    #[test]
    fn a_body_comes_back_once_in_any_order() {
        for suite in [Suite::Real, Suite::Null] {
            let (mut protector, mut opener) = sides(suite);
            let datagrams: Vec<_> = KINDS.map(|kind| seal(&mut protector, kind, b"bonjour")).into();
            for datagram in datagrams.iter().rev() {
                assert_eq!(open(&mut opener, datagram).unwrap(), b"bonjour");
                assert_eq!(open(&mut opener, datagram), Err(OpenError::Replayed));
            }
            let empty = seal(&mut protector, Type::Readable, b"");
            assert_eq!(open(&mut opener, &empty).unwrap(), b"");
        }
    }

    #[test]
    fn flipped_bits_and_other_types_are_refused_and_do_not_move_the_window() {
        let (mut protector, mut opener) = sides(Suite::Real);
        for kind in KINDS {
            let datagram = seal(&mut protector, kind, b"bonjour");
            for bit in 3 * 8..datagram.len() * 8 {
                let mut flipped = datagram.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let (header, _) = Header::split(&flipped).unwrap();
                let refused = opener.open(&header, &mut flipped);
                assert!(refused.is_err(), "{kind:?}, bit {bit}");
            }
            for other in [Type::Sealed, Type::Readable, Type::Credential, Type::Confirm] {
                let mut disguised = datagram.clone();
                disguised[2] = other as u8;
                let (header, _) = Header::split(&disguised).unwrap();
                if other != kind {
                    assert_eq!(opener.open(&header, &mut disguised), Err(OpenError::BadTag), "{kind:?} as {other:?}");
                }
            }
            assert_eq!(open(&mut opener, &datagram).unwrap(), b"bonjour", "no forgery moved the window");
        }
    }

    #[test]
    fn another_key_session_or_side_is_noticed_in_both_suites() {
        for suite in [Suite::Real, Suite::Null] {
            let (mut protector, mut opener) = sides(suite);
            let mut stranger =
                Schedule::new(suite, [1; 32], [2; 32], [3; 32]).session(Side::Server, &[5; 64]).split().1;
            let (_, mut own) = Schedule::new(suite, [1; 32], [2; 32], [3; 32]).session(Side::Client, &[4; 64]).split();
            for kind in KINDS {
                let datagram = seal(&mut protector, kind, b"bonjour");
                assert_eq!(open(&mut stranger, &datagram), Err(OpenError::BadTag));
                assert_eq!(open(&mut own, &datagram), Err(OpenError::BadTag), "reflected");
                let mut moved = datagram.clone();
                moved[5] ^= 1;
                assert_eq!(open(&mut opener, &moved), Err(OpenError::BadTag));
                assert!(open(&mut opener, &datagram).is_ok());
            }
        }
    }

    #[test]
    fn a_datagram_too_short_for_a_tag_is_refused() {
        let (_, mut opener) = sides(Suite::Real);
        let header = Header { kind: Type::Readable, session: INDEX, counter: 1 };
        for length in 0..HEADER + TAG {
            assert_eq!(opener.open(&header, &mut vec![0; length]), Err(OpenError::BadTag));
        }
    }
}
