//! How a run of this program ends, as its exit code says.

/// The exit codes of `preau chat` and `preau account`; `preau serve` and `preau admin` use 0, 1 and 2 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Done = 0,
    /// The machine failed: a disk, a socket.
    Failed = 1,
    /// The command line asks for what cannot be.
    Usage = 2,
    /// The server does not let this account in, or threw it out.
    Refused = 3,
    /// The server was never reached.
    NeverReached = 4,
    /// The server's key is unknown and nobody could be asked, or it is not the one known.
    Key = 5,
    /// Messages were left unsent; those that were queued are in the profile and go out next time.
    Unsent = 6,
    /// Another process has the profile.
    InUse = 7,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}
