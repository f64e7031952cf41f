//! The session actor: carries out what the [`State`] decides.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::handle::{HandlerEnded, Job, handle};
use super::line::{Flow, FromLine, ToLine};
use super::state::{Action, Event, Handle, Hello, Keep, State, Subscribed, Surroundings};
use crate::auth::{AuthError, Authenticator, Verdict};
use crate::endpoint::panicked;
use crate::http::NewLine;
use crate::metrics::{Mailbox, metered};
use crate::node::Node;
use crate::registry::{Attach, Detach, SubscribeTopic, TakeOver, ToSession, UnsubscribeTopic};
use crate::server::SessionChange;
use crate::store::StoreError;
use crate::store::operation::{
    CloseSession, CloseTarget, Complete, Deregister, DropInbox, Fenced, FetchOutbox, Holder,
    MarkRedelivery, MarkedRedelivery, ReadAnswer, Register, Registered, Subscribe, TopicHistory,
    Unsubscribe, WhichExist,
};
use crate::wire::random_id;

/// Length of the random part of a server message id.
const PREFIX: usize = 6;
/// Length of a session id: more than 128 bits.
const SESSION_ID: usize = 24;

/// Milliseconds until a session that pauses looks again whether the node holds less.
const BUDGET_AGAIN: i64 = 200;

/// Something the session itself has set going is done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Happened(Event);

/// The actor of one registration of a session; lives on the thread of its line.
pub(crate) struct Session {
    node: Arc<Node>,
    state: State,
    line: Mailbox<ToLine>,
    flow: Flow,
    authenticator: Rc<dyn Authenticator>,
    born: Instant,
    /// The timer for the state's next deadline.
    timer: Option<(i64, SpawnHandle)>,
    /// Bytes of this session in the node's sum.
    counted: usize,
    /// How much had gone out when it was last looked at, and when that was, while bytes wait to go out.
    stuck: Option<(u64, i64)>,
    ended: Rc<Cell<bool>>,
    /// What this actor has attached to the registry, and tells it to detach when it ends: the state hears of it later.
    attached: Rc<OnceCell<Attached>>,
    /// Reading pauses, because the node holds more than it may.
    paused: bool,
}

/// A registration, with session id and user id for the listeners.
struct Attached {
    holder: Holder,
    sid: String,
    user_id: String,
    /// What becomes of the session if this actor ends before WELCOME.
    unwelcomed: Keep,
}

impl Session {
    /// Starts the actor for a new line, on this thread.
    pub(crate) fn open(node: Arc<Node>, new: NewLine) -> Mailbox<FromLine> {
        let state = State::new(
            node.config.clone(),
            node.clock.clone(),
            node.name(),
            node.listeners.clone(),
            new.remote,
        );
        let meter = node.meters.session.clone();
        let session = Session {
            node,
            state,
            line: new.line,
            flow: new.flow,
            authenticator: new.authenticator,
            born: Instant::now(),
            timer: None,
            counted: 0,
            stuck: None,
            ended: Rc::default(),
            paused: false,
            attached: Rc::default(),
        };
        Mailbox::new(&session.start(), &meter)
    }

