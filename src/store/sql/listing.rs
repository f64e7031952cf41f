//! Lists and counts sessions.

use diesel::prelude::*;

use super::Transaction;
use super::schema::{node, session};
use crate::clock::wall_time;
use crate::store::operation::*;
use crate::store::statements::DbResult;
use crate::store::version;

/// Sessions read at a time for a list. (What is listed of one takes a few KiB at most.)
const LISTED_AT_ONCE: usize = 500;

/// The columns listed for a session.
type Columns = (
    String,
    String,
    Option<String>,
    String,
    String,
    String,
    i64,
    i64,
);

/// A boxed query of sessions and nodes with all filters except the version, which SQL cannot compare.
macro_rules! only_wanted {
    ($query:expr, $filter:expr) => {{
        let mut query = $query;
        if $filter.connected_only {
            query = query.filter(node::name.is_not_null());
        }
        if let Some(user_id) = &$filter.user_id {
            query = query.filter(session::user_id.eq(user_id));
        }
        if let Some(app_name) = &$filter.app_name {
            query = query.filter(session::app_name.eq(app_name));
        }
        if let Some(session_id) = &$filter.session_id {
            query = query.filter(session::sid.eq(session_id));
        }
        if let Some(number) = $filter.number_above {
            query = query.filter(session::key.gt(number));
        }
        if let Some(number) = $filter.number_below {
            query = query.filter(session::key.lt(number));
        }
        query
    }};
}

impl Transaction<'_> {
    pub fn list_sessions(&mut self, op: &ListSessions) -> DbResult<Vec<StoredSession>> {
        let now = self.lease_time()?;
        let conn = self.reset_conn()?;
        let mut sessions = Vec::new();
        let mut filter = op.filter.clone();
        // SQL cannot compare versions, so all candidates are read, page by page.
        while sessions.len() < op.limit as usize {
            let most = (op.limit as usize).min(LISTED_AT_ONCE);
            let mut query = with_living_nodes!(now)
                .limit(most as i64)
                .select((
                    session::key,
                    (
                        session::sid,
                        session::user_id,
                        node::name.nullable(),
                        session::client,
                        session::app_name,
                        session::app_version,
                        session::created,
                        session::alive,
                    ),
                ))
                .into_boxed();
            query = only_wanted!(query, filter);
            query = match op.newest_first {
                true => query.order(session::key.desc()),
                false => query.order(session::key),
            };
            let part: Vec<(i64, Columns)> = query.load(conn)?;
            let is_last = part.len() < most;
            if let Some((last, _)) = part.last() {
                match op.newest_first {
                    true => filter.number_below = Some(*last),
                    false => filter.number_above = Some(*last),
                }
            }
            let part = part.into_iter().map(stored);
            sessions.extend(part.filter(|it| is_wanted(&op.filter, &it.app_version)));
            if is_last {
                break;
            }
        }
        sessions.truncate(op.limit as usize);
        Ok(sessions)
    }

    pub fn count_sessions(&mut self, op: &CountSessions) -> DbResult<u64> {
        let now = self.lease_time()?;
        let conn = self.reset_conn()?;
        let mut query = with_living_nodes!(now)
            .group_by(session::app_version)
            .select((session::app_version, diesel::dsl::count_star()))
            .into_boxed();
        query = only_wanted!(query, op.filter);
        let counts: Vec<(String, i64)> = query.load(conn)?;
        let wanted = counts
            .into_iter()
            .filter(|(app_version, _)| is_wanted(&op.filter, app_version));
        Ok(wanted.map(|(_, count)| count.max(0) as u64).sum())
    }
}

fn stored((number, columns): (i64, Columns)) -> StoredSession {
    let (session_id, user_id, node, client, app_name, app_version, created, alive) = columns;
    StoredSession {
        number,
        session_id,
        user_id,
        node,
        client,
        app_name,
        app_version,
        created: wall_time(created),
        alive: wall_time(alive),
    }
}

fn is_wanted(filter: &SessionFilter, app_version: &str) -> bool {
    filter
        .app_version_at_or_above
        .as_deref()
        .is_none_or(|floor| version::at_or_above(app_version, floor))
}
