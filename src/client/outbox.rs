//! Messages on their way out (proto.md, section 8): numbered, on this disk before they leave, sent again until the
//! server says what became of them, and their receipts.
//!
//! It is as long as its owner types while the server is away: what people write themselves has no bound here, only what
//! is in flight has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Event, OwnState};
use crate::id::{Instance, Ordinal, RoomId, Seq, UserId};
use crate::now::Instant;
use crate::proto::in_flight::InFlight;
use crate::proto::ranges::Ranges;
use crate::proto::rtt::Rtt;
use crate::record::{Profile, Queued};
use crate::wire::entry::parts;
use crate::wire::frame::{Frame, ReceiptItem, Say, SubmitRefusal, Tell};
use crate::wire::limits::{RECIPIENTS, TEXT, UNDECIDED_SENT};

/// The outbox of one instance.
#[derive(Debug)]
pub struct Outbox {
    instance: Instance,
    next: Ordinal,
    /// Undecided, by number.
    items: BTreeMap<Ordinal, Item>,
    /// Numbers up to here are on disk.
    kept: Ordinal,
    /// The next number to send for the first time in this session.
    unsent: Ordinal,
    decided: Ranges,
    in_flight: InFlight,
    /// Submissions and their answers: a commit lies between, so that it is another time than the path's.
    rtt: Rtt,
    pace: Pace,
    /// One's own stored messages whose receipts are awaited: at most [`TRACKED`] a log.
    room: Tracked,
    inbox: Tracked,
}

#[derive(Debug)]
struct Item {
    queued: Queued,
    said_sent: bool,
}

/// How many may be in flight: less after the server asked to slow down.
#[derive(Debug)]
struct Pace {
    window: u64,
    not_before: Option<Instant>,
    /// When the server last asked; a notice is given at the first of a row.
    asked: Option<Instant>,
}

/// Own messages whose receipts are followed, a log: a receipt names the newest 32 only.
const TRACKED: usize = 256;
/// After so long without being asked to slow down, the next time is told again.
const PACE_QUIET: Duration = Duration::from_secs(5);

/// Receipts of one log, by seq.
#[derive(Debug, Default)]
struct Tracked {
    /// Number, how many have it.
    own: BTreeMap<Seq, (Ordinal, u32)>,
    /// Receipts that came before the answer to their submission did.
    early: BTreeMap<Seq, ReceiptItem>,
}

/// The server's decision about one submission.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Which.
    pub n: Ordinal,
    /// What to tell: stored or failed.
    pub state: OwnState,
}

impl Outbox {
    /// As the profile kept it.
    pub fn new(profile: &mut Profile, seed: u64) -> Outbox {
        let items: BTreeMap<_, _> = std::mem::take(&mut profile.outbox)
            .into_iter()
            .map(|queued| (queued.n, Item { queued, said_sent: false }))
            .collect();
        let next = items.last_key_value().map_or(profile.next, |(n, _)| profile.next.max(n.next()));
        let unsent = items.first_key_value().map_or(next, |(n, _)| *n);
        Outbox {
            instance: profile.instance,
            next,
            kept: Ordinal(next.0.saturating_sub(1)),
            unsent,
            decided: Ranges::up_to(unsent.0.saturating_sub(1)),
            items,
            in_flight: InFlight::new(seed),
            rtt: Rtt::default(),
            pace: Pace { window: UNDECIDED_SENT, not_before: None, asked: None },
            room: Tracked::default(),
            inbox: Tracked::default(),
        }
    }

    /// Whose outbox it is.
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// The lowest number that is not decided, as far as is known here.
    pub fn first(&self) -> Ordinal {
        self.items.first_key_value().map_or(self.next, |(n, _)| *n)
    }

    /// How many are undecided.
    pub fn undecided(&self) -> usize {
        self.items.len()
    }

    /// Takes a message, gives it its number; `to` is empty for the room. It leaves once [`Outbox::on_kept`] was told.
    ///
    /// # Errors
    /// What the server would refuse it for; nothing has changed.
    pub fn push(&mut self, mut to: Vec<UserId>, text: String) -> Result<&Queued, SubmitRefusal> {
        if text.is_empty() {
            return Err(SubmitRefusal::Empty);
        }
        if text.len() > TEXT {
            return Err(SubmitRefusal::TooLong);
        }
        to.sort_unstable();
        to.dedup();
        if to.len() > RECIPIENTS {
            return Err(SubmitRefusal::TooManyRecipients);
        }
        let n = self.next;
        self.next = n.next();
        let item = Item { queued: Queued { n, to, text }, said_sent: false };
        Ok(&self.items.entry(n).or_insert(item).queued)
    }

