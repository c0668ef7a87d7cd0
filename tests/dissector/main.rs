//! The Wireshark dissector, seen through tshark: every datagram and frame by its name, what is malformed called so,
//! and no capture whatever that makes it fail.

mod capture;
mod story;

use std::net::Ipv4Addr;

use capture::{Capture, End, From, Reader, Session};
use preau::id::{Boot, Epoch, Instance, Ordinal, RoomId, SessionIndex, UserId};
use preau::wire::frame::{Ack, Frame, Page, Ping, RosterAck, Say, Slow, Tell};
use preau::wire::header::{Header, Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_bytes::ByteBuf;
use story::{AMINA, BOB, OUTBOX, SERVER, entry, page, say, story};

/// The story as the list of packets shows it to somebody with the key log; `~` marks what only the key log opens.
const LINES: &str = r#"
Hello
[Retransmission] Hello
Retry (cookie), room "Salle 12"
Initiate (cookie, sealed request)
Respond: session 1a2b3c4d (sealed answer)
Confirm (sealed, 94 bytes)
~ Welcome user 3 (amina) to "Salle 12", head 41
Credential (sealed, 73 bytes)
Roster ≤9: amina online; bob online, teacher
Roster ack ≤9
Say n=5 "bonjour"
[Retransmission] Say n=5 "bonjour"
Stored n=5 as #42; Entry #42 from user 3 (amina) "bonjour"
Entry #42 from user 3 (amina) "bonjour"
[Retransmission] Entry #42 from user 3 (amina) "bonjour"
Entries #43–44: from user 4 (bob) "salut Amina", from user 9 "été ‹U+202E›à l'envers⏎ligne 2"
Ack ≤42, 44–45, 47
Entries received: #42 by 1 of 1
Receipt ack v4
Want #1–40
Tip: head 43
Ping
Pong
Entry #90 from user 3 (amina) "sous clef"
Page #91 (sealed under room key 9, 135 bytes)
~ Tell n=6 part 1/2 to user 4 (bob) "psst"
~ Told n=6 as letter #2 to user 4 (bob), absent: user 4 (bob)
~ Letter #2 from user 3 (amina) to user 4 (bob) "psst"
~ Letters ack ≤2; Letters want #1
~ Letters received: #2 by 0 of 1
~ Letters receipt ack v1
~ Refused n=7: a recipient is not a member; Slow down: wait 50 ms
~ Call 1: rename "amina2"
~ Reply 1 (rename), refused: name taken
~ Call 2: room history
~ Reply 2 (room history) chunk 1/3
~ Reply 2 (room history) chunk 2/3
~ Reply 2 (room history) chunk 3/3, 20 messages
~ Call 3: private history
~ Reply 3 (private history), 1 message
~ Call 4: search "demain"
~ Reply 4 (search), 0 messages
~ Call 5: room key
~ Reply 5 (room key), done
~ Call 6: sign out
~ Reply 6 (sign out), done
~ Letters: none yet from #3 on
~ Token arrived
~ Bye: the sender leaves
Hint: session 1a2b3c4d is not known here
Outcome (sealed, 4 bytes)
"#;

fn lines() -> Vec<&'static str> {
    LINES.trim().lines().collect()
}

#[test]
fn every_datagram_is_told_in_a_line_that_a_pupil_reads() {
    let reader = story().finish();
    let expected: Vec<String> = lines().iter().map(|line| line.replace("~ ", "(opened) ")).collect();
    assert_eq!(reader.infos(true), expected);
}

#[test]
fn without_the_key_log_what_is_sealed_stays_sealed() {
    let reader = story().finish();
    for (info, line) in reader.infos(false).iter().zip(lines()) {
        if line.starts_with("~ ") {
            let bytes = info.strip_prefix("Sealed, ").and_then(|rest| rest.strip_suffix(" bytes"));
            assert!(bytes.is_some_and(|n| n.parse::<u16>().is_ok()), "{info:?} in place of {line:?}");
        } else if line.contains("sous clef") {
            assert_eq!(info, "Page #90 (sealed under room key 3, 135 bytes)");
        } else {
            assert_eq!(info, line);
        }
    }
    let text = reader.tshark(false, &["-V"]);
    assert!(!text.contains("psst") && !text.contains("sous clef"), "sealed text without a key");
    assert!(text.contains("(not checked: no key)") && !text.contains("(tag verifies)"));
}

