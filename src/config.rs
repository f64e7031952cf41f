//! Every limit and interval of the server, in one place.

mod check;

use std::time::Duration;

use crate::store::StoreConfig;

pub use check::ConfigMistake;

/// Limits and intervals. The defaults are the protocol's.
///
/// Start from the default and assign the fields that should differ; fields may be added in any version. A server
/// refuses to start with values that make no sense ([`check`](Config::check)): zero, unless the field documents what
/// zero means, or two values that contradict each other.
///
/// ```
/// use std::time::Duration;
/// use matssocket::{Config, MatsSocketServer};
///
/// let mut config = Config::default();
/// config.max_sessions_per_user = 10;
/// config.store.queue_wait = Duration::from_secs(1);
/// let builder = MatsSocketServer::builder("shop").config(config);
/// # drop(builder);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Largest WebSocket message before HELLO, in bytes: HELLO, with all its SUBs. Default 512 KiB.
    pub max_message_before_hello: usize,
    /// Largest WebSocket message after HELLO, in bytes; beyond that the connection is closed with 1009 (session kept).
    /// A client sends everything it queued while disconnected as one message. Default 50 MiB.
    pub max_message: usize,
    /// Largest envelope of a message, in bytes; beyond that the connection is closed with 4004. Default 4 MiB.
    pub max_envelope: usize,
    /// Bytes per second at which a message must arrive on average until it is complete. Slower connections are closed
    /// with 4002 (session kept), before HELLO with 1008. Time during which the server is not reading does not count.
    /// Zero: no minimum. Default 4 KiB.
    pub min_receive_rate: usize,
    /// Time after which the rate of a message is checked. Default 10 s.
    pub receive_grace: Duration,
    /// How long a partly received message may wait for memory for its next fragment before its connection is closed with
    /// 4002 (session kept). Without this limit, connections that each hold a part could wait for each other. Default 5 s.
    pub max_fragment_wait: Duration,
    /// Time after the upgrade within which HELLO must arrive. Default 5 s.
    pub hello_timeout: Duration,
    /// Most connections of a node that have not completed HELLO; beyond that upgrades get 503. Default 5,000.
    pub max_connections_before_hello: usize,
    /// Most connections that have not completed HELLO from one client address (for IPv6, one /64 network). It applies
    /// only where [trusted proxies](crate::ServerBuilder::trusted_proxies) are configured, even if the list is empty:
    /// otherwise the address may be that of a proxy. Default 100.
    pub max_connections_before_hello_per_address: usize,
    /// Time limit of each call of the authentication plugin, including its handshake. Default 30 s.
    pub authentication_timeout: Duration,
    /// Most handshakes and first authentications in progress at a time, per node; beyond that upgrades get 503.
    /// Default 1,000.
    pub max_authentications_pending: usize,
    /// Time without incoming data after which a connection is closed (session kept). Default 75 s.
    pub idle_timeout: Duration,
    /// Interval of WebSocket pings to the client. Default 25 s.
    pub ping_interval: Duration,
    /// Most control and empty frames within one second. Default 200.
    pub max_idle_frames_per_second: u32,
    /// Received bytes not yet processed at which reading pauses, per connection. Default 1 MiB.
    pub max_unprocessed: usize,
    /// Bytes written but not yet taken by the client at which sending pauses, per connection. Default 1 MiB.
    pub max_unsent: usize,
    /// Time after which a connection is dropped if its client reads nothing although bytes are waiting for it (session
    /// kept). Default 30 s.
    pub write_timeout: Duration,
    /// How long to wait for the client's Close after the server's. Default 3 s.
    pub close_timeout: Duration,
    /// Bytes that all connections of a node may hold together: half for incoming data, counted from when a frame announces
    /// it until it is processed, half for outgoing data. Beyond that, incoming data is not read for now and outgoing
    /// messages stay in the store. Up to 64 KiB per connection and direction are always allowed, so very many connections
    /// may hold more. Default 512 MiB.
    pub max_node_bytes: usize,
    /// How much of [`max_node_bytes`](Self::max_node_bytes) the connections of one user may hold, in each direction;
    /// never more than the incoming half of all connections. A larger message closes its connection with 1009; a
    /// fragmented one, if it exceeds half of this. Default 128 MiB.
    pub max_user_bytes: usize,
    /// How much of [`max_node_bytes`](Self::max_node_bytes) connections may hold for incoming data before they have
    /// completed HELLO; at most a quarter of it. Default 64 MiB.
    pub max_bytes_before_hello: usize,

    /// Most sessions of one user. Default 75.
    pub max_sessions_per_user: u32,
    /// Whether `POST <path>/close_session` is served. Default true.
    pub close_session_out_of_band: bool,
    /// How long after `POST <path>/close_session` the session is closed, unless its client comes back first. Zero:
    /// immediately. Default 30 s.
    pub close_session_grace: Duration,
    /// Most topics that one session may subscribe to. Zero: none. Default 1,500.
    pub max_topics: usize,
    /// Longest topic id, in characters. Default 256.
    pub max_topic_length: usize,
    /// Most handlers running at a time for one session; beyond that messages get RETRY. Default 1,000.
    pub max_handlers: usize,
    /// Most handlers running at a time for all sessions of one user on a node; beyond that messages get RETRY. From
    /// half of this on, reading from the user's connections pauses until a good part of the handlers has ended, or for
    /// a second at a time. Default 2,000.
    pub max_handlers_per_user: usize,
    /// Largest payload, in bytes, that the built-in pings (`MatsSocket.matsPing` and `MatsSocket.matsSocketPing`) accept;
    /// beyond that they get NACK. Default 4 KiB.
    pub max_ping_payload: usize,
    /// Most rows in one session's inbox; beyond that messages get RETRY. Default 10,000.
    pub max_inbox: usize,
    /// Most bytes of answers in one session's inbox, where they stay until the client acknowledges them (ACK2); beyond that
    /// messages get RETRY. The answers of handlers that already run come on top. All sessions of one user may have
    /// [`max_sessions_per_user`](Self::max_sessions_per_user) times as many. Default 16 MiB.
    pub max_inbox_bytes: usize,
    /// Most information-bearing messages held while authorization is awaited; beyond that RETRY. Default 100.
    pub max_held: usize,
    /// Most payload bytes held while authorization is awaited; one message is always held, even with zero. Default 20 MiB.
    pub max_held_bytes: usize,
    /// Most SUB and UNSUB held while authorization is awaited; beyond that close 1008. Default 3,000.
    pub max_held_subscriptions: usize,
    /// Most information-bearing messages received while authorization is awaited; beyond that close 1008. Default 500.
    pub max_received_while_held: usize,
    /// Most refused authorization values of one connection, of which one is forgotten each minute; beyond that close 1008.
    /// Zero: the first refusal closes. Default 10.
    pub max_refused_authorizations: u32,
    /// How long an answer of the authenticator is relied on when publications are delivered
    /// ([`Authenticator::reevaluate_outgoing`](crate::Authenticator::reevaluate_outgoing)) and when requests are answered.
    /// Zero: it is asked each time. Default 1 s.
    pub outgoing_check_interval: Duration,
    /// How often the authenticator is asked again whether subscribed topics are still allowed. Zero: never. Default 5
    /// min.
    pub topic_check_interval: Duration,
    /// Least time between two WebSocket pings by which a session finds out which publications its client has received. What
    /// was published in this time may be repeated when the client comes back. Default 5 s.
    pub position_interval: Duration,
    /// Whether a connection may be authenticated again as another user. A session can still be resumed only by the user who
    /// opened it, and it stays that user's: what is sent to all sessions of a user, and presence, go by who opened it.
    /// Default false.
    pub allow_user_change: bool,

    /// Messages per WebSocket message. Default 20.
    pub round: usize,
    /// Most messages sent and not acknowledged, per session. Default 200.
    pub window: usize,
    /// Most payload bytes sent and not acknowledged, per session (one message is always sent). Default 1 MiB.
    pub window_bytes: usize,
    /// Time after which a connection is closed with 4002 (session kept) if its client has received everything but
    /// acknowledged nothing although messages are in flight. If the client sent anything in the meantime, that counts
    /// as a delivery without acknowledgement. Clients acknowledge on receipt, not after their users or handlers have
    /// acted, so a working client never comes near this limit. While bytes wait to go out, as on a slow network, only
    /// `write_timeout` applies. It should be long enough for what network buffers hold (a few MiB) to reach a slow
    /// client. Default 2 min.
    pub acknowledge_timeout: Duration,
    /// Counted redeliveries after which a message becomes a dead letter. Zero: the first counted redelivery makes it
    /// one. Default 10.
    pub max_redeliveries: u32,
    /// A message counts as received but not acknowledged if the client sent something at least this long after the message
    /// went out. Zero: whenever it sent anything afterwards. Default 10 s.
    pub redelivery_evidence: Duration,
    /// How long the ACK of a SEND, a NACK or a REJECT may wait to be batched. Zero, here and for the next three: it is
    /// sent immediately. Default 4 ms.
    pub ack_delay: Duration,
    /// How long a RESOLVE may wait to be batched. Default 2 ms.
    pub resolve_delay: Duration,
    /// How long the ACK of a REQUEST or of a reply may wait for its RESOLVE or to be batched. Default 100 ms.
    pub lazy_ack_delay: Duration,
    /// How long an ACK2 may wait to be batched. Default 25 ms.
    pub ack2_delay: Duration,
    /// How long HELLO waits for another node to release the session. Zero: not at all. Default 250 ms.
    pub takeover_wait: Duration,
    /// How long a connection stays open while the store is unavailable, before it is closed with 1012. Zero: it is closed
    /// immediately. Default 2 s.
    pub store_away_delay: Duration,
    /// Recent envelopes kept per session for introspection. Zero: none. Default 200.
    pub recent_envelopes: usize,

    /// Time limit of a transactional handler: one that took longer is rolled back, and its message gets a NACK. It cannot be
    /// interrupted; with SQLite nothing else is written while it runs. Default 2 s.
    pub transaction_limit: Duration,
    /// Attempts of a service before a forwarded message is rejected or becomes a dead letter, unless its
    /// [options](crate::ServiceOptions::attempts) say otherwise. Default 15: with the other defaults, about 7 minutes.
    pub service_attempts: u32,
    /// Back-off before a service's second attempt, which doubles before each further one, unless its
    /// [options](crate::ServiceOptions::backoff) say otherwise. It is shortened by up to half at random. Default 1 s.
    pub service_backoff: Duration,
    /// Longest back-off between attempts of a service, unless its [options](crate::ServiceOptions::backoff) say otherwise.
    /// Default 1 min.
    pub service_longest_backoff: Duration,
    /// Most forwarded messages of one service in progress at a time, per node, unless its
    /// [options](crate::ServiceOptions::max_running) say otherwise. Default 100.
    pub max_running_per_service: usize,
    /// Most forwarded messages that wait in memory for one service, per node; beyond that they wait in the store, for any
    /// node. Default 400.
    pub max_waiting_per_service: usize,
    /// Most bytes of one service's forwarded messages in progress and waiting in memory, per node (one message is
    /// always allowed). Default 32 MiB.
    pub max_bytes_per_service: usize,
    /// Time limit of a service's attempt, unless its [options](crate::ServiceOptions::time_limit) say otherwise, and of a
    /// reply adapter. An attempt that takes longer is dropped and counts as failed. `Duration::MAX`: no limit.
    /// Default 5 min.
    pub service_time_limit: Duration,
    /// Timeout of a server request, unless the request [has its own](crate::ReplyTo::timeout). Default 90 s.
    pub request_timeout: Duration,

    /// How long a node's lease lasts. Default 15 s.
    pub lease: Duration,
    /// Interval at which the lease is renewed. Default 5 s.
    pub lease_interval: Duration,
    /// Interval of the sweep, which makes up for lost notices between nodes. Default 5 s.
    pub sweep_interval: Duration,
    /// How often a node looks for forwarded messages to take over, for requests that have timed out, and for messages whose
    /// [time to live](crate::Destination::time_to_live) is over. Default 1 s.
    pub takeover_interval: Duration,
    /// How often a node records that the sessions it holds are alive (plus 0–10 %). Default 54 s.
    pub liveliness_interval: Duration,
    /// How often a node looks for sessions that have timed out. Default 5 min.
    pub timeout_interval: Duration,
    /// Time after which a session times out if it was not recorded as alive. Default 3 days.
    pub session_timeout: Duration,
    /// Interval of scavenging. Default 90 min.
    pub scavenge_interval: Duration,
    /// How long published messages are kept for clients that reconnect. Zero: until the next scavenging. Default 1 h.
    pub topic_history: Duration,
    /// Most messages repeated to a client that resumes a topic after a reconnect; beyond that it gets SUB_LOST. Zero:
    /// none are repeated. Default 1,000.
    pub max_topic_history: u32,
    /// How long all sessions of a user may be away before the user is said to have left, if
    /// [presence](crate::ServerBuilder::presence_topic) is switched on: a client that reconnects within this time neither
    /// leaves nor joins. Zero: the user leaves at once. It must be the same on all nodes. Default 10 s.
    pub presence_grace: Duration,
    /// How often a node publishes who has joined and left, with all that has happened since. Default 1 s.
    pub presence_interval: Duration,
    /// How often all users are compared with all sessions, by one node of the cluster. It makes up for what no node has
    /// noted, such as sessions on nodes of an earlier version, or where presence is not switched on. (When a node has
    /// died, that is done at once.) Default 1 min.
    pub presence_review_interval: Duration,
    /// How long dead letters are kept unless they are redriven or dropped first. Default 30 days.
    pub dead_letter_age: Duration,
    /// Most dead letters kept, of all sessions and services; the oldest go first. Default 100,000.
    pub max_dead_letters: usize,
    /// Most payload bytes of dead letters kept; the oldest go first. Default 1 GiB.
    pub max_dead_letter_bytes: usize,
    /// How long idempotency keys are remembered. Default 1 day.
    pub idempotency: Duration,

    /// How long a server that is told to stop by SIGINT or SIGTERM goes on serving everybody, while
    /// [`ready`](crate::MatsSocketServer::ready) already says that it is stopping: time for a load balancer to send new clients
    /// elsewhere. A second signal ends it. Zero: it stops at once. Default 0 s.
    pub stop_delay: Duration,
    /// How long a stopping server waits for running handlers. Zero: not at all. Default 10 s.
    pub stop_grace: Duration,
    /// Time over which a stopping server spreads the closing of its connections. Zero: all at once. Default 1 s.
    pub stop_spread: Duration,
    /// Tell clients the text of every handler error and its sources, not only of errors made by
    /// [`HandlerError::public`](crate::HandlerError::public). For development. Default false.
    pub reveal_errors: bool,

    /// The store's limits.
    pub store: StoreConfig,
}

