//! How long a datagram and its ack take: the smoothed round-trip time and what follows from it (RFC 6298; proto.md,
//! section 12).

use std::time::Duration;

use crate::wire::limits::ACK_DELAY;

/// The estimate of one path.
#[derive(Clone, Copy, Debug)]
pub struct Rtt {
    smoothed: Duration,
    variation: Duration,
    sampled: bool,
}

/// Before any sample: a busy Wi-Fi answers within it, and a lost first datagram is not missed for long.
const INITIAL: Duration = Duration::from_millis(100);
/// A clock tick: timers never fire closer than this to the estimate.
const GRANULARITY: Duration = Duration::from_millis(1);
/// No wait grows beyond this: on a LAN a second of silence is long.
pub const MAX_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

impl Default for Rtt {
    fn default() -> Self {
        Rtt { smoothed: INITIAL, variation: INITIAL / 2, sampled: false }
    }
}

impl Rtt {
    /// Takes a sample in: the time from sending to the ack's arrival, less `ack_delay`, which the receiver reports and
    /// which is believed only as far as it leaves a positive time.
    pub fn update(&mut self, elapsed: Duration, ack_delay: Duration) {
        let sample = elapsed.saturating_sub(ack_delay).max(Duration::from_micros(1));
        if self.sampled {
            self.variation = (self.variation * 3 + self.smoothed.abs_diff(sample)) / 4;
            self.smoothed = (self.smoothed * 7 + sample) / 8;
        } else {
            (self.smoothed, self.variation, self.sampled) = (sample, sample / 2, true);
        }
    }

    /// The smoothed round-trip time.
    pub fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// How long to wait for an ack before probing, after `backoff` probes in vain; without jitter.
    pub fn probe_timeout(&self, backoff: u32) -> Duration {
        let base = self.smoothed + (self.variation * 4).max(GRANULARITY) + ACK_DELAY;
        base.saturating_mul(1 << backoff.min(10)).min(MAX_PROBE_TIMEOUT)
    }

    /// What was sent this much before something that is acknowledged is lost (RFC 9002, 6.1.2).
    pub fn reordering(&self) -> Duration {
        self.smoothed * 9 / 8
    }
}

/// Spreads a wait by ±20 %, so that many nodes which lost the same datagram do not ask together. `draw` is any random
/// number.
pub fn jittered(wait: Duration, draw: u32) -> Duration {
    let per_mille = 800 + u64::from(draw) * 401 / (u64::from(u32::MAX) + 1);
    Duration::from_micros(wait.as_micros() as u64 * per_mille / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_replaces_the_guess_and_the_next_ones_smooth_it() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.probe_timeout(0), Duration::from_millis(100 + 200 + 25));
        rtt.update(Duration::from_millis(8), Duration::ZERO);
        assert_eq!((rtt.smoothed(), rtt.variation), (Duration::from_millis(8), Duration::from_millis(4)));
        rtt.update(Duration::from_millis(41), Duration::from_millis(25));
        assert_eq!((rtt.smoothed(), rtt.variation), (Duration::from_millis(9), Duration::from_millis(5)));
    }

    #[test]
    fn waits_double_up_to_a_second() {
        let rtt = Rtt::default();
        assert_eq!(rtt.probe_timeout(1), rtt.probe_timeout(0) * 2);
        assert_eq!(rtt.probe_timeout(40), MAX_PROBE_TIMEOUT);
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        let wait = Duration::from_millis(100);
        assert_eq!(jittered(wait, 0), Duration::from_millis(80));
        assert!(jittered(wait, u32::MAX) <= Duration::from_millis(120));
        assert!(jittered(wait, u32::MAX) > Duration::from_millis(119));
    }
}
