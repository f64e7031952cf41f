//! Forwarded rows. A unit typically stores or settles one, and at thousands per second round trips for each would be
//! too slow. So the rows that a group settles are locked and read by one statement, and new rows get their ids from a
//! block drawn from the sequence, so that they can be written together with everything else.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::pending::Part;
use super::query::{Value, sql};
use super::rows::NewForwardedRow;
use super::sql::{ClaimOfRow, Transaction};
use crate::store::statements::DbResult;

/// How many ids are drawn from the sequence at a time. Those left when the connection ends are never used.
const BLOCK: i64 = 128;

/// Pending writes to forwarded rows.
#[derive(Default)]
pub struct Forwards {
    new: NewRows,
    /// Ids of rows to delete.
    settled: Vec<i64>,
}

/// New rows, by column.
#[derive(Default)]
struct NewRows {
    id: Vec<i64>,
    epoch: Vec<i64>,
    node: Vec<Option<String>>,
    due: Vec<i64>,
    secret: Vec<String>,
    created: Vec<i64>,
    service: Vec<String>,
    endpoint: Vec<String>,
    sid: Vec<String>,
    user_id: Vec<String>,
    cmid: Vec<Option<String>>,
    kind: Vec<String>,
    tid: Vec<String>,
    msg: Vec<String>,
    correlation: Vec<Option<String>>,
    debug: Vec<Option<String>>,
    bytes: Vec<i32>,
    deadline: Vec<Option<i64>>,
    adapted: Vec<Option<bool>>,
    postponed: Vec<Option<i64>>,
}

impl Forwards {
    /// Whether there are no pending writes.
    pub fn is_written(&self) -> bool {
        self.new.id.is_empty() && self.settled.is_empty()
    }

    /// Number of rows that it deletes.
    pub fn deletes(&self) -> usize {
        self.settled.len()
    }

    /// The parts of the combined statement that `pending` writes. The statement runs again if `condition` did not hold:
    /// deletions may then run twice, but nothing is inserted twice.
    pub fn parts(&self, condition: &str) -> [Part<'_>; 2] {
        let new = &self.new;
        [
            Part {
                text: format!(
                    "new_forwarded AS (INSERT INTO forwarded (id, epoch, node, due, attempts, secret, created, \
                    service, endpoint, sid, user_id, cmid, kind, tid, msg, correlation, debug, bytes, deadline, \
                    adapted, postponed) OVERRIDING SYSTEM VALUE \
                    SELECT id, epoch, node, due, 0, secret, created, service, endpoint, sid, user_id, cmid, kind, tid, \
                    msg, correlation, debug, bytes, deadline, adapted, postponed \
                    FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) AS new (id, epoch, node, \
                    due, secret, created, service, endpoint, sid, user_id, cmid, kind, tid, msg, correlation, debug, \
                    bytes, deadline, adapted, postponed) WHERE {condition})"
                ),
                rows: new.id.len(),
                values: new.values(),
            },
            Part {
                text: "gone_forwarded AS (DELETE FROM forwarded WHERE ctid = ANY(ARRAY( \
                    SELECT found.ctid FROM unnest(?) AS settled (id) CROSS JOIN LATERAL ( \
                    SELECT ctid FROM forwarded WHERE forwarded.id = settled.id LIMIT 1) AS found)))"
                    .into(),
                rows: self.settled.len(),
                values: vec![Value::Longs(&self.settled)],
            },
        ]
    }
}

