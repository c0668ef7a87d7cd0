//! The whole exchange, both suites, and everything that must not come through.

use rand::{Rng as _, SeedableRng};
use serde_bytes::ByteArray;

use super::*;
use crate::id::{Instance, SessionIndex};
use crate::proto::keys::ServerKeys;
use crate::proto::opaque::{self, register_code};
use crate::proto::rng::Rng;
use crate::proto::suite::Suite;
use crate::record::{Credential, CredentialKind};
use crate::wire::entrance::{Attach, Outcome, Refusal, Request};
use crate::wire::header::{Header, Type};
use crate::wire::limits::{COOKIE, DATAGRAM, HEADER};

const ATTEMPT: u64 = 0x1122_3344_5566_7788;
const COOKIE_BYTES: [u8; COOKIE] = [0xc0; COOKIE];
const INDEX: SessionIndex = SessionIndex(0xabcd_ef01);
const SUITES: [Suite; 2] = [Suite::Real, Suite::Null];

/// A server with its account, and the randomness of both sides.
struct World {
    suite: Suite,
    rng: Rng,
    keys: ServerKeys,
    password: Option<Credential>,
    recovery: Option<Credential>,
}

impl World {
    fn new(suite: Suite) -> World {
        let mut rng = Rng::seed_from_u64(7);
        let keys = ServerKeys::generate(suite, &mut rng);
        World { suite, rng, keys, password: None, recovery: None }
    }

    /// With an account whose password and recovery code are these.
    fn with_account(suite: Suite, password: &str, recovery: &str) -> World {
        let mut world = World::new(suite);
        let intent = register(password, recovery);
        let (proven, pending) = world.exchange(&intent).unwrap();
        let confirm = pending.open_confirm(&mut proven.confirm(None)).unwrap();
        let finished = pending.finish(&confirm).unwrap();
        assert!(finished.keys.is_none() && proven.keys.is_none());
        world.password = finished.password;
        world.recovery = finished.recovery;
        assert!(world.password.is_some() && world.recovery.is_some());
        world
    }

    fn begin(&mut self, intent: &Intent) -> (Initiator, Vec<u8>) {
        Initiator::begin(self.suite, &mut self.rng, &self.keys.public(), ATTEMPT, COOKIE_BYTES, intent).unwrap()
    }

    fn read(&mut self, body: &[u8]) -> Result<(Responder, Request), BadInitiate> {
        let (cookie, message) = body.split_first_chunk().unwrap();
        Responder::read(&self.keys, &mut self.rng, ATTEMPT, cookie, message)
    }

    fn answer(&mut self, body: &[u8]) -> (Vec<u8>, PendingProof) {
        let (responder, request) = self.read(body).unwrap();
        let (keys, rng) = (&self.keys, &mut self.rng);
        match request {
            Request::SignIn { username, ke1, .. } => {
                responder.sign_in(keys, rng, INDEX, &ke1, self.password.as_ref(), &username).unwrap()
            }
            Request::Register { password, recovery, .. } => {
                responder.register(keys, rng, INDEX, &password, &recovery).unwrap()
            }
            Request::Replace { username, kind, ke1, password, recovery, .. } => {
                let credential = match kind {
                    CredentialKind::Password => self.password.as_ref(),
                    _ => self.recovery.as_ref(),
                };
                let requests = (&password[..], &recovery[..]);
                responder.replace(keys, rng, INDEX, &ke1, credential, &username, requests).unwrap()
            }
            Request::Resume { token } => responder.resume(keys, INDEX, &token),
        }
    }

    /// Up to where the client has proven itself.
    fn exchange(&mut self, intent: &Intent) -> Result<(Proven, PendingProof), WrongSecret> {
        let (mut initiator, body) = self.begin(intent);
        let (respond, pending) = self.answer(&body);
        assert!(body.len() + HEADER <= DATAGRAM && respond.len() <= DATAGRAM);
        let stretch = proceed(&mut initiator, &respond);
        assert_eq!(stretch.is_slow(), self.suite == Suite::Real && !matches!(intent, Intent::Resume { .. }));
        Ok((stretch.run()?, pending))
    }
}

fn handle(initiator: &mut Initiator, respond: &[u8]) -> Result<Responded, BadRespond> {
    let (header, body) = Header::split(respond).map_err(|_| BadRespond::Header)?;
    initiator.handle_respond(&header, body)
}

fn proceed(initiator: &mut Initiator, respond: &[u8]) -> Box<Stretch> {
    match handle(initiator, respond) {
        Ok(Responded::Proceed(stretch)) => stretch,
        other => panic!("{other:?}"),
    }
}

