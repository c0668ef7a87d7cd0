//! Tests of the store, a file a behaviour; here is what they share.

mod backup;
mod batches;
mod failures;
mod profile;
mod questions;
mod search;
mod threads;

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::ServerStore;
use crate::id::{Epoch, Instance, Ordinal, RoomId, Seq, UserId};
use crate::now::WallMs;
use crate::record::{
    Account, Batch, Credential, Fetch, Fetched, Found, Letter, Op, Origin, PageRecord, Role, RoomMessage, Stored,
};

const AMINA: UserId = UserId(1);
const BOB: UserId = UserId(2);
const ZOE: UserId = UserId(3);

/// A directory of its own, gone with the test.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> TempDir {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("preau-store-{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        TempDir(dir)
    }
}

impl Deref for TempDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn credential(byte: u8) -> Credential {
    Credential { identifier: [byte; 16], upload: vec![byte; 192] }
}

fn account(id: UserId, name: &str) -> Account {
    Account {
        id,
        username: name.to_uppercase(),
        name_key: name.into(),
        first_name: format!("First {name}"),
        last_name: format!("Last {name}"),
        former: None,
        role: Role::Member,
        removed: false,
        password: credential(id.0 as u8),
        recovery: Some(credential(100 + id.0 as u8)),
        reset: None,
        inbox_head: Seq(0),
        inbox_received: Seq(0),
        revocations: 0,
        devices: Vec::new(),
    }
}

/// amina, bob and zoe.
fn three_members() -> Vec<Op> {
    [(AMINA, "amina"), (BOB, "bob"), (ZOE, "zoe")].map(|(id, name)| Op::Register(Box::new(account(id, name)))).into()
}

/// A store in memory with three members.
fn store_with_members() -> ServerStore {
    let (mut store, _) = ServerStore::in_memory().unwrap();
    done(&mut store, three_members());
    store
}

/// The page of `count` entries that begins at `first`; its hash is made of its first seq, and names the one before.
fn page(first: u64, count: u16, previous_first: u64) -> PageRecord {
    let mut blob = page_hash(previous_first).to_vec();
    blob.extend([9; 64]);
    blob.extend(format!("entries from {first}").bytes());
    PageRecord { room: RoomId::MAIN, epoch: Epoch(1), first: Seq(first), count, hash: page_hash(first), blob }
}

fn page_hash(first: u64) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[24..].copy_from_slice(&first.to_be_bytes());
    hash
}

/// Each member has one instance, whose bits do not fit a signed integer.
fn origin(author: UserId, n: u64) -> Origin {
    Origin { instance: Instance(u64::MAX - u64::from(author.0)), n: Ordinal(n) }
}

fn message(seq: u64, author: UserId, n: u64, text: &str) -> RoomMessage {
    RoomMessage {
        room: RoomId::MAIN,
        seq: Seq(seq),
        author,
        time: WallMs(1_000 + seq),
        text: text.into(),
        origin: origin(author, n),
        of: 2,
    }
}

/// A page of one entry and its message.
fn said(seq: u64, author: UserId, n: u64, text: &str) -> [Op; 2] {
    [Op::Page(page(seq, 1, seq - 1)), Op::Message(message(seq, author, n, text))]
}

fn letter(author: UserId, to: &[UserId], n: u64, places: &[(UserId, u64)], text: &str) -> Letter {
    Letter {
        author,
        to: to.into(),
        time: WallMs(1_000 + n),
        text: text.into(),
        origin: origin(author, n),
        places: places.iter().map(|(user, seq)| (*user, Seq(*seq))).collect(),
        entries: 1,
    }
}

#[track_caller]
fn done(store: &mut ServerStore, ops: impl IntoIterator<Item = Op>) {
    match store.commit(&Batch(ops.into_iter().collect())) {
        Stored::Done => {}
        Stored::Failed { reason, .. } => panic!("{reason}"),
    }
}

/// Commits what must fail, checks that nothing of it was stored, and gives the reason.
#[track_caller]
fn refused(store: &mut ServerStore, ops: impl IntoIterator<Item = Op>) -> String {
    let before = format!("{:?}", store.load().unwrap());
    match store.commit(&Batch(ops.into_iter().collect())) {
        Stored::Done => panic!("the batch was stored"),
        Stored::Failed { reason, loaded } => {
            assert_eq!(format!("{:?}", loaded.expect("reading works")), before);
            reason
        }
    }
}

fn found(store: &ServerStore, fetch: Fetch) -> Vec<Found> {
    match store.reader().unwrap().fetch(&fetch) {
        Fetched::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

fn texts(found: &[Found]) -> Vec<&str> {
    found.iter().map(|hit| hit.text.as_str()).collect()
}
