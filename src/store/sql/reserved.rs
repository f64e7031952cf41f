//! Sequence numbers that are reserved, so that the session row is not written for each message.
//!
//! The row says which number is the newest. A connection that stores for the same session again and again reserves a
//! range: it writes the end of the range to the row and counts up to there in memory. Whoever else stores for the session
//! locks the row as always, goes on after the end, and so makes the range invalid: the connection that reserved it finds
//! another number in the row. A registration does the same by the connection id. Nothing has to be given back: what is
//! left of a range when it is forgotten is a gap, and numbers have gaps anyway.
//!
//! What the row says of an outbox is then too high rather than too low, which is the safe side: limits are counted
//! a little early. On PostgreSQL each update would leave a dead row behind, and an old transaction would keep all of them.

use std::collections::HashMap;

use crate::store::limits::Limits;
use crate::store::numbers::at;
use crate::store::operation::{ConnectionId, SessionKey};

/// Most sessions whose ranges are remembered.
const MOST: usize = 50_000;

/// So many transactions in a row must have stored for a session before a range is reserved for it. Where several
/// connections take turns, each knows exactly what the other has written, and a session is handed its messages instead of
/// having to fetch them.
const IN_A_ROW: u32 = 8;

/// How far ahead of the time a range may reach, in milliseconds. Less than what new connections begin with, see
/// [`Floor`](crate::store::numbers::Floor).
const AHEAD: i64 = 5_000;

/// What an outbox has ever taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The newest sequence number.
    pub last_seq: i64,
    /// Numbers that were left out.
    pub skipped: i64,
    /// Payload bytes.
    pub bytes: i64,
}

impl Taken {
    /// How many messages.
    pub fn messages(&self) -> i64 {
        self.last_seq - self.skipped
    }

    fn is_within(&self, end: &Taken) -> bool {
        self.last_seq <= end.last_seq
            && self.messages() <= end.messages()
            && self.bytes <= end.bytes
    }
}

/// What is known of a session's numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The registration that it was known under: another one begins anew.
    connection: ConnectionId,
    /// What was taken.
    pub taken: Taken,
    /// What the row says.
    pub written: Taken,
    /// Transactions in a row that have stored for the session.
    in_a_row: u32,
}

impl Numbers {
    /// Notes that a transaction has stored for the session. What is to be written to the row, if anything.
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

/// The end of a range that begins after what was taken.
fn end_of_range(taken: Taken, now: i64, limits: &Limits) -> Taken {
    let messages = (limits.outbox / 4).max(1);
    let last_seq = at(now.saturating_add(AHEAD)).max(taken.last_seq.saturating_add(messages));
    // A user's bytes are looked at whenever a part is full, so no range reaches beyond one.
    let part = limits.part_of_user();
    Taken {
        last_seq,
        skipped: last_seq - (taken.messages() + messages),
        bytes: (taken.bytes / part + 1) * part - 1,
    }
}

/// The numbers that a connection knows.
#[derive(Default)]
pub struct Reserved {
    known: HashMap<SessionKey, Numbers>,
    /// Of the transaction under way.
    stored: HashMap<SessionKey, Numbers>,
}

impl Reserved {
    /// The numbers of a session whose row says this.
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

    /// A transaction leaves a session's numbers like this.
    pub fn note(&mut self, session: SessionKey, numbers: Numbers) {
        self.stored.insert(session, numbers);
    }

    /// The transaction is committed.
    pub fn committed(&mut self) {
        if self.known.len() + self.stored.len() > MOST {
            self.known.clear();
        }
        self.known.extend(self.stored.drain());
    }

    /// The transaction was rolled back: the rows say what they said before.
    pub fn rolled_back(&mut self) {
        self.stored.clear();
    }

    /// Nothing is known any more: what became of a transaction is not known.
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

    /// Stores a message of so many bytes, in a transaction of its own. What was written to the row, which is kept up to
    /// date.
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
    fn whoever_else_stores_or_registers_goes_on_after_the_range() {
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
    fn what_was_rolled_back_was_not_taken_and_what_is_unknown_is_forgotten() {
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
    fn a_range_covers_what_the_time_leaves_out_and_not_more_than_some_seconds() {
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
