//! When what is stored changed behind the core's back: another process looked after it, or a commit failed and the store
//! was read afresh. What the store holds is the truth, and who lost a right loses the session.

use super::Server;
use super::accounts::Accounts;
use crate::id::SessionIndex;
use crate::now::Now;
use crate::record::{Account, Loaded, PageRecord};
use crate::wire::frame::ByeReason;

impl Server {
    /// Another process (`preau admin`) changed what is stored.
    pub fn handle_changed(&mut self, now: Now, loaded: Loaded) {
        self.now = now;
        self.take_over(now, &loaded);
    }

    /// What the store holds is the truth: accounts, tokens, heads. Sessions that lost their right say goodbye.
    pub(super) fn take_over(&mut self, now: Now, loaded: &Loaded) {
        let old = std::mem::replace(&mut self.accounts, Accounts::new(loaded));
        for account in old.iter() {
            if let Some(new) = self.accounts.account_mut(account.id) {
                new.inbox_received = new.inbox_received.max(account.inbox_received);
            }
        }
        loaded.accounts.iter().for_each(|account| self.roster.update(account));
        self.submissions.reload(&loaded.instances);
        self.letters_time = self.letters_time.max(loaded.newest_letter);
        self.inboxes.reload(loaded.accounts.iter().map(|account| (account.id, account.inbox_head)));
        let pages: Vec<PageRecord> =
            loaded.pages.iter().filter(|page| page.first > self.room.head()).cloned().collect();
        pages.into_iter().for_each(|page| self.room.append(page));
        let removed = |account: &&Account| account.removed && old.account(account.id).is_none_or(|old| !old.removed);
        if self.accounts.iter().any(|account| removed(&account)) {
            self.rekey();
        }
        self.end_lost_rights(now);
        if let Some(&(epoch, since)) = loaded.epochs.last().filter(|(epoch, _)| *epoch > self.room.epoch()) {
            self.room.begin_epoch(epoch, since);
            self.goodbye_all(now, ByeReason::Closing);
        }
        self.touch_present();
    }

    /// Sessions of accounts that were removed, or revoked since they began, say goodbye.
    pub(super) fn end_lost_rights(&mut self, now: Now) {
        let lost: Vec<(SessionIndex, ByeReason)> = self
            .sessions
            .values()
            .filter_map(|session| match self.accounts.account(session.user) {
                Some(account) if !account.removed && account.revocations == session.revocations => None,
                Some(account) if !account.removed => Some((session.index, ByeReason::Revoked)),
                _ => Some((session.index, ByeReason::Removed)),
            })
            .collect();
        for (index, reason) in lost {
            if let Some(session) = self.sessions.get_mut(&index) {
                session.say_bye(now.mono, reason);
                self.touch(index);
            }
        }
    }
}
