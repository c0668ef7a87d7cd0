//! The command line: one file a subcommand, and what they share. With `net`, the only place that knows the operating
//! system.

mod account;
mod admin;
mod args;
mod asking;
mod chat;
mod input;
mod output;
mod profile;
mod serve;
mod sim;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::terminal::exit::Exit;
use crate::terminal::words::Language;

/// A chat for a classroom LAN that lets you watch the network work.
#[derive(Debug, Parser)]
#[command(name = "preau", version, about, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the machine failed, 2 usage, 3 refused by the server, 4 server never \
reached, 5 the server's key is unknown or changed, 6 messages left unsent, 7 profile in use.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server of a room
    Serve(serve::Args),
    /// Chat in this terminal, or from a script
    Chat(chat::Args),
    /// Register, recover a password, change it, take another name
    Account(account::Args),
    /// Look after a room's data, also while its server runs
    Admin(admin::Args),
    /// Play simulated LANs that lose, cut off and crash, and check that nothing is lost, doubled or reordered
    Sim(sim::Args),
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    // Before any thread is there: the system's own answer is not safe to ask for later.
    let offset = time::UtcOffset::current_local_offset().unwrap_or(time::UtcOffset::UTC);
    let cli = Cli::parse();
    let quiet = EnvFilter::try_from_env("PREAU_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Windows's console shows colours only to programs that switch them on, and a file should never have them.
    let colours = cfg!(unix) && io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(quiet).with_ansi(colours).with_writer(io::stderr).init();
    let language = Language::of_locale(|name| std::env::var(name).ok());
    let exit = match cli.command {
        Command::Serve(args) => in_runtime(serve::run(args, language)),
        Command::Chat(args) => in_runtime(chat::run(args, language, offset)),
        Command::Account(args) => in_runtime(account::run(args, language)),
        Command::Admin(args) => admin::run(args, language),
        Command::Sim(args) => Ok(sim::run(&args)),
    };
    exit.unwrap_or_else(Stop::told).into()
}

fn in_runtime(command: impl Future<Output = Result<Exit, Stop>>) -> Result<Exit, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Stop::failed)?.block_on(command)
}

/// Why a command cannot go on: its exit code, and what to say on standard error.
#[derive(Debug)]
struct Stop {
    exit: Exit,
    why: String,
}

impl Stop {
    fn new(exit: Exit, why: impl ToString) -> Stop {
        Stop { exit, why: why.to_string() }
    }

    fn failed(why: impl ToString) -> Stop {
        Stop::new(Exit::Failed, why)
    }

    fn usage(why: impl ToString) -> Stop {
        Stop::new(Exit::Usage, why)
    }

    fn told(self) -> Exit {
        eprintln!("preau: {}", self.why);
        self.exit
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_lines_of_the_contract_are_understood() {
        for line in [
            "preau serve --bind 127.0.0.1:0 --data d --name Salle --no-discovery --sealed --rate 0 --key-log k --json",
            "preau serve --loss 30 --delay 5 --jitter 3 --duplicate 1.5 --reorder 2 --impairment-seed 7",
            "preau account register --server h --user u --first-name F --last-name L --password-file p --trust first-use \
             --profile d --json",
            "preau account recover --server h --user u --code C --new-password-file p",
            "preau account password --server h --user u --password-file p --new-password-file q",
            "preau account rename --server h --user u --password-file p --new-name v",
            "preau chat --server h --user u --password-file p --trust a-b-c-d-e-f --profile d --key-log k --wait 5 --json \
             --loss 30 --impairment-seed 1",
            "preau admin --data d users",
            "preau admin --data d reset-code u",
            "preau admin --data d teacher u --revoke",
            "preau admin --data d backup f",
        ] {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        for line in [
            "preau chat --user u",
            "preau serve --loss 101",
            "preau serve --loss -1",
            "preau serve --loss NaN",
            "preau chat --server h --user u --trust one-two",
            "preau account",
            "preau nonsense",
        ] {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_err(), "{line}");
        }
    }
}
