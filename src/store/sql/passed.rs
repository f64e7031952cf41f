//! How far a query for due rows has progressed, so that the next one need not start from the beginning.

/// How late a row that is due at a given time may become visible, in milliseconds: its writer may not have committed at
/// once, its clock may be behind, or it may have released a whole node's work or run a handler first. Queries go back
/// by this much.
const LATE: i64 = 15_000;

/// After a query at this time has found nothing more, nothing is due before the returned time.
pub fn passed(now: i64) -> i64 {
    now.saturating_sub(LATE)
}

/// Where a query starts if the one before ended at `since`. (Never later than a query at this time could have ended,
/// because the clock may have been set back.)
pub fn from(since: Option<i64>, now: i64) -> i64 {
    since.map_or(i64::MIN, |since| since.min(passed(now)))
}

#[cfg(test)]
mod tests {
    use super::{LATE, from, passed};

    #[test]
    fn a_query_starts_where_the_last_one_ended_unless_the_clock_was_set_back() {
        assert_eq!(from(None, 10_000), i64::MIN, "it starts over");
        assert_eq!(from(Some(passed(10_000)), 11_000), 10_000 - LATE);
        assert_eq!(from(Some(passed(10_000)), 7_000), 7_000 - LATE);
        assert_eq!(from(Some(4), 40_000), 4);
    }
}
