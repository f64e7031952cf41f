//! How much users and sessions may still forward. Determined by counting, which is rare.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::store::Looks;
use crate::store::limits::Limits;
use crate::store::operation::{ForwardLimit, NewForward};

/// Maximum number of users, and of sessions, for which this is remembered.
const MOST: usize = 10_000;

/// The fraction of the free room found by a count that may be used before the next count, since other connections count
/// independently. If little is free, all of it may be used.
const SHARE: i64 = 8;

/// When the room is used up, the next count is delayed by this time for each row counted, so that a user with many rows
/// who keeps sending costs only a small part of the writer's time.
const PAUSE: Duration = Duration::from_micros(20);

/// What users and sessions may forward without being counted. Every writing connection has its own allowances, so what
/// is stored may exceed a limit by at most an eighth of it for each connection. Rows settled meanwhile are noticed by
/// the next count. Allowances outlive the transaction that determined them, unless it is rolled back: then the rows
/// that it deleted exist again.
pub struct Allowances {
    limits: Limits,
    users: HashMap<String, User>,
    sessions: HashMap<String, Left>,
    /// From which time on the rows of a user are counted, because none are older. Kept even when a transaction is
    /// rolled back.
    counts: HashMap<String, Looks<i64>>,
}

/// The remaining allowance of one kind.
#[derive(Clone, Copy, Debug)]
struct Left {
    left: i64,
    /// When it may be counted again.
    again: Instant,
}

#[derive(Clone, Copy, Debug)]
struct User {
    rows: Left,
    bytes: Left,
}

/// The result of a count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub of_session: i64,
    pub of_user: i64,
    pub bytes_of_user: i64,
    /// No row was stored before this time.
    pub since: i64,
}

impl Counted {
    /// The same after further rows of the session with this number of bytes.
    pub fn plus(self, rows: i64, bytes: i64) -> Counted {
        Counted {
            of_session: self.of_session + rows,
            of_user: self.of_user + rows,
            bytes_of_user: self.bytes_of_user + bytes,
            since: self.since,
        }
    }
}

/// Whether something may be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    Yes,
    No(ForwardLimit),
    /// Not within the known allowance, but a count may find more room.
    Unknown,
}

