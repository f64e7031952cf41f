//! The table of all figures as monitoring systems see them. `docs/metrics.md` shows the same table, and a test compares
//! the two.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Metrics;
use crate::latency::LatencyMetrics;
use crate::mailbox::MailboxMetrics;

/// What a figure may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, from zero at the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Numbers of times, by how long it took, and their sum.
    Histogram,
}

impl Kind {
    /// Its name in Prometheus' format and in the documentation.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Is given each value of a series, with the values of its labels.
pub(super) type Values<'a> = dyn FnMut(&[&str], f64) + 'a;

/// Is given each histogram of a series, with the value of its label.
pub(super) type Histograms<'a> = dyn FnMut(&str, &LatencyMetrics) + 'a;

/// One line of the table.
pub(super) struct Series {
    /// Ends in the unit, and `_total` for a counter.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) meaning: &'static str,
    pub(super) read: Read,
}

/// Reads the values of a series.
pub(super) enum Read {
    Figures(fn(&Metrics, &mut Values<'_>)),
    Histograms(fn(&Metrics, &mut Histograms<'_>)),
}

/// A line whose figure has no labels.
macro_rules! one {
    ($kind:ident $name:literal, $meaning:literal, $read:expr) => {
        Series {
            name: concat!("matssocket_", $name),
            kind: Kind::$kind,
            labels: &[],
            meaning: $meaning,
            read: Read::Figures(|metrics, tell| {
                let read: fn(&Metrics) -> f64 = $read;
                tell(&[], read(metrics));
            }),
        }
    };
}

/// A line with one figure for each entry of a map, whose key is the label.
macro_rules! each {
    ($kind:ident $name:literal, $map:ident by $label:literal, $meaning:literal, $read:expr) => {
        Series {
            name: concat!("matssocket_", $name),
            kind: Kind::$kind,
            labels: &[$label],
            meaning: $meaning,
            read: Read::Figures(|metrics, tell| each(&metrics.$map, tell, $read)),
        }
    };
}

fn each<K: AsRef<str>, V>(map: &BTreeMap<K, V>, tell: &mut Values<'_>, read: fn(&V) -> f64) {
    for (key, value) in map {
        tell(&[key.as_ref()], read(value));
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// All of them, in the order in which they are shown.
pub(super) const TABLE: &[Series] = &[
    Series {
        name: "matssocket_info",
        kind: Kind::Gauge,
        labels: &["app", "node", "version"],
        meaning: "Always 1; its labels tell what is running",
        read: Read::Figures(|metrics, tell| {
            tell(
                &[&metrics.app, &metrics.node, env!("CARGO_PKG_VERSION")],
                1.0,
            )
        }),
    },
    one!(Gauge "ready", "1 if the node can serve, otherwise 0", |it| it.ready.into()),
    one!(Gauge "sessions_connected", "Sessions connected to this node", |it| it.sessions_connected as f64),
    Series {
        name: "matssocket_endpoint_calls_total",
        kind: Kind::Counter,
        labels: &["endpoint", "outcome"],
        meaning: "Calls of an endpoint's or terminator's handler that have ended, by what it decided",
        read: Read::Figures(|metrics, tell| {
            for (endpoint, it) in &metrics.endpoints {
                for (outcome, calls) in it.outcomes() {
                    tell(&[endpoint, outcome], calls as f64);
                }
            }
        }),
    },
    Series {
        name: "matssocket_endpoint_handling_seconds",
        kind: Kind::Histogram,
        labels: &["endpoint"],
        meaning: "How long an endpoint's or terminator's handler took",
        read: Read::Histograms(|metrics, tell| {
            for (endpoint, it) in &metrics.endpoints {
                tell(endpoint, &it.handling);
            }
        }),
    },
    Series {
        name: "matssocket_stage_seconds",
        kind: Kind::Histogram,
        labels: &["stage"],
        meaning: "How long the stages of messages took: parse, handler, store_wait, commit (of many operations together), send",
        read: Read::Histograms(|metrics, tell| {
            for (stage, it) in &metrics.stages {
                tell(stage, it);
            }
        }),
    },
    one!(Gauge "handlers_running", "Handlers of clients' messages running now", |it| it.handlers_running as f64),
    one!(Counter "handler_failures_total", "Handlers, those of services included, that failed or panicked", |it| it.handler_failures as f64),
    one!(Counter "retries_total", "RETRY answers given", |it| it.retries_told as f64),
    one!(Counter "forwards_refused_total", "RETRY answers given because too many forwarded messages of the session or user were waiting", |it| it.forwards_refused as f64),
    one!(Counter "client_mistakes_total", "Mistakes of clients, such as protocol violations and payloads of the wrong type", |it| it.client_mistakes as f64),
    one!(Counter "redeliveries_total", "Messages that were sent again because a client had received and not acknowledged them", |it| it.redeliveries_counted as f64),
    one!(Counter "messages_without_session_total", "Messages dropped because their session no longer existed when they were to be stored", |it| it.messages_without_session as f64),
    one!(Counter "messages_without_room_total", "Messages for all sessions of a user that were not stored for one of them because its outbox was full", |it| it.messages_without_room as f64),
    one!(Counter "dead_letters_total", "Messages that became dead letters on this node", |it| it.dead_letters as f64),
    one!(Counter "sessions_displaced_total", "Sessions closed to make room for a newer session of the same user", |it| it.sessions_displaced as f64),
    each!(Gauge "service_running", services by "service", "Messages that the service has in progress", |it| it.running as f64),
    each!(Gauge "service_waiting", services by "service", "Messages that wait for the service in this node's memory", |it| it.waiting as f64),
    each!(Counter "service_attempts_total", services by "service", "Attempts that have ended", |it| it.attempts as f64),
    each!(Counter "service_failures_total", services by "service", "Attempts that failed, those over their time limit included", |it| it.failed as f64),
    each!(Counter "service_timeouts_total", services by "service", "Attempts that took longer than the time limit", |it| it.timed_out as f64),
    each!(Counter "service_given_back_total", services by "service", "Messages given back to the store for lack of places on this node", |it| it.given_back as f64),
    each!(Gauge "unserved", unserved by "service", "Messages in the cluster that wait because no living node has their service; every node reports the same", |it| *it as f64),
    one!(Gauge "incoming_bytes", "Bytes of incoming data that connections hold: announced, received, or being handled", |it| it.held_incoming as f64),
    one!(Gauge "incoming_before_hello_bytes", "Those of them that belong to connections that have not completed HELLO", |it| it.held_before_hello as f64),
    one!(Gauge "outgoing_bytes", "Bytes of outgoing data that connections hold", |it| it.held_outgoing as f64),
    one!(Gauge "readers_waiting", "Connections whose reading is paused because there is no room for the data they announced", |it| it.readers_waiting as f64),
    one!(Counter "closed_slow_total", "Connections closed because a message arrived too slowly", |it| it.closed_slow as f64),
    one!(Counter "closed_waiting_total", "Connections closed because there was no room for a message for too long", |it| it.closed_waiting as f64),
    Series {
        name: "matssocket_closes_total",
        kind: Kind::Counter,
        labels: &["by", "code"],
        meaning: "Connections that ended, by who closed them and with which code; lost: without a Close",
        read: Read::Figures(|metrics, tell| {
            for (by, codes) in &metrics.closes {
                for (code, closes) in codes {
                    tell(&[by, code], *closes as f64);
                }
            }
        }),
    },
    each!(Counter "refusals_total", refusals by "of", "How often the authenticator refused a login, a message, a delivery or a topic", |it| *it as f64),
    one!(Counter "publications_total", "Publications that were handed to sessions of this node", |it| it.publications as f64),
    one!(Counter "publications_delivered_total", "Publications handed to sessions of this node, once for each session", |it| it.publications_delivered as f64),
    one!(Gauge "store_connections", "Connections to the database that are open", |it| it.store.connections as f64),
    one!(Gauge "store_queue_depth", "Operations waiting or running in the store", |it| it.store.depth as f64),
    one!(Counter "store_operations_total", "Operations taken up by the store", |it| it.store.operations as f64),
    one!(Counter "store_transactions_total", "Write transactions committed", |it| it.store.batches as f64),
    one!(Counter "store_commit_seconds_total", "Time spent in write transactions, commits included", |it| seconds(it.store.commit_time)),
    one!(Gauge "store_longest_commit_seconds", "The longest write transaction since the start", |it| seconds(it.store.commit_time_max)),
    one!(Counter "store_failures_total", "Operations that failed", |it| it.store.failures as f64),
    one!(Counter "store_refused_total", "Operations refused because the queue stayed full for too long", |it| it.store.refused_busy as f64),
    one!(Counter "store_panics_total", "Panics in the store's threads", |it| it.store.panics as f64),
    one!(Gauge "store_lost_threads", "Threads of transactional handlers that have not returned", |it| it.store.lost_threads as f64),
    one!(Gauge "store_log_bytes", "Size of an SQLite database's write-ahead log", |it| it.store.log_bytes as f64),
    one!(Counter "notices_sent_total", "Notices sent to other nodes, coalesced", |it| it.cluster.sent as f64),
    one!(Counter "notices_received_total", "Notices received from other nodes", |it| it.cluster.received as f64),
    one!(Counter "listen_reconnects_total", "How often the connection for notices was lost and re-established", |it| it.cluster.reconnects as f64),
    one!(Gauge "lease_age_seconds", "How long ago the node's lease was last renewed", |it| seconds(it.lease_age)),
    one!(Counter "sweep_finds_total", "Sessions for which the sweep found messages of which no notice had come", |it| it.sweep_finds as f64),
    one!(Counter "incarnations_total", "How often the node came back under a new name after losing its lease", |it| it.incarnations as f64),
    each!(Counter "maintenance_runs_total", maintenance by "task", "How often a maintenance task ran", |it| it.runs as f64),
    each!(Counter "maintenance_failures_total", maintenance by "task", "How often it failed because the store was unavailable", |it| it.failures as f64),
    one!(Counter "scavenged_total", "Rows that scavenging deleted", |it| it.scavenged as f64),
    one!(Counter "dead_letters_scavenged_total", "Dead letters deleted because they were too old, or too many", |it| it.dead_letters_scavenged as f64),
    one!(Counter "messages_expired_total", "Messages deleted because their time to live had ended", |it| it.messages_expired as f64),
    each!(Gauge "mailbox_depth", actors by "actor", "Messages waiting in the mailboxes of this kind of actor", |it: &MailboxMetrics| it.depth as f64),
    each!(Counter "mailbox_handled_total", actors by "actor", "Messages handled", |it| it.handled as f64),
    each!(Counter "mailbox_lost_total", actors by "actor", "Messages lost because their actor had already ended", |it| it.lost as f64),
    each!(Counter "mailbox_waited_seconds_total", actors by "actor", "Time that messages waited in mailboxes", |it| seconds(it.waited)),
    each!(Counter "mailbox_handling_seconds_total", actors by "actor", "Time spent handling messages", |it| seconds(it.handling)),
    each!(Gauge "mailbox_longest_wait_seconds", actors by "actor", "Longest time that a message has waited since the start", |it| seconds(it.longest_wait)),
    each!(Gauge "mailbox_longest_handling_seconds", actors by "actor", "Longest time that a message took since the start", |it| seconds(it.longest_handling)),
];
