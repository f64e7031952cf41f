//! Sessions: opening, resuming, listing and closing them.

use diesel::prelude::*;

use super::Transaction;
use super::schema::{correlation, inbox, node, outbox, session, subscription};
use super::sizes::{bytes, octet_length};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// The columns that [`CloseSession`] needs: key, sid, user, node, connection.
pub type Closing = (i64, String, String, Option<String>, i64);
pub const CLOSING: (
    session::key,
    session::sid,
    session::user_id,
    session::node,
    session::connection,
) = (
    session::key,
    session::sid,
    session::user_id,
    session::node,
    session::connection,
);

/// What is needed to resume a session.
pub struct ToResume {
    pub key: i64,
    pub user_id: String,
    pub smid_prefix: String,
    /// The previous registration, and its node if it is connected.
    pub connection: i64,
    pub node: Option<String>,
    pub last_seq: i64,
    pub inbox: Vec<(String, u64)>,
    pub topics: Vec<(String, Option<i64>)>,
    pub has_outbox: bool,
}

impl Transaction<'_> {
    pub fn register(&mut self, op: &Register) -> DbResult<Registered> {
        match &op.session {
            NewOrResumed::New { sid, smid_prefix } => self.open(op, sid, smid_prefix),
            NewOrResumed::Resumed { sid } => self.resume(op, sid),
        }
    }

    pub fn sessions_of(&mut self, user_id: &str) -> DbResult<i64> {
        session::table
            .filter(session::user_id.eq(user_id))
            .count()
            .get_result(self.raw_conn())
    }

    fn open(&mut self, op: &Register, sid: &str, smid_prefix: &str) -> DbResult<Registered> {
        self.reset_conn()?;
        self.lock_user(&op.user_id)?;
        let Some(made_room) = self.make_room(op)? else {
            return Ok(Registered::TooManySessions);
        };
        let (by, now) = (self.by.clone(), self.now);
        let key = self.new_session_key(sid)?;
        let connection = self.number_after(0);
        let key: i64 = diesel::insert_into(session::table)
            .values((
                key.map(|key| session::key.eq(key)),
                session::sid.eq(sid),
                session::smid_prefix.eq(smid_prefix),
                session::user_id.eq(&op.user_id),
                session::connection.eq(connection),
                session::reserves.eq(connection),
                session::node.eq(&*by),
                session::client.eq(&op.client),
                session::app_name.eq(&op.app_name),
                session::app_version.eq(&op.app_version),
                session::created.eq(now),
                session::alive.eq(now),
                session::last_seq.eq(0),
            ))
            .returning(session::key)
            .get_result(self.raw_conn())?;
        Ok(Registered::Held(Box::new(HeldSession {
            holder: Holder {
                session: SessionKey(key),
                connection: ConnectionId(connection),
            },
            new: true,
            sid: sid.into(),
            smid_prefix: smid_prefix.into(),
            replaced: None,
            last_seq: 0,
            inbox: Vec::new(),
            topics: Vec::new(),
            has_outbox: false,
            made_room,
        })))
    }

    fn resume(&mut self, op: &Register, sid: &str) -> DbResult<Registered> {
        let Some(found) = self.find_to_resume(sid)? else {
            return Ok(Registered::NoSuchSession);
        };
        if found.user_id != op.user_id {
            return Ok(Registered::WrongUser);
        }
        let connection = ConnectionId(self.number_after(found.connection));
        let holder = Holder {
            session: SessionKey(found.key),
            connection,
        };
        self.note_resumed(holder, op)?;
        Ok(Registered::Held(Box::new(HeldSession {
            holder,
            new: false,
            sid: sid.into(),
            smid_prefix: found.smid_prefix,
            replaced: (found.node).map(|node| (node, ConnectionId(found.connection))),
            last_seq: found.last_seq,
            inbox: found.inbox,
            topics: found.topics,
            has_outbox: found.has_outbox,
            made_room: Vec::new(),
        })))
    }

    /// Reads what is needed to resume a session.
    pub fn read_to_resume(&mut self, sid: &str) -> DbResult<Option<ToResume>> {
        type Columns = (i64, String, String, i64, Option<String>, i64);
        let columns = (
            session::key,
            session::user_id,
            session::smid_prefix,
            session::connection,
            session::node,
            session::last_seq,
        );
        let found = session::table.filter(session::sid.eq(sid)).select(columns);
        let conn = self.reset_conn()?;
        let found: Option<Columns> = locked!(found).get_result(conn).optional()?;
        let Some((key, user_id, smid_prefix, connection, node, last_seq)) = found else {
            return Ok(None);
        };
        let has_outbox = outbox::table
            .filter(outbox::session.eq(key))
            .select(outbox::seq)
            .first::<i64>(conn);
        let answers: Vec<(String, Option<i32>)> = inbox::table
            .filter(inbox::session.eq(key))
            .select((inbox::cmid, octet_length(inbox::answer)))
            .load(conn)?;
        Ok(Some(ToResume {
            key,
            user_id,
            smid_prefix,
            connection,
            node,
            last_seq,
            inbox: answers
                .into_iter()
                .map(|(cmid, length)| (cmid, bytes(length)))
                .collect(),
            topics: subscription::table
                .filter(subscription::session.eq(key))
                .select((subscription::topic, subscription::since))
                .load(conn)?,
            has_outbox: has_outbox.optional()?.is_some(),
        }))
    }

    pub fn deregister(&mut self, op: &Deregister) -> DbResult<bool> {
        let now = self.now;
        let held = session::table
            .find(op.holder.session.0)
            .filter(session::connection.eq(op.holder.connection.0))
            .filter(session::node.is_not_null());
        let changed = diesel::update(held)
            .set((session::node.eq(None::<&str>), session::alive.eq(now)))
            .execute(self.reset_conn()?)?;
        Ok(changed == 1)
    }

    pub fn close_session(&mut self, op: &CloseSession) -> DbResult<Option<ClosedSession>> {
        let conn = self.reset_conn()?;
        let found: Option<Closing> = match &op.target {
            CloseTarget::Sid(sid) => {
                locked!(session::table.filter(session::sid.eq(sid)).select(CLOSING))
                    .get_result(conn)
                    .optional()?
            }
            CloseTarget::Holder(holder) => {
                let held = session::table
                    .find(holder.session.0)
                    .filter(session::connection.eq(holder.connection.0));
                locked!(held.select(CLOSING)).get_result(conn).optional()?
            }
        };
        found.map(|found| self.close(found, &op.reason)).transpose()
    }

    pub fn close(
        &mut self,
        (key, sid, user_id, node, connection): Closing,
        reason: &str,
    ) -> DbResult<ClosedSession> {
        let now = self.now;
        let conn = self.reset_conn()?;
        diesel::delete(session::table.find(key)).execute(conn)?;
        diesel::delete(inbox::table.filter(inbox::session.eq(key))).execute(conn)?;
        diesel::delete(outbox::table.filter(outbox::session.eq(key))).execute(conn)?;
        diesel::delete(subscription::table.filter(subscription::session.eq(key))).execute(conn)?;
        // A correlation that has already ended keeps its reason, and its claimant keeps it for a while.
        diesel::update(
            correlation::table
                .filter(correlation::session.eq(key))
                .filter(correlation::reason.is_null()),
        )
        .set((correlation::due.eq(now), correlation::reason.eq(reason)))
        .execute(conn)?;
        let home = node.map(|node| (node, ConnectionId(connection)));
        Ok(ClosedSession {
            session: SessionKey(key),
            sid,
            user_id,
            home,
        })
    }

    pub fn find_home(&mut self, op: &FindHome) -> DbResult<SessionHome> {
        let now = self.lease_time()?;
        let conn = self.reset_conn()?;
        // Not a join, for which PostgreSQL may scan all sessions in the order of their nodes.
        let living = node::table
            .filter(node::name.nullable().eq(session::node))
            .filter(node::lease_until.gt(now))
            .select(node::name);
        let found: Option<Option<String>> = session::table
            .filter(session::sid.eq(&op.sid))
            .select(living.single_value())
            .get_result(conn)
            .optional()?;
        Ok(match found {
            None => SessionHome::NoSuchSession,
            Some(None) => SessionHome::NotConnected,
            Some(Some(node)) => SessionHome::Node(node),
        })
    }

    pub fn time_out_sessions(&mut self, op: &TimeOutSessions) -> DbResult<Vec<ClosedSession>> {
        let now = self.lease_time()?;
        if !self.lives(now)? {
            return Ok(Vec::new());
        }
        let before = self.now.saturating_sub(ms(op.idle));
        self.maintain()?;
        let conn = self.reset_conn()?;
        let idle: Vec<i64> = with_living_nodes!(now)
            .filter(session::alive.lt(before))
            // The sessions of a dead node are not connected either.
            .filter(node::name.is_null())
            .order(session::alive)
            .limit(op.limit.into())
            .select(session::key)
            .load(conn)?;
        let mut closed = Vec::with_capacity(idle.len());
        for key in idle {
            if let Some(found) = self.still_idle(key, before)? {
                closed.push(self.close(found, "the session timed out")?);
            }
        }
        Ok(closed)
    }

    /// A session that has not been alive since `before`, unless it has returned or another node is closing it.
    pub fn still_idle(&mut self, key: i64, before: i64) -> DbResult<Option<Closing>> {
        let still = session::table
            .find(key)
            .filter(session::alive.lt(before))
            .select(CLOSING);
        unclaimed!(still).get_result(self.reset_conn()?).optional()
    }
}
