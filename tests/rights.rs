//! Who has lost a right has lost it everywhere: credentials that were replaced, tokens and sessions that were revoked,
//! rooms one was removed from; and no member's numbers or questions stop the others.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use common::{Host, Member, addr, config};
use preau::id::{CallId, Instance, Ordinal, RoomId, Seq};
use preau::proto::handshake::Intent;
use preau::proto::keys::ServerKeys;
use preau::proto::rng::Rng;
use preau::proto::sign::sign_tip;
use preau::proto::suite::Suite;
use preau::record::{CredentialKind, Op};
use preau::server::Config;
use preau::wire::call::Call;
use preau::wire::entrance::{ATTACH_PRESENT, ATTACH_TOKEN, Attach, Refusal};
use preau::wire::frame::{self, Bye, ByeReason, Frame, Ping, Protection, Say, Welcome};
use preau::wire::header::{Header, Type};
use rand::SeedableRng;
use serde_bytes::ByteBuf;

const CODE: &str = "0123456789ABCDEFGHJK";

fn host() -> Host {
    Host::new(Suite::Null, config())
}

fn attach(instance: u64, flags: u8) -> Attach {
    let (instance, first) = (Instance(instance), Ordinal(1));
    Attach { instance, first, room: None, inbox: None, tip: None, flags }
}

fn password(username: &str, password: &str) -> Intent {
    Intent::SignIn { username: username.into(), password: password.into(), device: None }
}

fn replace_by_code(new_password: &str) -> Intent {
    Intent::Replace {
        username: "zoe".into(),
        kind: CredentialKind::Recovery,
        secret: CODE.into(),
        new_password: new_password.into(),
        new_recovery_code: "ZZZZZ23456789ABCDEFG".into(),
        device: None,
    }
}

fn say(instance: Instance, n: u64) -> Frame {
    Say { instance, n: Ordinal(n), room: RoomId::MAIN, part: 0, parts: 1, text: "x".into() }.into()
}

fn token(member: &Member) -> Option<[u8; 32]> {
    member.heard.iter().find_map(|frame| match frame {
        Frame::Token(token) => Some(*token.token),
        _ => None,
    })
}

fn byes(member: &Member) -> Vec<ByeReason> {
    let reason = |frame: &Frame| match frame {
        Frame::Bye(bye) => Some(ByeReason::from_code(bye.reason)),
        _ => None,
    };
    member.heard.iter().filter_map(reason).collect()
}

#[test]
fn a_code_proven_before_it_was_used_is_worth_nothing_after() {
    let mut host = host();
    host.register(addr(1), "zoe");
    let thief = host.prove(addr(9), &replace_by_code("the thief's")).unwrap();
    host.come_in(addr(1), &replace_by_code("zoe's new one"), None).unwrap();
    let confirm = thief.confirm(None);
    host.give(addr(9), &confirm);
    let mut outcome = host.take_sent(addr(9)).unwrap();
    assert_eq!(thief.open_outcome(&mut outcome).unwrap().refusal, Some(Refusal::WrongCredentials));
    assert!(host.prove(addr(6), &password("zoe", "the thief's")).is_err());
    assert!(host.prove(addr(6), &password("zoe", "zoe's new one")).is_ok());
}

#[test]
fn two_replacements_in_one_batch_are_one() {
    let mut host = host();
    host.register(addr(1), "zoe");
    let (one, other) = (
        host.prove(addr(1), &replace_by_code("one")).unwrap(),
        host.prove(addr(2), &replace_by_code("other")).unwrap(),
    );
    host.held = Some(Vec::new());
    // Something is being stored, so that both wait for the next batch.
    host.register_slowly(addr(3), "bob");
    let confirms = [(addr(1), one.confirm(None)), (addr(2), other.confirm(None))];
    confirms.iter().for_each(|(from, confirm)| host.give(*from, confirm));
    host.release();
    let (mut first, mut second) = (host.take_sent(addr(1)).unwrap(), host.take_sent(addr(2)).unwrap());
    assert_eq!(one.open_outcome(&mut first).unwrap().refusal, None);
    assert_eq!(other.open_outcome(&mut second).unwrap().refusal, Some(Refusal::WrongCredentials));
}

#[test]
fn a_sign_in_under_way_does_not_outlive_the_password() {
    let mut host = host();
    host.register(addr(1), "zoe");
    let under_way = host.prove(addr(8), &password("zoe", "zoe's password")).unwrap();
    host.come_in(addr(1), &replace_by_code("new"), None).unwrap();
    let late = host.attach(addr(8), under_way, attach(77, ATTACH_PRESENT | ATTACH_TOKEN));
    assert!(late.heard.is_empty(), "no welcome, no token");
}

