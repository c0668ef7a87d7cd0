//! Bytes and their meaning, pure: headers, frames, entries, the messages of coming in. proto.md is the source.
//!
//! Nothing here keeps state, draws randomness or knows a key.

pub mod call;
pub mod entrance;
pub mod entry;
pub mod frame;
pub mod header;
pub mod limits;

/// Bytes that are not what proto.md describes. A peer's mistake: counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter or longer than its type allows.
    #[error("wrong length")]
    Length,
    /// Not this protocol, or not this version.
    #[error("wrong magic or version")]
    Magic,
    /// A datagram type that is not assigned.
    #[error("unknown datagram type")]
    Type,
    /// A frame kind that is not assigned.
    #[error("unknown frame kind")]
    Kind,
    /// A frame that must travel otherwise (readable where sealed is required, and so on).
    #[error("wrong protection")]
    Protection,
    /// Not the MessagePack that proto.md asks for.
    #[error("wrong fields")]
    Fields,
    /// A value beyond its bound.
    #[error("beyond a bound")]
    Bound,
}

/// Appends `value` as MessagePack, structs as arrays.
pub fn put<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    rmp_serde::encode::write(out, value).expect("a Vec takes any bytes and no type of wire/ refuses serialization");
}

/// Reads one MessagePack value off the front of `bytes`.
///
/// # Errors
/// [`Malformed::Fields`] when the bytes are not a `T`; `bytes` is then of no further use.
pub fn take<T: serde::de::DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, Malformed> {
    T::deserialize(&mut rmp_serde::Deserializer::new(bytes)).map_err(|_| Malformed::Fields)
}

/// Reads one MessagePack value that fills `bytes` exactly.
///
/// # Errors
/// [`Malformed::Fields`] when the bytes are not a `T` or something follows it.
pub fn take_all<T: serde::de::DeserializeOwned>(mut bytes: &[u8]) -> Result<T, Malformed> {
    let value = take(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(Malformed::Fields) }
}
