//! Claims forwarded rows, service by service: rows of a service without room are not even read, however many there are.
//! The services and nodes that have rows are found by hopping along an index from one name to the next. A query starts
//! where the one before ended ([`Looked`]).

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

mod choice;

pub use self::choice::Owner;
use self::choice::{CANDIDATE, CHOICE, Candidate, Claim, MOST_ROWS};
use super::passed::{from, passed};
use super::rows::ForwardedRow;
use super::schema::{forwarded, node};
use super::{MOST_VALUES, Transaction};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    pub fn claim_forwarded(&mut self, op: &ClaimForwarded) -> DbResult<ClaimedForwarded> {
        self.reset_forwarded_conn()?;
        let (by, lease_time) = (self.by.clone(), self.lease_time()?);
        let begun = Instant::now();
        // Only leases may have a clock of their own, which lags; due times use the ordinary one.
        let now = self.now;
        let mut claim = Claim::new(op);
        // Rows of dead nodes come first: their number cannot grow, so nothing else waits for them forever.
        for (node, is_long_gone) in self.dead_holders(&by, lease_time, &mut claim)? {
            if !self.claim_of(Owner::Node(&node), now, &mut claim)? && is_long_gone {
                claim.claimed.looked.emptied.insert(node);
            }
        }
        self.claim_unheard(&by, now, &mut claim)?;
        self.claim_of(Owner::Nobody, now, &mut claim)?;
        claim.claimed.took = begun.elapsed();
        Ok(claim.claimed)
    }

    /// Nodes with expired leases that may hold rows, each with whether it expired so long ago that none of its commits
    /// can still appear.
    fn dead_holders(
        &mut self,
        by: &str,
        now: i64,
        claim: &mut Claim<'_>,
    ) -> DbResult<Vec<(String, bool)>> {
        let gone = node::table
            .filter(node::lease_until.le(now).and(node::name.ne(by)))
            .select((node::name, node::lease_until));
        let gone: HashMap<String, i64> = gone.load(self.raw_conn())?.into_iter().collect();
        // A node that no longer has a row expired long ago.
        let is_long_gone = |name: &str| gone.get(name).is_none_or(|until| *until <= passed(now));
        let holders: Vec<String> = match &claim.op.looked {
            Some(looked) => {
                let may_hold = |name: &&String| !looked.emptied.contains(*name);
                gone.keys().filter(may_hold).cloned().collect()
            }
            // These may include nodes that no longer have a row.
            None => self.dead_nodes(by, now)?,
        };
        let empty = gone.keys().filter(|name| !holders.contains(name));
        let empty = empty.filter(|name| is_long_gone(name));
        claim.claimed.looked.emptied.extend(empty.cloned());
        let with_age = |name: String| {
            let is_long_gone = is_long_gone(&name);
            (name, is_long_gone)
        };
        Ok(holders.into_iter().map(with_age).collect())
    }

    /// Claims rows of one owner. False: it has none.
    fn claim_of(&mut self, owner: Owner<'_>, now: i64, claim: &mut Claim<'_>) -> DbResult<bool> {
        if claim.is_enough() {
            return Ok(true);
        }
        let wanted = claim.wanted(owner, now);
        let services = self.services_with_rows(owner, &wanted, now)?;
        let has_rows = !services.is_empty();
        let share = MOST_ROWS / services.len().max(1);
        for (service, since) in wanted {
            let mut first = None;
            if services.contains(&service) && claim.has_room(&service) {
                let room = claim.rooms.get(&*service).map_or(0, |room| room.rows);
                let most = room.min(share.max(1));
                let range = (since, now);
                first = self.claim_of_service(owner, &service, range, most, claim)?;
            }
            if matches!(owner, Owner::Nobody) {
                claim.note_free(&service, first, now);
            }
        }
        Ok(has_rows)
    }

    /// Claims the oldest due rows of a service. Returns when the first remaining one is due, if there may be one.
    fn claim_of_service(
        &mut self,
        owner: Owner<'_>,
        service: &str,
        (since, now): (i64, i64),
        most: usize,
        claim: &mut Claim<'_>,
    ) -> DbResult<Option<i64>> {
        let candidates = self.oldest(owner, service, (since, now), most * CHOICE)?;
        let (all, last) = (candidates.len() < most * CHOICE, candidates.last());
        let behind = last.map(|row| row.3).filter(|_| !all);
        let due: Vec<(i64, i64)> = candidates.iter().map(|row| (row.0, row.3)).collect();
        let chosen = claim.choose(service, candidates, most);
        let taken = self.take(owner, &chosen, now, claim)?;
        let left = due.into_iter().filter(|(id, _)| !taken.contains(id));
        Ok(left.map(|(_, due)| due).chain(behind).min())
    }

    /// Claims rows that the caller's node already holds without knowing it. Its other rows it keeps, whatever the state
    /// of its lease.
    fn claim_unheard(&mut self, by: &str, now: i64, claim: &mut Claim<'_>) -> DbResult<()> {
        // The caller does not know of claims made while this operation waited for its turn.
        let waited = claim.op.asked.elapsed();
        let heard = now.saturating_sub(ms(claim.op.claim_grace.saturating_add(waited)));
        let holding = &claim.op.holding;
        let mut mine = self.claimed_before(by, heard, claim.op)?;
        let looked = &mut claim.claimed.looked;
        looked.held = mine
            .keys()
            .filter(|id| holding.contains(id))
            .copied()
            .collect();
        if let Some(before) = &claim.op.looked {
            looked.held.extend(before.held.intersection(holding));
        }
        mine.retain(|id, _| !holding.contains(id));
        // Claims made before this time are known to the caller by now, because the grace period has passed.
        looked.own_before = heard;
        let mut unheard: HashMap<String, Vec<Candidate>> = HashMap::new();
        for (service, row) in mine.into_values() {
            // Until the row is claimed, it must be found again.
            looked.own_before = looked.own_before.min(row.3);
            unheard.entry(service).or_default().push(row);
        }
        for (service, candidates) in unheard {
            let chosen = claim.choose(&service, candidates, MOST_ROWS);
            self.take(Owner::Node(by), &chosen, now, claim)?;
        }
        Ok(())
    }

    /// The caller's rows, by id, that were claimed before this time, except those that the last query showed to be
    /// known to it.
    fn claimed_before(
        &mut self,
        by: &str,
        heard: i64,
        op: &ClaimForwarded,
    ) -> DbResult<HashMap<i64, (String, Candidate)>> {
        let looked = op.looked.as_ref();
        let since = from(looked.map(|looked| looked.own_before), self.now);
        let wanted: Vec<_> = op.rooms.keys().map(|it| (it.clone(), since)).collect();
        let mut mine: Vec<(String, Candidate)> = Vec::new();
        // One service at a time: for several, PostgreSQL scans all the rows that the node holds.
        for service in self.services_with_rows(Owner::Node(by), &wanted, heard)? {
            let rows = forwarded::table
                .filter(forwarded::node.eq(by))
                .filter(forwarded::service.eq(service))
                .filter(forwarded::due.ge(since).and(forwarded::due.lt(heard)))
                .select((forwarded::service, CANDIDATE));
            mine.extend(rows.load::<(String, Candidate)>(self.raw_conn())?);
        }
        let held = looked.into_iter().flat_map(|looked| &looked.held);
        let gone: Vec<i64> = held
            .filter(|id| !op.holding.contains(id))
            .copied()
            .collect();
        for ids in gone.chunks(MOST_VALUES) {
            // By their ids alone, as in `take`.
            let rows: Vec<(Option<String>, (String, Candidate))> = forwarded::table
                .filter(forwarded::id.eq_any(ids))
                .select((forwarded::node, (forwarded::service, CANDIDATE)))
                .load(self.raw_conn())?;
            let rows = rows
                .into_iter()
                .filter(|(node, (_, row))| node.as_deref() == Some(by) && row.3 < heard);
            mine.extend(rows.map(|(_, row)| row));
        }
        Ok(mine.into_iter().map(|row| (row.1.0, row)).collect())
    }

    /// The services of which an owner has rows.
    pub fn services_of(&mut self, owner: Owner<'_>) -> DbResult<Vec<String>> {
        let conn = self.raw_conn();
        match owner {
            Owner::Nobody => sql::<Text>(concat!(
                "WITH RECURSIVE waiting (service) AS (SELECT (SELECT service FROM ",
                prefix!(),
                "forwarded WHERE node IS NULL ORDER BY service LIMIT 1) \
                 UNION ALL SELECT (SELECT forwarded.service FROM ",
                prefix!(),
                "forwarded AS forwarded WHERE node IS NULL AND forwarded.service > waiting.service \
                 ORDER BY forwarded.service LIMIT 1) \
                 FROM waiting WHERE waiting.service IS NOT NULL\
                 ) SELECT service FROM waiting WHERE service IS NOT NULL"
            ))
            .load(conn),
            Owner::Node(node) => sql::<Text>(concat!(
                "WITH RECURSIVE waiting (service) AS (SELECT (SELECT service FROM ",
                prefix!(),
                "forwarded WHERE node = "
            ))
            .bind::<Text, _>(node)
            .sql(concat!(
                " ORDER BY service LIMIT 1) UNION ALL SELECT (SELECT forwarded.service FROM ",
                prefix!(),
                "forwarded AS forwarded WHERE node = "
            ))
            .bind::<Text, _>(node)
            .sql(
                " AND forwarded.service > waiting.service ORDER BY forwarded.service LIMIT 1) \
                 FROM waiting WHERE waiting.service IS NOT NULL\
                 ) SELECT service FROM waiting WHERE service IS NOT NULL",
            )
            .load(conn),
        }
    }

    /// Nodes that hold rows although their leases have expired.
    pub(super) fn dead_nodes(&mut self, by: &str, now: i64) -> DbResult<Vec<String>> {
        sql::<Text>(concat!(
            "WITH RECURSIVE holder (node) AS (SELECT (SELECT node FROM ",
            prefix!(),
            "forwarded WHERE node IS NOT NULL ORDER BY node LIMIT 1) \
             UNION ALL SELECT (SELECT forwarded.node FROM ",
            prefix!(),
            "forwarded AS forwarded WHERE forwarded.node > holder.node ORDER BY forwarded.node LIMIT 1) \
             FROM holder WHERE holder.node IS NOT NULL\
             ) SELECT node FROM holder WHERE node <> "
        ))
        .bind::<Text, _>(by)
        .sql(concat!(
            " AND node NOT IN (SELECT name FROM ",
            prefix!(),
            "node WHERE lease_until > "
        ))
        .bind::<BigInt, _>(now)
        .sql(")")
        .load(self.raw_conn())
    }

    /// The oldest due rows of a service that an owner has.
    fn oldest(
        &mut self,
        owner: Owner<'_>,
        service: &str,
        (since, now): (i64, i64),
        limit: usize,
    ) -> DbResult<Vec<Candidate>> {
        let rows = forwarded::table
            .filter(forwarded::service.eq(service))
            .filter(forwarded::due.between(since, now))
            .order((forwarded::due, forwarded::id))
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select(CANDIDATE);
        let conn = self.raw_conn();
        match owner {
            Owner::Nobody => rows.filter(forwarded::node.is_null()).load(conn),
            Owner::Node(node) => rows.filter(forwarded::node.eq(node)).load(conn),
        }
    }

    /// Claims rows, except those that are no longer this owner's or are being claimed by another node. Returns their
    /// ids.
    fn take(
        &mut self,
        owner: Owner<'_>,
        ids: &[i64],
        now: i64,
        claim: &mut Claim<'_>,
    ) -> DbResult<HashSet<i64>> {
        let mut all = HashSet::new();
        let (by, read) = (self.by.clone(), self.now);
        let conn = self.raw_conn();
        for ids in ids.chunks(MOST_VALUES) {
            // By their ids alone; otherwise PostgreSQL scans all the rows that the owner has.
            let rows = forwarded::table
                .filter(forwarded::id.eq_any(ids))
                .select((forwarded::id, forwarded::node));
            let rows: Vec<(i64, Option<String>)> = unclaimed!(rows).load(conn)?;
            let free = rows
                .into_iter()
                .filter(|(_, node)| owner.is(node.as_deref()));
            let free: Vec<i64> = free.map(|(id, _)| id).collect();
            let taken = forwarded::table.filter(forwarded::id.eq_any(&free));
            let taken: Vec<ForwardedRow> = diesel::update(taken)
                .set((
                    forwarded::node.eq(&*by),
                    forwarded::epoch.eq(forwarded::epoch + 1),
                    forwarded::due.eq(now),
                ))
                .returning(ForwardedRow::as_returning())
                .get_results(conn)?;
            let mut taken: HashMap<i64, ForwardedRow> =
                taken.into_iter().map(|row| (row.id, row)).collect();
            // In the order in which they were chosen.
            for row in ids.iter().filter_map(|id| taken.remove(id)) {
                all.insert(row.id);
                claim.claimed.rows.push(row.read_at(read)?);
            }
        }
        Ok(all)
    }
}
