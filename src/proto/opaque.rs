//! OPAQUE (RFC 9807) with the choices of proto.md, section 4, and the codes that are proven like passwords. Thin
//! wrappers over `opaque-ke` that speak bytes; each has a null twin of the same lengths.

use argon2::{Algorithm, Argon2, Params, Version};
use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};
use opaque_ke::ksf::Ksf;
use opaque_ke::{
    CipherSuite, ClientLoginFinishParameters, ClientRegistrationFinishParameters, CredentialFinalization,
    CredentialRequest, CredentialResponse, Identifiers, RegistrationRequest, RegistrationResponse, RegistrationUpload,
    ServerLoginParameters, ServerRegistration,
};
use rand::{Rng as _, RngCore};
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keys::ServerKeys;
use super::rng::Rng;
use super::suite::{Suite, fill, mix};
use crate::record::Credential;
use crate::wire::Malformed;

/// The cipher suite: OPAQUE-3DH, ristretto255, SHA-512.
pub struct Opaque;

impl CipherSuite for Opaque {
    type OprfCs = opaque_ke::Ristretto255;
    type KeyExchange = opaque_ke::TripleDh<opaque_ke::Ristretto255, sha2::Sha512>;
    type Ksf = Stretching;
}

/// How a secret is stretched on the client, so that a stolen database is slow to guess from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stretching {
    /// Passwords: 19 MiB and some 20 ms (OWASP's minimum).
    #[default]
    Argon2id,
    /// Codes: random, so that there is nothing to guess.
    Identity,
}

impl Ksf for Stretching {
    fn hash<L: ArrayLength<u8>>(&self, input: GenericArray<u8, L>) -> Result<GenericArray<u8, L>, InternalError> {
        if *self == Stretching::Identity {
            return Ok(input);
        }
        let params = Params::new(19456, 2, 1, None).map_err(|_| InternalError::KsfError)?;
        let mut output = GenericArray::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(&input, &[0; 16], &mut output)
            .map_err(|_| InternalError::KsfError)?;
        Ok(output)
    }
}

/// OPAQUE's session key.
pub(super) type SessionKey = Zeroizing<[u8; 64]>;

/// A password as OPAQUE takes it: NFC.
pub(super) fn password(typed: &str) -> Secret {
    Secret { bytes: typed.nfc().collect::<String>().into_bytes(), stretching: Stretching::Argon2id }
}

/// A code as OPAQUE takes it.
pub(super) fn code(typed: &str) -> Secret {
    let text = normalise_code(typed);
    Secret { bytes: text.as_bytes().to_vec(), stretching: Stretching::Identity }
}

/// What a person types to prove who they are.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret {
    bytes: Vec<u8>,
    #[zeroize(skip)]
    pub(super) stretching: Stretching,
}

impl Secret {
    /// OPAQUE writes a secret's length in two bytes, but would find out only at its last step.
    fn check(&self) -> Result<(), Unusable> {
        if self.bytes.len() > usize::from(u16::MAX) { Err(Unusable) } else { Ok(()) }
    }
}

/// A secret that OPAQUE does not take: longer than 65,535 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unusable;

/// The secret is not the account's, or the server's answer is not OPAQUE's: the client cannot tell these apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wrong name, password or code")]
pub struct WrongSecret;

/// The client's half of a sign-in, waiting for ke2.
pub(super) enum ClientLogin {
    Real(Box<opaque_ke::ClientLogin<Opaque>>),
    Null { nonce: [u8; 8] },
}

impl ClientLogin {
    /// Returns ke1 too.
    pub(super) fn start(suite: Suite, rng: &mut Rng, secret: &Secret) -> Result<(ClientLogin, Vec<u8>), Unusable> {
        secret.check()?;
        if suite == Suite::Null {
            let nonce = rng.r#gen();
            return Ok((ClientLogin::Null { nonce }, padded(&[&nonce], 96)));
        }
        let start = opaque_ke::ClientLogin::<Opaque>::start(rng, &secret.bytes).map_err(|_| Unusable)?;
        Ok((ClientLogin::Real(Box::new(start.state)), start.message.serialize().to_vec()))
    }

