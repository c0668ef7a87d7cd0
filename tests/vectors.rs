//! The test vectors of proto.md, section 16: a registration, a sign-in, a resume, a page and a tip, byte by byte with
//! their keys. Each run makes them anew from fixed seeds, checks them against `independent`, and compares them with
//! the files of `tests/vectors`. `PREAU_WRITE_VECTORS=1` writes these.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking too")]

mod independent;

use std::path::Path;

use opaque_ke::keypair::PrivateKey;
use opaque_ke::{ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters};
use opaque_ke::{CredentialResponse, Identifiers, RegistrationResponse, Ristretto255};
use preau::id::{Epoch, Instance, Ordinal, RoomId, Seq, SessionIndex, UserId};
use preau::now::{Instant, WallMs};
use preau::proto::cookie::CookieKey;
use preau::proto::datagram::{Opener, Protector};
use preau::proto::handshake::{Initiator, Intent, PendingProof, Proven, Responded, Responder};
use preau::proto::keys::ServerKeys;
use preau::proto::opaque::{Opaque, Stretching, normalise_code};
use preau::proto::rng::Rng;
use preau::proto::sign::{NO_PAGE, PageId, RoomKey, sign_page, sign_tip};
use preau::proto::suite::Suite;
use preau::record::Credential;
use preau::wire::entrance::{ATTACH_PRESENT, ATTACH_TOKEN, Answer, Attach, Confirm, Outcome, Request, Retry};
use preau::wire::entry::Entry;
use preau::wire::frame::{Frame, Page, Say, Tell, Token, Told, ToldItem};
use preau::wire::header::{Header, Type};
use preau::wire::limits::{HEADER, HELLO};
use rand::{RngCore, SeedableRng};
use serde_bytes::{ByteArray, ByteBuf};
use x25519_dalek::{PublicKey, StaticSecret};

const USERNAME: &str = "amina";
const PASSWORD: &str = "l'école est finie";
const RECOVERY: &str = "01234-56789-ABCDE-FGHJK";
const TOKEN: [u8; 32] = [0x70; 32];
const CLIENT: &str = "192.168.1.20:40001";

