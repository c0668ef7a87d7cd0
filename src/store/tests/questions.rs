//! Pages, letters, decisions and histories are found again.

use super::*;
use crate::record::Decided;

fn fetch(store: &ServerStore, question: Fetch) -> Fetched {
    store.reader().unwrap().fetch(&question)
}

/// Pages 1..=3, 4..=4, 5..=9.
fn store_with_pages() -> (ServerStore, [PageRecord; 3]) {
    let mut store = store_with_members();
    let pages = [page(1, 3, 0), page(4, 1, 1), page(5, 5, 4)];
    done(&mut store, pages.clone().map(Op::Page));
    (store, pages)
}

#[test]
fn any_seq_yields_its_page() {
    let (store, all) = store_with_pages();
    let pages = |first, last, limit| {
        let question = Fetch::Pages { room: RoomId::MAIN, first: Seq(first), last: Seq(last), limit };
        let Fetched::Pages(pages) = fetch(&store, question) else { panic!() };
        pages
    };
    assert_eq!(pages(2, 2, 10), all[..1]);
    assert_eq!(pages(3, 4, 10), all[..2]);
    assert_eq!(pages(0, u64::MAX, 10), all);
    assert_eq!(pages(4, 7, 1), all[1..2]);
    assert_eq!(pages(9, 9, 10), all[2..]);
    assert!(pages(10, 20, 10).is_empty());
    assert!(pages(7, 6, 10).len() <= 1, "an inverted range harms nobody");
    let elsewhere = Fetch::Pages { room: RoomId(2), first: Seq(1), last: Seq(9), limit: 9 };
    assert!(matches!(fetch(&store, elsewhere), Fetched::Pages(none) if none.is_empty()));
}

/// amina: 1 to bob, 2 to bob and zoe (3 entries), 3 to herself; bob: 1 to amina.
fn store_with_letters() -> (ServerStore, [Letter; 4]) {
    let mut store = store_with_members();
    let letters = [
        letter(AMINA, &[BOB], 1, &[(AMINA, 1), (BOB, 1)], "one"),
        Letter { entries: 3, ..letter(AMINA, &[ZOE, BOB], 2, &[(AMINA, 4), (BOB, 4), (ZOE, 3)], "long") },
        letter(AMINA, &[AMINA], 3, &[(AMINA, 5)], "to myself"),
        letter(BOB, &[AMINA], 1, &[(AMINA, 6), (BOB, 5)], "back"),
    ];
    done(&mut store, letters.clone().map(Op::Letter));
    (store, letters)
}

#[test]
fn letters_that_meet_a_range_are_found_in_ones_own_inbox() {
    let (store, all) = store_with_letters();
    let letters = |user, first, last, limit| {
        let Fetched::Letters(letters) =
            fetch(&store, Fetch::Letters { user, first: Seq(first), last: Seq(last), limit })
        else {
            panic!()
        };
        letters
    };
    assert_eq!(letters(AMINA, 1, 6, 10), all);
    assert_eq!(letters(AMINA, 2, 2, 10), all[1..2], "its first entry");
    assert_eq!(letters(AMINA, 4, 5, 10), all[1..3]);
    assert_eq!(letters(AMINA, 1, u64::MAX, 2), all[..2]);
    assert_eq!(letters(ZOE, 1, u64::MAX, 10), all[1..2]);
    assert_eq!(letters(BOB, 5, 5, 10), all[3..]);
    assert!(letters(UserId(9), 0, u64::MAX, 10).is_empty());
}

#[test]
fn decisions_are_answered_in_order() {
    let (mut store, _) = store_with_letters();
    done(&mut store, said(1, AMINA, 4, "to all"));
    done(&mut store, [Op::Refused { origin: origin(AMINA, 5), author: AMINA, code: 3 }]);
    let decided = |from, limit| {
        let question = Fetch::Decided { instance: origin(AMINA, 0).instance, from: Ordinal(from), limit };
        let Fetched::Decided(decided) = fetch(&store, question) else { panic!() };
        decided
    };
    let all = [
        (Ordinal(1), Decided::Inbox { seq: Seq(1), to: vec![BOB] }),
        (Ordinal(2), Decided::Inbox { seq: Seq(4), to: vec![ZOE, BOB] }),
        (Ordinal(3), Decided::Inbox { seq: Seq(5), to: vec![AMINA] }),
        (Ordinal(4), Decided::Room { room: RoomId::MAIN, seq: Seq(1), of: 2 }),
        (Ordinal(5), Decided::Refused { code: 3 }),
    ];
    assert_eq!(decided(0, 10), all);
    assert_eq!(decided(3, 2), all[2..4]);
    assert!(decided(u64::MAX, 2).is_empty());
}

#[test]
fn the_rooms_history_is_paged_from_the_newest() {
    let mut store = store_with_members();
    for seq in 1..=5 {
        done(&mut store, said(seq, AMINA, seq, &format!("m{seq}")));
    }
    let history = |before: Option<u64>, limit| {
        found(&store, Fetch::RoomHistory { room: RoomId::MAIN, before: before.map(Seq), limit })
    };
    assert_eq!(texts(&history(None, 2)), ["m4", "m5"]);
    assert_eq!(texts(&history(Some(4), 2)), ["m2", "m3"]);
    assert!(history(Some(1), 2).is_empty());
    let newest = history(None, 1).remove(0);
    let expected = Found {
        room: Some(RoomId::MAIN),
        seq: Seq(5),
        author: AMINA,
        to: vec![],
        time: WallMs(1_005),
        text: "m5".into(),
    };
    assert!(newest == expected);
}

#[test]
fn private_history_is_ones_own_and_may_be_with_one_member() {
    let (store, _) = store_with_letters();
    let history = |user, with, before: Option<u64>| {
        found(&store, Fetch::InboxHistory { user, with, before: before.map(Seq), limit: 10 })
    };
    assert_eq!(texts(&history(AMINA, None, None)), ["one", "long", "to myself", "back"]);
    assert_eq!(texts(&history(AMINA, None, Some(5))), ["one", "long"]);
    assert_eq!(texts(&history(AMINA, Some(BOB), None)), ["one", "long", "back"]);
    assert_eq!(texts(&history(AMINA, Some(ZOE), None)), ["long"]);
    assert_eq!(texts(&history(AMINA, Some(AMINA), None)), ["to myself"]);
    assert_eq!(texts(&history(ZOE, Some(AMINA), None)), ["long"]);
    assert!(history(ZOE, Some(BOB), None).is_empty());
    let hit = history(ZOE, None, None).remove(0);
    assert!((hit.room, hit.seq, hit.author, hit.to) == (None, Seq(3), AMINA, vec![ZOE, BOB]));
}
