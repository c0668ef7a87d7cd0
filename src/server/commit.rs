//! What is on its way to the disk: work gathers while one batch is being stored, the next batch takes all of it (group
//! commit), and nothing is acknowledged, relayed or believed before it is stored (design: one batch outstanding).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_bytes::ByteArray;

use super::Server;
use super::accounts::hash;
use super::event::Event;
use super::inbox;
use super::receipts::others;
use super::room::Room;
use super::submissions::Ready;
use crate::id::{CallId, Epoch, Ordinal, RoomId, Seq, SessionIndex, UserId};
use crate::now::{Instant, Now, WallMs};
use crate::record::{
    Account, Batch, Credential, CredentialKind, Decided, Letter, Op, Origin, PageRecord, Role, RoomMessage, SecretHash,
    Stored, Token,
};
use crate::text::name::Username;
use crate::wire::call::Reply;
use crate::wire::entrance::Refusal;
use crate::wire::frame::{self, ByeReason, SubmitRefusal, TIP_NOT_STORING, TIP_STORING};
use crate::wire::limits::TOKEN_LIFETIME;

/// Pieces of work in one batch: enough to share an fsync, little enough to be quick.
const BATCH: usize = 1024;
/// What devices have received is written down lazily: a crash costs letters shown twice to a new device, no more.
const RECEIVED_AFTER: Duration = Duration::from_secs(2);

/// Something to be stored.
pub enum Work {
    /// A submission whose turn has come.
    Submission(Ready),
    /// A registration that was proven.
    Register {
        /// The handshake.
        index: SessionIndex,
        /// The username.
        username: Username,
        /// First name.
        first_name: String,
        /// Last name.
        last_name: String,
        /// The password's record.
        password: Credential,
        /// The recovery code's.
        recovery: Credential,
    },
    /// A replacement that was proven.
    Replace {
        /// The handshake.
        index: SessionIndex,
        /// Whose.
        user: UserId,
        /// What was proven.
        kind: CredentialKind,
        /// Which credential of that kind it was.
        proves: [u8; 16],
        /// The new password's record.
        password: Credential,
        /// The new recovery code's.
        recovery: Credential,
    },
    /// A new username.
    Rename {
        /// Who asked.
        session: SessionIndex,
        /// By which call.
        call: CallId,
        /// Whose.
        user: UserId,
        /// The new one.
        username: Username,
    },
    /// A token to end.
    SignOut {
        /// Who asked.
        session: SessionIndex,
        /// By which call.
        call: CallId,
    },
    /// A token to give.
    Token {
        /// To whom.
        session: SessionIndex,
        /// The token.
        token: [u8; 32],
        /// A new device secret; zeros: none.
        device: [u8; 32],
    },
    /// A new epoch, if it still is one.
    Epoch {
        /// The new one.
        epoch: Epoch,
    },
}

/// What a stored piece of work leads to.
enum Effect {
    Message { message: RoomMessage, audience: Arc<[UserId]> },
    Letter { letter: Letter, absent: Vec<UserId> },
    Refused { origin: Origin, code: u8 },
    Registered { index: SessionIndex, account: Box<Account> },
    Replaced { index: SessionIndex, user: UserId, password: Credential, recovery: Credential },
    Renamed { session: SessionIndex, call: CallId, user: UserId, username: String, key: String },
    SignedOut { session: SessionIndex, call: CallId, hash: SecretHash },
    Token { session: SessionIndex, user: UserId, token: [u8; 32], device: [u8; 32], expires: WallMs },
    Epoch { epoch: Epoch, since: Seq },
}

/// A batch being stored.
struct Staged {
    pages: Vec<PageRecord>,
    effects: Vec<Effect>,
}

/// What waits for the disk.
#[derive(Default)]
pub struct Commit {
    waiting: VecDeque<Work>,
    staged: Option<Staged>,
    /// Inboxes whose received mark is not on disk, and when it should be.
    received: BTreeSet<UserId>,
    received_due: Option<Instant>,
    /// The last batch failed.
    pub failing: bool,
}

impl Commit {
    /// Pieces of work waiting.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A device has everything up to its inbox's mark.
    pub(super) fn note_received(&mut self, now: Instant, user: UserId) {
        self.received.insert(user);
        self.received_due.get_or_insert(now + RECEIVED_AFTER);
    }

    /// When the marks should be written down.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.received_due.filter(|_| self.staged.is_none())
    }

    /// What the tip says of the disk.
    pub(super) fn status(&self) -> u8 {
        if self.failing { TIP_NOT_STORING } else { TIP_STORING }
    }
}

