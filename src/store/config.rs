//! What bounds a store.

use std::time::Duration;

/// Limits of the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreConfig {
    /// Most operations in one transaction. Default 500.
    pub batch: usize,
    /// Most operations waiting for the store, those of all its nodes; beyond that, callers wait. Default 10,000.
    pub queue: usize,
    /// Of these, most operations of one user. Default 2,000.
    pub queue_per_user: usize,
    /// Longest that a caller waits for room in the queue. Zero: not at all. Default 5 s.
    pub queue_wait: Duration,
    /// Threads that write messages, each with a connection of its own, beside one for leases and one for maintenance
    /// (PostgreSQL; SQLite has one thread in all). Default 2.
    pub writers: usize,
    /// Transactional handlers that run at a time, each with a thread and a connection of its own, opened when it is first
    /// needed (PostgreSQL; with SQLite they run on its one thread, one after the other). Default 4.
    pub handlers: usize,
    /// Threads that read beside those that write (not with SQLite in memory). Default 2.
    pub readers: usize,
    /// How long the database waits for a lock. Default 5 s.
    pub busy_timeout: Duration,
    /// How long the database may take to answer a statement, before the connection is given up and another one is opened;
    /// never less than a second more than `busy_timeout`. (PostgreSQL; parts of maintenance have longer.) Default 10 s.
    pub answer_timeout: Duration,
    /// Most messages stored in one session's outbox. Default 10,000.
    pub max_outbox: u32,
    /// Most messages of one session that wait for services or are in work there, on whatever node; beyond that what the
    /// client sends gets RETRY. What services forward is not refused. Default 2,000.
    pub max_forwarded_per_session: u32,
    /// As [`max_forwarded_per_session`](Self::max_forwarded_per_session), of one user. Each connection of a node that
    /// writes counts for itself, seldom, and may exceed these limits by an eighth. Default 5,000.
    pub max_forwarded_per_user: u32,
    /// As [`max_forwarded_per_user`](Self::max_forwarded_per_user), in bytes (one message is always taken).
    /// Default 256 MiB.
    pub max_forwarded_bytes_per_user: u64,
    /// Most payload bytes of them. One message is always taken. Default 64 MiB.
    pub max_outbox_bytes: usize,
    /// Most payload bytes stored in the outboxes of all sessions of one user. It is looked at now and then, not for each
    /// message: each of his sessions may bring 1/256 of it more, and so may each connection that writes 1/16 of what room
    /// it found. Default 256 MiB.
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
            max_forwarded_per_session: 2_000,
            max_forwarded_per_user: 5_000,
            max_forwarded_bytes_per_user: 256 << 20,
            max_outbox_bytes: 64 * MIB,
            max_outbox_bytes_per_user: 256 * MIB,
        }
    }
}
