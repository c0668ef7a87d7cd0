//! A conversation at a command line: typed lines in, commands for the core out; the core's events in, what is shown out.
//!
//! Lines are numbered from 1. A line that needs to know the members waits until the roster is there, and everything
//! behind it waits too, so that messages leave in the order they were typed in. `/history` and `/search` wait until
//! what was typed before them is decided, so that they find it. A message from somebody whose record has not come yet
//! is shown a moment later, under their name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::exit::Exit;
use super::line::{self, SEARCH_MAX, Typed};
use super::shown::{self, Log, Notice, Shown, State};
use super::words::{Language, Say};
use crate::client::event::{Connection, Entered, Event, Message, OwnState, Ticket};
use crate::client::model::Model;
use crate::id::{Instance, Ordinal, RoomId, Seq, UserId};
use crate::now::{Instant, Now};
use crate::record::Found;
use crate::text::compose::{ComposeError, compose};
use crate::text::show::visible_line;
use crate::wire::call::{Call, Reply};
use crate::wire::entrance::Refusal;
use crate::wire::frame::{MEMBER_REMOVED, SubmitRefusal};
use crate::wire::limits::CALL_MESSAGES;

/// In a pipe: how long no server at all may answer.
const NEVER_HEARD: Duration = Duration::from_secs(10);
/// In a pipe: how long one may try to come in to a server that answers; sign-in through 50 % loss takes 10 s at worst.
const NEVER_ENTERED: Duration = Duration::from_secs(60);
/// How long a message waits for its author's name. The roster is 250 ms behind at most, and resent where it is lost.
const NAMELESS: Duration = Duration::from_secs(5);

/// What a conversation starts from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What people read.
    pub language: Language,
    /// Somebody sits there who can be asked.
    pub on_terminal: bool,
    /// How long, after the end of input, one's own messages are waited for.
    pub wait: Duration,
    /// The server, as people know it.
    pub server: String,
    /// The account and the place in the room that the profile remembers.
    pub known: Option<(UserId, String)>,
    /// How far the profile has read the room.
    pub read_to: Option<Seq>,
    /// Names one's submissions.
    pub instance: Instance,
}

/// Something to do with the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `Client::send`, and [`Chat::sent`] with its result.
    Send {
        /// The line it was typed in.
        line: u64,
        /// To whom; empty: to everybody.
        to: Vec<UserId>,
        /// What.
        text: String,
    },
    /// `Client::call`, and [`Chat::called`] with its ticket.
    Call(Call, Asked),
    /// `Client::confirm_pin`.
    ConfirmPin(bool),
}

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    line: u64,
    kind: AskedKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum AskedKind {
    Rename(String),
    History { with: Option<UserId>, left: usize, found: VecDeque<Found> },
    Search,
}

/// A line as standard input gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A whole line, without its break.
    Line {
        /// Its text.
        text: String,
        /// Some of it was not UTF-8 and was replaced.
        repaired: bool,
    },
    /// A line too long to be kept.
    TooLong,
}

/// See the module.
#[derive(Debug)]
pub struct Chat {
    settings: Settings,
    started: Instant,
    lines: u64,
    /// Lines that wait for the members' names.
    held: VecDeque<(u64, Typed)>,
    /// Questions about messages, which wait for the lines before them.
    deferred: VecDeque<(u64, Typed)>,
    /// Lines whose message is neither stored nor failed nor refused.
    undecided: BTreeSet<u64>,
    /// Which line each of this run's submissions came from.
    own: BTreeMap<Ordinal, u64>,
    asked: BTreeMap<Ticket, Asked>,
    /// Calls in `commands`, whose ticket is not known yet.
    calling: usize,
    /// Events whose names are not known yet, and those behind them.
    nameless: VecDeque<Event>,
    nameless_until: Option<Instant>,
    /// One's own messages that are stored and not shown yet.
    unseen: BTreeSet<(Log, Seq)>,
    /// The newest message shown of each log.
    shown_to: BTreeMap<Log, Seq>,
    /// Where the room was when a returning profile came in, until that is shown.
    catch_up: Option<Seq>,
    heard: bool,
    entered: bool,
    names_known: bool,
    connection: Option<Connection>,
    confirming: Option<String>,
    /// When the end of input is waited for no longer.
    input_until: Option<Instant>,
    some_failed: bool,
    exit: Option<Exit>,
    commands: VecDeque<Command>,
    shown: VecDeque<Shown>,
}

