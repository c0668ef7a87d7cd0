//! The responder: what a server makes of an initiate, its answers, and what a confirm proves.

use std::sync::OnceLock;

use rand::Rng as _;
use zeroize::Zeroizing;

use super::noise::{Noise, opaque_context};
use crate::id::SessionIndex;
use crate::proto::datagram::{Key, SessionKeys};
use crate::proto::keys::ServerKeys;
use crate::proto::opaque::{self, ServerLogin, SessionKey};
use crate::proto::rng::Rng;
use crate::proto::schedule::{Schedule, Side};
use crate::proto::suite::Suite;
use crate::record::Credential;
use crate::wire::Malformed;
use crate::wire::entrance::{Answer, Confirm, Outcome, Refusal, Request};
use crate::wire::header::{Header, Type};
use crate::wire::limits::{COOKIE, HEADER};

/// An initiate that means nothing: dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInitiate {
    /// Not a Noise message to our key with this attempt and cookie.
    #[error("not genuine")]
    Noise,
    /// The Noise message was genuine, its request is not one.
    #[error("not a request: {0}")]
    Request(Malformed),
}

/// A server that has read an initiate and not answered yet.
pub struct Responder {
    attempt: u64,
    noise: Noise,
    context: Vec<u8>,
}

impl Responder {
    /// Reads the Noise message of an initiate (its body after the cookie). Takes two Diffie-Hellmans.
    ///
    /// # Errors
    /// [`BadInitiate`].
    pub fn read(
        keys: &ServerKeys,
        rng: &mut Rng,
        attempt: u64,
        cookie: &[u8; COOKIE],
        noise_message: &[u8],
    ) -> Result<(Responder, Request), BadInitiate> {
        let mut noise = Noise::responder(keys, rng, attempt, cookie);
        let payload = Zeroizing::new(noise.read(noise_message).ok_or(BadInitiate::Noise)?);
        let request = Request::from_bytes(&payload).map_err(BadInitiate::Request)?;
        let context = opaque_context(&noise.hash());
        Ok((Responder { attempt, noise, context }, request))
    }

    /// The whole respond datagram that says no.
    pub fn refuse(mut self, refusal: Refusal, wait_ms: u32) -> Vec<u8> {
        self.respond(&Answer::Refused { refusal, wait_ms })
    }

    /// Answers a sign-in. `credential` is what the account has of the kind to be proven, None if there is no such
    /// account or credential; `unknown_name` is the username, folded, and matters only then. Returns the whole respond
    /// datagram.
    ///
    /// # Errors
    /// [`Malformed::Fields`]: ke1 holds no group elements. Nothing to answer.
    pub fn sign_in(
        mut self,
        keys: &ServerKeys,
        rng: &mut Rng,
        index: SessionIndex,
        ke1: &[u8],
        credential: Option<&Credential>,
        unknown_name: &str,
    ) -> Result<(Vec<u8>, PendingProof), Malformed> {
        let (login, ke2) = ServerLogin::start(keys, rng, ke1, credential, unknown_name, &self.context)?;
        let datagram = self.respond(&Answer::SignIn { index, ke2 });
        Ok((datagram, self.pending(keys, index, Expected::SignIn(login))))
    }

    /// Answers a registration with its two requests; identifiers for the records to come are drawn. Returns the whole
    /// respond datagram.
    ///
    /// # Errors
    /// [`Malformed::Fields`]: a request holds no group element. Nothing to answer.
    pub fn register(
        mut self,
        keys: &ServerKeys,
        rng: &mut Rng,
        index: SessionIndex,
        password: &[u8],
        recovery: &[u8],
    ) -> Result<(Vec<u8>, PendingProof), Malformed> {
        let identifiers = Identifiers::draw(rng);
        let (password, recovery) = identifiers.responses(keys, password, recovery)?;
        let datagram = self.respond(&Answer::Register { index, password, recovery });
        Ok((datagram, self.pending(keys, index, Expected::Register(identifiers))))
    }

