//! A profile is one process's, comes back as it was kept, and never numbers two texts alike.

use super::*;
use crate::record::{Keep, Profile, Queued};
use crate::store::{ProfileError, ProfileStore};

fn queued(n: u64, to: &[UserId], text: &str) -> Queued {
    Queued { n: Ordinal(n), to: to.into(), text: text.into() }
}

fn reopened(dir: &Path) -> Profile {
    ProfileStore::open(dir, 999).unwrap().1
}

#[test]
fn a_fresh_profile_takes_the_given_instance_and_keeps_it() {
    let dir = TempDir::new();
    let (_, profile) = ProfileStore::open(&dir.join("new/profile"), u64::MAX).unwrap();
    let fresh = Profile {
        instance: Instance(u64::MAX),
        next: Ordinal(1),
        outbox: vec![],
        pin: None,
        room_cursor: None,
        inbox_cursor: None,
        tip: None,
        token: None,
        device: None,
        user: None,
    };
    assert!(profile == fresh);
    assert!(reopened(&dir.join("new/profile")) == fresh, "999 was for a new one only");
}

#[test]
fn everything_kept_comes_back() {
    let dir = TempDir::new();
    let (mut store, _) = ProfileStore::open(&dir, 5).unwrap();
    let tip = vec![8; 144];
    store
        .keep(&[
            Keep::Pin([1; 32]),
            Keep::Queue(queued(1, &[], "to all")),
            Keep::Queue(queued(2, &[ZOE, BOB], "to two\0\u{1f600}")),
            Keep::Queue(queued(3, &[], "soon settled")),
            Keep::Settle(Ordinal(3)),
            Keep::RoomCursor { epoch: Epoch(2), seq: Seq(70) },
            Keep::InboxCursor { epoch: Epoch(2), seq: Seq(0) },
            Keep::Tip(tip.clone()),
            Keep::Token(Some(([2; 32], WallMs(99)))),
            Keep::Device([3; 32]),
            Keep::User { id: AMINA, username: "amina".into() },
        ])
        .unwrap();
    drop(store);
    let expected = Profile {
        instance: Instance(5),
        next: Ordinal(4),
        outbox: vec![queued(1, &[], "to all"), queued(2, &[ZOE, BOB], "to two\0\u{1f600}")],
        pin: Some([1; 32]),
        room_cursor: Some((Epoch(2), Seq(70))),
        inbox_cursor: Some((Epoch(2), Seq(0))),
        tip: Some(tip),
        token: Some(([2; 32], WallMs(99))),
        device: Some([3; 32]),
        user: Some((AMINA, "amina".into())),
    };
    assert!(reopened(&dir) == expected);

    let (mut store, _) = ProfileStore::open(&dir, 5).unwrap();
    store.keep(&[Keep::Token(None), Keep::Settle(Ordinal(1)), Keep::Settle(Ordinal(1))]).unwrap();
    drop(store);
    let expected = Profile { token: None, outbox: expected.outbox[1..].into(), ..expected };
    assert!(reopened(&dir) == expected);
}

#[test]
fn a_number_never_names_another_text() {
    let dir = TempDir::new();
    let (mut store, _) = ProfileStore::open(&dir, 5).unwrap();
    store.keep(&[Keep::Queue(queued(1, &[], "first")), Keep::Settle(Ordinal(1))]).unwrap();
    drop(store);
    let (mut store, profile) = ProfileStore::open(&dir, 5).unwrap();
    assert_eq!(profile.next, Ordinal(2), "also when the outbox is empty again");
    let again = store.keep(&[Keep::Pin([7; 32]), Keep::Queue(queued(1, &[], "second"))]);
    assert!(matches!(again, Err(ProfileError::NumberUsed(Ordinal(1)))));
    assert!(store.keep(&[Keep::Queue(queued(u64::MAX, &[], "beyond"))]).is_err());
    drop(store);
    assert!(reopened(&dir) == profile, "nothing of a failed batch is kept");
}

#[test]
fn a_profile_is_one_process_s_at_a_time() {
    let dir = TempDir::new();
    let held = ProfileStore::open(&dir, 5).unwrap();
    assert!(matches!(ProfileStore::open(&dir, 6), Err(ProfileError::InUse)));
    ProfileStore::open(&dir.join("another"), 7).unwrap();
    drop(held);
    assert_eq!(reopened(&dir).instance, Instance(5));
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new();
    let dir = parent.join("profile");
    let (mut store, _) = ProfileStore::open(&dir, 5).unwrap();
    store.keep(&[Keep::Pin([1; 32])]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}
