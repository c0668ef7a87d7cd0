//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    preau::cmd::run()
}
