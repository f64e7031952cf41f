//! Users who have become present.

use diesel::prelude::*;

use super::query::{Value, sql};
use super::sql::Transaction;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// Notes these users, each with since when.
    pub fn insert_present(&mut self, users: &[(String, i64)]) -> DbResult<()> {
        if users.is_empty() {
            return Ok(());
        }
        let (users, since): (Vec<String>, Vec<i64>) = users.iter().cloned().unzip();
        let insert = "INSERT INTO presence (user_id, since) SELECT * FROM unnest(?, ?) ON CONFLICT DO NOTHING";
        let values = [Value::Texts(&users), Value::Longs(&since)];
        sql::<()>(insert, values).execute(self.raw_conn())?;
        Ok(())
    }
}
