//! The sweep on this node: compares the store's view with the sessions that live here.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use actix::{Handler, Message, MessageResult};

use super::{Registry, ToSession, Waiter};
use crate::logging;
use crate::seldom::log_seldom;
use crate::store::operation::{Deregister, Holder, SessionKey, Swept};

/// To the maintenance: notices were missed, so the next sweep must happen at once.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SweepNow;

/// The sessions that live here now, before the store is asked: only they are compared.
#[derive(Message)]
#[rtype(result = "Vec<Holder>")]
pub(crate) struct BeginSweep;

/// The store's answer. The result is the sessions of `before` that are not here according to the store.
#[derive(Message)]
#[rtype(result = "Vec<Holder>")]
pub(crate) struct EndSweep {
    pub(crate) before: Vec<Holder>,
    pub(crate) swept: Swept,
}

/// Whether sessions that were not swept still exist (elsewhere), or are gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct NotSwept {
    pub(crate) holders: Vec<Holder>,
    pub(crate) existing: HashSet<SessionKey>,
}

impl Registry {
    /// A session that according to the store is here, but is not in one sweep after the other, has lost its
    /// deregistration.
    fn deregister_strays(&mut self, swept: &Swept) {
        let now = Instant::now();
        let strays: HashMap<Holder, Instant> = swept
            .sessions
            .iter()
            .map(|session| session.holder)
            .filter(|holder| !self.sessions.contains_key(&holder.session))
            // It is about to attach, once the previous registration has released the session.
            .filter(
                |holder| match self.waiting.get(&holder.session).map(|it| &it.who) {
                    Some(Waiter::Here(released)) => released.is_closed(),
                    Some(Waiter::There(_)) | None => true,
                },
            )
            .map(|holder| (holder, self.strays.get(&holder).copied().unwrap_or(now)))
            .collect();
        let old = |since: &Instant| now.duration_since(*since) > self.stray_age;
        for (&holder, _) in strays.iter().filter(|(_, since)| old(since)) {
            logging::info!(
                "session {} is not here, though the store believes so: deregistered",
                holder.session.0
            );
            let deregister = self.store.run(Deregister { holder });
            actix::spawn(async move {
                if let Err(error) = deregister.await {
                    log_seldom!(
                        warn,
                        "a stray session could not be deregistered, the next sweep tries again: {error}"
                    );
                }
            });
        }
        self.strays = strays;
    }
}

impl Handler<BeginSweep> for Registry {
    type Result = MessageResult<BeginSweep>;

    fn handle(&mut self, _: BeginSweep, _: &mut Self::Context) -> Self::Result {
        self.prune();
        MessageResult(self.sessions.values().map(|entry| entry.holder).collect())
    }
}

impl Handler<EndSweep> for Registry {
    type Result = MessageResult<EndSweep>;

    fn handle(
        &mut self,
        EndSweep { before, swept }: EndSweep,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let found: HashMap<SessionKey, _> = swept
            .sessions
            .iter()
            .map(|session| (session.holder.session, *session))
            .collect();
        let mut missing = Vec::new();
        for holder in before {
            let Some(entry) = self
                .sessions
                .get(&holder.session)
                .filter(|entry| entry.holder == holder)
            else {
                continue;
            };
            match found.get(&holder.session) {
                Some(session) if session.holder.connection > holder.connection => {
                    entry.to.tell(ToSession::TakenOver)
                }
                Some(session) => entry.to.tell(ToSession::Swept(session.newest)),
                None => missing.push(holder),
            }
        }
        self.deregister_strays(&swept);
        if swept.newest_publication > self.horizon {
            self.fetch_publications(ctx);
        }
        MessageResult(missing)
    }
}

impl Handler<NotSwept> for Registry {
    type Result = ();

    fn handle(&mut self, NotSwept { holders, existing }: NotSwept, _: &mut Self::Context) {
        for holder in holders {
            if let Some(entry) = self
                .sessions
                .get(&holder.session)
                .filter(|entry| entry.holder == holder)
            {
                let exists = existing.contains(&holder.session);
                entry.to.tell(if exists {
                    ToSession::TakenOver
                } else {
                    ToSession::Gone
                });
            }
        }
    }
}
