//! Who is connected, as the sessions tell; and who is present, for those who ask.

use std::collections::{BTreeMap, HashSet};

use diesel::prelude::*;

use super::super::Transaction;
use super::super::schema::{presence, presence_clock, session, subscription};
use crate::clock::wall_time;
use crate::introspection::{ConnectedSession, ConnectedUser, PresencePage, PresentUser};
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// Users looked at together for a list.
const LISTED_AT_ONCE: i64 = 500;

/// The columns read of a session for its user: user, sid, node, connected, client, app name, app version.
type Columns = (
    String,
    String,
    Option<String>,
    Option<i64>,
    String,
    String,
    String,
);
const COLUMNS: (
    session::user_id,
    session::sid,
    session::node,
    session::connected,
    session::client,
    session::app_name,
    session::app_version,
) = (
    session::user_id,
    session::sid,
    session::node,
    session::connected,
    session::client,
    session::app_name,
    session::app_version,
);

impl Transaction<'_> {
    pub fn find_connected(&mut self, op: &FindConnected) -> DbResult<Option<ConnectedUser>> {
        let now = self.lease_time()?;
        let living = self.living_nodes(now)?;
        let rows: Vec<Columns> = session::table
            .filter(session::user_id.eq(&op.user_id))
            .select(COLUMNS)
            .load(self.reset_conn()?)?;
        Ok(connected(rows, &living).pop())
    }

    pub fn list_connected(&mut self, op: &ListConnected) -> DbResult<Vec<ConnectedUser>> {
        let now = self.lease_time()?;
        let living = self.living_nodes(now)?;
        let conn = self.reset_conn()?;
        let (mut users, mut after) = (Vec::new(), op.after.clone());
        while users.len() < op.limit as usize {
            let mut page = session::table
                .group_by(session::user_id)
                .order(session::user_id)
                .limit(LISTED_AT_ONCE)
                .select(session::user_id)
                .into_boxed();
            if let Some(after) = &after {
                page = page.filter(session::user_id.gt(after.clone()));
            }
            let page: Vec<String> = page.load(conn)?;
            let (Some(first), Some(last)) = (page.first(), page.last()) else {
                break;
            };
            let rows: Vec<Columns> = session::table
                .filter(session::user_id.between(first, last))
                .order(session::user_id)
                .select(COLUMNS)
                .load(conn)?;
            users.extend(connected(rows, &living));
            after = Some(last.clone());
        }
        users.truncate(op.limit as usize);
        Ok(users)
    }

    pub fn read_presence(&mut self, op: &ReadPresence) -> DbResult<Option<PresencePage>> {
        if let Some((sid, topic)) = &op.subscriber
            && !self.has_subscribed(sid, topic)?
        {
            return Ok(None);
        }
        // Before the users: whatever changes in between has a higher number, and does no harm if applied again.
        let number: i64 = presence_clock::table
            .find(1)
            .select(presence_clock::number)
            .get_result(self.raw_conn())?;
        let mut users = presence::table
            .order(presence::user_id)
            .limit(op.limit.into())
            .select((presence::user_id, presence::since))
            .into_boxed();
        if let Some(after) = &op.after {
            users = users.filter(presence::user_id.gt(after));
        }
        let users: Vec<(String, i64)> = users.load(self.raw_conn())?;
        let is_full = users.len() >= op.limit as usize;
        let next = users.last().filter(|_| is_full);
        Ok(Some(PresencePage {
            number: number.unsigned_abs(),
            next: next.map(|(user, _)| user.clone()),
            users: users.into_iter().map(present).collect(),
        }))
    }

    fn has_subscribed(&mut self, sid: &str, topic: &str) -> DbResult<bool> {
        let key: Option<i64> = session::table
            .filter(session::sid.eq(sid))
            .select(session::key)
            .get_result(self.reset_conn()?)
            .optional()?;
        let Some(key) = key else { return Ok(false) };
        let found: Option<i64> = subscription::table
            .find((key, topic))
            .select(subscription::session)
            .get_result(self.raw_conn())
            .optional()?;
        Ok(found.is_some())
    }
}

fn present((user_id, since): (String, i64)) -> PresentUser {
    PresentUser::new(user_id, since)
}

/// The users of these sessions who are connected, in the order of their ids.
fn connected(rows: Vec<Columns>, living: &HashSet<String>) -> Vec<ConnectedUser> {
    let mut users: BTreeMap<String, ConnectedUser> = BTreeMap::new();
    for (user_id, session_id, node, since, client, app_name, app_version) in rows {
        let Some(node) = node.filter(|node| living.contains(node)) else {
            continue;
        };
        let user = users
            .entry(user_id)
            .or_insert_with_key(|user_id| ConnectedUser::new(user_id.clone()));
        user.sessions.push(ConnectedSession {
            session_id,
            node,
            since: since.map(wall_time),
            client,
            app_name,
            app_version,
        });
    }
    let mut users: Vec<ConnectedUser> = users.into_values().collect();
    for user in &mut users {
        user.sessions
            .sort_by(|a, b| (a.since, &a.session_id).cmp(&(b.since, &b.session_id)));
    }
    users
}
