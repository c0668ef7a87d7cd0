//! Conversations at a command line, without a core: events are made by hand, commands are looked at.

use super::*;
use crate::client::event;
use crate::id::{Epoch, Version};
use crate::now::WallMs;
use crate::proto::keys::Pin;
use crate::wire::frame::MEMBER_ONLINE;
use crate::wire::frame::Member;

struct Table {
    chat: Chat,
    model: Model,
    now: Now,
}

impl Table {
    fn new(change: impl FnOnce(&mut Settings)) -> Table {
        let mut settings = Settings {
            language: Language::English,
            on_terminal: false,
            wait: Duration::from_secs(30),
            server: "there".into(),
            known: None,
            read_to: None,
            instance: Instance(0xab),
        };
        change(&mut settings);
        let now = Now::default();
        Table { chat: Chat::new(settings, now), model: Model::new(None), now }
    }

    /// amina (1, oneself) and bob (2) are here, zoé (3) is not.
    fn entered() -> Table {
        let mut table = Table::new(|_| {});
        table.enter();
        table.shown();
        table
    }

    fn enter(&mut self) {
        for (user, name, flags) in [(1, "amina", MEMBER_ONLINE), (2, "bob", MEMBER_ONLINE), (3, "zoé", 0)] {
            self.member(user, name, flags);
        }
        self.model.me = Some(UserId(1));
        self.event(Event::Entered(Entered {
            user: UserId(1),
            username: "amina".into(),
            room_name: "Salle 12".into(),
            pin: Pin([0; 32]),
            epoch: Epoch(1),
            head: Seq(4),
            sealed: false,
            key_log: false,
            first: true,
        }));
        self.event(Event::RosterComplete);
    }

    fn member(&mut self, user: u32, name: &str, flags: u8) {
        self.model.put(Member {
            user: UserId(user),
            version: Version(1),
            username: name.into(),
            first_name: "First".into(),
            last_name: "Last".into(),
            former: None,
            flags,
        });
    }

    fn event(&mut self, event: Event) {
        self.chat.event(self.now, &self.model, event);
        self.chat.settle(self.now, &self.model);
    }

    fn message(&mut self, seq: u64, author: u32, text: &str) {
        self.event(Event::Message(event::Message {
            room: Some(RoomId::MAIN),
            epoch: Epoch(1),
            seq: Seq(seq),
            author: UserId(author),
            to: vec![],
            time: WallMs(0),
            text: text.into(),
        }));
    }

    fn own(&mut self, n: u64, state: OwnState) {
        self.event(Event::Own { n: Ordinal(n), state });
    }

    fn types(&mut self, line: &str) {
        self.chat.line(self.now, Input::Line { text: line.into(), repaired: false });
        self.chat.settle(self.now, &self.model);
    }

    fn pass(&mut self, wait: Duration) {
        self.now.mono = self.now.mono + wait;
        self.chat.settle(self.now, &self.model);
    }

    fn sends(&mut self) -> Vec<(u64, Vec<u32>, String)> {
        std::iter::from_fn(|| self.chat.poll_command())
            .map(|command| match command {
                Command::Send { line, to, text } => (line, to.into_iter().map(|user| user.0).collect(), text),
                other => panic!("{other:?} is no message"),
            })
            .collect()
    }

    fn calls(&mut self) -> Call {
        match self.chat.poll_command() {
            Some(Command::Call(call, asked)) => {
                self.chat.called(Ticket(7), asked);
                call
            }
            other => panic!("{other:?} is no call"),
        }
    }

    fn replies(&mut self, reply: Reply) {
        self.event(Event::Replied { ticket: Ticket(7), reply });
    }

    /// Kinds of what was shown, with the code of a notice and the state of a message.
    fn shown(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.chat.poll_shown())
            .map(|shown| match shown {
                Shown::Welcome { .. } => "welcome".into(),
                Shown::Message(message) => format!("{} {}: {}", message.id, message.from, message.text),
                Shown::State(state) => format!("{} {}", state.id, state.state),
                Shown::Presence { user, online } => format!("{user} {online}"),
                Shown::Renamed { from, to } => format!("{from}->{to}"),
                Shown::Members { members, line } => {
                    format!("{line}: {}", members.into_iter().map(|member| member.user).collect::<Vec<_>>().join(" "))
                }
                Shown::Notice(notice) => format!("!{} {:?}", notice.code, notice.line),
                Shown::Connection { state } => state.into(),
                Shown::End { line } => format!("end {line}"),
            })
            .collect()
    }
}

