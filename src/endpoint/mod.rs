//! Endpoints, terminators, services and reply adapters: the application's handlers, all of one form.
//!
//! A handler is an async function from [`Incoming`] to an [`Outcome`]. What it sends, requests, publishes and forwards
//! through its [`Context`] is stored in one transaction with its outcome: all of it, or nothing.

pub(crate) mod builtin;
mod context;
mod counters;
mod erased;
mod forward;
mod host;
mod origin;
mod outcome;
mod retry;
mod sending;
mod service;
mod stand_in;

pub use context::{Context, Incoming, ReplyToken};
pub(crate) use counters::EndpointCounters;
pub use counters::EndpointMetrics;
pub(crate) use erased::{
    Call, Endpoint, Handled, Handler, Run, TransactionalHandler, async_handler, panicked,
    transactional_handler,
};
pub use forward::Forward;
pub(crate) use forward::Starter;
pub(crate) use forward::cancel;
pub(crate) use host::{Data, Host};
pub(crate) use origin::{Authorization, Origin};
pub use outcome::Outcome;
pub(crate) use outcome::RawOutcome;
pub use retry::ServiceFailure;
pub(crate) use retry::{plain_rejection, rejection};
pub(crate) use sending::{effects, take_effects};
pub(crate) use service::{Service, ServiceCounters};
pub use service::{ServiceMetrics, ServiceOptions};
pub(crate) use stand_in::{is_stand_in, stand_ins_of, to_adapter, to_terminator};
