//! `preau chat`: the terminal client, exact in a pipe.

use std::path::PathBuf;
use std::time::Duration;

use time::UtcOffset;
use tokio::sync::mpsc::Receiver;
use zeroize::Zeroizing;

use super::args::{self, Impair, Reach};
use super::output::Output;
use super::{Stop, asking, input, profile, serve};
use crate::client::event::Event;
use crate::client::{Client, Config, Trust};
use crate::net::clock::Clock;
use crate::net::link::Link;
use crate::net::member::Member;
use crate::net::signal::Asked;
use crate::net::{random, socket};
use crate::proto::suite::Suite;
use crate::terminal::chat::{Chat, Command, Input, Settings};
use crate::terminal::exit::Exit;
use crate::terminal::plain::Plain;
use crate::terminal::shown::Shown;
use crate::terminal::words::{Language, Say};
use crate::wire::entrance::Refusal;

/// The options of `preau chat`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CONTRACT)]
pub(super) struct Args {
    #[command(flatten)]
    reach: Reach,
    /// Write this session's keys to this file, so that captures can be read
    #[arg(long, value_name = "FILE")]
    key_log: Option<PathBuf>,
    /// After the end of input, wait up to this many seconds until your messages are stored
    #[arg(long, value_name = "S", default_value_t = 30.0, value_parser = seconds)]
    wait: f64,
    #[command(flatten)]
    impair: Impair,
}

const CONTRACT: &str = "\
Each line of standard input is what a person would type: text, text@name, text@a@b, /online, /members, \
/history [n] [@name], /search words, /name NEW, /help, /quit; // begins a text with a slash, @@ is a plain @.

With --json each line of standard output is one object, its kind in \"event\": welcome, message, state, presence, \
renamed, members, notice, connection, end. A message's \"id\" is its log and its place there (room-42, inbox-7), the same \
for every member, in history and in search; a state bears it from \"stored\" on (with \"log\" and \"seq\"), before that the \
submission's name (n-<instance>-<number>), which every state also has as \"submission\". \"line\" is the input line's \
number, from 1.";

/// Up to a day.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("it is a number of seconds".into()),
    }
}

/// Chats until the end of input, or until there is nothing more to be done here.
pub(super) async fn run(args: Args, language: Language, offset: UtcOffset) -> Result<Exit, Stop> {
    let mut session = Session::open(args, language, offset)?;
    session.come_in()?;
    let exit = session.chat().await?;
    session.leave(exit).await;
    Ok(exit)
}

struct Session {
    chat: Chat,
    member: Member,
    clock: Clock,
    writer: Writer,
    asked: Asked,
    user: String,
    password: Option<Zeroizing<String>>,
    language: Language,
    /// Lines, once they are taken.
    input: Option<Receiver<Input>>,
}

/// What happened while the loop waited.
enum Woke {
    Net,
    Line(Option<Input>),
    Asked,
}

/// Lines taken at a time, before the network has its turn again.
const LINES: usize = 64;

impl Session {
    fn open(args: Args, language: Language, offset: UtcOffset) -> Result<Session, Stop> {
        let asked = Asked::listen().map_err(Stop::failed)?;
        let Reach { server, user, password_file, trust, profile, json } = args.reach;
        let password = asking::given(password_file.as_deref(), asking::PASSWORD, language)?;
        let addr = socket::resolve(&server).map_err(Stop::usage)?;
        let (store, profile) = profile::open(profile.as_deref(), addr, &user, language)?;
        let key_log = serve::open_key_log(args.key_log.as_deref())?;
        let worse = args.impair.worse();
        let clock = Clock::start();

        let settings = Settings {
            language,
            on_terminal: asking::on_terminal(),
            wait: Duration::from_secs_f64(args.wait),
            server,
            known: profile.user.clone(),
            read_to: profile.room_cursor.map(|(_, seq)| seq),
            instance: profile.instance,
        };
        let mut chat = Chat::new(settings, clock.now());
        if let Some(how) = args::in_words(&worse, language) {
            chat.say(Say::Impaired(&how));
        }
        if let Some(path) = &args.key_log {
            chat.say(Say::OwnKeyLog(&path.display().to_string()));
        }
        let trust = trust.unwrap_or(Trust::Ask);
        let config = Config { suite: Suite::Real, server: addr, trust, present: true, token: true };
        let client = Client::new(config, profile, random::seed(), clock.now());
        let socket = socket::bind_client(addr).map_err(Stop::failed)?;
        let link = Link::new(socket, worse).map_err(Stop::failed)?;
        let member = Member::new(client, addr, link, clock, store, key_log).map_err(Stop::failed)?;
        let writer = Writer {
            output: Output::start().map_err(Stop::failed)?,
            plain: (!json).then(|| Plain::new(language, offset)),
            last_notice: None,
        };
        Ok(Session { chat, member, clock, writer, asked, user, password, language, input: None })
    }