#[test]
fn lines_wait_for_the_names_and_leave_in_order() {
    let mut table = Table::new(|_| {});
    for line in ["un", "deux@bob", "/online", "trois@zoé@bob"] {
        table.types(line);
    }
    assert_eq!(table.chat.poll_command(), None);
    table.enter();
    assert_eq!(table.sends(), [(1, vec![], "un".into()), (2, vec![2], "deux".into()), (4, vec![3, 2], "trois".into())]);
    assert_eq!(table.shown(), ["welcome", "3: amina bob"]);
}

#[test]
fn a_returning_profile_queues_before_the_server_was_heard() {
    let mut table = Table::new(|settings| settings.known = Some((UserId(1), "amina".into())));
    for line in ["un", "deux", "trois@bob", "quatre"] {
        table.types(line);
    }
    assert_eq!(table.sends().len(), 2);
    table.enter();
    assert_eq!(table.sends(), [(3, vec![2], "trois".into()), (4, vec![], "quatre".into())]);
}

#[test]
fn what_cannot_be_sent_says_so_with_its_line() {
    let mut table = Table::entered();
    let long = "x".repeat(4097);
    for line in ["a@nobody", "  ", &long, "/nonsense", "//x", "a@@b"] {
        table.types(line);
    }
    table.chat.line(table.now, Input::TooLong);
    table.chat.line(table.now, Input::Line { text: "�".into(), repaired: true });
    assert_eq!(
        table.shown(),
        [
            "!no-such-member Some(1)",
            "!empty Some(2)",
            "!too-long Some(3)",
            "!unknown-command Some(4)",
            "!too-long Some(7)",
            "!not-utf8 Some(8)"
        ]
    );
    assert_eq!(table.sends(), [(5, vec![], "/x".into()), (6, vec![], "a@b".into())]);
}

#[test]
fn a_message_and_its_states_have_one_id_once_stored() {
    let mut table = Table::entered();
    table.types("salut");
    assert_eq!(table.sends().len(), 1);
    table.chat.sent(1, Ok(Ordinal(1)));
    table.own(1, OwnState::Queued);
    table.own(1, OwnState::Sent);
    table.own(1, OwnState::Stored { room: Some(RoomId::MAIN), seq: Seq(5), of: 1, absent: vec![] });
    table.message(5, 1, "salut");
    table.own(1, OwnState::Received { room: Some(RoomId::MAIN), seq: Seq(5), received: 1, of: 1 });
    let pending = "n-00000000000000ab-1";
    assert_eq!(
        table.shown(),
        [
            format!("{pending} queued"),
            format!("{pending} sent"),
            "room-5 stored".into(),
            "room-5 amina: salut".into(),
            "room-5 received".into()
        ]
    );
}

#[test]
fn the_absent_are_named() {
    let mut table = Table::entered();
    table.chat.sent(1, Ok(Ordinal(1)));
    table.own(1, OwnState::Stored { room: None, seq: Seq(2), of: 1, absent: vec![UserId(3)] });
    let Some(Shown::State(state)) = table.chat.poll_shown() else { panic!("no state") };
    assert_eq!((state.log, state.seq, state.line), (Some(Log::Inbox), Some(2), Some(1)));
    let Some(Shown::Notice(notice)) = table.chat.poll_shown() else { panic!("no notice") };
    assert_eq!((notice.code, notice.line), ("absent", Some(1)));
    assert!(notice.text.contains("zoé"));
}

#[test]
fn a_message_waits_for_its_authors_name_but_not_for_ever() {
    let mut table = Table::entered();
    table.message(5, 9, "nouveau");
    table.message(6, 2, "derrière");
    assert!(table.shown().is_empty());
    table.member(9, "newbie", MEMBER_ONLINE);
    table.pass(Duration::from_millis(1));
    assert_eq!(table.shown(), ["room-5 newbie: nouveau", "room-6 bob: derrière"]);
    table.message(7, 10, "?");
    assert_eq!(table.chat.poll_timeout(), Some(table.now.mono + NAMELESS));
    table.pass(NAMELESS);
    assert_eq!(table.shown(), ["room-7 #10: ?"]);
}

