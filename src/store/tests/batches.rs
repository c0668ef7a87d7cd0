//! Every operation is read back as it was written; a batch that does not fit leaves nothing.

use super::*;
use crate::record::{LOADED_PAGES, Loaded, MAX_DEVICES, MAX_TOKENS, Token};

fn loaded_after(ops: impl IntoIterator<Item = Op>) -> Loaded {
    let mut store = store_with_members();
    done(&mut store, ops);
    store.load().unwrap()
}

fn amina_after(ops: impl IntoIterator<Item = Op>) -> Account {
    loaded_after(ops).accounts.swap_remove(0)
}

fn token(byte: u8, user: UserId, expires: u64) -> Token {
    Token { hash: [byte; 32], user, expires: WallMs(expires) }
}

#[test]
fn a_new_store_is_empty_and_open() {
    let (_, loaded) = ServerStore::in_memory().unwrap();
    assert!(loaded.accounts.is_empty() && loaded.pages.is_empty() && loaded.instances.is_empty());
    assert_eq!(loaded.epochs, [(Epoch(1), Seq(0))]);
    assert!(loaded.registration_open);
}

#[test]
fn accounts_come_back_as_they_were() {
    let mut teacher = account(UserId(9), "maïté");
    teacher.role = Role::Teacher;
    teacher.former = Some("Mai".into());
    teacher.reset = Some((credential(7), WallMs(77)));
    teacher.recovery = None;
    let loaded = loaded_after([Op::Register(Box::new(teacher.clone()))]);
    let expected = [account(AMINA, "amina"), account(BOB, "bob"), account(ZOE, "zoe"), teacher];
    assert_eq!(loaded.accounts.len(), 4);
    for (loaded, expected) in loaded.accounts.iter().zip(&expected) {
        assert!(loaded == expected, "account {}", expected.id);
    }
    assert_eq!(loaded.taken[0], ("amina".into(), AMINA));
    assert_eq!(loaded.taken.len(), 4);
}

#[test]
fn a_freed_name_stays_its_owners() {
    let rename = |user, name: &str| Op::Rename { user, username: name.to_uppercase(), name_key: name.into() };
    let mut store = store_with_members();
    done(&mut store, [rename(AMINA, "mina")]);
    let amina = store.load().unwrap().accounts.swap_remove(0);
    assert_eq!((amina.username.as_str(), amina.name_key.as_str()), ("MINA", "mina"));
    assert_eq!(amina.former.as_deref(), Some("AMINA"));
    assert!(refused(&mut store, [rename(BOB, "amina")]).contains("taken"));
    assert!(refused(&mut store, [rename(BOB, "zoe")]).contains("taken"));
    refused(&mut store, [Op::Register(Box::new(account(UserId(4), "amina")))]);
    done(&mut store, [rename(AMINA, "amina")]);
}

#[test]
fn replacing_credentials_ends_tokens_and_the_reset_code() {
    let reset = Op::Reset { user: AMINA, code: credential(50), expires: WallMs(5) };
    let amina = amina_after([reset.clone()]);
    assert!(amina.reset == Some((credential(50), WallMs(5))));
    let ops = |recovery| {
        let replace = Op::Replace { user: AMINA, password: credential(60), recovery };
        [reset.clone(), Op::Token(token(1, AMINA, 10)), Op::Token(token(2, BOB, 10)), replace]
    };
    let loaded = loaded_after(ops(Some(credential(61))));
    assert!(loaded.accounts[0].password == credential(60) && loaded.accounts[0].recovery == Some(credential(61)));
    assert!(loaded.accounts[0].reset.is_none());
    assert_eq!(loaded.tokens, [token(2, BOB, 10)]);
    assert!(amina_after(ops(None)).recovery == Some(credential(101)), "the code there was is kept");
}

#[test]
fn tokens_end_one_by_one_all_at_once_or_with_the_account() {
    let three = || [token(1, AMINA, 10), token(2, AMINA, 11), token(3, BOB, 12)];
    let after = |op| loaded_after(three().map(Op::Token).into_iter().chain([op])).tokens;
    assert_eq!(after(Op::RevokeToken([1; 32])), three()[1..]);
    assert_eq!(after(Op::RevokeTokens(AMINA)), three()[2..]);
    assert_eq!(after(Op::Remove(AMINA)), three()[2..]);
    assert!(amina_after([Op::Remove(AMINA)]).removed);
}

