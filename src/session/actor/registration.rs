//! Acquiring and releasing a session.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{ActorContext, Context};
use futures_util::future::{OptionFuture, join};
use tokio::sync::oneshot;

use super::super::connection::ToConnection;
use super::super::state::{Event, Hello, Keep};
use crate::auth::ClientInfo;
use crate::clock::jittered;
use crate::events::{SessionChange, SessionEvent};
use crate::logging;
use crate::mailbox::Mailbox;
use crate::node::Node;
use crate::registry::{Attach, Detach, TakeOver, ToSession, UserHash};
use crate::seldom::log_seldom;
use crate::store::operation::{
    CloseSession, CloseTarget, ClosedSession, Deregister, HeldSession, Holder, ReadStanding,
    Register, Registered,
};
use crate::store::{Share, StoreError};
use crate::wire::{random_id, shown};

use super::topics::note_position;
use super::{Attached, Happened, PREFIX, Registering, SESSION_ID, Session};

/// How long a session must have been without a connection before it may be closed to make room for a newer one of its
/// user: after a node fails, all its sessions are briefly without one.
const MIN_ABSENCE: Duration = Duration::from_secs(60);

/// The node cannot take the session on.
const RESTART: Happened = Happened(Event::Registry(ToSession::Restart(
    "the server is stopping, or cannot serve now",
)));

impl Session {
    /// Registers, makes the previous registration release the session, and attaches, so that nothing stored from now on
    /// is missed. If the connection is gone by then, the session is released again.
    pub(super) fn register(&mut self, hello: Hello, ctx: &Context<Self>) {
        let mut rng = rand::rng();
        let ids = (random_id(SESSION_ID, &mut rng), random_id(PREFIX, &mut rng));
        let register = Register {
            session: hello.registration(ids.0, ids.1),
            user_id: self.state.user_id().to_owned(),
            client: hello.client,
            app_name: hello.app_name,
            app_version: hello.app_version,
            max_sessions_per_user: self.node.config.max_sessions_per_user,
            min_absence: MIN_ABSENCE,
            of_the_dead: self.node.still_to_serve(MIN_ABSENCE).is_none(),
        };
        let me = self.mailbox(ctx);
        if self.node.stopping() {
            return me.tell(RESTART);
        }
        let registering = Rc::<Registering>::default();
        self.registering = Some(registering.clone());
        let registration = Registration {
            node: self.node.clone(),
            name: self.node.name(),
            // On the user's account, so that it queues behind the pending closing of sessions that make room for it.
            share: Share::of_user(&register.user_id),
            user_id: register.user_id.clone(),
            client: self.state.client().cloned(),
            revocations: self.revocations,
            registering,
            me,
            to: self.mailbox(ctx),
        };
        actix::spawn(registration.run(register));
    }

    pub(super) fn end(
        &mut self,
        close: Option<crate::wire::Close>,
        keep: Keep,
        ctx: &mut Context<Self>,
    ) {
        self.ended = true;
        let ended = Ended {
            code: close.as_ref().map(|close| close.code.code()),
            reason: close.as_ref().map(|close| close.reason().to_owned()),
        };
        if let Some(close) = close {
            self.connection.tell(ToConnection::Close(close));
        }
        let registering = self.registering.take();
        if let Some(registering) = &registering {
            registering.ended.set(true);
        }
        let attached = registering.as_ref().and_then(|it| it.attached.get());
        let registered = match (self.state.identity(), attached) {
            (Some(identity), _) => Some((identity.holder, &*identity.sid, keep)),
            (None, Some(it)) => Some((it.holder, it.sid.as_str(), it.unwelcomed.clone())),
            (None, None) => None,
        };
        if let Some((holder, sid, keep)) = registered {
            self.detach(holder, sid, keep, ended);
        }
        self.uncount();
        ctx.stop();
    }

    /// Releases the session.
    fn detach(&self, holder: Holder, sid: &str, keep: Keep, ended: Ended) {
        self.node.registry().tell(Detach(holder));
        let change = match &keep {
            Keep::Deregister => Some(SessionChange::Deregister),
            Keep::Close(_) | Keep::Closed => Some(SessionChange::Close),
            Keep::Nothing => None,
        };
        if let Some(change) = change {
            self.node
                .listeners
                .session(|| self.event(change, sid, &keep, ended));
        }
        let (node, share) = (self.node.clone(), Share::of_user(self.state.owner()));
        let received = match &keep {
            Keep::Deregister | Keep::Nothing => self.state.received(),
            Keep::Close(_) | Keep::Closed => None,
        };
        // Runs as a task of its own, so that it completes although the actor ends.
        actix::spawn(async move {
            let note = received.map(|position| note_position(&node, holder, position));
            join(OptionFuture::from(note), let_go(&node, share, holder, keep)).await;
        });
    }
}

/// How the connection ended, if this server ended it.
struct Ended {
    code: Option<u16>,
    reason: Option<String>,
}

impl Session {
    /// What listeners are told of the session's end, or of that of its connection.
    fn event(&self, change: SessionChange, sid: &str, keep: &Keep, ended: Ended) -> SessionEvent {
        let reason = match keep {
            Keep::Close(reason) => Some(reason.clone()),
            Keep::Deregister | Keep::Closed | Keep::Nothing => ended.reason,
        };
        SessionEvent {
            close_code: ended.code.or(self.state.closed_by_client()),
            reason,
            ..SessionEvent::new(change, sid, self.state.owner()).of_client(self.state.client())
        }
    }
}

