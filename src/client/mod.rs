//! The member's node, sans-IO.

pub mod calls;
pub mod counters;
pub mod event;
pub mod log;
pub mod model;
pub mod outbox;
pub mod roster;