fn sign_in(password: &str) -> Intent {
    Intent::SignIn { username: "zoe".into(), password: password.into(), device: Some([3; 32]) }
}

fn register(password: &str, recovery: &str) -> Intent {
    Intent::Register {
        username: "zoe".into(),
        first_name: "Zoé".into(),
        last_name: "Martin".into(),
        password: password.into(),
        recovery_code: recovery.into(),
    }
}

fn replace(kind: CredentialKind, secret: &str) -> Intent {
    Intent::Replace {
        username: "zoe".into(),
        kind,
        secret: secret.into(),
        new_password: "neuf".into(),
        new_recovery_code: "ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ".into(),
        device: None,
    }
}

fn attach() -> Option<Attach> {
    Some(Attach { instance: Instance(5), first: crate::id::Ordinal(1), room: None, inbox: None, tip: None, flags: 3 })
}

/// Both sides of a session can talk, each under its own keys.
fn assert_session(proven: &mut Proven, finished: Finished) {
    let client = proven.keys.take().unwrap();
    let server = finished.keys.unwrap();
    assert_eq!(client.key_log_line(INDEX), server.key_log_line(INDEX));
    let (mut client_out, mut client_in) = client.split();
    let (mut server_out, mut server_in) = server.split();
    for kind in [Type::Sealed, Type::Readable, Type::Credential] {
        for (out, into) in [(&mut client_out, &mut server_in), (&mut server_out, &mut client_in)] {
            let mut datagram = [&[0; HEADER][..], b"bonjour"].concat();
            out.seal(kind, INDEX, &mut datagram);
            let (header, _) = Header::split(&datagram).unwrap();
            assert_eq!(into.open(&header, &mut datagram).unwrap(), b"bonjour");
        }
    }
}

#[test]
fn sign_in_makes_a_session() {
    for suite in SUITES {
        let mut world = World::with_account(suite, "sésame", "00000-11111-22222-33333");
        let (mut proven, pending) = world.exchange(&sign_in("sésame")).unwrap();
        let datagram = proven.confirm(attach());
        assert_eq!(proven.confirm(None), datagram, "one key and counter, one plaintext");
        let confirm = pending.open_confirm(&mut datagram.clone()).unwrap();
        assert!(confirm.attach == attach());
        assert!(pending.open_confirm(&mut datagram.clone()).unwrap() == confirm, "a repeated confirm opens again");
        let finished = pending.finish(&confirm).unwrap();
        assert_session(&mut proven, finished);
    }
}

#[test]
fn a_password_is_the_same_in_both_normal_forms() {
    let mut world = World::with_account(Suite::Real, "se\u{301}same", "00000-11111-22222-33333");
    assert!(world.exchange(&sign_in("s\u{e9}same")).is_ok());
}

#[test]
fn resume_makes_a_session() {
    for suite in SUITES {
        let mut world = World::new(suite);
        let (mut proven, pending) = world.exchange(&Intent::Resume { token: [9; 32] }).unwrap();
        let confirm = pending.open_confirm(&mut proven.confirm(attach())).unwrap();
        let finished = pending.finish(&confirm).unwrap();
        assert_session(&mut proven, finished);
    }
}

#[test]
fn a_code_or_the_old_password_replaces_both_secrets() {
    for suite in SUITES {
        for (kind, secret) in
            [(CredentialKind::Recovery, "o0o00lILl1 22222-33333"), (CredentialKind::Password, "sésame")]
        {
            let mut world = World::with_account(suite, "sésame", "00000-11111-22222-33333");
            let (proven, pending) = world.exchange(&replace(kind, secret)).unwrap();
            let confirm = pending.open_confirm(&mut proven.confirm(None)).unwrap();
            let finished = pending.finish(&confirm).unwrap();
            assert!(finished.keys.is_none());
            world.password = finished.password;
            world.recovery = finished.recovery;
            let outcome = Outcome { refusal: None, wait_ms: 0 };
            let datagram = pending.outcome(outcome);
            assert_eq!(proven.open_outcome(&mut datagram.clone()), Some(outcome));
            let other = Outcome { refusal: Some(Refusal::StoreFailed), wait_ms: 0 };
            assert_eq!(pending.outcome(other), datagram, "one key and counter, one plaintext");

            assert!(world.exchange(&sign_in("neuf")).is_ok());
            assert_eq!(world.exchange(&sign_in("sésame")).err(), Some(WrongSecret));
            assert!(world.exchange(&replace(CredentialKind::Recovery, "zzzzz zzzzz zzzzz zzzzz")).is_ok());
        }
    }
}

