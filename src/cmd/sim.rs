//! `preau sim`: plays simulated LANs and says how many a second.

use crate::sim;
use crate::terminal::exit::Exit;

/// Which runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed; the others follow it
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Go on after a failure, and say at the end how many there were
    #[arg(long)]
    keep_going: bool,
}

/// Runs the command: done when every promise was kept in every run.
pub fn run(args: &Args) -> Exit {
    #[expect(clippy::disallowed_methods, reason = "a benchmark's stopwatch; the runs themselves have virtual time")]
    let began = std::time::Instant::now();
    let (mut failures, mut played, mut virtual_ms, mut datagrams, mut lost) = (0u64, 0u64, 0, 0, 0);
    let (mut members, mut messages) = (Vec::new(), 0);
    for seed in args.from..args.from.saturating_add(args.seeds) {
        played += 1;
        match sim::run(seed, None) {
            Ok(report) => {
                virtual_ms += report.virtual_ms;
                datagrams += report.datagrams;
                lost += report.lost;
                messages += report.messages;
                members.push(report.members);
            }
            Err(failure) => {
                failures += 1;
                println!("{failure}");
                if !args.keep_going {
                    break;
                }
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    members.sort_unstable();
    println!(
        "{played} seeds in {took:.1} s: {:.0} seeds/s; {failures} failed; {} members (median), {messages} messages, \
         {} virtual seconds, {datagrams} datagrams of which {lost} were lost",
        played as f64 / took,
        members.get(members.len() / 2).copied().unwrap_or(0),
        virtual_ms / 1000,
    );
    if failures == 0 { Exit::Done } else { Exit::Failed }
}
