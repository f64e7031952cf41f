//! The session actor: carries out what the [`State`] decides.

mod authenticate;
mod message;
mod registration;
mod report;
mod topics;
mod watch;

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::{Actor, AsyncContext, Context, Handler, Message, SpawnHandle};
use tokio::task::AbortHandle;

use super::connection::{
    ConnectionHandle, ConnectionUser, Flow, FromConnection, NewConnection, ToConnection,
};
use super::handler::{HandlerEnded, RunningHandlers};
use super::state::{Action, Environment, Event, Keep, State};
use crate::auth::Authenticator;
use crate::mailbox::{Mailbox, metered};
use crate::node::Node;
use crate::node::budget::{Reserved, SMALL};
use crate::registry::ToSession;
use crate::store::operation::{
    Complete, DropInbox, FetchOutbox, Holder, ReadAnswer, ReadStanding, ReadTopic, SessionKey,
};
use crate::store::{Operation, Share, StoreError};

/// Length of the random part of a server message id.
const PREFIX: usize = 6;
/// Length of a session id: more than 128 bits.
const SESSION_ID: usize = 24;

/// A task that the session started is done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Happened(Event);

/// A task that produces bytes is done; room is reserved for the bytes until they are counted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Brought(Event, Reserved);

/// The actor of one registration of a session. It runs on the thread of its connection.
pub(crate) struct Session {
    node: Arc<Node>,
    /// The handlers running on this node.
    running: Arc<RunningHandlers>,
    state: State,
    connection: Box<dyn ConnectionHandle>,
    flow: Flow,
    authenticator: Rc<dyn Authenticator>,
    /// The timer for the state's next deadline.
    timer: Option<(i64, SpawnHandle)>,
    /// Whether a timer is running by whose end the client must have acknowledged something.
    awaits_acknowledgement: bool,
    /// Bytes that the state holds, as counted in the connection's flow: incoming and outgoing.
    counted: (usize, usize),
    /// While bytes wait to be sent: how many had been sent at the last check that saw progress, and when that was.
    stuck: Option<(u64, i64)>,
    ended: bool,
    /// `Some` until the state has learnt that the registration succeeded.
    registering: Option<Rc<Registering>>,
    /// How many revocations the node had seen when the user was first authenticated.
    revocations: u64,
    /// Calls of the authenticator, which are cancelled when this actor ends.
    asking: Vec<AbortHandle>,
    /// Transactional handlers of a session run one after the other, in the order of its messages. `None` until the first.
    transactions: Option<Arc<tokio::sync::Mutex<()>>>,
}

/// State shared by the actor and its registration, which continues even if the actor ends.
#[derive(Default)]
struct Registering {
    /// The actor has ended.
    ended: Cell<bool>,
    /// What was attached to the registry, to be detached when the actor ends.
    attached: OnceCell<Attached>,
}

/// A registration that the state has not learnt of yet.
struct Attached {
    holder: Holder,
    sid: String,
    /// What becomes of the session if this actor ends before WELCOME.
    unwelcomed: Keep,
}

impl Session {
    /// Starts the actor for a new connection, on this thread.
    pub(crate) fn open(
        node: Arc<Node>,
        running: Arc<RunningHandlers>,
        new: NewConnection,
    ) -> Mailbox<FromConnection> {
        let state = State::new(
            node.config.clone(),
            node.name(),
            !node.listeners.message.is_empty(),
            new.remote,
        );
        let meter = node.meters.session.clone();
        let session = Session {
            node,
            running,
            state,
            connection: new.connection,
            flow: new.flow,
            authenticator: new.authenticator,
            timer: None,
            awaits_acknowledgement: false,
            counted: (0, 0),
            stuck: None,
            ended: false,
            revocations: 0,
            asking: Vec::new(),
            registering: None,
            transactions: None,
        };
        Mailbox::new(&session.start(), &meter)
    }

    fn sample_environment(&self) -> Environment {
        let config = &self.node.config;
        let unsent = self.flow.unsent();
        // A pipeline's text and the envelopes parsed from it are held at the same time.
        let incoming_room = self.flow.incoming().room(2 * SMALL);
        let outgoing_room = self.flow.outgoing().room(SMALL);
        let no_room = outgoing_room == 0 && unsent > SMALL;
        self.flow.await_drain(no_room);
        Environment {
            now: self.node.uptime(),
            wall: self.node.clock.now_ms(),
            going_out: unsent > 0,
            backpressured: unsent > config.max_unsent || no_room,
            filling: unsent > config.max_unsent / 2,
            incoming_room,
            outgoing_room,
            user_is_busy: self.node.handlers_of.is_full(self.state.account()),
            lease_in_doubt: self.node.since_renewal() >= config.lease,
        }
    }

