//! Numbers that are never assigned twice: those of a session's messages, of its registrations, and of publications.
//!
//! Clients and nodes remember these numbers, so it is not enough to continue from the newest one in the database. A
//! database that was restored from a backup, or a standby that was promoted before it had received the last commits,
//! would reuse numbers that its clients already know, and they would drop the new messages as duplicates. The next
//! number is therefore never lower than one derived from the current time. Whatever was assigned before the database
//! was set back is then lower than whatever is assigned afterwards, without any state to keep or configure.

/// The start of 2020, in milliseconds since the epoch.
pub const BEGINNING: i64 = 1_577_836_800_000;

/// Numbers per millisecond. Nothing is numbered faster than this, so numbers do not run ahead of the time.
pub const PER_MS: i64 = 1_000;

/// How often a connection catches up with the time, in milliseconds. In between, numbers are consecutive, which keeps
/// neighbouring rows together. (Needed throughout a connection's life, because a connection through a pooler does not
/// always notice that the database behind it was set back.)
const RENEWED: i64 = 1_000;

/// How far ahead of the time a new connection starts, in milliseconds. Ranges of numbers are reserved for a few
/// seconds, so numbers may be that far ahead of the time when the database is set back; connections opened afterwards
/// start beyond them.
const HEAD_START: i64 = 10_000;

/// The lowest number that may be assigned at this time, given in milliseconds since the epoch.
pub fn at(now: i64) -> i64 {
    now.saturating_sub(BEGINNING).max(0).saturating_mul(PER_MS)
}

/// The lowest number that a connection may assign. It only grows.
#[derive(Default)]
pub struct Floor {
    number: i64,
    /// The time on which it is based, in milliseconds since the epoch; 0: none yet.
    since: i64,
}

impl Floor {
    /// The number to assign after `newest` at this time.
    pub fn next(&mut self, newest: i64, now: i64) -> i64 {
        if now.saturating_sub(self.since) >= RENEWED {
            let from = match self.since {
                0 => now.saturating_add(HEAD_START),
                _ => now,
            };
            self.number = self.number.max(at(from));
            self.since = now;
        }
        newest.saturating_add(1).max(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::{BEGINNING, Floor, HEAD_START, PER_MS, at};

    #[test]
    fn numbers_are_consecutive_and_catch_up_with_the_time() {
        let now = BEGINNING + 5_000;
        let mut floor = Floor::default();
        let first = floor.next(7, now);
        assert_eq!(first, at(now + HEAD_START));
        assert_eq!(floor.next(first, now + 1), first + 1);
        assert_eq!(
            floor.next(first, now + HEAD_START),
            first + 1,
            "the time has only just come up to it"
        );
        let later = now + HEAD_START + 1_000;
        assert_eq!(floor.next(first, later - 1), first + 1);
        assert_eq!(floor.next(first, later), at(later));
        assert_eq!(floor.next(first, now), at(later), "it does not go back");
        assert_eq!(floor.next(i64::MAX, now), i64::MAX);
    }

    #[test]
    fn numbers_are_consecutive_if_the_clock_has_no_date() {
        let mut floor = Floor::default();
        assert_eq!(floor.next(0, 5_000), 1);
        assert_eq!(floor.next(1, -5_000), 2);
        assert_eq!(
            floor.next(at(BEGINNING + 9), BEGINNING),
            at(BEGINNING + 9) + 1
        );
    }

    /// A database that is set back to any earlier moment, and used through a new connection, assigns none of the
    /// numbers assigned before, however many messages there were.
    #[test]
    fn numbers_assigned_after_the_database_was_set_back_are_higher() {
        let (begun, mut given) = (BEGINNING + 1_000_000, 0);
        let mut floor = Floor::default();
        // A hundred messages in each millisecond, for ten seconds.
        for time in begun..begun + 10_000 {
            for _ in 0..100 {
                given = floor.next(given, time);
            }
            assert!(given < at(time + HEAD_START) + PER_MS);
        }
        for newest in [0, given / 2, given - 1] {
            assert!(Floor::default().next(newest, begun + 10_000) > given);
        }
    }
}
