//! The terminal client: typed lines become commands, events become lines to read, for people or for scripts.
//!
//! Pure: it sees no terminal, no clock and no socket. `cmd::chat` reads standard input, drives the core, applies the
//! [`chat::Command`]s and writes what is [`shown::Shown`].

pub mod chat;
pub mod exit;
pub mod line;
pub mod plain;
pub mod shown;
pub mod words;
