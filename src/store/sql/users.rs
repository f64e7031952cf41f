//! Users: all sessions of one together.

use diesel::prelude::*;

use super::Transaction;
use super::schema::{node, session};
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// Stores a message for every session of a user, except for those whose outboxes are full. If there is none, it may be
    /// kept for the next one.
    ///
    /// Whoever opens a session of this user commits either before this looks for sessions, or after this is committed.
    pub fn store_for_user(
        &mut self,
        user_id: &str,
        message: &NewMessage,
        keep: Option<KeepFor>,
    ) -> DbResult<StoredForUser> {
        let mut outcome = StoredForUser::default();
        let keys = self.keys_of_user(user_id)?;
        if keys.is_empty()
            && let Some(keep) = keep
        {
            outcome.kept = Some(self.keep_message(user_id, message, keep)?);
        }
        for key in keys {
            let Some(session_id) = self.row(key)?.map(|row| row.sid.clone()) else {
                continue;
            };
            match self.full(key, 1, message.bytes())? {
                Some(cap) => outcome.full.push(FullOutbox { session_id, cap }),
                None => outcome.seqs.extend(self.store_message(key, message)?),
            }
        }
        Ok(outcome)
    }

    pub fn list_users(&mut self, op: &ListUsers) -> DbResult<Vec<StoredUser>> {
        let now = self.lease_time()?;
        let conn = self.reset_conn()?;
        let mut page = session::table
            .group_by(session::user_id)
            .order(session::user_id)
            .limit(op.limit.into())
            .select(session::user_id)
            .into_boxed();
        if let Some(after) = &op.after {
            page = page.filter(session::user_id.gt(after));
        }
        let page: Vec<String> = page.load(conn)?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            return Ok(Vec::new());
        };
        let counted: Vec<(String, i64, i64)> = with_living_nodes!(now)
            .filter(session::user_id.between(first, last))
            .group_by(session::user_id)
            .order(session::user_id)
            .select((
                session::user_id,
                diesel::dsl::count_star(),
                diesel::dsl::count(node::name.nullable()),
            ))
            .load(conn)?;
        let users = counted
            .into_iter()
            .map(|(user_id, sessions, connected)| StoredUser {
                user_id,
                sessions: sessions.unsigned_abs(),
                connected: connected.unsigned_abs(),
            });
        Ok(users.collect())
    }
}