impl Chat {
    /// Nothing typed and nothing heard yet.
    pub fn new(settings: Settings, now: Now) -> Chat {
        Chat {
            settings,
            started: now.mono,
            lines: 0,
            held: VecDeque::new(),
            deferred: VecDeque::new(),
            undecided: BTreeSet::new(),
            own: BTreeMap::new(),
            asked: BTreeMap::new(),
            calling: 0,
            nameless: VecDeque::new(),
            nameless_until: None,
            unseen: BTreeSet::new(),
            shown_to: BTreeMap::new(),
            catch_up: None,
            heard: false,
            entered: false,
            names_known: false,
            connection: None,
            confirming: None,
            input_until: None,
            some_failed: false,
            exit: None,
            commands: VecDeque::new(),
            shown: VecDeque::new(),
        }
    }

    /// The next thing to do with the core.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next line of output.
    pub fn poll_shown(&mut self) -> Option<Shown> {
        self.shown.pop_front()
    }

    /// When [`Chat::settle`] has something to do even if nothing happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let never = match (self.settings.on_terminal || self.entered, self.heard) {
            (true, _) => None,
            (false, true) => Some(self.started + NEVER_ENTERED),
            (false, false) => Some(self.started + NEVER_HEARD),
        };
        [never, self.nameless_until, self.input_until].into_iter().flatten().min()
    }

    /// How the run ends, once that is known; then nothing more is to be done but to say goodbye.
    pub fn ended(&self) -> Option<Exit> {
        self.exit
    }

    /// Whether lines can be taken now: at a terminal not before one is in, since until then a password may be asked for.
    pub fn takes_input(&self) -> bool {
        let ready = !self.settings.on_terminal || self.entered || self.confirming.is_some();
        ready && self.input_until.is_none() && self.exit.is_none()
    }

    /// Whether one was let in.
    pub fn entered(&self) -> bool {
        self.entered
    }

    /// A datagram came from the server's address, whatever is in it.
    pub fn heard(&mut self) {
        self.heard = true;
    }

    /// Says something that is about no line.
    pub fn say(&mut self, say: Say<'_>) {
        self.notice(None, say);
    }

    /// Ends the run.
    pub fn end(&mut self, exit: Exit) {
        self.exit.get_or_insert(exit);
    }

    /// Takes a typed line.
    pub fn line(&mut self, now: Now, input: Input) {
        if self.input_until.is_some() || self.exit.is_some() {
            return;
        }
        if let (Some(words), Input::Line { text, .. }) = (self.confirming.take(), &input) {
            return self.confirm(text, &words);
        }
        self.lines += 1;
        let text = match input {
            Input::TooLong => return self.notice(Some(self.lines), Say::LineTooLong),
            Input::Line { text, repaired } => {
                if repaired {
                    self.notice(Some(self.lines), Say::NotUtf8);
                }
                text
            }
        };
        match line::read(&text) {
            Typed::Quit => self.input_ended(now),
            Typed::Text(text) if self.settings.on_terminal && text.trim().is_empty() => {}
            typed => self.held.push_back((self.lines, typed)),
        }
    }

    /// There will be no more lines.
    pub fn input_ended(&mut self, now: Now) {
        self.input_until.get_or_insert(now.mono + self.settings.wait);
        if let Some(words) = self.confirming.take() {
            self.confirm("", &words);
        }
    }

    /// Somebody wants this process to end now.
    pub fn interrupted(&mut self, model: &Model) {
        self.leave(model);
    }

    /// The result of [`Command::Send`].
    pub fn sent(&mut self, line: u64, result: Result<Ordinal, SubmitRefusal>) {
        if result.is_err() {
            self.undecided.remove(&line);
        }
        match result {
            Ok(n) => drop(self.own.insert(n, line)),
            Err(SubmitRefusal::TooLong) => self.notice(Some(line), Say::TooLong),
            Err(SubmitRefusal::Empty) => self.notice(Some(line), Say::Empty),
            Err(refusal) => self.notice(Some(line), Say::Failed(refusal)),
        }
    }

    /// The result of [`Command::Call`].
    pub fn called(&mut self, ticket: Ticket, asked: Asked) {
        self.calling -= 1;
        self.asked.insert(ticket, asked);
    }

    /// Takes an event of the core; those that ask for work are the driver's and do not come here.
    pub fn event(&mut self, now: Now, model: &Model, event: Event) {
        match event {
            Event::Stretch(_) | Event::Keep(_) | Event::KeyLog(_) | Event::Outcome { .. } => {}
            Event::ConfirmPin { pin, name } => self.on_unknown_key(&pin.words().join(" "), &name),
            Event::PinChanged { pin } => {
                self.say(Say::KeyChanged(&pin.words().join(" ")));
                self.end(Exit::Key);
            }
            Event::Entered(entered) => self.on_entered(entered),
            Event::Refused { refusal, wait_ms } => {
                self.say(Say::Refused(refusal, wait_ms));
                self.end(Exit::Refused);
            }
            Event::Connection(connection) => self.on_connection(connection),
            Event::RosterComplete => self.names_known = true,
            Event::Replied { ticket, reply } => self.on_reply(model, ticket, reply),
            Event::Notice(notice) => self.on_notice(notice),
            Event::Message(_) | Event::Own { .. } | Event::Presence { .. } | Event::Renamed { .. } => {
                self.nameless.push_back(event);
                self.show_named(now, model);
            }
        }
    }

    /// Does what has become possible or due. To be called after every round of events, lines and time-outs.
    pub fn settle(&mut self, now: Now, model: &Model) {
        if self.exit.is_some() {
            return;
        }
        self.show_named(now, model);
        while let Some((line, typed)) = self.held.pop_front() {
            // A returning profile may queue what needs no names before the server was ever heard.
            if !self.names_known && (typed.needs_names() || self.settings.known.is_none()) {
                self.held.push_front((line, typed));
                break;
            }
            match typed {
                Typed::History { .. } | Typed::Search(_) => self.deferred.push_back((line, typed)),
                typed => self.act(model, line, typed),
            }
        }
        while let Some((line, typed)) = self.deferred.pop_front() {
            if self.undecided.range(..line).next().is_some() {
                self.deferred.push_front((line, typed));
                break;
            }
            self.act(model, line, typed);
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.mono);
        let never = (!self.entered).then(|| self.poll_timeout()).flatten();
        if due(self.input_until) || self.input_until.is_some() && self.all_done(model) {
            self.leave(model);
        } else if due(never) && !self.settings.on_terminal {
            self.never_reached();
        }
    }

    fn all_done(&self, model: &Model) -> bool {
        let acted = self.held.is_empty() && self.deferred.is_empty() && self.commands.is_empty();
        let answered = self.asked.is_empty() && self.calling == 0;
        let shown = self.nameless.is_empty() && self.unseen.is_empty() && self.catch_up.is_none();
        self.names_known && acted && answered && shown && model.undecided() == 0
    }

    fn leave(&mut self, model: &Model) {
        if !self.entered && self.input_until.is_some() {
            return self.never_reached();
        }
        let undecided = model.undecided();
        if undecided > 0 {
            self.say(Say::Unsent(undecided));
        }
        let lost = self.drop_held();
        self.end(if undecided > 0 || lost || self.some_failed { Exit::Unsent } else { Exit::Done });
    }

    fn never_reached(&mut self) {
        let server = self.settings.server.clone();
        self.say(Say::NeverReached(&server));
        self.drop_held();
        self.end(Exit::NeverReached);
    }

    /// Lines that are done with although nothing was done; whether there were any.
    fn drop_held(&mut self) -> bool {
        let mut held = std::mem::take(&mut self.deferred);
        held.append(&mut self.held);
        held.iter().for_each(|(line, _)| self.notice(Some(*line), Say::LineNotSent));
        !held.is_empty()
    }

    fn confirm(&mut self, answer: &str, words: &str) {
        let yes = means_yes(answer);
        self.commands.push_back(Command::ConfirmPin(yes));
        if !yes {
            self.say(Say::KeyUnknown(words));
            self.end(Exit::Key);
        }
    }

    fn on_unknown_key(&mut self, words: &str, name: &str) {
        if self.settings.on_terminal {
            self.say(Say::RoomWords(&visible_line(name), words));
            self.say(Say::ConfirmWords);
            self.confirming = Some(words.to_owned());
        } else {
            self.confirm("", words);
        }
    }

    fn on_entered(&mut self, entered: Entered) {
        if self.entered {
            return;
        }
        self.entered = true;
        if let Some((user, name)) = &self.settings.known
            && *user != entered.user
        {
            let name = visible_line(name).into_owned();
            self.say(Say::ProfileOfAnother(&name));
            return self.end(Exit::Usage);
        }
        self.catch_up = self.settings.read_to.filter(|seq| *seq < entered.head).map(|_| entered.head);
        self.shown.push_back(Shown::Welcome {
            user: entered.username,
            room: entered.room_name,
            words: entered.pin.words().map(str::to_owned).to_vec(),
            sealed: entered.sealed,
            key_log: entered.key_log,
        });
        if entered.key_log {
            self.say(Say::ServerKeyLog);
        }
    }

    fn on_connection(&mut self, connection: Connection) {
        if self.connection == Some(connection) {
            return;
        }
        self.connection = Some(connection);
        let state = match connection {
            Connection::Connecting => "connecting",
            Connection::Connected => "connected",
            Connection::Away => "away",
            Connection::Ended(_) => "ended",
        };
        self.shown.push_back(Shown::Connection { state });
        if let Connection::Ended(reason) = connection {
            self.say(Say::Ended(reason));
            self.end(Exit::Refused);
        }
    }

    fn on_notice(&mut self, notice: crate::client::event::Notice) {
        use crate::client::event::Notice as Told;
        match notice {
            Told::RateLimited { wait_ms } => self.say(Say::RateLimited(wait_ms)),
            Told::ServerNotStoring => self.say(Say::NotStoring),
            Told::ServerStoring => self.say(Say::Storing),
            Told::HistoryRestored { since } => {
                self.catch_up = None;
                self.say(Say::HistoryRestored(since.0));
            }
            Told::ProfileFailed(why) => self.say(Say::ProfileFailed(&why)),
        }
    }

    /// Shows events in order as long as the names in them are known, or were waited for long enough.
    fn show_named(&mut self, now: Now, model: &Model) {
        let patience_over = self.nameless_until.is_some_and(|until| until <= now.mono);
        let known = |user: &UserId| model.members.contains_key(user);
        while let Some(event) = self.nameless.front() {
            let named = match event {
                Event::Message(message) => known(&message.author) && message.to.iter().all(known),
                Event::Own { state: OwnState::Stored { absent, .. }, .. } => absent.iter().all(known),
                Event::Presence { user, .. } => known(user),
                _ => true,
            };
            if !named && !patience_over {
                self.nameless_until.get_or_insert(now.mono + NAMELESS);
                return;
            }
            if let Some(event) = self.nameless.pop_front() {
                self.show(model, event);
            }
        }
        self.nameless_until = None;
    }

    fn show(&mut self, model: &Model, event: Event) {
        match event {
            Event::Message(message) => self.show_message(model, message),
            Event::Own { n, state } => self.show_state(model, n, state),
            Event::Presence { user, .. } if Some(user) == model.me => {}
            Event::Presence { user, online } => {
                self.shown.push_back(Shown::Presence { user: name(model, user), online });
            }
            Event::Renamed { from, to, .. } => self.shown.push_back(Shown::Renamed { from, to }),
            _ => {}
        }
    }

    fn show_message(&mut self, model: &Model, message: Message) {
        let log = log(message.room);
        self.unseen.remove(&(log, message.seq));
        self.shown_to.insert(log, message.seq);
        if log == Log::Room && self.catch_up.is_some_and(|head| head <= message.seq) {
            self.catch_up = None;
        }
        let Message { room, seq, author, to, time, text, .. } = message;
        self.shown.push_back(found(model, Found { room, seq, author, to, time, text }, false));
    }

    fn show_state(&mut self, model: &Model, n: Ordinal, state: OwnState) {
        let line = self.own.get(&n).copied();
        if let (Some(line), OwnState::Stored { .. } | OwnState::Failed(_)) = (line, &state) {
            self.undecided.remove(&line);
        }
        let submission = format!("n-{:016x}-{n}", self.settings.instance.0);
        let mut shown = State {
            id: submission.clone(),
            submission,
            line,
            state: "queued",
            log: None,
            seq: None,
            received: None,
            of: None,
            reason: None,
        };
        let mut place = |room: Option<RoomId>, seq: Seq, received, of| {
            shown.id = shown::id(log(room), seq);
            (shown.log, shown.seq) = (Some(log(room)), Some(seq.0));
            (shown.received, shown.of) = (Some(received), Some(of));
        };
        let mut gone = Vec::new();
        match state {
            OwnState::Queued => {}
            OwnState::Sent => shown.state = "sent",
            OwnState::Stored { room, seq, of, absent } => {
                place(room, seq, 0, of);
                shown.state = "stored";
                // The page that bears it may have been faster than the answer.
                if line.is_some() && self.shown_to.get(&log(room)).is_none_or(|shown| *shown < seq) {
                    self.unseen.insert((log(room), seq));
                }
                gone = absent;
            }
            OwnState::Received { room, seq, received, of } => {
                place(room, seq, received, of);
                shown.state = "received";
            }
            OwnState::Failed(refusal) => {
                (shown.state, shown.reason) = ("failed", Some(refusal));
                self.some_failed = true;
            }
        }
        self.shown.push_back(Shown::State(shown));
        if !gone.is_empty() {
            let names: Vec<String> = gone.into_iter().map(|user| name(model, user)).collect();
            self.notice(line, Say::Absent(&names));
        }
    }

    fn act(&mut self, model: &Model, line: u64, typed: Typed) {
        match typed {
            Typed::Text(text) => self.act_text(model, line, &text),
            Typed::Online => self.shown.push_back(Shown::Members { members: members(model, true), line }),
            Typed::Members => self.shown.push_back(Shown::Members { members: members(model, false), line }),
            Typed::History { count, with: None } => self.ask_history(line, None, count, VecDeque::new()),
            Typed::History { count, with: Some(name) } => match model.by_name(&name) {
                Some(user) => self.ask_history(line, Some(user), count, VecDeque::new()),
                None => {
                    self.notice(Some(line), Say::NoSuchMember(&visible_line(&name)));
                    self.shown.push_back(Shown::End { line });
                }
            },
            Typed::Search(words) => {
                self.ask(Call::Search { words, limit: SEARCH_MAX as u16 }, Asked { line, kind: AskedKind::Search });
            }
            Typed::Name(new) => {
                self.ask(Call::Rename(new.clone()), Asked { line, kind: AskedKind::Rename(new) });
            }
            Typed::Help => self.notice(Some(line), Say::Help),
            Typed::Unknown(typed) => self.notice(Some(line), Say::UnknownCommand(&visible_line(&typed))),
            Typed::Quit => unreachable!("Chat::line ends the input at once"),
        }
    }

    fn act_text(&mut self, model: &Model, line: u64, text: &str) {
        match compose(text, &|name| model.by_name(name)) {
            Ok(composed) => {
                self.undecided.insert(line);
                self.commands.push_back(Command::Send { line, to: composed.to, text: composed.text });
            }
            Err(ComposeError::Empty) => self.notice(Some(line), Say::Empty),
            Err(ComposeError::TooLong { .. }) => self.notice(Some(line), Say::TooLong),
            Err(ComposeError::TooManyRecipients) => self.notice(Some(line), Say::TooManyRecipients),
            Err(ComposeError::NoSuchMember { name }) => {
                self.notice(Some(line), Say::NoSuchMember(&visible_line(&name)));
            }
        }
    }

    fn ask(&mut self, call: Call, asked: Asked) {
        self.calling += 1;
        self.commands.push_back(Command::Call(call, asked));
    }

    fn ask_history(&mut self, line: u64, with: Option<UserId>, left: usize, found: VecDeque<Found>) {
        let before = found.front().map(|oldest| oldest.seq);
        let limit = left.min(CALL_MESSAGES) as u16;
        let call = match with {
            Some(_) => Call::InboxHistory { with, before, limit },
            None => Call::RoomHistory { room: RoomId::MAIN, before, limit },
        };
        self.ask(call, Asked { line, kind: AskedKind::History { with, left, found } });
    }

    fn on_reply(&mut self, model: &Model, ticket: Ticket, reply: Reply) {
        let Some(Asked { line, kind }) = self.asked.remove(&ticket) else { return };
        match (kind, reply) {
            (AskedKind::Rename(_), Reply::Refused(refusal)) => self.notice(Some(line), Say::Refused(refusal, 0)),
            // Everybody is told of the new name by the roster, oneself too.
            (AskedKind::Rename(_), _) => {}
            (AskedKind::History { with, left, mut found }, Reply::Messages(older)) => {
                // The server may give fewer than asked for; only an empty answer says that there are no more.
                let (some, left) = (!older.is_empty(), left.saturating_sub(older.len()));
                older.into_iter().rev().for_each(|message| found.push_front(message));
                let more = some && left > 0 && found.front().is_some_and(|oldest| oldest.seq > Seq(1));
                if more { self.ask_history(line, with, left, found) } else { self.show_found(model, line, found) }
            }
            (AskedKind::Search, Reply::Messages(messages)) => self.show_found(model, line, messages.into()),
            (kind, reply) => {
                let refusal = if let Reply::Refused(refusal) = reply { refusal } else { Refusal::NotUnderstood };
                self.notice(Some(line), Say::Refused(refusal, 0));
                let found = if let AskedKind::History { found, .. } = kind { found } else { VecDeque::new() };
                self.show_found(model, line, found);
            }
        }
    }

    fn show_found(&mut self, model: &Model, line: u64, messages: VecDeque<Found>) {
        self.shown.extend(messages.into_iter().map(|message| found(model, message, true)));
        self.shown.push_back(Shown::End { line });
    }

    fn notice(&mut self, line: Option<u64>, say: Say<'_>) {
        let text = say.text(self.settings.language);
        self.shown.push_back(Shown::Notice(Notice { code: say.code(), text, line }));
    }
}

