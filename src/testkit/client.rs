//! A client for tests.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Addr;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};

use super::builder::TestClientBuilder;
use super::connection::{Hang, Out, TestConnection};
use super::message::parse;
use super::peer::{Outlets, Peer, Settled};
use super::{Error, Publication, Push, Reply};
use crate::server::MatsSocketServer;
use crate::store::operation::{ListSessions, SessionFilter};
use crate::wire::{Envelope, MessageType, Payload, print_pipeline};

/// A client of a running server, without a socket. It acknowledges what it receives, keeps unsettled messages across
/// reconnects, and drops repeats, as any client must. Every method waits at most for the
/// [time-out](TestClientBuilder::timeout). Dropping it loses the connection; the session stays for a while.
pub struct TestClient {
    settings: TestClientBuilder,
    authorization: Mutex<String>,
    peer: Arc<Mutex<Peer>>,
    /// The connection, and its number.
    connection: Mutex<Option<(u64, Addr<TestConnection>)>>,
    pushes: AsyncMutex<mpsc::UnboundedReceiver<Push>>,
    publications: AsyncMutex<mpsc::UnboundedReceiver<Publication>>,
    reauths: AsyncMutex<mpsc::UnboundedReceiver<()>>,
    closed: watch::Receiver<Option<(u16, String)>>,
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient")
            .field("session_id", &self.session_id())
            .finish_non_exhaustive()
    }
}

impl TestClient {
    /// Connects with this authorization value: a new session.
    ///
    /// # Errors
    /// [`Error::Refused`] at the upgrade, [`Error::Closed`] at HELLO.
    pub async fn connect(
        server: &MatsSocketServer,
        authorization: impl Into<String>,
    ) -> Result<TestClient, Error> {
        TestClient::builder(server)
            .authorization(authorization)
            .connect()
            .await
    }

    /// Configures headers, a name, or a time-out before connecting.
    pub fn builder(server: &MatsSocketServer) -> TestClientBuilder {
        TestClientBuilder::new(server)
    }

    pub(super) async fn start(settings: TestClientBuilder) -> Result<TestClient, Error> {
        let (to_pushes, pushes) = mpsc::unbounded_channel();
        let (to_publications, publications) = mpsc::unbounded_channel();
        let (to_reauths, reauths) = mpsc::unbounded_channel();
        let (to_closed, closed) = watch::channel(None);
        let outlets = Outlets {
            pushes: to_pushes,
            publications: to_publications,
            reauths: to_reauths,
            closed: to_closed,
        };
        let client = TestClient {
            authorization: Mutex::new(settings.authorization.clone()),
            peer: Arc::new(Mutex::new(Peer::new(outlets, settings.hold_acks))),
            settings,
            connection: Mutex::new(None),
            pushes: AsyncMutex::new(pushes),
            publications: AsyncMutex::new(publications),
            reauths: AsyncMutex::new(reauths),
            closed,
        };
        client.reconnect().await?;
        Ok(client)
    }

    /// The session's id.
    pub fn session_id(&self) -> String {
        self.peer().session_id().unwrap_or_default().to_owned()
    }

    /// Sends a REQUEST and waits for its reply, across reconnects.
    ///
    /// # Errors
    /// [`Error::Nack`], [`Error::Retry`], [`Error::Closed`] when the session is closed, [`Error::Timeout`],
    /// [`Error::NoLine`], [`Error::Payload`].
    pub async fn request<R: DeserializeOwned>(
        &self,
        endpoint: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Reply<R>, Error> {
        let envelope = Envelope {
            eid: Some(endpoint.to_owned()),
            msg: Some(json(payload)?),
            ..Envelope::new(MessageType::Request)
        };
        let what = format!("the reply of {endpoint:?}");
        match self.settle(envelope, &what).await? {
            Settled::Replied(MessageType::Resolve, payload) => {
                parse(&what, &payload).map(Reply::Resolved)
            }
            Settled::Replied(_, payload) => parse(&what, &payload).map(Reply::Rejected),
            Settled::Acknowledged => Err(Error::Protocol(format!("no reply of {endpoint:?}"))),
        }
    }

    /// Sends a SEND and waits for its ACK, across reconnects.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn send(
        &self,
        endpoint: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        let envelope = Envelope {
            eid: Some(endpoint.to_owned()),
            msg: Some(json(payload)?),
            ..Envelope::new(MessageType::Send)
        };
        let what = format!("the ACK of {endpoint:?}");
        self.settle(envelope, &what).await.map(drop)
    }

