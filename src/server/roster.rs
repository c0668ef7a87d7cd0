//! The roster: who the members are and who is online, as records that bear the version of their latest change
//! (proto.md, section 9). Made anew at each start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{Boot, UserId, Version};
use crate::now::Instant;
use crate::record::{Account, Role};
use crate::wire::frame::{self, Frame, MEMBER_ONLINE, MEMBER_REMOVED, MEMBER_TEACHER, Member};
use crate::wire::limits::LIST;
use crate::wire::put;

/// Who comes or goes first is told at once; what follows gathers this long, so that a class that comes in together is
/// a few frames.
const COALESCE: Duration = Duration::from_millis(250);

/// The members' records and their versions.
#[derive(Debug)]
pub struct Roster {
    boot: Boot,
    head: Version,
    members: BTreeMap<UserId, Member>,
    by_version: BTreeMap<Version, UserId>,
    /// Present sessions of each account that has any.
    sessions: BTreeMap<UserId, u32>,
    /// Accounts whose record does not yet say what `sessions` says.
    stale: BTreeSet<UserId>,
    /// Until then comings and goings gather.
    due: Option<Instant>,
}

impl Roster {
    /// All accounts, nobody online.
    pub fn new<'a>(boot: Boot, accounts: impl Iterator<Item = &'a Account>) -> Roster {
        let mut roster = Roster {
            boot,
            head: Version(0),
            members: BTreeMap::new(),
            by_version: BTreeMap::new(),
            sessions: BTreeMap::new(),
            stale: BTreeSet::new(),
            due: None,
        };
        accounts.for_each(|account| roster.update(account));
        roster
    }

    /// The run it belongs to.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// Its newest version.
    pub fn head(&self) -> Version {
        self.head
    }

    /// Has the account a present session?
    pub fn online(&self, user: UserId) -> bool {
        self.sessions.contains_key(&user)
    }

    /// Accounts with a present session, ascending.
    pub fn online_users(&self) -> impl Iterator<Item = UserId> + '_ {
        self.sessions.keys().copied()
    }

    /// A present session of the account began; true if the roster changed by it now.
    pub fn came(&mut self, now: Instant, user: UserId) -> bool {
        *self.sessions.entry(user).or_insert(0) += 1;
        self.mark_stale(now, user)
    }

    /// A present session of the account ended; true if the roster changed by it now.
    pub fn went(&mut self, now: Instant, user: UserId) -> bool {
        if let Some(count) = self.sessions.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.sessions.remove(&user);
            }
        }
        self.mark_stale(now, user)
    }

    /// The account is new or has changed: its record says so at once.
    pub fn update(&mut self, account: &Account) {
        self.stale.remove(&account.id);
        let record = self.record(account);
        let old = self.members.get(&account.id);
        if old.is_some_and(|old| Member { version: old.version, ..record.clone() } == *old) {
            return;
        }
        self.put(record);
    }

    /// When [`Roster::handle_timeout`] has something to do.
    pub fn timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Writes down who came and went meanwhile; true if anything changed.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let changed = self.write_down();
        self.due = changed.then(|| now + COALESCE);
        changed
    }

    /// The bytes of a frame with the records after `after`, up to `limit` or as many as fit `room_for` bytes, and the
    /// version it covers up to. None when not even one fits.
    pub fn frame(&self, after: Version, limit: Version, room_for: usize) -> Option<(Vec<u8>, Version)> {
        // Kind, array, boot, two versions, list header.
        let mut left = room_for.checked_sub(1 + 1 + 5 + 9 + 9 + 3)?;
        let mut members = Vec::new();
        let mut upto = limit;
        let mut record = Vec::new();
        for (&version, user) in self.by_version.range(after.next()..=limit) {
            record.clear();
            put(&self.members[user], &mut record);
            if members.len() == LIST || record.len() > left {
                upto = Version(version.0 - 1);
                break;
            }
            left -= record.len();
            members.push(self.members[user].clone());
        }
        if upto <= after {
            return None;
        }
        let mut bytes = Vec::new();
        Frame::from(frame::Roster { boot: self.boot, after, upto, members }).put(&mut bytes);
        Some((bytes, upto))
    }

    fn mark_stale(&mut self, now: Instant, user: UserId) -> bool {
        self.stale.insert(user);
        if self.due.is_some() {
            return false;
        }
        self.due = Some(now + COALESCE);
        self.write_down()
    }

    fn write_down(&mut self) -> bool {
        let before = self.head;
        for user in std::mem::take(&mut self.stale) {
            let online = self.online(user);
            let Some(member) = self.members.get(&user) else { continue };
            if (member.flags & MEMBER_ONLINE != 0) != online {
                let flags = (member.flags & !MEMBER_ONLINE) | if online { MEMBER_ONLINE } else { 0 };
                let record = Member { flags, ..member.clone() };
                self.put(record);
            }
        }
        self.head != before
    }

    fn record(&self, account: &Account) -> Member {
        let mut flags = 0;
        if self.online(account.id) {
            flags |= MEMBER_ONLINE;
        }
        if account.role == Role::Teacher {
            flags |= MEMBER_TEACHER;
        }
        if account.removed {
            flags |= MEMBER_REMOVED;
        }
        Member {
            user: account.id,
            version: self.head.next(),
            username: account.username.clone(),
            first_name: account.first_name.clone(),
            last_name: account.last_name.clone(),
            former: account.former.clone(),
            flags,
        }
    }

    fn put(&mut self, mut record: Member) {
        self.head = self.head.next();
        record.version = self.head;
        self.by_version.insert(self.head, record.user);
        if let Some(old) = self.members.insert(record.user, record) {
            self.by_version.remove(&old.version);
        }
    }
}

