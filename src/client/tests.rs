//! The client against a server scripted frame by frame: coming in, what is dropped, and staying in.

use std::net::{IpAddr, Ipv4Addr};

use serde_bytes::ByteArray;

use super::event::{Entered, Message};
use super::*;
use crate::id::{Boot, Instance, SessionIndex, Version};
use crate::proto::datagram::{Opener, Protector};
use crate::proto::handshake::{PendingProof, Responder};
use crate::proto::keys::ServerKeys;
use crate::proto::sign::{PageId, sign_page};
use crate::wire::entrance::{Refusal, Request, Retry};
use crate::wire::entry::Entry;
use crate::wire::frame::{Bye, ByeReason, Frame, Page, Ping, Reply as ReplyFrame, Token, WELCOME_SEALED, Welcome};
use crate::wire::limits::{COOKIE, HEADER, TAG};

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 26262);
const MS: u64 = 1000;

fn at(us: u64) -> Now {
    Now { mono: Instant(us), wall: WallMs(1_700_000_000_000 + us / MS) }
}

fn profile() -> Profile {
    Profile {
        instance: Instance(5),
        next: Ordinal(1),
        outbox: vec![],
        pin: None,
        room_cursor: None,
        inbox_cursor: None,
        tip: None,
        token: Some(([9; 32], WallMs(u64::MAX))),
        device: None,
        user: None,
    }
}

/// A client and what a server knows of it.
struct Bench {
    client: Client,
    keys: ServerKeys,
    rng: Rng,
    now: u64,
    welcome: Welcome,
}

/// The server's half of a session.
struct Half {
    index: SessionIndex,
    protector: Protector,
    opener: Opener,
}

impl Half {
    fn datagram(&mut self, kind: Type, frames: &[Frame]) -> Vec<u8> {
        let mut buf = vec![0; HEADER];
        frames.iter().for_each(|frame| frame.put(&mut buf));
        self.protector.seal(kind, self.index, &mut buf);
        buf
    }
}

impl Bench {
    fn new(trust: Trust, profile: Profile) -> Bench {
        let mut rng = Rng::seed_from_u64(1);
        let keys = ServerKeys::generate(Suite::Null, &mut rng);
        let config = Config { suite: Suite::Null, server: SERVER, trust, present: true, token: true };
        let client = Client::new(config, profile, [3; 32], at(0));
        let welcome = Welcome {
            user: UserId(1),
            username: "zoé".into(),
            name: "Salle 12".into(),
            epoch: Epoch(1),
            since: Seq(0),
            head: Seq(10),
            inbox_head: Seq(0),
            inbox_from: Seq(0),
            boot: Boot(1),
            roster: Version(0),
            decided: Ordinal(0),
            flags: 0,
            key: 0,
            room_key: None,
        };
        Bench { client, keys, rng, now: 0, welcome }
    }

    fn now(&self) -> Now {
        at(self.now)
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.client.poll_event() {
            if matches!(event, Event::Keep(_)) {
                let now = self.now();
                self.client.handle_kept(now, Ok(()));
            }
            events.push(event);
        }
        events
    }

    fn sent(&mut self) -> Vec<(Header, Vec<u8>)> {
        let (mut sent, mut buf, now) = (Vec::new(), Vec::new(), self.now());
        while let Some(to) = self.client.poll_transmit(now, &mut buf) {
            assert_eq!(to, SERVER);
            sent.push((Header::split(&buf).unwrap().0, buf.clone()));
        }
        sent
    }

    /// Steps to the next deadline, as a driver would.
    fn step(&mut self) {
        self.now = self.client.poll_timeout().unwrap().0.max(self.now);
        let now = self.now();
        self.client.handle_timeout(now);
    }

    fn give(&mut self, datagram: &[u8]) {
        let now = self.now();
        self.client.handle_datagram(now, SERVER, &mut datagram.to_vec());
    }

    fn retry(&self, attempt: u64, keys: &ServerKeys) -> Vec<u8> {
        let public = keys.public();
        let retry = Retry {
            cookie: ByteArray::new([7; COOKIE]),
            ed25519: ByteArray::new(public.ed25519),
            x25519: ByteArray::new(public.x25519),
            name: "Salle 12".into(),
        };
        let header = Header { kind: Type::Retry, session: SessionIndex(0), counter: attempt };
        [&header.to_bytes()[..], &retry.to_bytes()].concat()
    }

