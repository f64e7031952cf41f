//! What each task of maintenance does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Task, ended, presence};
use crate::events::{SessionChange, SessionEvent};
use crate::logging;
use crate::mailbox::Mailbox;
use crate::node::{LeaseClock, Node};
use crate::registry::{BeginSweep, Closed, ComeBack, EndSweep, Holders, NotSwept, Positions};
use crate::service;
use crate::store::StoreError;
use crate::store::operation::{
    CloseDue, DeadLettersBeyond, ExpireKept, ExpireMessages, Liveliness, MendTimes, NotePositions,
    RenewLease, Rotate, Rotated, Scavenge, ScavengeDeadLetters, ScavengeFrom, Sweep,
    TimeOutSessions, WhichExist,
};

/// Dead letters deleted at a time: they may be large.
const DEAD_LETTERS: u32 = 2_000;
/// Sessions closed at a time.
const PART: u32 = 200;

/// Size of a table, in bytes, beyond which it gets no more young rows. The tables in use at a time fit into the
/// database's memory.
const LARGE_SEGMENT: u64 = 8 << 20;
/// How long to wait before trying a table again that is in use.
const HELD: Duration = Duration::from_millis(5);

/// How long a message that was sent just before it expired may still be acknowledged.
const EXPIRY_GRACE: Duration = Duration::from_secs(10);

/// Sessions whose positions are stored by one operation.
const POSITIONS_AT_A_TIME: usize = 1_000;

pub(super) async fn run(
    task: Task,
    node: &Arc<Node>,
    services: &Mailbox<service::Claim>,
) -> Result<(), StoreError> {
    match task {
        Task::Lease => lease(node).await,
        Task::Sweep => sweep(node).await,
        Task::Takeover => {
            services.tell(service::Claim);
            Ok(())
        }
        Task::EndedRequests => ended::requests(node).await,
        Task::ExpiredMessages => expire_messages(node).await,
        Task::Liveliness => liveliness(node).await,
        Task::Timeout => time_out(node).await,
        Task::Scavenge => scavenge(node).await,
        Task::Rotate => rotate(node).await,
        Task::Presence => presence::keep_up(node).await,
    }
}

async fn lease(node: &Node) -> Result<(), StoreError> {
    // A stopping node keeps its lease, so that no other node takes over running work.
    if node.stopped() {
        return Ok(());
    }
    let asked = LeaseClock::now(&node.store);
    let renew = node.store.run(RenewLease {
        join: false,
        lease: node.config.lease,
    });
    let renewed = tokio::select! {
        renewed = renew => renewed,
        () = asked.sleep(&node.store, node.config.lease) => Err(StoreError::Failed(format!(
            "the lease could not be renewed within {:?}",
            node.config.lease
        ))),
    };
    match renewed {
        Ok(true) => {
            node.renewed(asked);
            node.come_back();
            node.publish_services().await
        }
        Ok(false) if node.stopping() => Ok(()),
        Ok(false) => node.come_back_as_new().await,
        Err(error) => {
            node.go_away(asked.elapsed(&node.store)).await;
            Err(error)
        }
    }
}

async fn sweep(node: &Node) -> Result<(), StoreError> {
    let Some(before) = node.registry().ask(BeginSweep).await else {
        return Ok(());
    };
    let swept = node.store.run(Sweep).await?;
    let is_close_due = swept.close_due;
    let Some(holders) = node.registry().ask(EndSweep { before, swept }).await else {
        return Ok(());
    };
    if !holders.is_empty() {
        let sessions = holders.iter().map(|holder| holder.session).collect();
        let existing = node
            .store
            .run(WhichExist { sessions })
            .await?
            .into_iter()
            .collect();
        node.registry().tell(NotSwept { holders, existing });
    }
    // Last, so that a failure affects nothing else.
    if is_close_due {
        close_due(node).await?;
    }
    node.note_unserved().await
}

async fn liveliness(node: &Node) -> Result<(), StoreError> {
    match node.registry().ask(Holders).await {
        Some(holders) if !holders.is_empty() => node.store.run(Liveliness { holders }).await?,
        Some(_) | None => {}
    }
    note_positions(node).await
}

