//! Who there is and who is here, from the roster's records (proto.md, section 9): which versions are covered, what to
//! acknowledge, and what changed in people's eyes.

use std::collections::BTreeMap;

use super::event::Event;
use super::log::Acked;
use super::model::Model;
use crate::id::{Boot, UserId, Version};
use crate::now::Instant;
use crate::proto::ranges::Ranges;
use crate::wire::frame::{MEMBER_ONLINE, MEMBER_REMOVED, Member, Roster as RosterFrame};
use crate::wire::limits::ACK_DELAY;

/// Coverage of one run of the server.
#[derive(Debug)]
pub struct Roster {
    boot: Option<Boot>,
    covered: Ranges,
    /// The version that makes the roster complete for the first time in this boot.
    goal: Version,
    /// The versions of this boot's records.
    versions: BTreeMap<UserId, Version>,
    phase: Phase,
    highest_at: Instant,
    ack_due: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    /// Not complete yet in this run: nobody is said to come or go.
    First,
    /// Another boot began: what was known before, to be compared once this boot's roster is complete. Without the wait,
    /// a server's restart would show everybody leaving and coming.
    Again(BTreeMap<UserId, Member>),
    /// Complete: every change is told.
    Following,
}

/// What a roster frame brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Something new.
    New,
    /// Nothing new.
    Again,
    /// Too many holes below it already; it comes again.
    Overfull,
    /// Of another run of the server.
    Foreign,
}

/// Stretches of versions above a hole: what a server has in flight.
const FRAGMENTS: usize = crate::wire::limits::IN_FLIGHT;

impl Default for Roster {
    fn default() -> Self {
        Roster {
            boot: None,
            covered: Ranges::up_to(0),
            goal: Version(0),
            versions: BTreeMap::new(),
            phase: Phase::First,
            highest_at: Instant::default(),
            ack_due: None,
        }
    }
}

impl Roster {
    /// The run of the server it belongs to; None before the first session.
    pub fn boot(&self) -> Option<Boot> {
        self.boot
    }

    /// A session begins in which the roster stands at `version` of `boot`.
    pub fn on_session(&mut self, boot: Boot, version: Version, model: &Model) {
        if self.boot == Some(boot) {
            return;
        }
        self.boot = Some(boot);
        self.covered = Ranges::up_to(0);
        self.goal = version;
        self.versions.clear();
        self.ack_due = None;
        if matches!(self.phase, Phase::Following) {
            self.phase = Phase::Again(model.members.clone());
        }
    }

    /// Records came.
    pub fn on_frame(
        &mut self,
        now: Instant,
        frame: RosterFrame,
        model: &mut Model,
        mut tell: impl FnMut(Event),
    ) -> Arrival {
        if self.boot != Some(frame.boot) {
            return Arrival::Foreign;
        }
        let (first, last) = (frame.after.0.saturating_add(1), frame.upto.0);
        let touches = first <= self.covered.upto().saturating_add(1);
        if !touches && self.covered.fragments() >= FRAGMENTS {
            return Arrival::Overfull;
        }
        let highest = self.covered.highest();
        let mut new = false;
        self.covered.insert(first, last, |_, _| new = true);
        if last > highest {
            self.highest_at = now;
        }
        let in_order = touches && self.covered.fragments() == 0;
        let by = if new && in_order { now + ACK_DELAY } else { now };
        self.ack_due = Some(self.ack_due.map_or(by, |due| due.min(by)));
        if !new {
            return Arrival::Again;
        }
        for member in frame.members {
            self.apply(member, model, &mut tell);
        }
        if !matches!(self.phase, Phase::Following) && self.covered.upto() >= self.goal.0 {
            self.complete(model, &mut tell);
        }
        Arrival::New
    }

