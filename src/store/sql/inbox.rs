//! The inbox: the ids of the client's messages, and their answers.

use diesel::prelude::*;

use super::Transaction;
use super::schema::inbox;
use crate::fault_injection::{Broken, is_broken};
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// The answer to a client's message. `None`: it is not in the inbox.
    pub fn answer(&mut self, session: SessionKey, cmid: &str) -> DbResult<Option<Option<String>>> {
        if is_broken(Broken::Deduplication) {
            return Ok(None);
        }
        inbox::table
            .find((session.0, cmid))
            .select(inbox::answer)
            .get_result(self.flushed_conn()?)
            .optional()
    }

    pub fn read_answer(&mut self, op: &ReadAnswer) -> DbResult<Option<Option<String>>> {
        self.answer(op.session, &op.cmid)
    }

    pub fn drop_inbox(&mut self, op: &DropInbox) -> DbResult<Fenced> {
        if !self.holds(op.holder)? {
            return Ok(Fenced::FencedOff);
        }
        self.forget_incoming(op.holder.session, &op.cmids)?;
        Ok(Fenced::Done)
    }
}
