//! Configuration of a store: limits and timeouts.

use std::time::Duration;

/// Limits of the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreConfig {
    /// Maximum number of operations in one transaction. Default 500.
    pub batch: usize,
    /// Maximum number of operations waiting for the store, across all its nodes in this process. Beyond that, callers
    /// wait. Default 10,000.
    pub queue: usize,
    /// How many of these may belong to one user. Default 2,000.
    pub queue_per_user: usize,
    /// How long a caller waits at most for room in the queue. Zero: not at all. Default 5 s.
    pub queue_wait: Duration,
    /// Threads that write messages, each with its own connection, in addition to one for leases and one for maintenance
    /// (PostgreSQL only; SQLite uses a single writing thread). Default 2.
    pub writers: usize,
    /// Transactional handlers that may run at the same time, each with its own thread and a connection that is opened
    /// when first needed (PostgreSQL only; with SQLite they run on its one writing thread, one after the other).
    /// Default 4.
    pub handlers: usize,
    /// Threads that read, in addition to those that write (not with SQLite in memory). Default 2.
    pub readers: usize,
    /// How long the database waits for a lock. Default 5 s.
    pub busy_timeout: Duration,
    /// How long the database may take to answer a statement before the connection is abandoned and a new one opened;
    /// always at least one second more than `busy_timeout`. (PostgreSQL only; parts of maintenance are given longer.)
    /// Default 10 s.
    pub answer_timeout: Duration,
    /// Maximum number of messages stored in one session's outbox. Default 10,000.
    pub max_outbox: u32,
    /// Maximum number of keys of which one topic has [last values](crate::Topic::last_value_of). Default 1,000.
    pub max_values_per_topic: u32,
    /// Maximum number of messages [kept](crate::UserRecipient::keep_for) for one user who has no session.
    /// Default 1,000.
    pub max_kept_per_user: u32,
    /// Maximum payload bytes of those. One message is always accepted. Default 4 MiB.
    pub max_kept_bytes_per_user: usize,
    /// Maximum number of messages of one session that wait for services or are being processed by them, on any node.
    /// Beyond that, what the client sends is answered with RETRY. What services forward is never refused. Default
    /// 2,000.
    pub max_forwarded_per_session: u32,
    /// Like [`max_forwarded_per_session`](Self::max_forwarded_per_session), but for one user. Every writing connection
    /// of a node counts for itself and only occasionally, so each may exceed this limit by an eighth. Default 5,000.
    pub max_forwarded_per_user: u32,
    /// Like [`max_forwarded_per_user`](Self::max_forwarded_per_user), but in bytes (one message is always accepted).
    /// Default 256 MiB.
    pub max_forwarded_bytes_per_user: u64,
    /// Maximum payload bytes stored in one session's outbox. One message is always accepted. Default 64 MiB.
    pub max_outbox_bytes: usize,
    /// Maximum payload bytes stored in the outboxes of all sessions of one user. This is checked periodically, not for
    /// every message: each of the user's sessions may exceed it by 1/256, and each writing connection by 1/16 of the
    /// room that it found. Default 256 MiB.
    pub max_outbox_bytes_per_user: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        StoreConfig {
            batch: 500,
            queue: 10_000,
            queue_per_user: 2_000,
            queue_wait: Duration::from_secs(5),
            writers: 2,
            handlers: 4,
            readers: 2,
            busy_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            max_outbox: 10_000,
            max_values_per_topic: 1_000,
            max_kept_per_user: 1_000,
            max_kept_bytes_per_user: 4 * MIB,
            max_forwarded_per_session: 2_000,
            max_forwarded_per_user: 5_000,
            max_forwarded_bytes_per_user: 256 << 20,
            max_outbox_bytes: 64 * MIB,
            max_outbox_bytes_per_user: 256 * MIB,
        }
    }
}