#[test]
fn every_kind_of_frame_that_a_key_log_opens_is_decoded() {
    let reader = story().finish();
    let mut kinds: Vec<u8> = reader
        .fields("preau.frame", &["preau.frame"])
        .iter()
        .flat_map(|row| row[0].split(','))
        .map(|kind| u8::from_str_radix(kind.trim_start_matches("0x"), 16).unwrap())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let expected: Vec<u8> = (0x01..=0x0c).chain(0x20..=0x2d).collect(); // 40, token: its key is not logged.
    assert_eq!(kinds, expected);
}

/// A display filter, then what the fields of the one frame that it lets through hold; `07*32`: 32 bytes of 07.
const FIELDS: &str = r#"
frame.number==1 | version=1; type=0x01; session=0x00000000; attempt=0x0102030405060708; direction=client to server
preau.type==2 | retry.cookie=03*24; retry.ed25519=04*32; retry.x25519=05*32; retry.name=Salle 12;
    cookie.expiry=50529027; cookie.mac=03*20
preau.type==3 | noise.ephemeral=06*32; noise.payload=07*130; noise.tag=08*16; retry.cookie=03*24
preau.type==4 | session=0x1a2b3c4d; noise.payload=07*330
preau.type==5 | counter=0; sealed=09*94; tag=09*16; tag.status=
preau.frame==0x20 | welcome.user=3; welcome.username=amina; welcome.name=Salle 12; welcome.epoch=1; welcome.since=0;
    welcome.head=41; welcome.inbox_head=1; welcome.inbox_from=1; welcome.boot=5; welcome.roster=9; welcome.decided=4;
    welcome.flags=2; welcome.flags.key_log=1; welcome.flags.sealed=0; welcome.key=0; welcome.room_key=; counter=1;
    tag.status=1; direction=server to client
preau.frame==4 | roster.boot=5; roster.after=0; roster.upto=9; roster.member.user=3,4; roster.member.version=8,9;
    roster.member.username=amina,bob; roster.member.first_name=Prénom,Prénom; roster.member.last_name=Nom,Nom;
    roster.member.former=bobby; roster.member.flags=1,3; roster.member.flags.teacher=0,1
preau.frame==5 | roster_ack.boot=5; roster_ack.upto=9; roster_ack.delay_us=40
frame.number==12 | say.instance=0x1122334455667788; say.n=5; say.room=1; say.part=0; say.parts=1; say.text=bonjour;
    retransmission_of=11
preau.frame==9 | stored.instance=0x1122334455667788; stored.item.n=5; stored.item.room=1; stored.item.seq=42;
    stored.item.of=1; answers=11; after_ms=2
frame.number==15 | page.room=1; page.epoch=1; page.first=42; page.last=42; page.count=1; page.key=0;
    page.previous=07*32; page.signature=08*64; entry.seq=42; entry.author=3; entry.rest=0; entry.text=bonjour;
    retransmission_of=14; duplicate_of=
frame.number==16 | entry.seq=43,44; entry.author=4,9; page.last=44
preau.frame==3 | ack.room=1; ack.epoch=1; ack.upto=42; ack.delay_us=900; ack.range.first=44,47; ack.range.last=45,47
preau.frame==0x0a | receipt.room=1; receipt.version=4; receipt.item.seq=42; receipt.item.received=1; receipt.item.of=1
preau.frame==0x0b | receipt_ack.room=1; receipt_ack.version=4
preau.frame==0x0c | want.room=1; want.first=1; want.last=40
preau.frame==2 | tip.room=1; tip.epoch=1; tip.head=43; tip.hash=01*32; tip.signature=02*64; tip.boot=5; tip.roster=9;
    tip.status=0
