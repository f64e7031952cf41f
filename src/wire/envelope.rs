//! One envelope of a pipeline.

use super::{MessageType, Payload};

/// The id of a PING, echoed in its PONG exactly as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PingId {
    /// A JSON string.
    Text(String),
    /// A JSON integer.
    Number(i64),
}

/// One envelope. A field that is absent on the wire is `None`; `None` is never sent as `null`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // the fields' meanings are the protocol's, section 2
pub struct Envelope {
    /// Message type. (`Default` gives PING, for building with `..Default::default()` only.)
    pub t: MessageType,
    /// Server message id.
    pub smid: Option<String>,
    /// Client message id; a JSON number from a client is taken as its text.
    pub cmid: Option<String>,
    /// Ping id.
    pub x: Option<PingId>,
    /// Several message ids, in ACK, NACK and ACK2.
    pub ids: Option<Vec<String>>,
    /// Trace id.
    pub tid: Option<String>,
    /// Authorization value. Never logged: `Debug` of an envelope must not show it.
    pub auth: Option<String>,
    /// Client library and versions, with HELLO.
    pub clv: Option<String>,
    /// App name, with HELLO.
    pub an: Option<String>,
    /// App version, with HELLO.
    pub av: Option<String>,
    /// Session id, with HELLO and WELCOME.
    pub sid: Option<String>,
    /// Requested debug options, a bit set.
    pub rd: Option<u32>,
    /// Endpoint or topic id.
    pub eid: Option<String>,
    /// REQUEST: the client's timeout in milliseconds.
    pub to: Option<u64>,
    /// Text for people.
    pub desc: Option<String>,
    /// The payload, as raw JSON.
    pub msg: Option<Payload>,
    /// Debug information, server to client.
    pub debug: Option<super::Debug>,
}

impl Envelope {
    /// An envelope of this type with nothing else in it.
    pub fn new(t: MessageType) -> Envelope {
        Envelope { t, ..Envelope::default() }
    }
}
