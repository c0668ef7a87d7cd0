//! The initiator: what a client says to come in, and what it makes of the answers.

use std::sync::OnceLock;

use serde_bytes::ByteArray;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::noise::{Noise, OVERHEAD, opaque_context};
use crate::id::SessionIndex;
use crate::proto::datagram::{Key, SessionKeys};
use crate::proto::keys::PublicKeys;
use crate::proto::opaque::{self, ClientLogin, ClientRegistration, Secret, Stretching, WrongSecret};
use crate::proto::rng::{Rng, fork};
use crate::proto::schedule::{Schedule, Side};
use crate::proto::suite::Suite;
use crate::record::CredentialKind;
use crate::wire::entrance::{Answer, Attach, Confirm, Outcome, Refusal, Request};
use crate::wire::header::{Header, Type};
use crate::wire::limits::{COOKIE, DATAGRAM, HEADER};

/// What a client comes in for. Secrets are zeroized when dropped, and `Debug` shows none.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub enum Intent {
    /// A session, by password.
    SignIn {
        /// Whose.
        username: String,
        /// As typed.
        password: String,
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
        /// As typed.
        password: String,
        /// As [`opaque::recovery_code`] made it.
        recovery_code: String,
    },
    /// A new password and recovery code.
    Replace {
        /// Whose.
        username: String,
        /// What `secret` is.
        #[zeroize(skip)]
        kind: CredentialKind,
        /// The old password or a code, as typed.
        secret: String,
        /// As typed.
        new_password: String,
        /// As [`opaque::recovery_code`] made it.
        new_recovery_code: String,
        /// The device secret, on a device that signed in before.
        device: Option<[u8; 32]>,
    },
    /// A session, by token.
    Resume {
        /// As given by a token frame.
        token: [u8; 32],
    },
}

impl std::fmt::Debug for Intent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Intent::SignIn { .. } => "SignIn",
            Intent::Register { .. } => "Register",
            Intent::Replace { .. } => "Replace",
            Intent::Resume { .. } => "Resume",
        })
    }
}

/// Names longer than a datagram holds, or a secret longer than 65,535 bytes: the caller's mistake, nothing was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name or a secret is far too long")]
pub struct BadIntent;

impl From<opaque::Unusable> for BadIntent {
    fn from(_: opaque::Unusable) -> BadIntent {
        BadIntent
    }
}

/// A sign-in under way: the secret and OPAQUE's state for it.
struct Login {
    secret: Secret,
    state: ClientLogin,
}

/// A registration under way: likewise.
struct Registration {
    secret: Secret,
    state: ClientRegistration,
}

impl Login {
    fn start(suite: Suite, rng: &mut Rng, secret: Secret) -> Result<(Login, Vec<u8>), BadIntent> {
        let (state, ke1) = ClientLogin::start(suite, rng, &secret)?;
        Ok((Login { secret, state }, ke1))
    }
}

impl Registration {
    fn start(suite: Suite, rng: &mut Rng, secret: Secret) -> Result<(Registration, Vec<u8>), BadIntent> {
        let (state, request) = ClientRegistration::start(suite, rng, &secret)?;
        Ok((Registration { secret, state }, request))
    }

    fn finish(self, rng: &mut Rng, response: &[u8]) -> Result<[u8; 192], WrongSecret> {
        self.state.finish(rng, &self.secret, response)
    }
}

/// What is remembered of the intent until the answer comes.
enum Asked {
    SignIn(Login),
    Register(Registration, Registration),
    Replace(Login, Registration, Registration),
    Resume(Zeroizing<[u8; 32]>),
}

/// A client between its initiate and the server's respond.
pub struct Initiator {
    suite: Suite,
    attempt: u64,
    noise: Noise,
    context: Vec<u8>,
    rng: Rng,
    /// None once it was answered.
    asked: Option<Asked>,
    /// The genuine Noise message 2 and its answer, if one came under a header that was not genuine: the header's index
    /// is protected by the answer only, and Noise reads a message once.
    read: Option<(Vec<u8>, Answer)>,
}

/// A respond that means nothing: forged, damaged, or not of this attempt. Dropped; the initiator goes on waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRespond {
    /// The header is of another attempt, or names another session than the answer.
    #[error("not of this attempt")]
    Header,
    /// Not a Noise message of the server whose key we hold.
    #[error("not genuine")]
    Noise,
    /// Genuine, but not an answer to what was asked.
    #[error("not an answer")]
    Answer,
    /// A genuine answer came before.
    #[error("answered before")]
    Answered,
}

/// A genuine answer.
#[derive(Debug)]
pub enum Responded {
    /// Not now, or not at all; wait so many milliseconds.
    Refused(Refusal, u32),
    /// Go on: run this, perhaps elsewhere.
    Proceed(Box<Stretch>),
}

