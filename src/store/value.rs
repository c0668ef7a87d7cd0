//! How ids, times and lists of users stand in SQLite's columns.
//!
//! SQLite's integers are signed. Instances are random in all 64 bits and keep their bits; seqs, numbers and times
//! are small in honest use and refuse to be more than `i64::MAX`.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::id::{Instance, Seq, UserId};
use crate::record::{Credential, SecretHash};

/// The same bits, signed.
pub(super) fn instance_to_sql(instance: Instance) -> i64 {
    instance.0.cast_signed()
}

/// A count as a bound of a query: what SQLite cannot hold is beyond everything it holds.
pub(super) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How many rows a query may give.
pub(super) fn limit(value: usize) -> i64 {
    bound(value as u64)
}

/// A column that holds a number which is never negative.
pub(super) fn count<T: TryFrom<i64>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let value: i64 = row.get(column)?;
    T::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A column that holds an instance's bits.
pub(super) fn instance(row: &Row<'_>, column: usize) -> rusqlite::Result<Instance> {
    Ok(Instance(row.get::<_, i64>(column)?.cast_unsigned()))
}

/// A column that holds a user.
pub(super) fn user(row: &Row<'_>, column: usize) -> rusqlite::Result<UserId> {
    Ok(UserId(row.get(column)?))
}

/// A column that holds a seq.
pub(super) fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    Ok(Seq(count(row, column)?))
}

/// A column that holds a hash.
pub(super) fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<SecretHash> {
    row.get(column)
}

/// Two columns that hold a credential, or NULL twice.
pub(super) fn credential(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Credential>> {
    let identifier: Option<[u8; 16]> = row.get(column)?;
    let upload: Option<Vec<u8>> = row.get(column + 1)?;
    Ok(identifier.zip(upload).map(|(identifier, upload)| Credential { identifier, upload }))
}

/// Users as `3 12 7`.
pub(super) fn users_to_sql(users: &[UserId]) -> String {
    users.iter().map(UserId::to_string).collect::<Vec<_>>().join(" ")
}

/// A column that holds users as `3 12 7`.
pub(super) fn users(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<UserId>> {
    let list: String = row.get(column)?;
    list.split_whitespace()
        .map(|id| id.parse().map(UserId))
        .collect::<Result<_, _>>()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