#[test]
fn the_first_token_to_expire_goes() {
    let tokens = (0..=MAX_TOKENS as u8).map(|byte| token(byte, AMINA, 500 - u64::from(byte)));
    let kept = loaded_after(tokens.map(Op::Token)).tokens;
    assert_eq!(kept.len(), MAX_TOKENS);
    assert!(kept.iter().all(|token| token.hash != [MAX_TOKENS as u8; 32]));
}

#[test]
fn the_newest_devices_are_kept_and_a_known_one_becomes_the_newest() {
    let sign_in = |byte: u8| Op::Device(AMINA, [byte; 32]);
    assert_eq!(amina_after([sign_in(1), sign_in(2), sign_in(1)]).devices, [[2; 32], [1; 32]]);
    let many = (0..MAX_DEVICES as u8 + 2).map(sign_in).chain([Op::Device(BOB, [0; 32])]);
    let devices = amina_after(many).devices;
    assert_eq!(devices.len(), MAX_DEVICES);
    assert_eq!((devices[0], devices[MAX_DEVICES - 1]), ([2; 32], [MAX_DEVICES as u8 + 1; 32]));
}

#[test]
fn roles_registration_and_epochs_are_kept() {
    assert_eq!(amina_after([Op::Role(AMINA, Role::Teacher)]).role, Role::Teacher);
    let back = [Op::Role(AMINA, Role::Teacher), Op::Role(AMINA, Role::Member)];
    assert_eq!(amina_after(back).role, Role::Member);
    assert!(!loaded_after([Op::RegistrationOpen(false)]).registration_open);
    let loaded = loaded_after([Op::Epoch { epoch: Epoch(2), since: Seq(0) }]);
    assert_eq!(loaded.epochs, [(Epoch(1), Seq(0)), (Epoch(2), Seq(0))]);
    let mut store = store_with_members();
    assert!(refused(&mut store, [Op::Epoch { epoch: Epoch(1), since: Seq(0) }]).contains("epoch"));
}

#[test]
fn received_never_goes_back() {
    let ops = [4, 9, 5].map(|seq| Op::InboxReceived(AMINA, Seq(seq)));
    assert_eq!(amina_after(ops).inbox_received, Seq(9));
}

#[test]
fn the_newest_pages_are_loaded_oldest_first() {
    let count = LOADED_PAGES as u64 + 5;
    let loaded = loaded_after((1..=count).map(|seq| Op::Page(page(seq, 1, seq - 1))));
    assert_eq!(loaded.pages.len(), LOADED_PAGES);
    assert_eq!(loaded.pages[0], page(6, 1, 5));
    assert_eq!(loaded.pages[LOADED_PAGES - 1].last(), Seq(count));
}

#[test]
fn every_room_has_its_pages_loaded() {
    let elsewhere = PageRecord { room: RoomId(7), ..page(1, 3, 0) };
    let loaded = loaded_after([Op::Page(elsewhere.clone()), Op::Page(page(1, 2, 0))]);
    assert_eq!(loaded.pages, [page(1, 2, 0), elsewhere]);
}

#[test]
fn a_page_that_leaves_a_hole_or_overlaps_fails_its_batch() {
    let mut store = store_with_members();
    done(&mut store, [Op::Page(page(1, 3, 0))]);
    for first in [1, 3, 5] {
        let ops = [Op::RegistrationOpen(false), Op::Page(page(first, 1, 1))];
        assert!(refused(&mut store, ops).contains("after #3"));
    }
    let of_another_epoch = PageRecord { epoch: Epoch(2), ..page(4, 1, 1) };
    assert!(refused(&mut store, [Op::Page(of_another_epoch)]).contains("epoch"));
    done(&mut store, [Op::Page(page(4, 1, 1)), Op::Page(page(5, 2, 4))]);
}

#[test]
fn a_message_must_lie_in_a_page() {
    let mut store = store_with_members();
    assert!(refused(&mut store, [Op::Message(message(1, AMINA, 1, "lost"))]).contains("head"));
    done(&mut store, [Op::Message(message(1, AMINA, 1, "its page comes after")), Op::Page(page(1, 1, 0))]);
}

