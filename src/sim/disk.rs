//! The server's store, modelled: what is durable, what a batch does to it, what is read back.
//!
//! It is held to the same conditions as the real one (`store`): logs dense, an instance's numbers used once and by one
//! account, a letter in exactly the inboxes it concerns. A batch that breaks one of these fails the run.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Epoch, Instance, Ordinal, RoomId, Seq, UserId};
use crate::record::{
    Account, Decided, Fetch, Fetched, Found, LOADED_PAGES, Letter, Loaded, MAX_DEVICES, MAX_TOKENS, Op, Origin,
    PageRecord, RoomMessage, Token,
};

/// What is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    accounts: BTreeMap<UserId, Account>,
    taken: BTreeMap<String, UserId>,
    tokens: Vec<Token>,
    epochs: Vec<(Epoch, Seq)>,
    pages: Vec<PageRecord>,
    /// The room's messages, in order of seq.
    messages: Vec<RoomMessage>,
    letters: Vec<Letter>,
    /// For each account, its inbox: the seq of each letter's last entry, and which letter.
    inboxes: BTreeMap<UserId, Vec<(Seq, usize)>>,
    instances: BTreeMap<Instance, (UserId, Ordinal)>,
    decided: BTreeMap<(Instance, Ordinal), Decided>,
    registration_open: bool,
    /// Planted: an instance's numbers are not looked at, so that the same one may be stored twice.
    pub(super) lax: bool,
}

impl Disk {
    /// A store just made.
    pub(crate) fn new() -> Disk {
        Disk {
            accounts: BTreeMap::new(),
            taken: BTreeMap::new(),
            tokens: Vec::new(),
            epochs: vec![(Epoch(1), Seq(0))],
            pages: Vec::new(),
            messages: Vec::new(),
            letters: Vec::new(),
            inboxes: BTreeMap::new(),
            instances: BTreeMap::new(),
            decided: BTreeMap::new(),
            registration_open: true,
            lax: false,
        }
    }

    pub(crate) fn accounts(&self) -> &BTreeMap<UserId, Account> {
        &self.accounts
    }

    /// The room's messages, in order of seq.
    pub(crate) fn messages(&self) -> &[RoomMessage] {
        &self.messages
    }

    /// One account's letters, in order, each with the seq of its last entry there.
    pub(crate) fn inbox(&self, user: UserId) -> impl ExactSizeIterator<Item = (Seq, &Letter)> + DoubleEndedIterator {
        let places = self.inboxes.get(&user).map_or(&[][..], Vec::as_slice);
        places.iter().map(|(seq, letter)| (*seq, &self.letters[*letter]))
    }

    /// The `index`th letter of an account's inbox and the seq of its last entry there.
    pub(crate) fn letter(&self, user: UserId, index: usize) -> Option<(Seq, &Letter)> {
        let (seq, letter) = self.inboxes.get(&user)?.get(index)?;
        Some((*seq, &self.letters[*letter]))
    }

    pub(crate) fn decided(&self, origin: Origin) -> Option<&Decided> {
        self.decided.get(&(origin.instance, origin.n))
    }

    /// The room's last seq.
    pub(crate) fn head(&self) -> Seq {
        self.pages.last().map_or(Seq(0), PageRecord::last)
    }

    /// What a server starts from.
    pub(crate) fn load(&self) -> Loaded {
        Loaded {
            next_user: UserId(1),
            accounts: self.accounts.values().cloned().collect(),
            taken: self.taken.iter().map(|(key, user)| (key.clone(), *user)).collect(),
            tokens: self.tokens.clone(),
            epochs: self.epochs.clone(),
            pages: self.pages[self.pages.len().saturating_sub(LOADED_PAGES)..].to_vec(),
            newest_letter: self.letters.last().map(|letter| letter.time).unwrap_or_default(),
            instances: self.instances.iter().map(|(instance, (user, n))| (*instance, *user, *n)).collect(),
            registration_open: self.registration_open,
        }
    }

    /// Applies a batch whole.
    ///
    /// # Errors
    /// In words, what does not fit with what is stored. The model is of no further use then.
    pub(crate) fn apply(&mut self, ops: &[Op]) -> Result<(), String> {
        let mut numbers: BTreeMap<Instance, (UserId, BTreeSet<Ordinal>)> = BTreeMap::new();
        let mut decide = |author: UserId, origin: Origin| {
            let (_, used) = numbers.entry(origin.instance).or_insert((author, BTreeSet::new()));
            used.insert(origin.n)
        };
        for op in ops {
            let fresh = match op {
                Op::Message(RoomMessage { author, origin, .. })
                | Op::Letter(Letter { author, origin, .. })
                | Op::Refused { origin, author, .. } => decide(*author, *origin),
                _ => true,
            };
            if !fresh {
                return Err(format!("a batch decides a submission twice: {op:?}"));
            }
            self.apply_one(op)?;
        }
        let head = self.head();
        if let Some(message) = self.messages.last().filter(|message| message.seq > head) {
            return Err(format!("{message:?} is beyond the head #{head}"));
        }
        for (instance, (user, used)) in numbers {
            self.advance(instance, user, &used)?;
        }
        Ok(())
    }

