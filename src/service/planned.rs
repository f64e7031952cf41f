//! When a node looks for work, in addition to its intervals: when it hears of new work, and when delayed work is due.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Looks are planned at multiples of this, so that there are at most a hundred per second, however much is due.
const STEP: Duration = Duration::from_millis(10);

/// Most looks that are planned at a time. What is due otherwise is found by the intervals.
const MOST: usize = 1_000;

/// The planned looks.
pub(super) struct Planned {
    start: Instant,
    /// Looks are planned at most this far ahead: what is due later is left to the intervals.
    ahead: Duration,
    looks: BTreeSet<Instant>,
}

impl Planned {
    pub(super) fn new(ahead: Duration) -> Planned {
        Planned {
            start: Instant::now(),
            ahead,
            looks: BTreeSet::new(),
        }
    }

    /// There is work already. Returns when to look, unless a look is planned that is soon enough.
    pub(super) fn soon(&mut self, now: Instant) -> Option<Instant> {
        let at = self.step_after(now);
        let is_planned = self.looks.first().is_some_and(|next| *next <= at);
        (!is_planned && self.looks.insert(at)).then_some(at)
    }

    /// There is work at this time. Returns when to look, unless a look is planned just then, or happens first anyway.
    pub(super) fn when_due(&mut self, due: Instant, now: Instant) -> Option<Instant> {
        if due.saturating_duration_since(now) >= self.ahead || self.looks.len() >= MOST {
            return None;
        }
        let at = self.step_after(due);
        self.looks.insert(at).then_some(at)
    }

    /// The time of a look has come.
    pub(super) fn has_come(&mut self, at: Instant) {
        self.looks.remove(&at);
    }

    fn step_after(&self, time: Instant) -> Instant {
        let steps = time.saturating_duration_since(self.start).as_millis() / STEP.as_millis() + 1;
        self.start + STEP * u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An early look made the later ones be forgotten: that work waited for the next interval.
    #[test]
    fn each_time_at_which_something_is_due_has_its_look_and_many_share_one() {
        let mut planned = Planned::new(Duration::from_secs(1));
        let start = planned.start;
        let at = |ms| start + Duration::from_millis(ms);
        let [now, early, shared, late, far] = [3, 12, 17, 500, 1_003].map(at);
        let [soon, second, third] = [10, 20, 510].map(at);
        assert_eq!(planned.soon(now), Some(soon));
        assert_eq!(planned.soon(now), None, "one is planned");
        assert_eq!(planned.when_due(early, now), Some(second));
        assert_eq!(planned.when_due(shared, now), None, "it shares the look");
        assert_eq!(planned.when_due(late, now), Some(third));
        assert_eq!(planned.when_due(far, now), None, "an interval is earlier");
        planned.has_come(soon);
        assert_eq!(planned.soon(soon), None, "the next one is soon enough");
        planned.has_come(second);
        assert!(planned.soon(second).is_some());
    }

    #[test]
    fn looks_are_bounded() {
        let mut planned = Planned::new(Duration::from_secs(3_600));
        let now = planned.start;
        let due = |step: u32| now + STEP * step;
        let looks = (0..2_000).filter_map(|step| planned.when_due(due(step), now));
        assert_eq!(looks.count(), MOST);
    }
}