#[test]
fn a_reset_code_made_by_the_server_alone_is_proven_like_another() {
    for suite in SUITES {
        let mut world = World::with_account(suite, "a", "b");
        let code = opaque::reset_code(&mut world.rng);
        world.recovery = Some(register_code(&world.keys, &mut world.rng, &code, [8; 16]));
        let (proven, pending) = world.exchange(&replace(CredentialKind::Reset, &code.to_lowercase())).unwrap();
        let confirm = pending.open_confirm(&mut proven.confirm(None)).unwrap();
        assert!(pending.finish(&confirm).is_ok());
        assert!(world.exchange(&replace(CredentialKind::Reset, "00000-00000")).is_err());
    }
}

#[test]
fn a_wrong_password_and_an_unknown_name_look_the_same() {
    for suite in SUITES {
        let mut world = World::with_account(suite, "sésame", "00000-11111-22222-33333");
        let (mut initiator, body) = world.begin(&sign_in("sesame"));
        let (wrong, _) = world.answer(&body);
        assert_eq!(proceed(&mut initiator, &wrong).run().err(), Some(WrongSecret));

        world.password = None;
        let (mut initiator, body) = world.begin(&sign_in("sésame"));
        let (unknown, pending) = world.answer(&body);
        assert_eq!(unknown.len(), wrong.len());
        let stretch = proceed(&mut initiator, &unknown);
        assert!(stretch.run().is_err());

        // Whoever sends a confirm without a proof is refused.
        let confirm = confirm(Some([0; 64]), attach());
        assert_eq!(pending.finish(&confirm).err(), Some(WrongProof::Proof));
    }
}

/// The first 32 bytes of ke2 are the OPRF's evaluation: of one ke1 it must be the same each time, also for a name
/// that nobody has, or asking twice would tell.
#[test]
fn an_unknown_name_is_evaluated_the_same_each_time() {
    let mut world = World::new(Suite::Real);
    let secret = opaque::password("x");
    let (_, ke1) = opaque::ClientLogin::start(Suite::Real, &mut world.rng, &secret).unwrap();
    let mut evaluate = |name: &str| {
        opaque::ServerLogin::start(&world.keys, &mut world.rng, &ke1, None, name, b"context").unwrap().1[..32].to_vec()
    };
    let first = evaluate("bob");
    assert_eq!(first, evaluate("bob"));
    assert_ne!(first, evaluate("amina"));
}

fn confirm(ke3: Option<[u8; 64]>, attach: Option<Attach>) -> crate::wire::entrance::Confirm {
    crate::wire::entrance::Confirm { ke3: ke3.map(ByteArray::new), password: None, recovery: None, attach }
}

#[test]
fn a_confirm_of_another_shape_is_refused() {
    for suite in SUITES {
        let mut world = World::with_account(suite, "a", "b");
        for intent in [sign_in("a"), register("a", "b"), replace(CredentialKind::Password, "a")] {
            let (_, pending) = world.exchange(&intent).unwrap();
            assert_eq!(pending.finish(&confirm(None, None)).err(), Some(WrongProof::Shape), "{intent:?}");
            assert_eq!(pending.finish(&confirm(None, attach())).err(), Some(WrongProof::Shape), "{intent:?}");
        }
        let (_, pending) = world.exchange(&Intent::Resume { token: [1; 32] }).unwrap();
        assert_eq!(pending.finish(&confirm(Some([0; 64]), attach())).err(), Some(WrongProof::Shape));
        assert_eq!(pending.finish(&confirm(None, None)).err(), Some(WrongProof::Shape));
    }
}

#[test]
fn an_unsound_upload_is_refused() {
    let mut world = World::new(Suite::Real);
    let (proven, pending) = world.exchange(&register("a", "b")).unwrap();
    let mut confirm = pending.open_confirm(&mut proven.confirm(None)).unwrap();
    confirm.password = Some(ByteArray::new([0xff; 192]));
    assert_eq!(pending.finish(&confirm).err(), Some(WrongProof::Shape));
    confirm.password = Some(ByteArray::new([0; 192]));
    assert_eq!(pending.finish(&confirm).err(), Some(WrongProof::Shape), "the identity is nobody's key");
}

