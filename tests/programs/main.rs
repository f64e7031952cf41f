//! The programs of this crate, run as they are: the conformance server (an example) and the demo (what `cargo run`
//! starts), with the crate's own client on the other side; and the load generator.

#![cfg(unix)]

mod authorization;
mod command_line;
mod demo;
mod endpoints;
#[cfg(feature = "load")]
mod load;
mod operations;
#[allow(dead_code)] // most of it is for others
#[cfg(feature = "postgres")]
#[path = "../common/postgres.rs"]
mod postgres;
mod preconnect;
mod program;
mod server_messages;
