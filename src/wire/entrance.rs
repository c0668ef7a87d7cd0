//! The messages of coming in (proto.md, section 4): what stands in retry, in the Noise payloads, in confirm and
//! outcome. Sealing them is `proto::handshake`'s.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::limits::{COOKIE, ROOM_NAME};
use super::{Malformed, put, take_all};
use crate::id::{Epoch, Instance, Ordinal, Seq, SessionIndex};
use crate::record::CredentialKind;

/// Why a server does not let somebody in, or could not do what an authenticated member asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// Wrong name, password or code: one answer for all.
    WrongCredentials = 1,
    /// Too many tries; wait.
    Throttled = 2,
    /// Registration is closed.
    RegistrationClosed = 3,
    /// The username is taken, or was.
    NameTaken = 4,
    /// The username has a character or a length that is not allowed.
    NameNotAllowed = 5,
    /// The token expired, was revoked or never was: sign in.
    TokenInvalid = 6,
    /// The server is busy; wait.
    Busy = 7,
    /// The server cannot store.
    StoreFailed = 8,
    /// First or last name empty or too long.
    PersonName = 9,
    /// Too many sessions.
    TooManySessions = 10,
    /// A call that was not understood.
    NotUnderstood = 11,
    /// A call this member may not make.
    NotPermitted = 12,
}

impl Refusal {
    /// The refusal of a code, if it is assigned.
    pub fn from_code(code: u8) -> Option<Refusal> {
        use Refusal::*;
        [
            WrongCredentials,
            Throttled,
            RegistrationClosed,
            NameTaken,
            NameNotAllowed,
            TokenInvalid,
            Busy,
            StoreFailed,
            PersonName,
            TooManySessions,
            NotUnderstood,
            NotPermitted,
        ]
        .into_iter()
        .find(|refusal| *refusal as u8 == code)
    }
}

/// The body of a retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// To be given back in initiate.
    pub cookie: ByteArray<COOKIE>,
    /// Verifies pages and tips.
    pub ed25519: ByteArray<32>,
    /// The responder's static key in Noise.
    pub x25519: ByteArray<32>,
    /// The room's display name.
    pub name: String,
}

impl Retry {
    /// Its bytes, for the body of a retry datagram.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(self, &mut out);
        out
    }

    /// # Errors
    /// [`Malformed::Fields`] or [`Malformed::Bound`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Retry, Malformed> {
        let retry: Retry = take_all(bytes)?;
        if retry.name.chars().count() > ROOM_NAME { Err(Malformed::Bound) } else { Ok(retry) }
    }
}

/// What a client asks for in Noise message 1.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// With the password.
    SignIn {
        /// As typed, NFC.
        username: String,
        /// OPAQUE's first message, 96 bytes.
        ke1: Vec<u8>,
        /// The device secret, on a device that signed in before.
        device: Option<[u8; 32]>,
    },
    /// A new account.
    Register {
        /// The username wanted.
        username: String,
        /// First name.
        first_name: String,
        /// Last name.
        last_name: String,
        /// OPAQUE registration request for the password, 32 bytes.
        password: Vec<u8>,
        /// The same for the recovery code.
        recovery: Vec<u8>,
    },
    /// A new password and recovery code, by proof of the old password or of a code.
    Replace {
        /// Whose.
        username: String,
        /// What ke1 proves.
        kind: CredentialKind,
        /// OPAQUE's first message, 96 bytes.
        ke1: Vec<u8>,
        /// OPAQUE registration request for the new password.
        password: Vec<u8>,
        /// The same for the new recovery code.
        recovery: Vec<u8>,
        /// The device secret, on a device that signed in before.
        device: Option<[u8; 32]>,
    },
    /// With a token.
    Resume {
        /// As given by a token frame.
        token: [u8; 32],
    },
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Request::SignIn { .. } => "SignIn",
            Request::Register { .. } => "Register",
            Request::Replace { .. } => "Replace",
            Request::Resume { .. } => "Resume",
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SignInFields(u8, String, ByteArray<96>, Option<ByteArray<32>>);
#[derive(Serialize, Deserialize)]
struct RegisterFields(u8, String, String, String, ByteArray<32>, ByteArray<32>);
#[derive(Serialize, Deserialize)]
struct ReplaceFields(u8, String, u8, ByteArray<96>, ByteArray<32>, ByteArray<32>, Option<ByteArray<32>>);
#[derive(Serialize, Deserialize)]
struct ResumeFields(u8, ByteArray<32>);

