//! A worse network on purpose: loss, delay, jitter, duplicates, reordering; seeded, so that a run can be played again.
//!
//! An [`Impairer`] stands in one direction of one node. It knows no socket and no clock: `net` puts it between a core
//! and its socket, `sim` between two cores. Each knob does one thing: jitter alone keeps the order.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

use crate::now::Instant;

/// What is done to each datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// How many of a hundred are lost. 30 is a bad Wi-Fi.
    pub loss_percent: f64,
    /// How long each takes longer, in milliseconds. 50 is another continent.
    pub delay_ms: u64,
    /// Up to how much longer still, drawn evenly, in milliseconds; what was sent first still arrives first.
    pub jitter_ms: u64,
    /// How many of a hundred arrive twice.
    pub duplicate_percent: f64,
    /// How many of a hundred are held back so that what follows overtakes them.
    pub reorder_percent: f64,
}

impl Impairment {
    /// Whether nothing at all is done.
    pub fn is_off(&self) -> bool {
        *self == Impairment::default()
    }
}

/// How long a reordered datagram is held back at most: longer than a burst takes, shorter than a probe timeout.
const HELD_BACK_MAX: Duration = Duration::from_millis(20);
/// How long it is held back at least: what is sent in the same turn of a loop passes it.
const HELD_BACK_MIN: Duration = Duration::from_millis(2);
/// How many datagrams are under way at a time: 20 MB, 10 s of delay at 1,600 a second. Beyond it the new one is lost,
/// as in a router's full queue.
const UNDER_WAY: usize = 16_384;

/// One direction of one node.
#[derive(Debug)]
pub struct Impairer {
    impairment: Impairment,
    off: bool,
    rng: ChaCha12Rng,
    /// When nothing is done: first in, first out.
    passing: VecDeque<(Vec<u8>, SocketAddr)>,
    /// By when they are due, then by when they came.
    under_way: BTreeMap<(Instant, u64), (Vec<u8>, SocketAddr)>,
    came: u64,
    /// When the last of those that keep their order is due.
    due_in_order: Instant,
    lost: u64,
}

impl Impairer {
    /// Does as `impairment` says; two with the same seed draw the same.
    pub fn new(impairment: Impairment, seed: u64) -> Impairer {
        Impairer {
            impairment,
            off: impairment.is_off(),
            rng: ChaCha12Rng::seed_from_u64(seed),
            passing: VecDeque::new(),
            under_way: BTreeMap::new(),
            came: 0,
            due_in_order: Instant::default(),
            lost: 0,
        }
    }

    /// Whether it does nothing: a driver then need not hand its datagrams over at all.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// How many datagrams were lost on purpose.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a datagram to or from `addr`. Everything about it is drawn here, once.
    pub fn push(&mut self, now: Instant, datagram: Vec<u8>, addr: SocketAddr) {
        if self.off {
            self.passing.push_back((datagram, addr));
            return;
        }
        // All draws are made for every datagram, so that what one of them decides does not shift the others.
        let lost = self.happens(self.impairment.loss_percent);
        let doubled = self.happens(self.impairment.duplicate_percent);
        let reordered = self.happens(self.impairment.reorder_percent);
        let jitter = Duration::from_micros(self.rng.gen_range(0..=self.impairment.jitter_ms.saturating_mul(1000)));
        let held_back = self.rng.gen_range(HELD_BACK_MIN..=HELD_BACK_MAX);

        if lost || self.under_way.len() + usize::from(doubled) >= UNDER_WAY {
            self.lost += 1;
            return;
        }
        let due = now + Duration::from_millis(self.impairment.delay_ms) + jitter;
        let due = if reordered {
            due.max(self.due_in_order) + held_back
        } else {
            self.due_in_order = due.max(self.due_in_order);
            self.due_in_order
        };
        if doubled {
            self.hold(due, datagram.clone(), addr);
        }
        self.hold(due, datagram, addr);
    }

