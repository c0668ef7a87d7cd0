//! Préau: a peer-assisted chat for a classroom LAN, over UDP, that lets you watch the network work.
//!
//! The map of the crate, from the ground up; each module may use those above it (`tests/layers.rs` holds this):
//! [`id`] and [`now`] name things and times, [`text`] reads what people type and makes it fit to show, [`record`] says
//! what is durable and [`store`] keeps it, [`wire`] turns bytes into meaning, [`proto`] holds one conversation between
//! two nodes, [`server`] is the central node, [`client`] a member's. [`impair`] makes the network worse on purpose,
//! [`net`] moves bytes and time, [`terminal`] turns lines into commands and events into lines, [`cmd`] is the command
//! line.

pub mod client;
pub mod cmd;
pub mod id;
pub mod impair;
pub mod net;
pub mod now;
pub mod proto;
pub mod record;
pub mod server;
pub mod sim;
pub mod store;
pub mod terminal;
pub mod text;
pub mod wire;
