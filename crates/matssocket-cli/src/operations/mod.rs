//! The commands of an operator: [`settings`] defines what can be set, [`field`] how it is written, [`sources`] where
//! values come from, and [`options`] how they are given on the command line. [`serve`] runs a server; the other commands
//! operate on a [`target`]: a store ([`store_url`] names it), or the admin API of a running server ([`remote`]).

pub mod dead_letters;
mod field;
pub mod masked;
pub mod migrate;
pub mod nodes;
mod open;
mod options;
mod remote;
pub mod serve;
pub mod sessions;
mod settings;
mod sources;
mod store_url;
mod target;
mod units;
pub mod users;
