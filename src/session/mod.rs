//! Sessions: one actor per registration of a session ([`actor`]), and the pure decisions that it carries out
//! ([`state`]): what came in, and what is to be done about it.

mod actor;
#[cfg(feature = "__bench")]
#[allow(missing_debug_implementations)]
pub mod bench;
mod handler;
pub(crate) mod line;
mod state;
#[cfg(all(test, feature = "sqlite"))]
mod tests;

pub(crate) use actor::Session;
pub(crate) use handler::RunningHandlers;
