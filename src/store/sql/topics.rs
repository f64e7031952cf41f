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
        let conn = self.apart();
        let (id, created) = op.seen;
        let seen: Option<i64> = publication::table
            .find(id)
            .filter(
                publication::created
                    .eq(created)
                    .and(publication::topic.eq(&op.topic)),
            )
            .select(publication::id)
            .get_result(conn)
            .optional()?;
        if seen.is_none() {
            return Ok(None);
        }
        let rows: Vec<PublicationRow> = publication::table
            .filter(publication::topic.eq(&op.topic))
            .filter(publication::id.gt(id).and(publication::id.le(op.up_to)))
            .order(publication::id)
            .limit(i64::from(op.limit) + 1)
            .select(PublicationRow::as_select())
            .load(conn)?;
        if rows.len() > op.limit as usize {
            return Ok(None);
        }
        rows.into_iter()
            .map(Publication::try_from)
            .collect::<DbResult<_>>()
            .map(Some)
    }
}
