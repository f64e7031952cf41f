//! The application's endpoints, terminators and services.

use std::any::{TypeId, type_name};
use std::collections::hash_map::Entry;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ServerBuilder;
use crate::endpoint::{
    Endpoint, Incoming, Outcome, Run, ServiceOptions, async_handler, transactional_handler,
};
use crate::error::HandlerError;
use crate::wire::check_id;

impl ServerBuilder {
    /// An endpoint: a handler of REQUESTs (and SENDs) that resolves, rejects or forwards them. If it forwards to a
    /// service, the service's reply is passed on unchanged.
    pub fn endpoint<T, R, F, Fut>(self, id: &str, handler: F) -> Self
    where
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(Incoming<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome<R>, HandlerError>> + 'static,
    {
        self.add::<T, R>(id, Endpoint::new(true, Run::Async(async_handler(handler))))
    }

    /// Like [`endpoint`](Self::endpoint), with a reply adapter that turns a service's reply (its [message
    /// type](crate::Context::message_type) is RESOLVE or REJECT) into the endpoint's: it resolves or rejects.
    pub fn endpoint_with_adapter<T, A, R, F, Fut, G, Gut>(
        self,
        id: &str,
        handler: F,
        adapter: G,
    ) -> Self
    where
        T: DeserializeOwned + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(Incoming<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome<R>, HandlerError>> + 'static,
        G: Fn(Incoming<A>) -> Gut + Send + Sync + 'static,
        Gut: Future<Output = Result<Outcome<R>, HandlerError>> + 'static,
    {
        let adapter = Some(async_handler(adapter));
        self.add::<T, R>(
            id,
            Endpoint {
                adapter,
                ..Endpoint::new(true, Run::Async(async_handler(handler)))
            },
        )
    }

    /// A terminator: a handler of SENDs, and of the replies to server requests. It never replies.
    pub fn terminator<T, F, Fut>(self, id: &str, handler: F) -> Self
    where
        T: DeserializeOwned + 'static,
        F: Fn(Incoming<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome<()>, HandlerError>> + 'static,
    {
        self.add::<T, ()>(id, Endpoint::new(false, Run::Async(async_handler(handler))))
    }

    /// An endpoint whose handler runs inside the store's transaction, on its Diesel connection `C`
    /// (`diesel::SqliteConnection` or `diesel::PgConnection`): the application's own rows commit or roll back together
    /// with the message. The handler occupies a thread of the store, so keep it short ([`Config::transaction_limit`](crate::Config::transaction_limit)).
    /// It must not leave a transaction open when it returns.
    ///
    /// Its rows are committed if its outcome is done, resolve or forward. They are rolled back if it rejects, denies,
    /// asks to retry, or fails. After a statement has failed, PostgreSQL commits nothing of the transaction, so the
    /// message of a handler that carries on regardless gets a NACK. To carry on after a failure, run the statement in a
    /// nested transaction, `connection.transaction(…)`.
    pub fn transactional<C, T, R, F>(mut self, id: &str, handler: F) -> Self
    where
        C: 'static,
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(&mut C, Incoming<T>) -> Result<Outcome<R>, HandlerError> + Send + Sync + 'static,
    {
        self.connections.push((id.to_owned(), TypeId::of::<C>()));
        let run = Run::Transactional(transactional_handler(handler));
        self.add::<T, R>(id, Endpoint::new(true, run))
    }

    /// As [`transactional`](Self::transactional), for a terminator. As a reply terminator, it is also called for requests
    /// that ended without a reply ([`Context::end_reason`](crate::Context::end_reason)), in the transaction that ends the
    /// request.
    pub fn transactional_terminator<C, T, F>(mut self, id: &str, handler: F) -> Self
    where
        C: 'static,
        T: DeserializeOwned + 'static,
        F: Fn(&mut C, Incoming<T>) -> Result<Outcome<()>, HandlerError> + Send + Sync + 'static,
    {
        self.connections.push((id.to_owned(), TypeId::of::<C>()));
        let run = Run::Transactional(transactional_handler(handler));
        self.add::<T, ()>(id, Endpoint::new(false, run))
    }

    /// A service: a handler of the work that [`Outcome::forward`] stores for it. It resolves or rejects (the reply goes
    /// back through the endpoint's adapter), is done, forwards to another service, asks to [retry](Outcome::retry), or
    /// replies [later](Outcome::later). After an error it is retried with back-off, on any node that has this service.
    ///
    /// At most [`Config::max_running_per_service`](crate::Config::max_running_per_service) messages are in progress at a time, and each attempt has a time
    /// limit, [`Config::service_time_limit`](crate::Config::service_time_limit). After [`Config::service_attempts`](crate::Config::service_attempts) failed attempts, a REQUEST is rejected
    /// and anything else becomes a dead letter; a REQUEST is also given up once its client no longer waits for the
    /// reply.
    ///
    /// Nodes need not have the same services: work for a service that this node lacks waits for a node that has it.
    pub fn service<T, R, F, Fut>(self, name: &str, handler: F) -> Self
    where
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(Incoming<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome<R>, HandlerError>> + 'static,
    {
        self.service_with(name, ServiceOptions::default(), handler)
    }

    /// As [`service`](Self::service), with its own bounds, time limit and retries.
    ///
    /// ```
    /// use std::time::Duration;
    /// use matssocket::{Incoming, MatsSocketServer, Outcome, ServiceOptions};
    ///
    /// let slow = ServiceOptions::default()
    ///     .max_running(4)
    ///     .time_limit(Duration::from_secs(1800));
    /// let builder = MatsSocketServer::builder("shop").service_with(
    ///     "yearly report",
    ///     slow,
    ///     |year: Incoming<u16>| async move { Ok(Outcome::resolve(format!("{}: fine", year.payload))) },
    /// );
    /// # drop(builder);
    /// ```
    pub fn service_with<T, R, F, Fut>(self, name: &str, options: ServiceOptions, handler: F) -> Self
    where
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(Incoming<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome<R>, HandlerError>> + 'static,
    {
        self.add_service(name, options, Run::Async(async_handler(handler)))
    }

    /// A service whose handler runs inside the transaction that settles its work, on the store's Diesel connection: what it
    /// writes is written exactly once, however often its node dies. As for a [`transactional`](Self::transactional)
    /// endpoint, its rows are committed if its outcome is done, resolve or forward, and rolled back otherwise; after a
    /// failure or [`Outcome::retry`], the work is tried again. It cannot reply [later](Outcome::later).
    ///
    /// An attempt takes at most [`Config::transaction_limit`](crate::Config::transaction_limit), and occupies a thread of the store for that time.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use diesel::{RunQueryDsl, SqliteConnection, sql_query, sql_types::BigInt};
    /// use matssocket::{Incoming, MatsSocketServer, Outcome};
    ///
    /// let builder = MatsSocketServer::builder("shop").transactional_service(
    ///     "Points.add",
    ///     |connection: &mut SqliteConnection, points: Incoming<i64>| {
    ///         sql_query("INSERT INTO points (points) VALUES (?)")
    ///             .bind::<BigInt, _>(points.payload)
    ///             .execute(connection)?;
    ///         Ok(Outcome::<()>::done())
    ///     },
    /// );
    /// # drop(builder);
    /// # }
    /// ```
    pub fn transactional_service<C, T, R, F>(self, name: &str, handler: F) -> Self
    where
        C: 'static,
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(&mut C, Incoming<T>) -> Result<Outcome<R>, HandlerError> + Send + Sync + 'static,
    {
        self.transactional_service_with(name, ServiceOptions::default(), handler)
    }

    /// As [`transactional_service`](Self::transactional_service), with its own bounds, time limit and retries.
    pub fn transactional_service_with<C, T, R, F>(
        mut self,
        name: &str,
        options: ServiceOptions,
        handler: F,
    ) -> Self
    where
        C: 'static,
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(&mut C, Incoming<T>) -> Result<Outcome<R>, HandlerError> + Send + Sync + 'static,
    {
        self.connections.push((name.to_owned(), TypeId::of::<C>()));
        let run = Run::Transactional(transactional_handler(handler));
        self.add_service(name, options, run)
    }

    fn add_service(mut self, name: &str, options: ServiceOptions, run: Run) -> Self {
        self.check("service", name);
        if let Some(mistake) = options.mistake() {
            self.mistakes
                .push(format!("the service {name:?}: {mistake}"));
        }
        if self
            .services
            .insert(name.to_owned(), (run, options))
            .is_some()
        {
            self.mistakes
                .push(format!("the service {name:?} is registered twice"));
        }
        self
    }

    pub(super) fn add<T: 'static, R: 'static>(mut self, id: &str, endpoint: Endpoint) -> Self {
        self.check("endpoint", id);
        #[cfg(feature = "schema")]
        self.api.register::<T, R>(id, endpoint.replies);
        match self.endpoints.entry(id.to_owned()) {
            Entry::Occupied(_) => self
                .mistakes
                .push(format!("the endpoint {id:?} is registered twice")),
            Entry::Vacant(vacant) => {
                let types = Some((type_name::<T>(), type_name::<R>()));
                vacant.insert(Endpoint { types, ..endpoint });
            }
        }
        self
    }

    fn check(&mut self, what: &str, id: &str) {
        if let Err(mistake) = check_id(what, id) {
            self.mistakes.push(mistake.to_string());
        }
        let lower = id.to_ascii_lowercase();
        if lower.starts_with("mats") || lower.starts_with("ms.") {
            self.mistakes.push(format!(
                "the {what} id {id:?} is reserved: choose one that starts with neither mats nor ms."
            ));
        }
    }
}