impl Version {
    /// The version after this one.
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::account;
    use crate::wire::frame::Protection;

    fn read(bytes: &[u8]) -> frame::Roster {
        match Frame::take_all(bytes, Protection::Readable, Some(false)).unwrap().remove(0) {
            Frame::Roster(roster) => roster,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_class_that_comes_in_together_is_one_frame() {
        let accounts: Vec<_> = (1..=30).map(account).collect();
        let mut roster = Roster::new(Boot(1), accounts.iter());
        assert_eq!(roster.head(), Version(30));
        let at_once = (1..=30).filter(|user| roster.came(Instant(u64::from(*user)), UserId(*user))).count();
        assert_eq!((at_once, roster.head()), (1, Version(31)), "the first one");
        assert!(!roster.handle_timeout(Instant(249_000)), "not yet");
        assert!(roster.handle_timeout(roster.timeout().unwrap()));
        let (bytes, upto) = roster.frame(Version(31), roster.head(), 4000).unwrap();
        assert_eq!((upto, read(&bytes).members.len()), (Version(60), 29));
        assert!(!roster.handle_timeout(roster.timeout().unwrap()));
        assert_eq!(roster.timeout(), None);
    }

    #[test]
    fn who_comes_and_goes_within_the_wait_changes_nothing() {
        let accounts = [account(1), account(2)];
        let mut roster = Roster::new(Boot(1), accounts.iter());
        assert!(roster.came(Instant(0), UserId(2)));
        roster.came(Instant(1), UserId(1));
        roster.went(Instant(2), UserId(1));
        assert!(!roster.handle_timeout(roster.timeout().unwrap()));
    }

    #[test]
    fn a_record_that_changed_again_stands_only_at_its_newest_version() {
        let mut accounts = [account(1), account(2)];
        let mut roster = Roster::new(Boot(1), accounts.iter());
        accounts[0].username = "renamed".into();
        roster.update(&accounts[0]);
        let (bytes, upto) = roster.frame(Version(0), Version(2), 1000).unwrap();
        assert_eq!((upto, read(&bytes).members.len()), (Version(2), 1), "the first one moved on");
        let (bytes, _) = roster.frame(Version(2), Version(3), 1000).unwrap();
        assert_eq!(read(&bytes).members[0].username, "renamed");
    }

    #[test]
    fn frames_are_cut_where_the_datagram_ends() {
        let accounts: Vec<_> = (1..=300).map(account).collect();
        let roster = Roster::new(Boot(1), accounts.iter());
        let (mut after, mut seen) = (Version(0), 0);
        while after < roster.head() {
            let (bytes, upto) = roster.frame(after, roster.head(), 1000).unwrap();
            assert!(bytes.len() <= 1000 && upto > after);
            seen += read(&bytes).members.len();
            after = upto;
        }
        assert_eq!(seen, 300);
        assert!(roster.frame(Version(0), Version(1), 30).is_none(), "no space for one");
    }
}
