//! `preau serve`: the server of a room, alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use serde::Serialize;

use super::args::{self, Impair};
use super::{Stop, profile};
use crate::net::clock::Clock;
use crate::net::key_log::KeyLog;
use crate::net::link::Link;
use crate::net::room::{Room, Told};
use crate::net::signal::Asked;
use crate::net::{random, socket};
use crate::proto::keys::ServerKeys;
use crate::proto::rng::Rng;
use crate::proto::suite::Suite;
use crate::server::{Config, Server};
use crate::store::{self, DirLock, ServerStore};
use crate::terminal::exit::Exit;
use crate::terminal::words::{Language, Say};
use crate::text::show::visible_line;
use crate::wire::limits::{ROOM_NAME, SERVER_PORT};

/// The options of `preau serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address and port to listen at; [::]:26262 is all of this machine's
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:26262", value_parser = bind)]
    bind: SocketAddr,
    /// Where accounts, messages and the room's keys are kept; made on first start
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The room's name, as members see it
    #[arg(long, default_value = "Préau", value_parser = name)]
    name: String,
    /// Do not announce the room on the LAN (this version never does)
    #[arg(long)]
    no_discovery: bool,
    /// Seal the room too: nobody but its members reads it on the network
    #[arg(long)]
    sealed: bool,
    /// Messages a second a member may send after a burst of 200; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 20)]
    rate: u32,
    /// Write every session's keys to this file, so that captures can be read; members are told
    #[arg(long, value_name = "FILE")]
    key_log: Option<PathBuf>,
    /// Say where the room is as one JSON object on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    impair: Impair,
}

fn bind(text: &str) -> Result<SocketAddr, String> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let ip = text.trim_start_matches('[').trim_end_matches(']').parse();
    ip.map(|ip| SocketAddr::new(ip, SERVER_PORT)).map_err(|_| "it is an IP address and a port, as 0.0.0.0:26262".into())
}

fn name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("the name is empty".into()),
        text if text.chars().count() > ROOM_NAME => Err(format!("the name has more than {ROOM_NAME} characters")),
        text => Ok(text.to_owned()),
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Shown<'a> {
    Listening { address: String, words: &'a [&'a str] },
}

/// Serves until asked to end.
pub(super) async fn run(args: Args, language: Language) -> Result<Exit, Stop> {
    let mut asked = Asked::listen().map_err(Stop::failed)?;
    let dir = match &args.data {
        Some(dir) => dir.clone(),
        None => profile::data_dir(language, "--data")?.join("room"),
    };
    let _lock = lock(&dir, language)?;
    let socket = socket::bind_server(args.bind).map_err(|error| Stop::failed(format!("{}: {error}", args.bind)))?;
    let (store, loaded) = ServerStore::open(&dir).map_err(Stop::failed)?;
    let keys = keys(&dir)?;
    let key_log = open_key_log(args.key_log.as_deref())?;
    let worse = args.impair.worse();

    let config = Config {
        name: args.name.clone(),
        sealed: args.sealed,
        rate: (args.rate > 0).then_some(args.rate),
        key_log: key_log.is_some(),
    };
    let words = keys.public().pin().words();
    let clock = Clock::start();
    let server = Server::new(config, keys, loaded, random::seed(), clock.now());
    let link = Link::new(socket, worse).map_err(Stop::failed)?;
    let room = Room::new(server, link, store, clock, key_log).map_err(Stop::failed)?;

    let say = |say: Say<'_>| eprintln!("{}", say.text(language));
    if let Some(how) = args::in_words(&worse, language) {
        say(Say::Impaired(&how));
    }
    if args.key_log.is_some() {
        say(Say::ServerKeyLog);
    }
    let address = socket::reachable(room.local_addr().map_err(Stop::failed)?).to_string();
    if args.json {
        let listening = Shown::Listening { address, words: &words };
        println!("{}", serde_json::to_string(&listening).map_err(Stop::failed)?);
    } else {
        println!("{}", Say::Listening(&visible_line(&args.name), &address).text(language));
        println!("{}", Say::TheWords(&words.join(" ")).text(language));
    }
    room.run(&mut asked, |told| match told {
        Told::NotStoring(why) => say(Say::StoreFailed(&why)),
        Told::Storing => say(Say::Storing),
    })
    .await;
    if !args.json {
        println!("{}", Say::Closing.text(language));
    }
    Ok(Exit::Done)
}

/// One server a directory.
fn lock(dir: &Path, language: Language) -> Result<DirLock, Stop> {
    let in_use = || Stop::failed(Say::DataInUse(&dir.display().to_string()).text(language));
    store::lock_dir(dir).map_err(Stop::failed)?.ok_or_else(in_use)
}

/// The room's keys, made on first start.
fn keys(dir: &Path) -> Result<ServerKeys, Stop> {
    if let Some(bytes) = store::read_keys(dir).map_err(Stop::failed)? {
        let told = |error| Stop::failed(format!("{}: {error}", dir.join(store::KEYS_FILE).display()));
        return ServerKeys::from_bytes(&bytes).map_err(told);
    }
    let keys = ServerKeys::generate(Suite::Real, &mut Rng::from_seed(random::seed()));
    store::write_keys(dir, &keys.to_bytes()).map_err(Stop::failed)?;
    Ok(keys)
}

/// Opens a key log where one was asked for.
pub(super) fn open_key_log(path: Option<&Path>) -> Result<Option<KeyLog>, Stop> {
    let open = |path: &Path| KeyLog::open(path).map_err(|error| Stop::usage(format!("{}: {error}", path.display())));
    path.map(open).transpose()
}
