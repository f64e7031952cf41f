//! The last values of topics, for who subscribes later.

use std::collections::{HashMap, HashSet};

use diesel::dsl::min;
use diesel::prelude::*;

use super::rows::payload;
use super::schema::{session, topic_value};
use super::sizes::{bytes, octet_length};
use super::{MOST_VALUES, Transaction};
use crate::seldom::log_seldom;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// A last value's number, key, and bytes of its payload and trace id.
type Size = (i64, String, Option<i32>, Option<i32>);

impl Transaction<'_> {
    /// Keeps a publication as the last value of its key, unless the topic has too many keys.
    pub fn note_value(
        &mut self,
        topic: &str,
        key: &str,
        number: i64,
        tid: &str,
        msg: &str,
    ) -> DbResult<()> {
        let now = self.now;
        let replaced = diesel::update(topic_value::table.find((topic, key)))
            .set((
                topic_value::id.eq(number),
                topic_value::created.eq(now),
                topic_value::tid.eq(tid),
                topic_value::msg.eq(msg),
            ))
            .execute(self.raw_conn())?;
        if replaced > 0 {
            return Ok(());
        }
        let most = self.rooms().limits().values_of_topic;
        let keys: i64 = topic_value::table
            .filter(topic_value::topic.eq(topic))
            .count()
            .get_result(self.raw_conn())?;
        if keys >= most {
            log_seldom!(
                warn,
                "the topic {topic:?} has last values for {keys} keys, the most that it may have (store.max_values_per_topic): \
                that of {key:?} is not kept for who subscribes later"
            );
            return Ok(());
        }
        diesel::insert_into(topic_value::table)
            .values((
                topic_value::topic.eq(topic),
                topic_value::key.eq(key),
                topic_value::id.eq(number),
                topic_value::created.eq(now),
                topic_value::tid.eq(tid),
                topic_value::msg.eq(msg),
            ))
            .execute(self.raw_conn())?;
        Ok(())
    }

    pub fn drop_value(&mut self, op: &DropValue) -> DbResult<bool> {
        let found = topic_value::table.find((&op.topic, &op.key));
        Ok(diesel::delete(found).execute(self.raw_conn())? > 0)
    }

    pub fn find_values(&mut self, op: &FindValues) -> DbResult<Vec<Option<Values>>> {
        let position = self.position_if_needed(op)?;
        // Up to which number each topic's last values are to be sent.
        let up_to = op.topics.iter().map(|(_, wanted)| match wanted {
            ValuesFor::New => Some(op.up_to),
            ValuesFor::Resumed { since } => position
                // If it is the same, this may be what was received before: they are repeated rather than lost.
                .is_none_or(|position| position <= *since)
                .then_some(*since),
        });
        let up_to: Vec<Option<i64>> = up_to.collect();
        let wanted = op.topics.iter().zip(&up_to);
        let wanted: HashSet<&str> = wanted
            .filter_map(|((topic, _), up_to)| up_to.map(|_| topic.as_str()))
            .collect();
        let found = self.first_values(wanted, op.up_to)?;
        let values = op.topics.iter().zip(up_to).map(|((topic, _), up_to)| {
            Some(Values {
                first: *found.get(topic)?,
                up_to: up_to?,
            })
        });
        Ok(values.collect())
    }

    fn position_if_needed(&mut self, op: &FindValues) -> DbResult<Option<i64>> {
        let is_resumed = |(_, it): &(String, ValuesFor)| matches!(it, ValuesFor::Resumed { .. });
        if !op.topics.iter().any(is_resumed) {
            return Ok(None);
        }
        let position: Option<Option<i64>> = session::table
            .find(op.session.0)
            .select(session::position)
            .get_result(self.raw_conn())
            .optional()?;
        Ok(position.flatten())
    }

    /// The number of the first last value of each of these topics that has any, up to a number.
    fn first_values(
        &mut self,
        topics: HashSet<&str>,
        up_to: i64,
    ) -> DbResult<HashMap<String, i64>> {
        let topics = Vec::from_iter(topics);
        let mut found = HashMap::new();
        for topics in topics.chunks(MOST_VALUES) {
            let firsts: Vec<(String, Option<i64>)> = topic_value::table
                .filter(topic_value::topic.eq_any(topics))
                .filter(topic_value::id.le(up_to))
                .group_by(topic_value::topic)
                .select((topic_value::topic, min(topic_value::id)))
                .load(self.raw_conn())?;
            let firsts = firsts.into_iter();
            found.extend(firsts.filter_map(|(topic, first)| Some((topic, first?))));
        }
        Ok(found)
    }

    pub fn read_values(&mut self, op: &ReadValues) -> DbResult<PublicationPage> {
        // There are few, and sorting them here saves an index that each publication would have to change.
        let sizes: Vec<Size> = topic_value::table
            .filter(topic_value::topic.eq(&op.topic))
            .filter(topic_value::id.gt(op.after))
            .filter(topic_value::id.le(op.up_to))
            .select((
                topic_value::id,
                topic_value::key,
                octet_length(topic_value::msg.nullable()),
                octet_length(topic_value::tid.nullable()),
            ))
            .load(self.raw_conn())?;
        let (keys, next) = fitting(op, sizes);
        let mut publications = Vec::with_capacity(keys.len());
        for key in keys {
            type Columns = (i64, i64, String, String);
            let found: Option<Columns> = topic_value::table
                .find((&op.topic, &key))
                .select((
                    topic_value::id,
                    topic_value::created,
                    topic_value::tid,
                    topic_value::msg,
                ))
                .get_result(self.raw_conn())
                .optional()?;
            // One that has been replaced meanwhile comes as a publication.
            let Some((id, created, tid, msg)) = found.filter(|(id, ..)| *id <= op.up_to) else {
                continue;
            };
            publications.push(Publication {
                id,
                created,
                topic: op.topic.clone(),
                tid,
                msg: payload(msg)?,
            });
        }
        Ok(PublicationPage { publications, next })
    }
}

/// The keys of the values that fit into the page, in the order of their numbers, and the number of the first one that does
/// not. One always fits.
fn fitting(op: &ReadValues, mut sizes: Vec<Size>) -> (Vec<String>, Option<i64>) {
    sizes.sort_unstable();
    let (mut keys, mut total) = (Vec::new(), 0);
    for (id, key, msg, tid) in sizes {
        total += bytes(msg) + bytes(tid) + op.topic.len() as u64 + ENVELOPE_BYTES;
        if !keys.is_empty() && total > op.max_bytes {
            return (keys, Some(id));
        }
        keys.push(key);
    }
    (keys, None)
}
