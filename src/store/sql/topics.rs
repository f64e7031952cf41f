//! Topics: subscriptions of sessions, and what was published.

use diesel::prelude::*;

use super::Transaction;
use crate::store::operation::*;
use crate::store::rows::PublicationRow;
use crate::store::schema::{publication, subscription};
use crate::store::statements::DbResult;

impl Transaction<'_> {
    pub fn subscribe(&mut self, op: &Subscribe) -> DbResult<Fenced> {
        if !self.holds(op.holder)? {
            return Ok(Fenced::FencedOff);
        }
        diesel::insert_into(subscription::table)
            .values((
                subscription::session.eq(op.holder.session.0),
                subscription::topic.eq(&op.topic),
            ))
            .on_conflict_do_nothing()
            .execute(self.apart())?;
        Ok(Fenced::Done)
    }

    pub fn unsubscribe(&mut self, op: &Unsubscribe) -> DbResult<Fenced> {
        if !self.holds(op.holder)? {
            return Ok(Fenced::FencedOff);
        }
        diesel::delete(subscription::table.find((op.holder.session.0, &op.topic)))
            .execute(self.apart())?;
        Ok(Fenced::Done)
    }

    pub fn fetch_publications(&mut self, op: &FetchPublications) -> DbResult<Vec<Publication>> {
        let rows: Vec<PublicationRow> = publication::table
            .filter(publication::id.gt(op.after))
            .order(publication::id)
            .limit(op.limit.into())
            .select(PublicationRow::as_select())
            .load(self.apart())?;
        rows.into_iter().map(Publication::try_from).collect()
    }

    pub fn newest_publication(&mut self, _: &NewestPublication) -> DbResult<i64> {
        let newest: Option<i64> = publication::table
            .select(diesel::dsl::max(publication::id))
            .get_result(self.apart())?;
        Ok(newest.unwrap_or(0))
    }

    pub fn topic_history(&mut self, op: &TopicHistory) -> DbResult<Option<Vec<Publication>>> {
        let (id, created) = op.seen;
        let seen: Option<i64> = publication::table
            .find(id)
            .filter(
                publication::created
                    .eq(created)
                    .and(publication::topic.eq(&op.topic)),
            )
            .select(publication::id)
            .get_result(self.apart())
            .optional()?;
        match seen {
            Some(_) => self.published_between(&op.topic, id, op.up_to, op.limit),
            None => Ok(None),
        }
    }

    pub fn topic_since(&mut self, op: &TopicSince) -> DbResult<Option<Vec<Publication>>> {
        let oldest: Option<i64> = publication::table
            .select(diesel::dsl::min(publication::id))
            .get_result(self.apart())?;
        // Numbers have no gaps, and old publications are deleted in their order.
        match oldest {
            Some(oldest) if oldest <= op.after + 1 => {
                self.published_between(&op.topic, op.after, op.up_to, op.limit)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// What was published on a topic with a number above `after`, up to `up_to`. `None`: more than `limit`.
    fn published_between(
        &mut self,
        topic: &str,
        after: i64,
        up_to: i64,
        limit: u32,
    ) -> DbResult<Option<Vec<Publication>>> {
        let rows: Vec<PublicationRow> = publication::table
            .filter(publication::topic.eq(topic))
            .filter(publication::id.gt(after).and(publication::id.le(up_to)))
            .order(publication::id)
            .limit(i64::from(limit) + 1)
            .select(PublicationRow::as_select())
            .load(self.apart())?;
        if rows.len() > limit as usize {
            return Ok(None);
        }
        rows.into_iter()
            .map(Publication::try_from)
            .collect::<DbResult<_>>()
            .map(Some)
    }
}
