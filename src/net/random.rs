//! The operating system's randomness, for seeds: what follows from a seed is the cores' own.

use rand::RngCore as _;
use rand::rngs::OsRng;

/// A seed for a core.
///
/// # Panics
/// When the operating system has no randomness to give: nothing could then be kept secret.
pub fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    seed
}

/// A seed for impairment, where none was given.
///
/// # Panics
/// As [`seed`].
pub fn small_seed() -> u64 {
    OsRng.next_u64()
}
