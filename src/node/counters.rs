//! Counters of a node's actors and handlers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::cluster::ClusterCounters;
use crate::mailbox::Meter;

/// The meters of a node, one per kind of actor.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) registry: Arc<Meter>,
    pub(crate) cluster: Arc<Meter>,
    pub(crate) services: Arc<Meter>,
    pub(crate) maintenance: Arc<Meter>,
    pub(crate) session: Arc<Meter>,
    pub(crate) connection: Arc<Meter>,
}

/// What this node has found out, and published, about who is present.
#[derive(Debug, Default)]
pub(crate) struct PresenceCounters {
    pub(crate) joined: AtomicU64,
    pub(crate) left: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) reviews: AtomicU64,
}

/// Counters other than those of the mailboxes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sessions_connected: Arc<AtomicU64>,
    pub(crate) handlers_running: AtomicU64,
    pub(crate) handler_failures: AtomicU64,
    pub(crate) messages_without_session: AtomicU64,
    pub(crate) messages_without_room: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
    pub(crate) redeliveries_counted: AtomicU64,
    pub(crate) retries_told: AtomicU64,
    pub(crate) forwards_refused: AtomicU64,
    pub(crate) incarnations: AtomicU64,
    pub(crate) sessions_displaced: AtomicU64,
    pub(crate) client_mistakes: AtomicU64,
    pub(crate) scavenged: AtomicU64,
    pub(crate) dead_letters_scavenged: AtomicU64,
    pub(crate) messages_expired: AtomicU64,
    pub(crate) presence: PresenceCounters,
    pub(crate) cluster: Arc<ClusterCounters>,
}
