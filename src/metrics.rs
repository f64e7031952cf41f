//! The figures of a server: a snapshot of what its actors, its store and its maintenance have done so far.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::ClusterMetrics;
use crate::endpoint::ServiceMetrics;
use crate::mailbox::MailboxMetrics;
use crate::maintenance::MaintenanceMetrics;
use crate::store::StoreMetricsSnapshot;

/// What a server has done so far. Serialises to JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// The application's name.
    pub app: String,
    /// The node's name.
    pub node: String,
    /// Whether the node can serve.
    pub ready: bool,
    /// Every kind of actor's mailbox: `store`, `registry`, `cluster`, `services`, `maintenance`, `session`, `connection`.
    pub actors: BTreeMap<&'static str, MailboxMetrics>,
    /// The store: batch sizes, commit times, queue depth.
    pub store: StoreMetricsSnapshot,
    /// The line to other nodes.
    pub cluster: ClusterMetrics,
    /// Maintenance tasks by name.
    pub maintenance: BTreeMap<&'static str, MaintenanceMetrics>,
    /// What each service of this node does, by name.
    pub services: BTreeMap<String, ServiceMetrics>,
    /// Forwarded messages, by service, that wait because no living node has their service, as of the last
    /// [sweep](crate::Config::sweep_interval). They are the cluster's: all nodes tell the same.
    pub unserved: BTreeMap<String, u64>,
    /// Handlers running now.
    pub handlers_running: u64,
    /// Handlers that failed or panicked.
    pub handler_failures: u64,
    /// Messages dropped because their session was gone when they were to be stored.
    pub messages_without_session: u64,
    /// Messages that became dead letters on this node.
    pub dead_letters: u64,
    /// Redeliveries counted: messages that a client received without acknowledging them.
    pub redeliveries_counted: u64,
    /// RETRY answers given.
    pub retries_told: u64,
    /// Of these, to messages that were to be forwarded, since too much of their session or user waits for services.
    pub forwards_refused: u64,
    /// Bytes that connections of this node hold of what clients send: announced, received, or in the hands of handlers.
    pub held_incoming: u64,
    /// Those of them that belong to lines whose HELLO is not done.
    pub held_before_hello: u64,
    /// Bytes that connections of this node hold of what is to be sent.
    pub held_outgoing: u64,
    /// Connections that are not read from, because there is no room for what they announce.
    pub readers_waiting: u64,
    /// Connections closed because a message came too slowly.
    pub closed_slow: u64,
    /// Connections closed because there was no room, for too long, for a message that they had begun or announced.
    pub closed_waiting: u64,
    /// Rows that scavenging deleted.
    pub scavenged: u64,
    /// Dead letters that this node deleted because they were too old, or too many.
    pub dead_letters_scavenged: u64,
    /// How often the node came back as a new incarnation after losing its lease.
    pub incarnations: u64,
    /// Sessions closed to make room for a newer one of their user.
    pub sessions_displaced: u64,
    /// What clients sent and could not be meant: breaches of the protocol, fields that cannot be read, payloads that do not
    /// fit their endpoint.
    pub client_mistakes: u64,
}
