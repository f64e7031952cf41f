use super::*;

const SECOND: Duration = Duration::from_secs(1);

type Change = fn(&mut Config);

/// A refused value: the change, the beginning of the mistake's text, and another part of it.
type Bad = (Change, &'static str, &'static str);

/// Values that are zero but must not be.
const ZEROS: &[(Change, &str)] = &[
    (
        |c| c.max_message_before_hello = 0,
        "max_message_before_hello = 0 ",
    ),
    (|c| c.hello_timeout = Duration::ZERO, "hello_timeout = 0s "),
    (
        |c| c.max_connections_before_hello = 0,
        "max_connections_before_hello = 0 ",
    ),
    (
        |c| c.max_connections_before_hello_per_address = 0,
        "max_connections_before_hello_per_address = 0 ",
    ),
    (
        |c| c.authentication_timeout = Duration::ZERO,
        "authentication_timeout = 0s ",
    ),
    (
        |c| c.max_authentications_pending = 0,
        "max_authentications_pending = 0 ",
    ),
    (|c| c.idle_timeout = Duration::ZERO, "idle_timeout = 0s "),
    (|c| c.ping_interval = Duration::ZERO, "ping_interval = 0s "),
    (
        |c| c.max_idle_frames_per_second = 0,
        "max_idle_frames_per_second = 0 ",
    ),
    (|c| c.max_unprocessed = 0, "max_unprocessed = 0 "),
    (|c| c.max_unsent = 0, "max_unsent = 0 "),
    (|c| c.write_timeout = Duration::ZERO, "write_timeout = 0s "),
    (|c| c.close_timeout = Duration::ZERO, "close_timeout = 0s "),
    (|c| c.max_envelope = 0, "max_envelope = 0 "),
    (|c| c.max_node_bytes = 0, "max_node_bytes = 0 "),
    (|c| c.max_user_bytes = 0, "max_user_bytes = 0 "),
    (
        |c| c.max_bytes_before_hello = 0,
        "max_bytes_before_hello = 0 ",
    ),
    (
        |c| c.max_sessions_per_user = 0,
        "max_sessions_per_user = 0 ",
    ),
    (|c| c.max_topic_length = 0, "max_topic_length = 0 "),
    (|c| c.max_handlers = 0, "max_handlers = 0 "),
    (
        |c| c.max_handlers_per_user = 0,
        "max_handlers_per_user = 0 ",
    ),
    (|c| c.max_inbox = 0, "max_inbox = 0 "),
    (|c| c.max_inbox_bytes = 0, "max_inbox_bytes = 0 "),
    (|c| c.max_held = 0, "max_held = 0 "),
    (
        |c| c.max_held_subscriptions = 0,
        "max_held_subscriptions = 0 ",
    ),
    (
        |c| c.max_received_while_held = 0,
        "max_received_while_held = 0 ",
    ),
    (|c| c.round = 0, "round = 0 "),
    (|c| c.window = 0, "window = 0 "),
    (|c| c.window_bytes = 0, "window_bytes = 0 "),
    (
        |c| c.acknowledge_timeout = Duration::ZERO,
        "acknowledge_timeout = 0s ",
    ),
    (
        |c| c.transaction_limit = Duration::ZERO,
        "transaction_limit = 0s ",
    ),
    (|c| c.service_attempts = 0, "service_attempts = 0 "),
    (
        |c| c.service_backoff = Duration::ZERO,
        "service_backoff = 0s ",
    ),
    (
        |c| c.max_running_per_service = 0,
        "max_running_per_service = 0 ",
    ),
    (
        |c| c.max_bytes_per_service = 0,
        "max_bytes_per_service = 0 ",
    ),
    (
        |c| c.service_time_limit = Duration::ZERO,
        "service_time_limit = 0s ",
    ),
    (
        |c| c.request_timeout = Duration::ZERO,
        "request_timeout = 0s ",
    ),
    (|c| c.lease = Duration::ZERO, "lease = 0s "),
    (
        |c| c.lease_interval = Duration::ZERO,
        "lease_interval = 0s ",
    ),
    (
        |c| c.sweep_interval = Duration::ZERO,
        "sweep_interval = 0s ",
    ),
    (
        |c| c.takeover_interval = Duration::ZERO,
        "takeover_interval = 0s ",
    ),
    (
        |c| c.liveliness_interval = Duration::ZERO,
        "liveliness_interval = 0s ",
    ),
    (
        |c| c.timeout_interval = Duration::ZERO,
        "timeout_interval = 0s ",
    ),
    (
        |c| c.session_timeout = Duration::ZERO,
        "session_timeout = 0s ",
    ),
    (
        |c| c.scavenge_interval = Duration::ZERO,
        "scavenge_interval = 0s ",
    ),
    (
        |c| c.dead_letter_age = Duration::ZERO,
        "dead_letter_age = 0s ",
    ),
    (|c| c.idempotency = Duration::ZERO, "idempotency = 0s "),
    (|c| c.store.batch = 0, "store.batch = 0 "),
    (|c| c.store.queue = 0, "store.queue = 0 "),
    (|c| c.store.queue_per_user = 0, "store.queue_per_user = 0 "),
    (|c| c.store.writers = 0, "store.writers = 0 "),
    (|c| c.store.handlers = 0, "store.handlers = 0 "),
    (|c| c.store.readers = 0, "store.readers = 0 "),
    (
        |c| c.store.busy_timeout = Duration::ZERO,
        "store.busy_timeout = 0s ",
    ),
    (|c| c.store.max_outbox = 0, "store.max_outbox = 0 "),
    (
        |c| c.store.max_forwarded_per_session = 0,
        "store.max_forwarded_per_session = 0 ",
    ),
    (
        |c| c.store.max_forwarded_per_user = 0,
        "store.max_forwarded_per_user = 0 ",
    ),
    (
        |c| c.store.max_forwarded_bytes_per_user = 0,
        "store.max_forwarded_bytes_per_user = 0 ",
    ),
    (
        |c| c.store.max_outbox_bytes = 0,
        "store.max_outbox_bytes = 0 ",
    ),
    (
        |c| c.store.max_outbox_bytes_per_user = 0,
        "store.max_outbox_bytes_per_user = 0 ",
    ),
];

