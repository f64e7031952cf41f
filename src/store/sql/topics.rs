//! Topics: subscriptions of sessions, and publications.

use diesel::prelude::*;

use super::Transaction;
use super::schema::{publication, session, subscription};
use crate::seldom::log_seldom;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// Which publications to read.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// `None`: of every topic.
    pub topic: Option<&'a str>,
    pub after: i64,
    pub up_to: i64,
    pub max_bytes: u64,
}

impl Wanted<'_> {
    /// An upper bound for the number of rows that can fit.
    pub fn most_rows(&self) -> i64 {
        i64::try_from(self.max_bytes / ENVELOPE_BYTES)
            .map_or(i64::MAX, |rows| rows.saturating_add(2))
    }
}

/// What was found for a topic of which a client may have missed something.
pub struct Found {
    /// Whether the publication last seen still exists.
    pub seen: bool,
    /// The first one after it.
    pub first: Option<i64>,
    /// How many there are after it.
    pub count: i64,
}

impl Transaction<'_> {
    pub fn subscribe(&mut self, op: &Subscribe) -> DbResult<Fenced> {
        if !self.holds(op.holder)? {
            return Ok(Fenced::FencedOff);
        }
        self.insert_subscriptions(op)?;
        Ok(Fenced::Done)
    }

    pub fn unsubscribe(&mut self, op: &Unsubscribe) -> DbResult<Fenced> {
        if !self.holds(op.holder)? {
            return Ok(Fenced::FencedOff);
        }
        diesel::delete(subscription::table.find((op.holder.session.0, &op.topic)))
            .execute(self.raw_conn())?;
        Ok(Fenced::Done)
    }

    pub fn fetch_publications(&mut self, op: &FetchPublications) -> DbResult<PublicationPage> {
        self.page(Wanted {
            topic: None,
            after: op.after,
            up_to: i64::MAX,
            max_bytes: op.max_bytes,
        })
    }

    pub fn newest_publication(&mut self, _: &NewestPublication) -> DbResult<i64> {
        let newest: Option<i64> = publication::table
            .select(diesel::dsl::max(publication::id))
            .get_result(self.raw_conn())?;
        Ok(newest.unwrap_or(0))
    }

    pub fn find_missed(&mut self, op: &FindMissed) -> DbResult<Vec<Option<Missed>>> {
        let starts = self.starts(op)?;
        // Queried after the session's position, so that nothing sent to the session can be newer.
        let newest = self.newest_publication(&NewestPublication)?;
        let found = self.missed_of(op, &starts)?;
        // Queried after the publications, so that whatever was found had not been deleted before.
        let gone = self.gone_publications()?;
        let topics = op.topics.iter().zip(starts).zip(found);
        let missed = topics.map(|(((_, since), start), found)| {
            let is_known = match (since, start) {
                (_, Some(start)) if start > newest => {
                    tell_ahead(op, start, newest);
                    false
                }
                (Since::Seen { .. }, _) => found.seen,
                (Since::Subscribed(_), Some(start)) => gone <= start,
                (Since::Subscribed(_), None) => found.count == 0,
            };
            let count = u32::try_from(found.count).ok();
            let count = count.filter(|count| is_known && *count <= op.limit)?;
            let first = found.first.unwrap_or(0);
            Some(Missed { first, count })
        });
        Ok(missed.collect())
    }

    pub fn read_topic(&mut self, op: &ReadTopic) -> DbResult<Option<PublicationPage>> {
        let page = self.page(Wanted {
            topic: Some(&op.topic),
            after: op.after,
            up_to: op.up_to,
            max_bytes: op.max_bytes,
        })?;
        if !op.complete {
            return Ok(Some(page));
        }
        // Queried after the page, so that whatever existed at that time has been read.
        let gone = self.gone_publications()?;
        Ok((gone <= op.after).then_some(page))
    }

    /// The number after which each topic is queried. `None`: not known.
    fn starts(&mut self, op: &FindMissed) -> DbResult<Vec<Option<i64>>> {
        let of_session = |(_, since): &(_, Since)| matches!(since, Since::Subscribed(_));
        let position: Option<Option<i64>> = match op.topics.iter().any(of_session) {
            true => session::table
                .find(op.session.0)
                .select(session::position)
                .get_result(self.raw_conn())
                .optional()?,
            false => None,
        };
        let start = |since: &Since| match since {
            Since::Seen { id, .. } => Some(*id),
            Since::Subscribed(since) => position.flatten().max(*since),
        };
        Ok(op.topics.iter().map(|(_, since)| start(since)).collect())
    }

    /// The number up to which all publications are gone, while all later ones exist: old publications are deleted in
    /// order, and never the newest.
    fn gone_publications(&mut self) -> DbResult<i64> {
        let known = self.rooms().oldest_publication;
        let mut oldest = self.oldest_publication(known)?;
        if oldest.is_none() && known > i64::MIN {
            // A pooler may have switched to another database that was restored.
            oldest = self.oldest_publication(i64::MIN)?;
        }
        self.rooms().oldest_publication = oldest.map_or(i64::MIN, |(id, _)| id);
        Ok(oldest.map_or(0, |(id, previous)| previous.unwrap_or(id - 1)))
    }

    /// The oldest publication with at least this number, and the number of the one before it, if known. (Deleted ones
    /// may still be in the index, and each query from its start would step over them.)
    fn oldest_publication(&mut self, from: i64) -> DbResult<Option<(i64, Option<i64>)>> {
        publication::table
            .filter(publication::id.ge(from))
            .order(publication::id)
            .limit(1)
            .select((publication::id, publication::previous))
            .get_result(self.raw_conn())
            .optional()
    }
}

/// The client claims to have seen a publication that does not exist; its topics are answered with SUB_LOST.
fn tell_ahead(op: &FindMissed, seen: i64, newest: i64) {
    log_seldom!(
        warn,
        "a client has seen publication {seen} (session key {}), but the newest one is {newest}: was the database \
        restored from a backup? The client has lost what was published in between",
        op.session.0
    );
}
