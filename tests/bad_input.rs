//! Everything that must not come through: each case is named, each is a counted drop or a clear error, and none changes
//! what the server holds (proto.md, section 14).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::{Host, Member, addr, config, hello, initiate};
use preau::id::{CallId, Epoch, Instance, Ordinal, RoomId, Seq, SessionIndex, UserId};
use preau::proto::suite::Suite;
use preau::wire::call::{Call, Reply};
use preau::wire::entrance::Refusal;
use preau::wire::frame::{
    self, Ack, Bye, Frame, LettersAck, LettersWant, Ping, ReceiptAck, RosterAck, Say, Slow, SubmitRefusal, Tell, Want,
};
use preau::wire::header::{Header, Type};
use preau::wire::limits::{DATAGRAM, HEADER};

/// One room with a member who has said one thing.
fn room() -> (Host, Member) {
    let mut host = Host::new(Suite::Real, config());
    let mut zoe = host.member(addr(1), "zoe");
    let text = say(&zoe, 1, "bonjour");
    zoe.say(&mut host, &[text]);
    (host, zoe)
}

fn say(member: &Member, n: u64, text: &str) -> Frame {
    let (instance, room) = (member.instance, RoomId::MAIN);
    Say { instance, n: Ordinal(n), room, part: 0, parts: 1, text: text.into() }.into()
}

fn bytes(frame: impl Into<Frame>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.into().put(&mut bytes);
    bytes
}

/// What the body of one authentic datagram costs: which counter grows, and that nothing else happened.
fn body_is_dropped(name: &str, kind: Type, body: &[u8], counter: &str) {
    let (mut host, mut zoe) = room();
    let (batches, before) = (host.batches.len(), host.counter(counter));
    let datagram = zoe.seal(kind, body);
    host.give(zoe.addr, &datagram);
    assert_eq!(host.counter(counter), before + 1, "{name}: counted as {counter}");
    assert_eq!(host.batches.len(), batches, "{name}: stored nothing");
    assert!(host.sent.is_empty(), "{name}: answered nothing");
    let next = say(&zoe, 2, "encore là");
    zoe.say(&mut host, &[next]);
    assert!(zoe.heard.iter().any(|frame| matches!(frame, Frame::Stored(stored) if stored.items[0].n == Ordinal(2))));
}

#[test]
fn bodies_that_are_not_frames_are_dropped_whole() {
    let ping = bytes(Ping { nonce: 1 });
    let trailing = [&ping[..], &[0xc1]].concat();
    let truncated = &ping[..ping.len() - 1];
    let mut nested = vec![0x03, 0x95, 1, 1, 0, 0];
    nested.extend([0x91; 1000]);
    let cases: [(&str, &[u8]); 14] = [
        ("an unknown kind", &[0x7f, 0x90]),
        ("a truncated frame", truncated),
        ("trailing bytes", &trailing),
        ("deep nesting", &nested),
        ("a huge claimed list", &[0x03, 0x95, 1, 1, 0, 0, 0xdd, 0xff, 0xff, 0xff, 0xff]),
        ("a huge claimed text", &[0x08, 0x96, 1, 1, 1, 0, 1, 0xdb, 0xff, 0xff, 0xff, 0xff]),
        ("invalid UTF-8", &[0x08, 0x96, 1, 1, 1, 0, 1, 0xa2, 0xff, 0xfe]),
        ("too few fields", &[0x06, 0x90]),
        ("too many fields", &[0x06, 0x92, 1, 1]),
        ("a negative number", &[0x06, 0x91, 0xff]),
        ("a number too large for its field", &[0x06, 0x91, 0xcf, 1, 0, 0, 0, 0, 0, 0, 0]),
        ("nil where a number belongs", &[0x06, 0x91, 0xc0]),
        ("no array at all", &[0x06, 0x01]),
        ("a kind alone", &[0x06]),
    ];
    for (name, body) in cases {
        body_is_dropped(name, Type::Readable, body, "dropped_malformed");
    }
}

