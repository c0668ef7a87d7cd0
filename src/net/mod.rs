//! The operating system's side of a node: clocks, sockets, signals, randomness, and the loops that drive a core.
//!
//! With `cmd`, the only place that knows the operating system. It moves bytes and time and decides nothing.

pub mod clock;
pub mod key_log;
pub mod link;
pub mod member;
pub mod random;
pub mod room;
pub mod signal;
pub mod socket;