    /// Returns ke3 and the session key.
    pub(super) fn finish(
        self,
        rng: &mut Rng,
        secret: &Secret,
        ke2: &[u8],
        context: &[u8],
    ) -> Result<([u8; 64], SessionKey), WrongSecret> {
        let state = match self {
            ClientLogin::Real(state) => state,
            ClientLogin::Null { nonce } => {
                let (identifier, rest) = ke2.split_first_chunk::<16>().ok_or(WrongSecret)?;
                let (server, rest) = rest.split_first_chunk::<8>().ok_or(WrongSecret)?;
                let session = NullSession { proven: null_record(secret, identifier), nonce, server: *server };
                return match rest.starts_with(&session.word(b"ke2", context)) {
                    true => Ok((session.ke3(context), session.key(context))),
                    false => Err(WrongSecret),
                };
            }
        };
        let response = CredentialResponse::deserialize(ke2).map_err(|_| WrongSecret)?;
        let parameters =
            ClientLoginFinishParameters::new(Some(context), Identifiers::default(), Some(&secret.stretching));
        let mut finish = state.finish(rng, &secret.bytes, response, parameters).map_err(|_| WrongSecret)?;
        let mut ke3 = [0; 64];
        ke3.copy_from_slice(&finish.message.serialize());
        let mut key = Zeroizing::new([0; 64]);
        key.copy_from_slice(&finish.session_key);
        finish.session_key.zeroize();
        finish.export_key.zeroize();
        Ok((ke3, key))
    }
}

/// The client's half of a registration, waiting for the response.
pub(super) enum ClientRegistration {
    Real(Box<opaque_ke::ClientRegistration<Opaque>>),
    Null,
}

impl ClientRegistration {
    /// Returns the registration request too.
    pub(super) fn start(suite: Suite, rng: &mut Rng, secret: &Secret) -> Result<(Self, Vec<u8>), Unusable> {
        secret.check()?;
        if suite == Suite::Null {
            return Ok((ClientRegistration::Null, vec![0; 32]));
        }
        let start = opaque_ke::ClientRegistration::<Opaque>::start(rng, &secret.bytes).map_err(|_| Unusable)?;
        Ok((ClientRegistration::Real(Box::new(start.state)), start.message.serialize().to_vec()))
    }

    /// Returns the registration upload.
    pub(super) fn finish(self, rng: &mut Rng, secret: &Secret, response: &[u8]) -> Result<[u8; 192], WrongSecret> {
        let mut upload = [0; 192];
        let ClientRegistration::Real(state) = self else {
            let identifier = response.first_chunk().ok_or(WrongSecret)?;
            upload[..8].copy_from_slice(&null_record(secret, identifier));
            return Ok(upload);
        };
        let response = RegistrationResponse::deserialize(response).map_err(|_| WrongSecret)?;
        let parameters = ClientRegistrationFinishParameters::new(Identifiers::default(), Some(&secret.stretching));
        let mut finish = state.finish(rng, &secret.bytes, response, parameters).map_err(|_| WrongSecret)?;
        finish.export_key.zeroize();
        upload.copy_from_slice(&finish.message.serialize());
        Ok(upload)
    }
}

/// The server's answer to a registration request.
pub(super) fn registration_response(
    keys: &ServerKeys,
    request: &[u8],
    identifier: &[u8; 16],
) -> Result<Vec<u8>, Malformed> {
    let Some(setup) = keys.opaque() else { return Ok(padded(&[identifier], 64)) };
    let request = RegistrationRequest::deserialize(request).map_err(|_| Malformed::Fields)?;
    let start = ServerRegistration::<Opaque>::start(setup, request, identifier).map_err(|_| Malformed::Fields)?;
    Ok(start.message.serialize().to_vec())
}

/// The credential an upload makes, if it is a sound one.
pub(super) fn credential(suite: Suite, identifier: [u8; 16], upload: &[u8; 192]) -> Option<Credential> {
    let sound = suite == Suite::Null || RegistrationUpload::<Opaque>::deserialize(upload).is_ok();
    sound.then(|| Credential { identifier, upload: upload.to_vec() })
}

/// The server's half of a sign-in, waiting for ke3.
pub(super) enum ServerLogin {
    Real(Box<opaque_ke::ServerLogin<Opaque>>),
    Null(NullSession),
}

