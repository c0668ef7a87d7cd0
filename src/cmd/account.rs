//! `preau account`: registering, recovering and changing a password, taking another name. Nobody sees one come or go,
//! and no session or token stays.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use zeroize::Zeroizing;

use super::args::Reach;
use super::{Stop, asking, profile};
use crate::client::event::{Event, Ticket};
use crate::client::{Client, Config, Registration, Replacement, Trust};
use crate::net::clock::Clock;
use crate::net::link::{Link, Worse};
use crate::net::member::Member;
use crate::net::signal::Asked;
use crate::net::{random, socket};
use crate::now::Instant;
use crate::proto::opaque::normalise_code;
use crate::proto::suite::Suite;
use crate::record::CredentialKind;
use crate::terminal::exit::Exit;
use crate::terminal::shown::{Notice, Shown as Line};
use crate::terminal::words::{Language, Say};
use crate::text::show::visible_line;
use crate::wire::call::{Call, Reply};

/// The options of `preau account`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account; prints its recovery code, once
    Register {
        #[command(flatten)]
        reach: Reach,
        /// Your first name
        #[arg(long)]
        first_name: Option<String>,
        /// Your last name
        #[arg(long)]
        last_name: Option<String>,
    },
    /// Set a new password by a recovery code, or by a teacher's reset code; prints a new recovery code
    Recover {
        #[command(flatten)]
        reach: Reach,
        /// The code; asked for if not given
        #[arg(long)]
        code: Option<String>,
        /// A file whose contents are the new password; else PREAU_NEW_PASSWORD, else it is asked for, unseen
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// Set a new password by the old one; prints a new recovery code
    Password {
        #[command(flatten)]
        reach: Reach,
        /// A file whose contents are the new password; else PREAU_NEW_PASSWORD, else it is asked for, unseen
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// Take another username; history follows
    Rename {
        #[command(flatten)]
        reach: Reach,
        /// The new username
        #[arg(long, value_name = "NAME")]
        new_name: String,
    },
}

/// What a script reads.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Shown<'a> {
    Registered { user: &'a str, recovery_code: &'a str },
    Recovered { user: &'a str, recovery_code: &'a str },
    Password { user: &'a str, recovery_code: &'a str },
    Renamed { from: &'a str, to: &'a str },
}

/// How long a server may stay silent altogether.
const NEVER_HEARD: Duration = Duration::from_secs(10);
/// How long all of it may take; through 50 % loss it takes 15 s at worst.
const NEVER_DONE: Duration = Duration::from_secs(60);

/// What to ask of the client's core.
enum Wish {
    Register(Registration),
    Replace(Replacement),
    Rename { password: Zeroizing<String>, new_name: String },
}

