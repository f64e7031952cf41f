//! Segments: the tables that hold young rows of inbox and outbox.
//!
//! Most of these rows are deleted a moment after they were inserted. The dead rows accumulate faster than vacuum
//! removes them, and those that an old transaction may still need to see are not removed at all. So new rows go to one
//! of four *segments*, tables that inherit from `inbox` and `outbox`: the *current* one. When it has grown large, the
//! next segment becomes current. The few surviving rows of the segment before the previous one are moved to the parent,
//! and before that segment becomes current again, it is truncated, which discards all dead rows.
//!
//! Queries that read, or rarely delete, name the parent and see all rows. Writers need to know where to look. A writer
//! that believes a segment to be current inserts into it only if it is current in the snapshot of that very statement,
//! and otherwise learns which one is. The statement locks the segment before it takes its snapshot. So whoever gets a
//! lock that excludes writers knows that nobody is writing, or will write, to a segment that is not current. It follows
//! that:
//! - rows are in the current segment, the two before it, or the parent; the next one is empty;
//! - with no current segment (0), all rows are in the parent, as in versions without segments. This remains so while
//!   any node of such a version exists, which is ensured by triggers on the nodes' rows (see the migration).
//!
//! Exclusive locks are never waited for, so that nobody queues behind a backup that holds a segment.

mod rotate;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::logging;
use crate::seldom::log_seldom;

/// Queries the number of the current segment.
pub const CURRENT: &str = "SELECT current FROM segments ORDER BY turn DESC LIMIT 1";

/// Number of segments.
const COUNT: i32 = 4;

/// A segment by its number, from 1 on; 0 is the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment(pub i32);

impl Segment {
    const PARENT: Segment = Segment(0);

    /// Its table of this kind, `inbox` or `outbox`.
    pub fn table(self, name: &str) -> String {
        match self {
            Segment::PARENT => name.to_owned(),
            Segment(number) => format!("{name}_{number}"),
        }
    }

    /// The segments with the newest rows while this one is current, starting with itself.
    pub fn newest(self) -> Vec<Segment> {
        match self {
            Segment::PARENT => vec![self],
            _ => vec![self, self.ago(1)],
        }
    }

    /// The tables with older rows while this segment is current. Rows are moved from the first to the second.
    pub fn older(self) -> Vec<Segment> {
        match self {
            Segment::PARENT => vec![],
            _ => vec![self.ago(2), Segment::PARENT],
        }
    }

    /// The segment that was current this many turns ago.
    fn ago(self, turns: i32) -> Segment {
        Segment((self.0 - 1 - turns).rem_euclid(COUNT) + 1)
    }

    /// The segment that becomes current after this one.
    fn next(self) -> Segment {
        self.ago(COUNT - 1)
    }

    fn all() -> impl Iterator<Item = Segment> {
        (1..=COUNT).map(Segment)
    }
}

/// What the connections of a store know about the segments.
#[derive(Default)]
pub struct Segments {
    /// The number of the current segment when last checked.
    current: AtomicI32,
    /// Whether rows were inserted since this was last taken.
    used: AtomicBool,
    /// Since when the next segment could not be truncated because it is in use.
    held: Mutex<Option<Instant>>,
    /// Whether it was logged that the role may not truncate segments.
    refused: AtomicBool,
}

impl Segments {
    pub fn current(&self) -> Segment {
        Segment(self.current.load(Ordering::Relaxed))
    }

    pub fn note_current(&self, segment: Segment) {
        self.current.store(segment.0, Ordering::Relaxed);
    }

    pub fn note_use(&self) {
        // Mostly set already; reading first keeps the cache line shared between threads.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether rows were inserted since the last call.
    pub fn take_use(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn note_held(&self, is_held: bool) {
        const LONG: Duration = Duration::from_secs(60);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_held {
            *held = None;
            return;
        }
        let long = held.get_or_insert_with(Instant::now).elapsed();
        if long >= LONG {
            log_seldom!(
                warn,
                "a transaction (a backup?) has kept a table from being truncated for {long:.0?}; until it ends, the space \
                of deleted messages is not reused"
            );
        }
    }

    fn note_refused(&self) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            logging::warn!(
                "this role lacks TRUNCATE on the tables inbox_1 to inbox_4 and outbox_1 to outbox_4: reclaiming the space \
                of deleted messages is left to vacuum and to other nodes"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_but_the_next_is_looked_into() {
        for current in Segment::all() {
            let looked_into = [current.newest(), current.older()].concat();
            for other in Segment::all() {
                let is_next = other == current.next();
                assert_ne!(
                    looked_into.contains(&other),
                    is_next,
                    "{current:?} {other:?}"
                );
            }
            assert_eq!(looked_into.len(), COUNT as usize, "and the parent");
        }
        assert_eq!(Segment(4).next(), Segment(1));
        assert_eq!(Segment::PARENT.newest(), [Segment::PARENT]);
    }
}