    /// Everything up to `n` is on disk.
    pub fn on_kept(&mut self, n: Ordinal) {
        self.kept = self.kept.max(n);
    }

    /// A session begins: what is undecided goes out anew, and what the server has decided is not in doubt of its number.
    pub fn on_session(&mut self, decided: Ordinal) {
        // A copied profile could give a number out twice; the server knows better.
        self.next = self.next.max(decided.next());
        self.start_over();
        self.pace = Pace { window: UNDECIDED_SENT, not_before: None, asked: self.pace.asked };
    }

    /// The server asks to slow down. Gives true if that is worth telling.
    pub fn on_slow(&mut self, now: Instant, wait: Duration) -> bool {
        let news = self.pace.asked.is_none_or(|asked| asked + PACE_QUIET <= now);
        self.pace = Pace { window: 1, not_before: Some(now + wait), asked: Some(now) };
        // Nobody knows which ones were dropped; sent again one by one, they tell.
        self.start_over();
        news
    }

    /// The server decided. Each decision is passed on to `tell` once, whatever comes twice; gives the numbers decided.
    pub fn on_decided(&mut self, now: Instant, decisions: Vec<Decision>, mut tell: impl FnMut(Event)) -> Vec<Ordinal> {
        let mut settled = Vec::new();
        for Decision { n, state } in decisions {
            if self.items.remove(&n).is_none() {
                continue;
            }
            self.decided.insert(n.0, n.0, |_, _| {});
            self.pace.window = (self.pace.window + 1).min(UNDECIDED_SENT);
            settled.push(n);
            let place = match &state {
                OwnState::Stored { room, seq, .. } => Some((*room, *seq)),
                _ => None,
            };
            tell(Event::Own { n, state });
            if let Some((room, seq)) = place
                && let Some(event) = self.tracked(room).follow(room, seq, n)
            {
                tell(event);
            }
        }
        if !settled.is_empty() {
            self.in_flight.on_ack(now, &self.decided, Duration::ZERO, &mut self.rtt);
        }
        settled
    }

    /// Receipts came for messages of a room, or of one's inbox (None).
    pub fn on_receipt(&mut self, room: Option<RoomId>, items: &[ReceiptItem], mut tell: impl FnMut(Event)) {
        let tracked = self.tracked(room);
        for item in items {
            if let Some(event) = tracked.receive(room, item) {
                tell(event);
            }
        }
    }

    /// Is there something to send now?
    pub fn ready(&self, now: Instant) -> bool {
        if self.pace.not_before.is_some_and(|at| at > now) {
            return false;
        }
        self.in_flight.has_lost() || (self.unsent <= self.kept && (self.in_flight.len() as u64) < self.pace.window)
    }

    /// The next submission to send, part by part, and whether it goes out for the first time in this run. A window
    /// that is full or an empty outbox gives None.
    pub fn take_next(&mut self, now: Instant, mut put: impl FnMut(Frame)) -> Option<(Ordinal, bool)> {
        if !self.ready(now) {
            return None;
        }
        while let Some((first, _)) = self.in_flight.next_resend(now) {
            let n = Ordinal(first);
            if let Some(item) = self.items.get(&n) {
                frames(self.instance, &item.queued, &mut put);
                return Some((n, false));
            }
            self.in_flight.forget(first);
        }
        let (&n, item) = self.items.range_mut(self.unsent..=self.kept).next()?;
        self.unsent = n.next();
        self.in_flight.on_sent(now, n.0, n.0);
        frames(self.instance, &item.queued, &mut put);
        Some((n, !std::mem::replace(&mut item.said_sent, true)))
    }

    /// When [`Outbox::on_timeout`] has something to do.
    pub fn timeout(&self) -> Option<Instant> {
        match self.pace.not_before {
            Some(at) if !self.items.is_empty() => Some(at),
            _ => self.in_flight.timeout(&self.rtt),
        }
    }

    /// Time has passed: what is unanswered for too long is to be sent again.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.pace.not_before.is_some_and(|at| at <= now) {
            self.pace.not_before = None;
        }
        if self.in_flight.timeout(&self.rtt).is_some_and(|at| at <= now) {
            self.in_flight.on_timeout();
        }
    }

    fn start_over(&mut self) {
        self.in_flight.clear();
        self.unsent = self.first();
    }

    fn tracked(&mut self, room: Option<RoomId>) -> &mut Tracked {
        if room.is_some() { &mut self.room } else { &mut self.inbox }
    }
}

