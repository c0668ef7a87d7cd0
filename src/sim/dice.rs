//! The randomness of a run: small, fast and its own, so that a seed means the same run whatever crates are updated.

use std::ops::RangeInclusive;
use std::time::Duration;

/// splitmix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        // One draw apart, or the dice of neighbouring seeds would be the same ones, shifted.
        let mut dice = Dice(seed ^ 0x5eed_0fac_1a55);
        Dice(dice.next())
    }

    /// Dice of their own for a part of the run, so that what it draws does not shift the others.
    pub(crate) fn fork(&mut self) -> Dice {
        Dice(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True so many times in a thousand.
    pub(crate) fn per_mille(&mut self, chance: u16) -> bool {
        chance > 0 && self.below(1000) < u64::from(chance)
    }

    pub(crate) fn micros(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_micros(self.within(range))
    }

    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        self.micros(range.start() * 1000..=range.end() * 1000)
    }

    /// One of a few.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Bytes for a seed, a key, a token.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_bounds_and_reach_them() {
        let mut dice = Dice::new(3);
        let draws: Vec<u64> = (0..1000).map(|_| dice.within(5..=7)).collect();
        assert!(draws.iter().all(|draw| (5..=7).contains(draw)));
        assert!([5, 6, 7].iter().all(|wanted| draws.contains(wanted)));
        assert_eq!((dice.below(0), dice.per_mille(0), dice.per_mille(1000)), (0, false, true));
    }

    #[test]
    fn neighbouring_seeds_share_no_draws() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            (0..50).map(|_| dice.next()).collect::<Vec<_>>()
        };
        let (one, two) = (draw(1), draw(2));
        assert!(one.iter().all(|draw| !two.contains(draw)));
    }
}
