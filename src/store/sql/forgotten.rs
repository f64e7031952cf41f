//! Inbox rows to be deleted, collected for a whole group.

use std::collections::{HashMap, HashSet};

use crate::store::operation::SessionKey;

/// Cmids by session.
#[derive(Default)]
pub struct Forgotten(HashMap<i64, HashSet<String>>);

impl Forgotten {
    pub fn add(&mut self, session: SessionKey, cmids: &[String]) {
        if !cmids.is_empty() {
            let of_session = self.0.entry(session.0).or_default();
            of_session.extend(cmids.iter().cloned());
        }
    }

    /// Whether this row is to be deleted; if so, that must happen before it is inserted again.
    pub fn has(&self, session: SessionKey, cmid: &str) -> bool {
        let of_session = self.0.get(&session.0);
        of_session.is_some_and(|of_session| of_session.contains(cmid))
    }

    /// The number of rows.
    #[allow(dead_code)] // not used by SQLite
    pub fn len(&self) -> usize {
        self.0.values().map(HashSet::len).sum()
    }

    /// Takes all of them, sorted.
    pub fn take(&mut self) -> Vec<(i64, String)> {
        let all = self.0.drain();
        let mut all: Vec<_> = all
            .flat_map(|(session, cmids)| cmids.into_iter().map(move |cmid| (session, cmid)))
            .collect();
        all.sort_unstable();
        all
    }
}
