//! The member's node, sans-IO.

pub mod counters;
pub mod event;
pub mod log;
