//! One conversation between two nodes, sans-IO: coming in, datagram protection, and what delivery needs on both sides.

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