#[test]
fn a_resume_under_way_does_not_outlive_the_token() {
    let mut host = host();
    host.register(addr(1), "zoe");
    let proven = host.prove(addr(1), &password("zoe", "zoe's password")).unwrap();
    let zoe = host.attach(addr(1), proven, attach(1, ATTACH_PRESENT | ATTACH_TOKEN));
    let user = zoe.welcome().user;
    let under_way = host.prove(addr(2), &Intent::Resume { token: token(&zoe).unwrap() }).unwrap();
    host.admin(Op::RevokeTokens(user));
    let late = host.attach(addr(2), under_way, attach(2, ATTACH_PRESENT));
    assert!(late.heard.is_empty(), "no welcome");
}

#[test]
fn a_revoked_account_s_sessions_end_with_or_without_a_token() {
    let mut host = host();
    let mut zoe = host.member(addr(1), "zoe");
    let user = zoe.welcome().user;
    host.admin(Op::RevokeTokens(user));
    host.advance(Duration::from_millis(100));
    zoe.listen(&mut host);
    assert!(byes(&zoe).contains(&ByeReason::Revoked));
    assert_eq!(host.server.held()[0], ("sessions", 0));
}

#[test]
fn an_admin_s_change_ends_no_session_that_has_its_right() {
    let mut host = host();
    host.register(addr(1), "zoe");
    let mut members: Vec<Member> = (0..20)
        .map(|n| {
            let proven = host.prove(addr(1), &password("zoe", "zoe's password")).unwrap();
            let mut member = host.attach(addr(1), proven, attach(100 + n, ATTACH_PRESENT | ATTACH_TOKEN));
            if n > 0 {
                member.say(&mut host, &[Bye { reason: 0 }.into()]);
            }
            member
        })
        .collect();
    host.admin(Op::RegistrationOpen(false));
    host.advance(Duration::from_millis(100));
    members[0].listen(&mut host);
    assert_eq!(byes(&members[0]), [], "its token was one of too many, its session is good");
}

#[test]
fn who_was_removed_while_away_does_not_hold_the_room_key() {
    let mut host = Host::new(Suite::Null, Config { sealed: true, ..config() });
    host.register(addr(1), "zoe");
    host.register(addr(2), "bob");
    let zoe = sealed_welcome(&mut host, 1, "zoe");
    host.advance(Duration::from_secs(20));
    host.admin(Op::Remove(zoe.user));
    let bob = sealed_welcome(&mut host, 2, "bob");
    assert_ne!((bob.key, &bob.room_key), (zoe.key, &zoe.room_key));
}

fn sealed_welcome(host: &mut Host, at: u8, username: &str) -> Welcome {
    let mut proven = host.prove(addr(at), &password(username, &format!("{username}'s password"))).unwrap();
    let confirm = proven.confirm(Some(attach(at.into(), ATTACH_PRESENT)));
    host.give(addr(at), &confirm);
    let (_, mut opener) = proven.keys.take().unwrap().split();
    let mut datagram = host.take_sent(addr(at)).unwrap();
    let (header, _) = Header::split(&datagram).unwrap();
    let body = opener.open(&header, &mut datagram).unwrap();
    let frames = Frame::take_all(body, Protection::Sealed, Some(true)).unwrap();
    let welcome = |frame| match frame {
        Frame::Welcome(welcome) => Some(welcome),
        _ => None,
    };
    frames.into_iter().find_map(welcome).unwrap()
}

#[test]
fn signing_out_before_the_token_came_ends_it_too() {
    let mut host = host();
    host.register(addr(1), "zoe");
    let proven = host.prove(addr(1), &password("zoe", "zoe's password")).unwrap();
    host.held = Some(Vec::new());
    let mut zoe = host.attach(addr(1), proven, attach(5, ATTACH_PRESENT | ATTACH_TOKEN));
    let body = ByteBuf::from(Call::SignOut.to_bytes());
    zoe.say(&mut host, &[frame::Call { id: CallId(1), have: 0, body }.into()]);
    host.release();
    zoe.listen(&mut host);
    assert!(zoe.heard.iter().any(|frame| matches!(frame, Frame::Reply(_))), "signed out");
    let good = token(&zoe).is_some_and(|token| host.prove(addr(3), &Intent::Resume { token }).is_ok());
    assert!(!good);
}

