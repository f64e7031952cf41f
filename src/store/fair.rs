//! Decides what comes next when more is waiting than one group can take: users take turns, and so do the sessions of
//! each user, so that a flood delays only its sender.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The account on which something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// A hash of the user's id.
    pub user: u64,
    /// One of the user's sessions.
    pub session: u64,
}

/// How much cost a user may incur before it is the next user's turn, in bytes.
const QUANTUM: usize = 16 * 1024;
/// Cost of the smallest item, in bytes: an operation is work even if it carries no data.
const LEAST_COST: usize = 256;
/// In the presence of other users, a group ends after this number of items once it consists of one user's items only,
/// because whatever arrives next waits for the group to end.
const MOST_OF_ONE: usize = 64;
/// How long other users count as present after one was seen.
const OTHERS_STAY: Duration = Duration::from_secs(1);

/// An item that waits in a fair queue.
pub trait Shared {
    /// The account on which it waits.
    fn share(&self) -> Share;

    /// Bytes that it carries.
    fn bytes(&self) -> usize;

    /// Whether nothing may follow it in the same group.
    fn ends_group(&self) -> bool {
        false
    }
}

/// A queue that is fair between users (deficit round-robin by bytes) and between the sessions of one user. Items of one
/// session leave in the order in which they entered.
///
/// While everything fits into one group, there is nothing to arbitrate, and the queue costs no more than a plain one.
pub struct Fair<T> {
    /// Not yet sorted by user.
    arrived: VecDeque<T>,
    users: Turns<u64, User<T>>,
    sorted: usize,
    bytes: usize,
    crowd: Crowd,
}

/// Finds the user who sends most of what arrives, without counting every user (the Boyer–Moore majority vote).
#[derive(Default)]
struct Crowd {
    most: Option<u64>,
    /// Lower bound for the lead of that user over all others together, among the items not sorted yet.
    lead: usize,
    /// Whether other users were seen since the last check.
    others: bool,
    others_until: Option<Instant>,
}

impl Crowd {
    fn count(&mut self, user: u64) {
        if *self.most.get_or_insert(user) == user {
            self.lead += 1;
            return;
        }
        self.others = true;
        match self.lead.checked_sub(1) {
            Some(lead) => self.lead = lead,
            None => (self.most, self.lead) = (Some(user), 1),
        }
    }

    /// Whether other users were seen a short time ago.
    fn is_mixed(&mut self) -> bool {
        let now = Instant::now();
        if std::mem::take(&mut self.others) {
            self.others_until = Some(now + OTHERS_STAY);
        }
        self.others_until.is_some_and(|until| until > now)
    }
}

/// The waiting items of one user.
struct User<T> {
    sessions: Turns<u64, VecDeque<T>>,
    /// What the user may still take in this turn.
    deficit: usize,
}

/// Values that take turns.
struct Turns<K, V> {
    of: HashMap<K, V>,
    turn: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V> Turns<K, V> {
    fn new() -> Turns<K, V> {
        Turns {
            of: HashMap::new(),
            turn: VecDeque::new(),
        }
    }

    /// The value for this key; a new one comes last.
    fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.of.entry(key).or_insert_with(|| {
            self.turn.push_back(key);
            new()
        })
    }

    /// Whose turn it is.
    fn first(&mut self) -> Option<&mut V> {
        self.of.get_mut(self.turn.front()?)
    }

    /// Removes the first value, which has nothing left.
    fn remove_first(&mut self) {
        if let Some(key) = self.turn.pop_front() {
            self.of.remove(&key);
        }
    }

    /// Ends the first value's turn.
    fn next(&mut self) {
        if !self.turn.is_empty() {
            self.turn.rotate_left(1);
        }
    }
}

impl<T> User<T> {
    fn new() -> User<T> {
        User {
            sessions: Turns::new(),
            deficit: QUANTUM,
        }
    }
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Fair {
            arrived: VecDeque::new(),
            users: Turns::new(),
            sorted: 0,
            bytes: 0,
            crowd: Crowd::default(),
        }
    }
}

impl<T: Shared> Fair<T> {
    pub fn len(&self) -> usize {
        self.arrived.len() + self.sorted
    }

    pub fn push(&mut self, item: T) {
        self.bytes += item.bytes();
        self.crowd.count(item.share().user);
        self.arrived.push_back(item);
    }

    /// Moves the next items into `group`, until it has `most` items or its items have at least `most_bytes` bytes.
    pub fn take(&mut self, group: &mut Vec<T>, most: usize, most_bytes: usize) {
        let room = most.saturating_sub(group.len());
        let mixed = self.len().min(most) > MOST_OF_ONE && self.crowd.is_mixed();
        let dominated = mixed && self.crowd.lead > MOST_OF_ONE;
        if self.len() > room || self.bytes > most_bytes || self.sorted > 0 || dominated {
            self.sort();
        }
        let mut bytes = 0;
        while group.len() < most && bytes < most_bytes {
            if mixed && group.len() >= MOST_OF_ONE && self.users.turn.len() == 1 {
                break;
            }
            let Some(item) = self.next() else { break };
            bytes += item.bytes();
            let ends = item.ends_group();
            group.push(item);
            if ends {
                break;
            }
        }
        if self.arrived.is_empty() {
            self.crowd.lead = 0;
        }
    }

    fn sort(&mut self) {
        self.crowd.lead = 0;
        for item in self.arrived.drain(..) {
            let Share { user, session } = item.share();
            let user = self.users.entry(user, User::new);
            user.sessions.entry(session, VecDeque::new).push_back(item);
            self.sorted += 1;
        }
    }