/// Stores what clients have received of their topics: if this node fails, that much is not repeated to them.
async fn note_positions(node: &Node) -> Result<(), StoreError> {
    let positions = node.registry().ask(Positions).await.unwrap_or_default();
    let parts = positions.chunks(POSITIONS_AT_A_TIME).map(|part| {
        node.store.run(NotePositions {
            positions: part.to_vec(),
        })
    });
    futures_util::future::try_join_all(parts).await.map(drop)
}

/// Corrects times that lie further ahead than they can.
async fn mend_times(node: &Node) -> Result<(), StoreError> {
    let mut all = 0;
    loop {
        let mended = node.store.run(MendTimes {
            close_after: node.config.close_session_grace,
            again: ended::AGAIN,
            limit: PART,
        });
        let mended = mended.await?;
        all += mended;
        if mended == 0 || node.stopping() {
            break;
        }
    }
    if all > 0 {
        logging::warn!("the clock was set back: {all} times too far in the future were corrected");
    }
    Ok(())
}

/// Closes sessions whose clients have been away for too long. If it was the node or the store that was away, or if the
/// clock was set forward, they first get some time to reconnect.
async fn time_out(node: &Node) -> Result<(), StoreError> {
    mend_times(node).await?;
    let config = &node.config;
    let wait = config.liveliness_interval.min(config.session_timeout);
    while let Some(rest) = node.still_to_serve(wait) {
        tokio::time::sleep(rest).await;
        if node.stopping() {
            return Ok(());
        }
    }
    let mut pace = Pace::default();
    // The lease may be lost in the meantime, like those of all other nodes: then clients get that time again.
    while node.serves().is_ok() && node.still_to_serve(wait).is_none() {
        let limit = pace.limit();
        let time_out = TimeOutSessions {
            idle: node.config.session_timeout,
            limit,
        };
        let begun = Instant::now();
        let sessions = node.store.run(time_out).await?;
        let more = sessions.len() >= limit as usize;
        for session in &sessions {
            node.listeners.session(|| {
                SessionEvent::new(SessionChange::Timeout, &session.sid, &session.user_id)
            });
        }
        if !sessions.is_empty() {
            node.registry().tell(Closed {
                sessions,
                reason: "the session has timed out".into(),
            });
        }
        if !more || node.stopping() {
            break;
        }
        pace.rest(begun.elapsed()).await;
    }
    Ok(())
}

/// Closes the sessions whose closing is due: their clients have not reconnected.
async fn close_due(node: &Node) -> Result<(), StoreError> {
    loop {
        let due = CloseDue {
            after: node.config.close_session_grace,
            limit: PART,
        };
        let due = node.store.run(due).await?;
        node.tell_closed(due.closed, "the session was closed out of band");
        for session in due.connected {
            node.registry().tell(ComeBack(session));
        }
        if !due.more {
            return Ok(());
        }
    }
}

/// Keeps young rows apart from old ones. (An idle node does not query the store.)
async fn rotate(node: &Node) -> Result<(), StoreError> {
    let rotate = Rotate {
        beyond: LARGE_SEGMENT,
    };
    let mut tries = 0;
    while !node.stopping() && (tries > 0 || node.store.wants_rotation()) && tries < 20 {
        match node.store.run(rotate).await? {
            Rotated::Done => break,
            Rotated::More => tries = 1,
            // A reader ends in a moment; a backup does not.
            Rotated::Held => {
                tries += 1;
                tokio::time::sleep(HELD).await;
            }
        }
    }
    Ok(())
}

/// Deletes messages whose time to live has ended, and those that were kept for long enough, part by part.
async fn expire_messages(node: &Node) -> Result<(), StoreError> {
    expire_outboxes(node).await?;
    let mut pace = Pace::default();
    while !node.stopping() {
        let begun = Instant::now();
        let limit = pace.limit();
        let part = node.store.run(ExpireKept { limit }).await?;
        let counter = &node.counters.messages_expired;
        counter.fetch_add(part.undelivered, Ordering::Relaxed);
        if !part.more {
            break;
        }
        pace.rest(begun.elapsed()).await;
    }
    Ok(())
}

