//! The inbox: what the client sent, and what it was answered.

use diesel::prelude::*;

use super::statements::SqliteStatements;
use crate::store::operation::*;
use crate::store::schema::inbox;
use crate::store::statements::DbResult;

impl SqliteStatements<'_> {
    /// What a client's message was answered; `None`: it is not in the inbox.
    pub fn answer(&mut self, session: SessionKey, cmid: &str) -> DbResult<Option<Option<String>>> {
        inbox::table
            .find((session.0, cmid))
            .select(inbox::answer)
            .get_result(self.beside())
            .optional()
    }

    pub fn read_answer(&mut self, op: &ReadAnswer) -> DbResult<Option<Option<String>>> {
        self.answer(op.session, &op.cmid)
    }

    /// Notes a client's message. False: it is in the inbox already.
    pub fn note_incoming(
        &mut self,
        session: SessionKey,
        cmid: &str,
        answer: Option<&str>,
    ) -> DbResult<bool> {
        let now = self.now;
        // Not ON CONFLICT DO NOTHING: for that, Diesel builds the text of the statement each time anew to find it in
        // its cache. (This also ignores NULL where there must be none, but there is none.)
        let inserted = diesel::insert_or_ignore_into(inbox::table)
            .values((
                inbox::session.eq(session.0),
                inbox::cmid.eq(cmid),
                inbox::answer.eq(answer),
                inbox::created.eq(now),
            ))
            .execute(self.beside())?;
        Ok(inserted == 1)
    }

    pub fn drop_inbox(&mut self, op: &DropInbox) -> DbResult<Fenced> {
        if !self.holds(op.holder)? {
            return Ok(Fenced::FencedOff);
        }
        let conn = self.beside();
        for cmid in &op.cmids {
            diesel::delete(inbox::table.find((op.holder.session.0, cmid))).execute(conn)?;
        }
        Ok(Fenced::Done)
    }
}
