//! Claims of forwarded rows, service by service: the rows of one that has no room are not even looked at, however many
//! there are. Which services have rows is learnt by hopping along an index from one name to the next.

use std::collections::HashMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::rows::ForwardedRow;
use super::schema::forwarded;
use super::{MOST_VALUES, Transaction};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// For each row that there is room for, so many are looked at to let users take turns.
const CHOICE: usize = 4;

/// About so many rows are claimed in one transaction, which others wait for; those services that have rows share them.
const MOST_ROWS: usize = 500;

/// Whoever holds rows that may be claimed.
#[derive(Clone, Copy)]
pub(super) enum Owner<'a> {
    Nobody,
    Node(&'a str),
}

impl Owner<'_> {
    fn is(self, node: Option<&str>) -> bool {
        match self {
            Owner::Nobody => node.is_none(),
            Owner::Node(name) => node == Some(name),
        }
    }
}

/// A row that may be claimed: its id, its user, its bytes.
type Candidate = (i64, String, i32);

/// A claim under way: how much room is left.
struct Claim<'a> {
    op: &'a ClaimForwarded,
    /// Of each service that the caller's node has. The rows of all others are left to nodes that have them.
    rooms: HashMap<&'a str, Room>,
    claimed: ClaimedForwarded,
}

impl<'a> Claim<'a> {
    fn new(op: &'a ClaimForwarded) -> Claim<'a> {
        let rooms = op.rooms.iter().map(|(name, room)| (name.as_str(), *room));
        Claim {
            op,
            rooms: rooms.collect(),
            claimed: ClaimedForwarded::default(),
        }
    }

    /// Whether a row of this service may be claimed.
    fn has_room(&self, service: &str) -> bool {
        let room = self.rooms.get(service);
        room.is_some_and(|room| room.rows > 0 && room.bytes > 0)
    }

    /// Which of a service's rows, of which the oldest come first, to claim; at most so many.
    fn choose(&mut self, service: &str, candidates: Vec<Candidate>, most: usize) -> Vec<i64> {
        let many = candidates.len();
        let Some(room) = self.rooms.get_mut(service) else {
            return Vec::new();
        };
        let mut chosen = Vec::new();
        for (id, _, bytes) in in_turns(candidates) {
            if room.rows == 0 || room.bytes == 0 || chosen.len() >= most {
                break;
            }
            room.rows -= 1;
            room.bytes = room.bytes.saturating_sub(bytes.max(0) as u64);
            chosen.push(id);
        }
        if chosen.len() < many {
            self.claimed.more.insert(service.to_owned());
        }
        chosen
    }

    /// It has claimed enough; whether there is more was not looked at.
    fn is_enough(&mut self) -> bool {
        let enough = self.claimed.rows.len() >= MOST_ROWS;
        if enough {
            let roomy = self.rooms.iter().filter(|(_, room)| room.rows > 0);
            let more = roomy.map(|(service, _)| (*service).to_owned());
            self.claimed.more.extend(more);
        }
        enough
    }
}

/// Everybody's first, then everybody's second, and so on.
fn in_turns(candidates: Vec<Candidate>) -> impl Iterator<Item = Candidate> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let turn = |candidate: Candidate| {
        let count = counts.entry(candidate.1.clone()).or_default();
        *count += 1;
        (*count, candidate)
    };
    let mut turns: Vec<_> = candidates.into_iter().map(turn).collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, candidate)| candidate)
}

