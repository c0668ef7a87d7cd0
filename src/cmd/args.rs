//! Options that several subcommands share.

use std::path::PathBuf;

use clap::Args;

use crate::client::Trust;
use crate::impair::Impairment;
use crate::net::link::Worse;
use crate::net::random;
use crate::proto::keys::PIN_WORDS;
use crate::terminal::words::Language;

/// Which account, at which server.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// The server: HOST, HOST:PORT or [IPV6]:PORT (port 26262 unless given)
    #[arg(long, value_name = "ADDRESS")]
    pub(super) server: String,
    /// Your username
    #[arg(long, value_name = "NAME")]
    pub(super) user: String,
    /// A file whose contents are the password (one line break at its end is not part of it); else PREAU_PASSWORD, else
    /// it is asked for, unseen
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// What to make of a server whose key is not known yet: "first-use" trusts it, six words must be its own; without
    /// this you are asked
    #[arg(long, value_name = "first-use|\"SIX WORDS\"", value_parser = trust)]
    pub(super) trust: Option<Trust>,
    /// Where this account's outbox and the server's key are kept; unless given, a directory for each server and user
    #[arg(long, value_name = "DIR")]
    pub(super) profile: Option<PathBuf>,
    /// One JSON object a line on standard output
    #[arg(long)]
    pub(super) json: bool,
}

fn trust(text: &str) -> Result<Trust, String> {
    if text == "first-use" {
        return Ok(Trust::FirstUse);
    }
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).count();
    if words == PIN_WORDS {
        Ok(Trust::Words(text.to_owned()))
    } else {
        Err("it is \"first-use\" or the six words on the server's screen".into())
    }
}

/// How to make the network worse on purpose.
#[derive(Debug, Args)]
#[command(next_help_heading = "A worse network, on purpose (drawn once for each datagram sent and each received)")]
pub(super) struct Impair {
    /// Lose this many of a hundred
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    loss: f64,
    /// Delay by this many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = milliseconds())]
    delay: u64,
    /// Delay further, by up to this many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = milliseconds())]
    jitter: u64,
    /// Double this many of a hundred
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    duplicate: f64,
    /// Hold this many of a hundred back, so that later ones overtake them
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    reorder: f64,
    /// Draw the same each time
    #[arg(long, value_name = "N")]
    impairment_seed: Option<u64>,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("it is a number from 0 to 100".into()),
    }
}

/// Up to a minute: a longer delay is no network any more.
fn milliseconds() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(0..=60_000)
}

impl Impair {
    /// For a link.
    pub(super) fn worse(&self) -> Worse {
        let impairment = Impairment {
            loss_percent: self.loss,
            delay_ms: self.delay,
            jitter_ms: self.jitter,
            duplicate_percent: self.duplicate,
            reorder_percent: self.reorder,
        };
        Worse { impairment, seed: self.impairment_seed.unwrap_or_else(random::small_seed) }
    }
}

/// What is done to a link, in words; None where nothing is.
pub(super) fn in_words(worse: &Worse, language: Language) -> Option<String> {
    let Impairment { loss_percent, delay_ms, jitter_ms, duplicate_percent, reorder_percent } = worse.impairment;
    if worse.impairment.is_off() {
        return None;
    }
    let (loss, delay, jitter, duplicate, reorder) = match language {
        Language::English => ("loss", "delay", "jitter", "duplicates", "reordering"),
        Language::French => ("pertes", "délai", "gigue", "doublons", "désordre"),
    };
    let parts = [
        (loss_percent > 0.0).then(|| format!("{loss} {loss_percent} %")),
        (delay_ms > 0).then(|| format!("{delay} {delay_ms} ms")),
        (jitter_ms > 0).then(|| format!("{jitter} {jitter_ms} ms")),
        (duplicate_percent > 0.0).then(|| format!("{duplicate} {duplicate_percent} %")),
        (reorder_percent > 0.0).then(|| format!("{reorder} {reorder_percent} %")),
        Some(format!("--impairment-seed {}", worse.seed)),
    ];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}
