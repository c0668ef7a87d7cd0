//! What each operation of a batch does to the tables, within one transaction that its caller commits or drops.
//!
//! The core decides; here it is only held to what would do lasting harm if it were wrong: logs stay dense, an
//! instance's numbers are used once and by one account, a letter lies in exactly the inboxes it concerns. A batch
//! that breaks one of these fails whole.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, Params, Transaction, params};
use thiserror::Error;

use super::error::plain;
use super::value::{instance_to_sql, users_to_sql};
use crate::id::{Epoch, Instance, Ordinal, RoomId, Seq, UserId};
use crate::now::WallMs;
use crate::record::{
    Account, Credential, Letter, MAX_DEVICES, MAX_TOKENS, Op, Origin, PageRecord, Role, RoomMessage, SecretHash, Token,
    USER_STEP,
};

/// Why a batch was not applied.
#[derive(Debug, Error)]
pub(super) enum ApplyError {
    /// SQLite could not.
    #[error("{}", plain(.0))]
    Sqlite(#[from] rusqlite::Error),
    /// The batch contradicts what is stored: a defect of ours, so the words are for whoever mends it.
    #[error("the batch does not fit what is stored: {0}")]
    Unfit(String),
}

type Applied = Result<(), ApplyError>;

/// Applies the operations in order, then what follows from them together.
pub(super) fn apply(transaction: &Transaction<'_>, ops: &[Op]) -> Applied {
    let mut batch =
        Applying { db: transaction, heads: BTreeMap::new(), said: BTreeMap::new(), decided: BTreeMap::new() };
    for op in ops {
        batch.op(op)?;
    }
    batch.check_messages_are_in_pages()?;
    batch.advance_instances()
}

/// A transaction under way and what its operations have in common.
struct Applying<'t> {
    db: &'t Transaction<'t>,
    /// Heads of the rooms met so far.
    heads: BTreeMap<RoomId, u64>,
    /// The last seq of this batch's messages, by room.
    said: BTreeMap<RoomId, Seq>,
    /// The numbers this batch decides, by instance, and whose the instance is.
    decided: BTreeMap<Instance, (UserId, BTreeSet<Ordinal>)>,
}

