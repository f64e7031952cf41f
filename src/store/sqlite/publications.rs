//! Topics: publications, and who has seen which.

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;

use super::rows::PublicationRow;
use super::schema::{publication, session, subscription};
use super::sql::{Found, Transaction, Wanted};
use crate::store::operation::*;
use crate::store::statements::DbResult;

diesel::define_sql_function! {
    /// Size of a text in bytes.
    fn octet_length(text: diesel::sql_types::Text) -> diesel::sql_types::Integer;
}

impl Transaction<'_> {
    /// The number of the newest publication, and of the next one.
    pub fn publication_number(&mut self) -> DbResult<(i64, i64)> {
        let newest = self.newest_publication(&NewestPublication)?;
        Ok((newest, self.number_after(newest)))
    }

    pub fn insert_subscriptions(&mut self, op: &Subscribe) -> DbResult<()> {
        let newest = self.newest_publication(&NewestPublication)?;
        let conn = self.raw_conn();
        for (topic, seen) in &op.topics {
            let since = seen.map_or(newest, |seen| seen.min(newest));
            diesel::insert_into(subscription::table)
                .values((
                    subscription::session.eq(op.holder.session.0),
                    subscription::topic.eq(topic),
                    subscription::since.eq(since),
                ))
                .on_conflict_do_nothing()
                .execute(conn)?;
        }
        Ok(())
    }

    /// A page of publications. Queries their sizes first, for which SQLite does not read the texts.
    pub fn page(&mut self, wanted: Wanted<'_>) -> DbResult<PublicationPage> {
        let size = octet_length(publication::msg)
            + octet_length(publication::tid)
            + octet_length(publication::topic);
        let numbers = publication::id
            .gt(wanted.after)
            .and(publication::id.le(wanted.up_to));
        let mut sizes = publication::table
            .filter(numbers)
            .order(publication::id)
            .limit(wanted.most_rows())
            .select((publication::id, size))
            .into_boxed();
        if let Some(topic) = wanted.topic {
            sizes = sizes.filter(publication::topic.eq(topic));
        }
        let conn = self.raw_conn();
        let mut bytes = 0;
        let (mut last, mut next) = (None, None);
        for row in sizes.load_iter::<(i64, i32), DefaultLoadingMode>(conn)? {
            let (id, size) = row?;
            bytes += u64::try_from(size).unwrap_or(0) + ENVELOPE_BYTES;
            if last.is_some() && bytes > wanted.max_bytes {
                next = Some(id);
                break;
            }
            last = Some(id);
        }
        let Some(last) = last else {
            return Ok(PublicationPage {
                publications: Vec::new(),
                next,
            });
        };
        let mut rows = publication::table
            .filter(
                publication::id
                    .gt(wanted.after)
                    .and(publication::id.le(last)),
            )
            .order(publication::id)
            .select(PublicationRow::as_select())
            .into_boxed();
        if let Some(topic) = wanted.topic {
            rows = rows.filter(publication::topic.eq(topic));
        }
        let rows: Vec<PublicationRow> = rows.load(conn)?;
        let publications = rows
            .into_iter()
            .map(Publication::try_from)
            .collect::<DbResult<_>>()?;
        Ok(PublicationPage { publications, next })
    }

    /// What was published on each topic after its start; after 0 if that is not known.
    pub fn missed_of(&mut self, op: &FindMissed, starts: &[Option<i64>]) -> DbResult<Vec<Found>> {
        let conn = self.raw_conn();
        let topics = op.topics.iter().zip(starts);
        let missed = topics.map(|((topic, since), start)| {
            let seen = match since {
                Since::Seen { id, created } => {
                    let seen = publication::table
                        .find(id)
                        .filter(publication::created.eq(created))
                        .filter(publication::topic.eq(topic))
                        .select(publication::id);
                    let seen: Option<i64> = seen.get_result(conn).optional()?;
                    seen.is_some()
                }
                Since::Subscribed(_) => false,
            };
            let after = start.unwrap_or(0);
            let numbers = publication::id.gt(after).and(publication::id.le(op.up_to));
            let missed = publication::table
                .filter(publication::topic.eq(topic))
                .filter(numbers)
                .order(publication::id)
                .select(publication::id);
            let (mut first, mut count) = (None, 0);
            for id in missed.load_iter::<i64, DefaultLoadingMode>(conn)? {
                first = first.or(Some(id?));
                count += 1;
                if count > i64::from(op.limit) {
                    break;
                }
            }
            Ok(Found { seen, first, count })
        });
        missed.collect()
    }

    pub fn note_positions(&mut self, op: &NotePositions) -> DbResult<()> {
        let conn = self.raw_conn();
        for (key, position) in &op.positions {
            let lower = session::position
                .is_null()
                .or(session::position.lt(position));
            diesel::update(session::table.find(key.0).filter(lower))
                .set(session::position.eq(position))
                .execute(conn)?;
        }
        Ok(())
    }
}
