//! Rows as they are stored, and their conversion from and to the types of the operations.

#![allow(missing_debug_implementations)] // rows are never printed, and some hold secrets

use std::time::{Duration, Instant};

use diesel::prelude::*;
use rand::RngExt;
use serde_json::value::RawValue;

use super::schema::{correlation, dead_letter, forwarded, kept_message, outbox, publication};
use crate::clock::wall_time;
use crate::store::operation::*;
use crate::store::statements::{DbError, DbResult};
use crate::wire::{Debug, MessageType, Payload};

/// Characters in the secret of a reply token: about 190 bits.
const SECRET_LENGTH: usize = 32;

/// An unguessable secret.
pub fn secret() -> String {
    rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(SECRET_LENGTH)
        .map(char::from)
        .collect()
}

/// The time from one to the other, both in milliseconds; zero if the second is the earlier one.
fn between(from: i64, to: i64) -> Duration {
    Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> DbError {
    DbError::DeserializationError(Box::new(error))
}

/// Parses a message type's name.
pub fn kind(name: &str) -> DbResult<MessageType> {
    MessageType::from_name(name).ok_or_else(|| {
        DbError::DeserializationError(format!("{name:?} is not a message type").into())
    })
}

/// Parses a payload's text.
pub fn payload(text: String) -> DbResult<Payload> {
    RawValue::from_string(text).map_err(unreadable)
}

/// A debug object as text.
pub fn debug_text(debug: &Option<Debug>) -> DbResult<Option<String>> {
    let text = debug.as_ref().map(serde_json::to_string).transpose();
    text.map_err(|error| DbError::SerializationError(Box::new(error)))
}

fn debug(text: Option<String>) -> DbResult<Option<Debug>> {
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(unreadable)
}

/// A new row of the outbox.
#[derive(Insertable)]
#[diesel(table_name = outbox, treat_none_as_default_value = false)]
pub struct NewOutboxRow<'a> {
    pub session: i64,
    pub seq: i64,
    pub kind: &'a str,
    pub eid: Option<&'a str>,
    pub cmid: Option<&'a str>,
    pub tid: &'a str,
    pub msg: Option<&'a str>,
    pub debug: Option<&'a str>,
    pub deliveries: i32,
    pub created: i64,
    pub expires: Option<i64>,
}

/// A row of the outbox.
#[derive(Queryable, Selectable)]
#[diesel(table_name = outbox)]
#[allow(dead_code)] // whole rows are read, though not all of each is needed
pub struct OutboxRow {
    pub seq: i64,
    pub kind: String,
    pub eid: Option<String>,
    pub cmid: Option<String>,
    pub tid: String,
    pub msg: Option<String>,
    pub debug: Option<String>,
    pub deliveries: i32,
    pub created: i64,
    pub expires: Option<i64>,
}

impl OutboxRow {
    /// The message, as read at this time (milliseconds since the epoch).
    pub fn read_at(self, now: i64) -> DbResult<OutboxMessage> {
        let row = self;
        Ok(OutboxMessage {
            seq: row.seq,
            kind: kind(&row.kind)?,
            eid: row.eid,
            cmid: row.cmid,
            tid: row.tid,
            msg: row.msg.map(payload).transpose()?,
            debug: debug(row.debug)?,
            left: row.expires.map(|expires| between(now, expires)),
        })
    }
}

/// A new message for a user who has no session.
#[derive(Insertable)]
#[diesel(table_name = kept_message, treat_none_as_default_value = false)]
pub struct NewKeptRow<'a> {
    pub user_id: &'a str,
    pub eid: &'a str,
    pub tid: &'a str,
    pub msg: &'a str,
    pub bytes: i32,
    pub debug: Option<&'a str>,
    pub created: i64,
    pub kept_until: i64,
    pub expires: Option<i64>,
    pub for_every_session: bool,
}

/// A message that was kept for a user who had no session.
#[derive(Queryable, Selectable)]
#[diesel(table_name = kept_message)]
pub struct KeptRow {
    pub eid: String,
    pub tid: String,
    pub msg: String,
    pub debug: Option<String>,
    pub expires: Option<i64>,
}

impl KeptRow {
    /// The message, to be stored at this time (milliseconds since the epoch).
    pub fn message(self, now: i64) -> DbResult<NewMessage> {
        Ok(NewMessage {
            kind: MessageType::Send,
            eid: Some(self.eid),
            tid: self.tid,
            msg: Some(payload(self.msg)?),
            debug: debug(self.debug)?,
            time_to_live: self.expires.map(|expires| between(now, expires)),
            ..NewMessage::default()
        })
    }
}

/// A new correlation.
#[derive(Insertable)]
#[diesel(table_name = correlation, treat_none_as_default_value = false)]
pub struct NewCorrelationRow<'a> {
    pub session: i64,
    pub seq: i64,
    pub sid: &'a str,
    pub user_id: &'a str,
    pub tid: &'a str,
    pub terminator: &'a str,
    pub string: Option<&'a str>,
    pub bytes: Option<&'a [u8]>,
    pub requested: i64,
    pub timeout_ms: i64,
    pub due: i64,
}

/// A correlation.
#[derive(Queryable, Selectable)]
#[diesel(table_name = correlation)]
pub struct CorrelationRow {
    pub session: i64,
    pub seq: i64,
    pub sid: String,
    pub user_id: String,
    pub tid: String,
    pub terminator: String,
    pub string: Option<String>,
    pub bytes: Option<Vec<u8>>,
    pub requested: i64,
    pub timeout_ms: i64,
    pub reason: Option<String>,
}

