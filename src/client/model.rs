//! What every front end shows: who there is, who is here, how the link is, what is not decided yet.

use std::collections::BTreeMap;

use super::event::Connection;
use crate::id::UserId;
use crate::text::name::name_key;
use crate::wire::frame::{MEMBER_ONLINE, Member};

/// The state of things as this client knows it. Read it between two events, or at any other time.
#[derive(Clone, Debug)]
pub struct Model {
    /// Everybody with an account, by id.
    pub members: BTreeMap<UserId, Member>,
    /// The link.
    pub connection: Connection,
    /// Who one is, since the first entry of this run or as the profile remembers.
    pub me: Option<UserId>,
    /// Folded usernames.
    pub(super) names: BTreeMap<String, UserId>,
    pub(super) online: usize,
    pub(crate) undecided: usize,
}

impl Model {
    /// Nobody known yet.
    pub(crate) fn new(me: Option<UserId>) -> Model {
        let (members, names) = (BTreeMap::new(), BTreeMap::new());
        Model { members, connection: Connection::Connecting, me, names, online: 0, undecided: 0 }
    }

    /// Who has this name now, however it is written (proto.md, section 11).
    pub fn by_name(&self, name: &str) -> Option<UserId> {
        self.names.get(&name_key(name)).copied()
    }

    /// A member's name now; empty while it is not known.
    pub fn name(&self, user: UserId) -> &str {
        self.members.get(&user).map_or("", |member| &member.username)
    }

    /// Is the member here? Oneself is from the moment the session stands, whatever the roster says yet.
    pub fn is_online(&self, user: UserId) -> bool {
        let recorded = self.members.get(&user).is_some_and(|member| member.flags & MEMBER_ONLINE != 0);
        recorded || (self.me == Some(user) && self.connection == Connection::Connected)
    }

    /// How many members are here, oneself included.
    pub fn online(&self) -> usize {
        let unrecorded = self.me.is_some_and(|me| {
            let member = self.members.get(&me);
            self.is_online(me) && member.is_some_and(|member| member.flags & MEMBER_ONLINE == 0)
        });
        self.online + usize::from(unrecorded)
    }

    /// How many of one's own messages are neither stored nor failed.
    pub fn undecided(&self) -> usize {
        self.undecided
    }

    /// Puts a record in place of what was held of that member.
    pub(crate) fn put(&mut self, member: Member) {
        let (user, here) = (member.user, member.flags & MEMBER_ONLINE != 0);
        let former = self.members.get(&user);
        let was_here = former.is_some_and(|former| former.flags & MEMBER_ONLINE != 0);
        if former.is_none_or(|former| former.username != member.username) {
            if let Some(key) = former.map(|former| name_key(&former.username)) {
                // Another member's record may have brought that key in the meantime.
                if self.names.get(&key) == Some(&user) {
                    self.names.remove(&key);
                }
            }
            self.names.insert(name_key(&member.username), user);
        }
        self.members.insert(user, member);
        self.online = self.online + usize::from(here) - usize::from(was_here);
    }
}
