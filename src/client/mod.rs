//! The member's node, sans-IO.

pub mod event;
