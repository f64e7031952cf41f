//! Terminators of our own, which a load generator orders messages from.

use matssocket::{HandlerError, Incoming, Outcome, ServerBuilder};
use serde::{Deserialize, Serialize};

const MOST_MESSAGES: u32 = 10_000;
const MOST_CHARACTERS: usize = 4 << 20;

/// What `Bench.burst` and `Bench.publish` take.
#[derive(Deserialize)]
struct Order {
    /// Number of messages.
    count: u32,
    /// Length of each message's string, in characters.
    #[serde(default)]
    size: usize,
    /// Number of the first.
    #[serde(default)]
    first: u32,
    /// `Bench.burst`: whose messages they are, instead of those of whoever orders.
    session: Option<String>,
    /// `Bench.publish`: where.
    #[serde(default)]
    topic: String,
}

#[derive(Serialize)]
struct Numbered<'a> {
    number: u32,
    string: &'a str,
}

impl Order {
    /// Makes each message, and has it sent.
    fn each(
        &self,
        mut send: impl FnMut(&Numbered<'_>) -> Result<(), HandlerError>,
    ) -> Result<Outcome<()>, HandlerError> {
        let Order { count, size, .. } = *self;
        if count > MOST_MESSAGES || size > MOST_CHARACTERS {
            return Ok(Outcome::deny_with(format!(
                "at most {MOST_MESSAGES} messages of {MOST_CHARACTERS} characters"
            )));
        }
        let string = &"x".repeat(size);
        for number in self.first..self.first.saturating_add(count) {
            send(&Numbered { number, string })?;
        }
        Ok(Outcome::done())
    }
}

/// Adds them.
pub fn add(builder: ServerBuilder) -> ServerBuilder {
    builder
        .terminator("Bench.burst", async |incoming: Incoming<Order>| {
            let session = incoming.payload.session.as_deref();
            let session = session.unwrap_or(incoming.context.session_id());
            incoming.payload.each(|message| {
                let tid = incoming.context.trace_id();
                incoming
                    .context
                    .send(session, tid, "ClientSide.terminator", message)?;
                Ok(())
            })
        })
        .terminator("Bench.publish", async |incoming: Incoming<Order>| {
            incoming.payload.each(|message| {
                incoming.context.publish(
                    &incoming.payload.topic,
                    incoming.context.trace_id(),
                    message,
                )?;
                Ok(())
            })
        })
}
