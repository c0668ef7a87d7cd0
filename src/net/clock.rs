//! The two clocks of this process, as values for the cores.

use std::time::{Duration, SystemTime};

use crate::now::{Instant, Now, WallMs};

/// Reads both clocks; monotonic time counts from the clock's making, plus one second, so that a core may subtract.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
}

/// What the clock shows when it is made.
const START: Duration = Duration::from_secs(1);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock { origin: tokio::time::Instant::now() }
    }

    /// What time it is, on both clocks.
    #[expect(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono: Instant::default() + START + self.origin.elapsed(), wall: WallMs(wall.as_millis() as u64) }
    }

    /// When a deadline of a core is for the timers of tokio.
    pub fn deadline(&self, at: Instant) -> tokio::time::Instant {
        self.origin + at.since(Instant::default() + START)
    }

    /// Sleeps until a deadline of a core; for ever where there is none.
    pub async fn sleep_until(&self, at: Option<Instant>) {
        match at {
            Some(at) => tokio::time::sleep_until(self.deadline(at)).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeping_until_a_deadline_ends_after_it() {
        let clock = Clock::start();
        let due = clock.now().mono + Duration::from_millis(5);
        clock.sleep_until(Some(due)).await;
        assert!(clock.now().mono >= due);
        assert!(clock.now().wall > WallMs(1_700_000_000_000));
    }
}
