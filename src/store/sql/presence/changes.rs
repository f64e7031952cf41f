//! Divides changes into publications of limited size.

use crate::introspection::{PresenceChange, PresentUser};
use crate::store::statements::{DbError, DbResult};

/// A publication gets no more users when it has this many bytes.
const MOST_BYTES: usize = 32 * 1024;

/// Changes in the making.
#[derive(Default)]
struct Parts {
    changes: Vec<PresenceChange>,
    /// Bytes in the last one.
    bytes: usize,
}

impl Parts {
    /// The change that gets something of this size.
    fn with_room_for(&mut self, bytes: usize) -> &mut PresenceChange {
        if self.bytes >= MOST_BYTES || self.changes.is_empty() {
            self.changes.push(PresenceChange::default());
            self.bytes = 0;
        }
        self.bytes += bytes;
        let last = self.changes.len() - 1;
        &mut self.changes[last]
    }
}

/// The changes after the one of this number, of which none is much larger than [`MOST_BYTES`].
pub fn changes(
    number: u64,
    joined: Vec<(String, i64)>,
    left: Vec<String>,
) -> DbResult<Vec<PresenceChange>> {
    let mut parts = Parts::default();
    for (user, since) in joined {
        let user = PresentUser::new(user, since);
        let bytes = serde_json::to_string(&user).map_err(unwritable)?.len();
        parts.with_room_for(bytes).joined.push(user);
    }
    for user in left {
        let bytes = serde_json::to_string(&user).map_err(unwritable)?.len();
        parts.with_room_for(bytes).left.push(user);
    }
    for (change, number) in parts.changes.iter_mut().zip(number + 1..) {
        change.number = number;
    }
    Ok(parts.changes)
}

pub fn unwritable(error: serde_json::Error) -> DbError {
    DbError::SerializationError(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_users_are_divided_into_publications_of_limited_size() {
        let long = "\"".repeat(255);
        let joined = (0..1_000).map(|number| (format!("{long}{number}"), number));
        let joined: Vec<_> = joined.collect();
        let left: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
        let changes = changes(41, joined.clone(), left.clone()).expect("they can be written");
        let numbers: Vec<_> = changes.iter().map(|change| change.number).collect();
        assert_eq!(numbers, Vec::from_iter(42..42 + changes.len() as u64));
        for change in &changes {
            let json = serde_json::to_string(change).expect("it can be written");
            assert!(json.len() < MOST_BYTES * 3 / 2, "{} bytes", json.len());
        }
        let all = changes.iter().flat_map(|change| &change.joined);
        let all: Vec<_> = all.map(|user| user.user_id.clone()).collect();
        assert_eq!(all, joined.into_iter().map(|it| it.0).collect::<Vec<_>>());
        let all = changes.iter().flat_map(|change| &change.left);
        assert_eq!(all.cloned().collect::<Vec<_>>(), left);
        assert!(changes.len() < 30, "{}", changes.len());
    }

    #[test]
    fn nothing_is_no_publication() {
        let none = super::changes(7, Vec::new(), Vec::new());
        assert!(none.expect("nothing fails").is_empty());
    }
}
