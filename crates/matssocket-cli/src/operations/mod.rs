//! The commands of an operator: [`settings`] what can be set, [`sources`] where it comes from, and [`options`] how it is
//! given on the command line; [`serve`] a server; the others look after a store ([`store_url`] says which) without one.

pub mod dead_letters;
pub mod masked;
pub mod migrate;
pub mod nodes;
mod open;
mod options;
pub mod serve;
pub mod sessions;
mod settings;
mod sources;
mod store_url;
mod units;