impl Initiator {
    /// Begins an attempt. Returns the body of the initiate datagram too, to be resent byte for byte.
    ///
    /// # Errors
    /// [`BadIntent`].
    pub fn begin(
        suite: Suite,
        rng: &mut Rng,
        server: &PublicKeys,
        attempt: u64,
        cookie: [u8; COOKIE],
        intent: &Intent,
    ) -> Result<(Initiator, Vec<u8>), BadIntent> {
        let (asked, request) = ask(suite, rng, intent)?;
        let mut payload = Zeroizing::new(request.to_bytes());
        if HEADER + COOKIE + OVERHEAD + payload.len() > DATAGRAM {
            return Err(BadIntent);
        }
        let mut noise = Noise::initiator(suite, rng, server, attempt, &cookie);
        let mut body = cookie.to_vec();
        body.append(&mut noise.write(&payload));
        payload.zeroize();
        let context = opaque_context(&noise.hash());
        let initiator = Initiator { suite, attempt, noise, context, rng: fork(rng), asked: Some(asked), read: None };
        Ok((initiator, body))
    }

    /// Takes a respond datagram; `header` and `body` as [`Header::split`] gives them.
    ///
    /// # Errors
    /// [`BadRespond`]; this stays as it was, waiting for a better one.
    pub fn handle_respond(&mut self, header: &Header, body: &[u8]) -> Result<Responded, BadRespond> {
        if self.asked.is_none() {
            return Err(BadRespond::Answered);
        }
        if header.kind != Type::Respond || header.counter != self.attempt {
            return Err(BadRespond::Header);
        }
        let answer = self.read(body)?;
        if header.session != answer.index() {
            return Err(BadRespond::Header);
        }
        if let Answer::Refused { refusal, wait_ms } = answer {
            self.asked = None;
            return Ok(Responded::Refused(refusal, wait_ms));
        }
        let fits = matches!(
            (self.asked.as_ref(), &answer),
            (Some(Asked::SignIn(..)), Answer::SignIn { .. })
                | (Some(Asked::Register(..)), Answer::Register { .. })
                | (Some(Asked::Replace(..)), Answer::Replace { .. })
                | (Some(Asked::Resume(..)), Answer::Resume { .. })
        );
        let asked = self.asked.take_if(|_| fits).ok_or(BadRespond::Answer)?;
        Ok(Responded::Proceed(Box::new(Stretch {
            suite: self.suite,
            index: header.session,
            schedule: self.noise.split(),
            context: std::mem::take(&mut self.context),
            rng: self.rng.clone(),
            asked,
            answer,
        })))
    }

    fn read(&mut self, message: &[u8]) -> Result<Answer, BadRespond> {
        if let Some((genuine, answer)) = &self.read {
            return if genuine == message { Ok(answer.clone()) } else { Err(BadRespond::Noise) };
        }
        let payload = self.noise.read(message).ok_or(BadRespond::Noise)?;
        // A server that errs under its own key will not send anything better in this attempt.
        let answer = Answer::from_bytes(&payload).map_err(|_| BadRespond::Answer)?;
        self.read = Some((message.to_vec(), answer.clone()));
        Ok(answer)
    }
}

/// OPAQUE's first messages for an intent.
fn ask(suite: Suite, rng: &mut Rng, intent: &Intent) -> Result<(Asked, Request), BadIntent> {
    Ok(match intent {
        Intent::SignIn { username, password, device } => {
            let (login, ke1) = Login::start(suite, rng, opaque::password(password))?;
            (Asked::SignIn(login), Request::SignIn { username: username.clone(), ke1, device: *device })
        }
        Intent::Register { username, first_name, last_name, password, recovery_code } => {
            let (new_password, password) = Registration::start(suite, rng, opaque::password(password))?;
            let (new_recovery, recovery) = Registration::start(suite, rng, opaque::code(recovery_code))?;
            let (username, first_name, last_name) = (username.clone(), first_name.clone(), last_name.clone());
            let request = Request::Register { username, first_name, last_name, password, recovery };
            (Asked::Register(new_password, new_recovery), request)
        }
        Intent::Replace { username, kind, secret, new_password, new_recovery_code, device } => {
            let secret = match kind {
                CredentialKind::Password => opaque::password(secret),
                CredentialKind::Recovery | CredentialKind::Reset => opaque::code(secret),
            };
            let (login, ke1) = Login::start(suite, rng, secret)?;
            let (new_password, password) = Registration::start(suite, rng, opaque::password(new_password))?;
            let (new_recovery, recovery) = Registration::start(suite, rng, opaque::code(new_recovery_code))?;
            let (username, device) = (username.clone(), *device);
            let request = Request::Replace { username, kind: *kind, ke1, password, recovery, device };
            (Asked::Replace(login, new_password, new_recovery), request)
        }
        Intent::Resume { token } => (Asked::Resume(Zeroizing::new(*token)), Request::Resume { token: *token }),
    })
}

