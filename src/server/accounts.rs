//! Accounts in memory: by id, by name, by token; and how often somebody guessed (proto.md, sections 4 and 11).

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::id::UserId;
use crate::now::{Instant, WallMs};
use crate::record::{
    Account, Credential, CredentialKind, Loaded, MAX_DEVICES, MAX_TOKENS, SecretHash, Token, USER_STEP,
};
use crate::text::name::name_key;

/// Tries that cost no wait.
const FREE_TRIES: u32 = 5;
/// The first wait; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait; after twice as long without a try, all is forgotten.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Names that nobody bears whose tries are counted. Those of accounts are always counted: there are no more of them than
/// accounts and devices.
const COUNTED_NAMES: usize = 4096;

/// All accounts, and what is found by name or token.
#[derive(Debug, Default)]
pub struct Accounts {
    by_id: BTreeMap<UserId, Account>,
    taken: BTreeMap<String, UserId>,
    tokens: BTreeMap<SecretHash, Token>,
    next: UserId,
    /// Whether newcomers may register.
    pub registration_open: bool,
}

impl Accounts {
    /// From what the store holds.
    pub fn new(loaded: &Loaded) -> Accounts {
        Accounts {
            by_id: loaded.accounts.iter().map(|account| (account.id, account.clone())).collect(),
            taken: loaded.taken.iter().cloned().collect(),
            tokens: loaded.tokens.iter().map(|token| (token.hash, token.clone())).collect(),
            next: loaded.next_user,
            registration_open: loaded.registration_open,
        }
    }

    /// All accounts, removed ones too, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.by_id.values()
    }

    /// The account of an id.
    pub fn account(&self, user: UserId) -> Option<&Account> {
        self.by_id.get(&user)
    }

    /// The account of an id, to be changed.
    pub fn account_mut(&mut self, user: UserId) -> Option<&mut Account> {
        self.by_id.get_mut(&user)
    }

    /// Is it a member who may be written to?
    pub fn is_member(&self, user: UserId) -> bool {
        self.account(user).is_some_and(|account| !account.removed)
    }

    /// The account that bears this name now, as typed; not a removed one.
    pub fn named(&self, username: &str) -> Option<&Account> {
        let key = name_key(username);
        let account = self.account(*self.taken.get(&key)?)?;
        (account.name_key == key && !account.removed).then_some(account)
    }

    /// May `user` (None: a newcomer) take this folded name? A name once taken is its owner's for ever.
    pub fn name_free(&self, key: &str, user: Option<UserId>) -> bool {
        self.taken.get(key).is_none_or(|owner| Some(*owner) == user)
    }

    /// The id of the next account.
    pub fn next_id(&self) -> UserId {
        UserId(self.by_id.last_key_value().map_or(0, |(id, _)| id.0) + 1).max(self.next)
    }

    /// A new epoch begins: ids of the lost history are not given again.
    pub fn leave_out_ids(&mut self) {
        let last = self.by_id.last_key_value().map_or(0, |(id, _)| id.0);
        self.next = self.next.max(UserId(last.saturating_add(USER_STEP)));
    }

    /// The credential of a kind, if the account has it and it is good now.
    pub fn credential(account: &Account, kind: CredentialKind, now: WallMs) -> Option<&Credential> {
        match kind {
            CredentialKind::Password => Some(&account.password),
            CredentialKind::Recovery => account.recovery.as_ref(),
            CredentialKind::Reset => {
                account.reset.as_ref().filter(|(_, expires)| now < *expires).map(|(credential, _)| credential)
            }
        }
    }

    /// Is this still the account's credential of that kind? Who proved another has proved nothing.
    pub fn holds(&self, user: UserId, kind: CredentialKind, identifier: [u8; 16], now: WallMs) -> bool {
        self.account(user).filter(|account| !account.removed).is_some_and(|account| {
            Accounts::credential(account, kind, now).is_some_and(|credential| credential.identifier == identifier)
        })
    }

    /// A new account is on disk.
    pub fn insert(&mut self, account: Account) {
        self.taken.insert(account.name_key.clone(), account.id);
        self.by_id.insert(account.id, account);
    }

    /// A new name is on disk.
    pub fn rename(&mut self, user: UserId, username: String, key: String) {
        if let Some(account) = self.by_id.get_mut(&user) {
            self.taken.insert(key.clone(), user);
            account.former = Some(std::mem::replace(&mut account.username, username));
            account.name_key = key;
        }
    }

    /// Whose token this is, while it is good.
    pub fn token(&self, hash: &SecretHash, now: WallMs) -> Option<UserId> {
        let token = self.tokens.get(hash).filter(|token| now < token.expires)?;
        self.is_member(token.user).then_some(token.user)
    }

    /// A token is on disk; those that expired go, and the account's oldest if it has too many.
    pub fn insert_token(&mut self, token: Token, now: WallMs) {
        let user = token.user;
        self.tokens.retain(|_, token| now < token.expires);
        self.tokens.insert(token.hash, token);
        let own = self.tokens.values().filter(|token| token.user == user);
        if own.clone().count() > MAX_TOKENS {
            let oldest = own.min_by_key(|token| token.expires).map(|token| token.hash);
            oldest.map(|hash| self.tokens.remove(&hash));
        }
    }

    /// A token ends.
    pub fn remove_token(&mut self, hash: &SecretHash) {
        self.tokens.remove(hash);
    }

    /// All tokens and sessions of an account end.
    pub fn revoke(&mut self, user: UserId) {
        self.tokens.retain(|_, token| token.user != user);
        if let Some(account) = self.by_id.get_mut(&user) {
            account.revocations += 1;
        }
    }

    /// A device signed in: it has a counter of its own from now on.
    pub fn insert_device(&mut self, user: UserId, device: SecretHash) {
        if let Some(account) = self.by_id.get_mut(&user) {
            account.devices.retain(|known| *known != device);
            account.devices.push(device);
            let excess = account.devices.len().saturating_sub(MAX_DEVICES);
            account.devices.drain(..excess);
        }
    }
}