#[test]
fn no_bytes_in_place_of_group_elements_make_the_server_panic() {
    let mut world = World::with_account(Suite::Real, "a", "b");
    for bytes in [[0u8; 96], [0xff; 96], [1; 96]] {
        let (_, body) = world.begin(&sign_in("a"));
        let (responder, _) = world.read(&body).unwrap();
        let answer = responder.sign_in(&world.keys, &mut world.rng, INDEX, &bytes, world.password.as_ref(), "zoe");
        assert!(answer.is_err());
        let (responder, _) = world.read(&body).unwrap();
        assert!(responder.register(&world.keys, &mut world.rng, INDEX, &bytes[..32], &bytes[..32]).is_err());
        let (responder, _) = world.read(&body).unwrap();
        assert!(responder.sign_in(&world.keys, &mut world.rng, INDEX, &bytes[..7], None, "zoe").is_err());
    }
    let damaged = Credential { identifier: [1; 16], upload: vec![0xff; 10] };
    let (_, body) = world.begin(&sign_in("a"));
    let (responder, request) = world.read(&body).unwrap();
    let Request::SignIn { ke1, .. } = request else { panic!("{request:?}") };
    assert!(responder.sign_in(&world.keys, &mut world.rng, INDEX, &ke1, Some(&damaged), "zoe").is_ok());
}

#[test]
fn a_refusal_is_read_and_ends_the_attempt() {
    for suite in SUITES {
        let mut world = World::new(suite);
        let (mut initiator, body) = world.begin(&sign_in("a"));
        let (responder, _) = world.read(&body).unwrap();
        let respond = responder.refuse(Refusal::Throttled, 4000);
        assert!(matches!(handle(&mut initiator, &respond), Ok(Responded::Refused(Refusal::Throttled, 4000))));
        assert_eq!(handle(&mut initiator, &respond).err(), Some(BadRespond::Answered));
    }
}

/// The client was made to talk to a false server, which has a handshake of its own with the real one and passes the
/// OPAQUE messages on. `bound` is what the real server does: its context is of the handshake it is in. Otherwise it
/// takes the victim's, as if OPAQUE were not bound to Noise.
fn relayed(bound: bool) -> Result<Proven, WrongSecret> {
    let mut real = World::with_account(Suite::Real, "sésame", "b");
    let mut rng = Rng::seed_from_u64(99);
    let false_keys = ServerKeys::generate(Suite::Real, &mut rng);
    let intent = sign_in("sésame");
    let begun = Initiator::begin(Suite::Real, &mut rng, &false_keys.public(), ATTEMPT, COOKIE_BYTES, &intent);
    let (mut victim, body) = begun.unwrap();
    assert_eq!(real.read(&body).err(), Some(BadInitiate::Noise), "passed on as it is");

    let (cookie, message) = body.split_first_chunk().unwrap();
    let (from_victim, request) = Responder::read(&false_keys, &mut rng, ATTEMPT, cookie, message).unwrap();
    let Request::SignIn { ke1, .. } = request else { panic!("{request:?}") };
    let (_, to_real) = real.begin(&sign_in("whatever"));
    let (at_real, _) = real.read(&to_real).unwrap();
    let context = if bound { &at_real } else { &from_victim }.context_for_tests();
    let credential = real.password.as_ref();
    let login = opaque::ServerLogin::start(&real.keys, &mut real.rng, &ke1, credential, "zoe", context);
    let respond = from_victim.answer_for_tests(INDEX, login.unwrap().1);
    proceed(&mut victim, &respond).run()
}

#[test]
fn a_false_server_cannot_relay_a_sign_in() {
    assert_eq!(relayed(true).err(), Some(WrongSecret));
    assert!(relayed(false).is_ok(), "it is the binding that stops it");
}

#[test]
fn flipped_bits_in_initiate_are_refused() {
    let mut world = World::new(Suite::Real);
    let (_, body) = world.begin(&Intent::Resume { token: [1; 32] });
    for bit in 0..body.len() * 8 {
        let mut flipped = body.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(world.read(&flipped).err(), Some(BadInitiate::Noise), "bit {bit}");
    }
    let (cookie, message) = body.split_first_chunk().unwrap();
    for cut in 0..message.len() {
        assert!(Responder::read(&world.keys, &mut world.rng, ATTEMPT, cookie, &message[..cut]).is_err());
    }
    assert!(Responder::read(&world.keys, &mut world.rng, ATTEMPT + 1, cookie, message).is_err(), "another attempt");
    assert!(world.read(&body).is_ok());
}

