//! The conformance server as it is (an example of this package), with the Rust client on the other side.

#![cfg(unix)]

mod authorization;
mod command_line;
mod endpoints;
mod preconnect;
mod server_messages;
