//! A running node: the state its modules share, and how it recovers and stops.

pub(crate) mod budget;
mod closes;
mod counters;
mod gate;
mod health;
mod host;
mod lease_clock;
mod lifecycle;
mod report;
mod unserved;
mod user_counts;

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::oneshot;

pub(crate) use closes::Closes;
pub(crate) use counters::{Counters, Meters};
pub(crate) use gate::{Gate, Permit};
pub(crate) use lease_clock::LeaseClock;
pub(crate) use lifecycle::incarnation;
pub(crate) use unserved::{MOST_SERVICES, Unserved};
pub(crate) use user_counts::{Counted, UserCounts};

use self::budget::NodeBudget;
use crate::auth::Authentication;
use crate::clock::{Clock, ms};
use crate::cluster::Tell;
use crate::config::Config;
use crate::endpoint::{Context, Data, Endpoint, Service, take_effects};
use crate::error::NotReady;
use crate::events::{Listeners, SessionChange, SessionEvent};
use crate::mailbox::Mailbox;
use crate::registry::{self, Registry};
use crate::seldom::{Seldom, SeldomBy};
use crate::store::operation::{
    AllHaveSaid, CloseLater, CloseSession, CloseTarget, ClosedSession, Effect, FindHome,
    SessionHome,
};
use crate::store::{Looks, StoreError, StoreHandle, TroubleKind};
use crate::wire::{check_id, shown};

/// The state shared by all modules of one running node.
pub(crate) struct Node {
    pub(crate) app: String,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) store: StoreHandle,
    pub(crate) registry: Addr<Registry>,
    pub(crate) cluster: Mailbox<Tell>,
    services_idle: Mailbox<WhenIdle>,
    pub(crate) endpoints: HashMap<String, Endpoint>,
    pub(crate) services: HashMap<String, Service>,
    /// The application's state.
    data: Data,
    /// What the server's handle has beside the node. The layers above know what it is.
    pub(crate) beside: Arc<dyn Any + Send + Sync>,
    pub(crate) authentication: Arc<dyn Authentication>,
    /// Bounds the handshakes and first authentications in progress.
    pub(crate) authentications: Arc<Gate>,
    pub(crate) budget: Arc<NodeBudget>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) meters: Meters,
    pub(crate) counters: Counters,
    /// Running handlers, by user.
    pub(crate) handlers_of: Arc<UserCounts>,
    pub(crate) revocations: registry::SeenRevocations,
    /// Work that no living node can do, as far as this node knows.
    pub(crate) unserved: Unserved,
    /// How far the searches for ended requests have come.
    ended: Mutex<Looks<i64>>,
    expired: Mutex<Looks<i64>>,
    /// It still serves, and is about to stop.
    retiring: AtomicBool,
    /// The node name under which its services were last published.
    published: RwLock<Option<Arc<str>>>,
    mistakes: Seldom,
    /// Failures of handlers, by endpoint.
    failures: SeldomBy,
    name: RwLock<Arc<str>>,
    name_stem: String,
    born: Instant,
    /// Since when it has served without interruption.
    serving: RwLock<Instant>,
    /// When the lease was last renewed.
    renewed: RwLock<LeaseClock>,
    state: AtomicU8,
    /// What prevents it from serving although it holds its lease, if anything.
    trouble: RwLock<Option<TroubleKind>>,
    system: actix::System,
}

/// The parts of a node.
pub(crate) struct Parts {
    pub(crate) app: String,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    /// The prefix of the node's name.
    pub(crate) name_stem: String,
    pub(crate) name: String,
    pub(crate) store: StoreHandle,
    /// When its lease was requested.
    pub(crate) joined: LeaseClock,
    pub(crate) registry: Addr<Registry>,
    pub(crate) cluster: Mailbox<Tell>,
    pub(crate) services_idle: Mailbox<WhenIdle>,
    pub(crate) endpoints: HashMap<String, Endpoint>,
    pub(crate) services: HashMap<String, Service>,
    pub(crate) data: Data,
    pub(crate) beside: Arc<dyn Any + Send + Sync>,
    pub(crate) authentication: Arc<dyn Authentication>,
    pub(crate) listeners: Listeners,
    pub(crate) meters: Meters,
    pub(crate) counters: Counters,
}

