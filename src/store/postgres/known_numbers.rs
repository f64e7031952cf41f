//! The sequence numbers that clients are known to have received: the acknowledged one and all before it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The highest number acknowledged by each session of the last sweep. It stays true whatever is rolled back.
#[derive(Default)]
pub struct KnownNumbers(Mutex<HashMap<i64, i64>>);

impl KnownNumbers {
    /// The numbers of these sessions, 0 where none is known. From now on, only these sessions are tracked.
    pub fn of(&self, sessions: &[i64]) -> Vec<i64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |session: &i64| (*session, all.get(session).copied().unwrap_or(0));
        let known: Vec<(i64, i64)> = sessions.iter().map(known).collect();
        *all = known.iter().copied().collect();
        known.into_iter().map(|(_, number)| number).collect()
    }

    /// Records that these sessions have acknowledged these numbers.
    pub fn note(&self, sessions: &[i64], numbers: &[i64]) {
        if sessions.is_empty() {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (session, number) in sessions.iter().zip(numbers) {
            if let Some(known) = all.get_mut(session) {
                *known = (*known).max(*number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KnownNumbers;

    #[test]
    fn the_highest_number_of_each_swept_session_is_known() {
        let known = KnownNumbers::default();
        known.note(&[1], &[9]);
        assert_eq!(known.of(&[1, 2]), [0, 0], "it was not swept yet");
        known.note(&[1, 1, 2, 3], &[4, 3, 5, 7]);
        assert_eq!(known.of(&[2, 3]), [5, 0]);
        assert_eq!(known.of(&[1, 2]), [0, 5], "it was somewhere else meanwhile");
    }
}
