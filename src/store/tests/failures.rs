//! What cannot be stored is not, is said in words, and is over when its cause is.

use super::*;
use crate::record::Loaded;
use crate::store::StoreError;

fn failed(stored: Stored) -> (String, Option<Box<Loaded>>) {
    match stored {
        Stored::Done => panic!("it was stored"),
        Stored::Failed { reason, loaded } => (reason, loaded),
    }
}

/// Commits until the disk, limited to so many more pages, is full; gives the head that was reached.
fn fill(store: &mut ServerStore, room_for: i64) -> u64 {
    let used: i64 = store.db().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    // A new limit holds for this connection's next transactions, as a full disk would.
    store.db().pragma_update_and_check(None, "max_page_count", used + room_for, |_| Ok(())).unwrap();
    for seq in 1..10_000 {
        match store.commit(&Batch(said(seq, AMINA, seq, &"long text ".repeat(300)).into())) {
            Stored::Done => {}
            Stored::Failed { reason, loaded } => {
                assert_eq!(reason, "the disk is full");
                let loaded = loaded.expect("a full disk can be read");
                assert_eq!(loaded.pages.last().map_or(Seq(0), PageRecord::last), Seq(seq - 1));
                return seq - 1;
            }
        }
    }
    panic!("the disk never filled");
}

#[test]
fn a_full_disk_loses_nothing_and_ends() {
    let dir = TempDir::new();
    let (mut store, _) = ServerStore::open(&dir).unwrap();
    done(&mut store, three_members());
    let head = fill(&mut store, 40);
    assert!(head > 0);
    let next = || said(head + 1, AMINA, head + 1, &"long text ".repeat(300));
    assert_eq!(failed(store.commit(&Batch(next().into()))).0, "the disk is full");
    let history = Fetch::RoomHistory { room: RoomId::MAIN, before: None, limit: 10_000 };
    assert_eq!(found(&store, history.clone()).len() as u64, head, "reading goes on");

    store.db().pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(())).unwrap();
    done(&mut store, next());
    drop(store);
    let (store, loaded) = ServerStore::open(&dir).unwrap();
    assert_eq!(loaded.pages.last().map(PageRecord::last), Some(Seq(head + 1)));
    assert_eq!(found(&store, history).len() as u64, head + 1);
}

#[test]
fn a_database_that_may_not_be_written_is_opened_afresh() {
    let dir = TempDir::new();
    let (mut store, _) = ServerStore::open(&dir).unwrap();
    store.db().pragma_update(None, "query_only", true).unwrap();
    let (reason, loaded) = failed(store.commit(&Batch(three_members())));
    assert_eq!(reason, "the database may not be written");
    assert!(loaded.unwrap().accounts.is_empty());
    done(&mut store, three_members());
}

#[test]
fn a_database_kept_busy_fails_the_batch_until_it_is_free() {
    let dir = TempDir::new();
    let (mut store, _) = ServerStore::open(&dir).unwrap();
    store.db().busy_timeout(std::time::Duration::from_millis(1)).unwrap();
    let (other, _) = ServerStore::open(&dir).unwrap();
    other.db().execute_batch("BEGIN IMMEDIATE").unwrap();
    let (reason, loaded) = failed(store.commit(&Batch(three_members())));
    assert!(reason.contains("busy"), "{reason}");
    assert!(loaded.is_some(), "reading goes on");
    other.db().execute_batch("ROLLBACK").unwrap();
    done(&mut store, three_members());
}

#[test]
fn what_was_stored_is_there_after_a_crash_in_the_midst_of_a_batch() {
    let dir = TempDir::new();
    let (mut store, _) = ServerStore::open(&dir).unwrap();
    done(&mut store, three_members());
    // A transaction that is never committed, as when the process dies: the files are copied as they stand.
    store.db().execute_batch("BEGIN IMMEDIATE; UPDATE meta SET registration_open = 0;").unwrap();
    let crashed = TempDir::new();
    for file in ["room.db", "room.db-wal"] {
        fs::copy(dir.join(file), crashed.join(file)).unwrap();
    }
    let (_, loaded) = ServerStore::open(&crashed).unwrap();
    assert_eq!(loaded.accounts.len(), 3);
    assert!(loaded.registration_open);
}

#[test]
fn a_damaged_file_and_a_newer_one_are_refused_and_left_alone() {
    let dir = TempDir::new();
    fs::write(dir.join("room.db"), "these are no tables, whatever the name says ".repeat(100)).unwrap();
    let error = ServerStore::open(&dir).unwrap_err();
    assert_eq!(error.to_string(), "the database is damaged");

    let newer = TempDir::new();
    ServerStore::open(&newer).unwrap().0.db().pragma_update(None, "user_version", 999).unwrap();
    assert!(matches!(ServerStore::open(&newer), Err(StoreError::Newer)));

    let empty = TempDir::new();
    assert!(matches!(ServerStore::open_existing(&empty), Err(StoreError::NoData(_))));
    assert_eq!(fs::read_dir(&*empty).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new();
    let dir = parent.join("data");
    let (mut store, _) = ServerStore::open(&dir).unwrap();
    done(&mut store, three_members());
    crate::store::write_keys(&dir, b"keys").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in ["room.db", "room.db-wal", "keys"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
}

#[test]
fn keys_are_never_overwritten() {
    let dir = TempDir::new();
    assert!(crate::store::read_keys(&dir).unwrap().is_none());
    crate::store::write_keys(&dir, b"first").unwrap();
    assert!(crate::store::write_keys(&dir, b"second").is_err());
    assert_eq!(crate::store::read_keys(&dir).unwrap().unwrap(), b"first");
}

#[test]
fn after_a_failure_that_could_not_be_read_the_next_batch_tells_what_there_is() {
    let (mut store, _) = ServerStore::in_memory().unwrap();
    done(&mut store, three_members());
    // A rename that is on disk, though its commit failed and nothing could be read then.
    done(&mut store, vec![Op::Rename { user: AMINA, username: "mina".into(), name_key: "mina".into() }]);
    store.untold = true;
    let batch = Batch(said(1, AMINA, 1, "bonjour").into());
    let (_, loaded) = failed(store.commit(&batch));
    let loaded = loaded.expect("it can be read now");
    assert!(loaded.pages.is_empty(), "the batch was not applied");
    assert!(loaded.accounts.iter().any(|account| account.username == "mina"));
    assert!(matches!(store.commit(&batch), Stored::Done));
}