    fn retry_for(&mut self, hello: &(Header, Vec<u8>)) {
        assert_eq!(hello.0.kind, Type::Hello);
        let retry = self.retry(hello.0.counter, &self.keys);
        self.give(&retry);
    }

    fn responder(&mut self, initiate: &(Header, Vec<u8>)) -> (Responder, Request) {
        assert_eq!(initiate.0.kind, Type::Initiate);
        let (cookie, message) = initiate.1[HEADER..].split_first_chunk().unwrap();
        Responder::read(&self.keys, &mut self.rng, initiate.0.counter, cookie, message).unwrap()
    }

    /// From the client's hello on up to its confirm.
    fn up_to_confirm(&mut self, index: u32) -> (PendingProof, Vec<u8>) {
        let hello = self.sent().into_iter().rfind(|(header, _)| header.kind == Type::Hello).unwrap();
        self.retry_for(&hello);
        let initiate = self.sent().pop().unwrap();
        let (responder, request) = self.responder(&initiate);
        let Request::Resume { token } = request else { panic!("{request:?}") };
        let (respond, pending) = responder.resume(&self.keys, SessionIndex(index), &token);
        self.give(&respond);
        (pending, self.sent().pop().unwrap().1)
    }

    fn half(&mut self, pending: &PendingProof, confirm: &[u8]) -> Half {
        let confirm = pending.open_confirm(&mut confirm.to_vec()).unwrap();
        let (protector, opener) = pending.finish(&confirm).unwrap().keys.unwrap().split();
        Half { index: pending.index(), protector, opener }
    }

    /// A session, from the hello that the client is about to send.
    fn session(&mut self, index: u32) -> Half {
        let (pending, confirm) = self.up_to_confirm(index);
        let mut half = self.half(&pending, &confirm);
        let welcome = half.datagram(Type::Sealed, &[self.welcome.clone().into()]);
        self.give(&welcome);
        half
    }

    fn resumed(profile: Profile) -> (Bench, Half) {
        let mut bench = Bench::new(Trust::FirstUse, profile);
        assert!(bench.client.resume(at(0)));
        let half = bench.session(77);
        bench.sent();
        (bench, half)
    }

    fn page(&self, epoch: u32, first: u64, text: &str) -> Page {
        let mut entries = Vec::new();
        let (author, time) = (UserId(2), WallMs(5));
        Entry { author, time, rest: 0, to: None, text: text.into() }.put(&mut entries);
        let id = PageId { room: RoomId::MAIN, epoch: Epoch(epoch), first: Seq(first), count: 1 };
        let page = sign_page(&self.keys, id, &[0; 32], &entries);
        let (room, epoch, first, count) = (page.room, page.epoch, page.first, page.count);
        Page { room, epoch, first, count, key: 0, blob: ByteBuf::from(page.blob) }
    }

    fn shown(&mut self) -> Vec<String> {
        let text = |event| match event {
            Event::Message(Message { text, .. }) => Some(text),
            _ => None,
        };
        self.events().into_iter().filter_map(text).collect()
    }

    fn hint(&mut self, index: SessionIndex) {
        self.give(&Header { kind: Type::Hint, session: index, counter: 0 }.to_bytes());
    }
}

#[test]
fn hellos_are_resent_more_and_more_slowly_and_for_ever() {
    let mut bench = Bench::new(Trust::FirstUse, profile());
    bench.client.sign_in(at(0), "zoé", "sésame");
    let hello = bench.sent();
    assert_eq!((hello.len(), hello[0].1.len()), (1, 512));
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let before = bench.now;
        bench.step();
        pauses.push((bench.now - before) / MS);
        assert_eq!(bench.sent(), hello, "byte for byte");
    }
    assert!((80..=120).contains(&pauses[0]) && (160..=240).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses[3..].iter().all(|pause| (320..=480).contains(pause)), "{pauses:?}");
}

#[test]
fn an_initiate_that_nobody_answers_goes_back_to_a_hello() {
    let mut bench = Bench::new(Trust::FirstUse, profile());
    bench.client.sign_in(at(0), "zoé", "sésame");
    let hello = bench.sent().pop().unwrap();
    bench.retry_for(&hello);
    let initiate = bench.sent().pop().unwrap();
    let again = loop {
        bench.step();
        let sent = bench.sent().pop().unwrap();
        if sent.0.kind == Type::Hello {
            break sent;
        }
        assert_eq!(sent, initiate, "byte for byte");
    };
    assert_eq!(bench.now, 5000 * MS);
    assert_ne!(again.0.counter, hello.0.counter, "a new attempt");
    bench.retry_for(&hello.clone());
    assert!(bench.sent().is_empty(), "an answer to the former attempt is none");
}

