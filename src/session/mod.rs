//! Sessions: one actor per registration of a session ([`actor`]), and the pure decisions that it carries out
//! ([`state`]): from an event to the actions it requires.

mod actor;
#[cfg(feature = "__bench")]
#[allow(missing_debug_implementations)]
pub mod bench;
pub(crate) mod connection;
mod handler;
mod state;
#[cfg(all(test, feature = "sqlite"))]
mod tests;

pub(crate) use actor::Session;
pub(crate) use handler::RunningHandlers;
