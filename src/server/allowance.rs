//! How often something may happen: a burst at once, then one in a time. Used wherever a peer could ask too much.

use std::time::Duration;

use crate::now::Instant;

/// A burst, and one more each `every`. A spent one costs `every` of saved-up time.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    every: Duration,
    most: Duration,
    saved: Duration,
    at: Instant,
}

impl Allowance {
    /// Full: `burst` may happen at once.
    pub fn new(now: Instant, burst: u32, every: Duration) -> Allowance {
        let most = every * burst;
        Allowance { every, most, saved: most, at: now }
    }

    /// One happens now; the Err is how long until it may.
    pub fn spend(&mut self, now: Instant) -> Result<(), Duration> {
        self.saved = (self.saved + now.since(self.at)).min(self.most);
        self.at = self.at.max(now);
        match self.saved.checked_sub(self.every) {
            Some(left) => {
                self.saved = left;
                Ok(())
            }
            None => Err(self.every - self.saved),
        }
    }

    /// When one may happen, if none does before.
    pub fn next(&self) -> Instant {
        self.at + self.every.saturating_sub(self.saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_in_a_time() {
        let mut allowance = Allowance::new(Instant(0), 3, Duration::from_millis(50));
        (0..3).for_each(|_| allowance.spend(Instant(0)).unwrap());
        assert_eq!(allowance.spend(Instant(10_000)), Err(Duration::from_millis(40)));
        assert_eq!(allowance.next(), Instant(50_000));
        allowance.spend(Instant(50_000)).unwrap();
        assert!(allowance.spend(Instant(50_000)).is_err());
    }

    #[test]
    fn no_more_than_the_burst_is_saved_up() {
        let mut allowance = Allowance::new(Instant(0), 2, Duration::from_secs(600));
        let much_later = Instant(1 << 40);
        assert_eq!((0..9).filter(|_| allowance.spend(much_later).is_ok()).count(), 2);
    }
}
