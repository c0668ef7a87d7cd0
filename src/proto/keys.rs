//! The server's long-term keys, and the pin by which people and clients know a room (proto.md, section 3).

use bip39::Language;
use ed25519_dalek::SigningKey;
use hmac::{Hmac, Mac};
use opaque_ke::ServerSetup;
use rand::RngCore;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::opaque::Opaque;
use super::rng::Rng;
use super::sign::Verifier;
use super::suite::{Suite, fill, mix};

/// A server's public keys, as a retry bears them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKeys {
    /// Verifies pages and tips.
    pub ed25519: [u8; 32],
    /// The responder's static key in Noise.
    pub x25519: [u8; 32],
}

impl PublicKeys {
    /// What the room is known by.
    pub fn pin(&self) -> Pin {
        let mut hash = Sha256::new_with_prefix(b"preau pin 1");
        hash.update(self.ed25519);
        hash.update(self.x25519);
        Pin(hash.finalize().into())
    }
}

/// The hash of a server's public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin(pub [u8; 32]);

/// Words of a pin that people compare: 66 bits.
pub const PIN_WORDS: usize = 6;

impl Pin {
    /// Its first 66 bits as six words.
    pub fn words(&self) -> [&'static str; PIN_WORDS] {
        let first = u128::from_be_bytes(self.0[..16].try_into().expect("a pin has 32 bytes"));
        let list = Language::English.word_list();
        std::array::from_fn(|i| list[(first >> (128 - 11 * (i + 1))) as usize & 0x7ff])
    }

    /// Whether these are its six words, as a person types them: any case; spaces, hyphens, commas and the like between.
    pub fn matches_words(&self, typed: &str) -> bool {
        let typed = typed.to_lowercase();
        typed.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).eq(self.words())
    }
}

/// Everything a server must keep secret for as long as its room lives. `Debug` shows the public keys only.
#[derive(Clone)]
pub struct ServerKeys {
    public: PublicKeys,
    secrets: Secrets,
}

#[derive(Clone)]
enum Secrets {
    Real(Box<RealSecrets>),
    Null,
}

#[derive(Clone)]
struct RealSecrets {
    signing: SigningKey,
    noise: StaticSecret,
    opaque: ServerSetup<Opaque>,
    unknown: Unknown,
}

/// Behind the credential identifiers of names that nobody has.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Unknown([u8; 32]);

/// Bytes that are not a server's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// Another version of this program wrote them, or they are not keys at all.
    #[error("unknown version of the key file")]
    Version,
    /// Truncated or damaged.
    #[error("the key file is damaged")]
    Damaged,
}

/// The first byte of [`ServerKeys::to_bytes`].
const VERSION: u8 = 1;
/// What null keys bear instead: no server starts from them.
const VERSION_NULL: u8 = 0;
/// Version, Ed25519 seed, X25519 secret, secret for unknown names; OPAQUE's set-up follows.
const FIXED: usize = 1 + 3 * 32;

impl ServerKeys {
    /// New keys.
    pub fn generate(suite: Suite, rng: &mut Rng) -> ServerKeys {
        let mut draw = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        match suite {
            Suite::Real => {
                let signing = SigningKey::from_bytes(&draw());
                let noise = StaticSecret::from(draw());
                let unknown = Unknown(draw());
                ServerKeys::real(RealSecrets { signing, noise, unknown, opaque: ServerSetup::new(rng) })
            }
            Suite::Null => {
                ServerKeys { public: PublicKeys { ed25519: draw(), x25519: draw() }, secrets: Secrets::Null }
            }
        }
    }

    fn real(secrets: RealSecrets) -> ServerKeys {
        let public = PublicKeys {
            ed25519: secrets.signing.verifying_key().to_bytes(),
            x25519: PublicKey::from(&secrets.noise).to_bytes(),
        };
        ServerKeys { public, secrets: Secrets::Real(Box::new(secrets)) }
    }