impl Transaction<'_> {
    pub fn claim_forwarded(&mut self, op: &ClaimForwarded) -> DbResult<ClaimedForwarded> {
        let (by, lease_time) = (self.by.clone(), self.lease_time()?);
        // Leases alone may have a time of their own, which lags: what is due is due by the clock.
        let now = self.now;
        let mut claim = Claim::new(op);
        // What dead nodes have left behind first: it gets no more, so nothing waits for it forever.
        for node in self.dead_nodes(&by, lease_time)? {
            self.claim_of(Owner::Node(&node), now, &mut claim)?;
        }
        self.claim_unheard(&by, now, &mut claim)?;
        self.claim_of(Owner::Nobody, now, &mut claim)?;
        Ok(claim.claimed)
    }

    /// Claims what one owner has.
    fn claim_of(&mut self, owner: Owner<'_>, now: i64, claim: &mut Claim<'_>) -> DbResult<()> {
        if claim.is_enough() {
            return Ok(());
        }
        let mut services = self.services_of(owner)?;
        services.retain(|service| claim.has_room(service));
        let share = MOST_ROWS / services.len().max(1);
        for service in services {
            let room = claim.rooms.get(&*service).map_or(0, |room| room.rows);
            let most = room.min(share.max(1));
            let candidates = self.oldest(owner, &service, now, most * CHOICE)?;
            let chosen = claim.choose(&service, candidates, most);
            self.take(owner, &chosen, now, claim)?;
        }
        Ok(())
    }

    /// What the caller holds itself it need not take from itself, whatever its own lease, unless it has never heard of
    /// its claim.
    fn claim_unheard(&mut self, by: &str, now: i64, claim: &mut Claim<'_>) -> DbResult<()> {
        // Of what was claimed while this waited for its turn it does not know.
        let waited = claim.op.asked.elapsed();
        let heard = now.saturating_sub(ms(claim.op.hearing.saturating_add(waited)));
        let mine: Vec<(String, Candidate)> = forwarded::table
            .filter(forwarded::node.eq(by).and(forwarded::due.lt(heard)))
            .select((
                forwarded::service,
                (forwarded::id, forwarded::user_id, forwarded::bytes),
            ))
            .load(self.apart())?;
        let mut unheard: HashMap<String, Vec<Candidate>> = HashMap::new();
        for (service, row) in mine {
            if !claim.op.holding.contains(&row.0) {
                unheard.entry(service).or_default().push(row);
            }
        }
        for (service, candidates) in unheard {
            let chosen = claim.choose(&service, candidates, MOST_ROWS);
            self.take(Owner::Node(by), &chosen, now, claim)?;
        }
        Ok(())
    }

    /// The services of which somebody has rows.
    pub(super) fn services_of(&mut self, owner: Owner<'_>) -> DbResult<Vec<String>> {
        let conn = self.apart();
        match owner {
            Owner::Nobody => sql::<Text>(concat!(
                "WITH RECURSIVE waiting (service) AS (\
                 SELECT min(service) FROM ",
                prefix!(),
                "forwarded WHERE node IS NULL UNION ALL \
                 SELECT (SELECT min(service) FROM ",
                prefix!(),
                "forwarded AS forwarded \
                 WHERE node IS NULL AND forwarded.service > waiting.service) \
                 FROM waiting WHERE waiting.service IS NOT NULL\
                 ) SELECT service FROM waiting WHERE service IS NOT NULL"
            ))
            .load(conn),
            Owner::Node(node) => sql::<Text>(concat!(
                "WITH RECURSIVE waiting (service) AS (\
                 SELECT min(service) FROM ",
                prefix!(),
                "forwarded WHERE node = "
            ))
            .bind::<Text, _>(node)
            .sql(concat!(
                " UNION ALL SELECT (SELECT min(service) FROM ",
                prefix!(),
                "forwarded AS forwarded WHERE node = "
            ))
            .bind::<Text, _>(node)
            .sql(
                " AND forwarded.service > waiting.service) \
                 FROM waiting WHERE waiting.service IS NOT NULL\
                 ) SELECT service FROM waiting WHERE service IS NOT NULL",
            )
            .load(conn),
        }
    }

    /// Nodes that hold rows although their leases have run out.
    pub(super) fn dead_nodes(&mut self, by: &str, now: i64) -> DbResult<Vec<String>> {
        sql::<Text>(concat!(
            "WITH RECURSIVE holder (node) AS (\
             SELECT min(node) FROM ",
            prefix!(),
            "forwarded WHERE node IS NOT NULL UNION ALL \
             SELECT (SELECT min(node) FROM ",
            prefix!(),
            "forwarded AS forwarded WHERE forwarded.node > holder.node) \
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
        .load(self.apart())
    }

    /// Somebody's oldest rows of a service that are due.
    fn oldest(
        &mut self,
        owner: Owner<'_>,
        service: &str,
        now: i64,
        limit: usize,
    ) -> DbResult<Vec<Candidate>> {
        let rows = forwarded::table
            .filter(forwarded::service.eq(service))
            .filter(forwarded::due.le(now))
            .order((forwarded::due, forwarded::id))
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select((forwarded::id, forwarded::user_id, forwarded::bytes));
        let conn = self.apart();
        match owner {
            Owner::Nobody => rows.filter(forwarded::node.is_null()).load(conn),
            Owner::Node(node) => rows.filter(forwarded::node.eq(node)).load(conn),
        }
    }

    /// Claims rows, except those that are no longer this owner's, or just being claimed by somebody else.
    fn take(
        &mut self,
        owner: Owner<'_>,
        ids: &[i64],
        now: i64,
        claim: &mut Claim<'_>,
    ) -> DbResult<()> {
        let (by, read) = (self.by.clone(), self.now);
        let conn = self.apart();
        for ids in ids.chunks(MOST_VALUES) {
            // By their ids alone, or PostgreSQL goes through all the rows that the owner has.
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
                claim.claimed.rows.push(row.read_at(read)?);
            }
        }
        Ok(())
    }
}
