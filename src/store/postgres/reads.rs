//! Reads that PostgreSQL answers with a single statement of its own, in one round trip each.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::query::{Value, sql};
use super::rows::PublicationRow;
use super::schema::session;
use super::sql::{Found, Owner, Transaction, Wanted};
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// The sessions that a node holds: key, connection, and the newest number in the outbox, unless the client has
    /// acknowledged that number or a later one. (The session row may contain a higher number than is stored, because
    /// numbers are reserved.) The search starts behind what was acknowledged, so that deleted rows are not stepped over
    /// again and again.
    pub fn newest_of_sessions(&mut self, node: &str) -> DbResult<Vec<(i64, i64, Option<i64>)>> {
        let held = session::table
            .filter(session::node.eq(node))
            .select((session::key, session::connection));
        let held: Vec<(i64, i64)> = held.load(self.reset_conn()?)?;
        let shared = self.dialect.shared.clone();
        let keys: Vec<i64> = held.iter().map(|(key, _)| *key).collect();
        let since = shared.known.of(&keys);
        let ask = "SELECT found.seq \
            FROM unnest(?, ?) WITH ORDINALITY AS given (session, since, place) LEFT JOIN LATERAL ( \
                SELECT seq FROM outbox WHERE outbox.session = given.session AND outbox.seq > given.since \
                ORDER BY seq DESC LIMIT 1 \
            ) AS found ON true ORDER BY given.place";
        let values = [Value::Longs(&keys), Value::Longs(&since)];
        let newest: Vec<Option<i64>> =
            sql::<Nullable<BigInt>>(ask, values).load(self.raw_conn())?;
        let rows = held.into_iter().zip(newest);
        Ok(rows
            .map(|((key, connection), newest)| (key, connection, newest))
            .collect())
    }

    /// Counts what a user has forwarded since a time: all rows, those of one session, the bytes of all, and when the
    /// first one was stored.
    pub fn forwarded_since(
        &mut self,
        user_id: &str,
        sid: &str,
        since: i64,
    ) -> DbResult<(i64, i64, Option<i64>, Option<i64>)> {
        type Columns = (BigInt, BigInt, Nullable<BigInt>, Nullable<BigInt>);
        let count = "SELECT count(*), count(*) FILTER (WHERE sid = ?), sum(bytes)::bigint, min(created) \
            FROM forwarded WHERE user_id = ? AND created >= ?";
        let values = [Value::Text(sid), Value::Text(user_id), Value::Long(since)];
        sql::<Columns>(count, values).get_result(self.flushed_forwarded_conn()?)
    }

    /// Which of these services have due rows of this owner, each from a time on.
    pub fn services_with_rows(
        &mut self,
        owner: Owner<'_>,
        wanted: &[(String, i64)],
        now: i64,
    ) -> DbResult<Vec<String>> {
        let (services, since): (Vec<_>, Vec<_>) = wanted.iter().cloned().unzip();
        let owned = match owner {
            Owner::Nobody => "forwarded.node IS NULL",
            Owner::Node(_) => "forwarded.node = ?",
        };
        let ask = format!(
            "SELECT wanted.service FROM unnest(?, ?) AS wanted (service, since) CROSS JOIN LATERAL ( \
                SELECT FROM forwarded WHERE forwarded.service = wanted.service AND forwarded.due >= wanted.since \
                AND forwarded.due <= ? AND {owned} LIMIT 1 \
            ) AS found"
        );
        let mut values = vec![
            Value::Texts(&services),
            Value::Longs(&since),
            Value::Long(now),
        ];
        if let Owner::Node(node) = owner {
            values.push(Value::Text(node));
        }
        sql::<Text>(ask, values).load(self.raw_conn())
    }

    /// A page of publications, read by one statement. What does not fit is not read: PostgreSQL knows the length of a
    /// long text without reading it.
    pub fn page(&mut self, wanted: Wanted<'_>) -> DbResult<PublicationPage> {
        type Columns = ((BigInt, BigInt, Text, Text, Text), Nullable<BigInt>);
        // Compares topic and number as a pair: each of them alone might make the planner use the index of the other.
        let (which, order) = match wanted.topic {
            Some(_) => (
                "(topic, id) > (?, ?) AND (topic, id) <= (?, ?)",
                "topic, id",
            ),
            None => ("id > ? AND id <= ?", "id"),
        };
        let read = format!(
            "SELECT id, created, topic, tid, msg, next FROM ( \
                SELECT *, sum(size) OVER in_order AS bytes, lead(id) OVER in_order AS next FROM ( \
                    SELECT id, created, topic, tid, msg, \
                        octet_length(msg) + octet_length(tid) + octet_length(topic) + {ENVELOPE_BYTES} AS size \
                    FROM publication WHERE {which} ORDER BY {order} LIMIT ? \
                ) AS sized WINDOW in_order AS (ORDER BY id) \
            ) AS summed WHERE bytes <= ? OR bytes = size ORDER BY id"
        );
        let mut values = Vec::new();
        for end in [wanted.after, wanted.up_to] {
            values.extend(wanted.topic.map(Value::Text));
            values.push(Value::Long(end));
        }
        let max_bytes = i64::try_from(wanted.max_bytes).unwrap_or(i64::MAX);
        values.extend([wanted.most_rows(), max_bytes].map(Value::Long));
        let rows: Vec<(PublicationRow, Option<i64>)> =
            sql::<Columns>(read, values).load(self.raw_conn())?;
        let next = rows.last().and_then(|(_, next)| *next);
        let publications = rows.into_iter().map(|(row, _)| Publication::try_from(row));
        Ok(PublicationPage {
            publications: publications.collect::<DbResult<_>>()?,
            next,
        })
    }

    /// What was published on each topic after its start; after 0 if that is not known.
    pub fn missed_of(&mut self, op: &FindMissed, starts: &[Option<i64>]) -> DbResult<Vec<Found>> {
        let after: Vec<i64> = starts.iter().map(|start| start.unwrap_or(0)).collect();
        let created = op.topics.iter().map(|(_, since)| match since {
            Since::Seen { created, .. } => *created,
            // No publication has a negative time.
            Since::Subscribed(_) => -1,
        });
        let created: Vec<i64> = created.collect();
        let topics: Vec<String> = op.topics.iter().map(|(topic, _)| topic.clone()).collect();
        let ask = "SELECT seen.count, missed.first, missed.count \
            FROM unnest(?, ?, ?) WITH ORDINALITY AS heard (topic, after, created, index) \
            CROSS JOIN LATERAL ( \
                SELECT count(*) FROM publication \
                WHERE id = heard.after AND created = heard.created AND topic = heard.topic \
            ) AS seen \
            CROSS JOIN LATERAL ( \
                SELECT min(id) AS first, count(*) FROM ( \
                    SELECT id FROM publication WHERE (topic, id) > (heard.topic, heard.after) \
                    AND (topic, id) <= (heard.topic, ?) ORDER BY topic, id LIMIT ? \
                ) AS after_it \
            ) AS missed \
            ORDER BY heard.index";
        let values = [
            Value::Texts(&topics),
            Value::Longs(&after),
            Value::Longs(&created),
            Value::Long(op.up_to),
            Value::Long(i64::from(op.limit) + 1),
        ];
        let rows: Vec<(i64, Option<i64>, i64)> =
            sql::<(BigInt, Nullable<BigInt>, BigInt)>(ask, values).load(self.raw_conn())?;
        let found = rows.into_iter().map(|(seen, first, count)| Found {
            seen: seen > 0,
            first,
            count,
        });
        Ok(found.collect())
    }

    pub fn which_exist(&mut self, op: &WhichExist) -> DbResult<Vec<SessionKey>> {
        let keys: Vec<i64> = op.sessions.iter().map(|key| key.0).collect();
        let ask = "SELECT key FROM session WHERE key = ANY(?)";
        let found: Vec<i64> = sql::<BigInt>(ask, [Value::Longs(&keys)]).load(self.reset_conn()?)?;
        Ok(found.into_iter().map(SessionKey).collect())
    }
}