impl ServerLogin {
    /// Answers ke1. Without a credential, or with one that is damaged, the answer is the one of RFC 9807 (10.9):
    /// nobody can tell it from a real one. The same work is done in both cases.
    pub(super) fn start(
        keys: &ServerKeys,
        rng: &mut Rng,
        ke1: &[u8],
        credential: Option<&Credential>,
        unknown_name: &str,
        context: &[u8],
    ) -> Result<(ServerLogin, Vec<u8>), Malformed> {
        let unknown = keys.unknown_identifier(unknown_name);
        let Some(setup) = keys.opaque() else {
            return null_answer(rng, ke1, credential, unknown, context);
        };
        let request = CredentialRequest::deserialize(ke1).map_err(|_| Malformed::Fields)?;
        let upload = credential.map_or(&NOBODY[..], |credential| &credential.upload);
        let record = ServerRegistration::<Opaque>::deserialize(std::hint::black_box(upload)).ok();
        let record = record.filter(|_| credential.is_some());
        let identifier = match (&record, credential) {
            (Some(_), Some(credential)) => credential.identifier,
            _ => unknown,
        };
        let parameters = ServerLoginParameters { context: Some(context), identifiers: Identifiers::default() };
        let start = opaque_ke::ServerLogin::start(rng, setup, record, request, &identifier, parameters)
            .map_err(|_| Malformed::Fields)?;
        Ok((ServerLogin::Real(Box::new(start.state)), start.message.serialize().to_vec()))
    }

    /// The session key, if ke3 proves the secret. May be asked again.
    pub(super) fn finish(&self, ke3: &[u8; 64], context: &[u8]) -> Option<SessionKey> {
        let state = match self {
            ServerLogin::Real(state) => state.clone(),
            ServerLogin::Null(session) => return (*ke3 == session.ke3(context)).then(|| session.key(context)),
        };
        let message = CredentialFinalization::deserialize(ke3).ok()?;
        let parameters = ServerLoginParameters { context: Some(context), identifiers: Identifiers::default() };
        let mut finish = state.finish(message, parameters).ok()?;
        let mut key = Zeroizing::new([0; 64]);
        key.copy_from_slice(&finish.session_key);
        finish.session_key.zeroize();
        Some(key)
    }
}

/// A sound upload that is nobody's, decoded in place of one where a name is unknown: ristretto255's generator
/// (RFC 9496, A.1), then zeros.
const NOBODY: [u8; 192] = {
    let generator = [
        0xe2, 0xf2, 0xae, 0x0a, 0x6a, 0xbc, 0x4e, 0x71, 0xa8, 0x84, 0xa9, 0x61, 0xc5, 0x00, 0x51, 0x5f, 0x58, 0xe3,
        0x0b, 0x6a, 0xa5, 0x82, 0xdd, 0x8d, 0xb6, 0xa6, 0x59, 0x45, 0xe0, 0x8d, 0x2d, 0x76,
    ];
    let mut upload = [0; 192];
    let mut i = 0;
    while i < generator.len() {
        upload[i] = generator[i];
        i += 1;
    }
    upload
};

/// Registers a code by running both sides here: the reset code that a teacher issues.
pub fn register_code(keys: &ServerKeys, rng: &mut Rng, typed: &str, identifier: [u8; 16]) -> Credential {
    let secret = code(typed);
    let both = || {
        let (client, request) = ClientRegistration::start(keys.suite(), rng, &secret).ok()?;
        let response = registration_response(keys, &request, &identifier).ok()?;
        let upload = client.finish(rng, &secret, &response).ok()?;
        credential(keys.suite(), identifier, &upload)
    };
    let mut both = both;
    both().expect("a code is far below 65,535 bytes and both sides are ours")
}

/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a recovery code: 100 bits.
pub const RECOVERY_CODE: usize = 20;
/// Characters of a reset code: 50 bits, one use, and it expires.
pub const RESET_CODE: usize = 10;

/// A new recovery code, as shown to a person: once.
pub fn recovery_code(rng: &mut Rng) -> Zeroizing<String> {
    random_code::<RECOVERY_CODE>(rng)
}

/// A new reset code, as a teacher reads it out.
pub fn reset_code(rng: &mut Rng) -> Zeroizing<String> {
    random_code::<RESET_CODE>(rng)
}

/// In groups of 5 with hyphens.
fn random_code<const N: usize>(rng: &mut Rng) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; N]);
    rng.fill_bytes(&mut bytes[..]);
    let mut code = Zeroizing::new(String::with_capacity(N + N / 5));
    for (i, byte) in bytes.iter().enumerate() {
        if i > 0 && i % 5 == 0 {
            code.push('-');
        }
        code.push(char::from(ALPHABET[usize::from(byte & 31)]));
    }
    code
}

