//! Submissions on their way to the disk: assembled from parts, taken strictly in each outbox's order and once, slowed
//! down where an author is too fast (proto.md, section 8).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::allowance::Allowance;
use crate::id::{Instance, Ordinal, UserId};
use crate::now::Instant;
use crate::record::{Decided, Origin};
use crate::wire::frame::SubmitRefusal;
use crate::wire::limits::{NUMBER, RECIPIENTS, TEXT, UNDECIDED_KEPT};

/// Messages a member may send at once, before the rate counts.
pub const BURST: u32 = 200;
/// How far a client may be ahead of a server that was restored: more than anybody types.
const AHEAD: u64 = 1 << 32;
/// Answers kept in memory an outbox: more than its client has undecided.
const ANSWERS: usize = 64;

/// One part of a submission, as a say or a tell brought it.
#[derive(Debug)]
pub struct Part {
    /// Its number in the outbox.
    pub n: Ordinal,
    /// None: to the room.
    pub to: Option<Vec<UserId>>,
    /// Which part, from 0; below `parts`.
    pub part: u8,
    /// Of how many.
    pub parts: u8,
    /// The part's text.
    pub text: String,
    /// It goes where nothing may go.
    pub refusal: Option<SubmitRefusal>,
}

/// A submission whose turn has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which.
    pub origin: Origin,
    /// Its author.
    pub author: UserId,
    /// None: to the room.
    pub to: Option<Vec<UserId>>,
    /// The whole text, or why it is refused for good.
    pub text: Result<String, SubmitRefusal>,
}

/// What a part led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It waits, or was known.
    Kept,
    /// It was decided before; this is the answer.
    Decided(Decided),
    /// It was decided before, and its answer is not in memory: read it from here on.
    Forgotten,
    /// Too far beyond the last decided one.
    BeyondWindow,
}

#[derive(Debug)]
struct Assembly {
    to: Option<Vec<UserId>>,
    parts: Vec<Option<String>>,
    refusal: Option<SubmitRefusal>,
}

/// One outbox, as the server knows it.
#[derive(Debug)]
struct Outbox {
    owner: UserId,
    decided: Ordinal,
    /// The last one the store knows to be decided: less, where a client knew more of its outbox than we.
    stored: Ordinal,
    /// Handed on to be committed, up to here.
    staged: Ordinal,
    waiting: BTreeMap<Ordinal, Assembly>,
    /// The newest answers, ascending.
    answers: VecDeque<(Ordinal, Decided)>,
}

/// All outboxes that ever submitted, and those of the sessions there are.
#[derive(Debug)]
pub struct Submissions {
    outboxes: BTreeMap<Instance, Outbox>,
    allowances: BTreeMap<UserId, Allowance>,
    /// Messages a second; None: no limit.
    rate: Option<u32>,
}

impl Submissions {
    /// From what the store holds.
    pub fn new(rate: Option<u32>, instances: &[(Instance, UserId, Ordinal)]) -> Submissions {
        let mut submissions = Submissions { outboxes: BTreeMap::new(), allowances: BTreeMap::new(), rate };
        submissions.reload(instances);
        submissions
    }

    /// The batch that held what was staged failed: it will be sent again.
    pub fn unstage(&mut self) {
        self.outboxes.values_mut().for_each(|outbox| outbox.staged = outbox.decided);
    }

    /// The store was read again: it may know more decided.
    pub fn reload(&mut self, instances: &[(Instance, UserId, Ordinal)]) {
        for &(instance, owner, decided) in instances {
            let outbox = self.outboxes.entry(instance).or_insert_with(|| Outbox::new(owner));
            outbox.stored = outbox.stored.max(decided);
            if outbox.decided < decided {
                // Committed although the store said it failed: the answers are on disk.
                (outbox.decided, outbox.staged) = (decided, outbox.staged.max(decided));
                outbox.waiting.retain(|n, _| *n > decided);
            }
        }
    }

    /// May the account attach this outbox? Not another account's, and not with a number no outbox comes to.
    pub fn may_attach(&self, instance: Instance, user: UserId, first: Ordinal) -> bool {
        let outbox = self.outboxes.get(&instance);
        let decided = outbox.map_or(0, |outbox| outbox.decided.0);
        outbox.is_none_or(|outbox| outbox.owner == user) && first.0 <= (decided + AHEAD).min(NUMBER)
    }

