//! Dead letters: messages whose delivery was given up; they are kept, put back or dropped.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::Transaction;
use super::rows::{DeadLetterRow, NewForwardedRow, NewOutboxRow, OutboxRow, secret};
use super::schema::{correlation, dead_letter, forwarded, outbox};
use super::sizes::{MAX_ANSWER, bytes, fitting, octet_length};
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// Makes messages of an outbox dead letters. The correlation of a request stays until it times out.
    pub fn bury_messages(&mut self, key: SessionKey, seqs: &[i64]) -> DbResult<()> {
        if seqs.is_empty() {
            return Ok(());
        }
        let Some(session) = self.row(key)? else {
            return Ok(());
        };
        let (sid, user_id) = (session.sid.clone(), session.user_id.clone());
        let reason = "delivered too often without an acknowledgement";
        for seq in seqs {
            self.bury(key, Some(*seq), (&sid, &user_id), reason)?;
        }
        self.delete_outbox(key, seqs)
    }

    /// Makes all messages of an outbox dead letters under this session id and user.
    pub fn bury_outbox(&mut self, key: SessionKey, of: (&str, &str), reason: &str) -> DbResult<()> {
        self.bury(key, None, of, reason)
    }

    /// Copies one message of an outbox, or all of them, to the dead letters. The copy stays within the database,
    /// because messages may be large.
    fn bury(
        &mut self,
        key: SessionKey,
        seq: Option<i64>,
        (sid, user_id): (&str, &str),
        reason: &str,
    ) -> DbResult<()> {
        let now = self.now;
        let conn = self.flushed_conn()?;
        let (first, last) = seq.map_or((0, i64::MAX), |seq| (seq, seq));
        outbox::table
            .filter(outbox::session.eq(key.0))
            .filter(outbox::seq.between(first, last))
            .select((
                "outbox".into_sql::<Text>(),
                outbox::session.nullable(),
                outbox::seq.nullable(),
                sid.into_sql::<Text>(),
                user_id.into_sql::<Text>(),
                outbox::eid,
                outbox::cmid,
                outbox::kind,
                outbox::tid,
                outbox::msg,
                outbox::debug,
                outbox::created,
                reason.into_sql::<Text>(),
                outbox::deliveries,
                octet_length(outbox::msg),
                now.into_sql::<BigInt>(),
            ))
            .insert_into(dead_letter::table)
            .into_columns((
                dead_letter::origin,
                dead_letter::session,
                dead_letter::seq,
                dead_letter::sid,
                dead_letter::user_id,
                dead_letter::endpoint,
                dead_letter::cmid,
                dead_letter::kind,
                dead_letter::tid,
                dead_letter::msg,
                dead_letter::debug,
                dead_letter::created,
                dead_letter::reason,
                dead_letter::deliveries,
                dead_letter::bytes,
                dead_letter::died,
            ))
            .execute(conn)?;
        Ok(())
    }

    pub fn list_dead_letters(&mut self, op: &ListDeadLetters) -> DbResult<Vec<DeadLetter>> {
        let conn = self.raw_conn();
        let behind = dead_letter::table
            .filter(dead_letter::id.gt(op.after))
            .order(dead_letter::id);
        let lengths: Vec<(i64, Option<i32>, Option<i32>)> = behind
            .select((
                dead_letter::id,
                octet_length(dead_letter::msg),
                octet_length(dead_letter::correlation),
            ))
            .limit(op.limit.into())
            .load(conn)?;
        let lengths = lengths
            .into_iter()
            .map(|(id, msg, correlation)| (id, bytes(msg) + bytes(correlation)));
        let Some(last) = fitting(lengths, MAX_ANSWER).pop() else {
            return Ok(Vec::new());
        };
        let rows: Vec<DeadLetterRow> = behind
            .filter(dead_letter::id.le(last))
            .select(DeadLetterRow::as_select())
            .load(conn)?;
        Ok(rows.into_iter().map(DeadLetter::from).collect())
    }

    pub fn drop_dead_letter(&mut self, op: &DropDeadLetter) -> DbResult<bool> {
        Ok(diesel::delete(dead_letter::table.find(op.id)).execute(self.raw_conn())? == 1)
    }

    pub fn redrive_dead_letter(&mut self, op: &RedriveDeadLetter) -> DbResult<bool> {
        let found = dead_letter::table.find(op.id);
        let dead: Option<DeadLetterRow> = locked!(found.select(DeadLetterRow::as_select()))
            .get_result(self.raw_conn())
            .optional()?;
        let Some(dead) = dead else { return Ok(false) };
        let done = match (dead.session, &dead.service) {
            (Some(session), _) => self.redrive_message(SessionKey(session), &dead)?,
            (None, Some(service)) => self.redrive_forwarded(service, &dead)?,
            (None, None) => false,
        };
        if done {
            diesel::delete(dead_letter::table.find(op.id)).execute(self.raw_conn())?;
        }
        Ok(done)
    }

    fn redrive_message(&mut self, key: SessionKey, dead: &DeadLetterRow) -> DbResult<bool> {
        let now = self.now;
        // After a restore, the key may belong to another session.
        if self.row(key)?.is_none_or(|row| row.sid != dead.sid) {
            return Ok(false);
        }
        let Some(row) = self.take_number(key, dead.msg.as_deref())? else {
            return Ok(false);
        };
        let (seq, after, home) = (row.seq(), row.before, row.home());
        let conn = self.flushed_conn()?;
        let new = NewOutboxRow {
            session: key.0,
            seq,
            kind: &dead.kind,
            eid: dead.endpoint.as_deref(),
            cmid: dead.cmid.as_deref(),
            tid: &dead.tid,
            msg: dead.msg.as_deref(),
            debug: dead.debug.as_deref(),
            deliveries: 0,
            created: now,
            expires: None,
        };
        let row: OutboxRow = diesel::insert_into(outbox::table)
            .values(&new)
            .returning(OutboxRow::as_returning())
            .get_result(conn)?;
        // The client's reply will refer to the new number.
        if let Some(old) = dead.seq {
            diesel::update(correlation::table.find((key.0, old)))
                .set(correlation::seq.eq(seq))
                .execute(conn)?;
        }
        let message = Some(row.read_at(now)?);
        self.news.stored.push(StoredMessage {
            session: key,
            home,
            after,
            message,
        });
        Ok(true)
    }

    fn redrive_forwarded(&mut self, service: &str, dead: &DeadLetterRow) -> DbResult<bool> {
        self.raise_sequences()?;
        let (now, secret) = (self.now, secret());
        let msg = dead.msg.as_deref().unwrap_or("null");
        let bytes = msg.len() + dead.correlation.as_ref().map_or(0, String::len);
        let new = NewForwardedRow {
            epoch: 0,
            node: None,
            due: now,
            attempts: 0,
            secret: &secret,
            created: dead.created,
            service,
            endpoint: dead.endpoint.as_deref().unwrap_or_default(),
            sid: &dead.sid,
            user_id: &dead.user_id,
            cmid: dead.cmid.as_deref(),
            kind: &dead.kind,
            tid: &dead.tid,
            msg,
            correlation: dead.correlation.as_deref(),
            debug: dead.debug.as_deref(),
            bytes: i32::try_from(bytes).unwrap_or(i32::MAX),
            deadline: None,
            adapted: dead.adapted,
            postponed: Some(now),
            // Work with its key may have been started since.
            key: None,
        };
        diesel::insert_into(forwarded::table)
            .values(&new)
            .execute(self.raw_conn())?;
        Ok(true)
    }
}