fn found(seqs: std::ops::RangeInclusive<u64>) -> Reply {
    let message = |seq| Found {
        room: Some(RoomId::MAIN),
        seq: Seq(seq),
        author: UserId(2),
        to: vec![],
        time: WallMs(0),
        text: "x".into(),
    };
    Reply::Messages(seqs.map(message).collect())
}

#[test]
fn a_long_history_is_asked_for_in_pieces_and_shown_once_and_in_order() {
    let mut table = Table::entered();
    table.types("/history 250");
    assert_eq!(table.calls(), Call::RoomHistory { room: RoomId::MAIN, before: None, limit: 200 });
    table.replies(found(101..=250));
    assert_eq!(table.calls(), Call::RoomHistory { room: RoomId::MAIN, before: Some(Seq(101)), limit: 100 });
    table.replies(found(51..=100));
    assert_eq!(table.calls(), Call::RoomHistory { room: RoomId::MAIN, before: Some(Seq(51)), limit: 50 });
    assert!(table.shown().is_empty());
    table.replies(found(1..=50));
    let shown = table.shown();
    assert_eq!(shown.len(), 251);
    assert_eq!((shown[0].as_str(), shown[249].as_str()), ("room-1 bob: x", "room-250 bob: x"));
    assert_eq!(shown[250], "end 1");
}

#[test]
fn a_question_about_messages_waits_for_those_typed_before_it() {
    let mut table = Table::entered();
    table.types("un");
    table.types("/search un");
    table.types("deux");
    assert_eq!(table.sends().len(), 2);
    table.chat.sent(1, Ok(Ordinal(1)));
    table.chat.sent(3, Ok(Ordinal(2)));
    table.own(1, OwnState::Sent);
    assert_eq!(table.chat.poll_command(), None);
    table.own(1, OwnState::Stored { room: Some(RoomId::MAIN), seq: Seq(5), of: 1, absent: vec![] });
    assert_eq!(table.calls(), Call::Search { words: "un".into(), limit: 200 });
}

#[test]
fn calls_that_are_refused_end_too() {
    let mut table = Table::entered();
    table.types("/history @nobody");
    table.types("/history @bob");
    assert_eq!(table.calls(), Call::InboxHistory { with: Some(UserId(2)), before: None, limit: 20 });
    table.replies(Reply::Refused(Refusal::StoreFailed));
    table.types("/name x");
    assert_eq!(table.calls(), Call::Rename("x".into()));
    table.replies(Reply::Refused(Refusal::NameNotAllowed));
    assert_eq!(
        table.shown(),
        ["!no-such-member Some(1)", "end 1", "!store-failed Some(2)", "end 2", "!name-not-allowed Some(3)"]
    );
}

#[test]
fn the_end_of_input_waits_for_what_was_typed() {
    let mut table = Table::entered();
    table.types("salut");
    table.sends();
    table.chat.sent(1, Ok(Ordinal(1)));
    table.model.undecided = 1;
    table.types("/quit");
    assert!(!table.chat.takes_input());
    assert_eq!(table.chat.ended(), None);
    table.model.undecided = 0;
    table.own(1, OwnState::Stored { room: Some(RoomId::MAIN), seq: Seq(5), of: 1, absent: vec![] });
    assert_eq!(table.chat.ended(), None, "the message itself is not shown yet");
    table.message(5, 1, "salut");
    assert_eq!(table.chat.ended(), Some(Exit::Done));
}

#[test]
fn a_message_that_was_shown_before_it_was_known_as_stored_is_not_waited_for() {
    let mut table = Table::entered();
    table.types("salut");
    table.sends();
    table.chat.sent(1, Ok(Ordinal(1)));
    table.chat.input_ended(table.now);
    table.message(5, 1, "salut");
    table.own(1, OwnState::Stored { room: Some(RoomId::MAIN), seq: Seq(5), of: 1, absent: vec![] });
    assert_eq!(table.chat.ended(), Some(Exit::Done));
}

