//! Presence: compares users with their sessions, and publishes who has joined and left.

mod changes;
mod connected;
mod review;

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use self::changes::changes;
use super::schema::{node, presence, presence_clock, session};
use super::{MOST_VALUES, Transaction};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// The trace id of the publications.
const TRACE_ID: &str = "presence";

/// Of the clock: the newest number, when all users were reviewed, and the nodes then.
const CLOCK: (
    presence_clock::number,
    presence_clock::reviewed,
    presence_clock::nodes,
) = (
    presence_clock::number,
    presence_clock::reviewed,
    presence_clock::nodes,
);

/// What one settlement changes.
#[derive(Default)]
struct Settlement {
    joined: Vec<(String, i64)>,
    /// They have no sessions, for the first time.
    gone: Vec<String>,
    /// They have sessions again.
    back: Vec<String>,
    left: Vec<String>,
}

impl Transaction<'_> {
    pub fn settle_presence(&mut self, op: &SettlePresence) -> DbResult<SettledPresence> {
        // First: a time that was read before waiting for others would be older than theirs.
        let (number, _, _) = self.lock_presence()?;
        let now = self.lease_time()?;
        if !self.lives(now)? {
            return Ok(SettledPresence::NoLease);
        }
        let living = self.living_nodes(now)?;
        let mut settlement = Settlement::default();
        for users in op.users.chunks(MOST_VALUES) {
            self.compare(users, &living, now, &mut settlement)?;
        }
        self.note_presence(&settlement, now)?;
        let (more, came_back) = self.leave(op, &living, now, &mut settlement)?;
        self.note_back(&came_back)?;
        let (joined, left) = (settlement.joined.len(), settlement.left.len());
        let published = self.publish_presence(&op.topic, number, settlement)?;
        let count = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
        Ok(SettledPresence::Settled {
            joined: count(joined),
            left: count(left),
            published,
            more,
        })
    }

    /// Who of these users has come, gone, or come back.
    fn compare(
        &mut self,
        users: &[String],
        living: &HashSet<String>,
        now: i64,
        settlement: &mut Settlement,
    ) -> DbResult<()> {
        let connected = self.connected_since(users, living)?;
        let rows: Vec<(String, Option<i64>)> = presence::table
            .filter(presence::user_id.eq_any(users))
            .select((presence::user_id, presence::absent))
            .load(self.raw_conn())?;
        let known: HashMap<String, Option<i64>> = rows.into_iter().collect();
        for user in users {
            match (connected.get(user), known.get(user)) {
                (Some(since), None) => {
                    let since = since.map_or(now, |since| since.min(now));
                    settlement.joined.push((user.clone(), since));
                }
                (Some(_), Some(Some(_))) => settlement.back.push(user.clone()),
                (None, Some(None)) => settlement.gone.push(user.clone()),
                (Some(_), Some(None)) | (None, Some(Some(_)) | None) => {}
            }
        }
        Ok(())
    }

    /// Since when which of these users are connected, if that is known.
    pub(super) fn connected_since(
        &mut self,
        users: &[String],
        living: &HashSet<String>,
    ) -> DbResult<HashMap<String, Option<i64>>> {
        // Neither a join nor a condition on the node, for which PostgreSQL may read the sessions of whole nodes.
        let rows: Vec<(String, Option<String>, Option<i64>)> = session::table
            .filter(session::user_id.eq_any(users))
            .select((session::user_id, session::node, session::connected))
            .load(self.reset_conn()?)?;
        let mut connected: HashMap<String, Option<i64>> = HashMap::new();
        for (user, node, since) in rows {
            if node.is_some_and(|node| living.contains(&node)) {
                let earliest = connected.entry(user).or_insert(since);
                *earliest = match (*earliest, since) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
        }
        Ok(connected)
    }

    /// Notes who has joined, gone, and come back.
    fn note_presence(&mut self, settlement: &Settlement, now: i64) -> DbResult<()> {
        self.insert_present(&settlement.joined)?;
        for users in settlement.gone.chunks(MOST_VALUES) {
            diesel::update(presence::table.filter(presence::user_id.eq_any(users)))
                .set(presence::absent.eq(now))
                .execute(self.raw_conn())?;
        }
        self.note_back(&settlement.back)?;
        // The clock has been set back since: their absence would last that much longer.
        diesel::update(presence::table.filter(presence::absent.gt(now)))
            .set(presence::absent.eq(now))
            .execute(self.raw_conn())?;
        Ok(())
    }

    fn note_back(&mut self, users: &[String]) -> DbResult<()> {
        for users in users.chunks(MOST_VALUES) {
            diesel::update(presence::table.filter(presence::user_id.eq_any(users)))
                .set(presence::absent.eq(None::<i64>))
                .execute(self.raw_conn())?;
        }
        Ok(())
    }

    /// Lets users leave whose absence has lasted for the grace. Returns whether there are more, and who of them has come
    /// back without anybody having noted it.
    fn leave(
        &mut self,
        op: &SettlePresence,
        living: &HashSet<String>,
        now: i64,
        settlement: &mut Settlement,
    ) -> DbResult<(bool, Vec<String>)> {
        let due: Vec<String> = presence::table
            .filter(presence::absent.le(now.saturating_sub(ms(op.grace))))
            .order(presence::absent)
            .limit(op.limit.into())
            .select(presence::user_id)
            .load(self.raw_conn())?;
        let more = due.len() >= op.limit as usize;
        let mut back = Vec::new();
        for users in due.chunks(MOST_VALUES) {
            let connected = self.connected_since(users, living)?;
            let (here, left): (Vec<_>, Vec<_>) = users
                .iter()
                .cloned()
                .partition(|user| connected.contains_key(user));
            diesel::delete(presence::table.filter(presence::user_id.eq_any(&left)))
                .execute(self.raw_conn())?;
            settlement.left.extend(left);
            back.extend(here);
        }
        Ok((more, back))
    }

    /// Publishes what has changed since the change of this number, in parts of limited size. Returns how many.
    fn publish_presence(
        &mut self,
        topic: &str,
        number: i64,
        settlement: Settlement,
    ) -> DbResult<u32> {
        let changes = changes(number.unsigned_abs(), settlement.joined, settlement.left)?;
        let Some(last) = changes.last() else {
            return Ok(0);
        };
        let newest = i64::try_from(last.number).unwrap_or(i64::MAX);
        diesel::update(presence_clock::table.find(1))
            .set(presence_clock::number.eq(newest))
            .execute(self.raw_conn())?;
        for change in &changes {
            let json = serde_json::to_string(change).map_err(changes::unwritable)?;
            self.publish(topic, TRACE_ID, &json)?;
        }
        Ok(u32::try_from(changes.len()).unwrap_or(u32::MAX))
    }

    /// The names of the nodes whose leases are valid.
    pub fn living_nodes(&mut self, now: i64) -> DbResult<HashSet<String>> {
        let names: Vec<String> = node::table
            .filter(node::lease_until.gt(now))
            .select(node::name)
            .load(self.raw_conn())?;
        Ok(names.into_iter().collect())
    }

    /// Locks the order of changes, until this transaction ends.
    pub fn lock_presence(&mut self) -> DbResult<(i64, i64, String)> {
        locked!(presence_clock::table.find(1).select(CLOCK)).get_result(self.raw_conn())
    }
}
