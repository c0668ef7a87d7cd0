//! A set of numbers that is nearly contiguous: what has arrived, or what was acknowledged.

use crate::wire::frame::Range;
use crate::wire::limits::ACK_RANGES;

/// Everything up to a number, and a few ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    upto: u64,
    /// Ascending, disjoint, not touching each other nor `upto`.
    above: Vec<Range>,
}

impl Ranges {
    /// Everything up to `upto`.
    pub fn up_to(upto: u64) -> Ranges {
        Ranges { upto, above: Vec::new() }
    }

    /// The number up to which nothing is missing.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// The highest number in the set.
    pub fn highest(&self) -> u64 {
        self.above.last().map_or(self.upto, |&(_, last)| last)
    }

    /// The ranges above `upto`.
    pub fn above(&self) -> &[Range] {
        &self.above
    }

    /// How many ranges there are above `upto`: what a bound is set on.
    pub fn fragments(&self) -> usize {
        self.above.len()
    }

    /// Is it in the set?
    pub fn contains(&self, number: u64) -> bool {
        number <= self.upto || {
            let after = self.above.partition_point(|&(first, _)| first <= number);
            after > 0 && self.above[after - 1].1 >= number
        }
    }

    /// Are all of `first..=last` in the set?
    pub fn covers(&self, first: u64, last: u64) -> bool {
        last <= self.upto || {
            let first = first.max(self.upto.saturating_add(1));
            let after = self.above.partition_point(|&(start, _)| start <= first);
            after > 0 && self.above[after - 1].1 >= last
        }
    }

    /// Adds `first..=last` and calls `added` for each stretch that was not in the set before, ascending.
    pub fn insert(&mut self, first: u64, last: u64, mut added: impl FnMut(u64, u64)) {
        if last <= self.upto || first > last {
            return;
        }
        let mut from = first.max(self.upto + 1);
        // The ranges that touch first..=last: they melt into one.
        let begin = self.above.partition_point(|&(_, end)| end.saturating_add(1) < from);
        let end = self.above.partition_point(|&(start, _)| start <= last.saturating_add(1));
        let mut merged = (from, last);
        for &(start, stop) in &self.above[begin..end] {
            if start > from {
                added(from, (start - 1).min(last));
            }
            from = from.max(stop.saturating_add(1));
            merged = (merged.0.min(start), merged.1.max(stop));
        }
        if from <= last {
            added(from, last);
        }
        self.above.splice(begin..end, [merged]);
        if self.above[0].0 <= self.upto.saturating_add(1) {
            self.upto = self.above.remove(0).1;
        }
    }

    /// Takes an ack in, as [`Ranges::insert`].
    pub fn insert_ack(&mut self, upto: u64, ranges: &[Range], mut added: impl FnMut(u64, u64)) {
        self.insert(1, upto, &mut added);
        for &(first, last) in ranges {
            self.insert(first, last, &mut added);
        }
    }

    /// The first stretch missing within `..=end`.
    pub fn first_gap(&self, end: u64) -> Option<Range> {
        let first = self.upto.checked_add(1)?;
        let last = self.above.first().map_or(end, |&(start, _)| end.min(start - 1));
        (first <= last).then_some((first, last))
    }

    /// What stands in an ack: the newest ranges, at most [`ACK_RANGES`].
    pub fn for_ack(&self) -> Vec<Range> {
        self.above[self.above.len().saturating_sub(ACK_RANGES)..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{Rng as _, SeedableRng};

    use super::*;

    #[test]
    fn it_behaves_like_a_plain_set() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for _ in 0..500 {
            let (mut ranges, mut naive) = (Ranges::up_to(5), (0..=5).collect::<BTreeSet<u64>>());
            for _ in 0..30 {
                let first = rng.gen_range(0..60);
                let last = first + rng.gen_range(0..6);
                let mut added = Vec::new();
                ranges.insert(first, last, |a, b| added.extend(a..=b));
                let expected: Vec<u64> = (first..=last).filter(|number| naive.insert(*number)).collect();
                assert_eq!(added, expected);
            }
            assert!((0..80).all(|number| ranges.contains(number) == naive.contains(&number)));
            for first in 1..70 {
                let last = first + rng.gen_range(0..9);
                assert_eq!(ranges.covers(first, last), (first..=last).all(|number| naive.contains(&number)));
            }
            assert_eq!(ranges.highest(), *naive.last().unwrap());
            let gap = (0..100).find(|number| !naive.contains(number)).unwrap();
            assert_eq!(ranges.upto(), gap - 1);
            assert_eq!(ranges.first_gap(99).unwrap().0, gap);
            assert!(ranges.above().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut ranges = Ranges::up_to(0);
        ranges.insert(u64::MAX, u64::MAX, |_, _| {});
        ranges.insert(2, u64::MAX, |_, _| {});
        ranges.insert(1, 1, |_, _| {});
        assert_eq!(ranges.upto(), u64::MAX);
        ranges.insert(0, u64::MAX, |_, _| panic!("nothing was missing"));
    }

    #[test]
    fn an_ack_carries_the_newest_ranges() {
        let mut ranges = Ranges::up_to(0);
        (1..=20).for_each(|i| ranges.insert(i * 10, i * 10, |_, _| {}));
        let acked = ranges.for_ack();
        assert_eq!((acked.len(), acked[0], acked[15]), (16, (50, 50), (200, 200)));
    }
}
