//! The snapshot of all figures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::endpoint::{EndpointMetrics, is_stand_in};
use crate::latency::LatencyMetrics;
use crate::maintenance::MaintenanceCounters;
use crate::metrics::Metrics;
use crate::node::Node;

/// What a node's actors, its store and its maintenance have done so far.
pub(super) fn snapshot(node: &Node, maintenance: &MaintenanceCounters) -> Metrics {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let in_use = node.budget.in_use();
    let store = node.store.metrics();
    let meters = &node.meters;
    let mut actors: BTreeMap<_, _> = [
        ("registry", &meters.registry),
        ("cluster", &meters.cluster),
        ("services", &meters.services),
        ("maintenance", &meters.maintenance),
        ("session", &meters.session),
        ("connection", &meters.connection),
    ]
    .into_iter()
    .map(|(name, meter)| (name, meter.snapshot()))
    .collect();
    actors.insert("store", node.store.mailbox());
    let services = node.services.iter();
    // Stand-ins for endpoints are not services of the application.
    let services = services.filter(|(name, _)| !is_stand_in(name));
    let services = services.map(|(name, service)| (name.clone(), service.metrics()));
    let endpoints = node.endpoints.iter();
    let endpoints = endpoints.map(|(id, endpoint)| (id.clone(), endpoint.counters.snapshot()));
    let endpoints: BTreeMap<_, _> = endpoints.collect();
    let mut handlers = LatencyMetrics::default();
    endpoints
        .values()
        .for_each(|endpoint: &EndpointMetrics| handlers.add(&endpoint.handling));
    let stages = [
        ("parse", node.counters.parse.snapshot()),
        ("handler", handlers),
        ("store_wait", store.waited.clone()),
        ("commit", store.commits.clone()),
        ("send", node.budget.sending.snapshot()),
    ];
    let [by_server, by_client] = node.counters.closes.snapshot();
    let refusals = &node.counters.refusals;
    let refusals = [
        ("login", get(&refusals.login)),
        ("message", get(&refusals.message)),
        ("delivery", get(&refusals.delivery)),
        ("topic", get(&refusals.topic)),
    ];
    Metrics {
        stages: stages.into(),
        app: node.app.clone(),
        node: node.name().to_string(),
        ready: node.ready().is_ok(),
        actors,
        store,
        cluster: node.counters.cluster.snapshot(),
        maintenance: maintenance.snapshot(),
        services: services.collect(),
        unserved: node.unserved.counts(),
        endpoints,
        sessions_connected: get(&node.counters.sessions_connected),
        handlers_running: get(&node.counters.handlers_running),
        handler_failures: get(&node.counters.handler_failures),
        messages_without_session: get(&node.counters.messages_without_session),
        messages_without_room: get(&node.counters.messages_without_room),
        dead_letters: get(&node.counters.dead_letters),
        redeliveries_counted: get(&node.counters.redeliveries_counted),
        retries_told: get(&node.counters.retries_told),
        forwards_refused: get(&node.counters.forwards_refused),
        held_incoming: (in_use.incoming + in_use.before_hello) as u64,
        held_before_hello: in_use.before_hello as u64,
        held_outgoing: in_use.outgoing as u64,
        readers_waiting: in_use.readers_waiting as u64,
        closed_slow: get(&node.budget.closed_slow),
        closed_waiting: get(&node.budget.closed_waiting),
        scavenged: get(&node.counters.scavenged),
        dead_letters_scavenged: get(&node.counters.dead_letters_scavenged),
        messages_expired: get(&node.counters.messages_expired),
        incarnations: get(&node.counters.incarnations),
        sessions_displaced: get(&node.counters.sessions_displaced),
        closes: [("server", by_server), ("client", by_client)].into(),
        refusals: refusals.into(),
        sweep_finds: get(&node.counters.sweep_finds),
        publications: get(&node.counters.fan_out.publications),
        publications_delivered: get(&node.counters.fan_out.deliveries),
        lease_age: node.since_renewal(),
        client_mistakes: get(&node.counters.client_mistakes),
    }
}
