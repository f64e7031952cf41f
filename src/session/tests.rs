//! The session actor in a real node, on a connection that only records what it is sent.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Actor, Context, Handler};

use super::Session;
use super::connection::{Flow, FromConnection, NewConnection, ToConnection};
use crate::auth::{AuthError, Authenticator, Principal, Verdict};
use crate::endpoint::{Incoming, Outcome};
use crate::events::SessionChange;
use crate::mailbox::{Mailbox, Meter, metered};
use crate::node::State;
use crate::registry::Holders;
use crate::server::MatsSocketServer;
use crate::store::Store;
use crate::store::operation::{Cause, FetchOutbox, ReadAnswer, SessionFilter, Unit, UnitOutcome};
use crate::wire::{Close, Envelope, MessageType, parse_pipeline};

const HELLO: &str = r#"[{"t":"HELLO","clv":"test","an":"app","av":"1","auth":"good"}]"#;

struct Recorder(Sender<ToConnection>);

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<ToConnection> for Recorder {
    type Result = ();

    fn handle(&mut self, message: ToConnection, _: &mut Self::Context) {
        let _ = self.0.send(message);
    }
}

metered!(Recorder: ToConnection);

struct Anybody;

#[async_trait::async_trait(?Send)]
impl Authenticator for Anybody {
    async fn authenticate(&self, _: &str) -> Result<Verdict, AuthError> {
        Ok(Verdict::Authenticated(Principal::user("u")))
    }
}

/// What the session listener does with a change.
type Listener = fn(SessionChange, &MatsSocketServer, &Mailbox<FromConnection>);

/// A session after HELLO, with the records of its connection and of the listener.
struct Tried {
    server: MatsSocketServer,
    session: Mailbox<FromConnection>,
    connection: Receiver<ToConnection>,
    changes: Receiver<SessionChange>,
}

async fn hello(listener: Listener) -> Tried {
    let (tell, changes) = channel();
    let known: Arc<OnceLock<(MatsSocketServer, Mailbox<FromConnection>)>> = Arc::default();
    let seen = known.clone();
    let server = MatsSocketServer::builder("test")
        .store(Store::sqlite_in_memory())
        .authentication(crate::auth::auth_fn(|_| async {
            Ok(Verdict::Authenticated(Principal::user("u")))
        }))
        .terminator("reply", |_: Incoming<u32>| async { Ok(Outcome::done()) })
        .on_session(move |event| {
            let (server, session) = seen.get().expect("known before HELLO");
            listener(event.change, server, session);
            let _ = tell.send(event.change);
        })
        .start()
        .await
        .expect("a server in memory starts");
    let (out, connection) = channel();
    let session = Session::open(
        server.node.clone(),
        server.edge.running().clone(),
        NewConnection {
            connection: Box::new(Mailbox::<ToConnection>::new(
                &Recorder(out).start(),
                &Arc::<Meter>::default(),
            )),
            flow: Flow::new(&server.node.budget),
            authenticator: std::rc::Rc::new(Anybody),
            remote: None,
        },
    );
    let _ = known.set((server.clone(), session.clone()));
    session.tell(FromConnection::Text(HELLO.into()));
    Tried {
        server,
        session,
        connection,
        changes,
    }
}

/// The next item, without blocking the thread on which the actors run.
async fn next<T>(from: &Receiver<T>) -> Option<T> {
    for _ in 0..2_000 {
        if let Ok(it) = from.try_recv() {
            return Some(it);
        }
        actix::clock::sleep(Duration::from_millis(1)).await;
    }
    None
}

async fn next_close(from: &Receiver<ToConnection>) -> Option<Close> {
    while let Some(told) = next(from).await {
        if let ToConnection::Close(close) = told {
            return Some(close);
        }
    }
    None
}

/// The next envelope of this type.
async fn next_envelope(from: &Receiver<ToConnection>, t: MessageType) -> Envelope {
    while let Some(told) = next(from).await {
        let ToConnection::Text(text) = told else {
            continue;
        };
        let mut envelopes = parse_pipeline(text.as_str()).expect("it speaks the protocol");
        if let Some(at) = envelopes.iter().position(|envelope| envelope.t == t) {
            return envelopes.swap_remove(at);
        }
    }
    panic!("no {t} has come");
}

