//! The endpoints and terminators.

use std::f64::consts::{E, PI};
use std::sync::{Arc, OnceLock};

use actix_web::rt;
use matssocket::{
    Context, Forward, HandlerError, Incoming, MatsSocketServer, MessageType, Outcome, ReplyTo,
    ServerBuilder,
};
use serde::de::IgnoredAny;

use crate::auth::CookieAuthorization;
use crate::bench;
use crate::data::{Data, Ping, Single, SingleReply};
use crate::services::{self, Beside, CORRELATION_BYTES, CORRELATION_STRING, pause};

/// The server's handle, there once it is started, for what is sent from outside a handler.
pub type Handle = Arc<OnceLock<MatsSocketServer>>;

/// Adds every endpoint and terminator.
pub fn add(builder: ServerBuilder, handle: &Handle) -> ServerBuilder {
    let builder = forwarding(builder);
    let builder = deciding_at_once(builder);
    let builder = deciding_in_adapter(builder);
    let builder = sending(builder, handle);
    let builder = requesting(builder);
    authorization(bench::add(builder))
}

/// What `Test.publish` and its HTTP relative publish.
pub fn published() -> Data {
    Data::new(PI, "Test from server!", 42)
}

fn forwarding(builder: ServerBuilder) -> ServerBuilder {
    builder
        .endpoint_with_adapter("Test.single", to_single, async |reply: Incoming<Data>| {
            let request_timestamp = reply.context.correlation()?.unwrap_or_default();
            let length = reply
                .payload
                .string
                .as_deref()
                .unwrap_or("null")
                .encode_utf16()
                .count();
            let answer = SingleReply {
                number1: length,
                number2: reply.payload.number,
                request_timestamp,
            };
            Ok(if reply.context.message_type() == MessageType::Reject {
                Outcome::reject(answer)
            } else {
                Outcome::resolve(answer)
            })
        })
        .endpoint("Test.simpleMats", async |incoming: Incoming<Data>| {
            Ok(Outcome::<Data>::forward(Forward::to(
                "Test.simpleMats",
                &incoming.payload,
            )))
        })
        .endpoint("Test.slow", async |incoming: Incoming<Data>| {
            pause(incoming.payload.sleep_incoming).await;
            Ok(Outcome::<Data>::forward(Forward::to(
                "Test.slow",
                &incoming.payload,
            )))
        })
}

async fn to_single(incoming: Incoming<Single>) -> Result<Outcome<SingleReply>, HandlerError> {
    let Single {
        string,
        number,
        request_timestamp,
    } = &incoming.payload;
    let data = Data {
        number: *number,
        string: string.clone(),
        ..Data::default()
    };
    Ok(Outcome::forward(
        Forward::to("Test.single", &data).correlation(request_timestamp),
    ))
}

fn deciding_at_once(builder: ServerBuilder) -> ServerBuilder {
    builder
        .endpoint(
            "Test.matsSocketPing",
            async |incoming: Incoming<Option<Ping>>| {
                let Ping { payload, number } = incoming.into_parts().0.unwrap_or_default();
                Ok(Outcome::resolve(Ping {
                    payload,
                    number: Some(number.unwrap_or(0.0) * E),
                }))
            },
        )
        .endpoint(
            "Test.ignoreInIncomingHandler",
            async |_: Incoming<IgnoredAny>| Ok(Outcome::<Data>::done()),
        )
        .endpoint(
            "Test.denyInIncomingHandler",
            async |_: Incoming<IgnoredAny>| Ok(Outcome::<Data>::deny()),
        )
        .endpoint(
            "Test.resolveInIncomingHandler",
            async |incoming: Incoming<Data>| {
                Ok(Outcome::resolve(
                    incoming.payload.appended(":From_resolveInIncomingHandler"),
                ))
            },
        )
        .endpoint(
            "Test.rejectInIncomingHandler",
            async |incoming: Incoming<Single>| {
                let request_timestamp = incoming.payload.request_timestamp.clone();
                Ok(Outcome::<SingleReply>::reject(SingleReply {
                    number1: 3,
                    number2: 4.0,
                    request_timestamp,
                }))
            },
        )
        .endpoint(
            "Test.throwsInIncomingHandler",
            async |_: Incoming<IgnoredAny>| {
                Err::<Outcome<Data>, _>(HandlerError::internal("asked to fail in the handler"))
            },
        )
}

fn deciding_in_adapter(builder: ServerBuilder) -> ServerBuilder {
    fn decided() -> SingleReply {
        SingleReply {
            number1: 1,
            number2: 2.0,
            request_timestamp: 123.into(),
        }
    }
    builder
        .endpoint_with_adapter(
            "Test.ignoreInReplyAdapter",
            to_single,
            async |_: Incoming<Data>| Ok(Outcome::done()),
        )
        .endpoint_with_adapter(
            "Test.resolveInReplyAdapter",
            to_single,
            async |_: Incoming<Data>| Ok(Outcome::resolve(decided())),
        )
        .endpoint_with_adapter(
            "Test.rejectInReplyAdapter",
            to_single,
            async |_: Incoming<Data>| Ok(Outcome::reject(decided())),
        )
        .endpoint_with_adapter(
            "Test.throwsInReplyAdapter",
            to_single,
            async |_: Incoming<Data>| {
                Err(HandlerError::internal("asked to fail in the reply adapter"))
            },
        )
}

