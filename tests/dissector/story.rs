//! A capture that has one datagram of every type and one frame of every kind, as a short story of a class.

use std::net::Ipv4Addr;

use preau::id::{Boot, CallId, Epoch, Instance, Ordinal, RoomId, Seq, SessionIndex, UserId, Version};
use preau::now::WallMs;
use preau::record::Found;
use preau::wire::call::{Call as Asked, Reply as Answered};
use preau::wire::entrance::{Refusal, Retry};
use preau::wire::entry::Entry;
use preau::wire::frame::*;
use preau::wire::header::{Header, Type};
use serde_bytes::{ByteArray, ByteBuf};

use crate::capture::{Capture, End, From, Session, hex, seal};

pub const SERVER: End = (Ipv4Addr::new(10, 0, 0, 1), 26262);
pub const AMINA: End = (Ipv4Addr::new(10, 0, 0, 2), 40_000);
pub const BOB: End = (Ipv4Addr::new(10, 0, 0, 3), 40_000);
pub const OUTBOX: Instance = Instance(0x1122_3344_5566_7788);
pub const ROOM_KEY: [u8; 32] = [0x42; 32];
/// 2025-10-09T08:53:20Z.
pub const TIME: WallMs = WallMs(1_760_000_000_000);

pub fn entry(author: u32, to: Option<Vec<UserId>>, text: &str) -> Entry {
    Entry { author: UserId(author), time: TIME, rest: 0, to, text: text.into() }
}

fn entries(list: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.iter().for_each(|entry| entry.put(&mut bytes));
    bytes
}

/// A page of a readable room; hash and signature are of no concern here.
pub fn page(first: u64, list: &[Entry]) -> Frame {
    let blob = [&[7; 32][..], &[8; 64], &entries(list)].concat();
    let (first, count) = (Seq(first), list.len() as u16);
    Page { room: RoomId::MAIN, epoch: Epoch(1), first, count, key: 0, blob: ByteBuf::from(blob) }.into()
}

/// The same in a sealed room.
pub fn sealed_page(first: u64, key: u8, list: &[Entry]) -> Frame {
    let Frame::Page(mut page) = page(first, list) else { unreachable!("page makes pages") };
    let mut aad =
        [&1u32.to_be_bytes()[..], &1u32.to_be_bytes(), &first.to_be_bytes(), &page.count.to_be_bytes()].concat();
    aad.push(key);
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&first.to_be_bytes());
    page.key = key;
    page.blob = ByteBuf::from(seal(&ROOM_KEY, nonce, &aad, &page.blob));
    page.into()
}

fn member(user: u32, version: u64, username: &str, flags: u8) -> Member {
    Member {
        user: UserId(user),
        version: Version(version),
        username: username.into(),
        first_name: "Prénom".into(),
        last_name: "Nom".into(),
        former: (user == 4).then(|| "bobby".into()),
        flags,
    }
}

pub fn say(n: u64, text: &str) -> Frame {
    Say { instance: OUTBOX, n: Ordinal(n), room: RoomId::MAIN, part: 0, parts: 1, text: text.into() }.into()
}

fn header(kind: Type, session: u32, counter: u64) -> Vec<u8> {
    Header { kind, session: SessionIndex(session), counter }.to_bytes().to_vec()
}

/// Coming in, up to the welcome.
fn coming_in(capture: &mut Capture, amina: &mut Session) {
    let attempt = 0x0102_0304_0506_0708;
    let mut hello = header(Type::Hello, 0, attempt);
    hello.resize(512, 0);
    capture.carry(amina, From::Client, &hello);
    capture.carry(amina, From::Client, &hello); // Unanswered for 100 ms.
    let retry = Retry {
        cookie: ByteArray::new([3; 24]),
        ed25519: ByteArray::new([4; 32]),
        x25519: ByteArray::new([5; 32]),
        name: "Salle 12".into(),
    };
    capture.carry(amina, From::Server, &[header(Type::Retry, 0, attempt), retry.to_bytes()].concat());
    let initiate = [&header(Type::Initiate, 0, attempt)[..], &[3; 24], &[6; 32], &[7; 130], &[8; 16]].concat();
    capture.carry(amina, From::Client, &initiate);
    let respond = [&header(Type::Respond, amina.index, attempt)[..], &[6; 32], &[7; 330], &[8; 16]].concat();
    capture.carry(amina, From::Server, &respond);
    capture.carry(amina, From::Client, &[&header(Type::Confirm, amina.index, 0)[..], &[9; 110]].concat());
    let welcome = Welcome {
        user: UserId(3),
        username: "amina".into(),
        name: "Salle 12".into(),
        epoch: Epoch(1),
        since: Seq(0),
        head: Seq(41),
        inbox_head: Seq(1),
        inbox_from: Seq(1),
        boot: Boot(5),
        roster: Version(9),
        decided: Ordinal(4),
        flags: WELCOME_KEY_LOG,
        key: 0,
        room_key: None,
    };
    capture.say(amina, From::Server, Type::Sealed, &[welcome.into()]);
    let token = Token { token: ByteArray::new([8; 32]), lifetime_s: 43_200, device: ByteArray::new([9; 32]) };
    let mut unlogged = Session::new(0x77, AMINA, SERVER);
    let mut body = Vec::new();
    Frame::from(token).put(&mut body);
    let mut credential = unlogged.protect(From::Server, Type::Credential, &body);
    credential[3..7].copy_from_slice(&amina.index.to_be_bytes());
    capture.carry(amina, From::Server, &credential);
}

