//! The writer and its reader tell what they did, notice other processes, and leave a clean database.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::*;
use crate::store::{FetchId, StoreEvent, Writer};

/// A deadline against hanging for ever; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

fn spawn(store: ServerStore) -> (Writer, Receiver<StoreEvent>) {
    let (sender, events) = mpsc::channel();
    let writer = Writer::spawn(store, move |event| sender.send(event).unwrap()).unwrap();
    (writer, events)
}

fn next(events: &Receiver<StoreEvent>) -> StoreEvent {
    events.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn batches_and_questions_are_answered() {
    let dir = TempDir::new();
    for store in [ServerStore::in_memory().unwrap().0, ServerStore::open(&dir).unwrap().0] {
        let (writer, events) = spawn(store);
        writer.store(Batch(three_members()));
        assert!(matches!(next(&events), StoreEvent::Stored(Stored::Done)));
        writer.store(Batch(said(1, AMINA, 1, "hello").into()));
        assert!(matches!(next(&events), StoreEvent::Stored(Stored::Done)));
        writer.fetch(FetchId(7), Fetch::Search { user: BOB, words: "hello".into(), limit: 5 });
        let StoreEvent::Fetched(FetchId(7), Fetched::Found(found)) = next(&events) else { panic!() };
        assert_eq!(texts(&found), ["hello"]);
        writer.store(Batch(said(1, AMINA, 2, "a seq that is taken").into()));
        assert!(matches!(next(&events), StoreEvent::Stored(Stored::Failed { loaded: Some(_), .. })));
        writer.close();
        assert!(events.recv().is_err(), "both threads are gone");
    }
}

#[test]
fn closing_commits_what_was_sent_and_leaves_one_clean_file() {
    let dir = TempDir::new();
    let (writer, events) = spawn(ServerStore::open(&dir).unwrap().0);
    writer.store(Batch(three_members()));
    drop(writer);
    assert!(matches!(next(&events), StoreEvent::Stored(Stored::Done)));
    let files: Vec<_> = fs::read_dir(&*dir).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["room.db"]);
    assert_eq!(ServerStore::open(&dir).unwrap().1.accounts.len(), 3);
}

#[test]
fn what_another_process_changed_is_told() {
    let dir = TempDir::new();
    let (writer, events) = spawn(ServerStore::open(&dir).unwrap().0);
    writer.store(Batch(three_members()));
    assert!(matches!(next(&events), StoreEvent::Stored(Stored::Done)));
    let (mut admin, loaded) = ServerStore::open_existing(&dir).unwrap();
    assert_eq!(loaded.accounts.len(), 3);
    done(&mut admin, [Op::Role(BOB, Role::Teacher)]);
    let StoreEvent::Changed(loaded) = next(&events) else { panic!() };
    assert_eq!(loaded.accounts[1].role, Role::Teacher);
}

#[test]
fn ones_own_commits_are_no_change_by_others() {
    let dir = TempDir::new();
    let (mut store, _) = ServerStore::open(&dir).unwrap();
    done(&mut store, three_members());
    let mut reader = store.reader().unwrap();
    reader.fetch(&Fetch::Search { user: BOB, words: "x".into(), limit: 1 });
    assert!(!store.changed_by_others().unwrap());
    let (mut admin, _) = ServerStore::open(&dir).unwrap();
    assert!(!store.changed_by_others().unwrap(), "it only read");
    done(&mut admin, [Op::RegistrationOpen(false)]);
    assert!(store.changed_by_others().unwrap());
    done(&mut store, [Op::RegistrationOpen(true)]);
    assert!(store.changed_by_others().unwrap(), "a commit of one's own does not hide it");
    store.load().unwrap();
    assert!(!store.changed_by_others().unwrap());
    assert!(admin.changed_by_others().unwrap());
}
