//! From Noise's split to the keys of datagrams (proto.md, section 3).

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::datagram::{Key, SessionKeys};
use super::suite::{Suite, fill, mix};

/// Which end of a conversation we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sends under the first key of each pair.
    Client,
    /// Sends under the second.
    Server,
}

/// What both sides hold after Noise message 2.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Schedule {
    #[zeroize(skip)]
    suite: Suite,
    k1: [u8; 32],
    k2: [u8; 32],
    h: [u8; 32],
}

/// The keys of one purpose, by direction.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Pair {
    pub(super) client_to_server: [u8; 32],
    pub(super) server_to_client: [u8; 32],
}

impl Schedule {
    /// From Noise's split (client to server, server to client) and handshake hash.
    pub fn new(suite: Suite, k1: [u8; 32], k2: [u8; 32], h: [u8; 32]) -> Schedule {
        Schedule { suite, k1, k2, h }
    }

    /// The keys of a session; `secret` is OPAQUE's session key or the token.
    pub fn session(&self, side: Side, secret: &[u8]) -> SessionKeys {
        let session = self.expand(secret, b"preau 1 session");
        let credential = self.expand(secret, b"preau 1 credential");
        SessionKeys::new(self.suite, side, session, credential)
    }

    /// The keys of confirm and outcome.
    pub(super) fn confirm(&self) -> (Key, Key) {
        let pair = self.expand(&[], b"preau 1 confirm");
        (Key::new(self.suite, &pair.client_to_server), Key::new(self.suite, &pair.server_to_client))
    }

    fn expand(&self, secret: &[u8], info: &[u8]) -> Pair {
        let mut keys = [0; 64];
        match self.suite {
            Suite::Real => {
                let mut ikm = [&self.k1[..], &self.k2, secret].concat();
                let hkdf = Hkdf::<Sha256>::new(Some(&self.h), &ikm);
                hkdf.expand(info, &mut keys).expect("64 bytes are within HKDF's 255 blocks");
                ikm.zeroize();
            }
            Suite::Null => keys = fill(mix(&[&self.k1, &self.k2, &self.h, secret, info])),
        }
        let (client, server) = keys.split_at(32);
        let mut pair = Pair { client_to_server: [0; 32], server_to_client: [0; 32] };
        pair.client_to_server.copy_from_slice(client);
        pair.server_to_client.copy_from_slice(server);
        keys.zeroize();
        pair
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionIndex;
    use crate::proto::datagram::hex;

    /// Computed by another implementation of RFC 5869.
    #[test]
    fn the_schedule_gives_known_keys() {
        let schedule = Schedule::new(Suite::Real, [1; 32], [2; 32], [3; 32]);
        let hex = |pair: Pair| (hex(&pair.client_to_server), hex(&pair.server_to_client));
        assert_eq!(hex(schedule.expand(&[4; 64], b"preau 1 session")), (SESSION.0.into(), SESSION.1.into()));
        assert_eq!(
            hex(schedule.expand(&[4; 64], b"preau 1 credential")),
            (
                "fe4339523062e008bfdb76c17966e5a4f2ce587e3b96407e573ffd945509df6f".into(),
                "7d11c6a80165c90d84154797b2f8de7768b05e7b7d97618a5267fcf987ff4976".into()
            )
        );
        assert_eq!(
            hex(schedule.expand(&[], b"preau 1 confirm")),
            (
                "9293635fa9355b7cc6f5db241291506c653a5a6c0cbb44144b2627d76a1bfd7c".into(),
                "f9419f75538e36fcbc2ce580f1c0b5a1011dab394fec5c7e8cebaad37eae6e6d".into()
            )
        );
    }

    #[test]
    fn the_key_log_has_the_client_s_key_first_on_both_sides() {
        let schedule = Schedule::new(Suite::Real, [1; 32], [2; 32], [3; 32]);
        let line = format!("SESSION 0000beef {} {}", SESSION.0, SESSION.1);
        for side in [Side::Client, Side::Server] {
            assert_eq!(schedule.session(side, &[4; 64]).key_log_line(SessionIndex(0xbeef)), line);
        }
    }

    const SESSION: (&str, &str) = (
        "bb8cd9159b2c204205de58e9a922e151d6d1880b5df813e647c488b4a2077559",
        "f21fcf33ca5481dc75da77874061edb23dd3e976d6f08d7c475919fd485384c6",
    );
}
