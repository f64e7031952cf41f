//! Deletes rows that are no longer needed, one batch at a time.

use std::time::{Duration, Instant};

use diesel::dsl::{exists, not, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

use super::Transaction;
use super::schema::{inbox, node, outbox, publication, sent_key, session, subscription};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// Nodes whose lease expired longer ago than this are deleted.
const FORGET_NODE_AFTER: Duration = Duration::from_secs(3600);

/// The keys of a table's next rows, in order; `$then` is the second column of its primary key. (Rows are compared as
/// pairs, so that the index of the primary key leads to the first one.)
macro_rules! next_keys {
    ($it:ident, $op:ident, $table:ident, $then:ident: $kind:ty, $from:expr) => {{
        let (session, then) = $from;
        let pair = concat!(
            "(",
            prefix!(),
            stringify!($table),
            ".session, ",
            prefix!(),
            stringify!($table),
            ".",
            stringify!($then),
            ") > ("
        );
        let behind = sql::<Bool>(pair)
            .bind::<BigInt, _>(session)
            .sql(", ")
            .bind::<$kind, _>(then)
            .sql(")");
        $table::table
            .filter(behind)
            .order(($table::session, $table::$then))
            .limit($op.limit.into())
            .select(($table::session, $table::$then))
            .load($it.reset_conn()?)?
    }};
}

/// The rows from the first key to the last.
macro_rules! between {
    ($table:ident, $then:ident: $kind:ty, $first:expr, $last:expr) => {{
        let pair = |compare: &str| {
            format!(
                "({0}.session, {0}.{1}) {compare} (",
                concat!(prefix!(), stringify!($table)),
                stringify!($then)
            )
        };
        let ends = |compare, (session, then): (i64, _)| {
            sql::<Bool>(&pair(compare))
                .bind::<BigInt, _>(session)
                .sql(", ")
                .bind::<$kind, _>(then)
                .sql(")")
        };
        $table::table
            .filter(ends(">=", $first))
            .filter(ends("<=", $last))
    }};
}

/// Whether a row's session is gone, looked up for each row. (The OFFSET keeps PostgreSQL from turning this into a join,
/// for which it might read all sessions.)
macro_rules! is_orphan {
    ($table:ident) => {{
        let its = session::table.filter(session::key.eq($table::session));
        not(exists(its.select(session::key).offset(0)))
    }};
}

impl Transaction<'_> {
    /// Marks the rest of the transaction as maintenance.
    pub fn maintain(&mut self) -> DbResult<()> {
        self.reset_conn()?;
        self.with_dialect(|dialect, conn| dialect.maintain(conn))
    }

    pub fn scavenge(&mut self, op: &Scavenge) -> DbResult<Scavenged> {
        self.maintain()?;
        let begun = Instant::now();
        let (rows, next) = match &op.from {
            ScavengeFrom::Inbox(session, cmid) => self.scavenge_inbox(op, (*session, cmid))?,
            ScavengeFrom::Outbox(session, seq) => self.scavenge_outbox(op, (*session, *seq))?,
            ScavengeFrom::Subscriptions(session, topic) => {
                self.scavenge_subscriptions(op, (*session, topic))?
            }
            ScavengeFrom::Publications(after) => self.scavenge_publications(op, *after)?,
            ScavengeFrom::Keys(since) => self.scavenge_keys(op, *since)?,
            ScavengeFrom::Nodes => (self.scavenge_nodes()?, None),
        };
        Ok(Scavenged {
            rows: rows as u64,
            next,
            took: begun.elapsed(),
        })
    }

    fn scavenge_inbox(&mut self, op: &Scavenge, from: (i64, &str)) -> DbResult<Part> {
        let keys: Vec<(i64, String)> = next_keys!(self, op, inbox, cmid: Text, from);
        let next = ScavengeFrom::Outbox(i64::MIN, 0);
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return Ok((0, Some(next)));
        };
        let cutoff = self.now.saturating_sub(ms(op.inbox_older));
        let rows = || between!(inbox, cmid: Text, (first.0, &first.1), (last.0, &last.1));
        // Two statements, because for both conditions at once PostgreSQL may read all sessions.
        let old = diesel::delete(rows().filter(inbox::created.lt(cutoff)));
        let mut deleted = old.execute(self.reset_conn()?)?;
        deleted += diesel::delete(rows().filter(is_orphan!(inbox))).execute(self.reset_conn()?)?;
        let go_on = ScavengeFrom::Inbox(last.0, last.1.clone());
        Ok((deleted, Some(op.after(keys.len(), go_on, next))))
    }

    fn scavenge_outbox(&mut self, op: &Scavenge, from: (i64, i64)) -> DbResult<Part> {
        let keys: Vec<(i64, i64)> = next_keys!(self, op, outbox, seq: BigInt, from);
        let next = ScavengeFrom::Subscriptions(i64::MIN, String::new());
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return Ok((0, Some(next)));
        };
        let rows = between!(outbox, seq: BigInt, *first, *last);
        let deleted =
            diesel::delete(rows.filter(is_orphan!(outbox))).execute(self.reset_conn()?)?;
        let go_on = ScavengeFrom::Outbox(last.0, last.1);
        Ok((deleted, Some(op.after(keys.len(), go_on, next))))
    }

    fn scavenge_subscriptions(&mut self, op: &Scavenge, from: (i64, &str)) -> DbResult<Part> {
        let keys: Vec<(i64, String)> = next_keys!(self, op, subscription, topic: Text, from);
        let next = ScavengeFrom::Publications(i64::MIN);
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return Ok((0, Some(next)));
        };
        let rows = between!(subscription, topic: Text, (first.0, &first.1), (last.0, &last.1));
        let orphans = rows.filter(is_orphan!(subscription));
        let deleted = diesel::delete(orphans).execute(self.reset_conn()?)?;
        let go_on = ScavengeFrom::Subscriptions(last.0, last.1.clone());
        Ok((deleted, Some(op.after(keys.len(), go_on, next))))
    }

    /// Deletes old publications in the order of their numbers, up to the first that is not old: a client that has
    /// missed some must be able to see that the oldest are gone. The newest one stays, so that the newest number never
    /// decreases.
    fn scavenge_publications(&mut self, op: &Scavenge, after: i64) -> DbResult<Part> {
        let cutoff = self.now.saturating_sub(ms(op.publications_older));
        let conn = self.reset_conn()?;
        let rows: Vec<(i64, i64)> = publication::table
            .filter(publication::id.gt(after))
            .order(publication::id)
            .limit(i64::from(op.limit) + 1)
            .select((publication::id, publication::created))
            .load(conn)?;
        let next = ScavengeFrom::Keys(i64::MIN);
        // The query reads one row beyond the limit, so a newer row follows those that may be deleted.
        let may_go = &rows[..rows.len().saturating_sub(1)];
        let old = may_go.iter().take_while(|(_, created)| *created < cutoff);
        let Some((last, _)) = old.last() else {
            return Ok((0, Some(next)));
        };
        let old =
            publication::table.filter(publication::id.gt(after).and(publication::id.le(last)));
        let deleted = diesel::delete(old).execute(conn)?;
        let go_on = ScavengeFrom::Publications(*last);
        Ok((deleted, Some(op.after(deleted, go_on, next))))
    }

    fn scavenge_keys(&mut self, op: &Scavenge, since: i64) -> DbResult<Part> {
        let cutoff = self.now.saturating_sub(ms(op.keys_older));
        let conn = self.reset_conn()?;
        let rows: Vec<(String, i64)> = sent_key::table
            .filter(
                sent_key::created
                    .ge(since)
                    .and(sent_key::created.lt(cutoff)),
            )
            .order(sent_key::created)
            .limit(op.limit.into())
            .select((sent_key::key, sent_key::created))
            .load(conn)?;
        let Some((_, newest)) = rows.last() else {
            return Ok((0, Some(ScavengeFrom::Nodes)));
        };
        let go_on = ScavengeFrom::Keys(*newest);
        let next = op.after(rows.len(), go_on, ScavengeFrom::Nodes);
        let keys: Vec<String> = rows.into_iter().map(|(key, _)| key).collect();
        let deleted = diesel::delete(sent_key::table.filter(sent_key::key.eq_any(keys)));
        Ok((deleted.execute(conn)?, Some(next)))
    }

    fn scavenge_nodes(&mut self) -> DbResult<usize> {
        let long_ago = self.now.saturating_sub(ms(FORGET_NODE_AFTER));
        let old = node::table.filter(node::lease_until.lt(long_ago));
        diesel::delete(old).execute(self.reset_conn()?)
    }
}

/// Rows deleted, and where to continue.
type Part = (usize, Option<ScavengeFrom>);