#[test]
fn what_does_not_leave_in_time_is_told() {
    let mut table = Table::entered();
    table.model.undecided = 2;
    table.chat.input_ended(table.now);
    table.pass(Duration::from_secs(29));
    assert_eq!(table.chat.ended(), None);
    table.pass(Duration::from_secs(1));
    assert_eq!(table.chat.ended(), Some(Exit::Unsent));
    assert_eq!(table.shown(), ["!unsent None"]);
}

#[test]
fn a_failed_message_shows_in_the_exit_code() {
    let mut table = Table::entered();
    table.own(1, OwnState::Failed(SubmitRefusal::NoSuchMember));
    table.chat.input_ended(table.now);
    table.pass(Duration::ZERO);
    assert_eq!(table.chat.ended(), Some(Exit::Unsent));
}

#[test]
fn a_server_that_never_answers_is_given_up_in_a_pipe_and_not_at_a_terminal() {
    let mut table = Table::new(|_| {});
    table.types("salut");
    table.pass(Duration::from_secs(9));
    assert_eq!(table.chat.ended(), None);
    assert_eq!(table.chat.poll_timeout(), Some(Instant(10_000_000)));
    table.pass(Duration::from_secs(1));
    assert_eq!(table.chat.ended(), Some(Exit::NeverReached));
    assert_eq!(table.shown(), ["!never-reached None", "!not-sent Some(1)"]);

    let mut table = Table::new(|settings| settings.on_terminal = true);
    table.pass(Duration::from_secs(100));
    assert_eq!((table.chat.ended(), table.chat.poll_timeout()), (None, None));

    let mut table = Table::new(|_| {});
    table.chat.heard();
    table.pass(Duration::from_secs(59));
    assert_eq!(table.chat.ended(), None, "it answers, however badly");
}

#[test]
fn an_unknown_key_is_asked_about_at_a_terminal_and_refused_in_a_pipe() {
    let unknown = || Event::ConfirmPin { pin: Pin([0; 32]), name: "Salle".into() };
    let mut table = Table::new(|_| {});
    table.event(unknown());
    assert_eq!(table.chat.poll_command(), Some(Command::ConfirmPin(false)));
    assert_eq!(table.chat.ended(), Some(Exit::Key));

    for (answer, yes) in [("oui", true), ("Y", true), ("", false), ("non", false)] {
        let mut table = Table::new(|settings| settings.on_terminal = true);
        assert!(!table.chat.takes_input(), "a password may be asked for");
        table.event(unknown());
        assert!(table.chat.takes_input());
        table.types(answer);
        assert_eq!(table.chat.poll_command(), Some(Command::ConfirmPin(yes)));
        assert_eq!(table.chat.ended(), (!yes).then_some(Exit::Key));
    }
}

#[test]
fn refusals_and_revocations_end_the_run() {
    let mut table = Table::new(|_| {});
    table.event(Event::Refused { refusal: Refusal::WrongCredentials, wait_ms: 0 });
    assert_eq!(table.chat.ended(), Some(Exit::Refused));
    let mut table = Table::entered();
    table.event(Event::Connection(Connection::Ended(crate::wire::frame::ByeReason::Revoked)));
    assert_eq!(table.shown(), ["ended", "!revoked None"]);
    assert_eq!(table.chat.ended(), Some(Exit::Refused));
}

#[test]
fn a_profile_of_somebody_else_is_not_used() {
    let mut table = Table::new(|settings| settings.known = Some((UserId(8), "other".into())));
    table.enter();
    assert_eq!(table.chat.ended(), Some(Exit::Usage));
}

#[test]
fn a_returning_profile_sees_what_it_missed_before_it_leaves() {
    let mut table = Table::new(|settings| {
        settings.known = Some((UserId(1), "amina".into()));
        settings.read_to = Some(Seq(2));
    });
    table.enter();
    table.chat.input_ended(table.now);
    table.message(3, 2, "un");
    assert_eq!(table.chat.ended(), None);
    table.message(4, 2, "deux");
    assert_eq!(table.chat.ended(), Some(Exit::Done));
}
