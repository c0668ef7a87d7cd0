//! The 15 bytes every datagram begins with (proto.md, section 2).

use super::Malformed;
use super::limits::{DATAGRAM, HEADER, HELLO, TAG};
use crate::id::SessionIndex;

/// Magic (12 bits) and version (4 bits).
pub const MAGIC_VERSION: [u8; 2] = [0xd5, 0xe1];

/// What a datagram is; it alone states how it is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Type {
    /// Client: who is there? Padded, unprotected.
    Hello = 0x01,
    /// Server: a cookie and the public keys. Unprotected.
    Retry = 0x02,
    /// Client: cookie and Noise message 1.
    Initiate = 0x03,
    /// Server: Noise message 2.
    Respond = 0x04,
    /// Client: OPAQUE 3, uploads, attach; under the confirm key.
    Confirm = 0x05,
    /// Server: how it ended, where no session begins; under the confirm key.
    Outcome = 0x06,
    /// Frames for one member's eyes, under the session key.
    Sealed = 0x07,
    /// Frames anybody may read and nobody can forge, under the session key.
    Readable = 0x08,
    /// Tokens, under a key that is never logged.
    Credential = 0x09,
    /// Server: this session is not known here. Unprotected, and trusted for nothing.
    Hint = 0x0a,
}

impl Type {
    fn from_byte(byte: u8) -> Option<Type> {
        Some(match byte {
            0x01 => Type::Hello,
            0x02 => Type::Retry,
            0x03 => Type::Initiate,
            0x04 => Type::Respond,
            0x05 => Type::Confirm,
            0x06 => Type::Outcome,
            0x07 => Type::Sealed,
            0x08 => Type::Readable,
            0x09 => Type::Credential,
            0x0a => Type::Hint,
            _ => return None,
        })
    }

    /// Bytes after the header that a datagram of this type has at least.
    fn min_body(self) -> usize {
        match self {
            Type::Hello => HELLO - HEADER,
            Type::Retry => 1,
            Type::Initiate => super::limits::COOKIE + 32 + TAG,
            Type::Respond => 32 + TAG,
            Type::Confirm | Type::Outcome | Type::Sealed | Type::Readable | Type::Credential => TAG,
            Type::Hint => 0,
        }
    }

    /// Bytes after the header that a datagram of this type has at most.
    fn max_body(self) -> usize {
        match self {
            Type::Hello => HELLO - HEADER,
            Type::Retry => HELLO - HEADER,
            Type::Hint => 0,
            _ => DATAGRAM - HEADER,
        }
    }
}

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Type,
    /// Whose session; 0 before there is one.
    pub session: SessionIndex,
    /// The attempt while coming in, then the direction's counter.
    pub counter: u64,
}

impl Header {
    /// The header as it stands on the wire, which is also what a tag covers.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..2].copy_from_slice(&MAGIC_VERSION);
        bytes[2] = self.kind as u8;
        bytes[3..7].copy_from_slice(&self.session.0.to_be_bytes());
        bytes[7..15].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// Splits a datagram into its header and what follows it, and checks the length for its type.
    ///
    /// # Errors
    /// [`Malformed::Length`], [`Malformed::Magic`] or [`Malformed::Type`].
    pub fn split(datagram: &[u8]) -> Result<(Header, &[u8]), Malformed> {
        if datagram.len() > DATAGRAM {
            return Err(Malformed::Length);
        }
        let (head, rest) = datagram.split_first_chunk::<HEADER>().ok_or(Malformed::Length)?;
        let [m0, m1, kind, s0, s1, s2, s3, counter @ ..] = *head;
        if [m0, m1] != MAGIC_VERSION {
            return Err(Malformed::Magic);
        }
        let kind = Type::from_byte(kind).ok_or(Malformed::Type)?;
        if rest.len() < kind.min_body() || rest.len() > kind.max_body() {
            return Err(Malformed::Length);
        }
        let session = SessionIndex(u32::from_be_bytes([s0, s1, s2, s3]));
        Ok((Header { kind, session, counter: u64::from_be_bytes(counter) }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let header = Header { kind: Type::Readable, session: SessionIndex(0xdead_beef), counter: 7 << 40 };
        let mut datagram = header.to_bytes().to_vec();
        datagram.extend_from_slice(&[9; 20]);
        assert_eq!(Header::split(&datagram), Ok((header, &[9u8; 20][..])));
    }

    #[test]
    fn foreign_short_and_long_datagrams_are_named() {
        let good = Header { kind: Type::Hint, session: SessionIndex(1), counter: 0 }.to_bytes();
        assert!(Header::split(&good).is_ok());
        assert_eq!(Header::split(&good[..14]), Err(Malformed::Length));
        assert_eq!(Header::split(&[0xd5; 1201]), Err(Malformed::Length));
        let mut version_2 = good;
        version_2[1] = 0xe2;
        assert_eq!(Header::split(&version_2), Err(Malformed::Magic));
        let mut unknown = good;
        unknown[2] = 0x7f;
        assert_eq!(Header::split(&unknown), Err(Malformed::Type));
        let mut long_hint = good.to_vec();
        long_hint.push(0);
        assert_eq!(Header::split(&long_hint), Err(Malformed::Length));
    }
}
