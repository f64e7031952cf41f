//! Handlers of clients' messages: how they are started ([`turns`]), run ([`run`]), and tracked while they run
//! ([`running`]); what becomes of their outcomes ([`decide`], [`unit`]), and how they end ([`ended`]).

mod decide;
mod ended;
mod run;
mod running;
mod transact;
pub(super) mod turns;
mod unit;

pub(crate) use ended::{End, HandlerEnded};
pub(super) use run::{Job, handle};
pub(crate) use running::RunningHandlers;
