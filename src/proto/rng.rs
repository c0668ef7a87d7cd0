//! The one kind of randomness of the cores: given by the caller, seeded, so that a run can be played again.

use rand::{RngCore, SeedableRng};

/// What every core draws from. The product seeds it from the operating system, the simulator from its seed.
pub type Rng = rand_chacha::ChaCha12Rng;

/// A generator of its own for work that runs elsewhere, seeded from `rng`.
pub fn fork(rng: &mut Rng) -> Rng {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    Rng::from_seed(seed)
}