/// A batch while it is being laid out.
struct Layout {
    ops: Vec<Op>,
    effects: Vec<Effect>,
    draft: super::room::Draft,
    /// Names taken by this batch.
    names: BTreeSet<String>,
    next_id: UserId,
    inbox_heads: BTreeMap<UserId, Seq>,
    /// Accounts whose credentials this batch replaces.
    replaced: BTreeSet<UserId>,
    /// Tokens this batch gives.
    tokens: BTreeMap<SessionIndex, SecretHash>,
    epoch: Epoch,
    audience: Arc<[UserId]>,
}

impl Server {
    /// Something is to be stored; it goes with the next batch.
    pub(super) fn enqueue(&mut self, work: Work) {
        self.commit.waiting.push_back(work);
    }

    /// Lays the next batch out, if none is being stored and something waits.
    pub(super) fn next_batch(&mut self, now: Now) -> Option<Event> {
        let marks_due = self.commit.received_due.is_some_and(|due| due <= now.mono);
        if self.commit.staged.is_some() || (self.commit.waiting.is_empty() && !marks_due) {
            return None;
        }
        let mut layout = Layout {
            ops: Vec::new(),
            effects: Vec::new(),
            draft: self.room.draft(now.wall),
            names: BTreeSet::new(),
            next_id: self.accounts.next_id(),
            inbox_heads: BTreeMap::new(),
            replaced: BTreeSet::new(),
            tokens: BTreeMap::new(),
            epoch: self.room.epoch(),
            audience: self.audience_now(),
        };
        for _ in 0..BATCH.min(self.commit.waiting.len()) {
            if let Some(work) = self.commit.waiting.pop_front() {
                self.lay_out(now, &mut layout, work);
            }
        }
        for user in std::mem::take(&mut self.commit.received) {
            if let Some(account) = self.accounts.account(user) {
                layout.ops.push(Op::InboxReceived(user, account.inbox_received));
            }
        }
        self.commit.received_due = None;
        let pages = self.room.finish(layout.draft, &self.keys);
        let mut ops: Vec<Op> = pages.iter().cloned().map(Op::Page).collect();
        ops.append(&mut layout.ops);
        if ops.is_empty() {
            return None;
        }
        self.commit.staged = Some(Staged { pages, effects: layout.effects });
        Some(Event::Store(Batch(ops)))
    }

    fn lay_out(&mut self, now: Now, layout: &mut Layout, work: Work) {
        match work {
            Work::Submission(ready) => self.lay_out_submission(now, layout, ready),
            Work::Register { index, username, first_name, last_name, password, recovery } => {
                let key = username.key();
                if !self.accounts.name_free(&key, None) || !layout.names.insert(key.clone()) {
                    return self.end_handshake(index, Some(Refusal::NameTaken));
                }
                let account = Account {
                    id: layout.next_id,
                    username: username.as_str().to_owned(),
                    name_key: key,
                    first_name,
                    last_name,
                    former: None,
                    role: Role::Member,
                    removed: false,
                    password,
                    recovery: Some(recovery),
                    reset: None,
                    inbox_head: Seq(0),
                    inbox_received: Seq(0),
                    revocations: 0,
                    devices: Vec::new(),
                };
                layout.next_id = UserId(layout.next_id.0 + 1);
                layout.ops.push(Op::Register(Box::new(account.clone())));
                layout.effects.push(Effect::Registered { index, account: Box::new(account) });
            }
            Work::Replace { index, user, kind, proves, password, recovery } => {
                // Another replacement may have come first: what was proven is then worth nothing any more.
                if !self.accounts.holds(user, kind, proves, now.wall) || !layout.replaced.insert(user) {
                    return self.end_handshake(index, Some(Refusal::WrongCredentials));
                }
                let recovery_kept = Some(recovery.clone());
                layout.ops.push(Op::Replace { user, password: password.clone(), recovery: recovery_kept });
                layout.effects.push(Effect::Replaced { index, user, password, recovery });
            }
            Work::Rename { session, call, user, username } => {
                let key = username.key();
                if !self.accounts.name_free(&key, Some(user)) || !layout.names.insert(key.clone()) {
                    return self.reply(session, call, &Reply::Refused(Refusal::NameTaken));
                }
                let username = username.as_str().to_owned();
                layout.ops.push(Op::Rename { user, username: username.clone(), name_key: key.clone() });
                layout.effects.push(Effect::Renamed { session, call, user, username, key });
            }
            Work::SignOut { session, call } => {
                let given = layout.tokens.get(&session).copied();
                let Some(hash) = given.or(self.sessions.get(&session).and_then(|session| session.token)) else {
                    return self.reply(session, call, &Reply::Done);
                };
                layout.ops.push(Op::RevokeToken(hash));
                layout.effects.push(Effect::SignedOut { session, call, hash });
            }
            Work::Token { session, token, device } => {
                let held = self.sessions.get(&session).filter(|session| !session.leaving());
                let Some(user) = held.map(|session| session.user) else { return };
                if layout.replaced.contains(&user) {
                    return;
                }
                layout.tokens.insert(session, hash(&token));
                let expires = WallMs(now.wall.0 + TOKEN_LIFETIME.as_millis() as u64);
                layout.ops.push(Op::Token(Token { hash: hash(&token), user, expires }));
                if device != [0; 32] {
                    layout.ops.push(Op::Device(user, hash(&device)));
                }
                layout.effects.push(Effect::Token { session, user, token, device, expires });
            }
            Work::Epoch { epoch } => {
                // A class that comes back after a restore proves the same many times over.
                if epoch > layout.epoch {
                    layout.epoch = epoch;
                    let since = self.room.head();
                    layout.ops.push(Op::Epoch { epoch, since });
                    layout.effects.push(Effect::Epoch { epoch, since });
                }
            }
        }
    }

