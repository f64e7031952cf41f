//! Messages for users who have no session: kept until they open one.

use diesel::prelude::*;

use super::Transaction;
use super::rows::{KeptRow, NewKeptRow, debug_text};
use super::schema::{kept_message, outbox, session};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// What is read of a kept message before it is decided what becomes of it: its id, whether it is for every session, and
/// the session that got it last, with its number there.
type Standing = (i64, bool, Option<i64>, Option<i64>);

impl Transaction<'_> {
    /// Keeps a message for a user who has no session. Returns whether there was room for it. The user must be locked.
    pub fn keep_message(
        &mut self,
        user_id: &str,
        message: &NewMessage,
        keep: KeepFor,
    ) -> DbResult<bool> {
        let (now, bytes) = (self.now, message.bytes());
        if !self.has_room_to_keep(user_id, bytes)? {
            return Ok(false);
        }
        let debug = debug_text(&message.debug)?;
        let expires = message.time_to_live.map(|it| now.saturating_add(ms(it)));
        let until = now.saturating_add(ms(keep.time));
        let new = NewKeptRow {
            user_id,
            eid: message.eid.as_deref().unwrap_or_default(),
            tid: &message.tid,
            msg: message.msg.as_deref().map_or("null", |msg| msg.get()),
            bytes: i32::try_from(bytes).unwrap_or(i32::MAX),
            debug: debug.as_deref(),
            created: now,
            kept_until: expires.map_or(until, |expires| expires.min(until)),
            expires,
            for_every_session: keep.for_every_session,
        };
        diesel::insert_into(kept_message::table)
            .values(&new)
            .execute(self.raw_conn())?;
        Ok(true)
    }

    /// Whether another message of this size may be kept for the user. One always may.
    fn has_room_to_keep(&mut self, user_id: &str, bytes: i64) -> DbResult<bool> {
        let (limits, now) = (self.rooms().limits(), self.now);
        // Asked for the user alone, as in `deliver_kept`.
        let kept: Vec<(i64, i32)> = kept_message::table
            .filter(kept_message::user_id.eq(user_id))
            .select((kept_message::kept_until, kept_message::bytes))
            .load(self.raw_conn())?;
        let sizes = kept.iter().filter(|(until, _)| *until > now);
        let (messages, total) = sizes.fold((0, bytes), |(messages, total), (_, bytes)| {
            (messages + 1, total + i64::from(*bytes))
        });
        Ok(messages < limits.kept_of_user && (messages == 0 || total <= limits.kept_bytes_of_user))
    }

    /// Stores what is kept for a user in the session that the user has just opened. Returns the number of the last one, if
    /// there are any. The user must be locked.
    ///
    /// A message is kept on until the session has acknowledged it. If a client never learns that it has this session, its
    /// next one gets the message.
    pub fn deliver_kept(&mut self, key: SessionKey, user_id: &str) -> DbResult<Option<i64>> {
        // For the user alone: if the time or the order were named as well, PostgreSQL might use an index of those.
        let kept = kept_message::table
            .filter(kept_message::user_id.eq(user_id))
            .select((
                (
                    kept_message::id,
                    kept_message::for_every_session,
                    kept_message::session,
                    kept_message::seq,
                ),
                kept_message::kept_until,
            ));
        // Locked, so that a session that is being closed does not hand them back in between.
        let mut kept: Vec<(Standing, i64)> = locked!(kept).load(self.raw_conn())?;
        kept.sort_unstable();
        let now = self.now;
        let kept = kept.into_iter().filter(|(_, until)| *until > now);
        let news = self.news.stored.len();
        let mut last = None;
        for ((id, for_every_session, session, seq), _) in kept {
            // A session that is gone was closed by a node of an older version, which hands nothing back.
            if let (Some(session), Some(seq)) = (session, seq)
                && !self.is_in_outbox(session, seq)?
                && self.exists(session)?
            {
                self.drop_kept_message(id)?;
                continue;
            }
            let row: KeptRow = kept_message::table
                .find(id)
                .select(KeptRow::as_select())
                .get_result(self.raw_conn())?;
            let Some(seq) = self.store_message(key, &row.message(self.now)?)? else {
                break;
            };
            last = Some(seq);
            if !for_every_session {
                self.give_to(id, Some((key, seq)))?;
            }
        }
        // The session reads its outbox when it begins; and what is pending may be large.
        self.news.stored.truncate(news);
        if last.is_some() {
            self.reset_conn()?;
        }
        Ok(last)
    }

    /// Keeps on what a session that is about to be deleted was given and has not acknowledged, for the user's next
    /// session.
    pub fn take_back_kept(&mut self, key: SessionKey) -> DbResult<()> {
        let given = kept_message::table
            .filter(kept_message::session.eq(key.0))
            .select((kept_message::id, kept_message::seq.assume_not_null()));
        let given: Vec<(i64, i64)> = locked!(given).load(self.raw_conn())?;
        let mut unacknowledged = Vec::new();
        for (id, seq) in given {
            if self.is_in_outbox(key.0, seq)? {
                self.give_to(id, None)?;
                unacknowledged.push(seq);
            } else {
                self.drop_kept_message(id)?;
            }
        }
        if !unacknowledged.is_empty() {
            self.delete_outbox(key, &unacknowledged)?;
        }
        Ok(())
    }

    pub fn expire_kept(&mut self, op: &ExpireKept) -> DbResult<ExpiredKept> {
        let now = self.now;
        let due = kept_message::table
            .filter(kept_message::kept_until.le(now))
            .order(kept_message::kept_until)
            .limit(op.limit.into())
            .select((
                kept_message::id,
                kept_message::for_every_session,
                kept_message::session,
                kept_message::seq,
            ));
        let due: Vec<Standing> = unclaimed!(due).load(self.reset_conn()?)?;
        let more = due.len() >= op.limit as usize;
        let mut undelivered = 0;
        for (id, for_every_session, session, _) in due {
            self.drop_kept_message(id)?;
            undelivered += u64::from(session.is_none() && !for_every_session);
        }
        Ok(ExpiredKept { undelivered, more })
    }

    pub fn drop_kept(&mut self, op: &DropKept) -> DbResult<u64> {
        let of_user = kept_message::table.filter(kept_message::user_id.eq(&op.user_id));
        let dropped = diesel::delete(of_user).execute(self.raw_conn())?;
        Ok(dropped as u64)
    }

    fn is_in_outbox(&mut self, session: i64, seq: i64) -> DbResult<bool> {
        let found: Option<i64> = outbox::table
            .find((session, seq))
            .select(outbox::seq)
            .get_result(self.flushed_conn()?)
            .optional()?;
        Ok(found.is_some())
    }

    /// Not locked: who closes the session waits for the kept messages, which are.
    fn exists(&mut self, session: i64) -> DbResult<bool> {
        let found: Option<i64> = session::table
            .find(session)
            .select(session::key)
            .get_result(self.flushed_conn()?)
            .optional()?;
        Ok(found.is_some())
    }

    /// Records which session has got a kept message. `None`: none that still exists.
    fn give_to(&mut self, id: i64, session: Option<(SessionKey, i64)>) -> DbResult<()> {
        let (session, seq) = session.map(|(key, seq)| (key.0, seq)).unzip();
        diesel::update(kept_message::table.find(id))
            .set((kept_message::session.eq(session), kept_message::seq.eq(seq)))
            .execute(self.raw_conn())?;
        Ok(())
    }

    fn drop_kept_message(&mut self, id: i64) -> DbResult<()> {
        diesel::delete(kept_message::table.find(id)).execute(self.raw_conn())?;
        Ok(())
    }
}