/// How it went.
enum Outcome {
    Code(String),
    Renamed,
    Not { exit: Exit, code: &'static str, why: String },
}

/// Does what is asked, or says why not.
pub(super) async fn run(args: Args, language: Language) -> Result<Exit, Stop> {
    let asked = Asked::listen().map_err(Stop::failed)?;
    let (reach, wish) = wish(args.action, language)?;
    let (event, user, json) = (Kind::of(&wish), reach.user.clone(), reach.json);
    let new_name = if let Wish::Rename { new_name, .. } = &wish { new_name.clone() } else { String::new() };
    let outcome = Errand::open(reach, asked, language)?.run(wish).await?;
    let shown_user = visible_line(&user);
    let (shown, said) = match &outcome {
        Outcome::Not { exit, code, why } => {
            if json {
                println!("{}", Line::Notice(Notice { code, text: why.clone(), line: None }).to_json());
            }
            return Err(Stop::new(*exit, why));
        }
        Outcome::Renamed => {
            let said = Say::Renamed(&shown_user, &visible_line(&new_name)).text(language);
            (Shown::Renamed { from: &user, to: &new_name }, said)
        }
        Outcome::Code(code) => {
            let (shown, say) = match event {
                Kind::Registered => {
                    (Shown::Registered { user: &user, recovery_code: code }, Say::AccountMade(&shown_user))
                }
                Kind::Recovered => {
                    (Shown::Recovered { user: &user, recovery_code: code }, Say::PasswordReplaced(&shown_user))
                }
                Kind::Other => {
                    (Shown::Password { user: &user, recovery_code: code }, Say::PasswordReplaced(&shown_user))
                }
            };
            (shown, format!("{}\n{}", say.text(language), Say::RecoveryCode(code).text(language)))
        }
    };
    if json {
        println!("{}", serde_json::to_string(&shown).map_err(Stop::failed)?);
    } else {
        println!("{said}");
    }
    Ok(Exit::Done)
}

enum Kind {
    Registered,
    Recovered,
    Other,
}

impl Kind {
    fn of(wish: &Wish) -> Kind {
        match wish {
            Wish::Register(_) => Kind::Registered,
            Wish::Replace(Replacement { kind: CredentialKind::Recovery | CredentialKind::Reset, .. }) => {
                Kind::Recovered
            }
            _ => Kind::Other,
        }
    }
}

/// Collects what is needed, asking for what is missing where somebody can be asked.
fn wish(action: Action, language: Language) -> Result<(Reach, Wish), Stop> {
    let new = |file: Option<&Path>, user: &str| match asking::given(file, asking::NEW_PASSWORD, language)? {
        Some(password) => Ok(password),
        None => asking::ask_new_password(user, "--new-password-file", asking::NEW_PASSWORD, language),
    };
    let old = |reach: &Reach| match asking::given(reach.password_file.as_deref(), asking::PASSWORD, language)? {
        Some(password) => Ok(password),
        None => asking::ask_password(Say::Password(&reach.user), "--password-file", asking::PASSWORD, language),
    };
    Ok(match action {
        Action::Register { reach, first_name, last_name } => {
            let named = |name: Option<String>, option: &str| {
                name.ok_or_else(|| Stop::usage(Say::Missing(option).text(language)))
            };
            let (first_name, last_name) = (named(first_name, "--first-name")?, named(last_name, "--last-name")?);
            let password = match asking::given(reach.password_file.as_deref(), asking::PASSWORD, language)? {
                Some(password) => password,
                None => asking::ask_new_password(&reach.user, "--password-file", asking::PASSWORD, language)?,
            };
            let username = reach.user.clone();
            (reach, Wish::Register(Registration { username, first_name, last_name, password }))
        }
        Action::Recover { reach, code, new_password_file } => {
            let secret = Zeroizing::new(match code {
                Some(code) => code,
                None if asking::on_terminal() => asking::ask_line(&Say::Code.text(language))?,
                None => return Err(Stop::usage(Say::Missing("--code").text(language))),
            });
            let kind = match normalise_code(&secret).len() {
                20 => CredentialKind::Recovery,
                10 => CredentialKind::Reset,
                _ => return Err(Stop::usage(Say::NotACode.text(language))),
            };
            // The only password there is to give is the new one, whichever option it comes by.
            let file = new_password_file.or(reach.password_file.clone());
            let new_password = new(file.as_deref(), &reach.user)?;
            let username = reach.user.clone();
            (reach, Wish::Replace(Replacement { username, kind, secret, new_password }))
        }
        Action::Password { reach, new_password_file } => {
            let secret = old(&reach)?;
            let new_password = new(new_password_file.as_deref(), &reach.user)?;
            let (username, kind) = (reach.user.clone(), CredentialKind::Password);
            (reach, Wish::Replace(Replacement { username, kind, secret, new_password }))
        }
        Action::Rename { reach, new_name } => {
            let password = old(&reach)?;
            (reach, Wish::Rename { password, new_name })
        }
    })
}

/// One visit to the server.
struct Errand {
    member: Member,
    clock: Clock,
    asked: Asked,
    language: Language,
    server: String,
    user: String,
    started: Instant,
    renaming: Option<Ticket>,
}

impl Errand {
    fn open(reach: Reach, asked: Asked, language: Language) -> Result<Errand, Stop> {
        let addr = socket::resolve(&reach.server).map_err(Stop::usage)?;
        let (store, profile) = profile::open(reach.profile.as_deref(), addr, &reach.user, language)?;
        let clock = Clock::start();
        let trust = reach.trust.unwrap_or(Trust::Ask);
        let config = Config { suite: Suite::Real, server: addr, trust, present: false, token: false };
        let client = Client::new(config, profile, random::seed(), clock.now());
        let socket = socket::bind_client(addr).map_err(Stop::failed)?;
        let link = Link::new(socket, Worse::default()).map_err(Stop::failed)?;
        let member = Member::new(client, addr, link, clock, store, None).map_err(Stop::failed)?;
        let started = clock.now().mono;
        Ok(Errand { member, clock, asked, language, server: reach.server, user: reach.user, started, renaming: None })
    }

