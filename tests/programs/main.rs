//! The programs of this crate, run as they are: the conformance server (an example) and the demo (what `cargo run`
//! starts), with the crate's own client on the other side.

#![cfg(unix)]

mod authorization;
mod command_line;
mod demo;
mod endpoints;
mod operations;
mod preconnect;
mod program;
mod server_messages;
