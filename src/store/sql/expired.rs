//! Messages whose time to live has ended.

use std::collections::BTreeMap;
use std::time::Instant;

use diesel::prelude::*;

use super::Transaction;
use super::passed::{from, passed};
use super::schema::outbox;
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;
use crate::wire::MessageType;

impl Transaction<'_> {
    pub fn expire_messages(&mut self, op: &ExpireMessages) -> DbResult<ExpiredMessages> {
        let begun = Instant::now();
        let until = self.now.saturating_sub(ms(op.grace));
        let due: Vec<(i64, i64, i64)> = outbox::table
            .filter(outbox::expires.between(from(op.since, until), until))
            .order(outbox::expires)
            .limit(op.limit.into())
            .select((
                outbox::expires.assume_not_null(),
                outbox::session,
                outbox::seq,
            ))
            .load(self.reset_conn()?)?;
        let more = due.len() >= op.limit as usize;
        let last = due.last().map(|(expires, ..)| *expires);
        // Sessions are locked in the order of their keys, as everybody does.
        let mut by_session: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (_, session, seq) in due {
            by_session.entry(session).or_default().push(seq);
        }
        let mut messages = 0;
        for (session, seqs) in by_session {
            messages += self.expire_of(SessionKey(session), &seqs)?;
        }
        Ok(ExpiredMessages {
            messages,
            more,
            since: last.filter(|_| more).unwrap_or(until).min(passed(until)),
            took: begun.elapsed(),
        })
    }

    /// Deletes messages of a session, except those that its client has acknowledged in the meantime.
    fn expire_of(&mut self, key: SessionKey, seqs: &[i64]) -> DbResult<u64> {
        if self.row(key)?.is_none() {
            return Ok(0);
        }
        let mut left = Vec::with_capacity(seqs.len());
        for seq in seqs {
            // One by one: for several numbers, PostgreSQL may read all messages of the session.
            let kind: Option<String> = outbox::table
                .find((key.0, seq))
                .select(outbox::kind)
                .get_result(self.flushed_conn()?)
                .optional()?;
            let Some(kind) = kind else { continue };
            if kind == MessageType::Request.name() {
                let reason = "its time to live ended before the client acknowledged it";
                self.end_request(key, *seq, reason)?;
            }
            left.push(*seq);
        }
        self.delete_outbox(key, &left)?;
        Ok(left.len() as u64)
    }
}