#[test]
fn the_vectors_are_what_the_program_does() {
    let mut world = World::new();
    let mut files = vec![("keys.txt", world.keys())];
    let (text, password) = world.register();
    files.push(("register.txt", text));
    files.push(("sign_in.txt", world.sign_in(password)));
    files.push(("resume.txt", world.resume()));
    files.push(("page.txt", world.page()));

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let write = std::env::var_os("PREAU_WRITE_VECTORS").is_some();
    for (name, Text(text)) in files {
        let path = folder.join(name);
        if write {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        for (number, (made, kept)) in text.lines().zip(kept.lines()).enumerate() {
            assert_eq!(made, kept, "{name}, line {}", number + 1);
        }
        assert!(kept == text, "{name} is longer or shorter than what the program does");
    }
}

/// A file under way.
struct Text(String);

impl Text {
    fn new(about: &str) -> Text {
        Text(format!("# {about}\n"))
    }

    fn section(&mut self, title: &str) {
        self.0 += &format!("\n# {title}\n");
    }

    fn put(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.0 += &format!("{name} = {}\n", hex(bytes.as_ref()));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct World {
    keys: ServerKeys,
}

/// What the two sides of one handshake hold, and what was checked independently.
struct Handshake {
    text: Text,
    index: SessionIndex,
    proven: Proven,
    pending: PendingProof,
    /// k1, k2, h.
    noise: ([u8; 32], [u8; 32], [u8; 32]),
    request: Request,
    answer: Answer,
    context: Vec<u8>,
    /// The client's randomness as it was before it began, and as the rest of its computation is seeded.
    client_rng: Rng,
    client_rest: Rng,
}

impl World {
    fn new() -> World {
        let keys = ServerKeys::generate(Suite::Real, &mut Rng::seed_from_u64(1));
        World { keys }
    }

    fn keys(&mut self) -> Text {
        let mut text = Text::new("The server's keys and its pin (proto.md, section 3)");
        let bytes = self.keys.to_bytes();
        let public = self.keys.public();
        text.put("ed25519_seed", &bytes[1..33]);
        text.put("ed25519_public", public.ed25519);
        text.put("x25519_secret", &bytes[33..65]);
        text.put("x25519_public", public.x25519);
        text.put("opaque_oprf_seed", &bytes[97..161]);
        text.put("opaque_server_secret", &bytes[161..193]);
        text.put("pin", public.pin().0);
        text.put("pin_words_utf8", public.pin().words().join(" "));
        assert_eq!(PublicKey::from(&self.x25519()).to_bytes(), public.x25519);
        text
    }

    fn x25519(&self) -> StaticSecret {
        let bytes: [u8; 32] = self.keys.to_bytes()[33..65].try_into().unwrap();
        StaticSecret::from(bytes)
    }

    /// Hello, retry, initiate, respond; `draws` plays the client's draws for the intent before Noise's.
    fn handshake(
        &mut self,
        about: &str,
        seed: u64,
        intent: &Intent,
        credential: Option<&Credential>,
        draws: impl FnOnce(&mut Rng),
    ) -> Handshake {
        let mut text = Text::new(about);
        let mut client = Rng::seed_from_u64(seed);
        let mut server = Rng::seed_from_u64(seed + 1);
        let (attempt, index) = (client.next_u64(), SessionIndex(server.next_u32()));
        let public = self.keys.public();

        text.section("hello and retry");
        let mut hello = independent::header(1, 0, attempt);
        hello.resize(HELLO, 0);
        assert_eq!(Header::split(&hello).unwrap().0.kind, Type::Hello);
        let cookie = CookieKey::generate(&mut server).make(CLIENT.parse().unwrap(), attempt, Instant(1_000_000));
        let (ed25519, x25519) = (ByteArray::new(public.ed25519), ByteArray::new(public.x25519));
        let retry = Retry { cookie: ByteArray::new(cookie), ed25519, x25519, name: "Salle 12".into() };
        text.put("attempt", attempt.to_be_bytes());
        text.put("hello", &hello);
        text.put("retry", [independent::header(2, 0, attempt), retry.to_bytes()].concat());
        text.put("cookie", cookie);

        let client_rng = client.clone();
        let mut replay = client.clone();
        draws(&mut replay);
        let client_ephemeral = draw(&mut replay);
        let server_ephemeral = draw(&mut server.clone());
        let client_rest = Rng::from_seed(draw(&mut replay));

        let (mut initiator, body) =
            Initiator::begin(Suite::Real, &mut client, &public, attempt, cookie, intent).unwrap();
        let initiate = [independent::header(3, 0, attempt), body.clone()].concat();
        let (responder, request) = Responder::read(&self.keys, &mut server, attempt, &cookie, &body[24..]).unwrap();
        let rng = &mut server;
        let (respond, pending) = match &request {
            Request::SignIn { ke1, .. } => {
                responder.sign_in(&self.keys, rng, index, ke1, credential, USERNAME).unwrap()
            }
            Request::Register { password, recovery, .. } => {
                responder.register(&self.keys, rng, index, password, recovery).unwrap()
            }
            Request::Resume { token } => responder.resume(&self.keys, index, token),
            other => panic!("{other:?}"),
        };
        let (header, noise_2) = Header::split(&respond).unwrap();
        let Ok(Responded::Proceed(stretch)) = initiator.handle_respond(&header, noise_2) else { panic!() };
        let proven = stretch.run().unwrap();

        let prologue = [&b"preau noise 1"[..], &attempt.to_be_bytes(), &cookie].concat();
        let mut noise = independent::Noise::new(&prologue, &public.x25519);
        let request_bytes = request.to_bytes();
        let noise_1 = noise.write_1(&client_ephemeral, &public.x25519, &request_bytes);
        assert_eq!(initiate[HEADER + 24..], noise_1, "message 1, independently");
        let hash_1 = noise.h;
        let answer = noise.read_2(&client_ephemeral, noise_2);
        assert_eq!(noise_2[..32], PublicKey::from(&StaticSecret::from(server_ephemeral)).to_bytes());
        let (k1, k2) = noise.split();

        text.section("initiate and respond");
        text.put("noise_prologue", prologue);
        text.put("client_ephemeral_secret", client_ephemeral);
        text.put("request", request_bytes);
        text.put("initiate", initiate);
        text.put("hash_after_message_1", hash_1);
        text.put("server_ephemeral_secret", server_ephemeral);
        text.put("answer", &answer);
        text.put("respond", &respond);
        text.put("k1", k1);
        text.put("k2", k2);
        text.put("h", noise.h);
        let context = [&b"preau opaque 1"[..], &hash_1].concat();
        let noise = (k1, k2, noise.h);
        let answer = Answer::from_bytes(&answer).unwrap();
        assert_eq!(answer.index(), index);
        Handshake { text, index, proven, pending, noise, request, answer, context, client_rng, client_rest }
    }

    fn register(&mut self) -> (Text, Credential) {
        let intent = Intent::Register {
            username: USERNAME.into(),
            first_name: "Amina".into(),
            last_name: "Diallo".into(),
            password: PASSWORD.into(),
            recovery_code: RECOVERY.into(),
        };
        let recovery = normalise_code(RECOVERY);
        let secrets = [(PASSWORD, Stretching::Argon2id), (recovery.as_str(), Stretching::Identity)];
        let start = |rng: &mut Rng| {
            secrets.map(|(secret, _)| ClientRegistration::<Opaque>::start(rng, secret.as_bytes()).unwrap())
        };
        let about = "A registration (proto.md, section 4)";
        let mut shake = self.handshake(about, 10, &intent, None, |rng| drop(start(rng)));

        let Request::Register { password, recovery, .. } = &shake.request else { panic!() };
        let Answer::Register { password: password_response, recovery: recovery_response, .. } = &shake.answer else {
            panic!()
        };
        let messages = [(password, password_response), (recovery, recovery_response)];
        let mut uploads = Vec::new();
        for (i, start) in start(&mut shake.client_rng).into_iter().enumerate() {
            let (secret, stretching) = secrets[i];
            let name = ["password", "recovery"][i];
            let text = &mut shake.text;
            text.section(&format!("OPAQUE, {name}"));
            text.put(&format!("{name}_utf8"), secret);
            text.put(&format!("{name}_blind"), &start.state.serialize()[..32]);
            text.put(&format!("{name}_request"), messages[i].0);
            text.put(&format!("{name}_response"), messages[i].1);
            assert_eq!(start.message.serialize().as_slice(), messages[i].0, "{name} request, independently");
            let response = RegistrationResponse::deserialize(messages[i].1).unwrap();
            let parameters = ClientRegistrationFinishParameters::new(Identifiers::default(), Some(&stretching));
            let finish = start.state.finish(&mut shake.client_rest, secret.as_bytes(), response, parameters).unwrap();
            let upload: [u8; 192] = finish.message.serialize()[..].try_into().unwrap();
            text.put(&format!("{name}_upload"), upload);
            uploads.push(upload);
        }

        let (password, recovery) = (Some(ByteArray::new(uploads[0])), Some(ByteArray::new(uploads[1])));
        shake.confirm(Confirm { ke3: None, password, recovery, attach: None });
        let confirm = shake.pending.open_confirm(&mut shake.proven.confirm(None)).unwrap();
        let finished = shake.pending.finish(&confirm).unwrap();
        let outcome = Outcome { refusal: None, wait_ms: 0 };
        let datagram = shake.pending.outcome(outcome);
        let (_, key) = shake.keys(b"", "confirm");
        assert_eq!(datagram, independent::sealed(&key, 6, shake.index.0, 0, &outcome.to_bytes()));
        shake.text.put("outcome_plaintext", outcome.to_bytes());
        shake.text.put("outcome", datagram);
        let credential = finished.password.unwrap();
        shake.text.section("what the server keeps");
        shake.text.put("password_credential_identifier", credential.identifier);
        (shake.text, credential)
    }

    fn sign_in(&mut self, credential: Credential) -> Text {
        let device = Some([0xde; 32]);
        let intent = Intent::SignIn { username: USERNAME.into(), password: PASSWORD.into(), device };
        let start = |rng: &mut Rng| ClientLogin::<Opaque>::start(rng, PASSWORD.as_bytes()).unwrap();
        let about = "A sign-in with the password of register.txt, and a session's first datagrams";
        let mut shake = self.handshake(about, 20, &intent, Some(&credential), |rng| drop(start(rng)));
        let start = start(&mut shake.client_rng);
        let (Request::SignIn { ke1, .. }, Answer::SignIn { ke2, .. }) = (&shake.request, &shake.answer) else {
            panic!()
        };
        assert_eq!(start.message.serialize().as_slice(), ke1, "ke1, independently");
        let state = start.state.serialize();
        let response = CredentialResponse::deserialize(ke2).unwrap();
        let stretching = Stretching::Argon2id;
        let parameters =
            ClientLoginFinishParameters::new(Some(&shake.context), Identifiers::default(), Some(&stretching));
        let rng = &mut shake.client_rest;
        let finish = start.state.finish(rng, PASSWORD.as_bytes(), response, parameters).unwrap();
        let ke3: [u8; 64] = finish.message.serialize().into();

        let text = &mut shake.text;
        text.section("OPAQUE");
        text.put("password_utf8", PASSWORD);
        text.put("credential_identifier", credential.identifier);
        text.put("context", &shake.context);
        text.put("blind", &state[..32]);
        let keyshare = PrivateKey::<Ristretto255>::deserialize(&state[128..160]).unwrap();
        assert_eq!(keyshare.public_key().serialize().as_slice(), &ke1[64..96]);
        text.put("client_keyshare_secret", keyshare.serialize());
        text.put("ke1", ke1);
        text.put("ke2", ke2);
        text.put("ke3", ke3);
        text.put("opaque_session_key", finish.session_key);
        shake.confirm(Confirm { ke3: Some(ByteArray::new(ke3)), password: None, recovery: None, attach: attach() });
        shake.session(&finish.session_key, &self.keys)
    }

    fn resume(&mut self) -> Text {
        let intent = Intent::Resume { token: TOKEN };
        let mut shake = self.handshake("A resume, and a session's first datagrams", 30, &intent, None, |_| {});
        shake.text.section("the token");
        shake.text.put("token", TOKEN);
        shake.confirm(Confirm { ke3: None, password: None, recovery: None, attach: attach() });
        shake.session(&TOKEN, &self.keys)
    }

    fn page(&mut self) -> Text {
        let mut text = Text::new("Two pages, one of them sealed under a room key, and a tip (proto.md, section 6)");
        let mut previous = NO_PAGE;
        let mut first = 1;
        let key = RoomKey { number: 3, key: [0x3c; 32] };
        text.put("ed25519_public", self.keys.public().ed25519);
        text.put("room_key", key.key);
        for (number, words) in [vec!["bonjour"], vec!["salut Amina", "ça va ?"]].into_iter().enumerate() {
            let id = PageId { room: RoomId(1), epoch: Epoch(1), first: Seq(first), count: words.len() as u16 };
            let entries = entries(&words);
            let page = sign_page(&self.keys, id, &previous, &entries);
            text.section(&format!("page {}: room 1, epoch 1, first {first}, count {}", number + 1, words.len()));
            text.put("entries", &entries);
            text.put("previous", previous);
            text.put("hash", page.hash);
            text.put("blob", &page.blob);
            text.put("frame", frame(&page_frame(&page.blob, id, 0)));
            let aad = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &first.to_be_bytes(), &id.count.to_be_bytes(), &[3]].concat();
            let sealed = key.seal(Suite::Real, id, &page.blob);
            assert_eq!(sealed, independent::encrypt(&key.key, independent::nonce(first), &aad, &page.blob));
            text.put("sealed_blob", &sealed);
            text.put("sealed_frame", frame(&page_frame(&sealed, id, key.number)));
            previous = page.hash;
            first += words.len() as u64;
        }
        let tip = sign_tip(&self.keys, RoomId(1), Epoch(1), Seq(first - 1), previous);
        text.section(&format!("tip: room 1, epoch 1, head {}", first - 1));
        text.put("tip_signature", tip.signature);
        text.put("tip_kept", tip.to_bytes());
        text
    }
}

impl Handshake {
    fn keys(&self, secret: &[u8], purpose: &str) -> independent::Keys {
        let (k1, k2, h) = &self.noise;
        independent::keys(k1, k2, h, secret, purpose)
    }

    /// Checks and writes the confirm, which must say this.
    fn confirm(&mut self, expected: Confirm) {
        let (to_server, to_client) = self.keys(b"", "confirm");
        let datagram = self.proven.confirm(expected.attach.clone());
        let plaintext = expected.to_bytes();
        assert_eq!(datagram, independent::sealed(&to_server, 5, self.index.0, 0, &plaintext), "independently");
        self.text.section("confirm");
        self.text.put("confirm_key_client_to_server", to_server);
        self.text.put("confirm_key_server_to_client", to_client);
        self.text.put("confirm_plaintext", plaintext);
        self.text.put("confirm", datagram);
    }

    /// The session's keys and a datagram of each kind each way.
    fn session(mut self, secret: &[u8], keys: &ServerKeys) -> Text {
        let confirm = self.pending.open_confirm(&mut self.proven.confirm(None)).unwrap();
        let server = self.pending.finish(&confirm).unwrap().keys.unwrap();
        let client = self.proven.keys.take().unwrap();
        let session = self.keys(secret, "session");
        let credential = self.keys(secret, "credential");
        self.text.section("the session");
        self.text.put("session_key_client_to_server", session.0);
        self.text.put("session_key_server_to_client", session.1);
        self.text.put("credential_key_client_to_server", credential.0);
        self.text.put("credential_key_server_to_client", credential.1);
        let line = format!("SESSION {:08x} {} {}", self.index.0, hex(&session.0), hex(&session.1));
        assert_eq!(client.key_log_line(self.index), line);
        assert_eq!(server.key_log_line(self.index), line);
        self.text.put("key_log_line_utf8", line);

        let (mut client_out, mut client_in) = client.split();
        let (mut server_out, mut server_in) = server.split();
        let (room, instance, n) = (RoomId(1), Instance(7), Ordinal(1));
        let say = Say { instance, n, room, part: 0, parts: 1, text: "bonjour".into() }.into();
        let to = vec![UserId(2)];
        let tell = Tell { instance, n: Ordinal(2), to: to.clone(), part: 0, parts: 1, text: "salut".into() }.into();
        let id = PageId { room, epoch: Epoch(1), first: Seq(1), count: 1 };
        let page = page_frame(&sign_page(keys, id, &NO_PAGE, &entries(&["bonjour"])).blob, id, 0);
        let item = ToldItem { n: Ordinal(2), seq: Seq(1), to, absent: vec![] };
        let told = Told { instance, items: vec![item] }.into();
        let (token, device) = (ByteArray::new([0x71; 32]), ByteArray::new([0xde; 32]));
        let token = Token { token, lifetime_s: 43_200, device }.into();
        self.datagram("client_readable", Type::Readable, &mut client_out, &mut server_in, &session.0, &say);
        self.datagram("client_sealed", Type::Sealed, &mut client_out, &mut server_in, &session.0, &tell);
        self.datagram("server_readable", Type::Readable, &mut server_out, &mut client_in, &session.1, &page);
        self.datagram("server_sealed", Type::Sealed, &mut server_out, &mut client_in, &session.1, &told);
        self.datagram("server_credential", Type::Credential, &mut server_out, &mut client_in, &credential.1, &token);
        self.text
    }

    fn datagram(
        &mut self,
        name: &str,
        kind: Type,
        from: &mut Protector,
        to: &mut Opener,
        key: &[u8; 32],
        frame: &Frame,
    ) {
        let body = self::frame(frame);
        let mut datagram = [&[0; HEADER][..], &body].concat();
        let counter = from.seal(kind, self.index, &mut datagram);
        let expected = match kind {
            Type::Readable => independent::readable(key, self.index.0, counter, &body),
            kind => independent::sealed(key, kind as u8, self.index.0, counter, &body),
        };
        assert_eq!(datagram, expected, "{name}, independently");
        self.text.put(&format!("{name}_body"), &body);
        self.text.put(name, &datagram);
        let (header, _) = Header::split(&datagram).unwrap();
        assert_eq!(to.open(&header, &mut datagram).unwrap(), body);
    }
}

fn draw(rng: &mut Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn attach() -> Option<Attach> {
    let flags = ATTACH_PRESENT | ATTACH_TOKEN;
    Some(Attach {
        instance: Instance(7),
        first: Ordinal(1),
        room: Some((Epoch(1), Seq(0))),
        inbox: None,
        tip: None,
        flags,
    })
}

fn entries(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        let time = WallMs(1_756_710_000_000);
        Entry { author: UserId(1), time, rest: 0, to: None, text: (*text).into() }.put(&mut bytes);
    }
    bytes
}

fn page_frame(blob: &[u8], id: PageId, key: u8) -> Frame {
    let PageId { room, epoch, first, count } = id;
    Page { room, epoch, first, count, key, blob: ByteBuf::from(blob) }.into()
}

fn frame(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.put(&mut bytes);
    bytes
}
