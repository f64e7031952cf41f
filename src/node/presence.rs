//! Users whose sessions have come or gone on this node, until the store has been told.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most users noted at a time. (They are settled every second or so. Beyond that number, all users are reviewed instead.)
const MOST_USERS: usize = 50_000;

/// Notes whose presence may have changed. A node has it only if presence is switched on.
#[derive(Debug)]
pub(crate) struct Presence {
    /// The topic on which changes are published.
    pub(crate) topic: String,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    users: HashSet<String>,
    /// Not all were noted, or a review has failed.
    review: bool,
}

impl Presence {
    pub(crate) fn new(topic: String) -> Presence {
        let noted = Mutex::default();
        Presence { topic, noted }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of this user has come or gone, and this is committed.
    pub(crate) fn note(&self, user_id: &str) {
        let mut noted = self.noted();
        if noted.users.contains(user_id) {
            return;
        }
        match noted.users.len() < MOST_USERS {
            true => drop(noted.users.insert(user_id.to_owned())),
            false => noted.review = true,
        }
    }

    /// Takes at most this many of the users noted.
    pub(crate) fn take(&self, most: usize) -> Vec<String> {
        let users = &mut self.noted().users;
        if users.len() <= most {
            return std::mem::take(users).into_iter().collect();
        }
        let some: Vec<String> = users.iter().take(most).cloned().collect();
        for user in &some {
            users.remove(user);
        }
        some
    }

    /// These users could not be settled.
    pub(crate) fn put_back(&self, users: &[String]) {
        for user in users {
            self.note(user);
        }
    }

    /// All users must be reviewed, whatever other nodes do.
    pub(crate) fn needs_review(&self) {
        self.noted().review = true;
    }

    /// Whether all users must be reviewed, as reported once.
    pub(crate) fn take_review(&self) -> bool {
        std::mem::take(&mut self.noted().review)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_is_taken_once_in_parts() {
        let presence = Presence::new("topic".into());
        for user in ["a", "b", "a", "c"] {
            presence.note(user);
        }
        let mut all = presence.take(2);
        assert_eq!(all.len(), 2);
        all.extend(presence.take(2));
        all.sort_unstable();
        assert_eq!(all, ["a", "b", "c"]);
        assert!(presence.take(2).is_empty());
        presence.put_back(&all);
        assert_eq!(presence.take(10).len(), 3);
        assert!(!presence.take_review());
    }

    #[test]
    fn too_many_users_are_reviewed_instead() {
        let presence = Presence::new("topic".into());
        for user in 0..=MOST_USERS {
            presence.note(&user.to_string());
        }
        assert!(presence.take_review());
        assert!(!presence.take_review(), "once");
        assert_eq!(presence.take(usize::MAX).len(), MOST_USERS);
    }
}