#[test]
fn letters_keep_inboxes_dense() {
    let mut store = store_with_members();
    let first = letter(AMINA, &[BOB], 1, &[(AMINA, 1), (BOB, 1)], "one");
    let long = Letter { entries: 3, ..letter(AMINA, &[BOB, ZOE], 2, &[(AMINA, 4), (BOB, 4), (ZOE, 3)], "long") };
    done(&mut store, [Op::Letter(first), Op::Letter(long)]);
    let heads: Vec<_> = store.load().unwrap().accounts.iter().map(|account| account.inbox_head.0).collect();
    assert_eq!(heads, [4, 4, 3]);
    let hole = letter(AMINA, &[BOB], 3, &[(AMINA, 5), (BOB, 6)], "hole");
    assert!(refused(&mut store, [Op::Letter(hole)]).contains("inbox 2"));
    let again = letter(AMINA, &[BOB], 3, &[(AMINA, 5), (BOB, 4)], "overlap");
    assert!(refused(&mut store, [Op::Letter(again)]).contains("inbox 2"));
}

#[test]
fn a_letter_lies_in_the_inboxes_it_concerns_and_no_other() {
    let mut store = store_with_members();
    let astray = letter(AMINA, &[BOB], 1, &[(AMINA, 1), (BOB, 1), (ZOE, 1)], "x");
    let missing = letter(AMINA, &[BOB], 1, &[(BOB, 1)], "x");
    for wrong in [astray, missing] {
        assert!(refused(&mut store, [Op::Letter(wrong)]).contains("inboxes"));
    }
    done(&mut store, [Op::Letter(letter(AMINA, &[AMINA], 1, &[(AMINA, 1)], "to myself"))]);
}

#[test]
fn instances_advance_by_messages_letters_and_refusals() {
    let refusal = Op::Refused { origin: origin(AMINA, 3), author: AMINA, code: 2 };
    let private = Op::Letter(letter(AMINA, &[BOB], 2, &[(AMINA, 1), (BOB, 1)], "x"));
    let [page, message] = said(1, AMINA, 1, "x");
    let [page_2, message_2] = said(2, BOB, 1, "x");
    // Order within a batch is free: the letter and the refusal come before the message of a lower number.
    let loaded = loaded_after([refusal, private, page, message, page_2, message_2]);
    let of = |user| (origin(user, 0).instance, user);
    let ((amina, _), (bob, _)) = (of(AMINA), of(BOB));
    let mut decided = loaded.instances;
    decided.sort();
    assert_eq!(decided, [(bob, BOB, Ordinal(1)), (amina, AMINA, Ordinal(3))]);
}

#[test]
fn a_number_is_decided_once_and_by_its_account() {
    let mut store = store_with_members();
    let refusal = |n, author| Op::Refused { origin: origin(AMINA, n), author, code: 1 };
    done(&mut store, [refusal(5, AMINA)]);
    for wrong in [said(1, AMINA, 5, "again"), said(1, AMINA, 4, "late")] {
        assert!(refused(&mut store, wrong).contains("decided before"));
    }
    assert!(refused(&mut store, [refusal(6, BOB)]).contains("another's"));
    let twice = said(1, AMINA, 6, "x").into_iter().chain([refusal(6, AMINA)]);
    assert!(refused(&mut store, twice).contains("twice"));
}

#[test]
fn what_concerns_nobody_fails() {
    let nobody = UserId(99);
    let mut store = store_with_members();
    for op in [
        Op::Role(nobody, Role::Teacher),
        Op::Remove(nobody),
        Op::InboxReceived(nobody, Seq(1)),
        Op::Device(nobody, [1; 32]),
        Op::Token(token(1, nobody, 1)),
        Op::Reset { user: nobody, code: credential(1), expires: WallMs(1) },
        Op::Refused { origin: origin(AMINA, 1), author: nobody, code: 1 },
    ] {
        refused(&mut store, [Op::RegistrationOpen(false), op]);
    }
}

#[test]
fn counts_beyond_sqlite_are_refused_not_wrapped() {
    let mut store = store_with_members();
    assert!(refused(&mut store, [Op::InboxReceived(AMINA, Seq(u64::MAX))]).contains("honest"));
    let refusal = Op::Refused { origin: origin(AMINA, u64::MAX), author: AMINA, code: 1 };
    refused(&mut store, [refusal]);
}