/// The second byte of an array that begins with a small number: which request or answer it is.
fn discriminant(bytes: &[u8]) -> Result<u8, Malformed> {
    bytes.get(1).copied().ok_or(Malformed::Fields)
}

fn fixed<const N: usize>(bytes: &[u8]) -> ByteArray<N> {
    ByteArray::new(bytes.try_into().expect("OPAQUE messages have the lengths of their suite"))
}

impl Request {
    /// Its bytes, for the payload of Noise message 1.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Request::SignIn { username, ke1, device } => {
                put(&SignInFields(1, username.clone(), fixed(ke1), device.map(ByteArray::new)), &mut out);
            }
            Request::Register { username, first_name, last_name, password, recovery } => {
                let (username, first_name, last_name) = (username.clone(), first_name.clone(), last_name.clone());
                put(&RegisterFields(2, username, first_name, last_name, fixed(password), fixed(recovery)), &mut out);
            }
            Request::Replace { username, kind, ke1, password, recovery, device } => {
                let device = device.map(ByteArray::new);
                let (password, recovery) = (fixed(password), fixed(recovery));
                put(
                    &ReplaceFields(3, username.clone(), kind_code(*kind), fixed(ke1), password, recovery, device),
                    &mut out,
                );
            }
            Request::Resume { token } => put(&ResumeFields(4, ByteArray::new(*token)), &mut out),
        }
        out
    }

    /// # Errors
    /// [`Malformed::Fields`] or [`Malformed::Kind`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Request, Malformed> {
        Ok(match discriminant(bytes)? {
            1 => {
                let SignInFields(_, username, ke1, device) = take_all(bytes)?;
                Request::SignIn { username, ke1: ke1.to_vec(), device: device.map(ByteArray::into_array) }
            }
            2 => {
                let RegisterFields(_, username, first_name, last_name, password, recovery) = take_all(bytes)?;
                let (password, recovery) = (password.to_vec(), recovery.to_vec());
                Request::Register { username, first_name, last_name, password, recovery }
            }
            3 => {
                let ReplaceFields(_, username, kind, ke1, password, recovery, device) = take_all(bytes)?;
                let kind = kind_from_code(kind).ok_or(Malformed::Kind)?;
                let (password, recovery) = (password.to_vec(), recovery.to_vec());
                let device = device.map(ByteArray::into_array);
                Request::Replace { username, kind, ke1: ke1.to_vec(), password, recovery, device }
            }
            4 => {
                let ResumeFields(_, token) = take_all(bytes)?;
                Request::Resume { token: token.into_array() }
            }
            _ => return Err(Malformed::Kind),
        })
    }
}

fn kind_code(kind: CredentialKind) -> u8 {
    match kind {
        CredentialKind::Password => 0,
        CredentialKind::Recovery => 1,
        CredentialKind::Reset => 2,
    }
}

fn kind_from_code(code: u8) -> Option<CredentialKind> {
    [CredentialKind::Password, CredentialKind::Recovery, CredentialKind::Reset].get(usize::from(code)).copied()
}

/// What a server answers in Noise message 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not now, or not at all.
    Refused {
        /// Why.
        refusal: Refusal,
        /// When to try again, in milliseconds.
        wait_ms: u32,
    },
    /// To [`Request::SignIn`].
    SignIn {
        /// The new session's, as in the header.
        index: SessionIndex,
        /// OPAQUE's second message, 320 bytes.
        ke2: Vec<u8>,
    },
    /// To [`Request::Register`].
    Register {
        /// As in the header.
        index: SessionIndex,
        /// OPAQUE registration response for the password, 64 bytes.
        password: Vec<u8>,
        /// The same for the recovery code.
        recovery: Vec<u8>,
    },
    /// To [`Request::Replace`].
    Replace {
        /// As in the header.
        index: SessionIndex,
        /// OPAQUE's second message.
        ke2: Vec<u8>,
        /// OPAQUE registration response for the new password.
        password: Vec<u8>,
        /// The same for the new recovery code.
        recovery: Vec<u8>,
    },
    /// To [`Request::Resume`].
    Resume {
        /// The new session's, as in the header.
        index: SessionIndex,
    },
}

