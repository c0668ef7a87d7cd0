//! What was sent and is not acknowledged: finds what is lost, says when to probe, samples the RTT (proto.md,
//! section 7; RFC 9002, 6). What a flight means (a page, letters, a stretch of the roster, a submission) is its owner's.

use std::collections::VecDeque;
use std::time::Duration;

use super::ranges::Ranges;
use super::rtt::{Rtt, jittered};
use crate::now::Instant;
use crate::wire::frame::Range;

/// Flights of one log towards one peer, ascending by their numbers.
#[derive(Clone, Debug)]
pub struct InFlight {
    flights: VecDeque<Flight>,
    /// Counts sendings, resends too: the order of the wire.
    sendings: u64,
    last_sent: Instant,
    backoff: u32,
    /// A small generator for jitter (splitmix64), seeded by the owner.
    jitter: u64,
    lost: usize,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    first: u64,
    last: u64,
    sent: Instant,
    sending: u64,
    resent: bool,
    lost: bool,
}

/// Later sendings acknowledged before an earlier one counts as lost (RFC 9002, 6.1.1).
const REORDERED: u64 = 3;
/// Flights sent again at a probe timeout.
const PROBES: usize = 2;

impl InFlight {
    /// Nothing sent yet; `seed` spreads the probe timers of different owners.
    pub fn new(seed: u64) -> InFlight {
        InFlight { flights: VecDeque::new(), sendings: 0, last_sent: Instant(0), backoff: 0, jitter: seed, lost: 0 }
    }

    /// How many flights are unacknowledged.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Is everything acknowledged?
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// `first..=last` leaves for the first time; it must lie above all that was sent before.
    pub fn on_sent(&mut self, now: Instant, first: u64, last: u64) {
        debug_assert!(self.flights.back().is_none_or(|flight| flight.last < first), "sent in ascending order");
        self.note_sending(now);
        self.flights.push_back(Flight { first, last, sent: now, sending: self.sendings, resent: false, lost: false });
    }

    /// The earliest lost flight, if any.
    pub fn peek_resend(&self) -> Option<Range> {
        if self.lost == 0 {
            return None;
        }
        self.flights.iter().find(|flight| flight.lost).map(|flight| (flight.first, flight.last))
    }

    /// The earliest lost flight; it counts as sent again now.
    pub fn next_resend(&mut self, now: Instant) -> Option<Range> {
        if self.lost == 0 {
            return None;
        }
        let index = self.flights.iter().position(|flight| flight.lost)?;
        self.lost -= 1;
        self.note_sending(now);
        let sending = self.sendings;
        let flight = &mut self.flights[index];
        (flight.lost, flight.resent, flight.sent, flight.sending) = (false, true, now, sending);
        Some((flight.first, flight.last))
    }

    /// Is anything to be sent again?
    pub fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// Gives up a flight that cannot be sent again: its receiver will ask for it.
    pub fn forget(&mut self, first: u64) {
        if let Ok(index) = self.flights.binary_search_by_key(&first, |flight| flight.first) {
            let flight = self.flights.remove(index).expect("found by the search");
            self.lost -= usize::from(flight.lost);
        }
    }

    /// Forgets everything, as when the receiver is known to stand elsewhere.
    pub fn clear(&mut self) {
        self.flights.clear();
        (self.lost, self.backoff) = (0, 0);
    }

    /// Takes in what the peer has acknowledged so far. `delay` is what it says it waited after the highest.
    pub fn on_ack(&mut self, now: Instant, acked: &Ranges, delay: Duration, rtt: &mut Rtt) {
        let mut newest: Option<Flight> = None;
        let mut highest: Option<Flight> = None;
        let mut freed = 0;
        self.flights.retain(|flight| {
            // A receiver may hold the end of a frame from an earlier session, where the cuts were others.
            if !acked.covers(flight.first, flight.last) {
                return true;
            }
            if newest.is_none_or(|other| other.sending < flight.sending) {
                newest = Some(*flight);
            }
            freed += usize::from(flight.lost);
            highest = Some(*flight);
            false
        });
        self.lost -= freed;
        let (Some(newest), Some(highest)) = (newest, highest) else { return };
        self.backoff = 0;
        if !highest.resent && highest.last == acked.highest() {
            rtt.update(now.since(highest.sent), delay);
        }
        for flight in self.flights.iter_mut().filter(|flight| !flight.lost) {
            let by_order = flight.sending + REORDERED <= newest.sending;
            let by_time = flight.sent + rtt.reordering() <= newest.sent;
            if by_order || by_time {
                flight.lost = true;
                self.lost += 1;
            }
        }
    }

    /// When to probe, if nothing is acknowledged before; None when nothing is in flight.
    pub fn timeout(&self, rtt: &Rtt) -> Option<Instant> {
        let waiting = self.flights.len() > self.lost;
        waiting.then(|| self.last_sent + jittered(rtt.probe_timeout(self.backoff), (self.jitter >> 32) as u32))
    }

