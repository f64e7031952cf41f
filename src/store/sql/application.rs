//! The application that owns the store.

use diesel::prelude::*;

use super::Transaction;
use super::schema::application;
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    pub fn claim_application(&mut self, op: &ClaimApplication) -> DbResult<String> {
        let conn = self.raw_conn();
        if let Some(name) = name(conn)? {
            return Ok(name);
        }
        // Another node may be inserting its name at the same time; this waits for it.
        diesel::insert_into(application::table)
            .values((application::one.eq(1), application::name.eq(&op.name)))
            .on_conflict_do_nothing()
            .execute(conn)?;
        application::table
            .find(1)
            .select(application::name)
            .get_result(conn)
    }

    pub fn rename_application(&mut self, op: &RenameApplication) -> DbResult<Option<String>> {
        let conn = self.raw_conn();
        let before = name(conn)?;
        diesel::insert_into(application::table)
            .values((application::one.eq(1), application::name.eq(&op.name)))
            .on_conflict(application::one)
            .do_update()
            .set(application::name.eq(&op.name))
            .execute(conn)?;
        Ok(before)
    }
}

fn name(conn: &mut super::Conn) -> DbResult<Option<String>> {
    let name = application::table.find(1).select(application::name);
    name.get_result(conn).optional()
}
