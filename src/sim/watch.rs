//! The checker: what everybody saw is held against what is on the server's disk, at each event and at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::Disk;
use super::plan::secret_in;
use crate::client::event::{Message, OwnState, Ticket};
use crate::id::{Instance, Ordinal, RoomId, Seq, UserId};
use crate::record::{Decided, Found, Letter, Origin, Profile};
use crate::wire::call::{Call, Reply};

/// What a promise that was not kept looks like, in words.
pub(crate) type Broken = String;

/// A submission as its author's program took it.
#[derive(Clone, Debug)]
struct Submitted {
    to: Vec<UserId>,
    text: String,
}

/// How far a submission has come in its author's eyes, in this run of the program: it only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Queued,
    Sent,
    Stored,
    Received(u32),
}

/// What one device was shown, and what it was told.
#[derive(Debug)]
pub(crate) struct Watch {
    user: Option<UserId>,
    instance: Instance,
    submitted: BTreeMap<Ordinal, Submitted>,
    stages: BTreeMap<Ordinal, Stage>,
    /// Index of the room's message that is to be shown next; None before the first entry of a fresh profile.
    room_next: Option<usize>,
    /// The same of the inbox; None until the first one is shown to a fresh profile.
    inbox_next: Option<usize>,
    /// In all runs of the program: the room was shown up to here, or began after it.
    room_covered: Seq,
    inbox_covered: Seq,
    calls: BTreeMap<Ticket, Call>,
}

impl Watch {
    pub(crate) fn new(instance: Instance) -> Watch {
        Watch {
            user: None,
            instance,
            submitted: BTreeMap::new(),
            stages: BTreeMap::new(),
            room_next: None,
            inbox_next: None,
            room_covered: Seq(0),
            inbox_covered: Seq(0),
            calls: BTreeMap::new(),
        }
    }

    /// The program starts with what was kept.
    pub(crate) fn on_start(&mut self, profile: &Profile, disk: &Disk) -> Result<(), Broken> {
        self.calls.clear();
        self.stages.clear();
        // A number that never reached this disk may be used for another text.
        self.submitted.split_off(&profile.next);
        self.room_next = profile.room_cursor.map(|(_, seq)| disk.messages().partition_point(|m| m.seq <= seq));
        if let Some((_, seq)) = profile.room_cursor.filter(|(_, seq)| *seq > self.room_covered) {
            return Err(format!("the room is kept as shown up to #{seq}, but was up to #{}", self.room_covered));
        }
        let user = profile.user.as_ref().map_or(UserId(0), |(user, _)| *user);
        self.inbox_next = profile
            .inbox_cursor
            .map(|(_, cursor)| disk.inbox(user).position(|(seq, _)| seq > cursor).unwrap_or(disk.inbox(user).len()));
        Ok(())
    }

    /// The program is in, for the first time in this run.
    pub(crate) fn on_entered(&mut self, user: UserId, head: Seq, disk: &Disk) -> Result<(), Broken> {
        if self.user.is_some_and(|before| before != user) {
            return Err(format!("account {:?} entered as account {user}", self.user));
        }
        self.user = Some(user);
        if head > disk.head() {
            return Err(format!("the room's head is #{head}, but on disk it is #{}", disk.head()));
        }
        if self.room_next.is_none() {
            self.room_next = Some(disk.messages().partition_point(|message| message.seq <= head));
            self.room_covered = self.room_covered.max(head);
        }
        Ok(())
    }

    pub(crate) fn on_submitted(&mut self, n: Ordinal, to: Vec<UserId>, text: String) -> Result<(), Broken> {
        match self.submitted.insert(n, Submitted { to, text }) {
            Some(_) => Err(format!("submission {n} names another text")),
            None => Ok(()),
        }
    }

    /// A message is shown: it must be the next one on disk. Returns its index in the inbox, where it is private.
    pub(crate) fn on_message(&mut self, message: &Message, disk: &Disk) -> Result<Option<usize>, Broken> {
        match message.room {
            Some(RoomId::MAIN) => self.on_room_message(message, disk).map(|()| None),
            None => self.on_letter(message, disk).map(Some),
            Some(room) => Err(format!("a message of room {room}")),
        }
    }

    fn on_room_message(&mut self, message: &Message, disk: &Disk) -> Result<(), Broken> {
        let next = self.room_next.as_mut().ok_or_else(|| format!("{message:?} before the first entry"))?;
        let expected = disk.messages().get(*next).ok_or_else(|| format!("{message:?} is not on disk"))?;
        if message.seq != expected.seq {
            return Err(format!("{message:?} is shown, the next is {expected:?}"));
        }
        if (message.author, message.time, &message.text) != (expected.author, expected.time, &expected.text) {
            return Err(format!("{message:?} is shown as something other than {expected:?}"));
        }
        *next += 1;
        self.room_covered = self.room_covered.max(message.seq);
        Ok(())
    }

