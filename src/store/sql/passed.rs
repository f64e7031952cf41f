//! Up to where a look for what is due need not be repeated.

/// What is due at a time may come to light so much later, in milliseconds: whoever writes it has not committed at once, or
/// his clock is behind, or he has set a whole node's work free, or run a handler before. So much is looked at again.
const LATE: i64 = 15_000;

/// After a look at this time has found nothing more, nothing is due before what this returns.
pub fn passed(now: i64) -> i64 {
    now.saturating_sub(LATE)
}

/// Where a look begins, if the one before has come to `since`. (Not later than it would have got by now: the clock may have
/// been set back.)
pub fn from(since: Option<i64>, now: i64) -> i64 {
    since.map_or(i64::MIN, |since| since.min(passed(now)))
}

#[cfg(test)]
mod tests {
    use super::{LATE, from, passed};

    #[test]
    fn a_look_begins_where_the_last_one_came_to_unless_the_clock_was_set_back() {
        assert_eq!(from(None, 10_000), i64::MIN, "it begins anew");
        assert_eq!(from(Some(passed(10_000)), 11_000), 10_000 - LATE);
        assert_eq!(from(Some(passed(10_000)), 7_000), 7_000 - LATE);
        assert_eq!(from(Some(4), 40_000), 4);
    }
}
