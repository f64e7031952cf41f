//! Reserved sequence numbers, which save writing the session row for each message.
//!
//! The row holds the newest number. A connection that stores for the same session repeatedly reserves a range: it
//! writes the end of the range to the row and counts up to it in memory. Any other connection that stores for the
//! session locks the row as usual and continues after the end, which invalidates the range: the connection that
//! reserved it finds a different number in the row. A registration invalidates the range through the connection id.
//! Nothing has to be given back: the unused part of a forgotten range is a gap, and numbers have gaps anyway.
//!
//! The totals in the row are then too high rather than too low, which is the safe side: limits take effect a little
//! early. Without ranges, each update would leave a dead row behind on PostgreSQL, and an old transaction would keep
//! all of them.

use std::collections::HashMap;

use crate::store::limits::Limits;
use crate::store::numbers::at;
use crate::store::operation::{ConnectionId, SessionKey};

/// Maximum number of sessions whose ranges are remembered.
const MOST: usize = 50_000;

/// How many consecutive transactions must have stored for a session before a range is reserved for it. Where several
/// connections take turns, exact numbers in the row let each know what the other has written, so that a session is
/// handed its messages instead of having to fetch them.
const IN_A_ROW: u32 = 8;

/// How far ahead of the time a range may reach, in milliseconds. Less than the head start of new connections; see
/// [`Floor`](crate::store::numbers::Floor).
const AHEAD: i64 = 5_000;

/// Everything that an outbox has ever taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The newest sequence number.
    pub last_seq: i64,
    /// Numbers that were skipped.
    pub skipped: i64,
    /// Payload bytes.
    pub bytes: i64,
}

impl Taken {
    /// Number of messages.
    pub fn messages(&self) -> i64 {
        self.last_seq - self.skipped
    }

    fn is_within(&self, end: &Taken) -> bool {
        self.last_seq <= end.last_seq
            && self.messages() <= end.messages()
            && self.bytes <= end.bytes
    }
}

/// What a connection knows about a session's numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The registration to which this applies; another one starts over.
    connection: ConnectionId,
    /// What has been taken.
    pub taken: Taken,
    /// What the row contains.
    pub written: Taken,
    /// Number of consecutive transactions that have stored for the session.
    in_a_row: u32,
}

impl Numbers {
    /// Records that a transaction has stored for the session. Returns what to write to the row, if anything.
    pub fn store(&mut self, may_reserve: bool, now: i64, limits: &Limits) -> Option<Taken> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.taken.is_within(&self.written) {
            return None;
        }
        self.written = match may_reserve && self.in_a_row >= IN_A_ROW {
            true => end_of_range(self.taken, now, limits),
            false => self.taken,
        };
        Some(self.written)
    }
}

/// The end of a range that starts after what was taken.
fn end_of_range(taken: Taken, now: i64, limits: &Limits) -> Taken {
    let messages = (limits.outbox / 4).max(1);
    let last_seq = at(now.saturating_add(AHEAD)).max(taken.last_seq.saturating_add(messages));
    // A user's bytes are checked whenever a part is full, so no range extends beyond one.
    let part = limits.part_of_user();
    Taken {
        last_seq,
        skipped: last_seq - (taken.messages() + messages),
        bytes: (taken.bytes / part + 1) * part - 1,
    }
}

/// The numbers known to one connection.
#[derive(Default)]
pub struct Reserved {
    known: HashMap<SessionKey, Numbers>,
    /// Those of the current transaction.
    stored: HashMap<SessionKey, Numbers>,
}

impl Reserved {
    /// The numbers of a session whose row contains `written`.
    pub fn numbers(
        &self,
        session: SessionKey,
        connection: ConnectionId,
        written: Taken,
    ) -> Numbers {
        let known = self
            .stored
            .get(&session)
            .or_else(|| self.known.get(&session));
        match known {
            Some(known) if known.written == written && known.connection == connection => *known,
            _ => Numbers {
                connection,
                taken: written,
                written,
                in_a_row: 0,
            },
        }
    }

    /// Records a session's numbers at the end of an operation.
    pub fn note(&mut self, session: SessionKey, numbers: Numbers) {
        self.stored.insert(session, numbers);
    }

    /// The transaction was committed.
    pub fn committed(&mut self) {
        if self.known.len() + self.stored.len() > MOST {
            self.known.clear();
        }
        self.known.extend(self.stored.drain());
    }

    /// The transaction was rolled back, so the rows are as before.
    pub fn rolled_back(&mut self) {
        self.stored.clear();
    }