/// To the services: they drop the sender when none of them is running any more.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct WhenIdle(pub(crate) oneshot::Sender<()>);

/// Whether a node serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// It serves.
    Up = 0,
    /// Its lease could not be renewed: it serves again as soon as it can.
    Away = 1,
    /// It is stopping.
    Stopping = 2,
    /// It has stopped.
    Stopped = 3,
}

impl Node {
    /// Creates a node that serves from now on. It lives on the current actix system, and ends with it.
    pub(crate) fn new(parts: Parts) -> Node {
        let config = parts.config;
        Node {
            app: parts.app,
            budget: NodeBudget::new(&config),
            authentications: Gate::new(config.max_authentications_pending),
            handlers_of: UserCounts::new(config.max_handlers_per_user),
            config,
            clock: parts.clock,
            store: parts.store,
            registry: parts.registry,
            cluster: parts.cluster,
            services_idle: parts.services_idle,
            endpoints: parts.endpoints,
            services: parts.services,
            data: parts.data,
            beside: parts.beside,
            authentication: parts.authentication,
            listeners: Arc::new(parts.listeners),
            meters: parts.meters,
            counters: parts.counters,
            revocations: registry::SeenRevocations::default(),
            unserved: Unserved::default(),
            ended: Mutex::default(),
            expired: Mutex::default(),
            retiring: AtomicBool::new(false),
            published: RwLock::default(),
            mistakes: Seldom::default(),
            failures: SeldomBy::default(),
            name: RwLock::new(parts.name.into()),
            name_stem: parts.name_stem,
            born: Instant::now(),
            serving: RwLock::new(Instant::now()),
            renewed: RwLock::new(parts.joined),
            state: AtomicU8::new(State::Up as u8),
            trouble: RwLock::default(),
            system: actix::System::current(),
        }
    }

    /// Watches the node's health until it has stopped.
    pub(crate) async fn watch_health(self: Arc<Self>) {
        health::watch(self).await;
    }

    /// The node's name in its current incarnation.
    pub(crate) fn name(&self) -> Arc<str> {
        self.name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether work for a service begins here as soon as it is stored: not if older work for it waits in the store, nor
    /// while the node has no lease, when others would take it for a dead node's.
    pub(crate) fn takes_at_once(&self, service: &str) -> bool {
        let service = self.services.get(service);
        let service = service.filter(|_| self.serves().is_ok());
        service.is_some_and(|it| !it.counters.has_backlog.load(Ordering::Relaxed))
    }

    /// Takes what a handler did through its context. Work that it started begins here if it can.
    pub(crate) fn effects_of(&self, context: &Context) -> Vec<Effect> {
        let mut effects = take_effects(context);
        for effect in &mut effects {
            if let Effect::Forward(work) = effect {
                work.here = self.takes_at_once(&work.service);
            }
        }
        effects
    }

    /// Milliseconds on a monotonic clock.
    pub(crate) fn uptime(&self) -> i64 {
        ms(self.born.elapsed())
    }

    /// The node serves from now on.
    fn begins_to_serve(&self) {
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How much longer it takes until the node has served for this long without interruption. `None`: it already has.
    pub(crate) fn still_to_serve(&self, time: Duration) -> Option<Duration> {
        let since = *self.serving.read().unwrap_or_else(PoisonError::into_inner);
        let rest = time.saturating_sub(since.elapsed());
        (!rest.is_zero()).then_some(rest)
    }

    /// Whether it holds its lease and is not stopping; if not, why.
    pub(crate) fn serves(&self) -> Result<(), NotReady> {
        match self.state.load(Ordering::Acquire) {
            0 => Ok(()),
            1 => Err(NotReady::StoreAway),
            2 => Err(NotReady::Stopping),
            _ => Err(NotReady::Stopped),
        }
    }

    /// The node's own thread.
    pub(crate) fn arbiter(&self) -> &actix::ArbiterHandle {
        self.system.arbiter()
    }

    /// How far the searches for ended requests have come.
    pub(crate) fn ended_looks(&self) -> MutexGuard<'_, Looks<i64>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the searches for expired messages have come.
    pub(crate) fn expired_looks(&self) -> MutexGuard<'_, Looks<i64>> {
        self.expired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stopped(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Stopped as u8
    }

    pub(crate) fn stopping(&self) -> bool {
        self.state.load(Ordering::Acquire) >= State::Stopping as u8
    }

    /// From now on it is not ready for new clients, although it serves all that there are.
    pub(crate) fn retire(&self) {
        self.retiring.store(true, Ordering::Release);
    }

    /// Whether it is about to stop.
    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Acquire)
    }

