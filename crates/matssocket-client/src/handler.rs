//! The application's handlers for messages from the server, and the task that runs them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc};

use super::authorization::AuthorizationNeed;
#[cfg(feature = "durable")]
use super::core::RawReply;
use super::journal::Write;
#[cfg(feature = "durable")]
use super::message::Correlated;
use super::message::{Message, parse};
#[cfg(feature = "durable")]
use super::request::typed;
use super::shared::Shared;
use matssocket_wire::{Envelope, MessageType, Payload};

/// The answer of a client endpoint.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) t: MessageType,
    pub(super) msg: Option<Payload>,
    pub(super) desc: Option<String>,
}

/// A handler with its types erased. It deserialises at once, so that a wrong payload is refused, and
/// runs the application's code only when the future is polled. The flag says that an earlier process may have run it.
pub(super) type Handler<O> =
    Arc<dyn Fn(Envelope, bool) -> Result<BoxFuture<'static, O>, String> + Send + Sync>;

/// A handler of replies to requests that outlive their process: it is given the correlation, too.
pub(super) type ReplyHandler =
    Arc<dyn Fn(Envelope, &Payload, bool) -> Result<BoxFuture<'static, ()>, String> + Send + Sync>;

/// A terminator or topic callback.
pub(super) fn terminator<T, F, Fut>(handler: F) -> Handler<()>
where
    T: DeserializeOwned + Send + 'static,
    F: Fn(Message<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |envelope, redelivered| {
        let (message, handler) = (message(envelope, redelivered)?, handler.clone());
        Ok(async move { handler(message).await }.boxed())
    })
}

/// An endpoint: `Ok` resolves, `Err` rejects.
pub(super) fn endpoint<T, R, E, F, Fut>(handler: F) -> Handler<Settled>
where
    T: DeserializeOwned + Send + 'static,
    R: Serialize,
    E: Serialize,
    F: Fn(Message<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |envelope, redelivered| {
        let (message, handler) = (message(envelope, redelivered)?, handler.clone());
        Ok(async move {
            match handler(message).await {
                Ok(value) => settled(MessageType::Resolve, &value),
                Err(error) => settled(MessageType::Reject, &error),
            }
        }
        .boxed())
    })
}

/// A handler of replies to requests that outlive their process.
#[cfg(feature = "durable")]
pub(super) fn reply_terminator<R, C, F, Fut>(handler: F) -> ReplyHandler
where
    R: DeserializeOwned + Send + 'static,
    C: DeserializeOwned + Send + 'static,
    F: Fn(Correlated<R, C>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |envelope, correlation, redelivered| {
        let request_id = envelope.cmid.clone().unwrap_or_default();
        // This runs on the connection's task, which must survive the application's `Deserialize`.
        let parsed = std::panic::catch_unwind(|| {
            let resolved = envelope.t == MessageType::Resolve;
            let reply =
                typed(RawReply { resolved, envelope }).map_err(|error| error.to_string())?;
            let correlation = serde_json::from_str(correlation.get())
                .map_err(|error| format!("the correlation does not deserialise: {error}"))?;
            Ok::<_, String>((reply, correlation))
        });
        let parsed = parsed.map_err(|_| "deserialising the reply panicked".to_owned())?;
        let (reply, correlation) = parsed?;
        let reply = Correlated {
            reply,
            correlation,
            request_id,
            redelivered,
        };
        let handler = handler.clone();
        Ok(async move { handler(reply).await }.boxed())
    })
}

fn settled(t: MessageType, value: &impl Serialize) -> Settled {
    match serde_json::value::to_raw_value(value) {
        Ok(msg) => Settled {
            t,
            msg: Some(msg),
            desc: None,
        },
        Err(error) => rejected(format!("the reply does not serialise: {error}")),
    }
}

fn rejected(desc: String) -> Settled {
    Settled {
        t: MessageType::Reject,
        msg: None,
        desc: Some(desc),
    }
}