    /// Answers a replacement: [`Responder::sign_in`] and [`Responder::register`] in one. `requests` are the
    /// registration requests for the new password and the new recovery code.
    ///
    /// # Errors
    /// [`Malformed::Fields`], as there.
    #[expect(clippy::too_many_arguments, reason = "each is one field of the request or of the account")]
    pub fn replace(
        mut self,
        keys: &ServerKeys,
        rng: &mut Rng,
        index: SessionIndex,
        ke1: &[u8],
        credential: Option<&Credential>,
        unknown_name: &str,
        requests: (&[u8], &[u8]),
    ) -> Result<(Vec<u8>, PendingProof), Malformed> {
        let (login, ke2) = ServerLogin::start(keys, rng, ke1, credential, unknown_name, &self.context)?;
        let identifiers = Identifiers::draw(rng);
        let (password, recovery) = identifiers.responses(keys, requests.0, requests.1)?;
        let datagram = self.respond(&Answer::Replace { index, ke2, password, recovery });
        Ok((datagram, self.pending(keys, index, Expected::Replace(login, identifiers))))
    }

    /// Answers a resume whose token was found good. Returns the whole respond datagram.
    pub fn resume(mut self, keys: &ServerKeys, index: SessionIndex, token: &[u8; 32]) -> (Vec<u8>, PendingProof) {
        let datagram = self.respond(&Answer::Resume { index });
        (datagram, self.pending(keys, index, Expected::Resume(Zeroizing::new(*token))))
    }

    fn respond(&mut self, answer: &Answer) -> Vec<u8> {
        let header = Header { kind: Type::Respond, session: answer.index(), counter: self.attempt };
        let mut datagram = header.to_bytes().to_vec();
        datagram.append(&mut self.noise.write(&answer.to_bytes()));
        datagram
    }

    fn pending(mut self, keys: &ServerKeys, index: SessionIndex, expected: Expected) -> PendingProof {
        let schedule = self.noise.split();
        let (confirm_key, outcome_key) = schedule.confirm();
        let (suite, context) = (keys.suite(), self.context);
        PendingProof { suite, index, context, schedule, expected, confirm_key, outcome_key, outcome: OnceLock::new() }
    }
}

#[cfg(test)]
impl Responder {
    /// OPAQUE's context of this handshake.
    pub(super) fn context_for_tests(&self) -> &[u8] {
        &self.context
    }

    /// A respond with a ke2 from elsewhere: what a false server sends.
    pub(super) fn answer_for_tests(mut self, index: SessionIndex, ke2: Vec<u8>) -> Vec<u8> {
        self.respond(&Answer::SignIn { index, ke2 })
    }
}

/// The credential identifiers of the records that a registration will make.
#[derive(Clone, Copy)]
struct Identifiers {
    password: [u8; 16],
    recovery: [u8; 16],
}

impl Identifiers {
    fn draw(rng: &mut Rng) -> Identifiers {
        Identifiers { password: rng.r#gen(), recovery: rng.r#gen() }
    }

    fn responses(&self, keys: &ServerKeys, password: &[u8], recovery: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        let password = opaque::registration_response(keys, password, &self.password)?;
        let recovery = opaque::registration_response(keys, recovery, &self.recovery)?;
        Ok((password, recovery))
    }

    fn credentials(&self, suite: Suite, confirm: &Confirm) -> Result<(Credential, Credential), WrongProof> {
        let (Some(password), Some(recovery)) = (&confirm.password, &confirm.recovery) else {
            return Err(WrongProof::Shape);
        };
        let password = opaque::credential(suite, self.password, password).ok_or(WrongProof::Shape)?;
        let recovery = opaque::credential(suite, self.recovery, recovery).ok_or(WrongProof::Shape)?;
        Ok((password, recovery))
    }
}

/// What the confirm must prove.
enum Expected {
    SignIn(ServerLogin),
    Register(Identifiers),
    Replace(ServerLogin, Identifiers),
    Resume(Zeroizing<[u8; 32]>),
}

/// A server between its respond and the client's confirm. About 1 KB.
pub struct PendingProof {
    suite: Suite,
    index: SessionIndex,
    context: Vec<u8>,
    schedule: Schedule,
    expected: Expected,
    confirm_key: Key,
    outcome_key: Key,
    outcome: OnceLock<Vec<u8>>,
}

/// A genuine confirm that does not prove what it must. Answered by an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WrongProof {
    /// ke3 is not of somebody who knows the secret.
    #[error("wrong proof")]
    Proof,
    /// Parts are missing, not asked for, or an upload is not sound.
    #[error("not the parts that were asked for")]
    Shape,
}