    /// Changes from one state to another. False: it was not in the first one.
    pub(crate) fn change(&self, from: State, to: State) -> bool {
        self.state
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The registry's mailbox for one kind of message.
    pub(crate) fn registry<M>(&self) -> Mailbox<M>
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        Registry: actix::Handler<crate::mailbox::Metered<M>>,
        <Registry as actix::Actor>::Context:
            actix::dev::ToEnvelope<Registry, crate::mailbox::Metered<M>>,
    {
        Mailbox::new(&self.registry, &self.meters.registry)
    }

    /// Closes a session, whichever node holds it. False: there is none.
    pub(crate) async fn close_session(
        &self,
        session_id: &str,
        reason: &str,
    ) -> Result<bool, StoreError> {
        // No such session can exist, and the store must not be given text that it cannot store.
        if check_id("session id", session_id).is_err() {
            return Ok(false);
        }
        let close = CloseSession {
            target: CloseTarget::Sid(session_id.to_owned()),
            reason: shown(reason).into_owned(),
        };
        let Some(closed) = self.store.run(close).await? else {
            return Ok(false);
        };
        self.tell_closed(vec![closed], reason);
        Ok(true)
    }

    /// Closes all sessions of a user, whichever nodes hold them. Returns how many there were.
    pub(crate) async fn close_sessions_of(
        &self,
        user_id: &str,
        reason: &str,
    ) -> Result<u64, StoreError> {
        let sessions = self.store.close_all_of(user_id, reason).await?;
        let count = sessions.len() as u64;
        self.tell_closed(sessions, reason);
        Ok(count)
    }

    /// Closes a session after a while unless its client reconnects first: for callers that know no more than its id.
    pub(crate) async fn close_session_later(&self, session_id: String) -> Result<(), StoreError> {
        let sid = session_id.clone();
        // Usually the session is already gone, and guessed ids must not keep the writers busy.
        if self.store.run(FindHome { sid }).await? == SessionHome::NoSuchSession {
            return Ok(());
        }
        let close = CloseLater {
            sid: session_id,
            after: self.config.close_session_grace,
        };
        if let Some(session) = self.store.run(close).await? {
            self.registry().tell(registry::ComeBack(session));
        }
        Ok(())
    }

    /// Notifies the holders of these sessions, and the listeners, that they are closed.
    pub(crate) fn tell_closed(&self, sessions: Vec<ClosedSession>, reason: &str) {
        for closed in sessions.iter().filter(|closed| closed.home.is_none()) {
            self.listeners.session(|| {
                SessionEvent::new(SessionChange::Close, &closed.sid, &closed.user_id)
                    .because(reason)
            });
        }
        if !sessions.is_empty() {
            self.registry().tell(registry::Closed {
                sessions,
                reason: reason.to_owned(),
            });
        }
    }

    /// Whether work may be stored for services that this node does not have. A node of an earlier version claims any
    /// work and fails what it does not know: as long as one is running, the earlier behaviour is kept.
    pub(crate) async fn hands_on(&self) -> bool {
        // If the query fails, storing the work will most likely fail too.
        self.store.run(AllHaveSaid).await.unwrap_or(true)
    }
}