    /// Processes an event, carries out the resulting actions, and processes the events that those produce immediately.
    fn take(&mut self, event: Event, ctx: &mut Context<Self>) {
        // Usually there are no such events, and the queue stays unallocated.
        let mut events = VecDeque::new();
        let mut next = Some(event);
        while let Some(event) = next {
            let environment = self.sample_environment();
            for action in self.state.on(event, environment) {
                self.perform(action, &mut events, ctx);
            }
            next = events.pop_front();
        }
        if self.state.identity().is_some() {
            self.registering = None;
        }
        if !self.ended {
            self.count();
            self.watch_line();
            self.arm(ctx);
        }
    }

    fn perform(&mut self, action: Action, events: &mut VecDeque<Event>, ctx: &mut Context<Self>) {
        match action {
            Action::Send(text) => self.connection.tell(ToConnection::Text(text)),
            Action::Established => {
                let user = ConnectionUser {
                    share: self.share(),
                    handlers: self.node.handlers_of.clone(),
                };
                let owner = self.state.owner();
                self.flow.belongs_to(&self.node.budget, owner, user);
                self.connection.tell(ToConnection::Established);
                self.tell_authenticator();
            }
            Action::Processed(bytes) => self.flow.processed(bytes),
            Action::Authenticate => self.authenticate(events, ctx),
            Action::Reevaluate { changed } => {
                self.reevaluate(changed, Event::Authenticated, events, ctx)
            }
            Action::ReevaluateOutgoing => self.reevaluate_outgoing(events, ctx),
            Action::ReevaluateReplies => {
                self.reevaluate(false, Event::RepliesAuthenticated, events, ctx)
            }
            Action::Register(hello) => self.register(*hello, ctx),
            Action::AuthorizeTopic(topic) => self.authorize_topic(topic, events, ctx),
            Action::SubscribeTopics(topics) => self.subscribe(topics, ctx),
            Action::UnsubscribeTopic(topic) => self.unsubscribe(topic),
            Action::Ping(number) => self.connection.tell(ToConnection::Ping(number)),
            Action::ReportPosition { position, is_all } => self.report_position(position, is_all),
            Action::ReadTopic {
                topic,
                after,
                up_to,
                max_bytes,
            } => {
                let read = ReadTopic {
                    topic,
                    after,
                    up_to,
                    max_bytes,
                    complete: true,
                };
                self.read_topic(read, ctx);
            }
            Action::CheckTopic(topic) => self.check_topic(topic, events, ctx),
            Action::Handle(message) => self.handle_message(message, ctx),
            Action::ReadAnswer { cmid, kind, bytes } => {
                let Some(holder) = self.holder() else { return };
                let read = ReadAnswer {
                    session: holder.session,
                    cmid: cmid.clone(),
                };
                let (store, share) = (self.node.store.clone(), self.share());
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                self.when_there_is_room(bytes, ctx, move || {
                    let read = store.run_for(share, read);
                    async move {
                        let answer = read.await;
                        Event::AnswerRead { cmid, kind, answer }
                    }
                });
            }
            Action::Complete(acks) => {
                let Some(holder) = self.holder() else { return };
                let complete = Complete {
                    holder,
                    acked: acks.acked.clone(),
                    nacked: acks.nacked.clone(),
                };
                let complete = self.run(complete);
                self.later(ctx, async move {
                    Event::Completed {
                        acks: *acks,
                        outcome: complete.await,
                    }
                });
            }
            Action::DropInbox(cmids) => {
                let Some(holder) = self.holder() else { return };
                let drop = self.run(DropInbox {
                    holder,
                    cmids: cmids.clone(),
                });
                self.later(ctx, async move {
                    Event::InboxDropped {
                        cmids,
                        outcome: drop.await,
                    }
                });
            }
            Action::Fetch {
                after,
                limit,
                max_bytes,
                max_first,
            } => {
                let Some(holder) = self.holder() else { return };
                let fetch = FetchOutbox {
                    session: holder.session,
                    after,
                    limit,
                    max_bytes,
                    max_first,
                };
                let (store, share) = (self.node.store.clone(), self.share());
                let bytes = usize::try_from(max_bytes.max(max_first)).unwrap_or(usize::MAX);
                self.when_there_is_room(bytes, ctx, move || {
                    let fetch = store.run_for(share, fetch);
                    async { Event::Fetched(fetch.await) }
                });
            }
            Action::MarkRedelivery(seqs) => self.mark_redelivery(seqs, ctx),
            Action::AskStanding => {
                let Some(Holder { session, .. }) = self.holder() else {
                    return;
                };
                let read = self.run(ReadStanding { session });
                self.later(ctx, async move { Event::Standing(read.await) });
            }
            Action::Retried => {
                self.node
                    .counters
                    .retries_told
                    .fetch_add(1, Ordering::Relaxed);
            }
            Action::Mistake(what) => self.node.mistake(&what),
            Action::Failed(failure) => failure.log(),
            Action::Recorded(recorded) => self.node.listeners.message(&recorded.event()),
            Action::Introspected { to, live } => drop(to.send(*live)),
            Action::End { close, keep } => self.end(close, keep, ctx),
        }
    }

