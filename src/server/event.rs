//! What a server asks of whoever drives it.

use crate::record::{Batch, Fetch};

/// Names one question to the store's reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Work outside of the core.
#[derive(Clone, Debug)]
pub enum Event {
    /// Commit this, fsynced, then call `handle_stored`. No other batch comes before.
    Store(Batch),
    /// Read this, then call `handle_fetched`.
    Fetch(FetchId, Fetch),
    /// A line for the key log, if one is kept.
    KeyLog(String),
}