preau.frame==7 | pong.nonce=77; answers=22; after_ms=1
preau.page.key==3 | page.tag.status=1; entry.text=sous clef; entry.seq=90
preau.page.key==9 | page.tag.status=0; entry.text=
preau.frame==0x21 | tell.instance=0x1122334455667788; tell.n=6; tell.to=4; tell.part=0; tell.parts=2; tell.text=psst
preau.frame==0x22 | told.item.n=6; told.item.seq=2; told.item.to=4; told.item.absent=4; answers=26
preau.frame==0x23 && preau.letters.first==2 | letters.epoch=1; letters.first=2; entry.kind=2; entry.to=4; entry.text=psst
preau.frame==0x24 | letters_ack.epoch=1; letters_ack.upto=2; letters_ack.delay_us=10; letters_want.first=1;
    letters_want.last=1
preau.frame==0x26 | letters_receipt.version=1; letters_receipt.item.seq=2; letters_receipt.item.received=0;
    letters_receipt.item.of=1
preau.frame==0x27 | letters_receipt_ack.version=1
preau.frame==0x28 | refused.instance=0x1122334455667788; refused.n=7; refused.code=3; slow.wait_ms=50
preau.call.what==1 | call.id=1; call.have=0x0000000000000000; call.username=amina2
preau.call.what==3 | call.with=4; call.before=9; call.limit=200
preau.call.what==4 | call.words=demain; call.limit=10
frame.number==34 | reply.id=1; reply.index=0; reply.total=1; answer.status=4; answers=33
frame.number==40 | answer.message.room=0; answer.message.seq=1; answer.message.author=4; answer.message.to=3;
    answer.message.text=coucou
preau.answer.room_key | answer.key=3; answer.room_key=42*32
preau.frame==0x2c | bye.reason=0
"#;

fn name_and_value(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').expect("a name and a value");
    let value = match value.split_once('*') {
        Some((byte, times)) => byte.repeat(times.parse().expect("a number of bytes")),
        None => value.to_owned(),
    };
    (format!("preau.{name}"), value)
}

#[test]
fn fields_have_the_names_of_proto_md_and_their_values() {
    let reader = story().finish();
    let table = FIELDS.trim().replace(";\n   ", ";");
    for line in table.lines() {
        let (filter, expected) = line.split_once(" | ").expect("a filter and fields");
        let (names, values): (Vec<String>, Vec<String>) = expected.split("; ").map(name_and_value).unzip();
        let rows = reader.fields(filter, &names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(rows, [values], "{filter}: {names:?}");
    }
    assert_eq!(reader.count("preau.entry.time == \"2025-10-09 08:53:20\""), 6);
}

#[test]
fn a_second_pass_shows_what_the_first_showed() {
    let reader = story().finish();
    let (once, twice) =
        (reader.tshark(true, &["-V", "-O", "preau"]), reader.tshark(true, &["-2", "-V", "-O", "preau"]));
    for (once, twice) in once.lines().zip(twice.lines()) {
        assert_eq!(once, twice);
    }
    assert_eq!(once.len(), twice.len());
    let marked = "preau.retransmission_of";
    assert_eq!(reader.count(marked), 3);
    assert_eq!(reader.tshark(true, &["-2", "-Y", marked, "-T", "fields", "-e", marked]), "1\n11\n14\n");
}

#[test]
fn names_are_those_of_their_time() {
    let mut capture = Capture::new("names");
    let mut session = Session::new(7, AMINA, SERVER);
    let named = |name: &str, version| {
        let mut body = vec![0x04];
        let former: Option<&str> = None;
        let member = (3u32, version, name, "A", "B", former, 1u8);
        body.extend(rmp_serde::to_vec(&(5u32, version - 1, version, [member])).unwrap());
        body
    };
    let bonjour = |first| [page(first, &[entry(3, None, "bonjour")])];
    capture.say(&mut session, From::Server, Type::Readable, &bonjour(1));
    for (version, name) in [(1, "amina"), (2, "mina")] {
        let datagram = session.protect(From::Server, Type::Readable, &named(name, version));
        capture.carry(&session, From::Server, &datagram);
        capture.say(&mut session, From::Server, Type::Readable, &bonjour(1 + version));
    }
    let reader = capture.finish();
    let authors = ["user 3", "user 3 (amina)", "user 3 (mina)"];
    for (arguments, when) in [(vec![], "in one pass"), (vec!["-2"], "in two")] {
        let text = reader.tshark(false, &[&arguments[..], &["-Y", "preau.page"]].concat());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), authors.len());
        for (line, author) in lines.iter().zip(authors) {
            assert!(line.contains(&format!("from {author} \"bonjour\"")), "{line} {when}");
        }
    }
}

