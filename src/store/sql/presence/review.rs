//! Finds users to be settled whom no node has noted.

use std::collections::HashSet;

use diesel::prelude::*;

use super::super::MOST_VALUES;
use super::super::schema::{presence, presence_clock, session};
use super::{CLOCK, Transaction};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    pub fn look_at_presence(&mut self, op: &LookAtPresence) -> DbResult<PresenceDue> {
        let now = self.lease_time()?;
        let before = now.saturating_sub(ms(op.grace));
        let due: Option<i64> = presence::table
            .filter(presence::absent.le(before))
            .order(presence::absent)
            .limit(1)
            .select(presence::absent.assume_not_null())
            .get_result(self.raw_conn())
            .optional()?;
        let (_, reviewed, nodes): (i64, i64, String) = presence_clock::table
            .find(1)
            .select(CLOCK)
            .get_result(self.raw_conn())?;
        let living = self.living_nodes(now)?;
        Ok(PresenceDue {
            leaves: due.is_some(),
            review: is_due((reviewed, &nodes), &listed(&living), now, ms(op.review)),
        })
    }

    pub fn claim_presence_review(&mut self, op: &ClaimPresenceReview) -> DbResult<bool> {
        let (_, reviewed, nodes) = self.lock_presence()?;
        let now = self.lease_time()?;
        if !self.lives(now)? {
            return Ok(false);
        }
        let living = listed(&self.living_nodes(now)?);
        if !is_due((reviewed, &nodes), &living, now, ms(op.review)) {
            return Ok(false);
        }
        diesel::update(presence_clock::table.find(1))
            .set((
                presence_clock::reviewed.eq(now),
                presence_clock::nodes.eq(living),
            ))
            .execute(self.raw_conn())?;
        Ok(true)
    }

    pub fn review_presence(&mut self, op: &ReviewPresence) -> DbResult<PresenceReviewed> {
        let now = self.lease_time()?;
        let living = self.living_nodes(now)?;
        match op.of {
            Reviewed::Present => self.review_present(op, &living),
            Reviewed::WithSessions => self.review_sessions(op, &living),
        }
    }

    /// Users who are present, and not connected any more.
    fn review_present(
        &mut self,
        op: &ReviewPresence,
        living: &HashSet<String>,
    ) -> DbResult<PresenceReviewed> {
        let mut page = presence::table
            .order(presence::user_id)
            .limit(op.limit.into())
            .select((presence::user_id, presence::absent))
            .into_boxed();
        if let Some(after) = &op.after {
            page = page.filter(presence::user_id.gt(after));
        }
        let page: Vec<(String, Option<i64>)> = page.load(self.raw_conn())?;
        let is_full = page.len() >= op.limit as usize;
        let next = page.last().filter(|_| is_full);
        let next = next.map(|(user, _)| user.clone());
        let known = page.into_iter().filter(|(_, absent)| absent.is_none());
        let mut users: Vec<String> = known.map(|(user, _)| user).collect();
        for part in users.clone().chunks(MOST_VALUES) {
            let connected = self.connected_since(part, living)?;
            users.retain(|user| !connected.contains_key(user));
        }
        Ok(PresenceReviewed { users, next })
    }

    /// Users who are connected, and not present, or believed to be gone.
    fn review_sessions(
        &mut self,
        op: &ReviewPresence,
        living: &HashSet<String>,
    ) -> DbResult<PresenceReviewed> {
        let mut page = session::table
            .order(session::user_id)
            .limit(op.limit.into())
            .select((session::user_id, session::node))
            .into_boxed();
        if let Some(after) = &op.after {
            page = page.filter(session::user_id.gt(after));
        }
        let page: Vec<(String, Option<String>)> = page.load(self.reset_conn()?)?;
        let is_full = page.len() >= op.limit as usize;
        let next = page.last().filter(|_| is_full);
        let next = next.map(|(user, _)| user.clone());
        let mut users: Vec<String> = page
            .into_iter()
            .filter(|(user, node)| {
                let lives = node.as_ref().is_some_and(|node| living.contains(node));
                // More of the last one's sessions may follow.
                lives || next.as_ref() == Some(user)
            })
            .map(|(user, _)| user)
            .collect();
        users.dedup();
        for part in users.clone().chunks(MOST_VALUES) {
            let present: Vec<String> = presence::table
                .filter(presence::user_id.eq_any(part))
                .filter(presence::absent.is_null())
                .select(presence::user_id)
                .load(self.raw_conn())?;
            let present: HashSet<String> = present.into_iter().collect();
            users.retain(|user| !present.contains(user));
        }
        Ok(PresenceReviewed { users, next })
    }
}

/// Whether a review is due, after one at this time, when these nodes lived. (That time is in the future if the clock has
/// been set back since.)
fn is_due((reviewed, nodes): (i64, &str), living: &str, now: i64, interval: i64) -> bool {
    nodes != living || reviewed > now || reviewed <= now.saturating_sub(interval)
}

/// The names in order, as one text.
fn listed(nodes: &HashSet<String>) -> String {
    let mut names: Vec<&str> = nodes.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.join("\n")
}