/// A code as typed, in the one form that is hashed: upper case, I and L as 1, O as 0, no hyphens or spaces.
pub fn normalise_code(typed: &str) -> Zeroizing<String> {
    let mut code = Zeroizing::new(String::with_capacity(typed.len()));
    for c in typed.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
        code.push(match c.to_ascii_uppercase() {
            'I' | 'L' => '1',
            'O' => '0',
            c => c,
        });
    }
    code
}

/// What both sides of a null sign-in hold.
#[derive(Clone, Copy)]
pub(super) struct NullSession {
    proven: [u8; 8],
    nonce: [u8; 8],
    server: [u8; 8],
}

impl NullSession {
    fn seed(&self, label: &[u8], context: &[u8]) -> u64 {
        mix(&[label, &self.proven, &self.nonce, &self.server, context])
    }

    fn word(&self, label: &[u8], context: &[u8]) -> [u8; 8] {
        self.seed(label, context).to_le_bytes()
    }

    fn ke3(&self, context: &[u8]) -> [u8; 64] {
        fill(self.seed(b"ke3", context))
    }

    fn key(&self, context: &[u8]) -> SessionKey {
        Zeroizing::new(fill(self.seed(b"key", context)))
    }
}

fn null_record(secret: &Secret, identifier: &[u8; 16]) -> [u8; 8] {
    mix(&[b"record", &secret.bytes, identifier]).to_le_bytes()
}

fn null_answer(
    rng: &mut Rng,
    ke1: &[u8],
    credential: Option<&Credential>,
    unknown: [u8; 16],
    context: &[u8],
) -> Result<(ServerLogin, Vec<u8>), Malformed> {
    let nonce = *ke1.first_chunk().ok_or(Malformed::Fields)?;
    let (server, nobody) = rng.r#gen();
    let record = credential.and_then(|credential| Some((credential.identifier, *credential.upload.first_chunk()?)));
    let (identifier, proven) = record.unwrap_or((unknown, nobody));
    let session = NullSession { proven, nonce, server };
    Ok((ServerLogin::Null(session), padded(&[&identifier, &server, &session.word(b"ke2", context)], 320)))
}

/// The parts, then zeros up to `length`.
fn padded(parts: &[&[u8]], length: usize) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.resize(length, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn codes_are_shown_in_groups_and_taken_as_typed() {
        let mut rng = Rng::seed_from_u64(1);
        let code = recovery_code(&mut rng);
        assert_eq!(code.len(), RECOVERY_CODE + 3);
        assert!(code.split('-').all(|group| group.len() == 5), "{}", *code);
        assert_eq!(normalise_code(&code).len(), RECOVERY_CODE);
        assert!(normalise_code(&code).bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_eq!(normalise_code(&code.to_lowercase().replace('-', " ")), normalise_code(&code));
        let reset = reset_code(&mut rng);
        assert_eq!((reset.len(), normalise_code(&reset).len()), (RESET_CODE + 1, RESET_CODE));
        assert_eq!(*normalise_code(" iIlL1-oO0\u{a0}abc\n"), "11111000ABC");
    }

    #[test]
    fn all_letters_of_the_alphabet_come_up() {
        let mut rng = Rng::seed_from_u64(2);
        let many: String = (0..100).map(|_| normalise_code(&recovery_code(&mut rng)).to_string()).collect();
        assert!(ALPHABET.iter().all(|letter| many.contains(char::from(*letter))));
    }

    /// Computed by another implementation of RFC 9106.
    #[test]
    fn a_password_is_stretched_as_known_and_a_code_is_not() {
        let input = GenericArray::<u8, opaque_ke::generic_array::typenum::U64>::from([7; 64]);
        let stretched = Stretching::Argon2id.hash(input).unwrap();
        assert_eq!(crate::proto::datagram::hex(&stretched), STRETCHED);
        assert_eq!(Stretching::Identity.hash(input).unwrap(), input);
    }

    #[test]
    fn a_secret_longer_than_opaque_takes_is_an_error() {
        let mut rng = Rng::seed_from_u64(3);
        let long = password(&"x".repeat(65_536));
        assert!(ClientLogin::start(Suite::Real, &mut rng, &long).is_err());
        assert!(ClientRegistration::start(Suite::Real, &mut rng, &long).is_err());
        assert!(ClientLogin::start(Suite::Real, &mut rng, &password("")).is_ok());
    }

    const STRETCHED: &str = "048e86168a7470db58536fdd2c4deffc067875c94757b5308a7e81ae527a2e5f\
                             2ad666cb6147d9f86856ee8bf7ed1c40668fc9861eab738fb4491d3579382947";
}