impl Applying<'_> {
    fn op(&mut self, op: &Op) -> Applied {
        match op {
            Op::Register(account) => self.register(account),
            Op::Rename { user, username, name_key } => self.rename(*user, username, name_key),
            Op::Replace { user, password, recovery } => self.replace(*user, password, recovery.as_ref()),
            Op::Reset { user, code, expires } => self.reset(*user, code, *expires),
            Op::Token(token) => self.token(token),
            Op::Device(user, hash) => self.device(*user, hash),
            Op::RevokeTokens(user) => self.revoke_tokens(*user),
            Op::RevokeToken(hash) => self.run("DELETE FROM token WHERE hash = ?1", params![hash]).map(drop),
            Op::Role(user, role) => {
                let teacher = *role == Role::Teacher;
                self.account("UPDATE account SET teacher = ?2 WHERE id = ?1", *user, params![user.0, teacher])
            }
            Op::Remove(user) => {
                self.account("UPDATE account SET removed = 1 WHERE id = ?1", *user, params![user.0])?;
                self.revoke_tokens(*user)
            }
            Op::RegistrationOpen(open) => self.run("UPDATE meta SET registration_open = ?1", params![open]).map(drop),
            Op::Page(page) => self.page(page),
            Op::Message(message) => self.message(message),
            Op::Letter(letter) => self.letter(letter),
            Op::Refused { origin, author, code } => {
                self.run(
                    "INSERT INTO refused (instance, n, code) VALUES (?1, ?2, ?3)",
                    params![instance_to_sql(origin.instance), number(origin.n.0)?, code],
                )?;
                self.decide(*origin, *author)
            }
            Op::InboxReceived(user, seq) => self.account(
                "UPDATE account SET inbox_received = max(inbox_received, ?2) WHERE id = ?1",
                *user,
                params![user.0, number(seq.0)?],
            ),
            Op::Epoch { epoch, since } => self.epoch(*epoch, *since),
        }
    }

    fn register(&self, account: &Account) -> Applied {
        let reset = account.reset.as_ref();
        self.run(
            "INSERT INTO account (id, username, name_key, first_name, last_name, former, teacher, removed,
                 password_identifier, password_upload, recovery_identifier, recovery_upload,
                 reset_identifier, reset_upload, reset_expires, inbox_received)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 0)",
            params![
                account.id.0,
                account.username,
                account.name_key,
                account.first_name,
                account.last_name,
                account.former,
                account.role == Role::Teacher,
                account.removed,
                account.password.identifier,
                account.password.upload,
                account.recovery.as_ref().map(|code| code.identifier),
                account.recovery.as_ref().map(|code| &code.upload),
                reset.map(|(code, _)| code.identifier),
                reset.map(|(code, _)| &code.upload),
                reset.map(|(_, expires)| number(expires.0)).transpose()?,
            ],
        )?;
        self.take_name(account.id, &account.name_key)
    }

    fn rename(&self, user: UserId, username: &str, name_key: &str) -> Applied {
        self.take_name(user, name_key)?;
        self.account(
            "UPDATE account SET former = username, username = ?2, name_key = ?3 WHERE id = ?1",
            user,
            params![user.0, username, name_key],
        )
    }

    fn take_name(&self, user: UserId, name_key: &str) -> Applied {
        self.run(
            "INSERT INTO name (name_key, user) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![name_key, user.0],
        )?;
        let owner = self.ask("SELECT user FROM name WHERE name_key = ?1", params![name_key])?;
        match owner {
            Some(owner) if owner == i64::from(user.0) => Ok(()),
            _ => unfit(format!("the name of account {user} was taken by another")),
        }
    }

    fn replace(&self, user: UserId, password: &Credential, recovery: Option<&Credential>) -> Applied {
        self.account(
            "UPDATE account SET password_identifier = ?2, password_upload = ?3,
                 recovery_identifier = coalesce(?4, recovery_identifier),
                 recovery_upload = coalesce(?5, recovery_upload),
                 reset_identifier = NULL, reset_upload = NULL, reset_expires = NULL
             WHERE id = ?1",
            user,
            params![
                user.0,
                password.identifier,
                password.upload,
                recovery.map(|code| code.identifier),
                recovery.map(|code| &code.upload)
            ],
        )?;
        self.revoke_tokens(user)
    }

    fn reset(&self, user: UserId, code: &Credential, expires: WallMs) -> Applied {
        self.account(
            "UPDATE account SET reset_identifier = ?2, reset_upload = ?3, reset_expires = ?4 WHERE id = ?1",
            user,
            params![user.0, code.identifier, code.upload, number(expires.0)?],
        )
    }

    fn token(&self, token: &Token) -> Applied {
        self.run(
            "INSERT INTO token (hash, user, expires) VALUES (?1, ?2, ?3)",
            params![token.hash, token.user.0, number(token.expires.0)?],
        )?;
        self.run(
            "DELETE FROM token WHERE user = ?1 AND hash IN
                 (SELECT hash FROM token WHERE user = ?1 ORDER BY expires DESC, hash LIMIT -1 OFFSET ?2)",
            params![token.user.0, MAX_TOKENS as i64],
        )
        .map(drop)
    }

    fn device(&self, user: UserId, hash: &SecretHash) -> Applied {
        self.run("DELETE FROM device WHERE user = ?1 AND hash = ?2", params![user.0, hash])?;
        self.run("INSERT INTO device (user, hash) VALUES (?1, ?2)", params![user.0, hash])?;
        self.run(
            "DELETE FROM device WHERE id IN
                 (SELECT id FROM device WHERE user = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2)",
            params![user.0, MAX_DEVICES as i64],
        )
        .map(drop)
    }

    fn revoke_tokens(&self, user: UserId) -> Applied {
        self.run("UPDATE account SET revocations = revocations + 1 WHERE id = ?1", params![user.0])?;
        self.run("DELETE FROM token WHERE user = ?1", params![user.0]).map(drop)
    }

    fn page(&mut self, page: &PageRecord) -> Applied {
        let head = self.head(page.room)?;
        if page.count == 0 || page.first.0 != head + 1 {
            return unfit(format!("{page:?} after #{head}"));
        }
        let epoch = self.ask("SELECT max(epoch) FROM epoch", [])?;
        if epoch != Some(i64::from(page.epoch.0)) {
            return unfit(format!("{page:?} is of epoch {}", page.epoch));
        }
        self.run(
            "INSERT INTO page (room, first, count, epoch, hash, blob) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![page.room.0, number(page.first.0)?, page.count, page.epoch.0, page.hash, page.blob],
        )?;
        self.heads.insert(page.room, page.last().0);
        Ok(())
    }

    fn head(&mut self, room: RoomId) -> Result<u64, ApplyError> {
        if let Some(head) = self.heads.get(&room) {
            return Ok(*head);
        }
        let sql = "SELECT first + count - 1 FROM page WHERE room = ?1 ORDER BY first DESC LIMIT 1";
        let head = self.ask(sql, params![room.0])?.unwrap_or(0).cast_unsigned();
        self.heads.insert(room, head);
        Ok(head)
    }

    fn message(&mut self, message: &RoomMessage) -> Applied {
        self.run(
            "INSERT INTO message (room, seq, author, time, text, instance, n, others)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                message.room.0,
                number(message.seq.0)?,
                message.author.0,
                number(message.time.0)?,
                message.text,
                instance_to_sql(message.origin.instance),
                number(message.origin.n.0)?,
                message.of,
            ],
        )?;
        let last = self.said.entry(message.room).or_default();
        *last = message.seq.max(*last);
        self.decide(message.origin, message.author)
    }

    /// A message bears the seq of an entry, whether its page came before or after it in the batch.
    fn check_messages_are_in_pages(&mut self) -> Applied {
        for (room, seq) in std::mem::take(&mut self.said) {
            let head = self.head(room)?;
            if seq.0 > head {
                return unfit(format!("message #{seq} of room {room}, whose head is #{head}"));
            }
        }
        Ok(())
    }

    fn letter(&mut self, letter: &Letter) -> Applied {
        let concerned: BTreeSet<UserId> = letter.to.iter().copied().chain([letter.author]).collect();
        let placed: BTreeSet<UserId> = letter.places.iter().map(|(user, _)| *user).collect();
        if concerned != placed || placed.len() != letter.places.len() {
            return unfit(format!("{letter:?} is not in the inboxes it concerns, once each"));
        }
        let inboxes: Vec<UserId> = placed.into_iter().collect();
        self.run(
            "INSERT INTO letter (author, recipients, inboxes, time, text, entries, instance, n)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                letter.author.0,
                users_to_sql(&letter.to),
                users_to_sql(&inboxes),
                number(letter.time.0)?,
                letter.text,
                letter.entries,
                instance_to_sql(letter.origin.instance),
                number(letter.origin.n.0)?,
            ],
        )?;
        let id = self.ask("SELECT max(id) FROM letter", [])?.unwrap_or(0);
        for (user, seq) in &letter.places {
            self.place(id, *user, *seq, letter.entries)?;
        }
        self.decide(letter.origin, letter.author)
    }

    fn place(&self, letter: i64, user: UserId, seq: Seq, entries: u8) -> Applied {
        let head = self.ask("SELECT max(seq) FROM letter_place WHERE user = ?1", params![user.0])?.unwrap_or(0);
        let seq = number(seq.0)?;
        if seq != head + i64::from(entries) {
            return unfit(format!("a letter of {entries} entries at #{seq} of inbox {user}, whose head is #{head}"));
        }
        self.run("INSERT INTO letter_place (user, seq, letter) VALUES (?1, ?2, ?3)", params![user.0, seq, letter])
            .map(drop)
    }

    fn decide(&mut self, origin: Origin, author: UserId) -> Applied {
        let (user, numbers) = self.decided.entry(origin.instance).or_insert_with(|| (author, BTreeSet::new()));
        if *user != author || !numbers.insert(origin.n) {
            return unfit(format!("submission {} of account {author} is decided twice or is another's", origin.n));
        }
        Ok(())
    }

    /// Every number a batch decides is above those decided before it; the order within the batch is free, since one
    /// instance's submissions may go to several logs.
    fn advance_instances(&mut self) -> Applied {
        for (instance, (user, numbers)) in std::mem::take(&mut self.decided) {
            let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { continue };
            let advanced = self.run(
                "INSERT INTO instance (instance, user, decided) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET decided = excluded.decided
                 WHERE user = excluded.user AND decided < ?4",
                params![instance_to_sql(instance), user.0, number(last.0)?, number(first.0)?],
            )?;
            if advanced == 0 {
                return unfit(format!("submission {first} of account {user} was decided before or is another's"));
            }
        }
        Ok(())
    }

    fn epoch(&self, epoch: Epoch, since: Seq) -> Applied {
        let began = self.run(
            "INSERT INTO epoch (epoch, since) SELECT ?1, ?2 WHERE ?1 > (SELECT max(epoch) FROM epoch)",
            params![epoch.0, number(since.0)?],
        )?;
        if began == 0 {
            return unfit(format!("epoch {epoch} is not a new one"));
        }
        let raise = "UPDATE meta SET next_user = max(next_user, coalesce((SELECT max(id) FROM account), 0) + ?1)";
        self.run(raise, [USER_STEP]).map(drop)
    }

    /// Changes one account, which must exist.
    fn account(&self, sql: &str, user: UserId, params: impl Params) -> Applied {
        if self.run(sql, params)? == 0 { unfit(format!("there is no account {user}")) } else { Ok(()) }
    }

    /// Runs a statement and counts the rows it changed.
    fn run(&self, sql: &str, params: impl Params) -> Result<usize, ApplyError> {
        Ok(self.db.prepare_cached(sql)?.execute(params)?)
    }

    /// Asks for one number; None where there is no row or it is NULL.
    fn ask(&self, sql: &str, params: impl Params) -> Result<Option<i64>, ApplyError> {
        let found = self.db.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()?;
        Ok(found.flatten())
    }
}

/// A count or time as SQLite's signed integer.
fn number(value: u64) -> Result<i64, ApplyError> {
    i64::try_from(value).map_err(|_| ApplyError::Unfit(format!("{value} is beyond every honest count")))
}

fn unfit<T>(what: String) -> Result<T, ApplyError> {
    Err(ApplyError::Unfit(what))
}
