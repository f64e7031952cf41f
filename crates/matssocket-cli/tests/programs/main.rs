//! The program `matssocket` as it is, with the Rust client on the other side: the demo, and the commands of an operator.

#![cfg(unix)]

mod demo;
mod operations;
mod types;