#[test]
fn a_forged_datagram_and_a_doubled_one_are_marked() {
    let mut capture = Capture::new("forged");
    let mut amina = Session::new(7, AMINA, SERVER);
    capture.key_log = amina.key_log();
    let good = amina.datagram(From::Client, Type::Readable, &[say(1, "vrai")]);
    let mut forged = amina.datagram(From::Client, Type::Readable, &[say(2, "faux")]);
    let at = forged.len() - 17;
    forged[at] ^= 1;
    let mut sealed = amina.datagram(From::Server, Type::Sealed, &[Slow { wait_ms: 50 }.into()]);
    sealed[15] ^= 1;
    for datagram in [&good, &good, &forged] {
        capture.carry(&amina, From::Client, datagram);
    }
    capture.carry(&amina, From::Server, &sealed);
    let reader = capture.finish();
    assert_eq!(
        reader.infos(true),
        [
            r#"Say n=1 "vrai""#,
            r#"[Duplicate] Say n=1 "vrai""#,
            r#"[Bad: tag does not verify] Say n=2 "fauy""#,
            "[Bad: tag does not verify] Sealed, 3 bytes"
        ]
    );
    assert_eq!(reader.fields("preau.duplicate_of", &["frame.number", "preau.duplicate_of"]), [["2", "1"]]);
    assert_eq!(reader.count("preau.tag.status == 2 && preau.expert.tag"), 2);
}

#[test]
fn in_a_sealed_room_what_is_else_readable_may_be_sealed() {
    let mut capture = Capture::new("sealed");
    let mut amina = Session::new(7, AMINA, SERVER);
    capture.key_log = format!("{}ROOM 1 3 {}\n", amina.key_log(), capture::hex(&story::ROOM_KEY));
    let page = story::sealed_page(1, 3, &[entry(3, None, "sous clef")]);
    capture.say(&mut amina, From::Client, Type::Sealed, &[say(1, "sous clef")]);
    capture.say(&mut amina, From::Server, Type::Readable, std::slice::from_ref(&page));
    let Frame::Page(mut forged) = page else { unreachable!("sealed_page makes pages") };
    forged.blob[3] ^= 1;
    capture.say(&mut amina, From::Server, Type::Readable, &[forged.into()]);
    let reader = capture.finish();
    let expected = [
        r#"(opened) Say n=1 "sous clef""#,
        r#"Entry #1 from user 3 "sous clef""#,
        "[Retransmission] [Bad: the page's seal does not verify] Page #1 (sealed under room key 3, 135 bytes)",
    ];
    assert_eq!(reader.infos(true), expected);
    assert_eq!(reader.count("preau.expert.misplaced || preau.expert.malformed"), 0);
    assert_eq!(reader.fields("preau.page.tag.status == 2 && preau.expert.tag", &["frame.number"]), [["3"]]);
}