    /// Runs a store operation on this session's account.
    fn run<O: Operation>(
        &self,
        operation: O,
    ) -> impl Future<Output = Result<O::Outcome, StoreError>> + 'static + use<O> {
        self.node.store.run_for(self.share(), operation)
    }

    /// The account on which the store works for this session.
    fn share(&self) -> Share {
        let session = self.holder().map_or(SessionKey(0), |holder| holder.session);
        Share::of(self.state.user_id(), session)
    }

    fn holder(&self) -> Option<Holder> {
        self.state.identity().map(|identity| identity.holder)
    }

    /// Runs a future and processes the event it returns. The future runs to completion even if this actor ends.
    fn later(&self, ctx: &Context<Self>, future: impl Future<Output = Event> + 'static) {
        let me = self.mailbox(ctx);
        actix::spawn(async move { me.tell(Happened(future.await)) });
    }

    /// The same for a future that returns up to this many bytes of outgoing data: it only starts once there is room for
    /// them, and not at all if this actor has ended by then. Small amounts never wait.
    fn when_there_is_room<F>(
        &self,
        bytes: usize,
        ctx: &Context<Self>,
        begin: impl FnOnce() -> F + 'static,
    ) where
        F: Future<Output = Event> + 'static,
    {
        if bytes <= SMALL {
            return self.later(ctx, begin());
        }
        let me = self.mailbox(ctx);
        let outgoing = self.flow.outgoing();
        if let Some(reserved) = outgoing.try_reserve(bytes) {
            let begun = begin();
            actix::spawn(async move { me.tell(Brought(begun.await, reserved)) });
            return;
        }
        let room = outgoing.wait(bytes);
        actix::spawn(async move {
            let reserved = room.await;
            if me.connected() {
                me.tell(Brought(begin().await, reserved));
            }
        });
    }

    fn mailbox<M>(&self, ctx: &Context<Self>) -> Mailbox<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Session: Handler<crate::mailbox::Metered<M>>,
        Context<Self>: actix::dev::ToEnvelope<Session, crate::mailbox::Metered<M>>,
    {
        Mailbox::new(&ctx.address(), &self.node.meters.session)
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Producers are bounded by their own credits; a full mailbox would lose order.
        ctx.set_mailbox_capacity(1_024);
    }
}

/// Runs on every exit path, panics included.
impl Drop for Session {
    fn drop(&mut self) {
        self.uncount();
        for question in self.asking.drain(..) {
            question.abort();
        }
    }
}

impl Handler<FromConnection> for Session {
    type Result = ();

    fn handle(&mut self, event: FromConnection, ctx: &mut Self::Context) {
        self.take(Event::Connection(event), ctx);
    }
}

impl Handler<ToSession> for Session {
    type Result = ();

    fn handle(&mut self, event: ToSession, ctx: &mut Self::Context) {
        self.take(Event::Registry(event), ctx);
    }
}

impl Handler<HandlerEnded> for Session {
    type Result = ();

    fn handle(&mut self, ended: HandlerEnded, ctx: &mut Self::Context) {
        self.take(Event::HandlerEnded(ended), ctx);
    }
}

impl Handler<Happened> for Session {
    type Result = ();

    fn handle(&mut self, Happened(event): Happened, ctx: &mut Self::Context) {
        self.take(event, ctx);
    }
}

impl Handler<Brought> for Session {
    type Result = ();

    fn handle(&mut self, Brought(event, _reserved): Brought, ctx: &mut Self::Context) {
        self.take(event, ctx);
    }
}

metered!(Session: FromConnection, ToSession, HandlerEnded, Happened, Brought);
