//! Sessions: one actor per registration of a session ([`actor`]), and the pure decisions that it carries out
//! ([`state`]): what came in, and what is to be done about it.

mod actor;
pub mod bench;
mod decide;
mod handle;
pub(crate) mod line;
mod state;
#[cfg(all(test, feature = "sqlite"))]
mod tests;
mod transact;
mod turns;

pub(crate) use actor::Session;
pub(crate) use handle::{End, HandlerEnded};