/// Chatting in the room, with a page and a say that are sent twice.
fn in_the_room(capture: &mut Capture, amina: &mut Session, bob: &mut Session) {
    use From::{Client, Server};
    use Type::Readable;
    let room = RoomId::MAIN;
    let members = vec![member(3, 8, "amina", MEMBER_ONLINE), member(4, 9, "bob", MEMBER_ONLINE | MEMBER_TEACHER)];
    let roster = Roster { boot: Boot(5), after: Version(0), upto: Version(9), members };
    capture.say(amina, Server, Readable, &[roster.into()]);
    capture.say(amina, Client, Readable, &[RosterAck { boot: Boot(5), upto: 9, delay_us: 40, ranges: vec![] }.into()]);
    capture.say(amina, Client, Readable, &[say(5, "bonjour")]);
    capture.say(amina, Client, Readable, &[say(5, "bonjour")]);
    let stored = Stored { instance: OUTBOX, items: vec![StoredItem { n: Ordinal(5), room, seq: Seq(42), of: 1 }] };
    let bonjour = page(42, &[entry(3, None, "bonjour")]);
    capture.say(amina, Server, Readable, &[stored.into(), bonjour.clone()]);
    capture.say(bob, Server, Readable, std::slice::from_ref(&bonjour));
    capture.say(bob, Server, Readable, &[bonjour]);
    let two = page(43, &[entry(4, None, "salut Amina"), entry(9, None, "été \u{202e}à l'envers\nligne 2")]);
    capture.say(bob, Server, Readable, &[two]);
    let ack = Ack { room, epoch: Epoch(1), upto: 42, delay_us: 900, ranges: vec![(44, 45), (47, 47)] };
    capture.say(bob, Client, Readable, &[ack.into()]);
    let receipt = Receipt { room, version: 4, items: vec![ReceiptItem { seq: Seq(42), received: 1, of: 1 }] };
    capture.say(amina, Server, Readable, &[receipt.into()]);
    capture.say(amina, Client, Readable, &[ReceiptAck { room, version: 4 }.into()]);
    capture.say(amina, Client, Readable, &[Want { room, first: Seq(1), last: Seq(40) }.into()]);
    let tip = Tip {
        room,
        epoch: Epoch(1),
        head: Seq(43),
        hash: ByteArray::new([1; 32]),
        signature: ByteArray::new([2; 64]),
        boot: Boot(5),
        roster: Version(9),
        status: TIP_STORING,
    };
    capture.say(amina, Server, Readable, &[tip.into()]);
    capture.say(amina, Client, Readable, &[Ping { nonce: 77 }.into()]);
    capture.say(amina, Server, Readable, &[Pong { nonce: 77 }.into()]);
    capture.say(bob, Server, Readable, &[sealed_page(90, 3, &[entry(3, None, "sous clef")])]);
    capture.say(bob, Server, Readable, &[sealed_page(91, 9, &[entry(3, None, "sans clef")])]);
}

