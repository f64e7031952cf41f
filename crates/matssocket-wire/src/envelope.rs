//! One envelope of a pipeline.

use std::fmt;

use super::{MessageType, Payload};

/// The id of a PING, echoed in its PONG exactly as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PingId {
    /// A JSON string.
    Text(String),
    /// A JSON integer.
    Number(i64),
    /// Any other JSON value, as received.
    Other(Box<str>),
}

/// One envelope. A field that is absent on the wire is `None`; `None` is never sent as `null`.
///
/// New versions of the protocol may add fields, so build one with `..Envelope::new(t)`:
///
/// ```
/// use matssocket_wire::{Envelope, MessageType, print_pipeline};
///
/// let ack = Envelope { cmid: Some("1".into()), ..Envelope::new(MessageType::Ack) };
/// assert_eq!(print_pipeline([&ack]), r#"[{"t":"ACK","cmid":"1"}]"#);
/// ```
#[derive(Clone, Default)]
#[allow(missing_docs)] // the fields' meanings are the protocol's, section 2
pub struct Envelope {
    /// Message type. (`Default` gives PING, for building with `..Default::default()` only.)
    pub t: MessageType,
    /// Server message id.
    pub smid: Option<String>,
    /// Client message id; a JSON number from a client is converted to its text.
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
    /// HELLO: the client keeps its session even when the page goes away (1001).
    pub keep: Option<bool>,
    /// Requested debug options, a bit set.
    pub rd: Option<u32>,
    /// Endpoint or topic id.
    pub eid: Option<String>,
    /// REQUEST: the client's timeout in milliseconds.
    pub to: Option<u64>,
    /// Text for humans.
    pub desc: Option<String>,
    /// The payload, as raw JSON.
    pub msg: Option<Payload>,
    /// Debug information, server to client.
    pub debug: Option<super::Debug>,
    /// Not on the wire: what is wrong with a field that could not be read and was left out.
    pub fault: Option<Box<str>>,
}

impl Envelope {
    /// An envelope of this type without any other field.
    pub fn new(t: MessageType) -> Envelope {
        Envelope {
            t,
            ..Envelope::default()
        }
    }
}

/// Shows the fields that are present, but never the authorization value.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn field(out: &mut fmt::DebugStruct<'_, '_>, name: &str, value: &Option<impl fmt::Debug>) {
            if let Some(value) = value {
                out.field(name, value);
            }
        }
        let mut out = f.debug_struct(self.t.name());
        field(&mut out, "smid", &self.smid);
        field(&mut out, "cmid", &self.cmid);
        field(&mut out, "x", &self.x);
        field(&mut out, "ids", &self.ids);
        field(&mut out, "tid", &self.tid);
        field(&mut out, "auth", &self.auth.as_ref().map(|_| "<hidden>"));
        field(&mut out, "clv", &self.clv);
        field(&mut out, "an", &self.an);
        field(&mut out, "av", &self.av);
        field(&mut out, "sid", &self.sid);
        field(&mut out, "keep", &self.keep);
        field(&mut out, "rd", &self.rd);
        field(&mut out, "eid", &self.eid);
        field(&mut out, "to", &self.to);
        field(&mut out, "desc", &self.desc);
        field(&mut out, "msg", &self.msg.as_ref().map(|msg| msg.get()));
        field(&mut out, "debug", &self.debug);
        field(&mut out, "fault", &self.fault);
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_authorization() {
        let envelope = Envelope {
            auth: Some("secret".into()),
            tid: Some("t1".into()),
            ..Envelope::new(MessageType::Auth)
        };
        assert_eq!(
            format!("{envelope:?}"),
            r#"AUTH { tid: "t1", auth: "<hidden>" }"#
        );
    }
}