    fn lay_out_submission(&mut self, now: Now, layout: &mut Layout, ready: Ready) {
        let Ready { origin, author, to, text } = ready;
        let unknown = |to: &Vec<UserId>| to.iter().any(|user| !self.accounts.is_member(*user));
        let text = match (&to, text) {
            (Some(to), Ok(_)) if unknown(to) => Err(SubmitRefusal::NoSuchMember),
            (_, text) => text,
        };
        let text = match text {
            Ok(text) => text,
            Err(refusal) => {
                let code = refusal as u8;
                layout.ops.push(Op::Refused { origin, author, code });
                layout.effects.push(Effect::Refused { origin, code });
                return;
            }
        };
        let Some(to) = to else {
            let seq = self.room.write(&mut layout.draft, &self.keys, author, &text);
            let audience = layout.audience.clone();
            let of = others(&audience, author);
            let time = Room::draft_time(&layout.draft);
            let message = RoomMessage { room: RoomId::MAIN, seq, author, time, text, origin, of };
            layout.ops.push(Op::Message(message.clone()));
            layout.effects.push(Effect::Message { message, audience });
            return;
        };
        let mut inboxes: Vec<UserId> = to.iter().copied().chain([author]).collect();
        inboxes.sort_unstable();
        inboxes.dedup();
        let entries = inbox::entry_count(&text);
        let place = |user: UserId| {
            let head = layout.inbox_heads.entry(user).or_insert_with(|| self.inboxes.head(user));
            *head = Seq(head.0 + u64::from(entries));
            (user, *head)
        };
        let places: Vec<(UserId, Seq)> = inboxes.into_iter().map(place).collect();
        let absent: Vec<UserId> = to.iter().copied().filter(|user| !self.roster.online(*user)).collect();
        self.letters_time = self.letters_time.max(now.wall);
        let letter = Letter { author, to, time: self.letters_time, text, origin, places, entries };
        layout.ops.push(Op::Letter(letter.clone()));
        layout.effects.push(Effect::Letter { letter, absent });
    }

    /// What became of the batch that [`Event::Store`] asked for.
    pub fn handle_stored(&mut self, now: Now, stored: Stored) {
        self.now = now;
        let Some(staged) = self.commit.staged.take() else { return };
        match stored {
            Stored::Done => {
                self.counters.batches += 1;
                if std::mem::replace(&mut self.commit.failing, false) {
                    self.tell_all();
                }
                let relayed = !staged.pages.is_empty();
                staged.pages.into_iter().for_each(|page| self.room.append(page));
                staged.effects.into_iter().for_each(|effect| self.apply(now, effect));
                if relayed {
                    self.touch_present();
                }
            }
            Stored::Failed { reason, loaded } => {
                self.counters.batches_failed += 1;
                self.failure = Some(reason);
                staged.effects.into_iter().for_each(|effect| self.give_up(effect));
                self.submissions.unstage();
                if let Some(loaded) = loaded {
                    self.take_over(now, &loaded);
                }
                self.drop_waiting_submissions();
                if !std::mem::replace(&mut self.commit.failing, true) {
                    self.tell_all();
                }
            }
        }
    }

    /// Everything that was put off because a batch failed is answered, or will be sent again.
    fn give_up(&mut self, effect: Effect) {
        match effect {
            Effect::Registered { index, .. } | Effect::Replaced { index, .. } => {
                self.end_handshake(index, Some(Refusal::StoreFailed));
            }
            Effect::Renamed { session, call, .. } | Effect::SignedOut { session, call, .. } => {
                self.reply(session, call, &Reply::Refused(Refusal::StoreFailed));
            }
            // Submissions are sent again by their clients; a token is asked for at the next sign-in.
            Effect::Message { .. }
            | Effect::Letter { .. }
            | Effect::Refused { .. }
            | Effect::Token { .. }
            | Effect::Epoch { .. } => {}
        }
    }

