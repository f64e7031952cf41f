//! Whether outboxes can take more.

use diesel::dsl::sum;
use diesel::prelude::*;

use super::Transaction;
use super::rooms::Amount;
use super::schema::{outbox, session};
use super::sizes::octet_length;
use crate::store::operation::{OutboxCap, SessionKey};
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// The limit that this number of additional messages and payload bytes would exceed in a session's outbox, if any.
    /// Counts only when the totals ever taken do not already prove that there is room.
    pub fn full(
        &mut self,
        key: SessionKey,
        messages: i64,
        bytes: i64,
    ) -> DbResult<Option<OutboxCap>> {
        let Some(row) = self.row(key)? else {
            return Ok(None);
        };
        let taken = Amount {
            messages: row.numbers.taken.messages(),
            bytes: row.numbers.taken.bytes,
        };
        let then = Amount {
            messages: taken.messages + messages,
            bytes: taken.bytes + bytes,
        };
        if !self.rooms().reach(key, then)
            && let Some(cap) = self.count(key, taken, then)?
        {
            return Ok(Some(cap));
        }
        match self.rooms().concerns_user(taken.bytes, bytes) {
            true => self.full_user(key, bytes),
            false => Ok(None),
        }
    }

    /// Counts an outbox, and records how much more it can take. A message always fits into an empty outbox.
    fn count(
        &mut self,
        key: SessionKey,
        taken: Amount,
        then: Amount,
    ) -> DbResult<Option<OutboxCap>> {
        let limits = self.rooms().limits();
        let theirs = outbox::table.filter(outbox::session.eq(key.0));
        let sizes = (diesel::dsl::count_star(), sum(octet_length(outbox::msg)));
        let (messages, bytes): (i64, Option<i64>) =
            theirs.select(sizes).get_result(self.flushed_conn()?)?;
        let mut until = Amount {
            messages: taken.messages + limits.outbox - messages,
            bytes: taken.bytes + limits.outbox_bytes - bytes.unwrap_or(0),
        };
        if messages == 0 {
            until.bytes = until.bytes.max(then.bytes);
        }
        self.rooms().learn(key, until);
        Ok(if then.messages > until.messages {
            Some(OutboxCap::Messages(limits.outbox))
        } else if then.bytes > until.bytes {
            Some(OutboxCap::Bytes(limits.outbox_bytes))
        } else {
            None
        })
    }

    /// Like [`full`](Self::full), for all sessions of the session's user together.
    fn full_user(&mut self, key: SessionKey, bytes: i64) -> DbResult<Option<OutboxCap>> {
        let now = self.now;
        let Some(user_id) = self.row(key)?.map(|row| row.user_id.clone()) else {
            return Ok(None);
        };
        let has_room = match self.rooms().user_has_room(&user_id, bytes, now) {
            Some(known) => known,
            None => {
                let sessions = session::table
                    .filter(session::user_id.eq(&user_id))
                    .select(session::key);
                let counted: Option<i64> = outbox::table
                    .filter(outbox::session.eq_any(sessions))
                    .select(sum(octet_length(outbox::msg)))
                    .get_result(self.flushed_conn()?)?;
                let counted = counted.unwrap_or(0);
                self.rooms().learn_user(&user_id, counted, bytes, now)
            }
        };
        let cap = OutboxCap::BytesOfUser(self.rooms().limits().outbox_bytes_of_user);
        Ok((!has_room).then_some(cap))
    }
}