#[test]
fn any_port_will_do_and_nothing_else_is_claimed() {
    let mut capture = Capture::new("ports");
    let (here, there): (End, End) = ((Ipv4Addr::new(10, 0, 0, 8), 5555), (Ipv4Addr::new(10, 0, 0, 9), 6666));
    let mut session = Session::new(7, here, there);
    capture.say(&mut session, From::Client, Type::Readable, &[Ping { nonce: 1 }.into()]);
    let zeros = Header { kind: Type::Hello, session: SessionIndex(0), counter: 9 }.to_bytes().to_vec();
    let sized = |size: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = zeros.clone();
        bytes.resize(size, 0);
        change(&mut bytes);
        bytes
    };
    let foreign = [
        ("short", sized(14, &|_| ())),
        ("long", sized(1201, &|bytes| bytes[2] = 7)),
        ("a hello of another length", sized(511, &|_| ())),
        ("a hello in a session", sized(512, &|bytes| bytes[6] = 1)),
        ("a sealed without a tag", sized(30, &|bytes| bytes[2] = 7)),
        ("a type not in use", sized(100, &|bytes| bytes[2] = 0x10)),
        ("another version", sized(512, &|bytes| bytes[1] = 0xe2)),
        ("another magic", sized(512, &|bytes| bytes[0] = 0xd4)),
        ("a confirm with a counter", sized(100, &|bytes| bytes[2] = 5)),
    ];
    // Each between other ports: a conversation that was ours once stays so.
    for (port, (_, bytes)) in (20_000..).zip(&foreign) {
        capture.add((here.0, port), (there.0, port), bytes);
    }
    for (_, bytes) in &foreign {
        capture.add(AMINA, SERVER, bytes);
    }
    let reader = capture.finish();
    assert_eq!(reader.fields("preau && udp.port == 5555", &["frame.number"]), [["1"]]);
    for (port, (what, _)) in (20_000..).zip(&foreign) {
        assert_eq!(reader.count(&format!("preau && udp.port == {port}")), 0, "{what}");
    }
    // On the server's own port all that has the magic is shown, with what is wrong about it.
    let shown = reader.fields("udp.port == 26262", &["_ws.col.Protocol", "preau.expert.malformed"]);
    let ours: Vec<bool> = shown.iter().map(|row| !row[1].is_empty()).collect();
    assert_eq!(ours, [false, true, true, true, true, true, true, false, true], "{shown:?}");
}