fn message<T: DeserializeOwned>(
    envelope: Envelope,
    redelivered: bool,
) -> Result<Message<T>, String> {
    // This runs on the connection's task, which must survive the application's `Deserialize`.
    let payload = std::panic::catch_unwind(|| parse(&envelope.msg))
        .map_err(|_| "deserialising the payload panicked".to_owned())?
        .map_err(|error| format!("the payload does not deserialise: {error}"))?;
    Ok(Message {
        payload,
        endpoint: envelope.eid.unwrap_or_default(),
        trace_id: envelope.tid.unwrap_or_default(),
        message_id: envelope.smid.unwrap_or_default(),
        debug: envelope.debug,
        redelivered,
    })
}

/// The endpoint that every client of the protocol has: the server requests a new authorization and learns when it has
/// been sent. `AUTH` is sent before the answer.
pub(super) fn built_in(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let renew = endpoint(move |_: Message<serde::de::IgnoredAny>| {
        let shared = weak.upgrade();
        async move {
            let shared = shared.ok_or("the client is gone")?;
            let callback = shared
                .config
                .callback
                .as_ref()
                .ok_or("the client has no fresh authorization to give")?;
            let authorization = callback(AuthorizationNeed::Requested).await;
            // The cause is the application's concern, not the server's.
            authorization
                .map_err(drop)
                .and_then(|fresh| shared.core().take_authorization(fresh).map_err(drop))
                .map_err(|()| "the client got no fresh authorization")
        }
    });
    shared
        .core()
        .endpoints
        .insert("MatsSocket.renewAuth".into(), renew);
}

/// A handler's run.
pub(super) enum Job {
    /// Run in turn: the next job waits until it is done.
    InTurn {
        run: BoxFuture<'static, ()>,
        /// What the journal has to be told afterwards.
        order: Option<u64>,
    },
    /// Started in turn, then run concurrently with others: a client endpoint may take long.
    Request {
        run: BoxFuture<'static, Settled>,
        smid: String,
        trace_id: String,
        /// The session it came from; the reply is dropped if that is gone.
        epoch: u64,
        /// What the journal has to be told with the reply.
        order: Option<u64>,
    },
}

/// Most client endpoints that run at a time.
const MAX_REQUESTS: usize = 1_000;

/// The connection's side of the worker, to which it passes jobs. Dropping it ends the worker once all jobs are done.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    /// Waiting jobs. The connection stops reading when there are too many.
    waiting: Arc<AtomicUsize>,
}

impl Worker {
    /// Starts the task that runs handlers.
    pub(super) fn start(shared: Arc<Shared>) -> Worker {
        let (jobs, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        tokio::spawn(work(queue, waiting.clone(), shared));
        Worker { jobs, waiting }
    }

    pub(super) fn push(&self, job: Job) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The worker lives as long as this sender.
        let _ = self.jobs.send(job);
    }

    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.waiting.load(Ordering::Relaxed) > limit
    }
}

async fn work(
    mut queue: mpsc::UnboundedReceiver<Job>,
    waiting: Arc<AtomicUsize>,
    shared: Arc<Shared>,
) {
    let slots = Arc::new(Semaphore::new(MAX_REQUESTS));
    while let Some(job) = queue.recv().await {
        match job {
            Job::InTurn { run, order } => {
                if AssertUnwindSafe(run).catch_unwind().await.is_err() {
                    log::error!("a message handler panicked");
                }
                if let Some(order) = order {
                    shared.core().owe(vec![Write::Done(order)]);
                }
            }
            Job::Request {
                run,
                smid,
                trace_id,
                epoch,
                order,
            } => {
                let slot = slots
                    .clone()
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed");
                let shared = shared.clone();
                tokio::spawn(async move {
                    let settled = AssertUnwindSafe(run).catch_unwind().await;
                    let settled = settled
                        .unwrap_or_else(|_| rejected("the client's endpoint panicked".into()));
                    shared.reply(epoch, smid, trace_id, settled, order);
                    drop(slot);
                });
            }
        }
        let left = waiting.fetch_sub(1, Ordering::Relaxed) - 1;
        if left == shared.config.max_waiting_messages {
            // The connection may read again.
            shared.wake.notify_one();
        }
    }
}
