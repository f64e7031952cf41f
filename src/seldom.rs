//! Rate-limits log lines that a client can cause at will, or that every message would cause while something is wrong.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Least time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// Decides when a frequent event is worth a log line: the first at once, then at most one line per interval, with the
/// number of events since the last line.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug)]
struct State {
    logged: Option<Instant>,
    /// Events without a line since then.
    unlogged: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Seldom::new()
    }
}

impl Seldom {
    pub(crate) const fn new() -> Seldom {
        Seldom(Mutex::new(State {
            logged: None,
            unlogged: 0,
        }))
    }

    /// Counts an event. `Some`: log a line now, which stands for this many events, the current one included.
    pub(crate) fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.unlogged += 1;
        if state
            .logged
            .is_some_and(|logged| now.duration_since(logged) < INTERVAL)
        {
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.unlogged))
    }
}

/// Like [`Seldom`], per named kind, for example per endpoint.
#[derive(Debug, Default)]
pub(crate) struct SeldomBy(Mutex<HashMap<String, Seldom>>);

impl SeldomBy {
    /// Most names with a count of their own. The application chooses the names; any beyond this limit share one count.
    const MOST: usize = 1_000;

    /// Counts an event of this kind.
    pub(crate) fn count(&self, kind: &str) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seldom) = kinds.get(kind) {
            return seldom.count();
        }
        let kind = if kinds.len() < Self::MOST { kind } else { "" };
        kinds.entry(kind.to_owned()).or_default().count()
    }
}

/// The suffix of a line that stands for several events.
pub(crate) fn and_others(count: u64) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(" ({count} of this kind since the last such line)"),
    }
}

/// Writes a rate-limited log line: the first at once, then one per interval, with the number of events it stands for.
/// The others are logged at debug level. Fields as in [`logging`](crate::logging).
macro_rules! log_seldom {
    ($level:ident, $($field:ident = $value:expr),+; $($words:tt)+) => {{
        static KIND: $crate::seldom::Seldom = $crate::seldom::Seldom::new();
        match KIND.count() {
            Some(count) => $crate::logging::$level!(
                $($field = $value),+;
                "{}{}", format_args!($($words)+), $crate::seldom::and_others(count)
            ),
            None => $crate::logging::debug!($($field = $value),+; $($words)+),
        }
    }};
    ($level:ident, $($words:tt)+) => {{
        static KIND: $crate::seldom::Seldom = $crate::seldom::Seldom::new();
        match KIND.count() {
            Some(count) => $crate::logging::$level!(
                "{}{}", format_args!($($words)+), $crate::seldom::and_others(count)
            ),
            None => $crate::logging::debug!($($words)+),
        }
    }};
}
pub(crate) use log_seldom;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_at_once_then_one_line_per_interval_with_the_count() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |seconds| seldom.count_at(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!((at(1), at(5), at(9)), (None, None, None));
        assert_eq!(at(10), Some(4));
        assert_eq!(at(11), None);
        assert_eq!(at(100), Some(2));
    }

    #[test]
    fn each_kind_has_its_first_line_and_their_number_is_bounded() {
        let by = SeldomBy::default();
        assert_eq!((by.count("a"), by.count("b")), (Some(1), Some(1)));
        assert_eq!((by.count("a"), by.count("b")), (None, None));
        for number in 0..2_000 {
            by.count(&format!("kind {number}"));
        }
        assert!(by.0.lock().expect("no panic").len() <= SeldomBy::MOST + 1);
    }
}
