//! A backup holds all of it, keys included; a restored room begins a new epoch; a check sees damage.

use super::*;
use crate::store::{StoreError, backup, check, read_keys, restore, write_keys};

const KEYS: &[u8] = b"thirty-two bytes of a secret, or so they say";

/// A directory with keys, three members, pages 1..=2 and 3, a message and a letter; the store stays open.
fn running_server(dir: &Path) -> ServerStore {
    let (mut store, _) = ServerStore::open(dir).unwrap();
    write_keys(dir, KEYS).unwrap();
    done(&mut store, three_members());
    done(
        &mut store,
        [
            Op::Page(page(1, 2, 0)),
            Op::Page(page(3, 1, 1)),
            Op::Message(message(3, AMINA, 1, "hello")),
            Op::Letter(letter(AMINA, &[BOB], 2, &[(AMINA, 1), (BOB, 1)], "psst")),
        ],
    );
    store
}

fn contains(file: &Path, bytes: &[u8]) -> bool {
    fs::read(file).unwrap().windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn a_running_server_is_saved_and_comes_back_with_a_new_epoch() {
    let dir = TempDir::new();
    let (data, file, restored) = (dir.join("data"), dir.join("backup"), dir.join("restored"));
    let mut store = running_server(&data);
    backup(&data, &file).unwrap();
    done(&mut store, [Op::RegistrationOpen(false)]); // after the backup: not in it
    assert!(contains(&file, KEYS));

    restore(&file, &restored).unwrap();
    assert_eq!(read_keys(&restored).unwrap().unwrap(), KEYS);
    assert!(!contains(&restored.join("room.db"), KEYS), "a database alone permits no guessing");
    let (mut back, loaded) = ServerStore::open(&restored).unwrap();
    assert_eq!(loaded.epochs, [(Epoch(1), Seq(0)), (Epoch(2), Seq(3))]);
    assert!(loaded.registration_open);
    assert_eq!(loaded.pages, [page(1, 2, 0), page(3, 1, 1)]);
    assert_eq!(loaded.accounts[1].inbox_head, Seq(1));
    let search = Fetch::Search { user: BOB, words: "psst".into(), limit: 5 };
    assert_eq!(texts(&found(&back, search)), ["psst"]);
    done(&mut back, [Op::Page(PageRecord { epoch: Epoch(2), ..page(4, 1, 3) })]);
    assert!(check(&restored).unwrap().is_empty());

    let mut files: Vec<_> = fs::read_dir(&*dir).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["backup", "data", "restored"], "a backup is one file");
}

#[test]
fn nothing_is_overwritten() {
    let dir = TempDir::new();
    let (data, file) = (dir.join("data"), dir.join("backup"));
    let _store = running_server(&data);
    backup(&data, &file).unwrap();
    let before = fs::read(&file).unwrap();
    assert!(matches!(backup(&data, &file), Err(StoreError::Exists(_))));
    assert!(fs::read(&file).unwrap() == before);
    assert!(matches!(restore(&file, &data), Err(StoreError::NotEmpty(_))));
}

#[test]
fn what_is_no_backup_is_refused() {
    let dir = TempDir::new();
    let (data, file, to) = (dir.join("data"), dir.join("backup"), dir.join("to"));
    let _store = running_server(&data);
    fs::write(&file, "not a database at all").unwrap();
    for wrong in [&file, &data.join("room.db"), &dir.join("absent")] {
        assert!(matches!(restore(wrong, &to), Err(StoreError::NotABackup(_))), "{}", wrong.display());
    }
    assert!(!to.exists());
    assert!(!dir.join("absent").exists());

    fs::remove_file(&file).unwrap();
    fs::remove_file(data.join("keys")).unwrap();
    assert!(matches!(backup(&data, &file), Err(StoreError::NoKeys(_))));
    assert!(matches!(backup(&to, &file), Err(StoreError::NoData(_))));
    assert!(!file.exists());
}

#[test]
fn a_backup_of_a_newer_program_leaves_an_empty_directory() {
    let dir = TempDir::new();
    let (data, file, to) = (dir.join("data"), dir.join("backup"), dir.join("to"));
    let store = running_server(&data);
    store.db().pragma_update(None, "user_version", 999).unwrap();
    backup(&data, &file).unwrap();
    assert!(matches!(restore(&file, &to), Err(StoreError::Newer)));
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
}

#[test]
fn a_damaged_backup_is_not_restored() {
    let dir = TempDir::new();
    let (data, file, to) = (dir.join("data"), dir.join("backup"), dir.join("to"));
    let _store = running_server(&data);
    backup(&data, &file).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    // The cells of a table's leaf: its count of cells is made to say more than there are.
    let page_size = 4096;
    let leaf = (1..bytes.len() / page_size).find(|page| bytes[page * page_size] == 13).unwrap() * page_size;
    bytes[leaf + 3..leaf + 5].copy_from_slice(&[0x0f, 0xff]);
    fs::write(&file, bytes).unwrap();
    restore(&file, &to).unwrap_err();
    assert!(!to.join("room.db").exists());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_a_backup_and_what_comes_of_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let (data, file, to) = (dir.join("data"), dir.join("backup"), dir.join("to"));
    let _store = running_server(&data);
    backup(&data, &file).unwrap();
    restore(&file, &to).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&file), mode(&to.join("room.db")), mode(&to.join("keys"))], [0o600; 3]);
    assert_eq!(mode(&to), 0o700);
}

#[test]
fn a_check_names_each_fault() {
    let dir = TempDir::new();
    let _store = running_server(&dir);
    assert!(check(&dir).unwrap().is_empty());
    for (damage, words) in [
        ("DELETE FROM page WHERE first = 1", "room 1, page #3"),
        ("UPDATE page SET hash = zeroblob(32) WHERE first = 1", "does not follow"),
        ("DELETE FROM page WHERE first = 3", "not in the room's log: room 1, #3"),
        ("UPDATE letter SET entries = 2", "inbox 1, #1"),
        ("DELETE FROM letter_place WHERE user = 1", "letter 1"),
        ("DELETE FROM account WHERE id = 3", "name to account"),
    ] {
        let copy = TempDir::new();
        backup(&dir, &copy.join("backup")).unwrap();
        restore(&copy.join("backup"), &copy.join("data")).unwrap();
        let (damaged, _) = ServerStore::open(&copy.join("data")).unwrap();
        damaged.db().pragma_update(None, "foreign_keys", false).unwrap();
        damaged.db().execute_batch(damage).unwrap();
        let wrong = check(&copy.join("data")).unwrap();
        assert!(wrong.iter().any(|line| line.contains(words)), "{damage}: {wrong:?}");
    }
    fs::remove_file(dir.join("keys")).unwrap();
    assert_eq!(check(&dir).unwrap(), ["the server's keys are missing"]);
}
