//! One conversation between two nodes, sans-IO: coming in, datagram protection, and what delivery needs on both sides.
//!
//! The cryptographic part: [`suite`] says whether there is any; [`keys`] holds the server's keys and the words people
//! compare; [`handshake`] is coming in, with [`opaque`], [`cookie`] and the key [`schedule`]; [`datagram`] and
//! [`replay`] protect what follows; [`sign`] makes pages that anybody can check.

pub mod cookie;
pub mod datagram;
pub mod handshake;
pub mod in_flight;
pub mod keys;
pub mod opaque;
pub mod ranges;
pub mod replay;
pub mod rng;
pub mod rtt;
pub mod schedule;
pub mod sign;
pub mod suite;