#[test]
fn nothing_but_hello_is_sent_before_a_person_confirmed_the_words() {
    let mut bench = Bench::new(Trust::Ask, profile());
    bench.client.sign_in(at(0), "zoé", "sésame");
    let hello = bench.sent().pop().unwrap();
    bench.retry_for(&hello);
    let pin = bench.keys.public().pin();
    assert!(bench.events().iter().any(|event| matches!(event, Event::ConfirmPin { pin: asked, .. } if *asked == pin)));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.client.poll_timeout(), None);
    bench.now = 60_000 * MS;
    let now = bench.now();
    bench.client.confirm_pin(now, true);
    bench.step();
    let hello = bench.sent().pop().unwrap();
    bench.retry_for(&hello);
    assert_eq!(bench.sent()[0].0.kind, Type::Initiate);
    assert!(bench.events().iter().any(|event| matches!(event, Event::Keep(keep) if keep[..] == [Keep::Pin(pin.0)])));

    let mut bench = Bench::new(Trust::Ask, profile());
    bench.client.sign_in(at(0), "zoé", "sésame");
    let hello = bench.sent().pop().unwrap();
    bench.retry_for(&hello);
    bench.client.confirm_pin(at(1), false);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn only_when_nothing_but_foreign_keys_answered_for_3_s_it_is_another_room() {
    let mut bench = Bench::new(Trust::FirstUse, Profile { pin: Some([1; 32]), ..profile() });
    bench.client.sign_in(at(0), "zoé", "sésame");
    let foreign = bench.keys.public().pin();
    bench.step();
    let first = bench.now;
    while bench.client.poll_timeout().is_some() {
        if let Some(hello) = bench.sent().pop() {
            bench.retry_for(&hello);
        }
        assert!(bench.events().iter().all(|event| !matches!(event, Event::PinChanged { .. })));
        bench.step();
    }
    assert_eq!(bench.now, first + 3000 * MS);
    assert!(matches!(bench.events()[..], [Event::PinChanged { pin }] if pin == foreign));
    assert!(bench.client.counters().foreign_keys > 1);
}

#[test]
fn a_false_room_cannot_hide_the_one_we_know() {
    let mut bench = Bench::new(Trust::FirstUse, profile());
    let pin = bench.keys.public().pin();
    bench.client.entrance = Entrance::new(Suite::Null, Some(pin), Trust::FirstUse);
    bench.client.sign_in(at(0), "zoé", "sésame");
    let hello = bench.sent().pop().unwrap();
    let other = ServerKeys::generate(Suite::Null, &mut bench.rng);
    let retry = bench.retry(hello.0.counter, &other);
    bench.give(&retry);
    assert!(bench.sent().is_empty());
    bench.retry_for(&hello);
    assert_eq!(bench.sent()[0].0.kind, Type::Initiate);
}

#[test]
fn the_six_words_are_checked_against_the_room_that_answers() {
    let words = Bench::new(Trust::FirstUse, profile()).keys.public().pin().words().join(" ");
    for (trust, trusted) in [(words.to_uppercase(), true), ("abandon ".repeat(6), false)] {
        let mut bench = Bench::new(Trust::Words(trust), profile());
        bench.client.sign_in(at(0), "zoé", "sésame");
        let hello = bench.sent().pop().unwrap();
        bench.retry_for(&hello);
        assert_eq!(!bench.sent().is_empty(), trusted);
        assert_eq!(bench.client.counters().foreign_keys, u64::from(!trusted));
    }
}

#[test]
fn a_confirm_is_resent_until_the_welcome_comes() {
    let mut bench = Bench::new(Trust::FirstUse, profile());
    assert!(bench.client.resume(at(0)));
    let (pending, confirm) = bench.up_to_confirm(77);
    bench.step();
    assert_eq!(bench.sent().pop().unwrap().1, confirm);
    let mut half = bench.half(&pending, &confirm);
    let early = half.datagram(Type::Readable, &[Ping { nonce: 1 }.into()]);
    bench.give(&early);
    assert!(bench.sent().is_empty(), "nothing is said before the welcome");
    let welcome = half.datagram(Type::Sealed, &[bench.welcome.clone().into()]);
    bench.give(&welcome);
    let events = bench.events();
    assert!(events.iter().any(|event| matches!(event, Event::Entered(Entered { first: true, .. }))));
    assert!(events.iter().any(|event| matches!(event, Event::Connection(Connection::Connected))));
    let (header, mut first) = bench.sent().pop().unwrap();
    assert!(half.opener.open(&header, &mut first).is_ok(), "our first datagram shows that the welcome came");
}

