//! The node-local registry: which sessions live here, and who listens to which topic.
//!
//! It hands news to the sessions of this node, and passes the rest on to cluster-notify.

mod message;
mod publications;
mod published;
mod revocations;
mod shared_text;
mod sweep;
mod takeover;
#[cfg(all(test, feature = "sqlite"))]
mod tests;
mod topics;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, MessageResult};
use tokio::sync::oneshot;

pub(crate) use message::{
    Attach, Closed, Detach, Find, Holders, List, LookSoon, Rename, ToSession, WhenEmpty,
};
use publications::Listening;
pub(crate) use publications::{Positions, Received, SubscribeTopics, UnsubscribeTopic};
pub(crate) use published::Published;
use revocations::Revocations;
pub(crate) use revocations::{SeenRevocations, UserHash};
pub(crate) use shared_text::SharedText;
pub(crate) use sweep::{BeginSweep, EndSweep, NotSwept, SweepNow};
pub(crate) use takeover::{ComeBack, TakeOver};
use takeover::{Waiter, Waiting};
use topics::Topic;
pub(crate) use topics::Topics;

use crate::cluster::{FromCluster, Notice, Tell};
use crate::mailbox::{Mailbox, metered};
use crate::seldom::log_seldom;
pub(crate) use crate::store::operation::Revocation;
use crate::store::operation::{ConnectionId, Holder, SessionKey, StoredMessage};
use crate::store::{CommitNews, StoreHandle};

struct Entry {
    holder: Holder,
    user: Option<UserHash>,
    to: Mailbox<ToSession>,
    /// Boxed, since most sessions listen to nothing and there are many of them.
    listening: Option<Box<Listening>>,
}

/// What the registry of a node depends on.
pub(crate) struct Links {
    /// The node's name.
    pub(crate) node: String,
    pub(crate) store: StoreHandle,
    pub(crate) cluster: Mailbox<Tell>,
    pub(crate) services: Mailbox<LookSoon>,
    pub(crate) maintenance: Mailbox<SweepNow>,
    /// Publications up to this number are not handed out here.
    pub(crate) newest_publication: i64,
    pub(crate) takeover_wait: Duration,
    pub(crate) revocations: SeenRevocations,
    /// Shows how many sessions are connected here.
    pub(crate) connected: Arc<AtomicU64>,
}

/// The actor.
pub(crate) struct Registry {
    node: String,
    store: StoreHandle,
    cluster: Mailbox<Tell>,
    services: Mailbox<LookSoon>,
    maintenance: Mailbox<SweepNow>,
    sessions: HashMap<SessionKey, Entry>,
    /// New holders waiting for the previous registration to release the session.
    waiting: HashMap<SessionKey, Waiting>,
    topics: HashMap<String, Topic>,
    revocations: Revocations,
    /// Number of the newest publication handed out.
    horizon: i64,
    fetching: bool,
    fetch_again: bool,
    /// Sessions that the last sweep found in the store, but not here, and since when.
    strays: HashMap<Holder, Instant>,
    /// A session that has not attached this long after its registration will not attach any more.
    stray_age: Duration,
    when_empty: Vec<oneshot::Sender<()>>,
    connected: Arc<AtomicU64>,
}

impl Registry {
    pub(crate) fn new(links: Links) -> Registry {
        Registry {
            node: links.node,
            store: links.store,
            cluster: links.cluster,
            services: links.services,
            maintenance: links.maintenance,
            sessions: HashMap::new(),
            waiting: HashMap::new(),
            topics: HashMap::new(),
            revocations: Revocations::new(links.revocations),
            horizon: links.newest_publication,
            fetching: false,
            fetch_again: false,
            strays: HashMap::new(),
            stray_age: links.takeover_wait.saturating_mul(4),
            when_empty: Vec::new(),
            connected: links.connected,
        }
    }

    fn tell_cluster(&self, tell: Tell) {
        self.cluster.tell(tell);
    }

    fn hand_over(&self, stored: StoredMessage) {
        let Some((node, connection)) = stored.home else {
            return;
        };
        if *node != self.node {
            return self.tell_cluster(Tell::Stored {
                node: node.to_string(),
                session: stored.session,
            });
        }
        if let Some(entry) = self.sessions.get(&stored.session)
            && entry.holder.connection == connection
        {
            entry.to.tell(match stored.message {
                Some(message) => ToSession::Stored(stored.after, message),
                None => ToSession::Notice,
            });
        }
    }

    /// Forgets registrations whose actor ended without detaching: it panicked, or its thread is gone. The sweep
    /// deregisters them in the store.
    fn prune(&mut self) {
        let lost: Vec<Holder> = self
            .sessions
            .values()
            .filter(|entry| !entry.to.connected())
            .map(|entry| entry.holder)
            .collect();
        for holder in lost {
            log_seldom!(warn, "the actor of session {} is gone", holder.session.0);
            self.forget(holder.session);
            self.release(holder.session, holder.connection);
        }
    }

    fn show(&self) {
        self.connected
            .store(self.sessions.len() as u64, Ordering::Relaxed);
    }