    fn now(&self) -> i64 {
        i64::try_from(self.born.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn surroundings(&self) -> Surroundings {
        let config = &self.node.config;
        let unsent = self.flow.unsent();
        let held = self.node.counters.held_bytes.load(Ordering::Relaxed);
        Surroundings {
            now: self.now(),
            clogged: unsent > config.max_unsent,
            overfull: unsent > config.max_unsent.saturating_mul(4),
            over_budget: held > config.max_node_bytes as u64,
        }
    }

    /// Takes an event in, carries out what follows from it, and what follows from that at once.
    fn take(&mut self, event: Event, ctx: &mut Context<Self>) {
        // Mostly nothing follows at once, and the queue stays unallocated.
        let mut events = VecDeque::new();
        let mut next = Some(event);
        while let Some(event) = next {
            let around = self.surroundings();
            for action in self.state.on(event, around) {
                self.perform(action, &mut events, ctx);
            }
            next = events.pop_front();
        }
        if !self.ended.get() {
            self.count();
            self.watch_line();
            self.pause_over_budget();
            self.arm(ctx);
        }
    }

    fn perform(&mut self, action: Action, events: &mut VecDeque<Event>, ctx: &mut Context<Self>) {
        match action {
            Action::Send(text) => self.line.tell(ToLine::Text(text)),
            Action::Established => self.line.tell(ToLine::Established),
            Action::Processed(bytes) => self.flow.processed(bytes),
            Action::Authenticate => self.authenticate(true, false, events, ctx),
            Action::Reevaluate { changed } => self.authenticate(false, changed, events, ctx),
            Action::ReevaluateOutgoing => self.reevaluate_outgoing(events, ctx),
            Action::Register(hello) => self.register(*hello, ctx),
            Action::AuthorizeTopic(topic) => self.authorize_topic(topic, events, ctx),
            Action::SubscribeTopic { topic, seen } => self.subscribe(topic, seen, ctx),
            Action::UnsubscribeTopic(topic) => self.unsubscribe(topic),
            Action::Handle(message) => self.handle_message(message, ctx),
            Action::ReadAnswer { cmid, kind } => {
                let Some(holder) = self.holder() else { return };
                let read = self.node.store.run(ReadAnswer {
                    session: holder.session,
                    cmid: cmid.clone(),
                });
                self.later(ctx, async move {
                    Event::AnswerRead {
                        cmid,
                        kind,
                        answer: read.await,
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
                let complete = self.node.store.run(complete);
                self.later(ctx, async move {
                    Event::Completed {
                        acks,
                        outcome: complete.await,
                    }
                });
            }
            Action::DropInbox(cmids) => {
                let Some(holder) = self.holder() else { return };
                let drop = self.node.store.run(DropInbox {
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
            } => {
                let Some(holder) = self.holder() else { return };
                let fetch = FetchOutbox {
                    session: holder.session,
                    after,
                    limit,
                    max_bytes,
                };
                let fetch = self.node.store.run(fetch);
                self.later(ctx, async move { Event::Fetched(fetch.await) });
            }
            Action::MarkRedelivery(seqs) => self.mark_redelivery(seqs, ctx),
            Action::AskExists => {
                let Some(holder) = self.holder() else { return };
                let sessions = vec![holder.session];
                let exist = self.node.store.run(WhichExist { sessions });
                self.later(ctx, async move {
                    Event::Exists(exist.await.map(|exist| !exist.is_empty()))
                });
            }
            Action::Retried => {
                self.node
                    .counters
                    .retries_told
                    .fetch_add(1, Ordering::Relaxed);
            }
            Action::End { close, keep } => self.end(close, keep, ctx),
        }
    }

    fn holder(&self) -> Option<Holder> {
        self.state.identity().map(|identity| identity.holder)
    }

    /// Comes back with the event when the future is done. What it does is done even if this actor ends.
    fn later(&self, ctx: &Context<Self>, future: impl Future<Output = Event> + 'static) {
        let me = self.mailbox(ctx);
        actix::spawn(async move { me.tell(Happened(future.await)) });
    }

    fn mailbox<M>(&self, ctx: &Context<Self>) -> Mailbox<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Session: Handler<crate::metrics::Metered<M>>,
        Context<Self>: actix::dev::ToEnvelope<Session, crate::metrics::Metered<M>>,
    {
        Mailbox::new(&ctx.address(), &self.node.meters.session)
    }

    /// Most authenticators answer at once: then no task is needed. A panic is a failure.
    fn ask<T: 'static>(
        &self,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
        question: impl Future<Output = Result<T, AuthError>> + 'static,
        event: fn(Result<T, AuthError>) -> Event,
    ) {
        let answer = AssertUnwindSafe(question).catch_unwind().map(|answer| {
            answer.unwrap_or_else(|panic| Err(AuthError(panicked(panic).text().to_owned())))
        });
        let mut answer = Box::pin(answer);
        match answer
            .as_mut()
            .poll(&mut TaskContext::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => events.push_back(event(answer)),
            Poll::Pending => self.later(ctx, answer.map(event)),
        }
    }

    fn authenticate(
        &self,
        first: bool,
        changed: bool,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
    ) {
        let authenticator = self.authenticator.clone();
        let value = self
            .state
            .authorization_value()
            .unwrap_or_default()
            .to_owned();
        let principal = self.state.principal().cloned();
        let question = async move {
            match principal {
                Some(principal) if !first => {
                    authenticator.reevaluate(&value, changed, &principal).await
                }
                Some(_) | None => authenticator.authenticate(&value).await,
            }
        };
        self.ask(events, ctx, question, Event::Authenticated);
    }

    fn reevaluate_outgoing(&self, events: &mut VecDeque<Event>, ctx: &Context<Self>) {
        let authenticator = self.authenticator.clone();
        let value = self
            .state
            .authorization_value()
            .unwrap_or_default()
            .to_owned();
        let Some(principal) = self.state.principal().cloned() else {
            return;
        };
        let last_valid = self.state.last_valid();
        let question = async move {
            authenticator
                .reevaluate_outgoing(&value, &principal, last_valid)
                .await
        };
        self.ask::<Verdict>(events, ctx, question, Event::OutgoingAuthenticated);
    }

    fn authorize_topic(&self, topic: String, events: &mut VecDeque<Event>, ctx: &Context<Self>) {
        let authenticator = self.authenticator.clone();
        let Some(principal) = self.state.principal().cloned() else {
            return;
        };
        let question = async move { authenticator.authorize_topic(&topic, &principal).await };
        self.ask(events, ctx, question, Event::TopicAuthorized);
    }

    /// Registers, has the registration before this one let go, and attaches, so that nothing stored from now on is
    /// missed. Should the line be gone by then, the session is let go again.
    fn register(&self, hello: Hello, ctx: &Context<Self>) {
        let mut rng = rand::rng();
        let ids = (random_id(SESSION_ID, &mut rng), random_id(PREFIX, &mut rng));
        let register = Register {
            session: hello.registration(ids.0, ids.1),
            user_id: self
                .state
                .principal()
                .map(|principal| principal.user_id.clone())
                .unwrap_or_default(),
            client: hello.client,
            app_name: hello.app_name,
            app_version: hello.app_version,
            max_sessions_per_user: self.node.config.max_sessions_per_user,
        };
        let (node, ended, to) = (self.node.clone(), self.ended.clone(), self.mailbox(ctx));
        let (me, attached) = (self.mailbox(ctx), self.attached.clone());
        const RESTART: Happened = Happened(Event::Registry(ToSession::Restart(
            "the server is stopping, or cannot serve now",
        )));
        if self.node.stopping() {
            return me.tell(RESTART);
        }
        actix::spawn(async move {
            let user_id = register.user_id.clone();
            let name = node.name();
            let outcome = node.store.run(register).await;
            if let Ok(Registered::Held(held)) = &outcome {
                if let Some((old_node, _)) = &held.replaced {
                    take_over(&node, held.holder, old_node.clone()).await;
                }
                // Of a new session nobody has heard before WELCOME: it would only count as one of its user's.
                let unwelcomed = match held.new {
                    true => Keep::Close("its client was gone before WELCOME".into()),
                    false => Keep::Deregister,
                };
                if ended.get() {
                    return let_go(&node, held.holder, unwelcomed).await;
                }
                let _ = attached.set(Attached {
                    holder: held.holder,
                    sid: held.sid.clone(),
                    user_id: user_id.clone(),
                    unwelcomed,
                });
                node.registry().tell(Attach {
                    holder: held.holder,
                    to,
                });
                let change = if held.new {
                    SessionChange::New
                } else {
                    SessionChange::Reconnect
                };
                node.listeners.session(change, &held.sid, &user_id);
            }
            let registered = matches!(outcome, Ok(Registered::Held(_)));
            me.tell(Happened(Event::Registered(outcome)));
            // Whoever sent all sessions away meanwhile did not see this one.
            if registered && (node.ready().is_err() || node.name() != name) {
                me.tell(RESTART);
            }
        });
    }

    fn subscribe(&self, topic: String, seen: Option<(i64, i64)>, ctx: &Context<Self>) {
        let Some(holder) = self.holder() else { return };
        let node = self.node.clone();
        let limit = node.config.max_topic_history;
        self.later(ctx, async move {
            let subscribed = async {
                let stored = node
                    .store
                    .run(Subscribe {
                        holder,
                        topic: topic.clone(),
                    })
                    .await?;
                if stored == Fenced::FencedOff {
                    return Ok(Subscribed::FencedOff);
                }
                let listening = node
                    .registry()
                    .ask(SubscribeTopic {
                        holder,
                        topic: topic.clone(),
                    })
                    .await;
                let Some(horizon) = listening.flatten() else {
                    return Ok(Subscribed::FencedOff);
                };
                let missed = match seen {
                    Some(seen) => {
                        node.store
                            .run(TopicHistory {
                                topic,
                                seen,
                                up_to: horizon,
                                limit,
                            })
                            .await?
                    }
                    None => None,
                };
                Ok::<_, StoreError>(Subscribed::Done { horizon, missed })
            };
            Event::TopicSubscribed(subscribed.await)
        });
    }

    fn unsubscribe(&self, topic: String) {
        let Some(holder) = self.holder() else { return };
        self.node.registry().tell(UnsubscribeTopic {
            holder,
            topic: topic.clone(),
        });
        let unsubscribe = self.node.store.run(Unsubscribe { holder, topic });
        actix::spawn(async move {
            if let Err(error) = unsubscribe.await {
                log::warn!(
                    "a subscription could not be removed, it comes back at the next reconnect: {error}"
                );
            }
        });
    }

    fn handle_message(&self, message: Handle, ctx: &Context<Self>) {
        let Some(identity) = self.state.identity() else {
            return;
        };
        let job = Job {
            node: self.node.clone(),
            holder: identity.holder,
            to: self.mailbox(ctx),
            sid: identity.sid.clone(),
            user_id: identity.user_id.clone(),
            principal: self.state.principal().cloned(),
            authorization: self.state.authorization_value().map(str::to_owned),
            debug: message.debug,
            received: self.node.clock.now(),
            settles: message.settles,
            envelope: message.envelope,
        };
        actix::spawn(handle(Box::new(job)));
    }

    fn mark_redelivery(&self, seqs: Vec<i64>, ctx: &Context<Self>) {
        let Some(holder) = self.holder() else { return };
        let node = self.node.clone();
        node.counters
            .redeliveries_counted
            .fetch_add(seqs.len() as u64, Ordering::Relaxed);
        let mark = node.store.run(MarkRedelivery {
            holder,
            seqs,
            max: node.config.max_redeliveries,
        });
        self.later(ctx, async move {
            match mark.await {
                Ok(MarkedRedelivery::Done(dead)) => {
                    node.counters
                        .dead_letters
                        .fetch_add(dead.len() as u64, Ordering::Relaxed);
                    Event::DeadLetters(dead)
                }
                Ok(MarkedRedelivery::FencedOff) => Event::FencedOff,
                Err(error) => {
                    log::warn!("redeliveries could not be counted: {error}");
                    Event::Tick
                }
            }
        });
    }

    fn end(&mut self, close: Option<crate::wire::Close>, keep: Keep, ctx: &mut Context<Self>) {
        self.ended.set(true);
        if let Some(close) = close {
            self.line.tell(ToLine::Close(close));
        }
        if let Some(Attached {
            holder,
            sid,
            user_id,
            unwelcomed,
        }) = self.attached.get()
        {
            let holder = *holder;
            let keep = match self.state.identity() {
                Some(_) => keep,
                None => unwelcomed.clone(),
            };
            self.node.registry().tell(Detach(holder));
            match keep {
                Keep::Deregister => {
                    self.node
                        .listeners
                        .session(SessionChange::Deregister, sid, user_id)
                }
                Keep::Close(_) | Keep::Closed => {
                    self.node
                        .listeners
                        .session(SessionChange::Close, sid, user_id)
                }
                Keep::Nothing => {}
            }
            let node = self.node.clone();
            // Owned by a task of its own: it is done although the actor ends.
            actix::spawn(async move { let_go(&node, holder, keep).await });
        }
        self.uncount();
        ctx.stop();
    }

    /// Keeps the node's sum of held bytes.
    fn count(&mut self) {
        let held = self.state.held_bytes() + self.flow.unsent();
        let sum = &self.node.counters.held_bytes;
        if held >= self.counted {
            sum.fetch_add((held - self.counted) as u64, Ordering::Relaxed);
        } else {
            sum.fetch_sub((self.counted - held) as u64, Ordering::Relaxed);
        }
        self.counted = held;
    }

    /// While the node holds more than it may, nothing more is read; what was read is looked at again in a while.
    fn pause_over_budget(&mut self) {
        let over = self.surroundings().over_budget;
        if over != std::mem::replace(&mut self.paused, over) {
            self.flow.pause_reading(over);
        }
    }

    fn uncount(&mut self) {
        self.node
            .counters
            .held_bytes
            .fetch_sub(self.counted as u64, Ordering::Relaxed);
        self.counted = 0;
    }

    /// A client that does not read freezes its connection actor: only the session can notice.
    fn watch_line(&mut self) {
        let gone = self.flow.gone();
        self.stuck = match (self.flow.unsent(), self.stuck) {
            (0, _) => None,
            (_, Some((then, since))) if then == gone => Some((then, since)),
            (_, _) => Some((gone, self.now())),
        };
    }

    fn stuck_deadline(&self) -> Option<i64> {
        let timeout = i64::try_from(self.node.config.write_timeout.as_millis()).unwrap_or(i64::MAX);
        self.stuck.map(|(_, since)| since.saturating_add(timeout))
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        let budget = self.paused.then(|| self.now() + BUDGET_AGAIN);
        let deadline = [self.state.deadline(), self.stuck_deadline(), budget]
            .into_iter()
            .flatten()
            .min();
        match (deadline, &self.timer) {
            (Some(deadline), Some((armed, _))) if *armed <= deadline => {}
            (Some(deadline), _) => {
                if let Some((_, timer)) = self.timer.take() {
                    ctx.cancel_future(timer);
                }
                let wait = Duration::from_millis(u64::try_from(deadline - self.now()).unwrap_or(0));
                let timer = ctx.run_later(wait, |session, ctx| {
                    session.timer = None;
                    session.watch_line();
                    let stalled = session
                        .stuck_deadline()
                        .is_some_and(|at| at <= session.now());
                    session.take(if stalled { Event::Stalled } else { Event::Tick }, ctx);
                });
                self.timer = Some((deadline, timer));
            }
            (None, _) => {}
        }
    }
}

/// Has the registration before this one let go. It is waited for, but not for long: the fence keeps it from doing harm.
async fn take_over(node: &Node, holder: Holder, old_node: String) {
    let (released, done) = oneshot::channel();
    node.registry().tell(TakeOver {
        holder,
        old_node,
        released,
    });
    let _ = tokio::time::timeout(node.config.takeover_wait, done).await;
}

/// Does in the store what becomes of a session whose actor has ended.
async fn let_go(node: &Node, holder: Holder, keep: Keep) {
    const ATTEMPTS: u32 = 60;
    let mut delay = Duration::from_millis(100);
    for _ in 0..ATTEMPTS {
        let done = match &keep {
            Keep::Deregister => node.store.run(Deregister { holder }).await.map(drop),
            Keep::Close(reason) => {
                let close = CloseSession {
                    target: CloseTarget::Holder(holder),
                    reason: reason.clone(),
                };
                node.store.run(close).await.map(drop)
            }
            Keep::Closed | Keep::Nothing => Ok(()),
        };
        match done {
            Ok(()) => return,
            Err(StoreError::Stopped) => return,
            Err(error) => {
                log::warn!("a session could not be let go, trying again in {delay:?}: {error}")
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(10));
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Producers are bounded by their own credits; a full mailbox would lose order.
        ctx.set_mailbox_capacity(1_024);
    }
}

/// However it ends, be it by a panic.
impl Drop for Session {
    fn drop(&mut self) {
        self.uncount();
    }
}

impl Handler<FromLine> for Session {
    type Result = ();

    fn handle(&mut self, event: FromLine, ctx: &mut Self::Context) {
        self.take(Event::Line(event), ctx);
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

metered!(Session: FromLine, ToSession, HandlerEnded, Happened);
