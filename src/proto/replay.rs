//! The sliding window that drops what was seen or is too old (proto.md, section 2).

use crate::wire::limits::REPLAY_WINDOW;

const WORDS: usize = (REPLAY_WINDOW / 64) as usize;

/// The counters of one direction of one session: the highest seen, and which of the [`REPLAY_WINDOW`] before it were.
/// Counters start at 1, so that 0 counts as seen from the beginning.
#[derive(Clone, Debug, Default)]
pub struct Window {
    highest: u64,
    /// Bit `counter % REPLAY_WINDOW` for each counter below the highest; the highest itself is implied.
    seen: [u64; WORDS],
}

/// What a counter is to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not seen yet.
    Fresh,
    /// Seen before.
    Replayed,
    /// Before the window: nobody knows.
    TooOld,
}

impl Window {
    /// What this counter would be; changes nothing, since its datagram is not authenticated yet.
    pub fn place(&self, counter: u64) -> Place {
        match self.highest.checked_sub(counter) {
            None => Place::Fresh,
            Some(0) => Place::Replayed,
            Some(behind) if behind > REPLAY_WINDOW => Place::TooOld,
            Some(_) if self.bit(counter) => Place::Replayed,
            Some(_) => Place::Fresh,
        }
    }

    /// Takes a fresh counter as seen, once its datagram's tag has verified.
    pub fn mark(&mut self, counter: u64) {
        if counter <= self.highest {
            self.set(counter, true);
            return;
        }
        if counter - self.highest > REPLAY_WINDOW {
            self.seen = [0; WORDS];
        } else {
            self.set(self.highest, true);
            for skipped in self.highest + 1..counter {
                self.set(skipped, false);
            }
        }
        self.highest = counter;
    }

    fn bit(&self, counter: u64) -> bool {
        let (word, mask) = position(counter);
        self.seen[word] & mask != 0
    }

    fn set(&mut self, counter: u64, seen: bool) {
        let (word, mask) = position(counter);
        if seen { self.seen[word] |= mask } else { self.seen[word] &= !mask }
    }
}

fn position(counter: u64) -> (usize, u64) {
    let slot = counter % REPLAY_WINDOW;
    ((slot / 64) as usize, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{Rng as _, SeedableRng};

    use super::*;
    use crate::proto::rng::Rng;

    #[test]
    fn the_edges_of_the_window() {
        let mut window = Window::default();
        assert_eq!(window.place(0), Place::Replayed, "counters start at 1");
        assert_eq!(window.place(1), Place::Fresh);
        window.mark(REPLAY_WINDOW + 1);
        assert_eq!(window.place(REPLAY_WINDOW + 1), Place::Replayed);
        assert_eq!(window.place(1), Place::Fresh, "the oldest of the window");
        assert_eq!(window.place(0), Place::TooOld);
        window.mark(1);
        assert_eq!(window.place(1), Place::Replayed);
        window.mark(REPLAY_WINDOW + 2);
        assert_eq!(window.place(1), Place::TooOld);
        assert_eq!(window.place(REPLAY_WINDOW + 1), Place::Replayed);
        window.mark(u64::MAX);
        assert_eq!(window.place(u64::MAX), Place::Replayed);
        assert_eq!(window.place(u64::MAX - 1), Place::Fresh);
        assert_eq!(window.place(u64::MAX - REPLAY_WINDOW), Place::Fresh);
        assert_eq!(window.place(u64::MAX - REPLAY_WINDOW - 1), Place::TooOld);
    }

    #[test]
    fn the_window_agrees_with_a_plain_set() {
        for seed in 0..20 {
            let mut rng = Rng::seed_from_u64(seed);
            let mut window = Window::default();
            let mut set = BTreeSet::from([0u64]);
            let mut highest = 0u64;
            for step in 0..4000 {
                let counter = match rng.gen_range(0..20) {
                    0 => highest + rng.gen_range(1..3 * REPLAY_WINDOW),
                    1 => highest + REPLAY_WINDOW + rng.gen_range(0..3) - 1,
                    2..10 => highest + rng.gen_range(0..4),
                    10 => (highest + 2).saturating_sub(REPLAY_WINDOW + rng.gen_range(0..4)),
                    _ => highest.saturating_sub(rng.gen_range(0..REPLAY_WINDOW + 8)),
                };
                let expected = if highest.saturating_sub(counter) > REPLAY_WINDOW {
                    Place::TooOld
                } else if set.contains(&counter) {
                    Place::Replayed
                } else {
                    Place::Fresh
                };
                assert_eq!(window.place(counter), expected, "seed {seed}, step {step}, {counter} of {highest}");
                if expected == Place::Fresh && rng.gen_bool(0.8) {
                    window.mark(counter);
                    set.insert(counter);
                    highest = highest.max(counter);
                }
            }
        }
    }
}
