//! When a node looks for work, in addition to its intervals: when it hears of new work, and when delayed work is due.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Looks are planned at multiples of this, so that there are at most a hundred per second, however much is due.
const STEP: Duration = Duration::from_millis(10);

/// Most looks that are planned at a time: the earliest ones. What is due otherwise is found by the intervals.
const MOST: usize = 1_000;

/// The planned looks.
pub(super) struct Planned {
    start: Instant,
    looks: BTreeSet<Instant>,
}

impl Planned {
    pub(super) fn new() -> Planned {
        Planned {
            start: Instant::now(),
            looks: BTreeSet::new(),
        }
    }

    /// There is work already: a look is planned, unless one is that is soon enough.
    pub(super) fn soon(&mut self, now: Instant) {
        let at = self.step_after(now);
        if self.first().is_none_or(|first| first > at) {
            self.plan(at);
        }
    }

    /// There is work at this time: a look is planned just then.
    pub(super) fn when_due(&mut self, due: Instant) {
        self.plan(self.step_after(due));
    }

    /// When the first look is.
    pub(super) fn first(&self) -> Option<Instant> {
        self.looks.first().copied()
    }

    /// The first look is made now.
    pub(super) fn begin_first(&mut self) {
        self.looks.pop_first();
    }

    /// Of too many looks, the last ones are left out: others may be planned by the time that they would come.
    fn plan(&mut self, at: Instant) {
        self.looks.insert(at);
        if self.looks.len() > MOST {
            self.looks.pop_last();
        }
    }

    fn step_after(&self, time: Instant) -> Instant {
        let steps = time.saturating_duration_since(self.start).as_millis() / STEP.as_millis() + 1;
        self.start + STEP * u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(mut planned: Planned) -> Vec<u128> {
        let start = planned.start;
        let next = || {
            let first = planned.first()?;
            planned.begin_first();
            Some((first - start).as_millis())
        };
        std::iter::from_fn(next).collect()
    }

    /// An early look made the later ones be forgotten: that work waited for the next interval.
    #[test]
    fn each_time_at_which_something_is_due_has_its_look_and_many_share_one() {
        let mut planned = Planned::new();
        let at = |ms| planned.start + Duration::from_millis(ms);
        let [now, early, shared, late] = [3, 12, 17, 500].map(at);
        planned.soon(now);
        planned.soon(now);
        for due in [late, early, shared] {
            planned.when_due(due);
        }
        assert_eq!(looks(planned), [10, 20, 510]);
    }

    #[test]
    fn what_is_there_already_is_not_looked_for_later_than_what_is_due() {
        let mut planned = Planned::new();
        let now = planned.start;
        planned.when_due(now + Duration::from_secs(5));
        planned.soon(now);
        assert_eq!(looks(planned), [10, 5_010]);
    }

    /// Work delayed for days kept work of the next second from being looked for.
    #[test]
    fn looks_are_bounded_and_the_earliest_are_kept() {
        let mut planned = Planned::new();
        let start = planned.start;
        for step in (1..2_000).rev() {
            planned.when_due(start + STEP * step);
        }
        let looks = looks(planned);
        assert_eq!(looks.len(), MOST);
        assert_eq!((looks[0], looks[MOST - 1]), (20, 10_010));
    }
}
