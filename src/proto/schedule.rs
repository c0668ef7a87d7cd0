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
