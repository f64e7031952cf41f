//! Which rows are claimed: as many as there is room for, with users taking turns.

use std::collections::HashMap;

use super::super::passed::{from, passed};
use super::super::schema::forwarded;
use crate::store::operation::{ClaimForwarded, ClaimedForwarded, Room};

/// How many rows are considered for each row that there is room for, so that users can take turns.
pub(super) const CHOICE: usize = 4;

/// Approximate maximum number of rows claimed in one transaction, for which others have to wait. The services that have
/// rows share it.
pub(super) const MOST_ROWS: usize = 500;

/// The holder of rows that may be claimed.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    Nobody,
    Node(&'a str),
}

impl Owner<'_> {
    pub(super) fn is(self, node: Option<&str>) -> bool {
        match self {
            Owner::Nobody => node.is_none(),
            Owner::Node(name) => node == Some(name),
        }
    }
}

/// A row that may be claimed: its id, its user, its bytes, and when it became due.
pub(super) type Candidate = (i64, String, i32, i64);
pub(super) const CANDIDATE: (
    forwarded::id,
    forwarded::user_id,
    forwarded::bytes,
    forwarded::due,
) = (
    forwarded::id,
    forwarded::user_id,
    forwarded::bytes,
    forwarded::due,
);

/// A claim in progress, with the room that is left.
pub(super) struct Claim<'a> {
    pub(super) op: &'a ClaimForwarded,
    /// The room for each service of the caller's node. Rows of other services are left to nodes that offer them.
    pub(super) rooms: HashMap<&'a str, Room>,
    pub(super) claimed: ClaimedForwarded,
}

impl<'a> Claim<'a> {
    pub(super) fn new(op: &'a ClaimForwarded) -> Claim<'a> {
        let rooms = op.rooms.iter().map(|(name, room)| (name.as_str(), *room));
        let mut claimed = ClaimedForwarded::default();
        if let Some(looked) = &op.looked {
            // Not every query covers every service.
            claimed.looked.free.clone_from(&looked.free);
        }
        Claim {
            op,
            rooms: rooms.collect(),
            claimed,
        }
    }

    /// The services to query, each with the earliest time at which its first row may be due.
    pub(super) fn wanted(&self, owner: Owner<'_>, now: i64) -> Vec<(String, i64)> {
        let services = self.rooms.keys().filter(|service| match owner {
            Owner::Nobody => self.has_room(service),
            // The query must find out whether the node holds anything at all.
            Owner::Node(_) => true,
        });
        let since = |service: &str| match owner {
            Owner::Nobody => from(self.claimed.looked.free.get(service).copied(), now),
            Owner::Node(_) => i64::MIN,
        };
        services
            .map(|service| ((*service).to_owned(), since(service)))
            .collect()
    }

    /// Unclaimed rows of a service were queried; `first` is when the first remaining one is due, if there is one.
    pub(super) fn note_free(&mut self, service: &str, first: Option<i64>, now: i64) {
        let since = first.unwrap_or(now).min(passed(now));
        self.claimed.looked.free.insert(service.to_owned(), since);
    }

    /// Whether a row of this service may be claimed.
    pub(super) fn has_room(&self, service: &str) -> bool {
        let room = self.rooms.get(service);
        room.is_some_and(|room| room.rows > 0 && room.bytes > 0)
    }

    /// Chooses at most `most` of a service's rows, given oldest first.
    pub(super) fn choose(
        &mut self,
        service: &str,
        candidates: Vec<Candidate>,
        most: usize,
    ) -> Vec<i64> {
        let many = candidates.len();
        let Some(room) = self.rooms.get_mut(service) else {
            return Vec::new();
        };
        let mut chosen = Vec::new();
        for (id, _, bytes, _) in in_turns(candidates) {
            if room.rows == 0 || room.bytes == 0 || chosen.len() >= most {
                break;
            }
            room.rows -= 1;
            room.bytes = room.bytes.saturating_sub(bytes.max(0) as u64);
            chosen.push(id);
        }
        if chosen.len() < many {
            self.claimed.more.insert(service.to_owned());
        }
        chosen
    }

    /// Whether enough rows are claimed. If so, services with room are reported as possibly having more, without
    /// checking.
    pub(super) fn is_enough(&mut self) -> bool {
        let enough = self.claimed.rows.len() >= MOST_ROWS;
        if enough {
            let roomy = self.rooms.iter().filter(|(_, room)| room.rows > 0);
            let more = roomy.map(|(service, _)| (*service).to_owned());
            self.claimed.more.extend(more);
        }
        enough
    }
}

/// Orders candidates so that users take turns: every user's first, then every user's second, and so on.
fn in_turns(candidates: Vec<Candidate>) -> impl Iterator<Item = Candidate> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let turn = |candidate: Candidate| {
        let count = counts.entry(candidate.1.clone()).or_default();
        *count += 1;
        (*count, candidate)
    };
    let mut turns: Vec<_> = candidates.into_iter().map(turn).collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, candidate)| candidate)
}