fn frames(instance: Instance, queued: &Queued, put: &mut impl FnMut(Frame)) {
    let cut = parts(&queued.text);
    let total = cut.len() as u8;
    for (part, text) in (0..total).zip(cut) {
        let (n, parts, text) = (queued.n, total, text.to_owned());
        put(if queued.to.is_empty() {
            Say { instance, n, room: RoomId::MAIN, part, parts, text }.into()
        } else {
            Tell { instance, n, to: queued.to.clone(), part, parts, text }.into()
        });
    }
}

impl Tracked {
    fn follow(&mut self, room: Option<RoomId>, seq: Seq, n: Ordinal) -> Option<Event> {
        self.own.insert(seq, (n, 0));
        if self.own.len() > TRACKED {
            self.own.pop_first();
        }
        let early = self.early.remove(&seq)?;
        self.receive(room, &early)
    }

    fn receive(&mut self, room: Option<RoomId>, item: &ReceiptItem) -> Option<Event> {
        let &ReceiptItem { seq, received, of } = item;
        let Some((n, held)) = self.own.get_mut(&seq) else {
            self.early.insert(seq, *item);
            if self.early.len() > TRACKED {
                self.early.pop_first();
            }
            return None;
        };
        // A receipt that was overtaken says less than is known.
        (received > *held).then(|| {
            *held = received;
            Event::Own { n: *n, state: OwnState::Received { room, seq, received, of } }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    fn profile(outbox: Vec<Queued>) -> Profile {
        Profile { outbox, ..Profile::fresh(Instance(5)) }
    }

    /// An outbox with `count` messages on disk.
    fn filled(count: u64) -> Outbox {
        let mut outbox = Outbox::new(&mut profile(vec![]), 1);
        for i in 1..=count {
            assert_eq!(outbox.push(vec![], format!("message {i}")).unwrap().n, Ordinal(i));
        }
        outbox.on_kept(Ordinal(count));
        outbox
    }

    fn sent(outbox: &mut Outbox, at: u64) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some((n, _)) = outbox.take_next(Instant(at), |_| {}) {
            sent.push(n.0);
        }
        sent
    }

    fn stored(outbox: &mut Outbox, at: u64, numbers: &[u64]) -> Vec<u64> {
        let decision = |&n: &u64| Decision {
            n: Ordinal(n),
            state: OwnState::Stored { room: Some(RoomId::MAIN), seq: Seq(100 + n), of: 2, absent: vec![] },
        };
        let mut told = Vec::new();
        outbox.on_decided(Instant(at), numbers.iter().map(decision).collect(), |event| match event {
            Event::Own { n, state: OwnState::Stored { .. } } => told.push(n.0),
            Event::Own { n, state: OwnState::Received { received, .. } } => told.push(n.0 * 1000 + u64::from(received)),
            other => panic!("{other:?}"),
        });
        told
    }

    #[test]
    fn nothing_leaves_before_it_is_on_disk() {
        let mut outbox = Outbox::new(&mut profile(vec![]), 1);
        outbox.push(vec![], "a".into()).unwrap();
        outbox.push(vec![], "b".into()).unwrap();
        assert!(sent(&mut outbox, 0).is_empty());
        outbox.on_kept(Ordinal(1));
        assert_eq!(sent(&mut outbox, 0), [1]);
        outbox.on_kept(Ordinal(2));
        assert_eq!(sent(&mut outbox, 0), [2]);
    }

    #[test]
    fn at_most_32_are_undecided_at_the_server() {
        let mut outbox = filled(40);
        assert_eq!(sent(&mut outbox, 0), (1..=32).collect::<Vec<_>>());
        assert_eq!(stored(&mut outbox, 1, &[1, 2]), [1, 2]);
        assert_eq!(sent(&mut outbox, 1), [33, 34]);
        assert_eq!(outbox.undecided(), 38);
    }

    #[test]
    fn a_lost_submission_is_sent_again_and_its_answer_told_once() {
        let mut outbox = filled(5);
        sent(&mut outbox, 0);
        assert_eq!(stored(&mut outbox, 10, &[2, 3, 4]), [2, 3, 4]);
        assert_eq!(sent(&mut outbox, 10), [1], "three later ones were answered");
        let due = outbox.timeout().unwrap();
        outbox.on_timeout(due);
        assert_eq!(sent(&mut outbox, due.0), [1, 5]);
        assert_eq!(stored(&mut outbox, due.0 + 1, &[1, 5]), [1, 5]);
        assert_eq!(stored(&mut outbox, due.0 + 2, &[1, 5]), [0; 0]);
        assert_eq!(outbox.timeout(), None, "no timer is left");
        assert_eq!(outbox.undecided(), 0);
    }

    #[test]
    fn a_new_session_sends_what_is_undecided_anew() {
        let mut outbox = filled(3);
        sent(&mut outbox, 0);
        stored(&mut outbox, 5, &[2]);
        outbox.on_session(Ordinal(2));
        assert_eq!(sent(&mut outbox, 9), [1, 3]);
    }

    #[test]
    fn a_number_the_server_decided_is_not_given_out_again() {
        let mut outbox = Outbox::new(&mut profile(vec![]), 1);
        outbox.on_session(Ordinal(7));
        assert_eq!(outbox.push(vec![], "x".into()).unwrap().n, Ordinal(8));
    }

    #[test]
    fn what_a_former_run_left_goes_first() {
        let left = Queued { n: Ordinal(4), to: vec![UserId(2)], text: "psst".into() };
        let mut outbox = Outbox::new(&mut profile(vec![left]), 1);
        assert_eq!(outbox.push(vec![], "x".into()).unwrap().n, Ordinal(5));
        assert_eq!(sent(&mut outbox, 0), [4], "5 is not on disk yet");
        outbox.on_kept(Ordinal(5));
        assert_eq!(sent(&mut outbox, 0), [5]);
    }

    #[test]
    fn asked_to_slow_down_it_sends_one_by_one_and_faster_again() {
        let mut outbox = filled(10);
        sent(&mut outbox, 0);
        assert!(outbox.on_slow(Instant(MS), Duration::from_millis(50)));
        assert!(!outbox.on_slow(Instant(2 * MS), Duration::from_millis(50)), "one notice for a row of them");
        assert!(sent(&mut outbox, 3 * MS).is_empty());
        assert_eq!(outbox.timeout(), Some(Instant(52 * MS)));
        outbox.on_timeout(Instant(52 * MS));
        assert_eq!(sent(&mut outbox, 52 * MS), [1]);
        stored(&mut outbox, 53 * MS, &[1]);
        assert_eq!(sent(&mut outbox, 53 * MS), [2, 3]);
        stored(&mut outbox, 54 * MS, &[2, 3]);
        assert_eq!(sent(&mut outbox, 54 * MS), [4, 5, 6, 7]);
    }

    #[test]
    fn receipts_are_told_when_they_say_more_even_before_the_answer() {
        let mut outbox = filled(1);
        sent(&mut outbox, 0);
        let room = Some(RoomId::MAIN);
        let receipt = |received| [ReceiptItem { seq: Seq(101), received, of: 2 }];
        outbox.on_receipt(room, &receipt(1), |event| panic!("{event:?} before it is known to be stored"));
        assert_eq!(stored(&mut outbox, 1, &[1]), [1, 1001]);
        let mut told = 0;
        outbox.on_receipt(room, &receipt(1), |_| told += 1);
        outbox.on_receipt(room, &receipt(2), |_| told += 1);
        outbox.on_receipt(room, &receipt(1), |_| told += 1);
        assert_eq!(told, 1);
    }

    #[test]
    fn what_the_server_would_refuse_is_refused_here() {
        let mut outbox = filled(0);
        assert_eq!(outbox.push(vec![], String::new()).unwrap_err(), SubmitRefusal::Empty);
        assert_eq!(outbox.push(vec![], "x".repeat(4097)).unwrap_err(), SubmitRefusal::TooLong);
        let many = (1..=33).map(UserId).collect();
        assert_eq!(outbox.push(many, "x".into()).unwrap_err(), SubmitRefusal::TooManyRecipients);
        assert_eq!(outbox.push(vec![], "x".into()).unwrap().n, Ordinal(1), "no number was used up");
    }

    #[test]
    fn a_long_text_leaves_in_parts_that_each_fit_a_datagram() {
        let mut outbox = filled(0);
        let text = "é".repeat(2048);
        outbox.push((1..=32).map(UserId).collect(), text.clone()).unwrap();
        outbox.on_kept(Ordinal(1));
        let mut whole = String::new();
        outbox.take_next(Instant(0), |frame| {
            let mut bytes = Vec::new();
            frame.put(&mut bytes);
            assert!(bytes.len() <= crate::wire::limits::BODY);
            let Frame::Tell(tell) = frame else { panic!("private messages are told") };
            whole.push_str(&tell.text);
        });
        assert_eq!(whole, text);
    }
}
