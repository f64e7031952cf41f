//! The line: an actor in place of the connection actor, on the server's own thread.

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
use crate::session::line::{Flow, FromLine, NewLine, ToLine};

/// A pipeline for the server.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Out(pub(super) String);

/// The line ends: with this close code from the client, or without a Close.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Hang(pub(super) Option<u16>);

/// The actor.
pub(super) struct Line {
    edge: Arc<Edge>,
    peer: Arc<Mutex<Peer>>,
    /// Which of the client's lines this is: what arrives on an older one is lost.
    generation: u64,
    flow: Flow,
    opening: Option<Rc<dyn Authenticator>>,
    session: Option<Mailbox<FromLine>>,
}

impl Line {
    /// Upgrades as the HTTP edge would, and starts the actor. Both happen on the server's own thread, so that the test
    /// needs no actix system, and handlers outlive their line as they do in production.
    pub(super) async fn open(
        edge: Arc<Edge>,
        peer: Arc<Mutex<Peer>>,
        generation: u64,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Addr<Line>, Error> {
        let (tell, told) = oneshot::channel();
        let arbiter = edge.node.arbiter().clone();
        let start = move || {
            actix::spawn(async move {
                let line = admit(&edge, headers).await.map(|authenticator| {
                    let line = Line {
                        flow: Flow::new(edge.budget()),
                        edge,
                        peer,
                        generation,
                        opening: Some(authenticator),
                        session: None,
                    };
                    line.start()
                });
                // The caller no longer waits: the session behind the line must not stay.
                if let Err(Ok(line)) = tell.send(line) {
                    line.do_send(Hang(None));
                }
            });
        };
        if !arbiter.spawn_fn(start) {
            return Err(Error::Stopped);
        }
        told.await.map_err(|_| Error::Stopped)?
    }

    fn tell(&self, message: FromLine) {
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
        self.tell(FromLine::Text(text));
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

impl Actor for Line {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(authenticator) = self.opening.take() else {
            return;
        };
        let edge = self.edge.clone();
        self.session = Some(edge.open(NewLine {
            line: Box::new(Mailbox::<ToLine>::new(&ctx.address(), edge.meter())),
            flow: self.flow.clone(),
            authenticator,
            remote: Some("testkit".to_owned()),
        }));
    }
}

impl Handler<Out> for Line {
    type Result = ();

    fn handle(&mut self, Out(text): Out, _: &mut Self::Context) {
        self.send(text);
    }
}

impl Handler<Hang> for Line {
    type Result = ();

    fn handle(&mut self, Hang(code): Hang, ctx: &mut Self::Context) {
        self.tell(match code {
            Some(code) => FromLine::Closed(Some(code)),
            None => FromLine::Lost,
        });
        ctx.stop();
    }
}

impl Handler<ToLine> for Line {
    type Result = ();

    fn handle(&mut self, message: ToLine, ctx: &mut Self::Context) {
        match message {
            ToLine::Text(text) => {
                let answer = self.peer().receive(self.generation, text.as_str());
                if let Some(answer) = answer {
                    self.send(answer);
                }
            }
            // There are no limits here that HELLO would relax.
            ToLine::Established => {}
            ToLine::Ping(number) => self.tell(FromLine::Pong(number)),
            ToLine::Close(close) => {
                self.peer().closed(self.generation, &close);
                ctx.stop();
            }
        }
    }
}

metered!(Line: ToLine);