/// Bodies that are not as proto.md describes them, and a word of what is said about each.
fn malformed_bodies() -> Vec<(Type, Vec<u8>, &'static str)> {
    use Type::{Readable, Sealed};
    let bytes = |frame: Frame| {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        bytes
    };
    let ack = |upto, ranges| bytes(Ack { room: RoomId::MAIN, epoch: Epoch(1), upto, delay_us: 0, ranges }.into());
    let blob = |first, count, blob: Vec<u8>| {
        let (room, epoch, first, blob) = (RoomId::MAIN, Epoch(1), preau::id::Seq(first), ByteBuf::from(blob));
        bytes(Page { room, epoch, first, count, key: 0, blob }.into())
    };
    let part = |part, parts, size: usize| {
        let (instance, n, text) = (OUTBOX, Ordinal(1), "x".repeat(size));
        bytes(Say { instance, n, room: RoomId::MAIN, part, parts, text }.into())
    };
    let to_many = Tell {
        instance: Instance(1),
        n: Ordinal(1),
        to: (1..=33).map(UserId).collect(),
        part: 0,
        parts: 1,
        text: "x".into(),
    };
    let mut nested = vec![0x03, 0x95, 1, 1, 0, 0];
    nested.extend([0x91; 500]);
    let roster_ack =
        RosterAck { boot: Boot(5), upto: 9, delay_us: 0, ranges: (2..70).map(|i| (9 * i, 9 * i)).collect() };
    vec![
        (Readable, vec![], "without a frame"),
        (Readable, vec![0x7f, 0x90], "kind 0x7f is not known"),
        (Readable, vec![0x06], "ends too early"),
        (Readable, vec![0x06, 0x91, 0xce, 1], "ends too early"),
        (Readable, vec![0x06, 0x90], "0 fields in place of 1"),
        (Readable, vec![0x06, 0x92, 1, 2], "2 fields in place of 1"),
        (Readable, vec![0x06, 0x91, 0xa1, b'x'], "nonce is not what it must be"),
        (Readable, vec![0x06, 0x91, 0xff], "nonce is not what it must be"),
        (Readable, vec![0x06, 0x91, 0xc0], "nonce is not what it must be"),
        (Readable, vec![0x06, 0x91, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0], "too large"),
        (Readable, vec![0x06, 0x91, 0xc1], "0xc1 is not used"),
        (Readable, vec![0x06, 0x91, 1, 0xff], "kind 0xff is not known"),
        (Readable, vec![0x06, 5], "not an array"),
        (Readable, vec![0x03, 0x95, 1, 1, 0, 0, 0xdd, 0xff, 0xff, 0xff, 0xff], "more elements than there are bytes"),
        (Readable, nested, "nested too deeply"),
        (Readable, vec![0x08, 0x95, 1, 1, 1, 0, 1], "5 fields in place of 6"),
        (Readable, [&[0x08, 0x96, 1, 1, 1, 0, 1][..], &[0xa2, 0xff, 0xfe]].concat(), "not UTF-8"),
        (Readable, ack(5, vec![(6, 7)]), "do not ascend"),
        (Readable, ack(5, vec![(9, 7)]), "do not ascend"),
        (Readable, ack(5, vec![(9, 12), (7, 7)]), "do not ascend"),
        (Readable, bytes(roster_ack.into()), "a list is too long"),
        (Readable, blob(1, 1, vec![7; 95]), "less than 96 bytes"),
        (Readable, blob(1, 1, vec![7; 96]), "0 entries in a page of 1"),
        (Readable, blob(1, 0, vec![7; 96]), "a page of no entries"),
        (Readable, blob(1, 1, vec![7; 99]), "an entry of a kind that is not known"),
        (Readable, part(1, 1, 5), "a part beyond the last"),
        (Readable, part(0, 7, 5), "a part beyond the last"),
        (Readable, part(0, 1, 801), "more than 800 bytes"),
        (Readable, bytes(Slow { wait_ms: 1 }.into()), "slow must travel sealed"),
        (Sealed, bytes(page(1, &[entry(1, None, "x")])), "page must travel readable"),
        (Sealed, bytes(to_many.into()), "a list is too long"),
        (Sealed, vec![0x2a, 0x93, 1, 0, 0xc6, 0xff, 0xff, 0xff, 0xff], "goes beyond the end"),
        (Sealed, vec![0x2a, 0x93, 1, 0, 0xc4, 2, 0x91, 99], "call: not known"),
        (Sealed, vec![0x2a, 0x93, 1, 0, 0xc4, 0], "call: it ends too early"),
        (Sealed, vec![0x2b, 0x94, 1, 1, 1, 0xc4, 0], "a chunk beyond the last"),
        (Sealed, vec![0x2b, 0x94, 1, 0, 1, 0xc4, 0], "an empty answer"),
        (Sealed, vec![0x23, 0x93, 1, 1, 0xc4, 2, 0x96, 2], "entry: "),
        (Sealed, [&[0x40, 0x93, 0xc4, 1, 1, 1][..], &[0xc4, 1, 1]].concat(), "token must travel credential"),
    ]
}

#[test]
fn what_is_malformed_is_called_so() {
    let mut capture = Capture::new("malformed");
    let mut session = Session::new(7, AMINA, SERVER);
    capture.key_log = session.key_log();
    let bodies = malformed_bodies();
    for (kind, body, _) in &bodies {
        let datagram = session.protect(From::Client, *kind, body);
        capture.carry(&session, From::Client, &datagram);
    }
    let reader = capture.finish();
    let infos = reader.infos(true);
    assert_eq!(infos.len(), bodies.len());
    for (info, (kind, body, word)) in infos.iter().zip(&bodies) {
        let start = &body[..body.len().min(12)];
        assert!(info.contains("[Bad: "), "{kind:?} {start:02x?}: {info}");
        assert!(info.contains(word), "{kind:?} {start:02x?}: {info:?} does not say {word:?}");
    }
    assert_eq!(reader.count("preau.expert.malformed || preau.expert.misplaced"), bodies.len());
    nothing_failed(&reader);
}

