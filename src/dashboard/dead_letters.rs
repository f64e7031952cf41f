//! Dead letters.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Answer, Call, Refusal, json_of, page, refused};
use crate::server::MatsSocketServer;
use crate::store::StoreError;
use crate::store::operation::DeadLetter;
use crate::wire::shown;

/// Most dead letters that one call redrives or drops.
const MOST_AT_ONCE: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
    /// Whether payloads are shown.
    #[serde(default)]
    payloads: bool,
}

/// A dead letter, with the size of its payload.
#[derive(Serialize)]
struct Shown {
    payload_bytes: Option<usize>,
    #[serde(flatten)]
    letter: DeadLetter,
}

impl Shown {
    fn new(mut letter: DeadLetter, payload: bool) -> Shown {
        let payload_bytes = letter.payload.as_ref().map(String::len);
        letter.payload.take_if(|_| !payload);
        Shown {
            payload_bytes,
            letter,
        }
    }
}

/// A page of dead letters. It may be short if they are large: only where `next` is null is there no more.
pub(super) async fn list(call: Call) -> Answer {
    let asked: Listing = call.parameters()?;
    let limit = page(asked.limit)?;
    let letters = call.server.dead_letters(asked.after, limit).await?;
    let next = letters.last().map(|letter| letter.id);
    let letters = letters.into_iter();
    let letters: Vec<_> = letters.map(|it| Shown::new(it, asked.payloads)).collect();
    Ok(json!({ "dead_letters": letters, "next": next }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: i64,
}

/// One dead letter, with its payload.
pub(super) async fn show(call: Call) -> Answer {
    let Named { id } = call.parameters()?;
    match find(&call.server, id).await? {
        Some(letter) => json_of(&Shown::new(letter, true)),
        None => Err(refused(404, format!("there is no dead letter {id}"))),
    }
}

async fn find(server: &MatsSocketServer, id: i64) -> Result<Option<DeadLetter>, StoreError> {
    let mut found = server.dead_letters(id.saturating_sub(1), 1).await?;
    Ok(found.pop().filter(|letter| letter.id == id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Several {
    ids: Vec<i64>,
}

impl Several {
    fn of(call: &Call) -> Result<Vec<i64>, Refusal> {
        let Several { ids } = call.body()?;
        match ids.len() {
            1..=MOST_AT_ONCE => Ok(ids),
            many => Err(refused(
                400,
                format!(
                    "{many} ids are given: give 1 to {MOST_AT_ONCE}, and more in further calls"
                ),
            )),
        }
    }
}

/// A dead letter with which nothing was done.
#[derive(Serialize)]
struct Left {
    id: i64,
    why: String,
}

/// What was done with others is told all the same.
fn failed(id: i64, error: &StoreError) -> Left {
    let why = format!("the store failed: {error}");
    Left { id, why }
}

fn not_tried(id: i64) -> Left {
    let why = "it was not tried after that".to_owned();
    Left { id, why }
}

/// Puts a dead letter back for delivery. Returns why that is not possible, if it is not.
async fn redrive_one(server: &MatsSocketServer, id: i64) -> Result<Option<String>, StoreError> {
    if server.redrive_dead_letter(id).await? {
        return Ok(None);
    }
    Ok(Some(match find(server, id).await? {
        Some(letter) => {
            let session = shown(&letter.session_id);
            format!("its session {session} is gone; it can only be dropped")
        }
        None => "there is none".to_owned(),
    }))
}

/// Puts dead letters back for delivery.
pub(super) async fn redrive(call: Call) -> Answer {
    let (mut done, mut left) = (Vec::new(), Vec::new());
    let mut ids = Several::of(&call)?.into_iter();
    for id in ids.by_ref() {
        match redrive_one(&call.server, id).await {
            Ok(None) => {
                call.log(format_args!("redrove the dead letter {id}"));
                done.push(id);
            }
            Ok(Some(why)) => left.push(Left { id, why }),
            Err(error) => {
                left.push(failed(id, &error));
                break;
            }
        }
    }
    left.extend(ids.map(not_tried));
    Ok(json!({ "redriven": done, "left": left }))
}

/// Deletes dead letters.
pub(super) async fn discard(call: Call) -> Answer {
    let (mut done, mut left) = (Vec::new(), Vec::new());
    let mut ids = Several::of(&call)?.into_iter();
    for id in ids.by_ref() {
        match call.server.drop_dead_letter(id).await {
            Ok(true) => {
                call.log(format_args!("dropped the dead letter {id}"));
                done.push(id);
            }
            Ok(false) => {
                let why = "there is none".to_owned();
                left.push(Left { id, why });
            }
            Err(error) => {
                left.push(failed(id, &error));
                break;
            }
        }
    }
    left.extend(ids.map(not_tried));
    Ok(json!({ "dropped": done, "left": left }))
}