/// What a confirm proved.
#[derive(Debug)]
pub struct Finished {
    /// The session's keys, after a sign-in or a resume.
    pub keys: Option<SessionKeys>,
    /// The new password's record, after a register or a replace.
    pub password: Option<Credential>,
    /// The new recovery code's record, likewise.
    pub recovery: Option<Credential>,
}

impl PendingProof {
    /// The session index that was given.
    pub fn index(&self) -> SessionIndex {
        self.index
    }

    /// What a confirm datagram says, if it is genuine and of this session. A repeated one opens again.
    pub fn open_confirm(&self, datagram: &mut [u8]) -> Option<Confirm> {
        let (header, _) = Header::split(datagram).ok()?;
        if header != (Header { kind: Type::Confirm, session: self.index, counter: 0 }) {
            return None;
        }
        Confirm::from_bytes(self.confirm_key.open_datagram(&header, datagram)?).ok()
    }

    /// Checks the proof and the uploads. The answer to a repeated confirm is the caller's to keep: keys made twice
    /// would use a counter twice.
    ///
    /// # Errors
    /// [`WrongProof`].
    pub fn finish(&self, confirm: &Confirm) -> Result<Finished, WrongProof> {
        let (proves, uploads, attaches) = match &self.expected {
            Expected::SignIn(_) => (true, false, true),
            Expected::Register(_) => (false, true, false),
            Expected::Replace(..) => (true, true, false),
            Expected::Resume(_) => (false, false, true),
        };
        let shape = (confirm.ke3.is_some(), confirm.password.is_some(), confirm.recovery.is_some());
        if shape != (proves, uploads, uploads) || confirm.attach.is_some() != attaches {
            return Err(WrongProof::Shape);
        }
        let session = |secret: &[u8]| Some(self.schedule.session(Side::Server, secret));
        Ok(match &self.expected {
            Expected::SignIn(login) => {
                let key = self.proof(login, confirm)?;
                Finished { keys: session(&key[..]), password: None, recovery: None }
            }
            Expected::Resume(token) => Finished { keys: session(&token[..]), password: None, recovery: None },
            Expected::Register(identifiers) => {
                let (password, recovery) = identifiers.credentials(self.suite, confirm)?;
                Finished { keys: None, password: Some(password), recovery: Some(recovery) }
            }
            Expected::Replace(login, identifiers) => {
                self.proof(login, confirm)?;
                let (password, recovery) = identifiers.credentials(self.suite, confirm)?;
                Finished { keys: None, password: Some(password), recovery: Some(recovery) }
            }
        })
    }

    /// The whole outcome datagram. The first call decides what it says and later ones return the same bytes: its key
    /// and counter seal one plaintext only.
    pub fn outcome(&self, outcome: Outcome) -> Vec<u8> {
        let make = || {
            let mut datagram = vec![0; HEADER];
            datagram.extend_from_slice(&outcome.to_bytes());
            let header = Header { kind: Type::Outcome, session: self.index, counter: 0 };
            self.outcome_key.seal_datagram(header, &mut datagram);
            datagram
        };
        self.outcome.get_or_init(make).clone()
    }

    fn proof(&self, login: &ServerLogin, confirm: &Confirm) -> Result<SessionKey, WrongProof> {
        let ke3 = confirm.ke3.as_ref().ok_or(WrongProof::Shape)?;
        login.finish(ke3, &self.context).ok_or(WrongProof::Proof)
    }
}

impl std::fmt::Debug for PendingProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingProof({:?})", self.index)
    }
}