    /// The probe timeout has passed: the earliest flights are to be sent again.
    pub fn on_timeout(&mut self) {
        self.backoff += 1;
        for flight in self.flights.iter_mut().filter(|flight| !flight.lost).take(PROBES) {
            flight.lost = true;
            self.lost += 1;
        }
    }

    fn note_sending(&mut self, now: Instant) {
        self.sendings += 1;
        self.last_sent = now;
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.jitter = (self.jitter ^ (self.jitter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    fn acked(upto: u64, ranges: &[Range]) -> Ranges {
        let mut acked = Ranges::up_to(upto);
        acked.insert_ack(0, ranges, |_, _| {});
        acked
    }

    fn sent(count: u64) -> InFlight {
        let mut in_flight = InFlight::new(1);
        (1..=count).for_each(|n| in_flight.on_sent(Instant(n), n, n));
        in_flight
    }

    #[test]
    fn three_later_acks_mean_loss() {
        let (mut in_flight, mut rtt) = (sent(5), Rtt::default());
        in_flight.on_ack(Instant(5 * MS), &acked(1, &[(3, 4)]), Duration::ZERO, &mut rtt);
        assert!(!in_flight.has_lost());
        in_flight.on_ack(Instant(5 * MS), &acked(1, &[(3, 5)]), Duration::ZERO, &mut rtt);
        assert_eq!(in_flight.next_resend(Instant(6 * MS)), Some((2, 2)));
        assert_eq!(in_flight.next_resend(Instant(6 * MS)), None);
    }

    #[test]
    fn a_flight_is_acknowledged_when_all_of_it_is() {
        let (mut in_flight, mut rtt) = (InFlight::new(1), Rtt::default());
        in_flight.on_sent(Instant(1), 1, 28);
        in_flight.on_ack(Instant(5 * MS), &acked(25, &[(27, 28)]), Duration::ZERO, &mut rtt);
        assert_eq!(in_flight.len(), 1, "26 is missing");
        in_flight.on_ack(Instant(6 * MS), &acked(28, &[]), Duration::ZERO, &mut rtt);
        assert!(in_flight.is_empty());
    }

    #[test]
    fn one_ack_of_something_sent_much_later_means_loss() {
        let (mut in_flight, mut rtt) = (InFlight::new(1), Rtt::default());
        rtt.update(Duration::from_millis(8), Duration::ZERO);
        in_flight.on_sent(Instant(0), 1, 1);
        in_flight.on_sent(Instant(9 * MS), 2, 2);
        in_flight.on_ack(Instant(17 * MS), &acked(0, &[(2, 2)]), Duration::ZERO, &mut rtt);
        assert_eq!(in_flight.next_resend(Instant(17 * MS)), Some((1, 1)));
    }

    #[test]
    fn a_resend_gives_no_rtt_sample() {
        let (mut in_flight, mut rtt) = (sent(1), Rtt::default());
        in_flight.on_timeout();
        in_flight.next_resend(Instant(400 * MS));
        in_flight.on_ack(Instant(401 * MS), &acked(1, &[]), Duration::ZERO, &mut rtt);
        assert_eq!(rtt.smoothed(), Duration::from_millis(100), "still the guess");
        assert!(in_flight.is_empty());
    }

    #[test]
    fn an_ack_of_the_highest_gives_a_sample_less_its_delay() {
        let (mut in_flight, mut rtt) = (sent(2), Rtt::default());
        in_flight.on_ack(Instant(30 * MS + 2), &acked(2, &[]), Duration::from_millis(20), &mut rtt);
        assert_eq!(rtt.smoothed(), Duration::from_millis(10));
    }

    #[test]
    fn probes_back_off_and_an_ack_ends_that() {
        let (mut in_flight, mut rtt) = (sent(4), Rtt::default());
        let first = in_flight.timeout(&rtt).unwrap();
        in_flight.on_timeout();
        assert_eq!(in_flight.next_resend(first), Some((1, 1)));
        assert_eq!(in_flight.next_resend(first), Some((2, 2)));
        assert_eq!(in_flight.next_resend(first), None);
        let second = in_flight.timeout(&rtt).unwrap();
        assert!(second.since(first) > first.since(Instant(4)));
        in_flight.on_ack(second, &acked(4, &[]), Duration::ZERO, &mut rtt);
        assert_eq!(in_flight.timeout(&rtt), None);
    }

    #[test]
    fn a_forgotten_flight_is_gone() {
        let mut in_flight = sent(2);
        in_flight.on_timeout();
        in_flight.forget(1);
        assert_eq!(in_flight.next_resend(Instant(9)), Some((2, 2)));
        assert_eq!(in_flight.len(), 1);
    }
}
