//! Noise NK as proto.md, section 4, uses it: two messages, each with a payload, then a split.

use rand::RngCore;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::proto::keys::{PublicKeys, ServerKeys};
use crate::proto::rng::Rng;
use crate::proto::schedule::Schedule;
use crate::proto::suite::{Suite, fill, mix};
use crate::wire::limits::{COOKIE, DATAGRAM, TAG};

const NAME: &str = "Noise_NK_25519_ChaChaPoly_SHA256";

/// What a Noise message adds to its payload: an ephemeral key and a tag.
pub(super) const OVERHEAD: usize = 32 + TAG;

/// One side of a Noise NK handshake.
pub(super) enum Noise {
    Real(Box<HandshakeState>),
    Null {
        /// A stand-in for the handshake hash, over what the real one covers.
        hash: u64,
    },
}

impl Noise {
    pub(super) fn initiator(
        suite: Suite,
        rng: &mut Rng,
        server: &PublicKeys,
        attempt: u64,
        cookie: &[u8; COOKIE],
    ) -> Noise {
        let prologue = prologue(attempt, cookie);
        if suite == Suite::Null {
            return Noise::null(&prologue, server);
        }
        let state = builder(rng)
            .prologue(&prologue)
            .and_then(|builder| builder.remote_public_key(&server.x25519))
            .and_then(Builder::build_initiator);
        Noise::Real(Box::new(state.expect("prologue and remote key are each set once, and NK needs no more")))
    }

    pub(super) fn responder(keys: &ServerKeys, rng: &mut Rng, attempt: u64, cookie: &[u8; COOKIE]) -> Noise {
        let prologue = prologue(attempt, cookie);
        let Some(secret) = keys.noise() else { return Noise::null(&prologue, &keys.public()) };
        let state = builder(rng)
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(secret.as_bytes()))
            .and_then(Builder::build_responder);
        Noise::Real(Box::new(state.expect("prologue and static key are each set once, and NK needs no more")))
    }

    fn null(prologue: &[u8], server: &PublicKeys) -> Noise {
        Noise::Null { hash: mix(&[prologue, &server.x25519]) }
    }

    /// Writes our next message. Its payload is ours and fits a datagram.
    pub(super) fn write(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0; payload.len() + OVERHEAD];
        match self {
            Noise::Real(state) => {
                let written = state.write_message(payload, &mut message);
                written.expect("it is our turn, and the message has room for key, payload and tag");
            }
            Noise::Null { hash } => {
                message[32..32 + payload.len()].copy_from_slice(payload);
                *hash = mix(&[&hash.to_le_bytes(), &message]);
            }
        }
        message
    }

    /// Reads the other side's next message; None if it is not genuine, and then nothing has changed.
    pub(super) fn read(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let length = message.len().checked_sub(OVERHEAD).filter(|_| message.len() <= DATAGRAM)?;
        let mut payload = vec![0; length];
        match self {
            Noise::Real(state) => {
                state.read_message(message, &mut payload).ok()?;
            }
            Noise::Null { hash } => {
                payload.copy_from_slice(&message[32..32 + length]);
                *hash = mix(&[&hash.to_le_bytes(), message]);
            }
        }
        Some(payload)
    }

    /// The handshake hash so far.
    pub(super) fn hash(&self) -> [u8; 32] {
        match self {
            Noise::Real(state) => state.get_handshake_hash().try_into().expect("SHA-256 has 32 bytes"),
            Noise::Null { hash } => fill(*hash),
        }
    }

    /// The keys, once both messages are through.
    pub(super) fn split(&mut self) -> Schedule {
        let h = self.hash();
        match self {
            Noise::Real(state) => {
                let (mut k1, mut k2) = state.dangerously_get_raw_split();
                let schedule = Schedule::new(Suite::Real, k1, k2, h);
                k1.zeroize();
                k2.zeroize();
                schedule
            }
            Noise::Null { hash } => Schedule::new(Suite::Null, fill(*hash ^ 1), fill(*hash ^ 2), h),
        }
    }
}

/// OPAQUE's context, from the handshake hash after message 1: what binds the password to this very handshake.
pub(super) fn opaque_context(hash_after_1: &[u8; 32]) -> Vec<u8> {
    [&b"preau opaque 1"[..], hash_after_1].concat()
}

fn prologue(attempt: u64, cookie: &[u8; COOKIE]) -> Vec<u8> {
    [&b"preau noise 1"[..], &attempt.to_be_bytes(), cookie].concat()
}

fn builder<'a>(rng: &mut Rng) -> Builder<'a> {
    let mut ephemeral = [0; 32];
    rng.fill_bytes(&mut ephemeral);
    let params = NAME.parse().expect("the name is Noise's own");
    Builder::with_resolver(params, Box::new(Resolver(Ephemeral(ephemeral))))
}

/// The library's primitives, with our randomness.
struct Resolver(Ephemeral);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(self.0.clone()))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// The one ephemeral key that a side of NK draws. Whatever asked for more, or twice, would get an error.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Ephemeral([u8; 32]);

impl Random for Ephemeral {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        if dest.len() != 32 || self.0 == [0; 32] {
            return Err(snow::Error::Rng);
        }
        dest.copy_from_slice(&self.0);
        self.0.zeroize();
        Ok(())
    }
}
