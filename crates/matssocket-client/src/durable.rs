//! What only a client with a journal has.

use std::sync::Arc;

use matssocket_wire::{Payload, random_id};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::builder::Config;
use super::driver::Driver;
use super::journal::{Link, ReplyTo, Then, Write};
use super::message::Correlated;
use super::shared::Shared;
use super::{Client, Handle, Journal, SendError, Sending, handler, request};

/// Of an id of one of our messages, the part that is random: long enough that no two processes have the same.
const PREFIX: usize = 10;

/// A message that failed without anybody being told, since its process had ended or did not wait for it. It stays in the
/// journal until [`Client::forget`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unresolved {
    /// Identifies it for [`Client::forget`].
    pub key: u64,
    /// Trace id.
    pub trace_id: String,
    /// The terminator or endpoint it was for.
    pub endpoint: String,
    /// The payload, as raw JSON.
    pub payload: Option<Payload>,
    /// A socket may have carried it, so that the server may have handled it. If not, it was certainly not handled.
    pub perhaps_handled: bool,
    /// Why it failed, for humans.
    pub why: String,
}

impl Client {
    pub(super) fn spawn_durable(config: Config, journal: Journal, bound: Write) -> Client {
        let shared = Arc::new(Shared::new(config));
        let Journal { ops, saved, .. } = journal;
        let link = Link {
            ops,
            shared: Arc::downgrade(&shared),
        };
        link.send(vec![bound], Then::Nothing);
        let prefix = format!("{}-", random_id(PREFIX, &mut rand::rng()));
        shared.core().restore(link, saved, prefix);
        handler::built_in(&shared);
        tokio::spawn(Driver::new(shared.clone()).run());
        Client {
            handle: Arc::new(Handle { shared }),
        }
    }

    /// Sends a request whose reply goes to a handler ([`reply_terminator`](Client::reply_terminator)), in this process or,
    /// after a restart, in the next one. The correlation is given back with the reply. There is no time limit. The future
    /// resolves when the server has accepted the request, not when it has answered.
    ///
    /// ```no_run
    /// # async fn example(client: matssocket_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use matssocket_client::Correlated;
    ///
    /// client.reply_terminator("Orders.placed", |placed: Correlated<u64, String>| async move {
    ///     match placed.reply.resolved() {
    ///         Ok(number) => println!("{} is order number {number}", placed.correlation),
    ///         Err(rejection) => println!("{} was not accepted: {rejection}", placed.correlation),
    ///     }
    /// });
    /// client
    ///     .request_with("order-1", "Orders.place", "3 apples", "Orders.placed", "basket 17")
    ///     .stored()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn request_with(
        &self,
        trace_id: impl Into<String>,
        endpoint: impl Into<String>,
        payload: &(impl Serialize + ?Sized),
        reply_terminator: impl Into<String>,
        correlation: &(impl Serialize + ?Sized),
    ) -> Sending {
        let out = self
            .outgoing(trace_id, endpoint, payload)
            .and_then(|mut out| {
                out.reply_to = Some(ReplyTo {
                    terminator: reply_terminator.into(),
                    correlation: request::payload(correlation)?,
                });
                Ok(out)
            });
        Sending::new(self.shared(), out)
    }

    /// Registers or replaces a handler of replies to [`request_with`](Client::request_with). It runs in turn with the
    /// terminators. A reply for which there is no handler, or whose payload or correlation is of another type, stays in the
    /// journal, and is tried again at the next connection.
    pub fn reply_terminator<R, C, F, Fut>(&self, id: impl Into<String>, handler: F)
    where
        R: DeserializeOwned + Send + 'static,
        C: DeserializeOwned + Send + 'static,
        F: Fn(Correlated<R, C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler = handler::reply_terminator(handler);
        let replaced = self
            .shared()
            .core()
            .keeping
            .reply_terminators
            .insert(id.into(), handler);
        // This drops application code, so only after the core is unlocked.
        drop(replaced);
    }

    /// The messages that failed without anybody being told, oldest first: at most 10,000, beyond which the oldest are
    /// dropped. Empty without a journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn unresolved(&self) -> Result<Vec<Unresolved>, SendError> {
        let (tell, listed) = oneshot::channel();
        if !self.shared().core().ask(Vec::new(), Then::List(tell)) {
            return Ok(Vec::new());
        }
        let failed = listed.await.map_err(|_| request::task_gone())?;
        let failed = failed.map_err(SendError::Storage)?.into_iter();
        let unresolved = failed.map(|failed| Unresolved {
            key: failed.key,
            trace_id: failed.envelope.tid.unwrap_or_default(),
            endpoint: failed.envelope.eid.unwrap_or_default(),
            payload: failed.envelope.msg,
            perhaps_handled: failed.carried,
            why: failed.why,
        });
        Ok(unresolved.collect())
    }

    #[cfg(test)]
    pub(super) fn fill_journal(&self, full: bool) {
        self.shared().core().ask(Vec::new(), Then::Fill(full));
    }

    /// Forgets an unresolved message, once the application has dealt with it.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn forget(&self, unresolved: &Unresolved) -> Result<(), SendError> {
        let (tell, done) = oneshot::channel();
        let writes = vec![Write::DropFailed(unresolved.key)];
        if !self.shared().core().ask(writes, Then::Tell(tell)) {
            return Ok(());
        }
        let done = done.await.map_err(|_| request::task_gone())?;
        done.map_err(SendError::Storage)
    }
}