    fn forget(&mut self, session: SessionKey) {
        if let Some(entry) = self.sessions.remove(&session) {
            let topics = entry.listening.into_iter().flat_map(|it| it.topics);
            for topic in topics {
                self.unlisten(session, &topic);
            }
        }
        self.show();
        if self.sessions.is_empty() {
            for waiting in self.when_empty.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    fn notice(&mut self, notice: Notice, ctx: &mut Context<Self>) {
        match notice {
            Notice::Stored(sessions) => {
                for entry in sessions
                    .iter()
                    .filter_map(|session| self.sessions.get(session))
                {
                    entry.to.tell(ToSession::Notice);
                }
            }
            Notice::TakenOver {
                session,
                connection,
                by,
            } => {
                if self.displace(session, connection, ToSession::Rumour(None)) {
                    // When it detaches, the other node is notified.
                    let who = Waiter::There(by);
                    self.waiting.insert(session, Waiting { connection, who });
                } else {
                    self.tell_released(by, session, connection);
                }
            }
            Notice::Released {
                session,
                connection,
            } => self.release(session, ConnectionId(connection.0.saturating_sub(1))),
            Notice::Closed { session, reason } => self.hint(session, Some(reason)),
            Notice::ComeBack { session } => self.hint(session, None),
            Notice::Published => self.fetch_publications(ctx),
            Notice::Work => self.services.tell(LookSoon),
            // The sweep finds publications as well.
            Notice::Missed => {
                self.maintenance.tell(SweepNow);
                self.services.tell(LookSoon);
            }
        }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<Rename> for Registry {
    type Result = ();

    fn handle(&mut self, Rename(node): Rename, _: &mut Self::Context) {
        self.node = node;
    }
}

impl Handler<Attach> for Registry {
    type Result = ();

    fn handle(&mut self, attach: Attach, _: &mut Self::Context) {
        let Attach {
            holder,
            to,
            user,
            revocations,
        } = attach;
        match self.waiting.get(&holder.session) {
            // A later registration is waiting for this one, which attaches late: it must release the session, which
            // notifies the later one.
            Some(later) if later.connection > holder.connection => match later.who {
                Waiter::Here(_) => return to.tell(ToSession::TakenOver),
                Waiter::There(_) => to.tell(ToSession::Rumour(None)),
            },
            // It no longer waits for the one before it.
            Some(_) => drop(self.waiting.remove(&holder.session)),
            None => {}
        }
        match self.sessions.get(&holder.session) {
            // A later registration has already attached: this one must release the session.
            Some(entry) if entry.holder.connection > holder.connection => {
                return to.tell(ToSession::TakenOver);
            }
            Some(entry) => entry.to.tell(ToSession::TakenOver),
            None => {}
        }
        self.forget(holder.session);
        self.revocations.catch_up(revocations, &to);
        self.sessions.insert(
            holder.session,
            Entry {
                holder,
                user,
                to,
                listening: None,
            },
        );
        self.show();
    }
}

impl Handler<Detach> for Registry {
    type Result = ();

    fn handle(&mut self, Detach(holder): Detach, _: &mut Self::Context) {
        if self
            .sessions
            .get(&holder.session)
            .is_some_and(|entry| entry.holder == holder)
        {
            self.forget(holder.session);
        }
        self.release(holder.session, holder.connection);
    }
}

impl Handler<Closed> for Registry {
    type Result = ();

    fn handle(&mut self, Closed { sessions, reason }: Closed, _: &mut Self::Context) {
        for closed in sessions {
            match closed.home {
                Some((node, _)) if node != self.node => {
                    let notice = Notice::Closed {
                        session: closed.session,
                        reason: reason.clone(),
                    };
                    self.tell_cluster(Tell::One { node, notice });
                }
                Some(_) | None => {
                    if let Some(entry) = self.sessions.get(&closed.session) {
                        entry.to.tell(ToSession::Closed(reason.clone()));
                    }
                }
            }
        }
    }
}

impl Handler<CommitNews> for Registry {
    type Result = ();

    fn handle(&mut self, news: CommitNews, ctx: &mut Self::Context) {
        for stored in news.stored {
            self.hand_over(stored);
        }
        if news.work {
            self.tell_cluster(Tell::Others(Notice::Work));
        }
        if news.published {
            self.tell_cluster(Tell::Others(Notice::Published));
            self.fetch_publications(ctx);
        }
    }
}

impl Handler<FromCluster> for Registry {
    type Result = ();

    fn handle(&mut self, FromCluster(notice): FromCluster, ctx: &mut Self::Context) {
        self.notice(notice, ctx);
    }
}

impl Handler<List> for Registry {
    type Result = MessageResult<List>;

    fn handle(&mut self, _: List, _: &mut Self::Context) -> Self::Result {
        self.prune();
        MessageResult(
            self.sessions
                .values()
                .map(|entry| entry.to.clone())
                .collect(),
        )
    }
}

impl Handler<Find> for Registry {
    type Result = MessageResult<Find>;

    fn handle(&mut self, Find { session }: Find, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.sessions.get(&session).map(|entry| entry.to.clone()))
    }
}

impl Handler<Holders> for Registry {
    type Result = MessageResult<Holders>;

    fn handle(&mut self, _: Holders, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.sessions.values().map(|entry| entry.holder).collect())
    }
}

impl Handler<WhenEmpty> for Registry {
    type Result = ();

    fn handle(&mut self, WhenEmpty(empty): WhenEmpty, _: &mut Self::Context) {
        if self.sessions.is_empty() {
            let _ = empty.send(());
        } else {
            self.when_empty.push(empty);
        }
    }
}

metered!(Registry:
    Rename, Attach, Detach, TakeOver, Closed, ComeBack, CommitNews, FromCluster, List, Find, Holders, WhenEmpty,
    Topics, SubscribeTopics, UnsubscribeTopic, Received, Positions, BeginSweep, EndSweep, NotSwept,
);
