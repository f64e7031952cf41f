//! Counters of a node's actors and handlers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::closes::Closes;
use crate::cluster::ClusterCounters;
use crate::latency::Latency;
use crate::mailbox::Meter;
use crate::registry::FanOut;

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

/// How often authenticators refused, by what for.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// A client that was not authenticated yet.
    pub(crate) login: AtomicU64,
    /// A client that was: another value, or the accepted one when it sent messages or got answers.
    pub(crate) message: AtomicU64,
    /// The accepted value, before messages went out.
    pub(crate) delivery: AtomicU64,
    /// A topic.
    pub(crate) topic: AtomicU64,
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
    pub(crate) cluster: Arc<ClusterCounters>,
    pub(crate) refusals: Refusals,
    /// Sessions for which the sweep found messages of which no notice had come.
    pub(crate) sweep_finds: AtomicU64,
    pub(crate) fan_out: Arc<FanOut>,
    pub(crate) closes: Closes,
    /// How long sessions take to read a text of their clients, and to decide what to do.
    pub(crate) parse: Latency,
}