    fn advance(&mut self, instance: Instance, user: UserId, used: &BTreeSet<Ordinal>) -> Result<(), String> {
        let (Some(first), Some(last)) = (used.first(), used.last()) else { return Ok(()) };
        let (owner, decided) = self.instances.entry(instance).or_insert((user, Ordinal(0)));
        if *owner != user {
            return Err(format!("the instance of account {owner} is used by account {user}"));
        }
        if *first <= *decided && !self.lax {
            return Err(format!("submission {first} of account {user} is decided again, after {decided}"));
        }
        *decided = *last.max(decided);
        Ok(())
    }

    fn apply_one(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Register(account) => {
                self.take_name(account.id, &account.name_key)?;
                self.inboxes.insert(account.id, Vec::new());
                if self.accounts.insert(account.id, (**account).clone()).is_some() {
                    return Err(format!("account {} is registered again", account.id));
                }
            }
            Op::Rename { user, username, name_key } => {
                self.take_name(*user, name_key)?;
                let account = self.account(*user)?;
                account.former = Some(std::mem::replace(&mut account.username, username.clone()));
                account.name_key = name_key.clone();
            }
            Op::Replace { user, password, recovery } => {
                let account = self.account(*user)?;
                account.password = password.clone();
                account.recovery = recovery.clone().or(account.recovery.take());
                account.reset = None;
                self.tokens.retain(|token| token.user != *user);
            }
            Op::Reset { user, code, expires } => self.account(*user)?.reset = Some((code.clone(), *expires)),
            Op::Token(token) => self.add_token(token),
            Op::Device(user, hash) => {
                let devices = &mut self.account(*user)?.devices;
                devices.retain(|device| device != hash);
                devices.push(*hash);
                devices.drain(..devices.len().saturating_sub(MAX_DEVICES));
            }
            Op::RevokeTokens(user) => self.tokens.retain(|token| token.user != *user),
            Op::RevokeToken(hash) => self.tokens.retain(|token| token.hash != *hash),
            Op::Role(user, role) => self.account(*user)?.role = *role,
            Op::Remove(user) => {
                self.account(*user)?.removed = true;
                self.tokens.retain(|token| token.user != *user);
            }
            Op::RegistrationOpen(open) => self.registration_open = *open,
            Op::Page(page) => self.add_page(page)?,
            Op::Message(message) => self.add_message(message)?,
            Op::Letter(letter) => self.add_letter(letter)?,
            Op::Refused { origin, author: _, code } => {
                self.decided.insert((origin.instance, origin.n), Decided::Refused { code: *code });
            }
            Op::InboxReceived(user, seq) => {
                let account = self.account(*user)?;
                account.inbox_received = account.inbox_received.max(*seq);
            }
            Op::Epoch { epoch, since } => self.epochs.push((*epoch, *since)),
        }
        Ok(())
    }

    fn account(&mut self, user: UserId) -> Result<&mut Account, String> {
        self.accounts.get_mut(&user).ok_or_else(|| format!("there is no account {user}"))
    }

    fn take_name(&mut self, user: UserId, key: &str) -> Result<(), String> {
        let owner = *self.taken.entry(key.to_owned()).or_insert(user);
        if owner == user { Ok(()) } else { Err(format!("account {user} takes a name of account {owner}")) }
    }

    fn add_token(&mut self, token: &Token) {
        self.tokens.push(token.clone());
        let of = |tokens: &[Token]| tokens.iter().filter(|other| other.user == token.user).count();
        while of(&self.tokens) > MAX_TOKENS {
            let owned = self.tokens.iter().enumerate().filter(|(_, other)| other.user == token.user);
            let first = owned.min_by_key(|(_, other)| other.expires).map(|(index, _)| index);
            first.map(|index| self.tokens.remove(index));
        }
    }

    fn add_page(&mut self, page: &PageRecord) -> Result<(), String> {
        if page.room != RoomId::MAIN || page.count == 0 || page.first != self.head().next() {
            return Err(format!("{page:?} after #{}", self.head()));
        }
        if self.epochs.last().is_none_or(|(epoch, _)| page.epoch != *epoch) {
            return Err(format!("{page:?} is of epoch {}", page.epoch));
        }
        self.pages.push(page.clone());
        Ok(())
    }

    fn add_message(&mut self, message: &RoomMessage) -> Result<(), String> {
        let before = self.messages.last();
        if before.is_some_and(|before| before.seq >= message.seq || before.time > message.time) {
            return Err(format!("{message:?} after {before:?}"));
        }
        let decided = Decided::Room { room: message.room, seq: message.seq, of: message.of };
        self.decided.insert((message.origin.instance, message.origin.n), decided);
        self.messages.push(message.clone());
        Ok(())
    }

    fn add_letter(&mut self, letter: &Letter) -> Result<(), String> {
        let concerned: BTreeSet<UserId> = letter.to.iter().copied().chain([letter.author]).collect();
        let placed: BTreeSet<UserId> = letter.places.iter().map(|(user, _)| *user).collect();
        if concerned != placed || placed.len() != letter.places.len() {
            return Err(format!("{letter:?} is not in the inboxes it concerns, once each"));
        }
        for (user, seq) in &letter.places {
            if let Some((_, before)) = self.inbox(*user).next_back().filter(|(_, before)| before.time > letter.time) {
                return Err(format!("{letter:?} of {} follows {before:?} of {}", letter.time, before.time));
            }
            let account = self.account(*user)?;
            if seq.0 != account.inbox_head.0 + u64::from(letter.entries) {
                return Err(format!("{letter:?} at #{seq} of inbox {user}, whose head is #{}", account.inbox_head));
            }
            account.inbox_head = *seq;
            self.inboxes.entry(*user).or_default().push((*seq, self.letters.len()));
            if *user == letter.author {
                let decided = Decided::Inbox { seq: *seq, to: letter.to.clone() };
                self.decided.insert((letter.origin.instance, letter.origin.n), decided);
            }
        }
        self.letters.push(letter.clone());
        Ok(())
    }

    /// Answers a question.
    pub(crate) fn fetch(&self, fetch: &Fetch) -> Fetched {
        match fetch {
            Fetch::Pages { room, first, last, limit } => {
                let pages = self.pages.iter().filter(|page| page.room == *room);
                let wanted = pages.filter(|page| page.last() >= *first && page.first <= *last);
                Fetched::Pages(wanted.take(*limit).cloned().collect())
            }
            Fetch::Letters { user, first, last, limit } => {
                let wanted = self
                    .inbox(*user)
                    .filter(|(seq, letter)| *seq >= *first && seq.0.saturating_sub(u64::from(letter.entries)) < last.0);
                Fetched::Letters(wanted.take(*limit).map(|(_, letter)| letter.clone()).collect())
            }
            Fetch::Decided { instance, from, limit } => {
                let of = self.decided.range((*instance, *from)..=(*instance, Ordinal(u64::MAX)));
                Fetched::Decided(of.take(*limit).map(|((_, n), decided)| (*n, decided.clone())).collect())
            }
            Fetch::RoomHistory { room: _, before, limit } => {
                let found = self.messages.iter().filter(|message| before.is_none_or(|before| message.seq < before));
                Fetched::Found(newest(found.map(in_room), *limit))
            }
            Fetch::InboxHistory { user, with, before, limit } => {
                let (user, with, before) = (*user, *with, *before);
                let found = self.inbox(user).filter(move |(seq, letter)| {
                    before.is_none_or(|before| *seq < before)
                        && with.is_none_or(|with| {
                            letter.author == with && with != user || letter.author == user && letter.to.contains(&with)
                        })
                });
                Fetched::Found(newest(found.map(in_inbox), *limit))
            }
            Fetch::Search { user, words, limit } => {
                let holds = |text: &str| words.split_whitespace().all(|word| text.contains(word));
                let mut found: Vec<Found> = self.messages.iter().filter(|m| holds(&m.text)).map(in_room).collect();
                found.extend(self.inbox(*user).filter(|(_, letter)| holds(&letter.text)).map(in_inbox));
                found.sort_by_key(|found| found.time);
                Fetched::Found(newest(found.into_iter(), *limit))
            }
        }
    }

    /// Planted: each instance's last decided number is forgotten where `unheard` says so.
    pub(super) fn load_forgetting(&self, unheard: impl Fn(Instance, Ordinal) -> bool) -> Loaded {
        let mut loaded = self.load();
        for (instance, _, decided) in &mut loaded.instances {
            decided.0 -= u64::from(unheard(*instance, *decided));
        }
        loaded
    }

    /// Planted: the letters of the account after `user`, as if they were in `user`'s inbox.
    pub(super) fn fetch_misplaced(&self, user: UserId, first: Seq, last: Seq, limit: usize) -> Fetched {
        let other = UserId(user.0 % self.accounts.len() as u32 + 1);
        let Fetched::Letters(mut letters) = self.fetch(&Fetch::Letters { user: other, first, last, limit }) else {
            return Fetched::Letters(Vec::new());
        };
        for letter in &mut letters {
            letter.places.retain(|(place, _)| *place != user);
            letter.places.iter_mut().filter(|(place, _)| *place == other).for_each(|(place, _)| *place = user);
        }
        Fetched::Letters(letters)
    }
}

fn newest(found: impl Iterator<Item = Found>, limit: usize) -> Vec<Found> {
    let mut all: Vec<Found> = found.collect();
    all.drain(..all.len().saturating_sub(limit));
    all
}

fn in_room(message: &RoomMessage) -> Found {
    Found {
        room: Some(message.room),
        seq: message.seq,
        author: message.author,
        to: Vec::new(),
        time: message.time,
        text: message.text.clone(),
    }
}

fn in_inbox((seq, letter): (Seq, &Letter)) -> Found {
    Found {
        room: None,
        seq,
        author: letter.author,
        to: letter.to.clone(),
        time: letter.time,
        text: letter.text.clone(),
    }
}