/// What is for one member's eyes.
fn in_private(capture: &mut Capture, amina: &mut Session) {
    use From::{Client, Server};
    use Type::Sealed;
    let bob = vec![UserId(4)];
    let tell = Tell { instance: OUTBOX, n: Ordinal(6), to: bob.clone(), part: 0, parts: 2, text: "psst".into() };
    capture.say(amina, Client, Sealed, &[tell.into()]);
    let told = ToldItem { n: Ordinal(6), seq: Seq(2), to: bob.clone(), absent: bob.clone() };
    capture.say(amina, Server, Sealed, &[Told { instance: OUTBOX, items: vec![told] }.into()]);
    let letter = ByteBuf::from(entries(&[entry(3, Some(bob), "psst")]));
    capture.say(amina, Server, Sealed, &[Letters { epoch: Epoch(1), first: Seq(2), entries: letter }.into()]);
    let ack = LettersAck { epoch: Epoch(1), upto: 2, delay_us: 10, ranges: vec![] };
    capture.say(amina, Client, Sealed, &[ack.into(), LettersWant { first: Seq(1), last: Seq(1) }.into()]);
    let receipt = LettersReceipt { version: 1, items: vec![ReceiptItem { seq: Seq(2), received: 0, of: 1 }] };
    capture.say(amina, Server, Sealed, &[receipt.into()]);
    capture.say(amina, Client, Sealed, &[LettersReceiptAck { version: 1 }.into()]);
    let refused = Refused { instance: OUTBOX, n: Ordinal(7), code: SubmitRefusal::NoSuchMember as u8 };
    capture.say(amina, Server, Sealed, &[refused.into(), Slow { wait_ms: 50 }.into()]);
}

/// Every call, each with its answer.
fn calls(capture: &mut Capture, amina: &mut Session) {
    let message = |seq, room, text: &str| Found {
        room,
        seq: Seq(seq),
        author: UserId(4),
        to: if room.is_none() { vec![UserId(3)] } else { vec![] },
        time: TIME,
        text: text.into(),
    };
    let long: Vec<Found> = (1..=20).map(|seq| message(seq, Some(RoomId::MAIN), &"x".repeat(100))).collect();
    let asked = [
        (Asked::Rename("amina2".into()), Answered::Refused(Refusal::NameTaken)),
        (Asked::RoomHistory { room: RoomId::MAIN, before: None, limit: 50 }, Answered::Messages(long)),
        (
            Asked::InboxHistory { with: Some(UserId(4)), before: Some(Seq(9)), limit: 200 },
            Answered::Messages(vec![message(1, None, "coucou")]),
        ),
        (Asked::Search { words: "demain".into(), limit: 10 }, Answered::Messages(vec![])),
        (Asked::RoomKey(3), Answered::RoomKey(3, ROOM_KEY)),
        (Asked::SignOut, Answered::Done),
    ];
    for (id, (call, reply)) in (1..).map(CallId).zip(asked) {
        let body = ByteBuf::from(call.to_bytes());
        capture.say(amina, From::Client, Type::Sealed, &[Call { id, have: 0, body }.into()]);
        let bytes = reply.to_bytes(64_000);
        let chunks: Vec<&[u8]> = bytes.chunks(1000).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            let (index, total, body) = (index as u8, chunks.len() as u8, ByteBuf::from(*chunk));
            capture.say(amina, From::Server, Type::Sealed, &[Reply { id, index, total, body }.into()]);
        }
    }
}

/// The whole story.
pub fn story() -> Capture {
    let mut capture = Capture::new("story");
    let mut amina = Session::new(0x1a2b_3c4d, AMINA, SERVER);
    let mut bob = Session::new(0x5e6f_7081, BOB, SERVER);
    capture.key_log = format!("{}{}ROOM 1 3 {}\n", amina.key_log(), bob.key_log(), hex(&ROOM_KEY));
    coming_in(&mut capture, &mut amina);
    in_the_room(&mut capture, &mut amina, &mut bob);
    in_private(&mut capture, &mut amina);
    calls(&mut capture, &mut amina);
    let none = Letters { epoch: Epoch(1), first: Seq(3), entries: ByteBuf::new() };
    capture.say(&mut amina, From::Server, Type::Sealed, &[none.into()]);
    capture.say(&mut amina, From::Client, Type::Sealed, &[TokenAck {}.into()]);
    capture.say(&mut amina, From::Client, Type::Sealed, &[Bye { reason: ByeReason::Left as u8 }.into()]);
    capture.carry(&amina, From::Server, &header(Type::Hint, amina.index, 0));
    capture.carry(&amina, From::Server, &[&header(Type::Outcome, 0x99, 0)[..], &[9; 20]].concat());
    capture
}