#[test]
fn values_beyond_their_bounds_are_dropped() {
    let base = Ack { room: RoomId::MAIN, epoch: Epoch(1), upto: 0, delay_us: 0, ranges: vec![] };
    let ack = |upto, ranges: &[(u64, u64)]| bytes(Ack { upto, ranges: ranges.to_vec(), ..base.clone() });
    let part = |n, part, parts, text: &str| {
        bytes(Say { instance: Instance(1), n: Ordinal(n), room: RoomId::MAIN, part, parts, text: text.into() })
    };
    let cases = [
        ("inverted ranges", ack(0, &[(9, 7)])),
        ("ranges that touch what is acknowledged", ack(5, &[(6, 7)])),
        ("overlapping ranges", ack(0, &[(2, 9), (9, 12)])),
        ("seventeen ranges", ack(0, &(1..=17).map(|i| (i * 10, i * 10)).collect::<Vec<_>>())),
        ("a part beyond the parts", part(2, 1, 1, "x")),
        ("no parts", part(2, 0, 0, "x")),
        ("seven parts", part(2, 0, 7, "x")),
        ("a part of 801 bytes", part(2, 0, 1, &"x".repeat(801))),
        ("submission number 0", part(0, 0, 1, "x")),
        ("an inverted want", bytes(Want { room: RoomId::MAIN, first: Seq(9), last: Seq(2) })),
        ("a want from 0", bytes(Want { room: RoomId::MAIN, first: Seq(0), last: Seq(2) })),
    ];
    for (name, body) in cases {
        body_is_dropped(name, Type::Readable, &body, "dropped_malformed");
    }
}

#[test]
fn what_makes_no_sense_in_its_place_is_dropped() {
    let ack =
        |room, epoch, upto| bytes(Ack { room: RoomId(room), epoch: Epoch(epoch), upto, delay_us: 0, ranges: vec![] });
    let boot = preau::id::Boot(0);
    let cases = [
        ("an ack of what was never sent", Type::Readable, ack(1, 1, 99), "dropped_ack"),
        ("an ack of everything there could be", Type::Readable, ack(1, 1, u64::MAX), "dropped_ack"),
        ("an ack of another epoch", Type::Readable, ack(1, 2, 0), "dropped_ack"),
        ("an ack of another room", Type::Readable, ack(2, 1, 0), "dropped_ack"),
        (
            "an ack of another roster",
            Type::Readable,
            bytes(RosterAck { boot, upto: 0, delay_us: 0, ranges: vec![] }),
            "dropped_ack",
        ),
        (
            "an ack of letters never sent",
            Type::Sealed,
            bytes(LettersAck { epoch: Epoch(1), upto: 5, delay_us: 0, ranges: vec![] }),
            "dropped_ack",
        ),
        (
            "a want beyond the head",
            Type::Readable,
            bytes(Want { room: RoomId::MAIN, first: Seq(70), last: Seq(80) }),
            "dropped_request",
        ),
        (
            "a want of letters that are not there",
            Type::Sealed,
            bytes(LettersWant { first: Seq(1), last: Seq(1) }),
            "dropped_request",
        ),
        (
            "another's outbox",
            Type::Readable,
            bytes(Say {
                instance: Instance(1),
                n: Ordinal(1),
                room: RoomId::MAIN,
                part: 0,
                parts: 1,
                text: "x".into(),
            }),
            "dropped_instance",
        ),
        ("a frame only servers send", Type::Sealed, bytes(Slow { wait_ms: 1 }), "dropped_frame_direction"),
    ];
    for (name, kind, body, counter) in cases {
        body_is_dropped(name, kind, &body, counter);
    }
}

#[test]
fn frames_that_travel_otherwise_are_dropped() {
    let tell =
        Tell { instance: Instance(1), n: Ordinal(2), to: vec![UserId(1)], part: 0, parts: 1, text: "psst".into() };
    let cases = [
        ("a private message, readable", Type::Readable, bytes(tell)),
        ("a goodbye, readable", Type::Readable, bytes(Bye { reason: 0 })),
        ("a call, readable", Type::Readable, bytes(call(Call::SignOut))),
        ("a ping, sealed", Type::Sealed, bytes(Ping { nonce: 1 })),
        ("a ping and a goodbye together", Type::Sealed, [bytes(Bye { reason: 0 }), bytes(Ping { nonce: 1 })].concat()),
    ];
    for (name, kind, body) in cases {
        body_is_dropped(name, kind, &body, "dropped_protection");
    }
}

fn call(call: Call) -> frame::Call {
    frame::Call { id: CallId(1), have: 0, body: call.to_bytes().into() }
}

