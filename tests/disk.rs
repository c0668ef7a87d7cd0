//! A disk that is full or failing: the server stops acknowledging, says so, goes on reading, and loses nothing that it
//! acknowledged (proto.md, sections 6 and 8).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use common::{Host, Member, addr, config};
use preau::id::{CallId, Ordinal, RoomId, Seq};
use preau::proto::suite::Suite;
use preau::wire::call::{Call, Reply};
use preau::wire::entrance::Refusal;
use preau::wire::frame::{self, Frame, Say, TIP_NOT_STORING, TIP_STORING, Want};

fn say(member: &Member, n: u64, text: &str) -> Frame {
    let (instance, room) = (member.instance, RoomId::MAIN);
    Say { instance, n: Ordinal(n), room, part: 0, parts: 1, text: text.into() }.into()
}

fn stored(member: &Member, n: u64) -> bool {
    member.heard.iter().any(|frame| match frame {
        Frame::Stored(stored) => stored.items.iter().any(|item| item.n == Ordinal(n)),
        _ => false,
    })
}

fn status(member: &Member) -> Option<u8> {
    member.heard.iter().rev().find_map(|frame| match frame {
        Frame::Tip(tip) => Some(tip.status),
        _ => None,
    })
}

#[test]
fn a_full_disk_stops_acks_and_nothing_else() {
    let mut host = Host::new(Suite::Null, config());
    let mut zoe = host.member(addr(1), "zoe");
    let before = say(&zoe, 1, "avant");
    zoe.say(&mut host, &[before]);
    assert!(stored(&zoe, 1));

    host.disk_fault = Some("the disk is full".into());
    let during = say(&zoe, 2, "pendant");
    zoe.say(&mut host, std::slice::from_ref(&during));
    zoe.say(&mut host, &[during.clone(), say_ahead(&zoe)]);
    assert!(!stored(&zoe, 2), "not acknowledged");
    assert_eq!(status(&zoe), Some(TIP_NOT_STORING), "and everybody is told");
    assert_eq!(host.server.failure(), Some("the disk is full"));
    assert!(!zoe.heard.iter().any(|frame| matches!(frame, Frame::Page(page) if page.first > Seq(1))), "not relayed");

    zoe.heard.clear();
    zoe.say(&mut host, &[Want { room: RoomId::MAIN, first: Seq(1), last: Seq(1) }.into()]);
    assert!(zoe.heard.iter().any(|frame| matches!(frame, Frame::Page(_))), "reading goes on");
    let rename = frame::Call { id: CallId(1), have: 0, body: Call::Rename("zozo".into()).to_bytes().into() };
    zoe.say(&mut host, &[rename.into()]);
    let reply = zoe.heard.iter().find_map(|frame| match frame {
        Frame::Reply(reply) => Reply::from_bytes(&reply.body).ok(),
        _ => None,
    });
    assert_eq!(reply, Some(Reply::Refused(Refusal::StoreFailed)), "a clear error");

    host.disk_fault = None;
    zoe.say(&mut host, &[during]);
    assert!(stored(&zoe, 2), "sent again by its client, it is stored once");
    assert_eq!(status(&zoe), Some(TIP_STORING));
    assert!(stored(&zoe, 3), "and what came behind it, in order");
    assert_eq!(host.counter("messages"), 3);
    let pages: Vec<(u64, u64)> = host
        .batches
        .iter()
        .flat_map(|batch| &batch.0)
        .filter_map(|op| match op {
            preau::record::Op::Page(page) => Some((page.first.0, page.last().0)),
            _ => None,
        })
        .collect();
    assert_eq!((pages[0].0, pages.last().unwrap().1), (1, 3));
    assert!(pages.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "no hole where the failed ones stood: {pages:?}");
}

/// Submission 3, which must not overtake 2.
fn say_ahead(member: &Member) -> Frame {
    say(member, 3, "après")
}

#[test]
fn a_registration_on_a_full_disk_is_refused_with_its_reason() {
    let mut host = Host::new(Suite::Null, config());
    host.disk_fault = Some("the disk is full".into());
    let intent = preau::proto::handshake::Intent::Register {
        username: "zoe".into(),
        first_name: "Zoé".into(),
        last_name: "Lambert".into(),
        password: "secret".into(),
        recovery_code: "0123456789ABCDEFGHJK".into(),
    };
    assert_eq!(host.come_in(addr(1), &intent, None).err(), Some(Refusal::StoreFailed));
    host.disk_fault = None;
    host.register(addr(1), "zoe");
}

#[test]
fn submissions_behind_a_failed_one_keep_their_order() {
    let mut host = Host::new(Suite::Null, config());
    let mut zoe = host.member(addr(1), "zoe");
    host.disk_fault = Some("the disk is failing".into());
    let all: Vec<Frame> = (1..=20).map(|n| say(&zoe, n, &format!("message {n}"))).collect();
    zoe.say(&mut host, &all);
    host.disk_fault = None;
    let mut shuffled = all.clone();
    shuffled.reverse();
    zoe.say(&mut host, &shuffled);
    host.advance(Duration::from_millis(10));
    zoe.listen(&mut host);
    let places: Vec<u64> = (1..=20)
        .map(|n| {
            zoe.heard
                .iter()
                .find_map(|frame| match frame {
                    Frame::Stored(stored) => {
                        stored.items.iter().find(|item| item.n == Ordinal(n)).map(|item| item.seq.0)
                    }
                    _ => None,
                })
                .unwrap()
        })
        .collect();
    assert_eq!(places, (1..=20).collect::<Vec<_>>());
}