#[test]
fn what_is_not_as_it_should_be_changes_nothing_and_is_counted() {
    let (mut bench, mut half) = Bench::resumed(profile());
    bench.events();
    let page: Frame = bench.page(1, 11, "once").into();
    let ping: Frame = Ping { nonce: 1 }.into();
    let counted = |bench: &Bench| {
        let counters = bench.client.counters();
        [counters.dropped_source, counters.dropped_malformed, counters.dropped_type, counters.dropped_session]
            .into_iter()
            .chain([counters.dropped_attempt, counters.dropped_forged, counters.dropped_frames])
            .chain([counters.dropped_unexpected, counters.dropped_entries])
            .collect::<Vec<u64>>()
    };
    let good = half.datagram(Type::Readable, std::slice::from_ref(&page));
    bench.client.handle_datagram(at(1), SocketAddr::new(SERVER.ip(), 1), &mut good.clone());
    bench.give(&good[..10]);
    bench.give(&Header { kind: Type::Hello, session: SessionIndex(0), counter: 1 }.to_bytes().map(|byte| byte));
    let mut hello = Header { kind: Type::Hello, session: SessionIndex(0), counter: 1 }.to_bytes().to_vec();
    hello.resize(512, 0);
    bench.give(&hello);
    let mut foreign = good.clone();
    foreign[6] ^= 1;
    bench.give(&foreign);
    let retry = bench.retry(1, &bench.keys);
    bench.give(&retry);
    let mut forged = good.clone();
    let end = forged.len() - TAG;
    forged[end] ^= 1;
    bench.give(&forged);
    let sealed_page = half.datagram(Type::Sealed, &[ping.clone(), page.clone()]);
    bench.give(&sealed_page);
    let readable_bye = half.datagram(Type::Readable, &[page.clone(), Bye { reason: 2 }.into()]);
    bench.give(&readable_bye);
    let Frame::Page(mut miscounted) = page.clone() else { panic!("a page") };
    miscounted.count = 2;
    let miscounted = half.datagram(Type::Readable, &[miscounted.into()]);
    bench.give(&miscounted);
    assert_eq!(counted(&bench), [1, 2, 1, 1, 1, 1, 2, 0, 1]);
    assert!(bench.events().is_empty() && bench.sent().is_empty());
    bench.give(&good);
    bench.give(&good);
    assert_eq!(bench.shown(), ["once"]);
    assert_eq!(bench.client.counters().dropped_forged, 2, "a replay");
}

#[test]
fn a_message_is_shown_once_over_two_sessions_and_the_old_one_serves_until_the_new_stands() {
    let (mut bench, mut old) = Bench::resumed(profile());
    bench.hint(SessionIndex(5));
    assert!(bench.client.entrance.is_idle(), "a hint for another session");
    bench.hint(old.index);
    while bench.client.entrance.is_idle() {
        bench.step();
    }
    bench.step();
    let (pending, confirm) = bench.up_to_confirm(78);
    let datagram = old.datagram(Type::Readable, &[bench.page(1, 11, "eleven").into()]);
    bench.give(&datagram);
    assert_eq!(bench.shown(), ["eleven"], "the old session still receives");
    let mut new = bench.half(&pending, &confirm);
    let welcome = new.datagram(Type::Sealed, &[bench.welcome.clone().into()]);
    bench.give(&welcome);
    let frames = [bench.page(1, 11, "eleven").into(), bench.page(1, 12, "twelve").into()];
    let datagram = new.datagram(Type::Readable, &frames);
    bench.give(&datagram);
    assert_eq!(bench.shown(), ["twelve"]);
    let sent = bench.sent();
    assert_eq!(sent[0].0.session, old.index, "a goodbye to the old one");
    assert!(sent[1..].iter().all(|(header, _)| header.session == new.index));
    bench.hint(new.index);
    assert!(bench.client.entrance.is_idle(), "no more than one resume a second for hints");
}