impl Allowances {
    pub fn new(limits: Limits) -> Allowances {
        Allowances {
            limits,
            users: HashMap::new(),
            sessions: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    /// From which time on the rows of a user are to be counted. `None`: all of them.
    pub fn count_since(&mut self, user_id: &str, now: Instant) -> Option<i64> {
        self.counts.get_mut(user_id)?.begin(now)
    }

    /// The rows of a user were counted, which took this long. None was stored before `since`.
    pub fn counted_since(&mut self, user_id: &str, since: i64, took: Duration, now: Instant) {
        if self.counts.len() >= MOST && !self.counts.contains_key(user_id) {
            self.counts.clear();
        }
        let looks = self.counts.entry(user_id.to_owned()).or_default();
        looks.end(since, took, now);
    }

    /// Whether this may be forwarded. If so, it is deducted.
    pub fn spend(&mut self, work: &NewForward, now: Instant) -> Allowed {
        let bytes = work.bytes() as i64;
        let user = self.users.get_mut(&work.user_id);
        let session = self.sessions.get_mut(&work.sid);
        let (Some(user), Some(session)) = (user, session) else {
            return Allowed::Unknown;
        };
        let (limit, again) = if session.left < 1 {
            (ForwardLimit::Session, session.again)
        } else if user.rows.left < 1 {
            (ForwardLimit::User, user.rows.again)
        } else if user.bytes.left < bytes {
            (ForwardLimit::Bytes, user.bytes.again)
        } else {
            session.left -= 1;
            user.rows.left -= 1;
            user.bytes.left -= bytes;
            return Allowed::Yes;
        };
        match again <= now {
            true => Allowed::Unknown,
            false => Allowed::No(limit),
        }
    }

    /// Records the result of a count that does not include `work`. Where there was nothing, one row is always allowed,
    /// however large.
    pub fn learn(&mut self, work: &NewForward, counted: Counted, now: Instant) {
        let (limits, bytes) = (self.limits, work.bytes() as i64);
        let pause = PAUSE * u32::try_from(counted.of_user).unwrap_or(u32::MAX);
        let left = |max: i64, counted: i64, wanted: i64| {
            let free = max - counted;
            let all = free <= (max / (2 * SHARE)).max(SHARE);
            match all || free <= wanted {
                true => Left {
                    left: free,
                    again: now + pause,
                },
                false => Left {
                    left: (free / SHARE).max(wanted),
                    again: now,
                },
            }
        };
        let max_bytes = match counted.of_user {
            0 => limits.forwarded_bytes_of_user.max(bytes),
            _ => limits.forwarded_bytes_of_user,
        };
        let user = User {
            rows: left(limits.forwarded_of_user, counted.of_user, 1),
            bytes: left(max_bytes, counted.bytes_of_user, bytes),
        };
        if self.users.len() >= MOST {
            self.users.clear();
        }
        self.users.insert(work.user_id.clone(), user);
        if self.sessions.len() >= MOST {
            self.sessions.clear();
        }
        let session = left(limits.forwarded_of_session, counted.of_session, 1);
        self.sessions.insert(work.sid.clone(), session);
    }

    /// A transaction was rolled back.
    pub fn forget(&mut self) {
        self.users.clear();
        self.sessions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::operation::Begins;
    use crate::wire::MessageType;

    const LIMITS: Limits = Limits {
        outbox: 0,
        outbox_bytes: 0,
        outbox_bytes_of_user: 0,
        values_of_topic: 0,
        kept_of_user: 0,
        kept_bytes_of_user: 0,
        forwarded_of_session: 80,
        forwarded_of_user: 160,
        forwarded_bytes_of_user: 8_000,
    };

    fn work(user: &str, session: &str, bytes: usize) -> NewForward {
        let text = "x".repeat(bytes - 2);
        NewForward {
            service: "service".into(),
            endpoint: "endpoint".into(),
            sid: session.into(),
            user_id: user.into(),
            cmid: None,
            kind: MessageType::Send,
            tid: "tid".into(),
            msg: serde_json::value::to_raw_value(&text).unwrap(),
            correlation: None,
            debug: None,
            left: None,
            adapted: None,
            here: true,
            begins: Begins::AT_ONCE,
            key: None,
        }
    }

    fn counted(of_session: i64, of_user: i64, bytes_of_user: i64) -> Counted {
        Counted {
            of_session,
            of_user,
            bytes_of_user,
            since: 0,
        }
    }

    /// Forwards until a count is needed or it is refused. Returns how many were allowed, and the result that ended it.
    fn spend_all(allowances: &mut Allowances, work: &NewForward, now: Instant) -> (u32, Allowed) {
        let mut spent = 0;
        loop {
            match allowances.spend(work, now) {
                Allowed::Yes => spent += 1,
                end => return (spent, end),
            }
        }
    }

    #[test]
    fn part_of_the_free_room_is_used_before_the_next_count() {
        let (mut all, now) = (Allowances::new(LIMITS), Instant::now());
        let (one, other) = (work("anna", "s1", 10), work("anna", "s2", 10));
        assert_eq!(all.spend(&one, now), Allowed::Unknown);
        all.learn(&one, counted(0, 0, 0), now);
        assert_eq!(spend_all(&mut all, &one, now), (10, Allowed::Unknown));
        assert_eq!(all.spend(&other, now), Allowed::Unknown);
        all.learn(&other, counted(0, 10, 100), now);
        assert_eq!(all.spend(&other, now), Allowed::Yes);
        assert_eq!(
            all.spend(&work("berta", "s3", 10), now),
            Allowed::Unknown,
            "of another user nothing is known"
        );
        all.forget();
        assert_eq!(all.spend(&other, now), Allowed::Unknown);
    }

    #[test]
    fn each_limit_is_reported_and_counted_again_only_after_a_pause() {
        let (mut all, now) = (Allowances::new(LIMITS), Instant::now());
        let work = work("anna", "s1", 10);
        for (found, limit) in [
            (counted(80, 100, 1_000), ForwardLimit::Session),
            (counted(79, 160, 1_000), ForwardLimit::User),
            (counted(79, 159, 7_995), ForwardLimit::Bytes),
        ] {
            all.learn(&work, found, now);
            let pause = PAUSE * found.of_user as u32;
            assert_eq!(all.spend(&work, now), Allowed::No(limit));
            let before = now + pause - Duration::from_nanos(1);
            assert_eq!(all.spend(&work, before), Allowed::No(limit));
            assert_eq!(all.spend(&work, now + pause), Allowed::Unknown);
        }
    }

    /// Nobody is refused while there is room, and a user near a limit is not counted for each message.
    #[test]
    fn a_little_free_room_is_used_completely() {
        let (mut all, now) = (Allowances::new(LIMITS), Instant::now());
        let work = work("anna", "s1", 10);
        all.learn(&work, counted(73, 100, 1_000), now);
        let (spent, end) = spend_all(&mut all, &work, now);
        assert_eq!((spent, end), (7, Allowed::No(ForwardLimit::Session)));
    }

    #[test]
    fn a_row_beyond_the_limit_is_accepted_if_it_is_the_only_one() {
        let (mut all, now) = (Allowances::new(LIMITS), Instant::now());
        let huge = work("anna", "s1", 9_000);
        all.learn(&huge, counted(0, 1, 1), now);
        assert_eq!(all.spend(&huge, now), Allowed::No(ForwardLimit::Bytes));
        all.learn(&huge, counted(0, 0, 0), now);
        assert_eq!(all.spend(&huge, now), Allowed::Yes);
    }
}
