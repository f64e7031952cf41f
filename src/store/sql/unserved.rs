//! Work that no living node can do: compares the services that nodes offer with those that have rows.

use std::collections::{BTreeMap, HashSet};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::Transaction;
use super::claims::Owner;
use super::schema::{forwarded, node};
use crate::clock::wall_time;
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    pub fn note_services(&mut self, op: &NoteServices) -> DbResult<()> {
        let by = self.by.clone();
        let services = serde_json::to_string(&op.services).unwrap_or_else(|_| "[]".into());
        diesel::update(node::table.find(&*by))
            .set(node::services.eq(services))
            .execute(self.raw_conn())?;
        Ok(())
    }

    pub fn all_have_said(&mut self, _: &AllHaveSaid) -> DbResult<bool> {
        let now = self.lease_time()?;
        Ok(self.served(now)?.is_some())
    }

    pub fn find_unserved(&mut self, op: &FindUnserved) -> DbResult<Vec<UnservedWork>> {
        let (by, now) = (self.by.clone(), self.lease_time()?);
        let Some(served) = self.served(now)? else {
            return Ok(Vec::new());
        };
        let mut unserved = BTreeMap::new();
        self.add_unserved(Owner::Nobody, &served, op.limit, &mut unserved)?;
        for dead in self.dead_nodes(&by, now)? {
            self.add_unserved(Owner::Node(&dead), &served, op.limit, &mut unserved)?;
        }
        Ok(unserved.into_values().collect())
    }

    /// The services offered by living nodes. `None`: one of them accepts all work, or has not yet published its
    /// services.
    fn served(&mut self, now: i64) -> DbResult<Option<HashSet<String>>> {
        let living = node::table.filter(node::lease_until.gt(now));
        let services: Vec<Option<String>> = living.select(node::services).load(self.raw_conn())?;
        let named = |services: Option<String>| services_in(services.as_deref());
        let named: Option<Vec<Vec<String>>> = services.into_iter().map(named).collect();
        Ok(named.map(|named| named.into_iter().flatten().collect()))
    }

    /// Adds this owner's rows of services that nobody offers.
    fn add_unserved(
        &mut self,
        owner: Owner<'_>,
        served: &HashSet<String>,
        limit: usize,
        unserved: &mut BTreeMap<String, UnservedWork>,
    ) -> DbResult<()> {
        for service in self.services_of(owner)? {
            if served.contains(&service)
                || (unserved.len() >= limit && !unserved.contains_key(&service))
            {
                continue;
            }
            // The rows may be gone since the names of their services were read.
            let Some(oldest) = self.stored_first(owner, &service)? else {
                continue;
            };
            let oldest = wall_time(oldest);
            let messages = self.count_of(owner, &service)?;
            let entry = unserved.entry(service.clone());
            let work = entry.or_insert(UnservedWork {
                service,
                messages: 0,
                oldest,
            });
            work.messages += messages;
            work.oldest = work.oldest.min(oldest);
        }
        Ok(())
    }

    /// When the first due row of these was stored.
    fn stored_first(&mut self, owner: Owner<'_>, service: &str) -> DbResult<Option<i64>> {
        let rows = forwarded::table
            .filter(forwarded::service.eq(service))
            .order((forwarded::due, forwarded::id))
            .select(forwarded::created)
            .limit(1);
        let conn = self.raw_conn();
        match owner {
            Owner::Nobody => rows.filter(forwarded::node.is_null()).get_result(conn),
            Owner::Node(node) => rows.filter(forwarded::node.eq(node)).get_result(conn),
        }
        .optional()
    }

    /// How many rows of this service the owner has, counted by the database up to 10,000.
    fn count_of(&mut self, owner: Owner<'_>, service: &str) -> DbResult<u64> {
        const FIRST: &str = concat!(
            "SELECT count(*) FROM (SELECT 1 AS one FROM ",
            prefix!(),
            "forwarded WHERE service = "
        );
        const REST: &str = " LIMIT 10000) AS counted";
        let rows = sql::<BigInt>(FIRST).bind::<Text, _>(service);
        let conn = self.raw_conn();
        let counted: i64 = match owner {
            Owner::Nobody => rows.sql(" AND node IS NULL").sql(REST).get_result(conn)?,
            Owner::Node(node) => rows
                .sql(" AND node = ")
                .bind::<Text, _>(node)
                .sql(REST)
                .get_result(conn)?,
        };
        Ok(counted.max(0) as u64)
    }
}

/// The services that a node has published. `None`: none, or unreadable.
pub(super) fn services_in(column: Option<&str>) -> Option<Vec<String>> {
    serde_json::from_str(column?).ok()
}
