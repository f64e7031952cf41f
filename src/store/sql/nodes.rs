//! Nodes: their leases, and the sessions and claims they hold.

use diesel::prelude::*;

use super::Transaction;
use super::schema::{forwarded, node, session};
use super::unserved::services_in;
use crate::clock::{ms, wall_time};
use crate::logging;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// The columns read of a node: name, lease, services, number of sessions.
type NodeColumns = (String, i64, Option<String>, i64);

impl Transaction<'_> {
    pub fn renew_lease(&mut self, op: &RenewLease) -> DbResult<bool> {
        let (by, now) = (self.by.clone(), self.lease_time()?);
        self.mend_leases(now)?;
        let until = now.saturating_add(ms(op.lease));
        let lease = Some(ms(op.lease));
        let conn = self.raw_conn();
        if op.join {
            diesel::insert_into(node::table)
                .values((
                    node::name.eq(&*by),
                    node::lease_until.eq(until),
                    node::lease.eq(lease),
                ))
                .on_conflict(node::name)
                .do_update()
                .set((node::lease_until.eq(until), node::lease.eq(lease)))
                .execute(conn)?;
            return Ok(true);
        }
        let valid = node::table.find(&*by).filter(node::lease_until.gt(now));
        Ok(diesel::update(valid)
            .set((node::lease_until.eq(until), node::lease.eq(lease)))
            .execute(conn)?
            == 1)
    }

    /// Restarts leases that were renewed in the future, before the clock was set back. A living node renews its
    /// lease in time, and a dead one is given up after one lease instead of after as long as the clock was set back.
    fn mend_leases(&mut self, now: i64) -> DbResult<()> {
        // Subtracted, because a sum may overflow in the database.
        let rest = node::lease_until.nullable() - Some(now);
        let ahead = node::lease.is_not_null().and(rest.gt(node::lease));
        let ahead = node::table
            .filter(ahead)
            .select((node::name, node::lease.assume_not_null()));
        let ahead: Vec<(String, i64)> = unclaimed!(ahead).load(self.raw_conn())?;
        for (name, lease) in ahead {
            logging::warn!("the clock was set back; the lease of {name} starts over");
            diesel::update(node::table.find(name))
                .set(node::lease_until.eq(now.saturating_add(lease)))
                .execute(self.raw_conn())?;
        }
        Ok(())
    }

    /// Whether the caller's own lease is valid. If not, the clock may have been set forward before anybody could renew
    /// their lease, and expired leases of other nodes prove nothing.
    pub fn lives(&mut self, now: i64) -> DbResult<bool> {
        let by = self.by.clone();
        let living = node::table.find(&*by).filter(node::lease_until.gt(now));
        diesel::select(diesel::dsl::exists(living)).get_result(self.raw_conn())
    }

    pub fn leave_node(&mut self, _: &LeaveNode) -> DbResult<()> {
        let (by, now) = (self.by.clone(), self.now);
        let conn = self.reset_conn()?;
        diesel::update(session::table.filter(session::node.eq(&*by)))
            .set(session::node.eq(None::<&str>))
            .execute(conn)?;
        diesel::update(forwarded::table.filter(forwarded::node.eq(&*by)))
            .set((
                forwarded::node.eq(None::<&str>),
                forwarded::due.eq(now),
                forwarded::postponed.eq(now),
            ))
            .execute(conn)?;
        diesel::delete(node::table.find(&*by)).execute(conn)?;
        Ok(())
    }

    pub fn list_nodes(&mut self, _: &ListNodes) -> DbResult<Vec<StoredNode>> {
        let now = self.lease_time()?;
        let rows: Vec<NodeColumns> = node::table
            .left_join(session::table.on(session::node.eq(node::name.nullable())))
            .group_by((node::name, node::lease_until, node::services))
            .order(node::name)
            .select((
                node::name,
                node::lease_until,
                node::services,
                diesel::dsl::count(session::key.nullable()),
            ))
            .load(self.reset_conn()?)?;
        // The difference between the clocks, where leases have one of their own.
        let behind = self.now - now;
        let stored = |(name, lease_until, services, sessions): NodeColumns| StoredNode {
            name,
            lives: lease_until > now,
            lease_until: wall_time(lease_until.saturating_add(behind)),
            sessions: sessions.max(0) as u64,
            services: services_in(services.as_deref()),
        };
        Ok(rows.into_iter().map(stored).collect())
    }

    pub fn sweep(&mut self, _: &Sweep) -> DbResult<Swept> {
        let by = self.by.clone();
        let rows = self.newest_of_sessions(&by)?;
        let swept = |(key, connection, newest): (i64, i64, Option<i64>)| SweptSession {
            holder: Holder {
                session: SessionKey(key),
                connection: ConnectionId(connection),
            },
            newest: newest.unwrap_or(0),
        };
        let mut sessions: Vec<_> = rows.into_iter().map(swept).collect();
        sessions.sort_unstable_by_key(|swept| swept.holder.session);
        let newest_publication = self.newest_publication(&NewestPublication)?;
        let now = self.now;
        let close_due = self.first_to_close(now)?.is_some();
        Ok(Swept {
            sessions,
            newest_publication,
            close_due,
        })
    }
}