/// The rest of a client's computation. Takes some 20 ms and 19 MiB a password where [`Stretch::is_slow`], so that it
/// is run outside of the core.
pub struct Stretch {
    suite: Suite,
    index: SessionIndex,
    schedule: Schedule,
    context: Vec<u8>,
    rng: Rng,
    asked: Asked,
    answer: Answer,
}

impl Stretch {
    /// Whether Argon2 is needed.
    pub fn is_slow(&self) -> bool {
        let slow = |secret: &Secret| self.suite == Suite::Real && secret.stretching == Stretching::Argon2id;
        match &self.asked {
            Asked::SignIn(login) => slow(&login.secret),
            Asked::Register(password, _) | Asked::Replace(_, password, _) => slow(&password.secret),
            Asked::Resume(_) => false,
        }
    }

    /// Computes what confirm will say.
    ///
    /// # Errors
    /// [`WrongSecret`]: there is nothing to send.
    pub fn run(mut self) -> Result<Proven, WrongSecret> {
        let (confirm_key, outcome_key) = self.schedule.confirm();
        let mut proven = Proven {
            index: self.index,
            keys: None,
            ke3: None,
            password: None,
            recovery: None,
            confirm_key,
            outcome_key,
            confirm: OnceLock::new(),
        };
        match (self.asked, &self.answer) {
            (Asked::SignIn(login), Answer::SignIn { ke2, .. }) => {
                let (ke3, key) = login.state.finish(&mut self.rng, &login.secret, ke2, &self.context)?;
                proven.ke3 = Some(ke3);
                proven.keys = Some(self.schedule.session(Side::Client, &key[..]));
            }
            (Asked::Register(new_password, new_recovery), Answer::Register { password, recovery, .. }) => {
                proven.password = Some(new_password.finish(&mut self.rng, password)?);
                proven.recovery = Some(new_recovery.finish(&mut self.rng, recovery)?);
            }
            (Asked::Replace(login, new_password, new_recovery), Answer::Replace { ke2, password, recovery, .. }) => {
                let (ke3, _) = login.state.finish(&mut self.rng, &login.secret, ke2, &self.context)?;
                proven.ke3 = Some(ke3);
                proven.password = Some(new_password.finish(&mut self.rng, password)?);
                proven.recovery = Some(new_recovery.finish(&mut self.rng, recovery)?);
            }
            (Asked::Resume(token), Answer::Resume { .. }) => {
                proven.keys = Some(self.schedule.session(Side::Client, &token[..]));
            }
            _ => unreachable!("handle_respond made this from an answer that fits"),
        }
        Ok(proven)
    }
}

impl std::fmt::Debug for Stretch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stretch({:?})", self.answer.index())
    }
}

/// A client that has everything for its confirm.
pub struct Proven {
    /// The new session's.
    pub index: SessionIndex,
    /// The session's keys, after a sign-in or a resume; to be taken.
    pub keys: Option<SessionKeys>,
    ke3: Option<[u8; 64]>,
    password: Option<[u8; 192]>,
    recovery: Option<[u8; 192]>,
    confirm_key: Key,
    outcome_key: Key,
    confirm: OnceLock<Vec<u8>>,
}

impl Proven {
    /// The whole confirm datagram; a sign-in and a resume attach, the others do not. The first call decides what it
    /// says and later ones return the same bytes: its key and counter seal one plaintext only.
    pub fn confirm(&self, attach: Option<Attach>) -> Vec<u8> {
        let make = || {
            let confirm = Confirm {
                ke3: self.ke3.map(ByteArray::new),
                password: self.password.map(ByteArray::new),
                recovery: self.recovery.map(ByteArray::new),
                attach,
            };
            let mut datagram = vec![0; HEADER];
            datagram.extend_from_slice(&Zeroizing::new(confirm.to_bytes()));
            let header = Header { kind: Type::Confirm, session: self.index, counter: 0 };
            self.confirm_key.seal_datagram(header, &mut datagram);
            datagram
        };
        self.confirm.get_or_init(make).clone()
    }

    /// What an outcome datagram says, if it is genuine and of this session.
    pub fn open_outcome(&self, datagram: &mut [u8]) -> Option<Outcome> {
        let (header, _) = Header::split(datagram).ok()?;
        if header != (Header { kind: Type::Outcome, session: self.index, counter: 0 }) {
            return None;
        }
        Outcome::from_bytes(self.outcome_key.open_datagram(&header, datagram)?).ok()
    }
}

impl Drop for Proven {
    fn drop(&mut self) {
        self.ke3.zeroize();
        self.password.zeroize();
        self.recovery.zeroize();
    }
}

impl std::fmt::Debug for Proven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proven({:?})", self.index)
    }
}