#[test]
fn no_member_s_numbers_stop_the_others() {
    let mut host = host();
    let mut bob = host.member(addr(2), "bob");
    host.register(addr(1), "zoe");
    for first in [1 << 33, 1 << 63, u64::MAX] {
        let proven = host.prove(addr(1), &password("zoe", "zoe's password")).unwrap();
        let wild = Attach { first: Ordinal(first), ..attach(first, ATTACH_PRESENT) };
        assert!(host.attach(addr(1), proven, wild).heard.is_empty(), "{first}: not let in");
    }
    let mut zoe = host.sign_in(addr(1), "zoe");
    let instance = zoe.instance;
    for n in [1 << 63, u64::MAX, 1 << 50, 66] {
        zoe.say(&mut host, &[say(instance, n)]);
    }
    let next = say(bob.instance, 1);
    bob.say(&mut host, &[next]);
    assert_eq!((host.counter("batches_failed"), host.counter("messages")), (0, 1));
}

#[test]
fn a_class_that_comes_back_after_a_restore_begins_one_epoch() {
    let mut host = host();
    host.register(addr(3), "zoe");
    host.register(addr(4), "bob");
    let keys = ServerKeys::generate(Suite::Null, &mut Rng::seed_from_u64(11));
    let future = sign_tip(&keys, RoomId::MAIN, preau::id::Epoch(1), Seq(50), [3; 32]);
    let tip = Some(ByteBuf::from(future.to_bytes()));
    let confirms: Vec<_> = [(3, "zoe"), (4, "bob")]
        .into_iter()
        .map(|(at, username)| {
            let proven = host.prove(addr(at), &password(username, &format!("{username}'s password"))).unwrap();
            let attach = Attach { tip: tip.clone(), ..attach(at.into(), ATTACH_PRESENT) };
            (addr(at), proven.confirm(Some(attach)))
        })
        .collect();
    for (from, mut confirm) in confirms {
        host.server.handle_datagram(host.now, from, &mut confirm);
    }
    host.drain();
    assert_eq!((host.counter("batches_failed"), host.server.failure()), (0, None));
    host.advance(Duration::from_secs(1));
    let zoe = host.sign_in(addr(5), "zoe");
    assert_eq!(zoe.welcome().epoch.0, 2);
    let carol = host.member(addr(6), "carol").welcome().user;
    assert!(carol.0 > 1 << 20, "ids of the lost history are not given again: {carol}");
}

#[test]
fn a_registration_on_a_slow_disk_is_told_its_outcome() {
    let mut host = host();
    host.held = Some(Vec::new());
    let (proven, confirm) = host.register_slowly(addr(1), "zoe");
    host.advance(Duration::from_secs(11));
    host.release();
    let mut outcome = host.take_sent(addr(1)).expect("an outcome");
    assert_eq!(proven.open_outcome(&mut outcome).unwrap().refusal, None);
    host.advance(Duration::from_secs(50));
    host.give(addr(1), &confirm);
    assert_eq!(host.take_sent(addr(1)).expect("again")[2], Type::Outcome as u8);
}

#[test]
fn one_member_s_questions_do_not_keep_another_s_from_an_answer() {
    let mut host = host();
    let (mut busy, mut zoe) = (host.member(addr(1), "busy"), host.member(addr(2), "zoe"));
    let search = |id| -> Frame {
        let body = ByteBuf::from(Call::Search { words: "x".into(), limit: 1 }.to_bytes());
        frame::Call { id: CallId(id), have: 0, body }.into()
    };
    for id in 1..=1024 {
        let mut body = Vec::new();
        search(id).put(&mut body);
        let mut datagram = busy.seal(Type::Sealed, &body);
        host.server.handle_datagram(host.now, busy.addr, &mut datagram);
    }
    zoe.say(&mut host, &[search(1)]);
    assert!(zoe.heard.iter().any(|frame| matches!(frame, Frame::Reply(_))));
    busy.say(&mut host, &[Ping { nonce: 1 }.into()]);
    assert!(!busy.heard.is_empty(), "and who asked too much is not thrown out");
}

#[test]
fn nobody_registers_names_without_end() {
    let mut host = host();
    let refused = (0..60)
        .filter(|n| {
            let intent = Intent::Register {
                username: format!("name{n}"),
                first_name: "A".into(),
                last_name: "B".into(),
                password: "p".into(),
                recovery_code: CODE.into(),
            };
            host.advance(Duration::from_millis(3));
            host.come_in(addr(1), &intent, None).is_err()
        })
        .count();
    assert_eq!(refused, 10, "after a class");
    host.register(addr(2), "somebodyelse");
}