#[derive(Serialize, Deserialize)]
struct RefusedFields(u8, u8, u32);
#[derive(Serialize, Deserialize)]
struct SignInAnswer(u8, SessionIndex, ByteArray<320>);
#[derive(Serialize, Deserialize)]
struct RegisterAnswer(u8, SessionIndex, ByteArray<64>, ByteArray<64>);
#[derive(Serialize, Deserialize)]
struct ReplaceAnswer(u8, SessionIndex, ByteArray<320>, ByteArray<64>, ByteArray<64>);
#[derive(Serialize, Deserialize)]
struct ResumeAnswer(u8, SessionIndex);

impl Answer {
    /// The session index it names; 0 in a refusal.
    pub fn index(&self) -> SessionIndex {
        match self {
            Answer::Refused { .. } => SessionIndex(0),
            Answer::SignIn { index, .. }
            | Answer::Register { index, .. }
            | Answer::Replace { index, .. }
            | Answer::Resume { index } => *index,
        }
    }

    /// Its bytes, for the payload of Noise message 2.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Answer::Refused { refusal, wait_ms } => put(&RefusedFields(0, *refusal as u8, *wait_ms), &mut out),
            Answer::SignIn { index, ke2 } => put(&SignInAnswer(1, *index, fixed(ke2)), &mut out),
            Answer::Register { index, password, recovery } => {
                put(&RegisterAnswer(2, *index, fixed(password), fixed(recovery)), &mut out);
            }
            Answer::Replace { index, ke2, password, recovery } => {
                put(&ReplaceAnswer(3, *index, fixed(ke2), fixed(password), fixed(recovery)), &mut out);
            }
            Answer::Resume { index } => put(&ResumeAnswer(4, *index), &mut out),
        }
        out
    }

    /// # Errors
    /// [`Malformed::Fields`] or [`Malformed::Kind`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Answer, Malformed> {
        Ok(match discriminant(bytes)? {
            0 => {
                let RefusedFields(_, code, wait_ms) = take_all(bytes)?;
                Answer::Refused { refusal: Refusal::from_code(code).ok_or(Malformed::Kind)?, wait_ms }
            }
            1 => {
                let SignInAnswer(_, index, ke2) = take_all(bytes)?;
                Answer::SignIn { index, ke2: ke2.to_vec() }
            }
            2 => {
                let RegisterAnswer(_, index, password, recovery) = take_all(bytes)?;
                Answer::Register { index, password: password.to_vec(), recovery: recovery.to_vec() }
            }
            3 => {
                let ReplaceAnswer(_, index, ke2, password, recovery) = take_all(bytes)?;
                let (password, recovery) = (password.to_vec(), recovery.to_vec());
                Answer::Replace { index, ke2: ke2.to_vec(), password, recovery }
            }
            4 => {
                let ResumeAnswer(_, index) = take_all(bytes)?;
                Answer::Resume { index }
            }
            _ => return Err(Malformed::Kind),
        })
    }
}

/// Where a client stands when it begins a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Its outbox.
    pub instance: Instance,
    /// The lowest number of its outbox that is not decided, as far as it knows: a server that was restored from an
    /// older state knows less, and goes on from here.
    pub first: Ordinal,
    /// Up to where it has shown the room; None in a fresh profile.
    pub room: Option<(Epoch, Seq)>,
    /// Up to where it has shown its inbox.
    pub inbox: Option<(Epoch, Seq)>,
    /// The newest signed tip it holds ([`SignedTip`](crate::wire::frame::SignedTip) bytes).
    pub tip: Option<ByteBuf>,
    /// [`ATTACH_PRESENT`] and [`ATTACH_TOKEN`].
    pub flags: u8,
}

/// Count as online and receive logs.
pub const ATTACH_PRESENT: u8 = 1;
/// Give a resume token.
pub const ATTACH_TOKEN: u8 = 2;

