//! Dead letters that are not kept: too old, too many, or too large in total.

use std::time::Instant;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use super::Transaction;
use super::schema::dead_letter;
use super::sizes::bytes;
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// Letters read in one query.
const PAGE: usize = 5_000;

/// Approximate number of bytes deleted in one operation.
const PART: u64 = 4 * 1024 * 1024;

/// When a letter died, and the size of its payload in bytes.
type Letter = (DiedAt, u64);

/// How much more may be kept.
struct Room {
    letters: u64,
    bytes: u64,
}

impl Room {
    /// The first of these letters, newest first, that does not fit.
    fn first_beyond(&mut self, letters: &[Letter]) -> Option<DiedAt> {
        let fits = |(_, bytes): &&Letter| {
            match (self.letters.checked_sub(1), self.bytes.checked_sub(*bytes)) {
                (Some(letters), Some(bytes)) => *self = Room { letters, bytes },
                _ => return false,
            }
            true
        };
        letters.iter().skip_while(fits).map(|(at, _)| *at).next()
    }
}

/// The dead letters to delete.
#[derive(Debug, Default, PartialEq, Eq)]
struct Goes {
    aged: Vec<i64>,
    excess: Vec<i64>,
    /// Whether there may be more to delete.
    more: bool,
}

/// Chooses the letters to delete, given oldest first.
fn which_go(oldest: &[Letter], before: i64, beyond: Option<DiedAt>) -> Goes {
    let mut goes = Goes::default();
    let mut part = 0;
    for (at, bytes) in oldest {
        let aged = at.died < before;
        if !aged && beyond.is_none_or(|beyond| *at > beyond) {
            return goes;
        }
        if part >= PART {
            break;
        }
        part += bytes;
        match aged {
            true => goes.aged.push(at.id),
            false => goes.excess.push(at.id),
        }
    }
    goes.more = !oldest.is_empty();
    goes
}

/// The columns read of a letter, all of which are in the index that gives the order.
type Columns = (i64, i64, Option<i32>);
const COLUMNS: (dead_letter::died, dead_letter::id, dead_letter::bytes) =
    (dead_letter::died, dead_letter::id, dead_letter::bytes);

fn letter((died, id, length): Columns) -> Letter {
    (DiedAt { died, id }, bytes(length))
}

impl Transaction<'_> {
    pub fn dead_letters_beyond(&mut self, op: &DeadLettersBeyond) -> DbResult<Option<DiedAt>> {
        let conn = self.raw_conn();
        let mut room = Room {
            letters: op.max_letters,
            bytes: op.max_bytes,
        };
        let mut before = DiedAt {
            died: i64::MAX,
            id: i64::MAX,
        };
        loop {
            let earlier = sql::<Bool>(concat!(
                "(",
                prefix!(),
                "dead_letter.died, ",
                prefix!(),
                "dead_letter.id) < ("
            ))
            .bind::<BigInt, _>(before.died)
            .sql(", ")
            .bind::<BigInt, _>(before.id)
            .sql(")");
            let page: Vec<Columns> = dead_letter::table
                .filter(earlier)
                .order((dead_letter::died.desc(), dead_letter::id.desc()))
                .limit(PAGE as i64)
                .select(COLUMNS)
                .load(conn)?;
            let page: Vec<Letter> = page.into_iter().map(letter).collect();
            let beyond = room.first_beyond(&page);
            match page.last() {
                Some((last, _)) if beyond.is_none() && page.len() == PAGE => before = *last,
                _ => return Ok(beyond),
            }
        }
    }

    pub fn scavenge_dead_letters(
        &mut self,
        op: &ScavengeDeadLetters,
    ) -> DbResult<ScavengedDeadLetters> {
        self.maintain()?;
        let begun = Instant::now();
        let before = self.now.saturating_sub(ms(op.older));
        let conn = self.raw_conn();
        let oldest: Vec<Columns> = dead_letter::table
            .order((dead_letter::died, dead_letter::id))
            .limit(op.limit.into())
            .select(COLUMNS)
            .load(conn)?;
        let oldest: Vec<Letter> = oldest.into_iter().map(letter).collect();
        let goes = which_go(&oldest, before, op.beyond);
        let mut delete = |ids: &[i64]| -> DbResult<u64> {
            let gone = dead_letter::table.filter(dead_letter::id.eq_any(ids));
            Ok(diesel::delete(gone).execute(conn)? as u64)
        };
        Ok(ScavengedDeadLetters {
            aged: delete(&goes.aged)?,
            excess: delete(&goes.excess)?,
            more: goes.more,
            took: begun.elapsed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{DiedAt, Goes, Letter, PART, Room, which_go};

    fn at(died: i64, id: i64) -> DiedAt {
        DiedAt { died, id }
    }

    #[test]
    fn the_excess_starts_where_either_limit_is_reached() {
        let newest: [Letter; 4] = [
            (at(9, 4), 10),
            (at(8, 3), 10),
            (at(8, 2), 0),
            (at(7, 1), 10),
        ];
        let beyond = |letters, bytes| Room { letters, bytes }.first_beyond(&newest);
        assert_eq!(beyond(4, 30), None);
        assert_eq!(beyond(3, 30), Some(at(7, 1)));
        assert_eq!(beyond(4, 29), Some(at(7, 1)));
        assert_eq!(
            beyond(4, 19),
            Some(at(8, 3)),
            "whatever would fit behind it"
        );
        assert_eq!(beyond(0, 30), Some(at(9, 4)));
        let mut room = Room {
            letters: 6,
            bytes: 100,
        };
        assert_eq!(room.first_beyond(&newest), None);
        assert_eq!(
            room.first_beyond(&newest),
            Some(at(8, 2)),
            "of the next page"
        );
    }

    #[test]
    fn the_oldest_letters_go_first_and_no_more_than_necessary() {
        let oldest: [Letter; 3] = [(at(1, 1), 10), (at(2, 3), 10), (at(2, 4), 10)];
        let goes = |before, beyond| {
            let goes = which_go(&oldest, before, beyond);
            (goes.aged, goes.excess, goes.more)
        };
        assert_eq!(goes(1, None), (vec![], vec![], false));
        assert_eq!(goes(2, None), (vec![1], vec![], false));
        assert_eq!(goes(2, Some(at(2, 3))), (vec![1], vec![3], false));
        assert_eq!(goes(0, Some(at(2, 2))), (vec![], vec![1], false));
        assert_eq!(goes(3, None), (vec![1, 3, 4], vec![], true));
        assert_eq!(which_go(&[], 9, None), Goes::default());
    }

    #[test]
    fn a_batch_ends_with_the_letter_that_exceeds_its_bytes() {
        let oldest = [(at(1, 1), PART - 1), (at(1, 2), PART), (at(1, 3), 1)];
        let goes = which_go(&oldest, 2, None);
        assert_eq!((goes.aged, goes.more), (vec![1, 2], true));
    }
}