#[test]
fn a_forged_retry_does_not_keep_the_genuine_one_out() {
    let mut bench = Bench::new(Trust::FirstUse, profile());
    assert!(bench.client.resume(at(0)));
    let hello = bench.sent().pop().unwrap();
    let mut forged = bench.retry(hello.0.counter, &bench.keys);
    let at_cookie = HEADER + 3;
    forged[at_cookie..at_cookie + COOKIE].fill(0x66);
    bench.give(&forged);
    bench.retry_for(&hello);
    bench.retry_for(&hello);
    let initiates = bench.sent();
    assert_eq!(initiates.len(), 1, "the newest is under way, the other at the next resend");
    let (responder, request) = bench.responder(&initiates[0]);
    let Request::Resume { token } = request else { panic!("{request:?}") };
    let (respond, _) = responder.resume(&bench.keys, SessionIndex(78), &token);
    bench.give(&respond);
    assert_eq!(bench.sent()[0].0.kind, Type::Confirm);
}

#[test]
fn a_forged_hint_costs_a_ping_and_no_more() {
    let (mut bench, mut half) = Bench::resumed(profile());
    for _ in 0..10 {
        bench.hint(half.index);
        assert!(!bench.sent().is_empty(), "it asks");
        let alive = half.datagram(Type::Readable, &[Ping { nonce: 4 }.into()]);
        bench.give(&alive);
        bench.now += 1000 * MS;
        let now = bench.now();
        bench.client.handle_timeout(now);
        assert!(bench.client.entrance.is_idle(), "the session answered");
        bench.sent();
    }
}

#[test]
fn a_client_that_closes_in_doubt_leaves_no_timer() {
    let (mut bench, half) = Bench::resumed(profile());
    bench.hint(half.index);
    let now = bench.now();
    bench.client.close(now);
    for _ in 0..20 {
        bench.events();
        bench.sent();
        if bench.client.poll_timeout().is_none() {
            return;
        }
        bench.step();
    }
    panic!("a timer is left: {:?}", bench.client.poll_timeout());
}

#[test]
fn silence_is_asked_about_and_then_believed() {
    let (mut bench, mut half) = Bench::resumed(profile());
    let began = bench.now;
    let mut pings = 0;
    while bench.client.model().connection == Connection::Connected {
        bench.step();
        pings += bench.sent().iter().filter(|(header, _)| header.session == half.index).count();
    }
    assert_eq!(bench.now, began + 2500 * MS);
    assert_eq!(pings, 10, "every 100 ms from 1.5 s on");
    bench.step();
    assert!(bench.sent().iter().any(|(header, _)| header.kind == Type::Hello));
    let alive = half.datagram(Type::Readable, &[Ping { nonce: 4 }.into()]);
    bench.give(&alive);
    assert_eq!(bench.client.model().connection, Connection::Connected, "it was there after all");
    assert!(bench.client.entrance.is_idle());
}

#[test]
fn revoked_sessions_end_and_the_token_with_them() {
    let (mut bench, mut half) = Bench::resumed(profile());
    bench.events();
    let bye = half.datagram(Type::Sealed, &[Bye { reason: ByeReason::Revoked as u8 }.into()]);
    bench.give(&bye);
    let events = bench.events();
    assert!(events.iter().any(|event| matches!(event, Event::Connection(Connection::Ended(ByeReason::Revoked)))));
    assert!(events.iter().any(|event| matches!(event, Event::Keep(keep) if keep.contains(&Keep::Token(None)))));
    let now = bench.now();
    assert!(!bench.client.resume(now));
    assert_eq!(bench.client.keeper.timeout(), bench.client.poll_timeout(), "but for the disk it rests");
}

#[test]
fn a_refused_token_is_told_where_there_is_no_password_and_else_the_password_serves() {
    for password in [false, true] {
        let (mut bench, mut half) = Bench::resumed(profile());
        if password {
            bench.client.staying.remember_password("zoé", "sésame");
        }
        let bye = half.datagram(Type::Sealed, &[Bye { reason: ByeReason::Closing as u8 }.into()]);
        bench.give(&bye);
        assert_eq!(bench.client.model().connection, Connection::Away);
        bench.step();
        let hello = bench.sent().pop().unwrap();
        bench.retry_for(&hello);
        let initiate = bench.sent().pop().unwrap();
        let respond = bench.responder(&initiate).0.refuse(Refusal::TokenInvalid, 0);
        bench.events();
        bench.give(&respond);
        let refused = |event: &Event| matches!(event, Event::Refused { refusal: Refusal::TokenInvalid, .. });
        assert_eq!(bench.events().iter().any(refused), !password);
        assert_eq!(!bench.client.entrance.is_idle(), password);
    }
}

