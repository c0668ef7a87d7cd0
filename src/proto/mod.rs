//! One conversation between two nodes, sans-IO.