    async fn run(mut self, wish: Wish) -> Result<Outcome, Stop> {
        let now = self.clock.now();
        let mut new_name = None;
        match wish {
            Wish::Register(registration) => self.member.client.register(now, registration),
            Wish::Replace(replacement) => self.member.client.replace(now, replacement),
            Wish::Rename { password, new_name: name } => {
                self.member.client.sign_in(now, &self.user, &password);
                new_name = Some(name);
            }
        }
        let outcome = loop {
            if let Some(outcome) = self.events(&mut new_name)? {
                break outcome;
            }
            self.member.flush().await;
            let patience = if self.member.heard() { NEVER_DONE } else { NEVER_HEARD };
            let until = self.started + patience;
            tokio::select! {
                () = self.asked.to_end() => return Err(Stop::new(Exit::NeverReached, self.never_reached())),
                () = self.member.wait(Some(until)) => {}
            }
            self.member.take();
            if self.clock.now().mono >= until {
                break self.not(Exit::NeverReached, Say::NeverReached(&self.server));
            }
        };
        self.member.leave().await;
        Ok(outcome)
    }

    fn events(&mut self, new_name: &mut Option<String>) -> Result<Option<Outcome>, Stop> {
        while let Some(event) = self.member.poll_event() {
            let now = self.clock.now();
            match event {
                Event::ConfirmPin { pin, name } => {
                    let words = pin.words().join(" ");
                    if !asking::on_terminal() || !self.confirmed(&name, &words)? {
                        self.member.client.confirm_pin(now, false);
                        return Ok(Some(self.not(Exit::Key, Say::KeyUnknown(&words))));
                    }
                    // A person took their time: what the server may take begins anew.
                    self.started = self.clock.now().mono;
                    self.member.client.confirm_pin(self.clock.now(), true);
                }
                Event::PinChanged { pin } => {
                    return Ok(Some(self.not(Exit::Key, Say::KeyChanged(&pin.words().join(" ")))));
                }
                Event::Refused { refusal, wait_ms } => {
                    return Ok(Some(self.not(Exit::Refused, Say::Refused(refusal, wait_ms))));
                }
                Event::Outcome { recovery_code } => return Ok(Some(Outcome::Code(recovery_code))),
                Event::Entered(_) => {
                    if let Some(name) = new_name.take() {
                        self.renaming = Some(self.member.client.call(now, Call::Rename(name)));
                    }
                }
                Event::Replied { ticket, reply } if Some(ticket) == self.renaming => {
                    return Ok(Some(match reply {
                        Reply::Refused(refusal) => self.not(Exit::Refused, Say::Refused(refusal, 0)),
                        _ => Outcome::Renamed,
                    }));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn confirmed(&self, name: &str, words: &str) -> Result<bool, Stop> {
        eprintln!("{}", Say::RoomWords(&visible_line(name), words).text(self.language));
        let answer = asking::ask_line(&Say::ConfirmWords.text(self.language))?;
        Ok(crate::terminal::chat::means_yes(&answer))
    }

    fn never_reached(&self) -> String {
        Say::NeverReached(&self.server).text(self.language)
    }

    fn not(&self, exit: Exit, say: Say<'_>) -> Outcome {
        Outcome::Not { exit, code: say.code(), why: say.text(self.language) }
    }
}
