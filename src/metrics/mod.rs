//! The figures of a server: a snapshot of what its actors, its store and its maintenance have done so far.

pub(crate) mod prometheus;
mod series;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::cluster::ClusterMetrics;
use crate::endpoint::{EndpointMetrics, ServiceMetrics};
use crate::latency::LatencyMetrics;
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
    /// Notices to and from other nodes.
    pub cluster: ClusterMetrics,
    /// Maintenance tasks by name.
    pub maintenance: BTreeMap<&'static str, MaintenanceMetrics>,
    /// How long each stage of a message takes: `parse` (a session reads a text of its client and decides), `handler` (the
    /// handlers of all endpoints together), `store_wait` (an operation waits for a thread of the store), `commit` (a write
    /// transaction, which holds many operations), `send` (what is written to a connection is handed to its socket).
    pub stages: BTreeMap<&'static str, LatencyMetrics>,
    /// Each endpoint and terminator of this node, by id.
    pub endpoints: BTreeMap<String, EndpointMetrics>,
    /// Each service of this node, by name.
    pub services: BTreeMap<String, ServiceMetrics>,
    /// Forwarded messages, by service, that wait because no living node has their service, as of the last
    /// [sweep](crate::Config::sweep_interval). This counts the whole cluster: all nodes report the same.
    pub unserved: BTreeMap<String, u64>,
    /// Sessions connected to this node.
    pub sessions_connected: u64,
    /// Handlers running now.
    pub handlers_running: u64,
    /// Handlers that failed or panicked.
    pub handler_failures: u64,
    /// Messages dropped because their session no longer existed when they were to be stored.
    pub messages_without_session: u64,
    /// Messages that handlers and services sent to all sessions of a user, and that were not stored for a session
    /// because its outbox was full.
    pub messages_without_room: u64,
    /// Messages that became dead letters on this node.
    pub dead_letters: u64,
    /// Redeliveries counted: messages that a client received without acknowledging them.
    pub redeliveries_counted: u64,
    /// RETRY answers given.
    pub retries_told: u64,
    /// RETRY answers given because too many forwarded messages of the session or user were waiting for services;
    /// included in [`retries_told`](Self::retries_told).
    pub forwards_refused: u64,
    /// Bytes that connections of this node hold of incoming data: announced, received, or being handled.
    pub held_incoming: u64,
    /// Those of them that belong to connections that have not completed HELLO.
    pub held_before_hello: u64,
    /// Bytes that connections of this node hold of outgoing data.
    pub held_outgoing: u64,
    /// Connections whose reading is paused because there is no room for the data they announced.
    pub readers_waiting: u64,
    /// Connections closed because a message arrived too slowly.
    pub closed_slow: u64,
    /// Connections closed because there was no room for a message they had begun or announced for too long.
    pub closed_waiting: u64,
    /// Rows that scavenging deleted.
    pub scavenged: u64,
    /// Dead letters that this node deleted because they were too old, or too many.
    pub dead_letters_scavenged: u64,
    /// Messages that this node deleted because their [time to live](crate::Destination::time_to_live) had ended.
    pub messages_expired: u64,
    /// How often the node came back as a new incarnation after losing its lease.
    pub incarnations: u64,
    /// Sessions closed to make room for a newer session of the same user.
    pub sessions_displaced: u64,
    /// How connections of this node ended: `server` and `client`, and for each how often, by close code. For `client`, the
    /// codes are those that clients should use, `other`, `none` (a Close without a code), and `lost` (no Close at all).
    pub closes: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// How often the authenticator refused: `login` (a client that had not been authenticated), `message` (another value, or
    /// the accepted one when the client sent something), `delivery` (the accepted one before messages went out), `topic`.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Sessions for which the sweep found messages of which no notice had come: each waited for up to a
    /// [sweep interval](crate::Config::sweep_interval).
    pub sweep_finds: u64,
    /// Publications that were handed to sessions of this node.
    pub publications: u64,
    /// Publications handed to sessions of this node, once for each session.
    pub publications_delivered: u64,
    /// How long ago the node's lease was last renewed. Serialised as `lease_age_us`, in microseconds.
    #[serde(rename = "lease_age_us", serialize_with = "crate::clock::as_micros")]
    pub lease_age: Duration,
    /// Mistakes of clients: protocol violations, fields that cannot be read, payloads that do not deserialise to the
    /// endpoint's type.
    pub client_mistakes: u64,
}

impl Metrics {
    /// The figures as Prometheus reads them, in version 0.0.4 of its text format. `docs/metrics.md` in the repository
    /// lists them all. [`prometheus_scrape`](crate::MatsSocketServer::prometheus_scrape) serves this text.
    pub fn to_prometheus(&self) -> String {
        prometheus::text(self)
    }
}
