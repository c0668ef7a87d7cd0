//! The simulated LAN: the very server and clients of the product, on a network and on disks that fail as one likes, in
//! virtual time. A run follows from its seed alone, and is checked from beginning to end.
//!
//! [`run`] plays one seed: 2 to 50 members, 200 messages, half a minute; loss to 50 %, duplicates, reordering, delay,
//! partitions, changed addresses, failing disks; servers and programs that die and come back. Then the weather clears,
//! and everything must come to its end: each member was shown every stored message exactly once and in order, what was
//! told stored is stored, each author's order is kept, nobody saw a private message of others, and nobody has a timer
//! left.

mod device;
mod device_side;
mod dice;
mod disk;
mod network;
mod plan;
mod profile;
mod queue;
mod script;
mod server_side;
mod watch;
mod world;

use crate::now::Instant;

/// A mistake planted on purpose, so that it shows that the checker sees. The product has none of these switches: they
/// are in what surrounds its cores here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The server is told that a batch is on disk before it is: a crash loses what was acknowledged.
    AcknowledgeEarly,
    /// The store forgets, when it is read back, the newest submission of an outbox: a resend is stored twice.
    StoreTwice,
    /// The store answers with another member's letters.
    MisplaceLetters,
    /// A profile gives its outbox back in another order.
    TurnOrder,
}

/// A run in which every promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Accounts at the end.
    pub members: usize,
    /// Messages written.
    pub messages: usize,
    /// How long it took those who took part, in milliseconds.
    pub virtual_ms: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Datagrams the network lost.
    pub lost: u64,
    /// A mix of everything that happened: the same for the same seed.
    pub trace: u64,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, {:.3} s: {what}\nPlay it again: PREAU_SIM_SEED={seed} cargo test --release --test sim, or preau sim --from {seed} --seeds 1", at.0 as f64 / 1e6)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// When, in virtual time.
    pub at: Instant,
    /// In words.
    pub what: String,
}

/// Plays one seed, with a bug planted or (in earnest) none.
///
/// # Errors
/// The first promise that was not kept.
pub fn run(seed: u64, bug: Option<Bug>) -> Result<Report, Failure> {
    world::World::new(seed, bug).run().map_err(|(at, what)| Failure { seed, at, what })
}