#[actix::test]
async fn a_reply_that_was_settled_by_a_commit_of_which_nothing_was_learnt_leaves_the_inbox_with_its_ack2()
 {
    let tried = hello(|_, _, _| {}).await;
    assert_eq!(next(&tried.changes).await, Some(SessionChange::New));
    let sid = &tried.server.live_sessions().await[0].session_id;
    let reply_to = crate::ReplyTo::terminator("reply");
    let request = tried.server.request(sid, "t", "e", &1, reply_to).await;
    request.expect("it is stored");
    let request = next_envelope(&tried.connection, MessageType::Request).await;
    let node = &tried.server.node;
    let holder = node.registry().ask(Holders).await.expect("it runs")[0];
    let fetch = FetchOutbox {
        session: holder.session,
        after: 0,
        limit: 1,
        max_bytes: 1_000,
        max_first: 1_000,
    };
    let stored = node.store.run(fetch).await.expect("it is stored").messages;
    // What that commit does.
    let cause = Cause::Incoming {
        holder,
        cmid: "1".into(),
        answer: None,
        settles: Some(stored[0].seq),
    };
    let effects = Vec::new();
    let settled = node.store.run(Unit { cause, effects }).await;
    assert!(matches!(settled, Ok(UnitOutcome::Committed(_))));

    let smid = request.smid.expect("a request has one");
    let reply = format!(r#"[{{"t":"RESOLVE","tid":"t","cmid":"1","smid":"{smid}","msg":1}}]"#);
    tried.session.tell(FromConnection::Text(reply.into()));
    let ack = next_envelope(&tried.connection, MessageType::Ack).await;
    assert_eq!(ack.desc.as_deref(), Some("dupe ACK"), "it is in the inbox");
    let ack2 = r#"[{"t":"ACK2","cmid":"1"}]"#;
    tried.session.tell(FromConnection::Text(ack2.into()));
    for _ in 0..2_000 {
        let read = ReadAnswer {
            session: holder.session,
            cmid: "1".into(),
        };
        if matches!(node.store.run(read).await, Ok(None)) {
            return;
        }
        actix::clock::sleep(Duration::from_millis(1)).await;
    }
    panic!("it is left in the inbox");
}

#[actix::test]
async fn a_line_lost_between_registration_and_welcome_leaves_nothing() {
    let tried = hello(|change, _, session| {
        if change == SessionChange::New {
            session.tell(FromConnection::Lost);
        }
    })
    .await;
    assert_eq!(next(&tried.changes).await, Some(SessionChange::New));
    assert_eq!(next(&tried.changes).await, Some(SessionChange::Close));
    for _ in 0..2_000 {
        let left = tried.server.count_sessions(SessionFilter::default()).await;
        if matches!(left, Ok(0)) {
            return;
        }
        actix::clock::sleep(Duration::from_millis(1)).await;
    }
    panic!("a session that nobody knows of stays, and counts for its user");
}

#[actix::test]
async fn a_session_that_registers_while_the_server_begins_to_stop_is_sent_away() {
    let tried = hello(|change, server, _| {
        if change == SessionChange::New {
            // All sessions were just disconnected; this one was not among them.
            server.node.change(State::Up, State::Stopping);
        }
    })
    .await;
    let close = next_close(&tried.connection).await.expect("it is closed");
    assert_eq!(close.code.code(), 1012);
}

#[actix::test]
async fn clients_stay_as_long_as_the_lease_holds() {
    let tried = hello(|_, _, _| {}).await;
    assert_eq!(next(&tried.changes).await, Some(SessionChange::New));
    let node = &tried.server.node;
    node.go_away(Duration::ZERO).await;
    assert!(tried.server.ready().is_err(), "nobody new is let in");
    assert_eq!(tried.server.live_sessions().await.len(), 1);
    assert!(
        !tried
            .connection
            .try_iter()
            .any(|told| matches!(told, ToConnection::Close(_))),
        "one failed renewal is no reason to send everybody away"
    );
    node.go_away(node.config.lease).await;
    let close = next_close(&tried.connection).await.expect("it is closed");
    assert_eq!(close.code.code(), 1012);
}