    fn next(&mut self) -> Option<T> {
        let item = match self.sorted {
            0 => self.arrived.pop_front()?,
            _ => self.next_sorted()?,
        };
        self.bytes = self.bytes.saturating_sub(item.bytes());
        Some(item)
    }

    fn next_sorted(&mut self) -> Option<T> {
        loop {
            let alone = self.users.turn.len() == 1;
            let user = self.users.first()?;
            let session = user.sessions.first()?;
            let cost = session.front()?.bytes().max(LEAST_COST);
            if cost > user.deficit && !alone {
                user.deficit += QUANTUM;
                self.users.next();
                continue;
            }
            user.deficit = user.deficit.saturating_sub(cost);
            let item = session.pop_front()?;
            match session.is_empty() {
                true => user.sessions.remove_first(),
                false => user.sessions.next(),
            }
            if user.sessions.turn.is_empty() {
                self.users.remove_first();
            }
            self.sorted -= 1;
            return Some(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// User, session, number, bytes.
    #[derive(Debug, PartialEq)]
    struct Item(u64, u64, u32, usize);

    impl Shared for Item {
        fn share(&self) -> Share {
            Share {
                user: self.0,
                session: self.1,
            }
        }

        fn bytes(&self) -> usize {
            self.3
        }
    }

    fn take(fair: &mut Fair<Item>, most: usize) -> Vec<Item> {
        let mut group = Vec::new();
        fair.take(&mut group, most, usize::MAX);
        group
    }

    #[test]
    fn what_fits_is_taken_in_order_of_arrival() {
        let mut fair = Fair::default();
        for number in 0..6 {
            fair.push(Item(u64::from(number % 2), 0, number, 0));
        }
        let numbers: Vec<u32> = take(&mut fair, 6).iter().map(|item| item.2).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        assert_eq!(fair.len(), 0);
    }

    #[test]
    fn a_flood_is_taken_in_small_groups_when_others_are_present() {
        let mut fair = Fair::default();
        let flood = |fair: &mut Fair<Item>| {
            for number in 0..400 {
                fair.push(Item(1, u64::from(number % 40), number, 0));
            }
        };
        flood(&mut fair);
        assert_eq!(take(&mut fair, 500).len(), 400, "nobody else was there");
        flood(&mut fair);
        fair.push(Item(2, 0, 0, 0));
        let group = take(&mut fair, 500);
        assert!(group.iter().any(|item| item.0 == 2), "{group:?}");
        assert_eq!(group.len(), MOST_OF_ONE + 1);
        assert_eq!(take(&mut fair, 500).len(), MOST_OF_ONE, "others may come");
        while !take(&mut fair, 500).is_empty() {}
        for number in 0..400 {
            fair.push(Item(u64::from(number % 100), 0, number, 0));
        }
        assert_eq!(take(&mut fair, 500).len(), 400, "nobody sends most of it");
    }

    #[test]
    fn one_users_flood_delays_nobody_else_and_the_order_of_each_session_is_kept() {
        let mut fair = Fair::default();
        for number in 0..10_000 {
            fair.push(Item(1, u64::from(number % 40), number, 0));
        }
        for user in 2..12 {
            fair.push(Item(user, 0, 0, 0));
            fair.push(Item(user, 0, 1, 0));
        }
        let first = take(&mut fair, 500);
        let bystanders: Vec<_> = first.iter().filter(|item| item.0 != 1).collect();
        assert_eq!(bystanders.len(), 20, "all of theirs is in the first group");
        let mut newest: HashMap<(u64, u64), u32> = HashMap::new();
        let mut seen = 0;
        let mut group = first;
        while !group.is_empty() {
            for Item(user, session, number, _) in &group {
                let before = newest.insert((*user, *session), *number);
                assert!(before.is_none_or(|before| before < *number));
                seen += 1;
            }
            group = take(&mut fair, 500);
        }
        assert_eq!(seen, 10_020);
    }

    #[test]
    fn a_user_with_one_session_gets_as_much_as_one_with_forty() {
        let mut fair = Fair::default();
        for number in 0..4_000 {
            fair.push(Item(1, u64::from(number % 40), number, 1_000));
        }
        for number in 0..1_000 {
            fair.push(Item(2, 0, number, 1_000));
        }
        let group = take(&mut fair, 1_000);
        let theirs = group.iter().filter(|item| item.0 == 2).count();
        assert!((450..=550).contains(&theirs), "{theirs} of 1000");
        let sessions: std::collections::HashSet<_> = group
            .iter()
            .filter(|item| item.0 == 1)
            .map(|item| item.1)
            .collect();
        assert_eq!(sessions.len(), 40, "each of his sessions has its turn");
    }

    #[test]
    fn large_items_delay_only_their_user() {
        let mut fair = Fair::default();
        for number in 0..20 {
            fair.push(Item(1, 0, number, 4 << 20));
        }
        for number in 0..600 {
            fair.push(Item(2, 0, number, 100));
        }
        let group = take(&mut fair, 500);
        let large = group.iter().filter(|item| item.0 == 1).count();
        assert!(large <= 1, "{large} large ones before 500 small ones");
        let rest = std::iter::from_fn(|| Some(take(&mut fair, 1_000).len()));
        let rest: usize = rest.take_while(|taken| *taken > 0).sum();
        assert_eq!(group.len() + rest, 620);
    }

    #[test]
    fn a_group_is_bounded_in_bytes() {
        let mut fair = Fair::default();
        for number in 0..10 {
            fair.push(Item(1, 0, number, 10));
        }
        let mut group = Vec::new();
        fair.take(&mut group, 100, 25);
        assert_eq!(group.len(), 3, "it ends with the item that fills it");
        assert_eq!(fair.len(), 7);
    }
}