/// The plaintext of a confirm.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// OPAQUE's third message, 64 bytes.
    pub ke3: Option<ByteArray<64>>,
    /// OPAQUE registration upload of the password, 192 bytes.
    pub password: Option<ByteArray<192>>,
    /// The same of the recovery code.
    pub recovery: Option<ByteArray<192>>,
    /// For a session.
    pub attach: Option<Attach>,
}

impl Confirm {
    /// Its bytes, to be sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(self, &mut out);
        out
    }

    /// # Errors
    /// [`Malformed::Fields`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Confirm, Malformed> {
        take_all(bytes)
    }
}

/// The plaintext of an outcome: None is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why not.
    pub refusal: Option<Refusal>,
    /// When to try again, in milliseconds.
    pub wait_ms: u32,
}

impl Outcome {
    /// Its bytes, to be sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&(self.refusal.map_or(0, |refusal| refusal as u8), self.wait_ms), &mut out);
        out
    }

    /// # Errors
    /// [`Malformed::Fields`] or [`Malformed::Kind`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Outcome, Malformed> {
        let (code, wait_ms): (u8, u32) = take_all(bytes)?;
        let refusal = match code {
            0 => None,
            code => Some(Refusal::from_code(code).ok_or(Malformed::Kind)?),
        };
        Ok(Outcome { refusal, wait_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_as_they_were_written() {
        let requests = [
            Request::SignIn { username: "zoé".into(), ke1: vec![1; 96], device: None },
            Request::SignIn { username: "zoé".into(), ke1: vec![1; 96], device: Some([2; 32]) },
            Request::Register {
                username: "a".into(),
                first_name: "b".into(),
                last_name: "c".into(),
                password: vec![3; 32],
                recovery: vec![4; 32],
            },
            Request::Replace {
                username: "a".into(),
                kind: CredentialKind::Reset,
                ke1: vec![1; 96],
                password: vec![3; 32],
                recovery: vec![4; 32],
                device: Some([5; 32]),
            },
            Request::Resume { token: [6; 32] },
        ];
        for request in requests {
            let bytes = request.to_bytes();
            assert_eq!(Request::from_bytes(&bytes).unwrap(), request);
            for cut in 0..bytes.len() {
                assert!(Request::from_bytes(&bytes[..cut]).is_err(), "truncated at {cut}");
            }
            let mut trailing = bytes;
            trailing.push(0);
            assert!(Request::from_bytes(&trailing).is_err());
        }
    }

    #[test]
    fn answers_come_back_as_they_were_written() {
        let index = SessionIndex(9);
        let answers = [
            Answer::Refused { refusal: Refusal::Throttled, wait_ms: 4000 },
            Answer::SignIn { index, ke2: vec![1; 320] },
            Answer::Register { index, password: vec![2; 64], recovery: vec![3; 64] },
            Answer::Replace { index, ke2: vec![1; 320], password: vec![2; 64], recovery: vec![3; 64] },
            Answer::Resume { index },
        ];
        for answer in answers {
            let bytes = answer.to_bytes();
            assert_eq!(Answer::from_bytes(&bytes).unwrap(), answer);
            for cut in 0..bytes.len() {
                assert!(Answer::from_bytes(&bytes[..cut]).is_err(), "truncated at {cut}");
            }
        }
    }

    #[test]
    fn confirms_and_outcomes_come_back_as_they_were_written() {
        let attach = Attach {
            instance: Instance(u64::MAX),
            first: Ordinal(3),
            room: Some((Epoch(1), Seq(70))),
            inbox: None,
            tip: Some(ByteBuf::from(vec![7; 144])),
            flags: ATTACH_PRESENT | ATTACH_TOKEN,
        };
        let confirm = Confirm {
            ke3: Some(ByteArray::new([1; 64])),
            password: Some(ByteArray::new([2; 192])),
            recovery: None,
            attach: Some(attach),
        };
        assert!(Confirm::from_bytes(&confirm.to_bytes()).unwrap() == confirm);
        for outcome in
            [Outcome { refusal: None, wait_ms: 0 }, Outcome { refusal: Some(Refusal::NameTaken), wait_ms: 1 }]
        {
            assert_eq!(Outcome::from_bytes(&outcome.to_bytes()), Ok(outcome));
        }
    }
}