/// Whether an answer is a yes, in either language.
pub fn means_yes(answer: &str) -> bool {
    ["y", "yes", "o", "oui"].contains(&answer.trim().to_lowercase().as_str())
}

fn log(room: Option<RoomId>) -> Log {
    if room.is_some() { Log::Room } else { Log::Inbox }
}

/// A member's name now; by number where no record came in time.
fn name(model: &Model, user: UserId) -> String {
    match model.name(user) {
        "" => format!("#{user}"),
        name => name.to_owned(),
    }
}

fn found(model: &Model, message: Found, history: bool) -> Shown {
    let log = log(message.room);
    Shown::Message(shown::Message {
        log,
        seq: message.seq.0,
        id: shown::id(log, message.seq),
        from: name(model, message.author),
        to: (log == Log::Inbox).then(|| message.to.iter().map(|user| name(model, *user)).collect()),
        text: message.text,
        time: message.time,
        history,
    })
}

fn members(model: &Model, online_only: bool) -> Vec<shown::Member> {
    let mut members: Vec<shown::Member> = model
        .members
        .values()
        .filter(|member| member.flags & MEMBER_REMOVED == 0)
        .map(|member| shown::Member {
            user: member.username.clone(),
            first_name: member.first_name.clone(),
            last_name: member.last_name.clone(),
            online: model.is_online(member.user),
        })
        .filter(|member| member.online || !online_only)
        .collect();
    members.sort();
    members
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
