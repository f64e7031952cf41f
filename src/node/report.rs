//! Counts and logs what goes wrong with messages.

use std::sync::atomic::Ordering;

use super::Node;
use crate::logging;
use crate::seldom::and_others;
use crate::store::operation::EffectOutcome;
use crate::wire::shown;

impl Node {
    /// Counts and logs a client's mistake, at a limited rate.
    pub(crate) fn mistake(&self, what: &str) {
        self.counters
            .client_mistakes
            .fetch_add(1, Ordering::Relaxed);
        match self.mistakes.count() {
            Some(count) => {
                logging::info!(
                    "client mistakes since the last such line: {count}; this one: {what}"
                )
            }
            None => logging::debug!("a client's mistake: {what}"),
        }
    }

    /// Logs a handler's failure, at a limited rate.
    pub(crate) fn failed(&self, endpoint: &str, what: &str) {
        let name = shown(endpoint);
        match self.failures.count(endpoint) {
            Some(count) => {
                logging::warn!(endpoint = name; "a handler failed: {what}{}", and_others(count))
            }
            None => logging::debug!(endpoint = name; "a handler failed: {what}"),
        }
    }

    /// Counts the messages that were dropped because their session is gone, or one of several has no room.
    pub(crate) fn count_dropped(&self, effects: &[EffectOutcome]) {
        let (mut without_session, mut without_room) = (0, 0);
        for effect in effects {
            match effect {
                EffectOutcome::NoSession => without_session += 1,
                EffectOutcome::StoredForUser(stored) => without_room += stored.full.len() as u64,
                _ => {}
            }
        }
        let counters = &self.counters;
        for (counter, dropped) in [
            (&counters.messages_without_session, without_session),
            (&counters.messages_without_room, without_room),
        ] {
            if dropped > 0 {
                counter.fetch_add(dropped, Ordering::Relaxed);
            }
        }
    }
}
