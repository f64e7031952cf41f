//! The outbox and the correlations of requests: messages for the client, and what is needed for its replies.

use diesel::prelude::*;

use super::Transaction;
use super::passed::{from, passed};
use super::rows::{CorrelationRow, NewCorrelationRow, NewOutboxRow, OutboxRow, debug_text};
use super::schema::{correlation, outbox};
use super::sizes::{MAX_ANSWER, byte_length, bytes, fitting, octet_length};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// Stores a message under the session's next sequence number. `None`: there is no such session.
    pub fn store_message(
        &mut self,
        key: SessionKey,
        message: &NewMessage,
    ) -> DbResult<Option<i64>> {
        let now = self.now;
        let payload = message.msg.as_deref().map(|msg| msg.get());
        let Some(row) = self.take_number(key, payload)? else {
            return Ok(None);
        };
        let (seq, after, home) = (row.seq(), row.before, row.home());
        if let Some(correlation) = &message.correlation {
            let (sid, user_id) = (row.sid.clone(), row.user_id.clone());
            self.store_correlation(key, seq, (&sid, &user_id, &message.tid), correlation)?;
        }
        let debug = debug_text(&message.debug)?;
        let new = NewOutboxRow {
            session: key.0,
            seq,
            kind: message.kind.name(),
            eid: message.eid.as_deref(),
            cmid: message.cmid.as_deref(),
            tid: &message.tid,
            msg: payload,
            debug: debug.as_deref(),
            deliveries: 0,
            created: now,
            expires: message.time_to_live.map(|it| now.saturating_add(ms(it))),
        };
        self.insert_outbox(&new)?;
        // The message itself is moved out of its operation after the commit, when the operation cannot run again.
        if self.news.stored.is_empty() {
            // There is mostly one, and entries are large.
            self.news.stored.reserve_exact(1);
        }
        self.news.stored.push(StoredMessage {
            session: key,
            home,
            after,
            message: None,
        });
        Ok(Some(seq))
    }

    fn store_correlation(
        &mut self,
        key: SessionKey,
        seq: i64,
        (sid, user_id, tid): (&str, &str, &str),
        left: &Correlation,
    ) -> DbResult<()> {
        let now = self.now;
        let new = NewCorrelationRow {
            session: key.0,
            seq,
            sid,
            user_id,
            tid,
            terminator: &left.terminator,
            string: left.string.as_deref(),
            bytes: left.bytes.as_deref(),
            requested: left.requested,
            timeout_ms: left.timeout_ms,
            // By the store's clock, not that of the node that made the request.
            due: now.saturating_add(left.timeout_ms),
        };
        diesel::insert_into(correlation::table)
            .values(&new)
            .execute(self.raw_conn())?;
        Ok(())
    }

    pub fn fetch_outbox(&mut self, op: &FetchOutbox) -> DbResult<FetchedOutbox> {
        let now = self.now;
        let conn = self.flushed_conn()?;
        let behind = outbox::table
            .filter(outbox::session.eq(op.session.0))
            .filter(outbox::seq.gt(op.after))
            .order(outbox::seq);
        let lengths: Vec<(i64, Option<i32>)> = behind
            .select((outbox::seq, octet_length(outbox::msg)))
            .limit(i64::from(op.limit) + 1)
            .load(conn)?;
        let lengths = lengths
            .into_iter()
            .map(|(seq, length)| (seq, bytes(length)));
        let lengths: Vec<_> = lengths.collect();
        let mut fetched = FetchedOutbox {
            messages: Vec::new(),
            more: false,
            too_large: None,
        };
        let first = lengths.first().map_or(0, |(_, bytes)| *bytes);
        if first > op.max_first.max(op.max_bytes) {
            fetched.more = true;
            fetched.too_large = Some(first);
            return Ok(fetched);
        }
        let most = lengths.iter().copied().take(op.limit as usize);
        let fitting = fitting(most, op.max_bytes);
        fetched.more = fitting.len() < lengths.len();
        if let Some(last) = fitting.last() {
            // No message can appear in between, because numbers are committed in order.
            let rows: Vec<OutboxRow> = behind
                .filter(outbox::seq.le(last))
                .select(OutboxRow::as_select())
                .load(conn)?;
            let messages = rows.into_iter().map(|row| row.read_at(now));
            fetched.messages = messages.collect::<Result<_, _>>()?;
        }
        Ok(fetched)
    }

    pub fn complete(&mut self, op: &Complete) -> DbResult<Fenced> {
        if !self.holds(op.holder)? {
            return Ok(Fenced::FencedOff);
        }
        let session = op.holder.session;
        self.delete_outbox(session, &op.acked)?;
        self.delete_outbox(session, &op.nacked)?;
        for seq in &op.nacked {
            self.end_request(session, *seq, "the client refused the request (NACK)")?;
        }
        Ok(Fenced::Done)
    }

    /// A request of ours ends without a reply, unless it has ended before: its reply terminator is notified.
    pub fn end_request(&mut self, key: SessionKey, seq: i64, reason: &str) -> DbResult<()> {
        let now = self.now;
        let waiting = correlation::table
            .find((key.0, seq))
            .filter(correlation::reason.is_null());
        diesel::update(waiting)
            .set((correlation::due.eq(now), correlation::reason.eq(reason)))
            .execute(self.raw_conn())?;
        Ok(())
    }

    pub fn mark_redelivery(&mut self, op: &MarkRedelivery) -> DbResult<MarkedRedelivery> {
        if !self.holds(op.holder)? {
            return Ok(MarkedRedelivery::FencedOff);
        }
        let session = op.holder.session;
        let mut dead = Vec::new();
        for seq in &op.seqs {
            let marked: Option<(i32, String, Option<String>)> =
                diesel::update(outbox::table.find((session.0, *seq)))
                    .set(outbox::deliveries.eq(outbox::deliveries + 1))
                    .returning((outbox::deliveries, outbox::tid, outbox::eid))
                    .get_result(self.flushed_conn()?)
                    .optional()?;
            if let Some((deliveries, trace_id, endpoint)) = marked
                && i64::from(deliveries) > op.max.into()
            {
                dead.push(Buried {
                    seq: *seq,
                    trace_id,
                    endpoint,
                });
            }
        }
        let seqs: Vec<i64> = dead.iter().map(|it| it.seq).collect();
        self.bury_messages(session, &seqs)?;
        Ok(MarkedRedelivery::Done(dead))
    }

    /// The correlation of a request that is still waiting, or has ended and is not settled. It is locked, so that
    /// nobody else settles it before this transaction ends.
    pub fn correlation_row(
        &mut self,
        session: SessionKey,
        seq: i64,
    ) -> DbResult<Option<CorrelationRow>> {
        let found = correlation::table.find((session.0, seq));
        locked!(found.select(CorrelationRow::as_select()))
            .get_result(self.raw_conn())
            .optional()
    }

    pub fn read_correlation(&mut self, op: &ReadCorrelation) -> DbResult<Option<Correlation>> {
        Ok(self
            .correlation_row(op.session, op.seq)?
            .map(CorrelationRow::correlation))
    }

    pub fn claim_ended_correlations(
        &mut self,
        op: &ClaimEndedCorrelations,
    ) -> DbResult<ClaimedCorrelations> {
        type Columns = (i64, i64, i64, Option<i32>, Option<i32>);
        let now = self.now;
        let conn = self.raw_conn();
        let due = correlation::table
            .filter(correlation::due.ge(from(op.since, now)))
            .filter(correlation::due.le(now))
            .order(correlation::due)
            .limit(op.limit.into())
            .select((
                correlation::due,
                correlation::session,
                correlation::seq,
                octet_length(correlation::string),
                byte_length(correlation::bytes),
            ));
        let due: Vec<Columns> = unclaimed!(due).load(conn)?;
        let since = due.first().map_or(now, |(due, ..)| *due);
        let due = due.into_iter().map(|(_, session, seq, string, blob)| {
            let key = (session, seq);
            (key, bytes(string) + bytes(blob))
        });
        let mut ended = Vec::new();
        for key in fitting(due, MAX_ANSWER) {
            let row: CorrelationRow = diesel::update(correlation::table.find(key))
                .set(correlation::due.eq(now.saturating_add(ms(op.again))))
                .returning(CorrelationRow::as_returning())
                .get_result(conn)?;
            let reason = row.reason();
            if row.reason.is_none() {
                diesel::update(correlation::table.find(key))
                    .set(correlation::reason.eq(&reason))
                    .execute(conn)?;
            }
            ended.push(EndedCorrelation {
                session: SessionKey(row.session),
                sid: row.sid.clone(),
                user_id: row.user_id.clone(),
                seq: row.seq,
                tid: row.tid.clone(),
                correlation: row.correlation(),
                reason,
            });
        }
        Ok(ClaimedCorrelations {
            ended,
            since: since.min(passed(now)),
        })
    }
}