#[test]
fn a_token_is_kept_and_acknowledged() {
    let (mut bench, mut half) = Bench::resumed(profile());
    bench.events();
    let token = Token { token: ByteArray::new([4; 32]), lifetime_s: 60, device: ByteArray::new([6; 32]) };
    let datagram = half.datagram(Type::Credential, &[token.into()]);
    bench.give(&datagram);
    let ends = WallMs(bench.now().wall.0 + 60_000);
    let kept = [Keep::Token(Some(([4; 32], ends))), Keep::Device([6; 32])];
    assert!(bench.client.keeper.timeout().is_some() || !bench.client.events.is_empty());
    let mut all: Vec<Keep> = Vec::new();
    for _ in 0..3 {
        for event in bench.events() {
            if let Event::Keep(batch) = event {
                all.extend(batch);
            }
        }
    }
    assert!(kept.iter().all(|keep| all.contains(keep)), "{all:?}");
    let (header, mut sent) = bench.sent().pop().unwrap();
    let body = half.opener.open(&header, &mut sent).unwrap();
    assert_eq!(body, [0x2d, 0x90]);
}

#[test]
fn a_restored_history_is_told_and_gone_on_from() {
    let mut bench = Bench::new(Trust::FirstUse, Profile { room_cursor: Some((Epoch(1), Seq(30))), ..profile() });
    (bench.welcome.epoch, bench.welcome.since, bench.welcome.head) = (Epoch(2), Seq(20), Seq(20));
    assert!(bench.client.resume(at(0)));
    let mut half = bench.session(77);
    let restored = Notice::HistoryRestored { since: Seq(20) };
    assert!(bench.events().iter().any(|event| matches!(event, Event::Notice(notice) if *notice == restored)));
    let page = half.datagram(Type::Readable, &[bench.page(2, 21, "anew").into()]);
    bench.give(&page);
    assert_eq!(bench.shown(), ["anew"]);
}

#[test]
fn a_page_under_an_unknown_key_waits_for_the_key() {
    let mut bench = Bench::new(Trust::FirstUse, profile());
    (bench.welcome.flags, bench.welcome.key) = (WELCOME_SEALED, 1);
    bench.welcome.room_key = Some(ByteArray::new([1; 32]));
    assert!(bench.client.resume(at(0)));
    let mut half = bench.session(77);
    bench.sent();
    let key = RoomKey { number: 2, key: [2; 32] };
    let plain = bench.page(1, 11, "secret");
    let id = PageId { room: plain.room, epoch: plain.epoch, first: plain.first, count: plain.count };
    let sealed: Frame = Page { key: 2, blob: ByteBuf::from(key.seal(Suite::Null, id, &plain.blob)), ..plain }.into();
    for _ in 0..2 {
        let page = half.datagram(Type::Readable, std::slice::from_ref(&sealed));
        bench.give(&page);
    }
    assert_eq!((bench.shown().len(), bench.client.counters().dropped_unknown_key), (0, 2));
    let sent = bench.sent();
    assert_eq!(sent.len(), 1, "one call for it");
    let (header, mut call) = sent.into_iter().next().unwrap();
    let frames =
        Frame::take_all(half.opener.open(&header, &mut call).unwrap(), Protection::Sealed, Some(true)).unwrap();
    let Frame::Call(call) = &frames[0] else { panic!("{frames:?}") };
    assert_eq!(Call::from_bytes(&call.body).unwrap(), Call::RoomKey(2));
    let body = ByteBuf::from(crate::wire::call::Reply::RoomKey(2, [2; 32]).to_bytes(100));
    let reply = half.datagram(Type::Sealed, &[ReplyFrame { id: call.id, index: 0, total: 1, body }.into()]);
    bench.give(&reply);
    let page = half.datagram(Type::Readable, &[sealed]);
    bench.give(&page);
    assert_eq!(bench.shown(), ["secret"]);
}

#[test]
fn a_closing_client_says_goodbye_three_times_and_rests() {
    let (mut bench, half) = Bench::resumed(profile());
    bench.events();
    let now = bench.now();
    bench.client.close(now);
    let mut byes = 0;
    loop {
        byes += bench.sent().iter().filter(|(header, _)| header.session == half.index).count();
        bench.events();
        if bench.client.poll_timeout().is_none() {
            break;
        }
        bench.step();
    }
    assert_eq!((byes, bench.now - now.mono.0), (3, 40 * MS));
}