#[test]
fn datagrams_that_are_not_ours_are_dropped_without_an_answer() {
    let (mut host, mut zoe) = room();
    let good = zoe.seal(Type::Readable, &bytes(Ping { nonce: 1 }));
    let edit = |at: usize, byte: u8| {
        let mut datagram = good.clone();
        datagram[at] = byte;
        datagram
    };
    let mut oversized = good.clone();
    oversized.resize(DATAGRAM + 1, 0);
    let cases = [
        ("empty", vec![], "dropped_header"),
        ("one byte", vec![0xd5], "dropped_header"),
        ("a header alone", good[..HEADER].to_vec(), "dropped_header"),
        ("shorter than a tag", good[..HEADER + 15].to_vec(), "dropped_header"),
        ("oversized", oversized, "dropped_header"),
        ("another magic", edit(0, 0x16), "dropped_header"),
        ("another version", edit(1, 0xe2), "dropped_header"),
        ("an unknown type", edit(2, 0x55), "dropped_header"),
        ("a reserved type", edit(2, 0x10), "dropped_header"),
        ("a type only servers send", edit(2, Type::Credential as u8), "dropped_direction"),
        ("another type under the same tag", edit(2, Type::Sealed as u8), "dropped_tag"),
        ("a flipped bit in the counter", edit(14, good[14] ^ 1), "dropped_tag"),
        ("a flipped bit in the body", edit(HEADER, good[HEADER] ^ 1), "dropped_tag"),
        ("a flipped bit in the tag", edit(good.len() - 1, good[good.len() - 1] ^ 1), "dropped_tag"),
        ("truncated", good[..good.len() - 1].to_vec(), "dropped_tag"),
        ("a trailing byte", [&good[..], &[0]].concat(), "dropped_tag"),
    ];
    for (name, datagram, counter) in cases {
        let before = host.counter(counter);
        host.give(zoe.addr, &datagram);
        assert_eq!(host.counter(counter), before + 1, "{name}: counted as {counter}");
        assert!(host.sent.is_empty(), "{name}: no answer");
    }
    host.give(zoe.addr, &good);
    zoe.listen(&mut host);
    assert!(zoe.heard.iter().any(|frame| matches!(frame, Frame::Pong(_))), "the genuine one still counts");
    let before = host.counter("dropped_replay");
    host.give(zoe.addr, &good);
    assert_eq!(host.counter("dropped_replay"), before + 1, "and counts once");
}

#[test]
fn a_session_known_by_its_index_from_elsewhere_gets_a_hint_and_no_more() {
    let (mut host, mut zoe) = room();
    let stolen = zoe.seal(Type::Readable, &bytes(say(&zoe, 2, "volé")));
    for (from, index, counter) in
        [(addr(66), zoe.index, "dropped_address"), (addr(66), SessionIndex(zoe.index.0 ^ 1), "dropped_unknown_session")]
    {
        let mut datagram = stolen.clone();
        datagram[3..7].copy_from_slice(&index.0.to_be_bytes());
        host.give(from, &datagram);
        assert_eq!(host.counter(counter), 1);
        let hint = host.take_sent(from).expect("a hint");
        assert_eq!(hint.len(), HEADER);
        assert!(hint.len() < datagram.len());
    }
    assert_eq!(host.counter("messages"), 1, "only the one of before");
}

#[test]
fn hints_are_rationed() {
    let (mut host, zoe) = room();
    let header = Header { kind: Type::Readable, session: SessionIndex(zoe.index.0 ^ 1), counter: 1 };
    let datagram = [&header.to_bytes()[..], &[0; 40]].concat();
    (0..1000).for_each(|_| host.give(addr(9), &datagram));
    assert_eq!(host.counter("hints"), 100);
}

#[test]
fn nobody_unproven_gets_more_bytes_than_they_sent() {
    let mut host = Host::new(Suite::Real, config());
    host.give(addr(1), &hello(5));
    let retry = host.take_sent(addr(1)).unwrap();
    assert!(retry.len() <= hello(5).len(), "{} bytes", retry.len());
    let mut short = hello(5);
    short.truncate(511);
    host.give(addr(1), &short);
    host.give(addr(1), &[hello(5), vec![0]].concat());
    assert_eq!(host.counter("dropped_header"), 2);
    // An initiate with a cookie of another address, another attempt, or made up.
    let cookie = &retry[HEADER + 3..HEADER + 3 + 24];
    let body = [cookie, &[1; 200]].concat();
    for (from, attempt) in [(addr(2), 5), (addr(1), 6)] {
        host.give(from, &initiate(attempt, &body));
    }
    host.give(addr(1), &initiate(5, &[7; 224]));
    assert_eq!(host.counter("dropped_cookie"), 3);
    // A good cookie and a Noise message that is none.
    host.give(addr(1), &initiate(5, &body));
    assert_eq!(host.counter("dropped_handshake"), 1);
    assert!(host.sent.is_empty());
}