/// Not even tshark's own "malformed packet" or our last resort.
fn nothing_failed(reader: &Reader) {
    assert_eq!(reader.count("_ws.malformed"), 0, "tshark found a dissector beyond the end");
    assert_eq!(reader.count("preau.expert.fault"), 0, "the dissector caught a failure of its own");
    assert_eq!(reader.count("_ws.lua.error"), 0, "a Lua error");
}

/// Changes some bytes, cuts, or lengthens.
fn mutate(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    for _ in 0..1 + rng.next_u32() % 4 {
        let at = rng.next_u32() as usize % bytes.len().max(1);
        let byte = rng.next_u32() as u8;
        match rng.next_u32() % 6 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 => bytes.extend(std::iter::repeat_n(byte, at % 40)),
            3 if at < bytes.len() => {
                bytes[at] = [0xc0, 0xc4, 0xc6, 0xcf, 0xd9, 0xdc, 0xdd, 0xff][usize::from(byte) % 8]
            }
            _ if at < bytes.len() => bytes[at] ^= byte,
            _ => (),
        }
    }
}

#[test]
fn two_thousand_damaged_datagrams_do_not_make_it_fail() {
    let seed = match std::env::var("PREAU_SEED") {
        Ok(seed) => seed.parse().expect("PREAU_SEED is a number"),
        Err(_) => 26_262,
    };
    println!("PREAU_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut capture = Capture::new("damaged");
    let (mut amina, mut bob) = (Session::new(7, AMINA, SERVER), Session::new(8, BOB, SERVER));
    let whole = story();
    capture.key_log = format!("{}{}", whole.key_log, amina.key_log());
    let bodies = whole.bodies();
    let datagrams = whole.datagrams();
    for i in 0..2000 {
        if i % 2 == 0 {
            // As the network, or somebody on it, damages datagrams.
            let mut datagram = datagrams[i / 2 % datagrams.len()].clone();
            mutate(&mut rng, &mut datagram);
            let from = if rng.next_u32() % 2 == 0 { From::Client } else { From::Server };
            capture.carry(&bob, from, &datagram);
        } else {
            // As a member's own faulty program sends them: damaged inside of a good seal.
            let (from, kind, mut body) = bodies[i / 2 % bodies.len()].clone();
            mutate(&mut rng, &mut body);
            body.truncate(1169);
            let session = if i % 8 == 1 { &mut bob } else { &mut amina };
            let datagram = session.protect(from, kind, &body);
            capture.carry(session, from, &datagram);
        }
    }
    let reader = capture.finish();
    assert_eq!(reader.frames, 2000);
    reader.tshark(true, &["-V", "-2"]);
    nothing_failed(&reader);
    assert!(reader.count("preau.tag.status == 1") > 500, "the good seals are opened");
    assert!(reader.count("preau.expert.malformed") > 200, "the damage is seen");
}

#[test]
fn a_key_log_that_cannot_be_read_is_said() {
    let mut capture = Capture::new("no-log");
    let mut session = Session::new(7, AMINA, SERVER);
    capture.key_log = "SESSION nonsense\n".into();
    capture.say(&mut session, From::Client, Type::Sealed, &[Slow { wait_ms: 1 }.into()]);
    let reader = capture.finish();
    assert_eq!(reader.count("preau.expert.key_log"), 1);
    let text = reader.tshark(false, &["-o", "preau.key_log:/nowhere/keys.log", "-V"]);
    assert!(text.contains("The key log cannot be read: /nowhere/keys.log"), "{text}");
}
