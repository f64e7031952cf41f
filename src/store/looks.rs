//! When a look that comes again and again begins anew.
//!
//! What is looked for is ordered by when it is due, and a look begins where the one before has come to: rows that are gone
//! may stay in PostgreSQL's indexes for as long as any old transaction runs, and whoever begins at the start of an index
//! steps over all of them. But something may come to light behind a look's back. So now and then one begins anew.

use std::time::{Duration, Instant};

/// A look begins anew after this,
const ANEW: Duration = Duration::from_secs(5);

/// or, where it takes long, after so many times as long as the last one of its kind took: it costs one part in so many.
const PARTS: u32 = 20;

/// Not later than this, though.
const LATEST: Duration = Duration::from_secs(10);

/// After an outage, each look begins anew for so long: whatever was under way when it began may be committed when it ends.
const DOUBT: Duration = Duration::from_secs(30);

/// What the last look has found out, and when the next one begins anew.
#[derive(Debug)]
pub(crate) struct Looks<T> {
    known: Option<T>,
    /// `None`: at once.
    anew: Option<Instant>,
    /// The look under way has begun anew.
    is_anew: bool,
    /// Nothing that is found out before this is built upon.
    doubted_until: Option<Instant>,
}

impl<T> Default for Looks<T> {
    fn default() -> Self {
        Looks {
            known: None,
            anew: None,
            is_anew: true,
            doubted_until: None,
        }
    }
}

impl<T: Clone> Looks<T> {
    /// A look begins. What it may build upon; `None`: it begins anew. (Should it fail, the next one goes on from what is
    /// known: a look that takes too long is not tried again and again.)
    pub(crate) fn begin(&mut self, now: Instant) -> Option<T> {
        self.is_anew = self.known.is_none() || self.anew.is_none_or(|anew| anew <= now);
        if self.is_anew {
            self.anew = Some(now + ANEW);
            return None;
        }
        self.known.clone()
    }

    /// The look has found this out, and taken so long.
    pub(crate) fn end(&mut self, found: T, took: Duration, now: Instant) {
        let is_doubted = self.doubted_until.is_some_and(|until| now < until);
        self.known = (!is_doubted).then_some(found);
        if self.is_anew {
            let rest = took.saturating_mul(PARTS).min(LATEST);
            self.anew = self.anew.max(Some(now + rest));
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
    fn a_look_begins_anew_at_first_then_after_seconds_or_later_if_it_takes_long() {
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
    fn after_an_outage_looks_begin_anew_for_a_while() {
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
    fn one_that_fails_leaves_what_was_known_before() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        assert_eq!(looks.begin(start), None);
        assert_eq!(looks.begin(start), None, "nothing is known yet");
        looks.end(1, SECOND, start);
        let later = start + SECOND * 100;
        assert_eq!(looks.begin(later), None);
        assert_eq!(looks.begin(later + SECOND), Some(1));
    }
}