fn sending(builder: ServerBuilder, handle: &Handle) -> ServerBuilder {
    let (send, close) = (handle.clone(), handle.clone());
    builder
        .terminator(
            "Test.server.send.matsStage",
            async |incoming: Incoming<Data>| {
                Ok(beside(
                    &incoming.context,
                    &incoming.payload,
                    "Test.server.send.matsStage",
                    None,
                ))
            },
        )
        .terminator(
            "Test.server.send.thread",
            move |incoming: Incoming<Data>| send_from_task(send.clone(), incoming),
        )
        .terminator(
            "Test.closeThisSession",
            move |incoming: Incoming<IgnoredAny>| close_soon(close.clone(), incoming),
        )
        .terminator("Test.publish", async |incoming: Incoming<String>| {
            incoming.context.publish(
                &incoming.payload,
                incoming.context.trace_id(),
                &published(),
            )?;
            Ok(Outcome::done())
        })
}

async fn send_from_task(
    handle: Handle,
    incoming: Incoming<Data>,
) -> Result<Outcome<()>, HandlerError> {
    let server = started(&handle)?;
    let session = incoming.context.session_id().to_owned();
    let trace_id = format!("{}:SentFromThread", incoming.context.trace_id());
    let data = Data::new(incoming.payload.number, &*session, 2);
    rt::spawn(async move {
        if let Err(why) = server
            .send(&session, &trace_id, "ClientSide.terminator", &data)
            .await
        {
            log::warn!("Test.server.send.thread: {why}");
        }
    });
    Ok(Outcome::done())
}

async fn close_soon(
    handle: Handle,
    incoming: Incoming<IgnoredAny>,
) -> Result<Outcome<()>, HandlerError> {
    let server = started(&handle)?;
    let session = incoming.context.session_id().to_owned();
    rt::spawn(async move {
        pause(250).await;
        if let Err(why) = server
            .close_session(&session, "Test.closeThisSession")
            .await
        {
            log::warn!("Test.closeThisSession: {why}");
        }
    });
    Ok(Outcome::done())
}

fn started(handle: &Handle) -> Result<MatsSocketServer, HandlerError> {
    handle
        .get()
        .cloned()
        .ok_or_else(|| HandlerError::internal("the server is still starting"))
}

fn requesting(builder: ServerBuilder) -> ServerBuilder {
    builder
        .terminator(
            "Test.server.request.direct",
            async |incoming: Incoming<Data>| {
                let terminator = "Test.server.request.replyReceiver.direct";
                services::request(
                    &incoming.context,
                    incoming.context.session_id(),
                    &incoming.payload,
                    terminator,
                )?;
                Ok(Outcome::done())
            },
        )
        .terminator(
            "Test.server.request.replyReceiver.direct",
            async |incoming: Incoming<Data>| {
                check_correlation(&incoming.context, CORRELATION_STRING, CORRELATION_BYTES)?;
                let reply = incoming.context.message_type().name();
                services::reply_arrived(
                    &incoming.context,
                    incoming.context.session_id(),
                    &incoming.payload,
                    reply,
                )?;
                Ok(Outcome::done())
            },
        )
        .terminator(
            "Test.server.request.viaMats",
            async |incoming: Incoming<Data>| {
                Ok(beside(
                    &incoming.context,
                    &incoming.payload,
                    "Test.server.request.viaMats",
                    None,
                ))
            },
        )
        .terminator(
            "Test.server.request.replyReceiver.viaMats",
            async |incoming: Incoming<Data>| {
                check_correlation(&incoming.context, CORRELATION_STRING, CORRELATION_BYTES)?;
                let reply = Some(incoming.context.message_type().name());
                Ok(beside(
                    &incoming.context,
                    &incoming.payload,
                    "Test.server.request.replyReceiver.viaMats",
                    reply,
                ))
            },
        )
}

/// Forwards, with the session id (and what kind of reply it was) beside the payload.
fn beside(context: &Context, data: &Data, service: &str, reply: Option<&str>) -> Outcome<()> {
    let beside = Beside {
        session_id: context.session_id().to_owned(),
        reply: reply.map(str::to_owned),
    };
    Outcome::forward(Forward::to(service, data).correlation(&beside))
}

fn check_correlation(context: &Context, string: &str, bytes: &[u8]) -> Result<(), HandlerError> {
    let found = (context.correlation_string(), context.correlation_bytes());
    if found == (Some(string), Some(bytes)) {
        return Ok(());
    }
    Err(HandlerError::public(format!(
        "the correlation is {found:?}, not {:?}",
        (string, bytes)
    )))
}

fn authorization(builder: ServerBuilder) -> ServerBuilder {
    builder
        .endpoint(
            "Test.replyWithCookieAuthorization",
            async |incoming: Incoming<Data>| {
                let cookie = incoming
                    .context
                    .principal_data::<CookieAuthorization>()
                    .and_then(|cookie| cookie.0.clone());
                Ok(Outcome::resolve(Data {
                    string: cookie,
                    ..incoming.payload.clone()
                }))
            },
        )
        .terminator("Test.renewAuth", async |incoming: Incoming<IgnoredAny>| {
            let reply_to = ReplyTo::terminator("Test.renewAuth_reply")
                .correlation_string("123")
                .correlation_bytes([1, 2, 3]);
            incoming.context.request(
                incoming.context.session_id(),
                incoming.context.trace_id(),
                "MatsSocket.renewAuth",
                "",
                reply_to,
            )?;
            Ok(Outcome::done())
        })
        .terminator(
            "Test.renewAuth_reply",
            async |incoming: Incoming<IgnoredAny>| {
                check_correlation(&incoming.context, "123", &[1, 2, 3])?;
                let authorization = incoming.context.authorization();
                incoming.context.send(
                    incoming.context.session_id(),
                    incoming.context.trace_id(),
                    "Client.renewAuth_terminator",
                    &authorization,
                )?;
                Ok(Outcome::done())
            },
        )
}
