//! The server as a whole, against a scripted client.