    /// A session attaches an outbox whose client knows everything below `first` to be decided: more than we know, if we
    /// were restored from an older state. Gives its last decided number. [`Submissions::may_attach`] was asked before.
    pub fn attach(&mut self, instance: Instance, user: UserId, first: Ordinal) -> Ordinal {
        let outbox = self.outboxes.entry(instance).or_insert_with(|| Outbox::new(user));
        outbox.decided = outbox.decided.max(Ordinal(first.0.saturating_sub(1)));
        outbox.staged = outbox.staged.max(outbox.decided);
        outbox.decided
    }

    /// The outbox's session ended: what it never used is forgotten.
    pub fn detach(&mut self, instance: Instance) {
        if let Some(outbox) = self.outboxes.get_mut(&instance) {
            outbox.waiting.clear();
            outbox.answers.clear();
            // What is staged is being stored: it will be known then.
            if outbox.staged == outbox.decided {
                (outbox.decided, outbox.staged) = (outbox.stored, outbox.stored);
            }
            if outbox.staged == Ordinal(0) {
                self.outboxes.remove(&instance);
            }
        }
    }

    /// Takes a part in; what it makes ready is had by [`Submissions::next_ready`].
    pub fn take(&mut self, instance: Instance, part: Part) -> Taken {
        let Some(outbox) = self.outboxes.get_mut(&instance) else { return Taken::Kept };
        if part.n <= outbox.decided {
            return match outbox.answers.binary_search_by_key(&part.n, |(n, _)| *n) {
                Ok(index) => Taken::Decided(outbox.answers[index].1.clone()),
                Err(_) => Taken::Forgotten,
            };
        }
        if part.n.0 > outbox.decided.0 + UNDECIDED_KEPT {
            return Taken::BeyondWindow;
        }
        if part.n > outbox.staged {
            outbox.assemble(part);
        }
        Taken::Kept
    }

    /// The outbox's next submission, if it is whole and its author not too fast; the Err is how long to wait.
    pub fn next_ready(&mut self, now: Instant, instance: Instance) -> Result<Option<Ready>, Duration> {
        let Some(outbox) = self.outboxes.get_mut(&instance) else { return Ok(None) };
        let n = outbox.staged.next();
        if !outbox.waiting.get(&n).is_some_and(Assembly::whole) {
            return Ok(None);
        }
        if let Some(rate) = self.rate {
            let every = Duration::from_secs(1) / rate.max(1);
            let full = Allowance::new(now, BURST, every);
            self.allowances.entry(outbox.owner).or_insert(full).spend(now)?;
        }
        outbox.staged = n;
        let assembly = outbox.waiting.remove(&n).expect("looked at above");
        let (to, text) = assembly.into_submission();
        Ok(Some(Ready { origin: Origin { instance, n }, author: outbox.owner, to, text }))
    }

    /// An author who is too fast: what waits of the outbox is dropped and will be sent again.
    pub fn drop_waiting(&mut self, instance: Instance) {
        if let Some(outbox) = self.outboxes.get_mut(&instance) {
            outbox.waiting.clear();
        }
    }

    /// A staged submission is on disk.
    pub fn on_decided(&mut self, origin: Origin, decided: Decided) {
        if let Some(outbox) = self.outboxes.get_mut(&origin.instance) {
            outbox.decided = outbox.decided.max(origin.n);
            outbox.stored = outbox.decided;
            outbox.staged = outbox.staged.max(origin.n);
            outbox.remember(origin.n, decided);
        }
    }

    /// Answers read from the store.
    pub fn on_answers(&mut self, instance: Instance, answers: &[(Ordinal, Decided)]) {
        if let Some(outbox) = self.outboxes.get_mut(&instance) {
            answers.iter().for_each(|(n, decided)| outbox.remember(*n, decided.clone()));
        }
    }

    /// Parts held in memory, for the simulator's bounds.
    pub fn waiting(&self) -> usize {
        self.outboxes.values().map(|outbox| outbox.waiting.len()).sum()
    }
}