    /// A given password is always checked; a token serves only where none is given.
    fn come_in(&mut self) -> Result<(), Stop> {
        let now = self.clock.now();
        match &self.password {
            Some(password) => self.member.client.sign_in(now, &self.user, password),
            None if self.member.client.resume(now) => {}
            None => self.ask_and_sign_in()?,
        }
        Ok(())
    }

    fn ask_and_sign_in(&mut self) -> Result<(), Stop> {
        let prompt = Say::Password(&self.user);
        let password = asking::ask_password(prompt, "--password-file", asking::PASSWORD, self.language)?;
        self.member.client.sign_in(self.clock.now(), &self.user, &password);
        self.password = Some(password);
        Ok(())
    }

    async fn chat(&mut self) -> Result<Exit, Stop> {
        loop {
            self.settle()?;
            self.member.flush().await;
            if let Some(exit) = self.chat.ended() {
                return Ok(exit);
            }
            if self.input.is_none() && self.chat.takes_input() {
                self.input = Some(input::start().map_err(Stop::failed)?);
            }
            match self.wait().await {
                Woke::Net => {}
                Woke::Asked => self.chat.interrupted(self.member.client.model()),
                Woke::Line(line) => self.take_lines(line),
            }
            self.member.take();
            if self.member.heard() {
                self.chat.heard();
            }
        }
    }

    async fn wait(&mut self) -> Woke {
        let takes = self.chat.takes_input();
        let next = self.chat.poll_timeout();
        let line = async {
            match &mut self.input {
                Some(input) if takes => input.recv().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.asked.to_end() => Woke::Asked,
            () = self.member.wait(next) => Woke::Net,
            line = line => Woke::Line(line),
        }
    }

    fn take_lines(&mut self, mut line: Option<Input>) {
        let now = self.clock.now();
        for _ in 0..LINES {
            match line {
                Some(line) => self.chat.line(now, line),
                None => return self.chat.input_ended(now),
            }
            line = match self.input.as_mut().map(Receiver::try_recv) {
                Some(Ok(line)) if self.chat.takes_input() => Some(line),
                _ => return,
            };
        }
        if let Some(line) = line {
            self.chat.line(now, line);
        }
    }

    /// Passes events, commands and output on until nobody has anything to say.
    fn settle(&mut self) -> Result<(), Stop> {
        loop {
            let now = self.clock.now();
            while let Some(event) = self.member.poll_event() {
                match event {
                    // The token is no good: the password serves, where somebody can be asked for it.
                    Event::Refused { refusal: Refusal::TokenInvalid, .. } if self.can_ask() => {
                        self.ask_and_sign_in()?
                    }
                    event => self.chat.event(now, self.member.client.model(), event),
                }
            }
            self.chat.settle(now, self.member.client.model());
            while let Some(shown) = self.chat.poll_shown() {
                self.writer.write(&shown);
            }
            if self.writer.output.is_closed() {
                self.chat.interrupted(self.member.client.model());
            }
            match self.chat.poll_command() {
                None => return Ok(()),
                Some(command) => self.apply(command),
            }
        }
    }

    /// Only before lines are read, since a password is asked for at the same place.
    fn can_ask(&self) -> bool {
        asking::on_terminal() && self.input.is_none()
    }

    fn apply(&mut self, command: Command) {
        let now = self.clock.now();
        let client = &mut self.member.client;
        match command {
            Command::Send { line, to, text } => {
                let result = client.send(now, to, text);
                self.chat.sent(line, result);
            }
            Command::Call(call, asked) => {
                let ticket = client.call(now, call);
                self.chat.called(ticket, asked);
            }
            Command::ConfirmPin(accept) => client.confirm_pin(now, accept),
        }
    }

    /// Says goodbye to the server; and on standard error why a script's run failed, for whoever reads its log.
    async fn leave(mut self, exit: Exit) {
        while let Some(shown) = self.chat.poll_shown() {
            self.writer.write(&shown);
        }
        let for_scripts = self.writer.plain.is_none();
        if let (Some(why), true) = (&self.writer.last_notice, for_scripts && exit != Exit::Done) {
            eprintln!("preau: {why}");
        }
        self.member.leave().await;
    }
}

/// Output in one of its two forms.
struct Writer {
    output: Output,
    /// None: JSON.
    plain: Option<Plain>,
    last_notice: Option<String>,
}

impl Writer {
    fn write(&mut self, shown: &Shown) {
        if let Shown::Notice(notice) = shown {
            self.last_notice = Some(notice.text.clone());
        }
        let line = match &mut self.plain {
            Some(plain) => plain.write(shown),
            None => Some(shown.to_json()),
        };
        if let Some(line) = line {
            self.output.line(line);
        }
    }
}
