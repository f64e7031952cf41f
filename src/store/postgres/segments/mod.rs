//! Segments: where the rows of inbox and outbox are while they are young.
//!
//! Most of these rows are deleted a moment after they were inserted. What PostgreSQL leaves of them grows faster than
//! vacuum clears it, and not at all is cleared what an old transaction may still want to see. So new rows go to one of
//! four *segments*, tables that inherit from `inbox` and `outbox`: the *current* one. When it is large, the next one
//! becomes the current one. Of the one before the previous one, the few rows that survive are moved to the parent, and
//! before its turn comes again it is truncated, whatever was left in it.
//!
//! Whoever reads, or deletes seldom, names the parent and sees them all. Those who write know where to look: a writer
//! that believes a segment to be current inserts into it only if it is, by the snapshot of that very statement, and is
//! told which one is if not. The statement has locked the segment before it took its snapshot, so whoever has got a lock
//! that excludes writers knows that nobody writes to a segment that is not current, ever again. By that:
//! - rows are in the current segment, the two before it, or the parent; the next one is empty;
//! - with no current segment (0), all are in the parent, as in versions that know no segments. While there is a node of
//!   such a version, it is so; triggers on its row see to that (see the migration).
//!
//! Locks that exclude others are never waited for: nobody queues behind a backup that holds a segment.

mod rotate;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::seldom::log_seldom;

/// Asks for the number of the current segment.
pub const CURRENT: &str = "SELECT current FROM segments ORDER BY turn DESC LIMIT 1";

/// How many there are.
const COUNT: i32 = 4;

/// A segment by its number, from 1 on; 0 is the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment(pub i32);

impl Segment {
    const PARENT: Segment = Segment(0);

    /// Its table of this name.
    pub fn table(self, name: &str) -> String {
        match self {
            Segment::PARENT => name.to_owned(),
            Segment(number) => format!("{name}_{number}"),
        }
    }

    /// If this is the current one, these have the newest rows: first itself.
    pub fn newest(self) -> Vec<Segment> {
        match self {
            Segment::PARENT => vec![self],
            _ => vec![self, self.ago(1)],
        }
    }

    /// If this is the current one, these have older rows. Rows are moved from the first to the second.
    pub fn older(self) -> Vec<Segment> {
        match self {
            Segment::PARENT => vec![],
            _ => vec![self.ago(2), Segment::PARENT],
        }
    }

    /// The one that was current so many turns ago.
    fn ago(self, turns: i32) -> Segment {
        Segment((self.0 - 1 - turns).rem_euclid(COUNT) + 1)
    }

    /// The one that is current after this one.
    fn next(self) -> Segment {
        self.ago(COUNT - 1)
    }

    fn all() -> impl Iterator<Item = Segment> {
        (1..=COUNT).map(Segment)
    }
}

/// What the connections of a store know of the segments.
#[derive(Default)]
pub struct Segments {
    /// The number of the one that was current when somebody looked last.
    current: AtomicI32,
    /// Whether there are new rows since it was asked last.
    used: AtomicBool,
    /// Since when somebody has kept the next one from being truncated.
    held: Mutex<Option<Instant>>,
    /// The role may not truncate them, which was said.
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
        // Mostly that is known: then this only reads, and takes no cache line from other threads.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there are new rows since this was asked last.
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
                "a transaction has kept a table from being truncated for {long:.0?}: until it ends (a backup?), the space \
                of deleted messages is not used again"
            );
        }
    }

    fn note_refused(&self) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            log::warn!(
                "this role lacks TRUNCATE on the tables inbox_1 to inbox_4 and outbox_1 to outbox_4: what deleted messages \
                leave behind is left to vacuum, and to other nodes"
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