    /// Forgets everything, because the outcome of a transaction is unknown.
    pub fn forget(&mut self) {
        *self = Reserved::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreConfig;
    use crate::store::numbers::{BEGINNING, PER_MS};

    const SESSION: SessionKey = SessionKey(1);
    const FIRST: ConnectionId = ConnectionId(1);

    fn limits() -> Limits {
        Limits::from(&StoreConfig {
            max_outbox: 400,
            max_outbox_bytes_per_user: 256 * 1_000,
            ..StoreConfig::default()
        })
    }

    /// Stores a message of this size in a transaction of its own. Returns its number and what was written to the row,
    /// which is kept up to date.
    fn store(reserved: &mut Reserved, row: &mut Taken, bytes: i64) -> (i64, Option<Taken>) {
        let mut numbers = reserved.numbers(SESSION, FIRST, *row);
        numbers.taken.last_seq += 1;
        numbers.taken.bytes += bytes;
        let written = numbers.store(true, 0, &limits());
        reserved.note(SESSION, numbers);
        reserved.committed();
        *row = written.unwrap_or(*row);
        (numbers.taken.last_seq, written)
    }

    #[test]
    fn a_row_is_written_once_for_many_messages_of_one_connection() {
        let (mut reserved, mut row) = (Reserved::default(), Taken::default());
        for number in 1..i64::from(IN_A_ROW) {
            let (seq, written) = store(&mut reserved, &mut row, 10);
            assert_eq!((seq, written.map(|it| it.last_seq)), (number, Some(number)));
        }
        let (eighth, written) = store(&mut reserved, &mut row, 10);
        let end = written.expect("a range is reserved");
        assert_eq!((end.last_seq, end.messages(), end.bytes), (108, 108, 999));
        for number in eighth + 1..=12 {
            assert_eq!(store(&mut reserved, &mut row, 200), (number, None));
        }
        let (_, written) = store(&mut reserved, &mut row, 200);
        assert_eq!(
            written.map(|it| it.bytes),
            Some(1_999),
            "a user's bytes are looked at when a part is full"
        );
        for _ in 0..101 {
            store(&mut reserved, &mut row, 0);
        }
        assert_eq!(row.last_seq, 214, "the next range");
    }

    #[test]
    fn another_writer_or_registration_continues_after_the_range() {
        let (mut reserved, mut row) = (Reserved::default(), Taken::default());
        for _ in 0..10 {
            store(&mut reserved, &mut row, 0);
        }
        let known = reserved.numbers(SESSION, FIRST, row);
        assert_eq!((known.taken.last_seq, known.written), (10, row));
        let registered = reserved.numbers(SESSION, ConnectionId(2), row);
        assert_eq!((registered.taken, registered.in_a_row), (row, 0));
        row.last_seq += 1;
        let stored = reserved.numbers(SESSION, FIRST, row);
        assert_eq!((stored.taken, stored.in_a_row), (row, 0));
        let (seq, written) = store(&mut reserved, &mut row, 0);
        assert_eq!(written.map(|it| it.last_seq), Some(seq), "no range at once");
    }

    #[test]
    fn a_rollback_takes_no_numbers_and_an_unknown_outcome_forgets_them() {
        let (mut reserved, mut row) = (Reserved::default(), Taken::default());
        for _ in 0..10 {
            store(&mut reserved, &mut row, 0);
        }
        let mut numbers = reserved.numbers(SESSION, FIRST, row);
        numbers.taken.last_seq += 1;
        reserved.note(SESSION, numbers);
        assert_eq!(reserved.numbers(SESSION, FIRST, row).taken.last_seq, 11);
        reserved.rolled_back();
        assert_eq!(reserved.numbers(SESSION, FIRST, row).taken.last_seq, 10);
        reserved.forget();
        assert_eq!(reserved.numbers(SESSION, FIRST, row).taken, row);
    }

    #[test]
    fn nothing_is_reserved_for_a_node_that_does_not_know_it() {
        let mut numbers = Reserved::default().numbers(SESSION, FIRST, Taken::default());
        for _ in 0..20 {
            numbers.taken.last_seq += 1;
            assert_eq!(numbers.store(false, 0, &limits()), Some(numbers.taken));
        }
    }

    #[test]
    fn a_range_covers_skipped_numbers_but_only_a_few_seconds_ahead() {
        let now = BEGINNING + 1_000_000;
        let taken = Taken {
            last_seq: at(now),
            skipped: at(now) - 7,
            bytes: 5,
        };
        let end = end_of_range(taken, now, &limits());
        assert_eq!((end.last_seq, end.messages()), (at(now + AHEAD), 107));
        let ahead = Taken {
            last_seq: at(now + AHEAD) + PER_MS,
            ..taken
        };
        let end = end_of_range(ahead, now, &limits());
        assert_eq!(end.last_seq, ahead.last_seq + 100);
    }
}