/// A registration in progress, which continues if the actor ends.
struct Registration {
    node: Arc<Node>,
    /// The node's name when it began.
    name: Arc<str>,
    share: Share,
    user_id: String,
    client: Option<Arc<ClientInfo>>,
    /// How many revocations the node had seen when the user was authenticated.
    revocations: u64,
    registering: Rc<Registering>,
    me: Mailbox<Happened>,
    to: Mailbox<ToSession>,
}

impl Registration {
    async fn run(self, register: Register) {
        let outcome = self.node.store.run_for(self.share, register).await;
        if let Ok(Registered::Held(held)) = &outcome {
            tell_displaced(&self.node, &held.made_room);
            if let Some((old_node, _)) = &held.replaced {
                take_over(&self.node, held.holder, old_node.clone()).await;
            }
            if self.registering.ended.get() {
                return let_go(&self.node, self.share, held.holder, unwelcomed(held)).await;
            }
            self.attach(held);
            if !held.new
                && let Some(lost) = lost_meanwhile(&self.node, held.holder).await
            {
                return self.me.tell(Happened(lost));
            }
            let change = match held.new {
                true => SessionChange::New,
                false => SessionChange::Reconnect,
            };
            self.node.listeners.session(|| {
                SessionEvent::new(change, &held.sid, &self.user_id).of_client(self.client.as_ref())
            });
        }
        self.report(outcome);
    }

    /// From now on the registry passes on what is stored for the session. However the actor ends, the session is detached.
    fn attach(&self, held: &HeldSession) {
        // Nothing else sets it.
        let _ = self.registering.attached.set(Attached {
            holder: held.holder,
            sid: held.sid.clone(),
            unwelcomed: unwelcomed(held),
        });
        let may_change = self.node.config.allow_user_change;
        self.node.registry().tell(Attach {
            holder: held.holder,
            to: self.to.clone(),
            // A session that may change its user gets the revocations of all users.
            user: (!may_change).then(|| UserHash::of(&self.user_id)),
            revocations: self.revocations,
        });
    }

    fn report(&self, outcome: Result<Registered, StoreError>) {
        let registered = matches!(outcome, Ok(Registered::Held(_)));
        self.me.tell(Happened(Event::Registered(outcome)));
        // If all sessions were disconnected in the meantime, this one was missed.
        if registered && (self.node.serves().is_err() || self.node.name() != self.name) {
            self.me.tell(RESTART);
        }
    }
}

/// What becomes of a session whose client is gone before WELCOME. The client does not know a new one: keeping it would
/// only use up the user's limit.
fn unwelcomed(held: &HeldSession) -> Keep {
    match held.new {
        true => Keep::Close("its client was gone before WELCOME".into()),
        false => Keep::Deregister,
    }
}

/// Says which sessions of a user have made room for his new one.
fn tell_displaced(node: &Node, sessions: &[ClosedSession]) {
    for session in sessions {
        let (sid, user) = (&session.sid, shown(&session.user_id));
        logging::info!(
            session_id = sid, user_id = user;
            "session {sid} of user {user} was closed: it had no connection, and made room for a newer one"
        );
        node.counters
            .sessions_displaced
            .fetch_add(1, Ordering::Relaxed);
        node.listeners.session(|| {
            SessionEvent::new(SessionChange::Close, &session.sid, &session.user_id)
                .because("it made room for a newer session of its user")
        });
    }
}

/// Makes the previous registration release the session. The wait is short, since the fence keeps that registration from
/// doing harm.
async fn take_over(node: &Node, holder: Holder, old_node: String) {
    let (released, done) = oneshot::channel();
    node.registry().tell(TakeOver {
        holder,
        old_node,
        released,
    });
    let _ = tokio::time::timeout(node.config.takeover_wait, done).await;
}

/// Between its registration and its attachment, the session could not be notified that yet another registration took
/// over, or that it was closed, so it checks itself. From now on, the registry notifies it.
async fn lost_meanwhile(node: &Node, holder: Holder) -> Option<Event> {
    let session = holder.session;
    match node.store.run(ReadStanding { session }).await {
        Ok(None) => Some(Event::Registered(Ok(Registered::NoSuchSession))),
        Ok(Some(standing)) if standing.connection > holder.connection => {
            Some(Event::Registry(ToSession::TakenOver))
        }
        // If the store is unavailable, the next operation will show it.
        Ok(Some(_)) | Err(_) => None,
    }
}

/// Updates the store after a session's actor has ended.
async fn let_go(node: &Node, share: Share, holder: Holder, keep: Keep) {
    const ATTEMPTS: u32 = 60;
    let mut delay = Duration::from_millis(100);
    for _ in 0..ATTEMPTS {
        let done = match &keep {
            Keep::Deregister => node
                .store
                .run_for(share, Deregister { holder })
                .await
                .map(drop),
            Keep::Close(reason) => {
                let close = CloseSession {
                    target: CloseTarget::Holder(holder),
                    reason: reason.clone(),
                };
                node.store.run_for(share, close).await.map(drop)
            }
            Keep::Closed | Keep::Nothing => Ok(()),
        };
        match done {
            Ok(()) => return,
            Err(StoreError::Stopped) => return,
            Err(error) => {
                log_seldom!(
                    warn,
                    "a session could not be released, trying again in {delay:?}: {error}"
                )
            }
        }
        tokio::time::sleep(jittered(delay)).await;
        delay = (delay * 2).min(Duration::from_secs(10));
    }
}
