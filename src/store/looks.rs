//! Decides when a recurring query starts over.
//!
//! Such a query looks for rows in the order in which they are due, and starts where the one before ended. Deleted rows
//! may stay in PostgreSQL's indexes for as long as any old transaction runs, and a query from the start of an index
//! steps over all of them. But rows may also appear before the starting point, so now and then a query must start over.

use std::time::{Duration, Instant};

/// A query starts over after this time,
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// or, if it is slow, after this multiple of the time that its last full run took, which limits full runs to one part
/// in `PARTS` of the time;
const PARTS: u32 = 20;

/// but never later than this.
const LATEST: Duration = Duration::from_secs(10);

/// How long after an outage every query starts over: a transaction in progress when the outage began may be committed
/// when it ends.
const DOUBT: Duration = Duration::from_secs(30);

/// What the last query found out, and when the next one starts over.
#[derive(Debug)]
pub(crate) struct Looks<T> {
    known: Option<T>,
    /// `None`: at once.
    restart_at: Option<Instant>,
    /// Whether the current query has started over.
    is_restart: bool,
    /// Results obtained before this time are not relied on.
    doubted_until: Option<Instant>,
}

impl<T> Default for Looks<T> {
    fn default() -> Self {
        Looks {
            known: None,
            restart_at: None,
            is_restart: true,
            doubted_until: None,
        }
    }
}

impl<T: Clone> Looks<T> {
    /// A query begins. Returns the result to start from; `None`: it starts over. (If it fails, the next one starts from
    /// the previous result, so that a query that takes too long is not repeated again and again.)
    pub(crate) fn begin(&mut self, now: Instant) -> Option<T> {
        self.is_restart =
            self.known.is_none() || self.restart_at.is_none_or(|restart_at| restart_at <= now);
        if self.is_restart {
            self.restart_at = Some(now + RESTART_AFTER);
            return None;
        }
        self.known.clone()
    }

    /// The query has found this and taken this long.
    pub(crate) fn end(&mut self, found: T, took: Duration, now: Instant) {
        let is_doubted = self.doubted_until.is_some_and(|until| now < until);
        self.known = (!is_doubted).then_some(found);
        if self.is_restart {
            let rest = took.saturating_mul(PARTS).min(LATEST);
            self.restart_at = self.restart_at.max(Some(now + rest));
        }
    }

    /// There was an outage, and it may have just ended.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.known = None;
        self.doubted_until = Some(now + DOUBT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_query_starts_over_at_first_then_after_seconds_or_later_if_it_takes_long() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let at = |seconds| start + SECOND * seconds;
        assert_eq!(looks.begin(at(0)), None);
        looks.end(1, SECOND / 10, at(0));
        assert_eq!(looks.begin(at(4)), Some(1));
        looks.end(2, SECOND * 10, at(4));
        assert_eq!(looks.begin(at(5)), None);
        looks.end(3, SECOND / 3, at(6));
        assert_eq!(looks.begin(at(12)), Some(3));
        assert_eq!(looks.begin(at(13)), None);
        looks.end(4, SECOND * 100, at(113));
        assert_eq!(looks.begin(at(122)), Some(4));
        assert_eq!(looks.begin(at(123)), None, "not much later, though");
    }

    #[test]
    fn after_an_outage_queries_start_over_for_a_while() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        looks.begin(start);
        looks.end(1, SECOND, start);
        looks.doubt(start);
        for second in 0..30 {
            let now = start + SECOND * second;
            assert_eq!(looks.begin(now), None, "after {second} s");
            looks.end(2, SECOND / 100, now);
        }
        let later = start + SECOND * 30;
        assert_eq!(looks.begin(later), None);
        looks.end(3, SECOND / 100, later);
        assert_eq!(looks.begin(later + SECOND), Some(3));
    }

    #[test]
    fn a_query_that_fails_keeps_the_previous_result() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        assert_eq!(looks.begin(start), None);
        assert_eq!(looks.begin(start), None, "nothing is known yet");
        looks.end(1, SECOND, start);
        let later = start + SECOND * 100;
        assert_eq!(looks.begin(later), None);
        assert_eq!(looks.begin(later + SECOND), Some(1));
    }
}
