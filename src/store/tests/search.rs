//! Search finds whole words, folded, in the room and one's own inbox, and takes nothing as syntax.

use super::*;

fn search(store: &ServerStore, user: UserId, words: &str) -> Vec<String> {
    let hits = found(store, Fetch::Search { user, words: words.into(), limit: 10 });
    hits.into_iter().map(|hit| hit.text).collect()
}

fn store_saying(texts: &[&str]) -> ServerStore {
    let mut store = store_with_members();
    for (seq, text) in (1..).zip(texts) {
        done(&mut store, said(seq, AMINA, seq, text));
    }
    store
}

#[test]
fn accents_and_case_are_folded() {
    let store = store_saying(&["Le Préau est fermé", "l'e\u{301}cole", "ΣΊΣΥΦΟΣ"]);
    assert_eq!(search(&store, BOB, "PREAU ferme"), ["Le Préau est fermé"]);
    assert_eq!(search(&store, BOB, "école"), ["l'e\u{301}cole"]);
    assert_eq!(search(&store, BOB, "l'école"), ["l'e\u{301}cole"]);
    assert_eq!(search(&store, BOB, "σίσυφοσ"), ["ΣΊΣΥΦΟΣ"]);
}

#[test]
fn all_words_are_wanted_whole_and_the_newest_come_last() {
    let store = store_saying(&["red green", "green", "red blue", "blue green red", "redder"]);
    assert_eq!(search(&store, BOB, "green red"), ["red green", "blue green red"]);
    let two = found(&store, Fetch::Search { user: BOB, words: "red".into(), limit: 2 });
    assert_eq!(texts(&two), ["red blue", "blue green red"]);
    assert!(search(&store, BOB, "violet red").is_empty());
}

#[test]
fn query_syntax_is_plain_text() {
    let store = store_saying(&["near and or not text", "a star * and \"quotes\"", "inboxes 1"]);
    assert_eq!(search(&store, BOB, "AND NEAR"), ["near and or not text"]);
    assert_eq!(search(&store, BOB, "NEAR(and text)"), ["near and or not text"]);
    assert!(search(&store, BOB, "NEAR(text").is_empty(), "written without a space, they stand together");
    assert_eq!(search(&store, BOB, "\"quotes"), ["a star * and \"quotes\""]);
    assert_eq!(search(&store, BOB, "star *"), ["a star * and \"quotes\""]);
    assert_eq!(search(&store, BOB, "NOT text"), ["near and or not text"]);
    for harmless in ["", " ", "*", "\"", "\"\"", "(", ")", "-", "^", ":", "text:", "{a b}:", "a\0b", "\u{7}", "+", "'"]
    {
        search(&store, BOB, harmless);
    }
    assert!(search(&store, BOB, "").is_empty() && search(&store, BOB, "* -").is_empty());
    assert!(search(&store, BOB, "sta*").is_empty(), "a star is no wildcard");
    search(&store, BOB, &"many words ".repeat(10_000));
    search(&store, BOB, &"x".repeat(100_000));
}

#[test]
fn private_messages_of_others_are_never_found() {
    let mut store = store_saying(&["a secret for all"]);
    done(
        &mut store,
        [
            Op::Letter(letter(AMINA, &[BOB], 2, &[(AMINA, 1), (BOB, 1)], "the secret of two")),
            Op::Letter(letter(BOB, &[BOB], 1, &[(BOB, 2)], "my own secret")),
        ],
    );
    assert_eq!(search(&store, ZOE, "secret"), ["a secret for all"]);
    assert_eq!(search(&store, AMINA, "secret"), ["a secret for all", "the secret of two"]);
    assert_eq!(search(&store, BOB, "secret").len(), 3);
    for probe in ["secret) OR inboxes : (2", "\") OR (inboxes : \"2", "inboxes:2", "2", "1 2"] {
        assert!(search(&store, ZOE, probe).is_empty(), "{probe}");
    }
}

#[test]
fn users_whose_numbers_begin_alike_are_not_confused() {
    let mut store = store_with_members();
    done(
        &mut store,
        [
            Op::Register(Box::new(account(UserId(22), "ines"))),
            Op::Letter(letter(AMINA, &[UserId(22)], 1, &[(AMINA, 1), (UserId(22), 1)], "hello")),
        ],
    );
    assert!(search(&store, BOB, "hello").is_empty());
    assert_eq!(search(&store, UserId(22), "hello"), ["hello"]);
    let with = |with| found(&store, Fetch::InboxHistory { user: AMINA, with: Some(with), before: None, limit: 9 });
    assert!(with(BOB).is_empty() && with(UserId(22)).len() == 1);
}

#[test]
fn room_and_inbox_are_merged_by_time() {
    let mut store = store_with_members();
    let written = |time, letter: Letter| Op::Letter(Letter { time: WallMs(time), ..letter });
    done(&mut store, said(1, AMINA, 1, "word 1"));
    done(&mut store, [written(1_001, letter(AMINA, &[BOB], 2, &[(AMINA, 1), (BOB, 1)], "word 2"))]);
    done(&mut store, said(2, AMINA, 3, "word 3"));
    done(&mut store, [written(1_900, letter(BOB, &[AMINA], 1, &[(AMINA, 2), (BOB, 2)], "word 4"))]);
    let mut all = search(&store, BOB, "word");
    assert_eq!(all[2..], ["word 3", "word 4"]);
    all.sort();
    assert_eq!(all, ["word 1", "word 2", "word 3", "word 4"]);
}

#[test]
fn hits_are_walked_newest_first_and_never_gathered_to_be_sorted() {
    let store = store_with_members();
    for sql in [crate::store::search::ROOM_HITS, crate::store::search::INBOX_HITS] {
        let mut statement = store.db().prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        statement.raw_bind_parameter(1, "word").unwrap();
        let mut rows = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get::<_, String>(3).unwrap());
        }
        assert!(plan[0].contains("_words VIRTUAL TABLE INDEX"), "{plan:?}");
        assert!(plan[1..].iter().all(|step| step.starts_with("SEARCH")), "{plan:?}");
    }
}
