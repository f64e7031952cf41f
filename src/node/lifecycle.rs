//! How a node comes back as a new incarnation, and stops.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{LeaseClock, Node, State, WhenIdle};
use crate::cluster::Tell;
use crate::logging;
use crate::registry::{self, ToSession};
use crate::store::StoreError;
use crate::store::operation::{LeaveNode, NoteServices, RenewLease};

/// How long a stopping node tries to deregister.
const SIGN_OFF: Duration = Duration::from_secs(5);

/// How long a stopping node waits for its last notices to be sent.
const LEAVE: Duration = Duration::from_secs(1);
/// How long a stopping node waits at least for the store to be closed.
const CLOSE: Duration = Duration::from_secs(1);

/// A name for a node that was never used before.
pub(crate) fn incarnation(stem: &str) -> String {
    format!("{stem}-{}", crate::wire::random_id(8, &mut rand::rng()))
}

impl Node {
    /// Disconnects every session with 1012, spread over this time.
    async fn send_away(&self, spread: Duration, why: &'static str) {
        let sessions = self
            .registry()
            .ask(registry::List)
            .await
            .unwrap_or_default();
        let pause = spread
            .checked_div(u32::try_from(sessions.len()).unwrap_or(u32::MAX))
            .unwrap_or_default();
        for (index, session) in sessions.into_iter().enumerate() {
            // Timers have a resolution of a millisecond: with many sessions, several go without a pause.
            if index > 0 && pause >= Duration::from_millis(1) {
                tokio::time::sleep(pause).await;
            }
            session.tell(ToSession::Restart(why));
        }
    }

    /// The lease was renewed, by a request made at this time.
    pub(crate) fn renewed(&self, asked: LeaseClock) {
        *self.renewed.write().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    /// How long ago the lease was renewed.
    pub(crate) fn since_renewal(&self) -> Duration {
        let renewed = *self.renewed.read().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed(&self.store)
    }

    /// The lease could not be renewed, and it took this long to find out: no new clients are admitted. Connected
    /// clients stay as long as the lease holds, so that a store that is merely slow or briefly away is not hit by all
    /// of them reconnecting at once.
    pub(crate) async fn go_away(&self, took: Duration) {
        if self.stopping() {
            return;
        }
        if self.change(State::Up, State::Away) {
            logging::error!("the node's lease could not be renewed: no new clients are admitted");
        }
        if took.max(self.since_renewal()) >= self.config.lease {
            logging::error!(
                "the store has been unavailable for longer than the node's lease: all clients are disconnected"
            );
            self.send_away(Duration::ZERO, "the store is unavailable")
                .await;
        }
    }

    /// The store is back, and the lease is still held.
    pub(crate) fn come_back(&self) {
        if self.change(State::Away, State::Up) {
            self.begins_to_serve();
            logging::info!("the store is back: serving again");
        }
    }

    /// Publishes which services this node has, unless that was already done under its current name, so that other nodes
    /// can tell which services are missing.
    pub(crate) async fn publish_services(&self) -> Result<(), StoreError> {
        let name = self.name();
        let published = self.published.read();
        if published.unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&name) {
            return Ok(());
        }
        let mut services: Vec<String> = self.services.keys().cloned().collect();
        services.sort_unstable();
        self.store.run(NoteServices { services }).await?;
        let mut published = self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *published = Some(name);
        Ok(())
    }

    /// The lease was lost, so other nodes may have taken over what this node held. It comes back under a new name.
    pub(crate) async fn come_back_as_new(&self) -> Result<(), StoreError> {
        self.change(State::Up, State::Away);
        self.send_away(Duration::ZERO, "the node lost its lease")
            .await;
        let name = incarnation(&self.name_stem);
        logging::warn!(
            "the lease of {} was lost: coming back as {name}",
            self.name()
        );
        // The new name is in use before the store has it: if the store's answer is lost, the next renewal finds it.
        self.store.rename(&name);
        self.cluster.tell(Tell::Join { node: name.clone() });
        self.registry().tell(registry::Rename(name.clone()));
        *self.name.write().unwrap_or_else(PoisonError::into_inner) = name.into();
        let asked = LeaseClock::now(&self.store);
        self.store
            .run(RenewLease {
                join: true,
                lease: self.config.lease,
            })
            .await?;
        self.renewed(asked);
        self.counters.incarnations.fetch_add(1, Ordering::Relaxed);
        self.change(State::Away, State::Up);
        self.begins_to_serve();
        self.publish_services().await
    }

    pub(crate) async fn stop(&self) {
        if !self.change(State::Up, State::Stopping) && !self.change(State::Away, State::Stopping) {
            return;
        }
        let name = self.name();
        logging::info!(node = name; "node {name} is stopping");
        self.send_away(self.config.stop_spread, "the server is stopping")
            .await;
        let (empty, when_empty) = oneshot::channel();
        self.registry().tell(registry::WhenEmpty(empty));
        let longest = self
            .config
            .stop_grace
            .saturating_add(self.config.close_timeout);
        let (idle, when_idle) = oneshot::channel();
        self.services_idle.tell(WhenIdle(idle));
        let (sessions, services) = tokio::join!(
            tokio::time::timeout(longest, when_empty),
            tokio::time::timeout(self.config.stop_grace, when_idle),
        );
        if sessions.is_err() {
            logging::warn!(
                "some sessions did not end within {longest:?}; they are left to the sweep of other nodes"
            );
        }
        if services.is_err() {
            let grace = self.config.stop_grace;
            logging::warn!(
                "some services did not end within {grace:?}; other nodes will start their work again"
            );
        }
        match tokio::time::timeout(SIGN_OFF, self.store.run(LeaveNode)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                logging::warn!("could not deregister the node; its lease will expire: {error}");
            }
            Err(_) => logging::warn!(
                "could not deregister the node within {SIGN_OFF:?}; its lease will expire"
            ),
        }
        let (done, left) = oneshot::channel();
        self.cluster.tell(Tell::Leave(done));
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            logging::warn!(
                "the last notices of this node may not have been sent; the sweep of other nodes will find what they announced"
            );
        }
        let patience = self.config.stop_grace.max(CLOSE);
        if !self.store.stop(patience).await {
            logging::warn!(
                "the store is still busy; it will be closed when its current operations have ended"
            );
        }
        self.change(State::Stopping, State::Stopped);
        logging::info!(node = name; "node {name} has stopped");
        // Handlers that are still running end with their threads.
        self.system.stop();
    }
}