    /// The ack that is due, or that may ride with data if `riding`.
    pub fn take_ack(&mut self, now: Instant, riding: bool) -> Option<(Boot, Acked)> {
        self.ack_due.filter(|&due| riding || due <= now)?;
        self.ack_due = None;
        let delay_us = now.since(self.highest_at).as_micros().min(u128::from(u32::MAX)) as u32;
        Some((self.boot?, Acked { upto: self.covered.upto(), delay_us, ranges: self.covered.for_ack() }))
    }

    /// When an ack must leave, alone if need be.
    pub fn ack_due(&self) -> Option<Instant> {
        self.ack_due
    }

    fn apply(&mut self, member: Member, model: &mut Model, tell: &mut impl FnMut(Event)) {
        let held = self.versions.entry(member.user).or_default();
        if *held >= member.version {
            return;
        }
        *held = member.version;
        if matches!(self.phase, Phase::Following) {
            tell_changes(model.members.get(&member.user), &member, tell);
        }
        model.put(member);
    }

    fn complete(&mut self, model: &mut Model, tell: &mut impl FnMut(Event)) {
        match std::mem::replace(&mut self.phase, Phase::Following) {
            Phase::First => tell(Event::RosterComplete),
            Phase::Again(before) => {
                // Whom this boot does not know was lost with a restored history: their name stays for what they wrote.
                for (user, former) in &before {
                    if !self.versions.contains_key(user) {
                        let flags = former.flags & !MEMBER_ONLINE | MEMBER_REMOVED;
                        model.put(Member { flags, ..former.clone() });
                    }
                }
                for member in model.members.values() {
                    tell_changes(before.get(&member.user), member, tell);
                }
            }
            Phase::Following => {}
        }
    }
}