impl NewRows {
    fn push(&mut self, id: i64, row: &NewForwardedRow<'_>) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        self.id.push(id);
        self.epoch.push(row.epoch);
        self.node.push(owned(row.node));
        self.due.push(row.due);
        self.secret.push(row.secret.to_owned());
        self.created.push(row.created);
        self.service.push(row.service.to_owned());
        self.endpoint.push(row.endpoint.to_owned());
        self.sid.push(row.sid.to_owned());
        self.user_id.push(row.user_id.to_owned());
        self.cmid.push(owned(row.cmid));
        self.kind.push(row.kind.to_owned());
        self.tid.push(row.tid.to_owned());
        self.msg.push(row.msg.to_owned());
        self.correlation.push(owned(row.correlation));
        self.debug.push(owned(row.debug));
        self.bytes.push(row.bytes);
        self.deadline.push(row.deadline);
        self.adapted.push(row.adapted);
        self.postponed.push(row.postponed);
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::Longs(&self.id),
            Value::Longs(&self.epoch),
            Value::Maybes(&self.node),
            Value::Longs(&self.due),
            Value::Texts(&self.secret),
            Value::Longs(&self.created),
            Value::Texts(&self.service),
            Value::Texts(&self.endpoint),
            Value::Texts(&self.sid),
            Value::Texts(&self.user_id),
            Value::Maybes(&self.cmid),
            Value::Texts(&self.kind),
            Value::Texts(&self.tid),
            Value::Texts(&self.msg),
            Value::Maybes(&self.correlation),
            Value::Maybes(&self.debug),
            Value::Ints(&self.bytes),
            Value::MaybeLongs(&self.deadline),
            Value::MaybeBools(&self.adapted),
            Value::MaybeLongs(&self.postponed),
        ]
    }
}

impl Transaction<'_> {
    /// Locks the forwarded rows that a group settles, in the order of their ids, and reads who may settle them.
    pub fn lock_forwarded(&mut self, mut ids: Vec<i64>) -> DbResult<()> {
        type Columns = (BigInt, BigInt, Nullable<Text>, Text);
        if ids.is_empty() {
            return Ok(());
        }
        ids.sort_unstable();
        ids.dedup();
        let lock = "SELECT id, epoch, node, secret FROM forwarded \
            WHERE id = ANY(ARRAY(SELECT unnest(?))) ORDER BY id FOR UPDATE";
        let rows: Vec<(i64, i64, Option<String>, String)> =
            sql::<Columns>(lock, [Value::Longs(&ids)]).load(self.raw_conn())?;
        let claims = rows
            .into_iter()
            .map(|(id, epoch, node, secret)| (id, (epoch, node, secret)));
        self.dialect.locked_forwarded.extend(claims);
        Ok(())
    }

    /// What decides who may settle a forwarded row. Locks the row. `None`: there is no such row.
    pub fn claim_of_forwarded(&mut self, id: i64) -> DbResult<Option<ClaimOfRow>> {
        let known = self.dialect.locked_forwarded.get(&id);
        if let Some(known) = known {
            return Ok(Some(known.clone()));
        }
        self.read_claim_of_forwarded(id)
    }

    /// Inserts a forwarded row and returns its id.
    pub fn insert_forwarded(&mut self, row: &NewForwardedRow<'_>) -> DbResult<i64> {
        let id = self.forwarded_id()?;
        self.dialect.forwards().new.push(id, row);
        self.gathered(Some(row.msg))?;
        self.gathered(row.correlation)?;
        Ok(id)
    }

    /// Deletes a forwarded row that is locked.
    pub fn delete_forwarded(&mut self, id: i64) -> DbResult<()> {
        self.dialect.locked_forwarded.remove(&id);
        self.dialect.forwards().settled.push(id);
        Ok(())
    }

    /// The next id. Behind a pooler, none is kept for later: a connection there does not notice that another server has
    /// taken over, which may assign the same ids to others.
    fn forwarded_id(&mut self) -> DbResult<i64> {
        if let Some(id) = self.rooms().forwarded_ids.pop() {
            return Ok(id);
        }
        let many = match self.dialect.is_pooled() {
            true => 1,
            false => BLOCK,
        };
        let draw = "SELECT nextval(sequence.name) FROM generate_series(1, ?), \
            (SELECT pg_get_serial_sequence('forwarded', 'id')::regclass AS name) AS sequence";
        let mut ids: Vec<i64> = sql::<BigInt>(draw, [Value::Long(many)]).load(self.raw_conn())?;
        // In descending order, so that the lowest is taken first.
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let id = ids.pop().ok_or(diesel::result::Error::NotFound)?;
        self.rooms().forwarded_ids = ids;
        Ok(id)
    }
}
