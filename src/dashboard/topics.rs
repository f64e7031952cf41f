//! Topics.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Answer, Call, page, refused};
use crate::store::numbers;
use crate::store::operation::{Publication, ReadTopic};

/// Most bytes of publications in one page of a history.
const PART: u64 = 256 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    limit: Option<u32>,
}

/// The topics with the most subscribers on this node.
pub(super) async fn list(call: Call) -> Answer {
    let Listing { limit } = call.parameters()?;
    let topics = call.server.topics(page(limit)? as usize).await;
    Ok(json!({ "topics": topics }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    topic: String,
    /// Only what was published since, in milliseconds since the epoch.
    #[serde(default)]
    since: i64,
    /// Only publications with higher numbers.
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

#[derive(Serialize)]
struct Shown {
    number: i64,
    published: i64,
    trace_id: String,
    payload: String,
}

impl From<Publication> for Shown {
    fn from(publication: Publication) -> Shown {
        Shown {
            number: publication.id,
            published: publication.created,
            payload: publication.msg.to_string(),
            trace_id: publication.tid,
        }
    }
}

/// What was published on a topic, as far as it is kept, oldest first.
pub(super) async fn history(call: Call) -> Answer {
    let asked: History = call.parameters()?;
    if asked.topic.chars().any(char::is_control) {
        return Err(refused(
            400,
            "the topic has a control character, which no topic has",
        ));
    }
    let limit = page(asked.limit)? as usize;
    let read = ReadTopic {
        topic: asked.topic,
        // Numbers follow the time, and may be ahead of it.
        after: asked.after.max(numbers::at(asked.since) - 1),
        up_to: i64::MAX,
        max_bytes: PART,
        complete: false,
    };
    let found = call.server.node.store.run(read).await?;
    let mut found = found.ok_or_else(|| refused(500, "what is left of a history was not read"))?;
    let left_out = found
        .publications
        .get(limit)
        .map(|first_left| first_left.id);
    found.publications.truncate(limit);
    let next = left_out.or(found.next).map(|first_left| first_left - 1);
    let publications = found.publications.into_iter();
    let publications = publications.filter(|it| it.created >= asked.since);
    let publications: Vec<_> = publications.map(Shown::from).collect();
    Ok(json!({ "publications": publications, "next": next }))
}