    /// Resolves a REQUEST from the server, and waits for the ACK.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn resolve(
        &self,
        request: &Push,
        reply: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        self.reply(MessageType::Resolve, request, json(reply)?)
            .await
    }

    /// Rejects a REQUEST from the server, and waits for the ACK.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn reject(
        &self,
        request: &Push,
        reply: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        self.reply(MessageType::Reject, request, json(reply)?).await
    }

    /// Acknowledges a message from the server with a NACK: it cannot be handled.
    ///
    /// Unless [acknowledgements are held](Self::hold_acks), the server already has an ACK.
    ///
    /// # Errors
    /// [`Error::NoLine`].
    pub fn nack(&self, push: &Push) -> Result<(), Error> {
        self.peer().forget_held(&push.message_id);
        self.write(
            "refuse a message",
            print_pipeline([&Envelope {
                smid: Some(push.message_id.clone()),
                ..Envelope::new(MessageType::Nack)
            }]),
        )
    }

    /// The next SEND or REQUEST from the server, in order of arrival. Each is returned once, however often it is
    /// delivered.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn next_message(&self) -> Result<Push, Error> {
        self.next(&self.pushes, "a message of the server").await
    }

    /// A message from the server that has already arrived, if any.
    pub async fn try_next_message(&self) -> Option<Push> {
        self.pushes.lock().await.try_recv().ok()
    }

    /// Holds back the ACKs of what the server sends; `false` sends those held back, and holds no more. They are lost
    /// with the connection, like unsent ACKs in production: the server then delivers again.
    ///
    /// # Errors
    /// [`Error::NoLine`] if there are ACKs to be sent.
    pub fn hold_acks(&self, hold: bool) -> Result<(), Error> {
        let acks = self.peer().hold(hold);
        acks.map_or(Ok(()), |acks| self.write("acknowledge", acks))
    }

    /// Subscribes to a topic and waits for the server's answer.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`], or as [`request`](Self::request).
    pub async fn subscribe(&self, topic: &str) -> Result<(), Error> {
        let (settle, settled) = oneshot::channel();
        let pipeline = self.peer().subscribe(topic, settle);
        self.write("subscribe", pipeline)?;
        self.wait(&format!("the answer to SUB {topic:?}"), settled)
            .await?
    }

    /// Ends a subscription. There is no answer: the server processes what is sent after it in order.
    ///
    /// # Errors
    /// [`Error::NoLine`].
    pub fn unsubscribe(&self, topic: &str) -> Result<(), Error> {
        let pipeline = self.peer().unsubscribe(topic);
        self.write("unsubscribe", pipeline)
    }

    /// The next message of any topic.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn next_publication(&self) -> Result<Publication, Error> {
        self.next(&self.publications, "a publication").await
    }

    /// Topics for which the server sent SUB_LOST after a reconnect: messages may be missing. Each is returned once.
    pub fn lost_topics(&self) -> Vec<String> {
        self.peer().take_lost_topics()
    }

    /// Sends a new authorization value (AUTH); it also serves for the next reconnect.
    ///
    /// # Errors
    /// [`Error::NoLine`].
    pub fn authorization(&self, value: impl Into<String>) -> Result<(), Error> {
        let value = value.into();
        lock(&self.authorization).clone_from(&value);
        let auth = Envelope {
            auth: Some(value),
            ..Envelope::new(MessageType::Auth)
        };
        self.write("send authorization", print_pipeline([&auth]))
    }

    /// Waits until the server requests a new authorization (REAUTH).
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn next_reauth(&self) -> Result<(), Error> {
        self.next(&self.reauths, "REAUTH").await
    }

    /// Sends a pipeline as given: for input that a correct client would not send.
    ///
    /// # Errors
    /// [`Error::NoLine`].
    pub fn send_raw(&self, pipeline: impl Into<String>) -> Result<(), Error> {
        self.write("send", pipeline.into())
    }

    /// Drops the connection without closing it. The session waits for [`reconnect`](Self::reconnect); what the server sends
    /// until then is lost.
    pub fn lose_line(&self) {
        self.hang_up(None);
    }

    /// Opens a new connection and resumes the session: both sides send again what was not acknowledged. A connection that
    /// is still open is dropped first.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); with code 4001 the session is gone.
    pub async fn reconnect(&self) -> Result<(), Error> {
        self.resume(&self.settings.server).await
    }

    /// Like [`reconnect`](Self::reconnect), to another node of the cluster. A later `reconnect` goes back to the first.
    ///
    /// # Errors
    /// As [`reconnect`](Self::reconnect).
    pub async fn reconnect_to(&self, server: &MatsSocketServer) -> Result<(), Error> {
        self.resume(server).await
    }

    async fn resume(&self, server: &MatsSocketServer) -> Result<(), Error> {
        self.lose_line();
        let generation = self.peer().next_line();
        let connection = TestConnection::open(
            server.edge.clone(),
            self.peer.clone(),
            generation,
            self.settings.headers.clone(),
        )
        .await?;
        *lock(&self.connection) = Some((generation, connection));
        let (welcome, welcomed) = oneshot::channel();
        let hello = Envelope {
            auth: Some(lock(&self.authorization).clone()),
            ..self.settings.hello()
        };
        let pipeline = self.peer().hello(hello, welcome);
        self.write("say HELLO", pipeline)?;
        self.wait("WELCOME", welcomed).await?
    }

    /// Closes the session for good, and waits until the store has no trace of it.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Store`].
    pub async fn close(self) -> Result<(), Error> {
        self.hang_up(Some(crate::wire::CloseCode::CloseSession.code()));
        let session_id = self.session_id();
        let node = self.settings.server.node.clone();
        let gone = async {
            loop {
                let list = ListSessions {
                    filter: SessionFilter::default().session_id(session_id.clone()),
                    newest_first: false,
                    limit: 1,
                };
                let sessions = node.store.run(list).await;
                let sessions = sessions.map_err(|error| Error::Store(error.to_string()))?;
                if sessions
                    .iter()
                    .all(|stored| stored.session_id != session_id)
                {
                    return Ok(());
                }
                // The store does not notify anyone when a session is gone, so poll.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        self.patiently("the end of the session", gone).await?
    }

    /// Waits until the server closes the connection. Returns code and reason. If it has already closed the connection, returns at
    /// once, until the next reconnect.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn closed(&self) -> Result<(u16, String), Error> {
        let mut closed = self.closed.clone();
        let told = async {
            let told = closed.wait_for(Option::is_some).await;
            told.ok().and_then(|told| told.clone())
        };
        self.patiently("a close by the server", told)
            .await?
            .ok_or(Error::Stopped)
    }

    async fn reply(&self, t: MessageType, request: &Push, reply: Payload) -> Result<(), Error> {
        let envelope = Envelope {
            smid: Some(request.message_id.clone()),
            tid: Some(request.trace_id.clone()),
            msg: Some(reply),
            ..Envelope::new(t)
        };
        let what = format!("the ACK of the reply to {:?}", request.endpoint);
        self.settle(envelope, &what).await.map(drop)
    }

    async fn settle(&self, envelope: Envelope, what: &str) -> Result<Settled, Error> {
        if !self.has_line() {
            return Err(Error::NoLine("send a message"));
        }
        let (settle, settled) = oneshot::channel();
        let pipeline = self.peer().send(envelope, settle);
        self.write("send a message", pipeline)?;
        self.wait(what, settled).await?
    }

    fn has_line(&self) -> bool {
        let generation = self.peer().generation();
        lock(&self.connection)
            .as_ref()
            .is_some_and(|(number, _)| *number == generation)
    }

    fn write(&self, what: &'static str, pipeline: String) -> Result<(), Error> {
        let generation = self.peer().generation();
        match &*lock(&self.connection) {
            Some((number, connection)) if *number == generation => {
                connection.do_send(Out(pipeline));
                Ok(())
            }
            _ => Err(Error::NoLine(what)),
        }
    }

    fn hang_up(&self, code: Option<u16>) {
        self.peer().next_line();
        if let Some((_, connection)) = lock(&self.connection).take() {
            connection.do_send(Hang(code));
        }
    }

    async fn next<T>(
        &self,
        queue: &AsyncMutex<mpsc::UnboundedReceiver<T>>,
        what: &str,
    ) -> Result<T, Error> {
        let next = async { queue.lock().await.recv().await };
        self.patiently(what, next).await?.ok_or(Error::Stopped)
    }

    async fn wait<T>(&self, what: &str, told: oneshot::Receiver<T>) -> Result<T, Error> {
        // Dropped without an answer: replaced by a second one, or the topic was unsubscribed.
        self.patiently(what, told)
            .await?
            .map_err(|_| Error::Protocol(format!("{what} is no longer awaited")))
    }

    async fn patiently<T>(&self, what: &str, future: impl Future<Output = T>) -> Result<T, Error> {
        let after = self.settings.timeout;
        tokio::time::timeout(after, future)
            .await
            .map_err(|_| Error::Timeout {
                what: what.to_owned(),
                after,
            })
    }

    fn peer(&self) -> MutexGuard<'_, Peer> {
        lock(&self.peer)
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        self.hang_up(None);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn json(payload: &(impl Serialize + ?Sized)) -> Result<Payload, Error> {
    to_raw_value(payload)
        .map_err(|error| Error::Payload(format!("the payload cannot be written as JSON: {error}")))
}