#[test]
fn flipped_bits_in_respond_are_refused_and_the_genuine_one_still_counts() {
    let mut world = World::new(Suite::Real);
    let (mut initiator, body) = world.begin(&Intent::Resume { token: [1; 32] });
    let (respond, pending) = world.answer(&body);
    for bit in 0..respond.len() * 8 {
        let mut flipped = respond.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(handle(&mut initiator, &flipped).is_err(), "bit {bit}");
    }
    let mut proven = proceed(&mut initiator, &respond).run().unwrap();
    assert_eq!(handle(&mut initiator, &respond).err(), Some(BadRespond::Answered));
    let confirm = pending.open_confirm(&mut proven.confirm(attach())).unwrap();
    assert_session(&mut proven, pending.finish(&confirm).unwrap());
}

#[test]
fn flipped_bits_in_confirm_and_outcome_are_refused() {
    let mut world = World::new(Suite::Real);
    let (proven, pending) = world.exchange(&Intent::Resume { token: [1; 32] }).unwrap();
    let confirm = proven.confirm(attach());
    let outcome = pending.outcome(Outcome { refusal: Some(Refusal::TokenInvalid), wait_ms: 0 });
    for bit in 0..confirm.len() * 8 {
        let mut flipped = confirm.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(pending.open_confirm(&mut flipped).is_none(), "bit {bit}");
    }
    for bit in 0..outcome.len() * 8 {
        let mut flipped = outcome.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(proven.open_outcome(&mut flipped).is_none(), "bit {bit}");
    }
    for cut in 0..confirm.len() {
        assert!(pending.open_confirm(&mut confirm[..cut].to_vec()).is_none());
    }
    assert!(proven.open_outcome(&mut confirm.clone()).is_none(), "a confirm is no outcome");
    assert!(proven.open_outcome(&mut outcome.clone()).is_some());
}

#[test]
fn another_session_cannot_be_confirmed() {
    for suite in SUITES {
        let mut world = World::new(suite);
        let intent = Intent::Resume { token: [1; 32] };
        let (one, _) = world.exchange(&intent).unwrap();
        let begin = Initiator::begin(suite, &mut world.rng, &world.keys.public(), 4, COOKIE_BYTES, &intent);
        let (_, body) = begin.unwrap();
        let (cookie, message) = body.split_first_chunk().unwrap();
        let (responder, _) = Responder::read(&world.keys, &mut world.rng, 4, cookie, message).unwrap();
        let (_, other) = responder.resume(&world.keys, INDEX, &[1; 32]);
        assert!(other.open_confirm(&mut one.confirm(attach())).is_none());
    }
}

#[test]
fn the_longest_names_fit_and_longer_ones_are_an_error() {
    for suite in SUITES {
        let mut world = World::new(suite);
        let mut intent = |username: usize, name: usize| {
            let intent = Intent::Register {
                username: "🎒".repeat(username),
                first_name: "🎒".repeat(name),
                last_name: "🎒".repeat(name),
                password: String::new(),
                recovery_code: String::new(),
            };
            let rng = &mut world.rng;
            Initiator::begin(suite, rng, &world.keys.public(), ATTEMPT, COOKIE_BYTES, &intent).is_ok()
        };
        assert!(intent(32, 64));
        assert!(!intent(1000, 64));
    }
}

#[test]
fn a_seed_decides_every_byte() {
    for suite in SUITES {
        let run = || {
            let mut world = World::with_account(suite, "a", "b");
            let (mut initiator, body) = world.begin(&sign_in("a"));
            let (respond, _) = world.answer(&body);
            (body, respond.clone(), proceed(&mut initiator, &respond).run().unwrap().confirm(attach()))
        };
        assert_eq!(run(), run());
    }
}

#[test]
fn both_suites_make_messages_of_the_same_lengths() {
    let lengths = |suite| {
        let mut world = World::with_account(suite, "a", "b");
        let mut all = Vec::new();
        for intent in [
            sign_in("a"),
            register("a", "b"),
            replace(CredentialKind::Password, "a"),
            Intent::Resume { token: world.rng.r#gen() },
        ] {
            let (mut initiator, body) = world.begin(&intent);
            let (respond, _) = world.answer(&body);
            let proven = proceed(&mut initiator, &respond).run().unwrap();
            all.push((body.len(), respond.len(), proven.confirm(attach()).len()));
        }
        all
    };
    assert_eq!(lengths(Suite::Real), lengths(Suite::Null));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", sign_in("sésame"), replace(CredentialKind::Recovery, "sésame"));
    assert_eq!(shown, "SignIn Replace");
}

/// The core hands a stretch out to another thread and gets what it proved back.
#[test]
fn all_states_may_move_to_another_thread() {
    fn assert_send<T: Send + 'static>() {}
    assert_send::<Stretch>();
    assert_send::<Proven>();
    assert_send::<Initiator>();
    assert_send::<Responder>();
    assert_send::<PendingProof>();
}