const ABSURD: &[Bad] = &[
    (
        |c| c.service_longest_backoff = SECOND / 2,
        "service_backoff = 1s ",
        "service_longest_backoff",
    ),
    (
        |c| c.hello_timeout = Duration::from_micros(900),
        "hello_timeout = 900µs ",
        "at least 1ms",
    ),
    (
        |c| c.max_message_before_hello = 100,
        "max_message_before_hello = 100 ",
        "at least 1024",
    ),
    (
        |c| c.ack_delay = 60 * SECOND,
        "ack_delay = 60s ",
        "at most 10s",
    ),
    (
        |c| c.resolve_delay = 60 * SECOND,
        "resolve_delay = 60s ",
        "at most 10s",
    ),
    (
        |c| c.lazy_ack_delay = 60 * SECOND,
        "lazy_ack_delay = 60s ",
        "at most 10s",
    ),
    (
        |c| c.ack2_delay = 60 * SECOND,
        "ack2_delay = 60s ",
        "at most 10s",
    ),
    (
        |c| c.store.writers = 5_000,
        "store.writers = 5000 ",
        "at most 1000",
    ),
    (
        |c| c.store.handlers = 5_000,
        "store.handlers = 5000 ",
        "at most 1000",
    ),
    (
        |c| c.store.readers = 5_000,
        "store.readers = 5000 ",
        "at most 1000",
    ),
];