    /// The next datagram that is due.
    pub fn poll(&mut self, now: Instant) -> Option<(Vec<u8>, SocketAddr)> {
        if self.off {
            return self.passing.pop_front();
        }
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When [`Impairer::poll`] has something; None while nothing is under way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.passing.is_empty() {
            return Some(Instant::default());
        }
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    fn hold(&mut self, due: Instant, datagram: Vec<u8>, addr: SocketAddr) {
        self.came += 1;
        self.under_way.insert((due, self.came), (datagram, addr));
    }

    fn happens(&mut self, percent: f64) -> bool {
        self.rng.gen_range(0.0..100.0) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> SocketAddr {
        "127.0.0.1:26262".parse().unwrap()
    }

    fn at(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    /// Pushes `count` numbered datagrams a millisecond apart and polls until nothing is left; what came, in order.
    fn run(impairment: Impairment, seed: u64, count: u32) -> Vec<(u64, u32)> {
        let mut impairer = Impairer::new(impairment, seed);
        let mut arrived = Vec::new();
        let mut ms = 0;
        while ms < u64::from(count) || impairer.poll_timeout().is_some() {
            if ms < u64::from(count) {
                impairer.push(at(ms), (ms as u32).to_be_bytes().to_vec(), addr());
            }
            while let Some((datagram, _)) = impairer.poll(at(ms)) {
                arrived.push((ms, u32::from_be_bytes(datagram.try_into().unwrap())));
            }
            ms += 1;
        }
        arrived
    }

    #[test]
    fn off_passes_everything_at_once_and_in_order() {
        let arrived = run(Impairment::default(), 1, 100);
        assert_eq!(arrived, (0..100).map(|n| (u64::from(n), n)).collect::<Vec<_>>());
    }

    #[test]
    fn loss_takes_its_share() {
        let arrived = run(Impairment { loss_percent: 30.0, ..Default::default() }, 7, 10_000);
        assert!((6_850..7_150).contains(&arrived.len()), "{} of 10,000 arrived", arrived.len());
        assert!(run(Impairment { loss_percent: 100.0, ..Default::default() }, 7, 100).is_empty());
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_draws_otherwise() {
        let bad =
            Impairment { loss_percent: 20.0, delay_ms: 5, jitter_ms: 9, duplicate_percent: 5.0, reorder_percent: 10.0 };
        assert_eq!(run(bad, 3, 500), run(bad, 3, 500));
        assert_ne!(run(bad, 3, 500), run(bad, 4, 500));
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let arrived = run(Impairment { delay_ms: 50, jitter_ms: 30, ..Default::default() }, 1, 500);
        assert_eq!(arrived.len(), 500);
        assert!(arrived.is_sorted_by_key(|(_, n)| *n));
        for (ms, n) in arrived {
            assert!((50..=80).contains(&(ms - u64::from(n))), "{n} took {} ms", ms - u64::from(n));
        }
    }

    #[test]
    fn duplicates_arrive_twice() {
        let arrived = run(Impairment { duplicate_percent: 100.0, ..Default::default() }, 1, 50);
        assert_eq!(
            arrived.iter().map(|(_, n)| *n).collect::<Vec<_>>(),
            (0..50).flat_map(|n| [n, n]).collect::<Vec<_>>()
        );
    }

    #[test]
    fn reordered_ones_are_overtaken_and_lose_nobody() {
        let arrived = run(Impairment { reorder_percent: 20.0, ..Default::default() }, 1, 1_000);
        let mut numbers: Vec<u32> = arrived.iter().map(|(_, n)| *n).collect();
        let overtaken = numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(overtaken > 100, "{overtaken} overtaken");
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut impairer = Impairer::new(Impairment { delay_ms: 1_000_000, ..Default::default() }, 1);
        for _ in 0..UNDER_WAY + 10 {
            impairer.push(at(0), vec![1], addr());
        }
        assert_eq!(impairer.under_way.len(), UNDER_WAY);
        assert_eq!(impairer.lost(), 10);
    }
}
