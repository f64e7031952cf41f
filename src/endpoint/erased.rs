//! Handlers with their types erased, as the server stores them.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Context, EndpointCounters, Incoming, Outcome, RawOutcome};
use crate::error::HandlerError;
use crate::wire::{Payload, shown};

/// What a handler is called with.
pub(crate) struct Call {
    pub(crate) context: Context,
    /// `None` reads as `null`.
    pub(crate) payload: Option<Payload>,
}

/// How a call ended.
pub(crate) type Handled = Result<RawOutcome, HandlerError>;

/// An async handler.
pub(crate) type Handler = Arc<dyn Fn(Call) -> LocalBoxFuture<'static, Handled> + Send + Sync>;

/// A handler that runs inside the transaction, given the Diesel connection as `Any`.
pub(crate) type TransactionalHandler = Arc<dyn Fn(&mut dyn Any, Call) -> Handled + Send + Sync>;

/// One endpoint or terminator.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// Whether it accepts a REQUEST.
    pub(crate) replies: bool,
    pub(crate) run: Run,
    /// Turns a service's reply into the endpoint's.
    pub(crate) adapter: Option<Handler>,
    pub(crate) counters: Arc<EndpointCounters>,
    /// Its answers are sent at once, instead of waiting to be batched.
    pub(crate) at_once: bool,
    /// The Rust types of its payload and of its reply; `None`: it is built in.
    pub(crate) types: Option<(&'static str, &'static str)>,
}

impl Endpoint {
    /// One without a reply adapter.
    pub(crate) fn new(replies: bool, run: Run) -> Endpoint {
        Endpoint {
            replies,
            run,
            adapter: None,
            counters: Arc::default(),
            at_once: false,
            types: None,
        }
    }
}

/// How an endpoint runs.
#[derive(Clone)]
pub(crate) enum Run {
    Async(Handler),
    Transactional(TransactionalHandler),
}

pub(crate) fn async_handler<T, R, F, Fut>(handler: F) -> Handler
where
    T: DeserializeOwned + 'static,
    R: 'static,
    F: Fn(Incoming<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome<R>, HandlerError>> + 'static,
{
    Arc::new(move |call| {
        // The handler itself may panic before it returns its future.
        let future = match parse(call) {
            Ok(incoming) => {
                std::panic::catch_unwind(AssertUnwindSafe(|| handler(incoming))).map_err(panicked)
            }
            Err(error) => Err(error),
        };
        async move {
            match AssertUnwindSafe(future?).catch_unwind().await {
                Ok(outcome) => raw(outcome),
                Err(panic) => Err(panicked(panic)),
            }
        }
        .boxed_local()
    })
}

pub(crate) fn transactional_handler<C, T, R, F>(handler: F) -> TransactionalHandler
where
    C: 'static,
    T: DeserializeOwned + 'static,
    R: Serialize + 'static,
    F: Fn(&mut C, Incoming<T>) -> Result<Outcome<R>, HandlerError> + Send + Sync + 'static,
{
    Arc::new(move |connection, call| {
        let incoming = parse(call)?;
        let connection = connection.downcast_mut::<C>().ok_or_else(|| {
            HandlerError::internal(format!(
                "the store's connection is not a {}",
                std::any::type_name::<C>()
            ))
        })?;
        raw(handler(connection, incoming))
    })
}

fn raw<R>(outcome: Result<Outcome<R>, HandlerError>) -> Handled {
    Ok(outcome?.into_raw()?)
}

/// A request that ended without reply has no payload: `null`, or for types that do not accept that, an empty object.
fn parse<T: DeserializeOwned>(call: Call) -> Result<Incoming<T>, HandlerError> {
    let Call { context, payload } = call;
    let text = payload.as_ref().map_or("null", |payload| payload.get());
    let parsed = serde_json::from_str(text).or_else(|error| match payload {
        None => serde_json::from_str("{}").map_err(|_| error),
        Some(_) => Err(error),
    });
    match parsed {
        Ok(payload) => Ok(Incoming::new(payload, context)),
        // The error may quote the payload, whatever its size.
        Err(error) => Err(HandlerError::of_client(format!(
            "the payload does not deserialise to the type that {:?} takes: {}",
            context.endpoint(),
            shown(&error.to_string())
        ))),
    }
}

/// The text of a panic.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> HandlerError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned());
    HandlerError::internal(format!("panic: {text}"))
}