#[test]
fn a_member_at_fault_is_told_why() {
    let (mut host, mut zoe) = room();
    let tell = |zoe: &Member, n, to: &[u32], text: &str| -> Frame {
        let to = to.iter().copied().map(UserId).collect();
        Tell { instance: zoe.instance, n: Ordinal(n), to, part: 0, parts: 1, text: text.into() }.into()
    };
    let long = |zoe: &Member, n| -> Vec<Frame> {
        let part = |part| {
            let (instance, room, text) = (zoe.instance, RoomId::MAIN, "x".repeat(800));
            Say { instance, n: Ordinal(n), room, part, parts: 6, text }.into()
        };
        (0..6).map(part).collect()
    };
    let cases: Vec<(&str, Vec<Frame>, SubmitRefusal)> = vec![
        ("an empty text", vec![say(&zoe, 2, "")], SubmitRefusal::Empty),
        ("4,800 bytes", long(&zoe, 3), SubmitRefusal::TooLong),
        ("a recipient nobody is", vec![tell(&zoe, 4, &[99], "psst")], SubmitRefusal::NoSuchMember),
        ("no recipient", vec![tell(&zoe, 5, &[], "psst")], SubmitRefusal::TooManyRecipients),
    ];
    for (name, frames, refusal) in cases {
        zoe.heard.clear();
        zoe.say(&mut host, &frames);
        let told = zoe.heard.iter().find_map(|frame| match frame {
            Frame::Refused(refused) => SubmitRefusal::from_code(refused.code),
            _ => None,
        });
        assert_eq!(told, Some(refusal), "{name}");
    }
    assert_eq!(host.counter("messages"), 1, "none of them was stored");
}

#[test]
fn calls_at_fault_are_answered_with_a_code() {
    let (mut host, mut zoe) = room();
    host.register(addr(2), "amina");
    let cases: Vec<(&str, Vec<u8>, Refusal)> = vec![
        ("garbage", vec![0xc1; 20], Refusal::NotUnderstood),
        ("an unknown call", vec![0x91, 0x63], Refusal::NotUnderstood),
        ("no call", vec![], Refusal::NotUnderstood),
        ("201 messages", Call::Search { words: "x".into(), limit: 201 }.to_bytes(), Refusal::NotUnderstood),
        ("a name that is taken", Call::Rename("AMINA".into()).to_bytes(), Refusal::NameTaken),
        ("a name with a space", Call::Rename("a b".into()).to_bytes(), Refusal::NameNotAllowed),
        ("a name with a bidi override", Call::Rename("ab\u{202e}c".into()).to_bytes(), Refusal::NameNotAllowed),
        ("a name with a control character", Call::Rename("ab\u{7}".into()).to_bytes(), Refusal::NameNotAllowed),
        ("a name of one letter", Call::Rename("a".into()).to_bytes(), Refusal::NameNotAllowed),
        ("another room's key", Call::RoomKey(3).to_bytes(), Refusal::NotUnderstood),
    ];
    for (id, (name, body, refusal)) in (1..).zip(cases) {
        zoe.heard.clear();
        zoe.say(&mut host, &[frame::Call { id: CallId(id), have: 0, body: body.into() }.into()]);
        let reply = zoe.heard.iter().find_map(|frame| match frame {
            Frame::Reply(reply) => Some(Reply::from_bytes(&reply.body).unwrap()),
            _ => None,
        });
        assert_eq!(reply, Some(Reply::Refused(refusal)), "{name}");
    }
}

#[test]
fn control_and_bidi_characters_in_a_text_are_kept_as_they_are() {
    let (mut host, mut zoe) = room();
    let text = "\u{1b}[2J\u{202e}olleh\u{0}\r\n";
    let hostile = say(&zoe, 2, text);
    zoe.say(&mut host, &[hostile]);
    let page = zoe.heard.iter().rev().find_map(|frame| match frame {
        Frame::Page(page) => Some(page.blob.to_vec()),
        _ => None,
    });
    let page = page.expect("relayed to its author too");
    assert!(page.windows(text.len()).any(|window| window == text.as_bytes()));
}

#[test]
fn wrong_password_and_unknown_user_get_the_same_answer() {
    let mut host = Host::new(Suite::Real, config());
    host.register(addr(1), "zoe");
    let mut answers = Vec::new();
    for username in ["zoe", "nobody"] {
        let intent = preau::proto::handshake::Intent::SignIn {
            username: username.into(),
            password: "wrong".to_owned(),
            device: None,
        };
        let before = host.counter("bytes_out");
        let attach = preau::wire::entrance::Attach {
            instance: Instance(1),
            first: Ordinal(1),
            room: None,
            inbox: None,
            tip: None,
            flags: 1,
        };
        assert_eq!(host.come_in(addr(2), &intent, Some(attach)).err(), Some(Refusal::WrongCredentials));
        answers.push(host.counter("bytes_out") - before);
    }
    assert_eq!(answers[0], answers[1], "as many bytes");
}

#[test]
fn a_receipt_ack_out_of_the_blue_changes_nothing() {
    let (mut host, mut zoe) = room();
    zoe.say(&mut host, &[ReceiptAck { room: RoomId::MAIN, version: 77 }.into()]);
    let next = say(&zoe, 2, "encore");
    zoe.say(&mut host, &[next]);
    assert_eq!(host.counter("messages"), 2);
}