impl Default for Config {
    fn default() -> Self {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        let (ms, secs) = (Duration::from_millis, Duration::from_secs);
        Config {
            max_message_before_hello: 512 * KIB,
            max_message: 50 * MIB,
            max_envelope: 4 * MIB,
            min_receive_rate: 4 * KIB,
            receive_grace: secs(10),
            max_fragment_wait: secs(5),
            hello_timeout: secs(5),
            max_connections_before_hello: 5_000,
            max_connections_before_hello_per_address: 100,
            authentication_timeout: secs(30),
            max_authentications_pending: 1_000,
            idle_timeout: secs(75),
            ping_interval: secs(25),
            max_idle_frames_per_second: 200,
            max_unprocessed: MIB,
            max_unsent: MIB,
            write_timeout: secs(30),
            close_timeout: secs(3),
            max_node_bytes: 512 * MIB,
            max_user_bytes: 128 * MIB,
            max_bytes_before_hello: 64 * MIB,
            max_sessions_per_user: 75,
            close_session_out_of_band: true,
            close_session_grace: secs(30),
            max_topics: 1_500,
            max_topic_length: 256,
            max_handlers: 1_000,
            max_handlers_per_user: 2_000,
            max_ping_payload: 4 * KIB,
            max_inbox: 10_000,
            max_inbox_bytes: 16 * MIB,
            max_held: 100,
            max_held_bytes: 20 * MIB,
            max_held_subscriptions: 3_000,
            max_received_while_held: 500,
            max_refused_authorizations: 10,
            outgoing_check_interval: secs(1),
            topic_check_interval: secs(5 * 60),
            position_interval: secs(5),
            allow_user_change: false,
            round: 20,
            window: 200,
            window_bytes: MIB,
            acknowledge_timeout: secs(2 * 60),
            max_redeliveries: 10,
            redelivery_evidence: secs(10),
            ack_delay: ms(4),
            resolve_delay: ms(2),
            lazy_ack_delay: ms(100),
            ack2_delay: ms(25),
            takeover_wait: ms(250),
            store_away_delay: secs(2),
            recent_envelopes: 200,
            transaction_limit: secs(2),
            service_attempts: 15,
            service_backoff: secs(1),
            service_longest_backoff: secs(60),
            max_running_per_service: 100,
            max_waiting_per_service: 400,
            max_bytes_per_service: 32 * MIB,
            service_time_limit: secs(5 * 60),
            request_timeout: secs(90),
            lease: secs(15),
            lease_interval: secs(5),
            sweep_interval: secs(5),
            takeover_interval: secs(1),
            liveliness_interval: secs(54),
            timeout_interval: secs(5 * 60),
            session_timeout: secs(3 * 24 * 3600),
            scavenge_interval: secs(90 * 60),
            topic_history: secs(3600),
            max_topic_history: 1_000,
            presence_grace: secs(10),
            presence_interval: secs(1),
            presence_review_interval: secs(60),
            dead_letter_age: secs(30 * 24 * 3600),
            max_dead_letters: 100_000,
            max_dead_letter_bytes: 1024 * MIB,
            idempotency: secs(24 * 3600),
            stop_delay: Duration::ZERO,
            stop_grace: secs(10),
            stop_spread: secs(1),
            reveal_errors: false,
            store: StoreConfig::default(),
        }
    }
}
