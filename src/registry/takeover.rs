//! Releasing sessions: for a later registration, or at a request from outside.

use actix::{Handler, Message};
use tokio::sync::oneshot;

use super::{Registry, ToSession};
use crate::cluster::{Notice, Tell};
use crate::store::operation::{ClosesLater, ConnectionId, Holder, SessionKey};

/// A new holder waiting for the previous registration to release the session.
pub(super) struct Waiting {
    pub(super) connection: ConnectionId,
    pub(super) who: Waiter,
}

pub(super) enum Waiter {
    /// It is about to attach here.
    Here(oneshot::Sender<()>),
    /// On this node, according to a notice, which need not be true.
    There(String),
}

/// The registration before this one must release the session; `released` is signalled when it has.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TakeOver {
    pub(crate) holder: Holder,
    pub(crate) old_node: String,
    pub(crate) released: oneshot::Sender<()>,
}

/// Makes the client of this session reconnect if it is connected: otherwise the session will be closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ComeBack(pub(crate) ClosesLater);

impl Registry {
    /// Tells the registrations before `connection` to release the session. False: there is none here.
    pub(super) fn displace(
        &self,
        session: SessionKey,
        connection: ConnectionId,
        word: ToSession,
    ) -> bool {
        match self.sessions.get(&session) {
            Some(entry) if entry.holder.connection < connection => {
                entry.to.tell(word);
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn release(&mut self, session: SessionKey, gone: ConnectionId) {
        let waiting = self.waiting.get(&session);
        if waiting.is_none_or(|waiting| gone >= waiting.connection) {
            return;
        }
        if let Some(Waiting { connection, who }) = self.waiting.remove(&session) {
            match who {
                Waiter::Here(released) => drop(released.send(())),
                Waiter::There(node) => self.tell_released(node, session, connection),
            }
        }
    }

    /// A notice is only a hint, whoever sent it: the session asks the store.
    pub(super) fn hint(&self, session: SessionKey, closed: Option<String>) {
        if let Some(entry) = self.sessions.get(&session) {
            entry.to.tell(ToSession::Rumour(closed));
        }
    }

    pub(super) fn tell_released(
        &self,
        node: String,
        session: SessionKey,
        connection: ConnectionId,
    ) {
        let notice = Notice::Released {
            session,
            connection,
        };
        self.tell_cluster(Tell::One { node, notice });
    }
}

impl Handler<TakeOver> for Registry {
    type Result = ();

    fn handle(&mut self, take: TakeOver, _: &mut Self::Context) {
        let TakeOver {
            holder: Holder {
                session,
                connection,
            },
            old_node,
            released,
        } = take;
        // An even older registration may be left here, whose take-over was not announced.
        let here = self.displace(session, connection, ToSession::TakenOver);
        let elsewhere = old_node != self.node;
        if here || elsewhere {
            let who = Waiter::Here(released);
            self.waiting.insert(session, Waiting { connection, who });
        } else {
            let _ = released.send(());
        }
        if elsewhere {
            let by = self.node.clone();
            self.tell_cluster(Tell::One {
                node: old_node,
                notice: Notice::TakenOver {
                    session,
                    connection,
                    by,
                },
            });
        }
    }
}

impl Handler<ComeBack> for Registry {
    type Result = ();

    fn handle(&mut self, ComeBack(session): ComeBack, _: &mut Self::Context) {
        let ClosesLater { holder, node } = session;
        match node {
            Some(node) if node != self.node => {
                let session = holder.session;
                let notice = Notice::ComeBack { session };
                self.tell_cluster(Tell::One { node, notice });
            }
            Some(_) | None => {
                let entry = self.sessions.get(&holder.session);
                if let Some(entry) = entry.filter(|entry| entry.holder == holder) {
                    entry.to.tell(ToSession::ComeBack);
                }
            }
        }
    }
}
