//! What `benches/store` needs to use the store without a node.

use std::sync::Arc;

pub use super::operation::{
    Cause, Complete, Effect, EffectOutcome, Fenced, Holder, NewMessage, NewOrResumed, Register,
    Registered, Unit, UnitOutcome,
};

#[cfg(feature = "postgres")]
pub use super::postgres::{Value, sql};

use actix::{Actor, Context, Handler};

use super::{
    CommitNews, Dispatch, Operation, Store, StoreConfig, StoreError, StoreHandle,
    StoreMetricsSnapshot, Subscribers,
};
use crate::clock::Clock;
use crate::mailbox::{Mailbox, Meter, metered};

/// An attachment to the store whose news is discarded.
pub struct Seat(StoreHandle);

impl Seat {
    /// Opens the store. Must be called in a running actix system.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn take(store: &Store, config: &StoreConfig) -> Result<Seat, StoreError> {
        let (reader, meter) = (Reader.start(), Arc::new(Meter::default()));
        let subscribers = Subscribers {
            news: Mailbox::new(&reader, &meter),
            work: Mailbox::new(&reader, &meter),
        };
        let handle = store.attach("bench", config, &Clock::system(), subscribers)?;
        Ok(Seat(handle))
    }

    /// Runs one operation; the outcome comes after the commit.
    ///
    /// # Errors
    /// Those of the store.
    pub fn run<O: Operation>(
        &self,
        operation: O,
    ) -> impl Future<Output = Result<O::Outcome, StoreError>> + Send + 'static + use<O> {
        self.0.run(operation)
    }

    /// The store's metrics.
    pub fn metrics(&self) -> StoreMetricsSnapshot {
        self.0.metrics()
    }
}

struct Reader;

impl Actor for Reader {
    type Context = Context<Reader>;
}

impl Handler<CommitNews> for Reader {
    type Result = ();

    fn handle(&mut self, news: CommitNews, _: &mut Context<Reader>) {
        drop(news);
    }
}

impl Handler<Dispatch> for Reader {
    type Result = ();

    fn handle(&mut self, work: Dispatch, _: &mut Context<Reader>) {
        drop(work);
    }
}

metered!(Reader: CommitNews, Dispatch);
