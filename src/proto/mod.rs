//! One conversation between two nodes, sans-IO: coming in, datagram protection, and what delivery needs on both sides.

pub mod in_flight;
pub mod ranges;
pub mod rtt;
