//! The endpoints that every server has: two pings, of which one is answered by the session itself, and the other by a
//! service.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Endpoint, Forward, Handler, Incoming, Outcome, Run, async_handler};
use crate::error::HandlerError;

/// Id of the ping that resolves at once.
const SOCKET_PING: &str = "MatsSocket.matsSocketPing";

/// Id of the ping that a service answers, and name of that service.
pub(crate) const SERVICE_PING: &str = "MatsSocket.matsPing";

/// The payload of pings and of their replies.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Ping {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<f64>,
}

/// The built-in endpoints, by id. A ping has at most `max_bytes` bytes: no client needs more, and every client may send
/// pings.
pub(crate) fn endpoints(max_bytes: usize) -> [(&'static str, Endpoint); 2] {
    let service_ping = async_handler(|incoming: Incoming<serde_json::Value>| async move {
        let forward = Forward::to(SERVICE_PING, &incoming.payload);
        Ok(Outcome::<()>::forward(forward))
    });
    let endpoint = |handler, at_once| Endpoint {
        at_once,
        ..Endpoint::new(true, Run::Async(at_most(max_bytes, handler)))
    };
    [
        (
            SOCKET_PING,
            endpoint(multiply_by(std::f64::consts::E), true),
        ),
        (SERVICE_PING, endpoint(service_ping, false)),
    ]
}

/// The service behind [`SERVICE_PING`].
pub(crate) fn ping_service() -> Handler {
    multiply_by(std::f64::consts::PI)
}

/// Resolves with what came in, its number multiplied: each ping with a different factor, which shows which one has
/// answered.
fn multiply_by(factor: f64) -> Handler {
    async_handler(move |incoming: Incoming<Option<Ping>>| async move {
        let (ping, _) = incoming.into_parts();
        let ping = ping.unwrap_or_default();
        let number = ping.number.map(|number| number * factor);
        Ok(Outcome::resolve(Ping { number, ..ping }))
    })
}

fn at_most(bytes: usize, ping: Handler) -> Handler {
    Arc::new(move |call| {
        let payload = call.payload.as_ref();
        let length = payload.map_or(0, |payload| payload.get().len());
        if length <= bytes {
            return ping(call);
        }
        let why = format!("a ping of {length} bytes: at most {bytes} are taken (max_ping_payload)");
        Box::pin(std::future::ready(Err(HandlerError::of_client(why))))
    })
}
