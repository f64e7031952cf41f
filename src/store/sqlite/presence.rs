//! Users who have become present.

use diesel::prelude::*;

use super::schema::presence;
use super::sql::Transaction;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// Notes these users, each with since when. One by one, so that the statement is prepared once.
    pub fn insert_present(&mut self, users: &[(String, i64)]) -> DbResult<()> {
        for (user, since) in users {
            diesel::insert_into(presence::table)
                .values((presence::user_id.eq(user), presence::since.eq(since)))
                .on_conflict_do_nothing()
                .execute(self.raw_conn())?;
        }
        Ok(())
    }
}
