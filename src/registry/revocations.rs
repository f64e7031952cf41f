//! Revocations: authorizations and rights to topics that the application has ended.
//!
//! They arrive with the publications, in the one order that all nodes see, so a lost notice cannot lose one: what was
//! published after a revocation is never handed to sessions whose right it ended.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Entry, Registry, ToSession};
use crate::logging;
use crate::mailbox::Mailbox;
use crate::store::operation::{Publication, Revocation};

/// How many revocations this node has seen; shared with the sessions.
pub(crate) type SeenRevocations = Arc<AtomicU64>;

/// A hash of a session's user, since there are many sessions. Two users may share one; the session itself compares the
/// user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserHash(u64);

impl UserHash {
    pub(crate) fn of(user_id: &str) -> UserHash {
        let mut hasher = DefaultHasher::new();
        user_id.hash(&mut hasher);
        UserHash(hasher.finish())
    }
}

/// How many revocations are remembered, for sessions that were authenticated before them and attach after them.
const REMEMBERED: usize = 1_000;

/// The most recent revocations.
pub(super) struct Revocations {
    seen: SeenRevocations,
    last: VecDeque<Arc<Revocation>>,
}

impl Revocations {
    pub(super) fn new(seen: SeenRevocations) -> Revocations {
        let last = VecDeque::new();
        Revocations { seen, last }
    }

    fn add(&mut self, revocation: Arc<Revocation>) {
        if self.last.len() >= REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(revocation);
        self.seen.fetch_add(1, Ordering::Release);
    }

    /// Sends a session those that arrived after it had seen this many.
    pub(super) fn catch_up(&self, seen: u64, to: &Mailbox<ToSession>) {
        let missed = self.seen.load(Ordering::Acquire).saturating_sub(seen);
        let missed = usize::try_from(missed).unwrap_or(usize::MAX);
        let Some(known) = self.last.len().checked_sub(missed) else {
            return to.tell(ToSession::Restart("too many revocations in the meantime"));
        };
        for revocation in self.last.range(known..) {
            to.tell(ToSession::Revoked(revocation.clone()));
        }
    }
}

impl Registry {
    /// Processes an announcement for the nodes themselves. Unknown ones, of a newer version, are ignored.
    pub(super) fn heed(&mut self, publication: &Publication) {
        let revocation = match serde_json::from_str::<Revocation>(publication.msg.get()) {
            Ok(revocation) => Arc::new(revocation),
            Err(error) => return logging::debug!("an announcement is not understood: {error}"),
        };
        // Counted first: a session that attaches from now on has either seen it or gets it.
        self.revocations.add(revocation.clone());
        let user = UserHash::of(&revocation.user_id);
        let may_be_theirs = |entry: &&Entry| entry.user.is_none_or(|it| it == user);
        for entry in self.sessions.values().filter(may_be_theirs) {
            entry.to.tell(ToSession::Revoked(revocation.clone()));
        }
    }
}