    /// Submissions behind a failed batch are out of order now: their clients send them again.
    fn drop_waiting_submissions(&mut self) {
        self.commit.waiting.retain(|work| !matches!(work, Work::Submission(_)));
    }

    fn apply(&mut self, now: Now, effect: Effect) {
        match effect {
            Effect::Message { message, audience } => self.apply_message(message, &audience),
            Effect::Letter { letter, absent } => self.apply_letter(letter, absent),
            Effect::Refused { origin, code } => self.decide(origin, Decided::Refused { code }),
            Effect::Registered { index, account } => {
                self.roster.update(&account);
                self.accounts.insert(*account);
                self.end_handshake(index, None);
                self.touch_present();
            }
            Effect::Replaced { index, user, password, recovery } => {
                if let Some(account) = self.accounts.account_mut(user) {
                    (account.password, account.recovery, account.reset) = (password, Some(recovery), None);
                }
                self.accounts.revoke(user);
                self.end_handshake(index, None);
                self.end_lost_rights(now);
            }
            Effect::Renamed { session, call, user, username, key } => {
                self.accounts.rename(user, username, key);
                if let Some(account) = self.accounts.account(user) {
                    self.roster.update(account);
                }
                self.reply(session, call, &Reply::Done);
                self.touch_present();
            }
            Effect::SignedOut { session, call, hash } => {
                self.accounts.remove_token(&hash);
                if let Some(held) = self.sessions.get_mut(&session) {
                    held.token = None;
                    held.on_token_ack();
                }
                self.reply(session, call, &Reply::Done);
            }
            Effect::Token { session, user, token, device, expires } => {
                self.accounts.insert_token(Token { hash: hash(&token), user, expires }, now.wall);
                if device != [0; 32] {
                    self.accounts.insert_device(user, hash(&device));
                }
                if let Some(held) = self.sessions.get_mut(&session) {
                    held.token = Some(hash(&token));
                    let frame = frame::Token {
                        token: ByteArray::new(token),
                        lifetime_s: TOKEN_LIFETIME.as_secs() as u32,
                        device: ByteArray::new(device),
                    };
                    held.send_token(now.mono, &frame.into());
                    self.touch(session);
                }
            }
            Effect::Epoch { epoch, since } => {
                self.room.begin_epoch(epoch, since);
                self.accounts.leave_out_ids();
                self.goodbye_all(now, ByeReason::Closing);
            }
        }
    }

    fn apply_message(&mut self, message: RoomMessage, audience: &Arc<[UserId]>) {
        let RoomMessage { room, seq, author, origin, .. } = message;
        self.counters.messages += 1;
        let of = self.audience.track(seq, author, origin.instance, audience);
        self.decide(origin, Decided::Room { room, seq, of });
    }

    fn apply_letter(&mut self, letter: Letter, absent: Vec<UserId>) {
        self.counters.messages += 1;
        let here = |user| self.roster.online(user);
        self.inboxes.append(&letter, here);
        for (user, head) in &letter.places {
            if let Some(account) = self.accounts.account_mut(*user) {
                account.inbox_head = *head;
            }
            self.touch_user(*user);
        }
        let own = letter.places.iter().find(|(user, _)| *user == letter.author).map_or(Seq(0), |(_, seq)| *seq);
        let decided = Decided::Inbox { seq: own, to: letter.to.clone() };
        self.submissions.on_decided(letter.origin, decided);
        if let Some(index) = self.by_instance.get(&letter.origin.instance).copied() {
            let item = frame::ToldItem { n: letter.origin.n, seq: own, to: letter.to, absent };
            let told = frame::Told { instance: letter.origin.instance, items: vec![item] };
            self.push(index, &told.into());
        }
    }

    /// A submission is on disk, one way or the other: its outbox hears of it.
    fn decide(&mut self, origin: Origin, decided: Decided) {
        self.submissions.on_decided(origin, decided.clone());
        if let Some(index) = self.by_instance.get(&origin.instance).copied() {
            self.answer_submission(index, origin.instance, origin.n, &decided);
        }
    }

    /// Tells a session what became of a submission.
    pub(super) fn answer_submission(
        &mut self,
        index: SessionIndex,
        instance: crate::id::Instance,
        n: Ordinal,
        decided: &Decided,
    ) {
        let frame = match decided {
            Decided::Room { room, seq, of } => {
                let item = frame::StoredItem { n, room: *room, seq: *seq, of: *of };
                frame::Stored { instance, items: vec![item] }.into()
            }
            Decided::Inbox { seq, to } => {
                let absent = to.iter().copied().filter(|user| !self.roster.online(*user)).collect();
                let item = frame::ToldItem { n, seq: *seq, to: to.clone(), absent };
                frame::Told { instance, items: vec![item] }.into()
            }
            Decided::Refused { code } => frame::Refused { instance, n, code: *code }.into(),
        };
        self.push(index, &frame);
    }
}