    /// For a file that only the server reads. Null keys come out too, but [`ServerKeys::from_bytes`] refuses them: a
    /// server never starts without cryptography.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let Secrets::Real(secrets) = &self.secrets else {
            return Zeroizing::new([&[VERSION_NULL][..], &self.public.ed25519, &self.public.x25519].concat());
        };
        let mut opaque = secrets.opaque.serialize();
        let parts = [&[VERSION][..], secrets.signing.as_bytes(), secrets.noise.as_bytes(), &secrets.unknown.0, &opaque];
        let bytes = Zeroizing::new(parts.concat());
        opaque.zeroize();
        bytes
    }

    /// Reads what [`ServerKeys::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`BadKeys`].
    pub fn from_bytes(bytes: &[u8]) -> Result<ServerKeys, BadKeys> {
        if bytes.first() != Some(&VERSION) {
            return Err(BadKeys::Version);
        }
        let (fixed, opaque) = bytes.split_first_chunk::<FIXED>().ok_or(BadKeys::Damaged)?;
        let (keys, _) = fixed[1..].as_chunks::<32>();
        let [signing, noise, unknown] = keys else { return Err(BadKeys::Damaged) };
        let setup = ServerSetup::<Opaque>::deserialize(opaque).map_err(|_| BadKeys::Damaged)?;
        if setup.serialize().as_slice() != opaque {
            return Err(BadKeys::Damaged);
        }
        Ok(ServerKeys::real(RealSecrets {
            signing: SigningKey::from_bytes(signing),
            noise: StaticSecret::from(*noise),
            unknown: Unknown(*unknown),
            opaque: setup,
        }))
    }

    /// What a retry bears.
    pub fn public(&self) -> PublicKeys {
        self.public
    }

    /// Which cryptography these keys are for.
    pub fn suite(&self) -> Suite {
        match self.secrets {
            Secrets::Real(_) => Suite::Real,
            Secrets::Null => Suite::Null,
        }
    }

    /// Checks signatures made with these keys: a tip that a client presents may be from before a restore.
    pub fn verifier(&self) -> Verifier {
        match &self.secrets {
            Secrets::Real(secrets) => Verifier::from_key(secrets.signing.verifying_key()),
            Secrets::Null => Verifier::null(&self.public),
        }
    }

    /// None in the null suite.
    pub(super) fn signing(&self) -> Option<&SigningKey> {
        match &self.secrets {
            Secrets::Real(secrets) => Some(&secrets.signing),
            Secrets::Null => None,
        }
    }

    /// None in the null suite.
    pub(super) fn noise(&self) -> Option<&StaticSecret> {
        match &self.secrets {
            Secrets::Real(secrets) => Some(&secrets.noise),
            Secrets::Null => None,
        }
    }

    /// None in the null suite.
    pub(super) fn opaque(&self) -> Option<&ServerSetup<Opaque>> {
        match &self.secrets {
            Secrets::Real(secrets) => Some(&secrets.opaque),
            Secrets::Null => None,
        }
    }

    /// The credential identifier of a name that nobody has: random-looking, and the same each time, as a record's is.
    pub(super) fn unknown_identifier(&self, name: &str) -> [u8; 16] {
        let Secrets::Real(secrets) = &self.secrets else {
            return fill(mix(&[&self.public.ed25519, name.as_bytes()]));
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&secrets.unknown.0).expect("HMAC takes a key of any length");
        mac.update(b"preau unknown 1");
        mac.update(name.as_bytes());
        let mut identifier = [0; 16];
        identifier.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        identifier
    }
}

impl std::fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServerKeys").field(&self.public).finish()
    }
}

impl PartialEq for ServerKeys {
    fn eq(&self, other: &ServerKeys) -> bool {
        self.to_bytes().ct_eq(&other.to_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::proto::datagram::hex;

    /// Computed apart from this program, with BIP-39's list.
    #[test]
    fn a_pin_has_known_words() {
        let pin = PublicKeys { ed25519: [0x11; 32], x25519: [0x22; 32] }.pin();
        assert_eq!(hex(&pin.0), "f505ac9a4323c8f26a619cc434e490c5ec5cbb87b5010c7617d17fa499dc8208");
        assert_eq!(pin.words(), ["vital", "coin", "charge", "main", "develop", "junior"]);
    }

    #[test]
    fn each_of_the_66_bits_changes_the_words_and_no_other() {
        let pin = Pin([0x5a; 32]);
        for bit in 0..256 {
            let mut other = pin;
            other.0[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(other.words() != pin.words(), bit < 66, "bit {bit}");
        }
        assert_eq!(Pin([0; 32]).words(), ["abandon"; 6]);
        assert_eq!(Pin([0xff; 32]).words(), ["zoo"; 6]);
    }

    #[test]
    fn words_are_known_as_people_type_them() {
        let pin = PublicKeys { ed25519: [0x11; 32], x25519: [0x22; 32] }.pin();
        for typed in [
            "vital coin charge main develop junior",
            "  Vital-COIN-charge-main-develop-junior ",
            "vital, coin,charge\tmain\ndevelop – junior.",
        ] {
            assert!(pin.matches_words(typed), "{typed}");
        }
        for typed in [
            "",
            "vital coin charge main develop",
            "vital coin charge main develop junior junior",
            "coin vital charge main develop junior",
            "vitalcoinchargemaindevelopjunior",
            "vital coin charge main develop juniors",
        ] {
            assert!(!pin.matches_words(typed), "{typed}");
        }
    }

    #[test]
    fn keys_come_back_as_they_were_kept() {
        let mut rng = Rng::seed_from_u64(1);
        let keys = ServerKeys::generate(Suite::Real, &mut rng);
        let bytes = keys.to_bytes();
        let back = ServerKeys::from_bytes(&bytes).unwrap();
        assert!(back == keys);
        assert_eq!(back.public(), keys.public());
        assert_eq!(back.unknown_identifier("bob"), keys.unknown_identifier("bob"));
        assert!(ServerKeys::generate(Suite::Real, &mut rng) != keys);

        for cut in 0..bytes.len() {
            assert!(ServerKeys::from_bytes(&bytes[..cut]).is_err(), "truncated at {cut}");
        }
        assert_eq!(ServerKeys::from_bytes(&[&bytes[..], &[0]].concat()).err(), Some(BadKeys::Damaged));
        let mut newer = bytes.to_vec();
        newer[0] = 2;
        assert_eq!(ServerKeys::from_bytes(&newer).err(), Some(BadKeys::Version));
    }

    #[test]
    fn a_server_cannot_start_from_null_keys() {
        let keys = ServerKeys::generate(Suite::Null, &mut Rng::seed_from_u64(1));
        assert_eq!(keys.suite(), Suite::Null);
        assert_eq!(ServerKeys::from_bytes(&keys.to_bytes()).err(), Some(BadKeys::Version));
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = ServerKeys::generate(Suite::Real, &mut Rng::seed_from_u64(1));
        assert_eq!(format!("{keys:?}"), format!("ServerKeys({:?})", keys.public()));
    }
}
