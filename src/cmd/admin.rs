//! `preau admin`: looking after a room's data. Works beside a running server, which notices by itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use rand::{RngCore as _, SeedableRng as _};

use super::Stop;
use crate::net::random;
use crate::now::WallMs;
use crate::proto::keys::ServerKeys;
use crate::proto::opaque;
use crate::proto::rng::Rng;
use crate::record::{Account, Batch, Loaded, Op, Role, Stored};
use crate::store::{self, ServerStore, StoreError};
use crate::terminal::exit::Exit;
use crate::terminal::words::{Language, Say};
use crate::text::name::name_key;
use crate::text::show::visible_line;

/// The options of `preau admin`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The room's data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all accounts: id, username, first and last name, role
    Users,
    /// Print a code by which a user sets a new password (`preau account recover`), once, within a day
    ResetCode {
        /// Username
        user: String,
    },
    /// Give the teacher's role
    Teacher {
        /// Username
        user: String,
        /// Take it instead
        #[arg(long)]
        revoke: bool,
    },
    /// End all of a user's sessions: they must sign in again
    Revoke {
        /// Username
        user: String,
    },
    /// Shut an account out for good; its messages stay
    Remove {
        /// Username
        user: String,
    },
    /// Save everything, keys included, to one new file
    Backup {
        /// The file
        file: PathBuf,
    },
    /// Bring a backup back into an empty or absent data directory
    Restore {
        /// The file
        file: PathBuf,
    },
    /// Look for damage
    Check,
}

/// How long a reset code serves: a teacher gives it in a lesson.
const RESET_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long a change may wait for another program's: the store tries for 5 s itself.
const BUSY_TRIES: usize = 3;

/// Does it.
pub(super) fn run(args: Args, language: Language) -> Result<Exit, Stop> {
    let dir = args.data.as_path();
    let said = match args.action {
        Action::Users => return users(dir),
        Action::Check => return check(dir, language),
        Action::ResetCode { user } => reset_code(dir, &user, language)?,
        Action::Teacher { user, revoke } => {
            let role = if revoke { Role::Member } else { Role::Teacher };
            let name = change(dir, &user, language, |account| Op::Role(account.id, role))?;
            Say::RoleSet(&name, role).text(language)
        }
        Action::Revoke { user } => {
            let name = change(dir, &user, language, |account| Op::RevokeTokens(account.id))?;
            Say::SessionsRevoked(&name).text(language)
        }
        Action::Remove { user } => {
            let name = change(dir, &user, language, |account| Op::Remove(account.id))?;
            Say::Removed(&name).text(language)
        }
        Action::Backup { file } => {
            store::backup(dir, &file).map_err(stop)?;
            Say::BackedUp(&file.display().to_string()).text(language)
        }
        Action::Restore { file } => {
            store::restore(&file, dir).map_err(stop)?;
            Say::Restored(&file.display().to_string()).text(language)
        }
    };
    println!("{said}");
    Ok(Exit::Done)
}

/// What was named wrongly is a usage error; the rest is the machine's.
fn stop(error: StoreError) -> Stop {
    match error {
        StoreError::NoData(_) | StoreError::Exists(_) | StoreError::NotEmpty(_) | StoreError::NotABackup(_) => {
            Stop::usage(error)
        }
        error => Stop::failed(error),
    }
}

fn users(dir: &Path) -> Result<Exit, Stop> {
    let (_store, loaded) = ServerStore::open_existing(dir).map_err(stop)?;
    for account in &loaded.accounts {
        let role = match (account.removed, account.role) {
            (true, _) => "removed",
            (false, Role::Teacher) => "teacher",
            (false, Role::Member) => "member",
        };
        let (first, last) = (visible_line(&account.first_name), visible_line(&account.last_name));
        println!("{}\t{}\t{first}\t{last}\t{role}", account.id, visible_line(&account.username));
    }
    Ok(Exit::Done)
}

fn check(dir: &Path, language: Language) -> Result<Exit, Stop> {
    let wrong = store::check(dir).map_err(stop)?;
    wrong.iter().for_each(|what| println!("{what}"));
    if wrong.is_empty() {
        println!("{}", Say::CheckedWell.text(language));
        return Ok(Exit::Done);
    }
    Ok(Exit::Failed)
}

#[expect(clippy::disallowed_methods, reason = "cmd reads clocks")]
fn wall() -> WallMs {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallMs(now.as_millis() as u64)
}

fn reset_code(dir: &Path, user: &str, language: Language) -> Result<String, Stop> {
    let bytes = store::read_keys(dir).map_err(stop)?.ok_or_else(|| stop(StoreError::NoKeys(dir.to_owned())))?;
    let keys = ServerKeys::from_bytes(&bytes).map_err(Stop::failed)?;
    let mut rng = Rng::from_seed(random::seed());
    let code = opaque::reset_code(&mut rng);
    let mut identifier = [0; 16];
    rng.fill_bytes(&mut identifier);
    let credential = opaque::register_code(&keys, &mut rng, &code, identifier);
    let expires = WallMs(wall().0 + RESET_LIFETIME.as_millis() as u64);
    let name = change(dir, user, language, |account| Op::Reset { user: account.id, code: credential, expires })?;
    Ok(Say::ResetCode(&name, &code, RESET_LIFETIME.as_secs() / 3600).text(language))
}

/// Makes one change to one account, and gives its name as it is.
fn change(dir: &Path, user: &str, language: Language, op: impl FnOnce(&Account) -> Op) -> Result<String, Stop> {
    let (mut store, loaded) = ServerStore::open_existing(dir).map_err(stop)?;
    let account =
        find(&loaded, user).ok_or_else(|| Stop::usage(Say::NoSuchAccount(&visible_line(user)).text(language)))?;
    let batch = Batch(vec![op(account)]);
    let name = visible_line(&account.username).into_owned();
    let mut why = String::new();
    for _ in 0..BUSY_TRIES {
        match store.commit(&batch) {
            Stored::Done => return Ok(name),
            Stored::Failed { reason, .. } => why = reason,
        }
    }
    Err(Stop::failed(why))
}

/// By username now; a removed account is not changed any more.
fn find<'a>(loaded: &'a Loaded, user: &str) -> Option<&'a Account> {
    let key = name_key(user);
    loaded.accounts.iter().find(|account| account.name_key == key && !account.removed)
}
