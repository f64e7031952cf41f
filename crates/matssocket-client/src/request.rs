//! Sending, and waiting for the result.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::core::{Outgoing, RawReply};
use super::error::{RequestError, SendError, SessionClosed};
use super::message::{Outcome, Rejection, Reply, parse};
use super::shared::Shared;
use matssocket_wire::{DebugOptions, Payload};

pub(super) fn payload(value: &(impl Serialize + ?Sized)) -> Result<Payload, SendError> {
    serde_json::value::to_raw_value(value).map_err(|error| SendError::Payload(error.to_string()))
}

/// What a waiting caller gets if the client's task has ended because its runtime was shut down.
pub(super) fn task_gone() -> SessionClosed {
    SessionClosed {
        code: None,
        reason: "the client's task has ended".into(),
    }
}

/// A message on its way: await it to learn that the server has accepted it.
#[derive(Debug)]
#[must_use = "await it to learn of the message's fate, or drop it explicitly"]
pub struct Sending {
    refused: Option<SendError>,
    #[cfg_attr(not(feature = "durable"), allow(dead_code))]
    stored: oneshot::Receiver<()>,
    acknowledged: oneshot::Receiver<Result<(), SendError>>,
}

impl Sending {
    /// Queues a SEND.
    pub(super) fn new(shared: &Shared, out: Result<Outgoing, SendError>) -> Sending {
        let (done, acknowledged) = oneshot::channel();
        let (tell, stored) = oneshot::channel();
        let queue = |out| {
            let stored = Some(tell);
            shared.core().send(Outgoing { stored, ..out }, done)
        };
        let refused = out.and_then(queue).err();
        shared.wake.notify_one();
        Sending {
            refused,
            stored,
            acknowledged,
        }
    }

    /// Waits until the journal has committed the message. From then on it reaches the server, even if this process is
    /// killed and only the next one sends it; or it is found in [`Client::unresolved`](crate::Client::unresolved).
    /// Nothing of it is sent before. Without a journal, this returns at once.
    ///
    /// # Errors
    /// The message is not kept, and will not be sent. See [`SendError`].
    #[cfg(feature = "durable")]
    pub async fn stored(&mut self) -> Result<(), SendError> {
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        match (&mut self.stored).await {
            Ok(()) => Ok(()),
            // It failed, and this says why.
            Err(_) => self.await,
        }
    }
}

impl Future for Sending {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        let acknowledged = Pin::new(&mut self.acknowledged).poll(cx);
        acknowledged.map(|result| result.unwrap_or_else(|_| Err(task_gone().into())))
    }
}

/// A request. It is queued when it is first polled.
#[must_use = "a request is sent when it is awaited"]
pub struct Request<R> {
    shared: Arc<Shared>,
    out: Result<Outgoing, SendError>,
    timeout: Duration,
    reply: PhantomData<fn() -> R>,
}

impl<R> std::fmt::Debug for Request<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<R> Request<R> {
    pub(super) fn new(shared: Arc<Shared>, out: Result<Outgoing, SendError>) -> Request<R> {
        let timeout = shared.config.request_timeout;
        Request {
            shared,
            out,
            timeout,
            reply: PhantomData,
        }
    }

    /// How long to wait for the answer, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Debug options to request, instead of the client's default.
    pub fn debug_options(mut self, options: DebugOptions) -> Self {
        if let Ok(out) = &mut self.out {
            out.debug = options.bits();
        }
        self
    }
}

impl<R: DeserializeOwned + 'static> IntoFuture for Request<R> {
    type Output = Result<Reply<R>, RequestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Request {
            shared,
            out,
            timeout,
            ..
        } = self;
        let (reply, answer) = oneshot::channel();
        let queued = out.and_then(|mut out| {
            out.timeout = Some(timeout);
            shared.core().request(out, reply)
        });
        shared.wake.notify_one();
        // Created here, so that dropping a future that is never polled also withdraws the request.
        let queued = queued.map(|cmid| Waiting { shared, cmid });
        Box::pin(async move {
            let _waiting = queued?;
            match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(answer)) => typed(answer?),
                Ok(Err(_)) => Err(task_gone().into()),
                Err(_) => Err(RequestError::Timeout(timeout)),
            }
        })
    }
}

/// Withdraws the request on drop: it timed out, or the caller dropped it.
struct Waiting {
    shared: Arc<Shared>,
    cmid: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.core().abandon(self.cmid);
    }
}

pub(super) fn typed<R: DeserializeOwned>(raw: RawReply) -> Result<Reply<R>, RequestError> {
    let RawReply { resolved, envelope } = raw;
    let outcome = if resolved {
        Outcome::Resolved(
            parse(&envelope.msg).map_err(|error| RequestError::Payload(error.to_string()))?,
        )
    } else {
        Outcome::Rejected(Rejection {
            desc: envelope.desc.unwrap_or_default(),
            payload: envelope.msg,
        })
    };
    Ok(Reply {
        outcome,
        trace_id: envelope.tid.unwrap_or_default(),
        debug: envelope.debug,
    })
}