    fn on_letter(&mut self, message: &Message, disk: &Disk) -> Result<usize, Broken> {
        let user = self.user.ok_or_else(|| format!("{message:?} before the first entry"))?;
        if message.author != user && !message.to.contains(&user) {
            return Err(format!("private {message:?} is shown to account {user}"));
        }
        let index = self.inbox_next.unwrap_or_else(|| {
            disk.inbox(user).position(|(seq, _)| seq >= message.seq).unwrap_or(disk.inbox(user).len())
        });
        let (seq, expected) = disk.letter(user, index).ok_or_else(|| format!("{message:?} is not on disk"))?;
        if message.seq != seq {
            return Err(format!("{message:?} is shown to account {user}, the next is #{seq} {expected:?}"));
        }
        let said = (message.author, message.time, &message.text, &message.to);
        if said != (expected.author, expected.time, &expected.text, &expected.to) {
            return Err(format!("{message:?} is shown as something other than {expected:?}"));
        }
        self.inbox_next = Some(index + 1);
        self.inbox_covered = self.inbox_covered.max(seq);
        Ok(index)
    }

    /// What the author is told of a message of theirs.
    pub(crate) fn on_own(&mut self, n: Ordinal, state: &OwnState, disk: &Disk) -> Result<(), Broken> {
        let submitted = self.submitted.get(&n).ok_or_else(|| format!("submission {n} was never made"))?;
        let before = self.stages.get(&n).copied();
        let stage = match state {
            OwnState::Queued => Stage::Queued,
            OwnState::Sent => Stage::Sent,
            OwnState::Stored { room, seq, .. } => {
                let on_disk = match disk.decided(Origin { instance: self.instance, n }) {
                    Some(Decided::Room { room, seq, .. }) => Some((Some(*room), *seq)),
                    Some(Decided::Inbox { seq, .. }) => Some((None, *seq)),
                    Some(Decided::Refused { .. }) | None => None,
                };
                if on_disk != Some((*room, *seq)) {
                    return Err(format!("submission {n} is told stored as {room:?} #{seq}; on disk: {on_disk:?}"));
                }
                if room.is_some() != submitted.to.is_empty() {
                    return Err(format!("submission {n} to {:?} is stored in {room:?}", submitted.to));
                }
                Stage::Stored
            }
            OwnState::Received { received, of, .. } => {
                if received > of {
                    return Err(format!("submission {n} was received by {received} of {of}"));
                }
                Stage::Received(*received)
            }
            OwnState::Failed(refusal) => return Err(format!("submission {n} is refused for good: {refusal:?}")),
        };
        let repeated = before == Some(stage) && !matches!(stage, Stage::Received(_));
        if repeated || before.is_some_and(|before| before > stage) {
            return Err(format!("submission {n} goes from {before:?} to {stage:?}"));
        }
        self.stages.insert(n, stage);
        Ok(())
    }

    pub(crate) fn on_called(&mut self, ticket: Ticket, call: Call) {
        self.calls.insert(ticket, call);
    }

    /// The answer to a call: each comes once, and holds nothing but what is on disk and may be seen.
    pub(crate) fn on_replied(&mut self, ticket: Ticket, reply: &Reply, disk: &Disk) -> Result<(), Broken> {
        let call = self.calls.remove(&ticket).ok_or_else(|| format!("{ticket:?} is answered again"))?;
        match (&call, reply) {
            (_, Reply::Messages(found)) => found.iter().try_for_each(|found| self.check_found(found, disk)),
            (Call::Rename(_), Reply::Done | Reply::Refused(_)) | (_, Reply::Refused(_)) => Ok(()),
            _ => Err(format!("{call:?} is answered by {reply:?}")),
        }
    }

    fn check_found(&self, found: &Found, disk: &Disk) -> Result<(), Broken> {
        let on_disk = match found.room {
            Some(_) => disk.messages().binary_search_by_key(&found.seq, |m| m.seq).is_ok_and(|index| {
                let message = &disk.messages()[index];
                (message.author, &message.text, message.time) == (found.author, &found.text, found.time)
            }),
            None => self.user.is_some_and(|user| {
                disk.inbox(user).any(|(seq, letter)| {
                    seq == found.seq
                        && (letter.author, &letter.text, &letter.to) == (found.author, &found.text, &found.to)
                })
            }),
        };
        if on_disk { Ok(()) } else { Err(format!("{found:?} is found by {:?}, but is not theirs on disk", self.user)) }
    }

    /// What is still to come, in words, if anything is.
    pub(crate) fn lacks(&self, disk: &Disk) -> Option<String> {
        let Some(user) = self.user else { return Some("has not entered".into()) };
        let (shown, messages) = (self.room_next.unwrap_or(0), disk.messages().len());
        if shown < messages {
            return Some(format!("was shown {shown} of the room's {messages} messages"));
        }
        if let Some(shown) = self.inbox_next.filter(|shown| *shown < disk.inbox(user).len()) {
            return Some(format!("was shown {shown} of {} letters", disk.inbox(user).len()));
        }
        (!self.calls.is_empty()).then(|| format!("has {} calls unanswered", self.calls.len()))
    }