/// What is kept of a token or a device secret.
pub fn hash(secret: &[u8; 32]) -> SecretHash {
    Sha256::digest(secret).into()
}

/// Whose tries are counted together: a name, or a name on a device that signed in before.
pub type Guesser = (String, Option<SecretHash>);

/// Counts the tries at each name, known or not: each OPAQUE 2 sent is one, each valid OPAQUE 3 takes one back.
#[derive(Debug, Default)]
pub struct Guesses {
    accounts: BTreeMap<Guesser, Tries>,
    unknown: BTreeMap<Guesser, Tries>,
}

#[derive(Debug)]
struct Tries {
    count: u32,
    last: Instant,
}

impl Tries {
    /// When the next try is allowed.
    fn allowed(&self) -> Instant {
        match self.count.checked_sub(FREE_TRIES) {
            None => self.last,
            Some(over) => self.last + FIRST_WAIT.saturating_mul(1 << over.min(16)).min(LONGEST_WAIT),
        }
    }
}

impl Guesses {
    /// A try is to be answered; the Err is how long to wait instead. `exists`: an account bears the name.
    pub fn on_try(&mut self, now: Instant, guesser: Guesser, exists: bool) -> Result<(), Duration> {
        if !exists && self.unknown.len() >= COUNTED_NAMES && !self.unknown.contains_key(&guesser) {
            self.make_space(now);
        }
        let held = if exists { &mut self.accounts } else { &mut self.unknown };
        let tries = held.entry(guesser).or_insert(Tries { count: 0, last: now });
        if now.since(tries.last) >= LONGEST_WAIT * 2 {
            tries.count = 0;
        }
        if now < tries.allowed() {
            return Err(tries.allowed().since(now));
        }
        (tries.count, tries.last) = (tries.count + 1, now);
        Ok(())
    }

    /// A try proved right.
    pub fn on_proof(&mut self, guesser: &Guesser) {
        if let Some(tries) = self.accounts.get_mut(guesser) {
            tries.count = tries.count.saturating_sub(1);
            if tries.count == 0 {
                self.accounts.remove(guesser);
            }
        }
    }

    /// Forgets who may try again anyway; failing that, the one who tried longest ago.
    fn make_space(&mut self, now: Instant) {
        self.unknown.retain(|_, tries| now < tries.allowed());
        if self.unknown.len() >= COUNTED_NAMES {
            let oldest = self.unknown.iter().min_by_key(|(_, tries)| tries.last).map(|(guesser, _)| guesser.clone());
            oldest.map(|guesser| self.unknown.remove(&guesser));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesser(device: Option<u8>) -> Guesser {
        ("zoe".into(), device.map(|byte| [byte; 32]))
    }

    const SECOND: u64 = 1_000_000;

    #[test]
    fn five_tries_are_free_then_waits_double() {
        let mut guesses = Guesses::default();
        let mut now = Instant(0);
        (0..5).for_each(|_| guesses.on_try(now, guesser(None), true).unwrap());
        for wait in [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(guesses.on_try(now, guesser(None), true), Err(Duration::from_secs(wait)));
            now = now + Duration::from_secs(wait);
            guesses.on_try(now, guesser(None), true).unwrap();
        }
    }

    #[test]
    fn at_most_thirteen_tries_fit_ten_minutes() {
        let mut guesses = Guesses::default();
        let tried = (0..6000).filter(|tenth| guesses.on_try(Instant(tenth * SECOND / 10), guesser(None), true).is_ok());
        assert!(tried.count() <= 13);
    }

    #[test]
    fn invented_names_do_not_wash_a_count_away() {
        let mut guesses = Guesses::default();
        (0..5).for_each(|_| guesses.on_try(Instant(0), guesser(None), true).unwrap());
        for n in 0..COUNTED_NAMES * 3 {
            let _ = guesses.on_try(Instant(SECOND), (n.to_string(), None), false);
        }
        assert!(guesses.on_try(Instant(SECOND), guesser(None), true).is_err());
    }

    #[test]
    fn a_right_try_is_taken_back() {
        let mut guesses = Guesses::default();
        for _ in 0..100 {
            guesses.on_try(Instant(0), guesser(None), true).unwrap();
            guesses.on_proof(&guesser(None));
        }
    }

    #[test]
    fn a_known_device_has_a_counter_of_its_own() {
        let mut guesses = Guesses::default();
        (0..5).for_each(|_| guesses.on_try(Instant(0), guesser(None), true).unwrap());
        assert!(guesses.on_try(Instant(0), guesser(None), true).is_err());
        assert!(guesses.on_try(Instant(0), guesser(Some(1)), true).is_ok());
    }

    #[test]
    fn many_names_do_not_fill_the_memory() {
        let mut guesses = Guesses::default();
        for n in 0..COUNTED_NAMES * 2 {
            guesses.on_try(Instant(n as u64), (n.to_string(), None), false).unwrap();
        }
        assert!(guesses.unknown.len() <= COUNTED_NAMES);
    }
}
