//! What is on disk: the server's database and the client's profile, both SQLite.
//!
//! [`ServerStore`] turns a [`Batch`](crate::record::Batch) into one transaction and reads everything back;
//! [`Reader`] answers questions beside it; [`Writer`] gives each a thread. [`ProfileStore`] is a client's outbox
//! and memory. Backup, restore and the check of a data directory are here too, since they know the tables. What a
//! batch means is in [`record`](crate::record); when one is committed is the core's affair.

mod apply;
mod backup;
mod error;
mod fetch;
mod files;
mod load;
mod profile;
mod search;
mod server;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use backup::{backup, check, restore};
pub use error::{ProfileError, StoreError};
pub use fetch::Reader;
pub use files::{DATABASE_FILE, DirLock, KEYS_FILE, lock_dir, read_keys, write_keys};
pub use profile::ProfileStore;
pub use server::ServerStore;
pub use writer::{FetchId, SpawnError, StoreEvent, Writer};
