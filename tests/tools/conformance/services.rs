//! The services: what the endpoints forward to, durably.

use std::time::Duration;

use actix_web::rt::time::sleep;
use matssocket::{Context, HandlerError, Incoming, Outcome, ReplyTo, SendError, ServerBuilder};
use serde::{Deserialize, Serialize};

use crate::data::Data;

/// The correlation of every server request.
pub const CORRELATION_STRING: &str = "CorrelationString";
/// As above.
pub const CORRELATION_BYTES: &[u8] = b"CorrelationBinary";

/// What travels beside a forwarded payload.
#[derive(Debug, Serialize, Deserialize)]
pub struct Beside {
    /// The session it is about.
    pub session_id: String,
    /// RESOLVE or REJECT, when it is a client's reply.
    pub reply: Option<String>,
}

/// Adds every service.
pub fn add(builder: ServerBuilder) -> ServerBuilder {
    builder
        .service("Test.single", async |incoming: Incoming<Data>| {
            let data = Data {
                number: incoming.payload.number * 2.0,
                ..incoming.payload.appended(":FromSingle")
            };
            Ok(Outcome::resolve(data))
        })
        .service("Test.simpleMats", async |incoming: Incoming<Data>| {
            Ok(Outcome::resolve(
                incoming.payload.appended(":FromSimpleMats"),
            ))
        })
        .service("Test.slow", async |incoming: Incoming<Data>| {
            pause(incoming.payload.sleep_time).await;
            Ok(Outcome::resolve(incoming.payload.appended(":FromSlow")))
        })
        .service(
            "Test.server.send.matsStage",
            async |incoming: Incoming<Data>| {
                let session = beside(&incoming.context)?.session_id;
                let trace_id = format!("{}:SentFromMatsStage", incoming.context.trace_id());
                let data = Data::new(incoming.payload.number, &*session, 1);
                incoming
                    .context
                    .send(&session, &trace_id, "ClientSide.terminator", &data)?;
                Ok(Outcome::<()>::done())
            },
        )
        .service(
            "Test.server.request.viaMats",
            async |incoming: Incoming<Data>| {
                let session = beside(&incoming.context)?.session_id;
                request(
                    &incoming.context,
                    &session,
                    &incoming.payload,
                    "Test.server.request.replyReceiver.viaMats",
                )?;
                Ok(Outcome::<()>::done())
            },
        )
        .service(
            "Test.server.request.replyReceiver.viaMats",
            async |incoming: Incoming<Data>| {
                let beside = beside(&incoming.context)?;
                let reply = beside
                    .reply
                    .ok_or_else(|| HandlerError::internal("no kind of reply came along"))?;
                reply_arrived(
                    &incoming.context,
                    &beside.session_id,
                    &incoming.payload,
                    &reply,
                )?;
                Ok(Outcome::<()>::done())
            },
        )
}

/// Sends a request to the client of a session; its reply goes to this terminator.
pub fn request(
    context: &Context,
    session_id: &str,
    data: &Data,
    terminator: &str,
) -> Result<(), SendError> {
    let reply_to = ReplyTo::terminator(terminator)
        .correlation_string(CORRELATION_STRING)
        .correlation_bytes(CORRELATION_BYTES);
    context.request(
        session_id,
        context.trace_id(),
        "ClientSide.endpoint",
        data,
        reply_to,
    )
}

/// Tells the client which reply arrived.
pub fn reply_arrived(
    context: &Context,
    session_id: &str,
    data: &Data,
    reply: &str,
) -> Result<(), SendError> {
    let data = data.appended(&format!(":{reply}"));
    context.send(
        session_id,
        context.trace_id(),
        "ClientSide.terminator",
        &data,
    )
}

/// Waits so many ms; not at all if negative.
pub async fn pause(millis: i64) {
    sleep(Duration::from_millis(millis.try_into().unwrap_or(0))).await;
}

fn beside(context: &Context) -> Result<Beside, HandlerError> {
    context
        .correlation()?
        .ok_or_else(|| HandlerError::internal("nothing travelled beside the payload"))
}
