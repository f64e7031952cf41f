//! The connection: an actor in place of the connection actor, on the server's own thread.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::test::TestRequest;
use bytestring::ByteString;
use tokio::sync::oneshot;

use super::Error;
use super::peer::Peer;
use crate::auth::{Authenticator, ResponseHeaders};
use crate::http::{Backend, admits_page};
use crate::mailbox::{Mailbox, metered};
use crate::server::Edge;
use crate::session::connection::{Flow, FromConnection, NewConnection, ToConnection};

/// A pipeline for the server.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Out(pub(super) String);

/// The connection ends: with this close code from the client, or without a Close.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Hang(pub(super) Option<u16>);

/// The actor.
pub(super) struct TestConnection {
    edge: Arc<Edge>,
    peer: Arc<Mutex<Peer>>,
    /// Which of the client's connections this is: what arrives on an older one is lost.
    generation: u64,
    flow: Flow,
    opening: Option<Rc<dyn Authenticator>>,
    session: Option<Mailbox<FromConnection>>,
}

impl TestConnection {
    /// Upgrades as the HTTP edge would, and starts the actor. Both happen on the server's own thread, so that the test
    /// needs no actix system, and handlers outlive their connection as they do in production.
    pub(super) async fn open(
        edge: Arc<Edge>,
        peer: Arc<Mutex<Peer>>,
        generation: u64,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Addr<TestConnection>, Error> {
        let (tell, told) = oneshot::channel();
        let arbiter = edge.node.arbiter().clone();
        let start = move || {
            actix::spawn(async move {
                let connection = admit(&edge, headers).await.map(|authenticator| {
                    let connection = TestConnection {
                        flow: Flow::new(edge.budget()),
                        edge,
                        peer,
                        generation,
                        opening: Some(authenticator),
                        session: None,
                    };
                    connection.start()
                });
                // The caller no longer waits: the session behind the connection must not stay.
                if let Err(Ok(connection)) = tell.send(connection) {
                    connection.do_send(Hang(None));
                }
            });
        };
        if !arbiter.spawn_fn(start) {
            return Err(Error::Stopped);
        }
        told.await.map_err(|_| Error::Stopped)?
    }

    fn tell(&self, message: FromConnection) {
        if let Some(session) = &self.session {
            session.tell(message);
        }
    }

    fn peer(&self) -> std::sync::MutexGuard<'_, Peer> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, text: String) {
        let text = ByteString::from(text);
        self.flow.received(text.len(), 0);
        self.tell(FromConnection::Text(text));
    }
}

/// The checks that the HTTP edge makes before it upgrades.
async fn admit(
    edge: &Edge,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Result<Rc<dyn Authenticator>, Error> {
    edge.lets_in()
        .map_err(|why| Error::Refused(format!("503 {why}")))?;
    let request = headers
        .into_iter()
        .fold(TestRequest::get(), TestRequest::append_header)
        .to_http_request();
    admits_page(edge, &request).map_err(|why| Error::Refused(format!("403 {why}")))?;
    let authentication = edge.authentication().clone();
    match authentication
        .handshake(&request, &mut ResponseHeaders::default())
        .await
    {
        Ok(authenticator) => Ok(authenticator.into()),
        Err(refused) => Err(Error::Refused(format!("403 {refused}"))),
    }
}

impl Actor for TestConnection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(authenticator) = self.opening.take() else {
            return;
        };
        let edge = self.edge.clone();
        self.session = Some(edge.open(NewConnection {
            connection: Box::new(Mailbox::<ToConnection>::new(&ctx.address(), edge.meter())),
            flow: self.flow.clone(),
            authenticator,
            remote: Some("testkit".to_owned()),
        }));
    }
}

impl Handler<Out> for TestConnection {
    type Result = ();

    fn handle(&mut self, Out(text): Out, _: &mut Self::Context) {
        self.send(text);
    }
}

impl Handler<Hang> for TestConnection {
    type Result = ();

    fn handle(&mut self, Hang(code): Hang, ctx: &mut Self::Context) {
        self.tell(match code {
            Some(code) => FromConnection::Closed(Some(code)),
            None => FromConnection::Lost,
        });
        ctx.stop();
    }
}

impl Handler<ToConnection> for TestConnection {
    type Result = ();

    fn handle(&mut self, message: ToConnection, ctx: &mut Self::Context) {
        match message {
            ToConnection::Text(text) => {
                let answer = self.peer().receive(self.generation, text.as_str());
                if let Some(answer) = answer {
                    self.send(answer);
                }
            }
            // There are no limits here that HELLO would relax.
            ToConnection::Established => {}
            ToConnection::Ping(number) => self.tell(FromConnection::Pong(number)),
            ToConnection::Close(close) => {
                self.peer().closed(self.generation, &close);
                ctx.stop();
            }
        }
    }
}

metered!(TestConnection: ToConnection);