impl CorrelationRow {
    /// Why it ended.
    pub fn reason(&self) -> String {
        self.reason
            .clone()
            .unwrap_or_else(|| format!("timed out after {} ms", self.timeout_ms))
    }

    /// What was stored with the request for its reply.
    pub fn correlation(self) -> Correlation {
        Correlation {
            terminator: self.terminator,
            string: self.string,
            bytes: self.bytes,
            requested: self.requested,
            timeout_ms: self.timeout_ms,
        }
    }
}

/// A new forwarded row.
#[derive(Insertable)]
#[diesel(table_name = forwarded, treat_none_as_default_value = false)]
pub struct NewForwardedRow<'a> {
    pub epoch: i64,
    pub node: Option<&'a str>,
    pub due: i64,
    pub attempts: i32,
    pub secret: &'a str,
    pub created: i64,
    pub service: &'a str,
    pub endpoint: &'a str,
    pub sid: &'a str,
    pub user_id: &'a str,
    pub cmid: Option<&'a str>,
    pub kind: &'a str,
    pub tid: &'a str,
    pub msg: &'a str,
    pub correlation: Option<&'a str>,
    pub debug: Option<&'a str>,
    pub bytes: i32,
    pub deadline: Option<i64>,
    pub adapted: Option<bool>,
    /// When it became unclaimed, if it is. Reveals how long it was meant to wait if the clock is set back.
    pub postponed: Option<i64>,
    pub key: Option<&'a str>,
}

/// A forwarded row.
#[derive(Queryable, Selectable)]
#[diesel(table_name = forwarded)]
pub struct ForwardedRow {
    pub id: i64,
    pub epoch: i64,
    pub attempts: i32,
    pub secret: String,
    pub created: i64,
    pub service: String,
    pub endpoint: String,
    pub sid: String,
    pub user_id: String,
    pub cmid: Option<String>,
    pub kind: String,
    pub tid: String,
    pub msg: String,
    pub correlation: Option<String>,
    pub debug: Option<String>,
    pub deadline: Option<i64>,
    pub failed: Option<i64>,
    pub adapted: Option<bool>,
    pub key: Option<String>,
}

impl ForwardedRow {
    /// The row, as read at this time (milliseconds since the epoch).
    pub fn read_at(self, now: i64) -> DbResult<Forwarded> {
        let row = self;
        let work = NewForward {
            service: row.service,
            endpoint: row.endpoint,
            sid: row.sid,
            user_id: row.user_id,
            cmid: row.cmid,
            kind: kind(&row.kind)?,
            tid: row.tid,
            msg: payload(row.msg)?,
            correlation: row.correlation.map(payload).transpose()?,
            debug: debug(row.debug)?,
            left: row.deadline.map(|deadline| between(now, deadline)),
            adapted: row.adapted,
            here: true,
            begins: Begins::AT_ONCE,
            key: row.key,
        };
        Ok(Forwarded {
            id: row.id,
            epoch: row.epoch,
            secret: row.secret,
            attempts: row.attempts.max(0) as u32,
            failing: row
                .failed
                .map_or(Duration::ZERO, |failed| between(failed, now)),
            read: Instant::now(),
            work: Box::new(work),
        })
    }
}

/// A new dead letter.
#[derive(Insertable)]
#[diesel(table_name = dead_letter, treat_none_as_default_value = false)]
pub struct NewDeadLetterRow<'a> {
    pub origin: &'a str,
    pub session: Option<i64>,
    pub seq: Option<i64>,
    pub sid: &'a str,
    pub user_id: &'a str,
    pub service: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    pub cmid: Option<&'a str>,
    pub kind: &'a str,
    pub tid: &'a str,
    pub msg: Option<&'a str>,
    pub correlation: Option<&'a str>,
    pub debug: Option<&'a str>,
    pub created: i64,
    pub reason: &'a str,
    pub deliveries: i32,
    pub died: i64,
    pub bytes: Option<i32>,
    pub adapted: Option<bool>,
}

/// A dead letter.
#[derive(Queryable, Selectable)]
#[diesel(table_name = dead_letter)]
pub struct DeadLetterRow {
    pub id: i64,
    pub origin: String,
    pub session: Option<i64>,
    pub seq: Option<i64>,
    pub sid: String,
    pub user_id: String,
    pub service: Option<String>,
    pub endpoint: Option<String>,
    pub cmid: Option<String>,
    pub kind: String,
    pub tid: String,
    pub msg: Option<String>,
    pub correlation: Option<String>,
    pub debug: Option<String>,
    pub created: i64,
    pub reason: String,
    pub deliveries: i32,
    pub died: i64,
    pub adapted: Option<bool>,
}

impl From<DeadLetterRow> for DeadLetter {
    fn from(row: DeadLetterRow) -> DeadLetter {
        DeadLetter {
            id: row.id,
            origin: row.origin,
            session_id: row.sid,
            endpoint: row.service.or(row.endpoint),
            trace_id: row.tid,
            payload: row.msg,
            reason: row.reason,
            deliveries: row.deliveries.max(0) as u32,
            died: wall_time(row.died),
        }
    }
}

/// A publication.
#[derive(Queryable, Selectable)]
#[diesel(table_name = publication)]
pub struct PublicationRow {
    pub id: i64,
    pub created: i64,
    pub topic: String,
    pub tid: String,
    pub msg: String,
}

impl TryFrom<PublicationRow> for Publication {
    type Error = DbError;

    fn try_from(row: PublicationRow) -> DbResult<Publication> {
        let PublicationRow {
            id,
            created,
            topic,
            tid,
            msg,
        } = row;
        Ok(Publication {
            id,
            created,
            topic,
            tid,
            msg: payload(msg)?,
        })
    }
}