    /// Has the author not heard yet what became of this one?
    pub(crate) fn awaits(&self, n: Ordinal) -> bool {
        self.submitted.contains_key(&n) && self.stages.get(&n).is_none_or(|stage| *stage < Stage::Stored)
    }

    pub(crate) fn user(&self) -> Option<UserId> {
        self.user
    }

    /// Of what is on disk by this device, everything is what was written, to whom it was, in order.
    fn check_written(&self, written: &BTreeMap<Ordinal, Written<'_>>, decided: &Disk) -> Result<(), Broken> {
        for (n, written) in written {
            let submitted = self.submitted.get(n).ok_or_else(|| format!("{written:?} was never written"))?;
            if (&submitted.to[..], &submitted.text[..]) != (written.to, written.text) {
                return Err(format!("submission {n} is stored as something else: {written:?}"));
            }
        }
        if let Some(n) = self.submitted.keys().find(|n| !written.contains_key(n)) {
            return Err(format!("submission {n}, in its author's eyes {:?}, is not in the store", self.stages.get(n)));
        }
        for (n, stage) in &self.stages {
            let stored = *stage >= Stage::Stored;
            if !stored && decided.decided(Origin { instance: self.instance, n: *n }).is_some() {
                return Err(format!("submission {n} is in the store and its author was not told"));
            }
        }
        Ok(())
    }
}

/// A submission as it is on disk.
#[derive(Debug)]
struct Written<'a> {
    to: &'a [UserId],
    text: &'a str,
}

/// What is on disk at the end, by whom it was written; each author's order is kept in each log.
pub(crate) fn check_disk<'a>(disk: &'a Disk, watches: impl Iterator<Item = &'a Watch>) -> Result<(), Broken> {
    let mut written: BTreeMap<Instance, BTreeMap<Ordinal, Written<'_>>> = BTreeMap::new();
    let mut last: BTreeMap<Instance, Ordinal> = BTreeMap::new();
    for message in disk.messages() {
        let Origin { instance, n } = message.origin;
        let numbers = written.entry(instance).or_default();
        if numbers.insert(n, Written { to: &[], text: &message.text }).is_some() {
            return Err(format!("submission {n} is stored twice: {message:?}"));
        }
        if last.insert(instance, n).is_some_and(|last| last >= n) {
            return Err(format!("{message:?} is submission {n}, and a later one of its author's is before it"));
        }
    }
    for user in disk.accounts().keys() {
        let mut last: BTreeMap<Instance, Ordinal> = BTreeMap::new();
        for (_, letter) in disk.inbox(*user) {
            let Origin { instance, n } = letter.origin;
            if last.insert(instance, n).is_some_and(|last| last >= n) {
                return Err(format!("{letter:?} is submission {n}, and a later one is before it in inbox {user}"));
            }
            check_letter(*user, letter)?;
            let numbers = written.entry(instance).or_default();
            let before = numbers.insert(n, Written { to: &letter.to, text: &letter.text });
            if letter.author == *user && before.is_some_and(|before| before.to.is_empty()) {
                return Err(format!("submission {n} is stored twice: {letter:?}"));
            }
        }
    }
    for watch in watches {
        let numbers = written.remove(&watch.instance).unwrap_or_default();
        watch.check_written(&numbers, disk)?;
    }
    match written.first_key_value() {
        Some((_, numbers)) => Err(format!("{:?} was written by nobody", numbers.values().next())),
        None => Ok(()),
    }
}

fn check_letter(user: UserId, letter: &Letter) -> Result<(), Broken> {
    let concerned = letter.author == user || letter.to.contains(&user);
    if concerned { Ok(()) } else { Err(format!("{letter:?} is in inbox {user}")) }
}

/// The private texts of a run: who may see which, and who saw which letter.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    concerned: BTreeMap<u32, BTreeSet<UserId>>,
    /// For each account, the indices of the letters some device of it was shown.
    shown: BTreeMap<UserId, BTreeSet<usize>>,
}

impl Secrets {
    pub(crate) fn on_written(&mut self, id: u32, author: UserId, to: &[UserId]) {
        self.concerned.insert(id, to.iter().copied().chain([author]).collect());
    }

    pub(crate) fn on_shown(&mut self, user: UserId, index: usize) {
        self.shown.entry(user).or_default().insert(index);
    }

    /// A datagram reaches a device: no private text in it may be somebody else's.
    pub(crate) fn check_datagram(&self, user: UserId, datagram: &[u8]) -> Result<(), Broken> {
        let Some(id) = secret_in(datagram) else { return Ok(()) };
        let concerned = self.concerned.get(&id);
        if concerned.is_none_or(|concerned| concerned.contains(&user)) {
            return Ok(());
        }
        Err(format!("a datagram brings account {user} a private text of {concerned:?}"))
    }

    /// A letter of this account's that no device of it was shown.
    pub(crate) fn unseen(&self, user: UserId, disk: &Disk) -> Option<usize> {
        let shown = self.shown.get(&user);
        (0..disk.inbox(user).len()).find(|index| shown.is_none_or(|shown| !shown.contains(index)))
    }
}