/// What a person would say about a record that replaces another. A newcomer who is here has come.
fn tell_changes(before: Option<&Member>, after: &Member, tell: &mut impl FnMut(Event)) {
    let online = |member: &Member| member.flags & MEMBER_ONLINE != 0;
    if let Some(before) = before.filter(|before| before.username != after.username) {
        tell(Event::Renamed { user: after.user, from: before.username.clone(), to: after.username.clone() });
    }
    if before.is_some_and(online) != online(after) {
        tell(Event::Presence { user: after.user, online: online(after) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(user: u32, version: u64, name: &str, flags: u8) -> Member {
        let (first_name, last_name) = (String::new(), String::new());
        Member {
            user: UserId(user),
            version: Version(version),
            username: name.into(),
            first_name,
            last_name,
            former: None,
            flags,
        }
    }

    struct Bench {
        roster: Roster,
        model: Model,
    }

    impl Bench {
        fn new(boot: u32, version: u64) -> Bench {
            let mut bench = Bench { roster: Roster::default(), model: Model::new(None) };
            bench.roster.on_session(Boot(boot), Version(version), &bench.model);
            bench
        }

        fn frame(&mut self, boot: u32, after: u64, upto: u64, members: &[Member]) -> (Arrival, Vec<String>) {
            let members = members.to_vec();
            let frame = RosterFrame { boot: Boot(boot), after: Version(after), upto: Version(upto), members };
            let mut told = Vec::new();
            let arrival = self.roster.on_frame(Instant(5), frame, &mut self.model, |event| {
                told.push(match event {
                    Event::Presence { user, online } => format!("{user} {}", if online { "here" } else { "gone" }),
                    Event::Renamed { from, to, .. } => format!("{from} is {to}"),
                    Event::RosterComplete => "complete".into(),
                    other => panic!("{other:?}"),
                });
            });
            (arrival, told)
        }
    }

    #[test]
    fn those_who_are_there_when_one_enters_are_not_said_to_come() {
        let mut bench = Bench::new(1, 4);
        assert_eq!(bench.frame(1, 2, 4, &[member(2, 4, "bob", 0)]).1, [""; 0]);
        assert_eq!(bench.frame(1, 0, 2, &[member(1, 2, "zoe", MEMBER_ONLINE)]).1, ["complete"]);
        assert_eq!(bench.model.online(), 1);
        assert_eq!(bench.frame(1, 4, 5, &[member(2, 5, "bob", MEMBER_ONLINE)]).1, ["2 here"]);
        assert_eq!(bench.frame(1, 5, 6, &[member(3, 6, "newcomer", MEMBER_ONLINE)]).1, ["3 here"]);
        assert_eq!(bench.frame(1, 6, 7, &[member(1, 7, "zoe", 0)]).1, ["1 gone"]);
        assert_eq!(bench.model.online(), 2);
    }

    #[test]
    fn an_older_record_does_not_undo_a_newer_one() {
        let mut bench = Bench::new(1, 0);
        assert_eq!(bench.frame(1, 1, 2, &[member(1, 2, "zo", 0)]).1, ["complete"]);
        bench.frame(1, 3, 4, &[member(1, 4, "zoe", 0)]);
        bench.frame(1, 2, 3, &[member(1, 3, "zozo", MEMBER_ONLINE)]);
        assert_eq!(bench.model.name(UserId(1)), "zoe");
        assert_eq!(bench.model.online(), 0);
    }

    #[test]
    fn a_rename_moves_the_name() {
        let mut bench = Bench::new(1, 0);
        bench.frame(1, 0, 2, &[member(1, 1, "zoe", 0), member(2, 2, "bob", 0)]);
        assert_eq!(bench.frame(1, 2, 3, &[member(1, 3, "Zozo", 0)]).1, ["zoe is Zozo"]);
        assert_eq!(bench.model.by_name("ZOZO"), Some(UserId(1)));
        assert_eq!(bench.model.by_name("zoe"), None);
    }

    #[test]
    fn coverage_is_acknowledged_and_holes_at_once() {
        let mut bench = Bench::new(1, 9);
        bench.frame(1, 0, 3, &[]);
        assert_eq!(bench.roster.take_ack(Instant(5), false), None);
        let whole = Acked { upto: 3, delay_us: 1, ranges: vec![] };
        assert_eq!(bench.roster.take_ack(Instant(6), true), Some((Boot(1), whole)));
        bench.frame(1, 5, 6, &[]);
        let holed = Acked { upto: 3, delay_us: 0, ranges: vec![(6, 6)] };
        assert_eq!(bench.roster.take_ack(Instant(5), false), Some((Boot(1), holed)));
        assert_eq!(bench.frame(1, 5, 6, &[]).0, Arrival::Again);
        assert!(bench.roster.take_ack(Instant(5), false).is_some());
        assert_eq!(bench.frame(2, 0, 1, &[]).0, Arrival::Foreign);
        assert_eq!(bench.roster.ack_due(), None);
    }

    #[test]
    fn a_restarted_server_makes_nobody_come_and_go_but_those_who_did() {
        let mut bench = Bench::new(1, 0);
        let here = MEMBER_ONLINE;
        bench.frame(1, 0, 3, &[member(1, 1, "zoe", here), member(2, 2, "bob", here), member(3, 3, "ali", 0)]);
        bench.roster.on_session(Boot(2), Version(2), &bench.model);
        assert_eq!(bench.frame(2, 0, 1, &[member(1, 1, "zoe", here)]).1, [""; 0]);
        assert_eq!(bench.frame(2, 1, 2, &[member(3, 2, "ali", here)]).1, ["2 gone", "3 here"]);
        assert_eq!(bench.model.name(UserId(2)), "bob", "lost with a restored history, but named");
    }

    #[test]
    fn holes_are_bounded() {
        let mut bench = Bench::new(1, 9);
        let fragments = FRAGMENTS as u64;
        for i in 1..=fragments {
            assert_eq!(bench.frame(1, 2 * i, 2 * i + 1, &[]).0, Arrival::New);
        }
        assert_eq!(bench.frame(1, 5000, 5001, &[]).0, Arrival::Overfull);
        assert_eq!(bench.frame(1, 0, 2, &[]).0, Arrival::New);
    }
}