impl Outbox {
    fn new(owner: UserId) -> Outbox {
        Outbox {
            owner,
            decided: Ordinal(0),
            stored: Ordinal(0),
            staged: Ordinal(0),
            waiting: BTreeMap::new(),
            answers: VecDeque::new(),
        }
    }

    fn assemble(&mut self, part: Part) {
        let assembly = self.waiting.entry(part.n).or_insert_with(|| Assembly {
            to: part.to.clone(),
            parts: vec![None; usize::from(part.parts)],
            refusal: part.refusal,
        });
        if assembly.parts.len() == usize::from(part.parts) && assembly.to == part.to {
            assembly.parts[usize::from(part.part)].get_or_insert(part.text);
        } else {
            assembly.refusal.get_or_insert(SubmitRefusal::Parts);
        }
    }

    fn remember(&mut self, n: Ordinal, decided: Decided) {
        if let Err(index) = self.answers.binary_search_by_key(&n, |(n, _)| *n) {
            self.answers.insert(index, (n, decided));
            if self.answers.len() > ANSWERS {
                self.answers.pop_front();
            }
        }
    }
}

impl Assembly {
    fn whole(&self) -> bool {
        self.refusal.is_some() || self.parts.iter().all(Option::is_some)
    }

    fn into_submission(self) -> (Option<Vec<UserId>>, Result<String, SubmitRefusal>) {
        let mut to = self.to;
        if let Some(to) = &mut to {
            to.sort_unstable();
            to.dedup();
        }
        let text: String = self.parts.into_iter().flatten().collect();
        let recipients = to.as_ref().map_or(1, Vec::len);
        let text = match self.refusal {
            Some(refusal) => Err(refusal),
            _ if text.is_empty() => Err(SubmitRefusal::Empty),
            _ if text.len() > TEXT => Err(SubmitRefusal::TooLong),
            _ if recipients == 0 || recipients > RECIPIENTS => Err(SubmitRefusal::TooManyRecipients),
            _ => Ok(text),
        };
        (to, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RoomId, Seq};

    const HERE: Instance = Instance(1);
    const ZOE: UserId = UserId(5);

    fn say(n: u64, part: u8, parts: u8, text: &str) -> Part {
        Part { n: Ordinal(n), to: None, part, parts, text: text.into(), refusal: None }
    }

    fn submissions(rate: Option<u32>) -> Submissions {
        let mut submissions = Submissions::new(rate, &[]);
        assert_eq!(submissions.attach(HERE, ZOE, Ordinal(1)), Ordinal(0));
        submissions
    }

    fn ready(submissions: &mut Submissions) -> Vec<(u64, Result<String, SubmitRefusal>)> {
        std::iter::from_fn(|| submissions.next_ready(Instant(0), HERE).unwrap())
            .map(|ready| (ready.origin.n.0, ready.text))
            .collect()
    }

    #[test]
    fn submissions_become_ready_in_order_and_once() {
        let mut submissions = submissions(None);
        submissions.take(HERE, say(2, 0, 1, "two"));
        assert_eq!(ready(&mut submissions), []);
        submissions.take(HERE, say(1, 0, 1, "one"));
        submissions.take(HERE, say(1, 0, 1, "one"));
        assert_eq!(ready(&mut submissions), [(1, Ok("one".into())), (2, Ok("two".into()))]);
        submissions.take(HERE, say(1, 0, 1, "one"));
        assert_eq!(ready(&mut submissions), [], "staged already");
    }

    #[test]
    fn parts_are_put_together_in_any_order() {
        let mut submissions = submissions(None);
        submissions.take(HERE, say(1, 1, 2, "là"));
        submissions.take(HERE, say(1, 0, 2, "voi"));
        assert_eq!(ready(&mut submissions), [(1, Ok("voilà".into()))]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_and_uses_its_number_up() {
        let mut submissions = submissions(None);
        submissions.take(HERE, say(1, 0, 2, "a"));
        submissions.take(HERE, say(1, 0, 3, "a"));
        submissions.take(HERE, say(2, 0, 1, ""));
        submissions.take(HERE, Part { to: Some(vec![]), ..say(3, 0, 1, "x") });
        let expected = [SubmitRefusal::Parts, SubmitRefusal::Empty, SubmitRefusal::TooManyRecipients];
        assert_eq!(
            ready(&mut submissions).into_iter().map(|(_, text)| text.unwrap_err()).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_decided_submission_is_answered_again() {
        let mut submissions = submissions(None);
        submissions.take(HERE, say(1, 0, 1, "one"));
        ready(&mut submissions);
        let decided = Decided::Room { room: RoomId::MAIN, seq: Seq(9), of: 2 };
        submissions.on_decided(Origin { instance: HERE, n: Ordinal(1) }, decided.clone());
        assert_eq!(submissions.take(HERE, say(1, 0, 1, "one")), Taken::Decided(decided));
    }

    #[test]
    fn what_was_decided_before_a_restart_is_read_from_the_store() {
        let mut submissions = Submissions::new(None, &[(HERE, ZOE, Ordinal(7))]);
        assert_eq!(submissions.attach(HERE, ZOE, Ordinal(1)), Ordinal(7));
        assert_eq!(submissions.take(HERE, say(7, 0, 1, "x")), Taken::Forgotten);
        submissions.on_answers(HERE, &[(Ordinal(7), Decided::Refused { code: 3 })]);
        assert_eq!(submissions.take(HERE, say(7, 0, 1, "x")), Taken::Decided(Decided::Refused { code: 3 }));
        assert_eq!(submissions.take(HERE, say(7 + 65, 0, 1, "x")), Taken::BeyondWindow);
    }

    #[test]
    fn another_accounts_outbox_is_refused() {
        let submissions = submissions(None);
        assert!(!submissions.may_attach(HERE, UserId(6), Ordinal(1)));
        assert!(submissions.may_attach(HERE, ZOE, Ordinal(1)));
    }

    #[test]
    fn a_client_that_knows_more_to_be_decided_is_believed_of_its_own_outbox() {
        let mut submissions = Submissions::new(None, &[(HERE, ZOE, Ordinal(10))]);
        assert_eq!(submissions.attach(HERE, ZOE, Ordinal(21)), Ordinal(20));
        submissions.take(HERE, say(21, 0, 1, "after the restore"));
        assert_eq!(ready(&mut submissions), [(21, Ok("after the restore".into()))]);
    }

    #[test]
    fn a_number_no_outbox_comes_to_is_refused() {
        let submissions = Submissions::new(None, &[(HERE, ZOE, Ordinal(10))]);
        assert!(submissions.may_attach(HERE, ZOE, Ordinal(AHEAD)));
        assert!([1 << 33, 1 << 63, u64::MAX].iter().all(|first| !submissions.may_attach(HERE, ZOE, Ordinal(*first))));
    }

    #[test]
    fn an_outbox_that_was_only_attached_is_forgotten_with_its_session() {
        let mut submissions = submissions(None);
        submissions.attach(Instance(2), ZOE, Ordinal(9));
        submissions.detach(Instance(2));
        assert!(!submissions.outboxes.contains_key(&Instance(2)));
    }

    #[test]
    fn after_the_burst_the_rate_counts() {
        let mut submissions = submissions(Some(20));
        let mut n = 0;
        for _ in 0..BURST {
            n += 1;
            submissions.take(HERE, say(n, 0, 1, "x"));
            assert!(submissions.next_ready(Instant(0), HERE).unwrap().is_some());
            submissions.on_decided(Origin { instance: HERE, n: Ordinal(n) }, Decided::Refused { code: 1 });
        }
        submissions.take(HERE, say(n + 1, 0, 1, "x"));
        assert_eq!(submissions.next_ready(Instant(0), HERE), Err(Duration::from_millis(50)));
        assert!(submissions.next_ready(Instant(50_000), HERE).unwrap().is_some());
    }

    #[test]
    fn after_a_failed_commit_resends_are_staged_again() {
        let mut submissions = submissions(None);
        submissions.take(HERE, say(1, 0, 1, "one"));
        ready(&mut submissions);
        submissions.unstage();
        submissions.take(HERE, say(1, 0, 1, "one"));
        assert_eq!(ready(&mut submissions).len(), 1);
    }
}
