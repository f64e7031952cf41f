//! A queue in which users take turns, and among the rows of one user, sessions.

use std::collections::{HashMap, VecDeque};

use crate::store::operation::Forwarded;

/// Waiting rows. A user with many of them delays no one else.
#[derive(Default)]
pub(super) struct FairQueue {
    users: Turns<Turns<VecDeque<Forwarded>>>,
}

impl FairQueue {
    pub(super) fn push(&mut self, row: Forwarded) {
        let user = self.users.of(&row.work.user_id);
        user.of(&row.work.sid).push_back(row);
        user.len += 1;
        self.users.len += 1;
    }

    /// The oldest row of the next session of the next user in turn.
    pub(super) fn pop(&mut self) -> Option<Forwarded> {
        self.users.pop()
    }

    /// The newest row of the user, and of the session, that has most.
    pub(super) fn pop_excess(&mut self) -> Option<Forwarded> {
        self.users.pop_excess()
    }

    pub(super) fn len(&self) -> usize {
        self.users.len
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        let sessions = self.users.rows.values().flat_map(|user| user.rows.values());
        sessions.flatten().map(|row| row.id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows in some order.
trait Rows: Default {
    fn pop(&mut self) -> Option<Forwarded>;
    fn pop_excess(&mut self) -> Option<Forwarded>;
    fn len(&self) -> usize;
}

impl Rows for VecDeque<Forwarded> {
    fn pop(&mut self) -> Option<Forwarded> {
        self.pop_front()
    }

    fn pop_excess(&mut self) -> Option<Forwarded> {
        self.pop_back()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// Several parties that take turns, one row each. Only parties with rows are in it.
struct Turns<R> {
    rows: HashMap<String, R>,
    order: VecDeque<String>,
    /// The number of all rows.
    len: usize,
}

impl<R> Default for Turns<R> {
    fn default() -> Self {
        Turns {
            rows: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
        }
    }
}

impl<R: Rows> Turns<R> {
    /// The rows of this party, which has a turn from now on. The caller must add one.
    fn of(&mut self, name: &str) -> &mut R {
        if !self.rows.contains_key(name) {
            self.order.push_back(name.to_owned());
        }
        self.rows.entry(name.to_owned()).or_default()
    }

    fn take(&mut self, name: &str, take: impl FnOnce(&mut R) -> Option<Forwarded>) -> Taken {
        let Some(rows) = self.rows.get_mut(name) else {
            return Taken {
                row: None,
                last: true,
            };
        };
        let row = take(rows);
        let last = rows.len() == 0;
        if last {
            self.rows.remove(name);
        }
        self.len -= usize::from(row.is_some());
        Taken { row, last }
    }
}

/// What was taken out of a party's rows.
struct Taken {
    row: Option<Forwarded>,
    /// It was the last one.
    last: bool,
}

impl<R: Rows> Rows for Turns<R> {
    fn pop(&mut self) -> Option<Forwarded> {
        let name = self.order.pop_front()?;
        let Taken { row, last } = self.take(&name, R::pop);
        if !last {
            self.order.push_back(name);
        }
        row
    }

    fn pop_excess(&mut self) -> Option<Forwarded> {
        let rows = |index: &usize| self.rows.get(&self.order[*index]).map_or(0, R::len);
        let most = (0..self.order.len()).max_by_key(rows)?;
        let name = self.order[most].clone();
        let Taken { row, last } = self.take(&name, R::pop_excess);
        if last {
            self.order.remove(most);
        }
        row
    }

    fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::operation::NewForward;
    use crate::wire::MessageType;

    pub(in crate::service) fn row(id: i64, user: &str, session: &str) -> Forwarded {
        let work = NewForward {
            service: "service".into(),
            endpoint: "endpoint".into(),
            sid: session.into(),
            user_id: user.into(),
            cmid: None,
            kind: MessageType::Send,
            tid: "tid".into(),
            msg: serde_json::value::to_raw_value(&1).unwrap(),
            correlation: None,
            debug: None,
            left: None,
            adapted: None,
            here: true,
            begins: crate::store::operation::Begins::AT_ONCE,
            key: None,
        };
        Forwarded {
            id,
            epoch: 1,
            secret: String::new(),
            attempts: 0,
            failing: std::time::Duration::ZERO,
            read: std::time::Instant::now(),
            work: Box::new(work),
        }
    }

    fn queue(rows: impl IntoIterator<Item = (i64, &'static str, &'static str)>) -> FairQueue {
        let mut queue = FairQueue::default();
        for (id, user, session) in rows {
            queue.push(row(id, user, session));
        }
        queue
    }

    fn order(queue: &mut FairQueue) -> Vec<i64> {
        std::iter::from_fn(|| queue.pop())
            .map(|row| row.id)
            .collect()
    }

    #[test]
    fn users_take_turns_and_then_their_sessions() {
        let mut queue = queue([
            (1, "anna", "a1"),
            (2, "anna", "a1"),
            (3, "anna", "a1"),
            (4, "anna", "a2"),
            (5, "berta", "b1"),
            (6, "berta", "b1"),
        ]);
        assert_eq!(queue.len(), 6);
        assert_eq!(order(&mut queue), [1, 5, 4, 6, 2, 3]);
        assert!(queue.is_empty() && queue.pop().is_none() && queue.pop_excess().is_none());
    }

    #[test]
    fn one_row_does_not_wait_for_a_thousand_of_another() {
        let mut queue = queue((0..1_000).map(|id| (id, "anna", "a1")));
        for id in 0..10 {
            assert_eq!(queue.pop().map(|row| row.id), Some(id));
        }
        queue.push(row(5_000, "berta", "b1"));
        let next = [queue.pop(), queue.pop()].map(|row| row.map(|row| row.id));
        assert!(next.contains(&Some(5_000)), "{next:?}");
    }

    #[test]
    fn who_has_most_gives_up_the_newest() {
        let mut queue = queue([
            (1, "berta", "b1"),
            (2, "anna", "a1"),
            (3, "anna", "a2"),
            (4, "anna", "a2"),
        ]);
        let excess: Vec<_> = std::iter::from_fn(|| queue.pop_excess())
            .map(|row| row.id)
            .take(2)
            .collect();
        assert_eq!(excess[0], 4);
        assert!([2, 3].contains(&excess[1]), "{excess:?}");
        assert_eq!(queue.len(), 2);
        let mut left = order(&mut queue);
        left.sort_unstable();
        assert!(left.contains(&1), "{left:?}");
    }
}