/// For mistakes about two fields, the text says which one to lower and which one to raise.
const CONTRADICTIONS: &[Bad] = &[
    (
        |c| c.lease = c.lease_interval,
        "lease_interval = 5s ",
        "half of lease = 5s",
    ),
    (
        |c| c.lease_interval = 8 * SECOND,
        "lease_interval = 8s ",
        "half of lease = 15s",
    ),
    (
        |c| c.ping_interval = c.idle_timeout,
        "ping_interval = 75s ",
        "than idle_timeout = 75s",
    ),
    (
        |c| c.session_timeout = 60 * SECOND,
        "liveliness_interval = 54s ",
        "half of session_timeout = 60s",
    ),
    (
        |c| c.max_message = 10_000,
        "max_message_before_hello = 524288 ",
        "than max_message = 10000",
    ),
    (
        |c| c.max_message = c.max_user_bytes + 1,
        "max_message = 134217729 ",
        "than max_user_bytes = 134217728",
    ),
    (
        |c| c.max_bytes_before_hello = 500_000,
        "max_message_before_hello = 524288 ",
        "than max_bytes_before_hello = 500000",
    ),
    (
        |c| c.max_unprocessed = c.max_node_bytes + 1,
        "max_unprocessed = 536870913 ",
        "than max_node_bytes = 536870912",
    ),
    (
        |c| c.max_unsent = c.max_node_bytes + 1,
        "max_unsent = 536870913 ",
        "than max_node_bytes = 536870912",
    ),
    (
        |c| c.max_held_bytes = c.max_node_bytes + 1,
        "max_held_bytes = 536870913 ",
        "than max_node_bytes = 536870912",
    ),
    (
        |c| c.window_bytes = c.max_node_bytes + 1,
        "window_bytes = 536870913 ",
        "than max_node_bytes = 536870912",
    ),
    (
        |c| c.acknowledge_timeout = 9 * SECOND,
        "redelivery_evidence = 10s ",
        "than acknowledge_timeout = 9s",
    ),
    (
        |c| c.max_held = 501,
        "max_held = 501 ",
        "than max_received_while_held = 500",
    ),
    (
        |c| c.max_topics = 3_001,
        "max_topics = 3001 ",
        "than max_held_subscriptions = 3000",
    ),
];

fn mistakes(change: impl FnOnce(&mut Config)) -> Vec<ConfigMistake> {
    let mut config = Config::default();
    change(&mut config);
    config.check().err().unwrap_or_default()
}

#[test]
fn the_defaults_are_in_order() {
    assert_eq!(Config::default().check(), Ok(()));
}

#[test]
fn zero_is_refused_where_it_has_no_meaning() {
    for (change, named) in ZEROS {
        let [mistake] = &mistakes(change)[..] else {
            panic!("{named}: {:?}", mistakes(change));
        };
        let text = mistake.to_string();
        assert!(text.starts_with(named), "{named}: {text}");
        assert!(text.contains("must be at least"), "{named}: {text}");
        assert!(named.starts_with(mistake.fields[0]), "{mistake:?}");
    }
}

#[test]
fn absurd_and_contradictory_values_are_refused_with_the_name_the_value_and_the_remedy() {
    for (change, named, remedy) in ABSURD.iter().chain(CONTRADICTIONS) {
        let [mistake] = &mistakes(change)[..] else {
            panic!("{named}: {:?}", mistakes(change));
        };
        let text = mistake.to_string();
        assert!(text.starts_with(named), "{named}: {text}");
        assert!(text.contains(remedy), "{remedy}: {text}");
        if let [small, large] = mistake.fields[..] {
            let remedy = format!(": lower {small}, or raise {large}");
            assert!(text.ends_with(&remedy), "{text}");
        }
    }
}

#[test]
fn zero_stays_where_it_has_a_meaning() {
    let told = mistakes(|c| {
        for time in [
            &mut c.close_session_grace,
            &mut c.outgoing_check_interval,
            &mut c.topic_check_interval,
            &mut c.redelivery_evidence,
            &mut c.ack_delay,
            &mut c.resolve_delay,
            &mut c.lazy_ack_delay,
            &mut c.ack2_delay,
            &mut c.takeover_wait,
            &mut c.store_away_delay,
            &mut c.topic_history,
            &mut c.stop_delay,
            &mut c.stop_grace,
            &mut c.stop_spread,
            &mut c.store.queue_wait,
        ] {
            *time = Duration::ZERO;
        }
        (c.max_topics, c.max_held_bytes, c.recent_envelopes) = (0, 0, 0);
        (c.max_refused_authorizations, c.max_redeliveries) = (0, 0);
        c.max_topic_history = 0;
    });
    assert_eq!(told, []);
}

#[test]
fn what_is_never_to_happen_may_take_as_long_as_can_be() {
    let told = mistakes(|c| {
        c.scavenge_interval = Duration::MAX;
        c.session_timeout = Duration::MAX;
        c.idle_timeout = Duration::MAX;
        c.lease = Duration::MAX;
    });
    assert_eq!(told, []);
}

#[test]
fn all_mistakes_are_found_at_once() {
    let found = mistakes(|c| {
        c.window = 0;
        c.lease = Duration::from_secs(3);
        c.store.batch = 0;
    });
    let fields: Vec<_> = found.iter().map(|mistake| &mistake.fields[..]).collect();
    assert_eq!(
        fields,
        [
            &["window"][..],
            &["lease_interval", "lease"],
            &["store.batch"]
        ]
    );
}
