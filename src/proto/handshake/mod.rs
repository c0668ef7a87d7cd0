//! Coming in: Noise NK and OPAQUE bound to each other (proto.md, section 4). [`client`] begins, [`server`] responds;
//! both are values, and everything slow (Argon2) is one call that may run elsewhere.
//!
//! Retransmission, cookies, guessing counters and who may come in are the cores'.

pub mod client;
mod noise;
pub mod server;

#[cfg(test)]
mod tests;

pub use client::{BadIntent, BadRespond, Initiator, Intent, Proven, Responded, Stretch};
pub use server::{BadInitiate, Finished, PendingProof, Responder, WrongProof};

pub use super::opaque::WrongSecret;