async fn expire_outboxes(node: &Node) -> Result<(), StoreError> {
    let mut pace = Pace::default();
    while !node.stopping() {
        let begun = Instant::now();
        let expire = ExpireMessages {
            grace: EXPIRY_GRACE,
            since: node.expired_looks().begin(begun),
            limit: pace.limit(),
        };
        let part = node.store.run(expire).await?;
        let now = Instant::now();
        node.expired_looks().end(part.since, now - begun, now);
        let counter = &node.counters.messages_expired;
        counter.fetch_add(part.messages, Ordering::Relaxed);
        if !part.more {
            break;
        }
        pace.rest(part.took).await;
    }
    Ok(())
}

/// Deletes what is no longer needed, in parts, so that other operations can run in between.
async fn scavenge(node: &Node) -> Result<(), StoreError> {
    let (mut pace, mut from, mut rows) = (Pace::default(), ScavengeFrom::default(), 0);
    while !node.stopping() {
        let scavenge = Scavenge {
            // A client that was away for longer no longer has a session; one that was connected has already repeated
            // unanswered messages.
            inbox_older: node.config.session_timeout,
            publications_older: node.config.topic_history,
            keys_older: node.config.idempotency,
            from,
            limit: pace.limit(),
        };
        let scavenged = node.store.run(scavenge).await?;
        rows += scavenged.rows;
        let counter = &node.counters.scavenged;
        counter.fetch_add(scavenged.rows, Ordering::Relaxed);
        let Some(next) = scavenged.next else { break };
        from = next;
        pace.rest(scavenged.took).await;
    }
    logging::debug!("scavenged {rows} rows");
    scavenge_dead_letters(node).await
}

/// Deletes the dead letters that exceed the limits, part by part.
async fn scavenge_dead_letters(node: &Node) -> Result<(), StoreError> {
    let config = &node.config;
    let beyond = DeadLettersBeyond {
        max_letters: config.max_dead_letters as u64,
        max_bytes: config.max_dead_letter_bytes as u64,
    };
    let beyond = node.store.run(beyond).await?;
    let (mut pace, mut aged, mut excess) = (Pace::default(), 0, 0);
    while !node.stopping() {
        let scavenge = ScavengeDeadLetters {
            older: config.dead_letter_age,
            beyond,
            limit: pace.limit().min(DEAD_LETTERS),
        };
        let part = node.store.run(scavenge).await?;
        (aged, excess) = (aged + part.aged, excess + part.excess);
        let counter = &node.counters.dead_letters_scavenged;
        counter.fetch_add(part.aged + part.excess, Ordering::Relaxed);
        if !part.more {
            break;
        }
        pace.rest(part.took).await;
    }
    if aged + excess > 0 {
        logging::warn!(
            "dead letters were deleted: {aged} had died more than {:?} ago (dead_letter_age), {excess} were the oldest of \
            more than are kept (max_dead_letters = {}, max_dead_letter_bytes = {})",
            config.dead_letter_age,
            config.max_dead_letters,
            config.max_dead_letter_bytes
        );
    }
    Ok(())
}

/// The pace of maintenance: parts that take about [`PART_TIME`] each, followed by a rest of the same length.
pub(super) struct Pace {
    limit: u32,
}

/// How long a part of maintenance should take. While it runs, SQLite's only writer does nothing else.
const PART_TIME: Duration = Duration::from_millis(20);
/// Rows in the first part.
const FIRST_PART: u32 = 200;
const LARGEST_PART: u32 = 5_000;

impl Default for Pace {
    fn default() -> Self {
        Pace { limit: FIRST_PART }
    }
}

impl Pace {
    /// Rows in the next part.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Adapts the next part to how long this one took.
    fn adapt(&mut self, took: Duration) {
        if took > PART_TIME {
            self.limit = (self.limit / 2).max(1);
        } else if took < PART_TIME / 2 {
            self.limit = (self.limit * 2).min(LARGEST_PART);
        }
    }

    /// Adapts to how long the part took, and rests before the next one.
    pub(super) async fn rest(&mut self, took: Duration) {
        self.adapt(took);
        tokio::time::sleep(took.min(Duration::from_secs(1))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_large_as_their_time_allows() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.adapt(Duration::from_millis(1));
        }
        assert_eq!(pace.limit(), LARGEST_PART);
        pace.adapt(Duration::from_millis(15));
        assert_eq!(pace.limit(), LARGEST_PART, "just right");
        for _ in 0..20 {
            pace.adapt(Duration::from_secs(1));
        }
        assert_eq!(pace.limit(), 1, "one row is always possible");
    }
}
