//! Message types: the `t` of an envelope.

/// The type of an envelope: its `t` on the wire.
///
/// `Display` and `Debug` show its name on the wire. A new variant means a new version of the protocol, so this can be
/// matched exhaustively.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// Client: opens or resumes a session; the first envelope of a connection.
    Hello,
    /// Server: the session is established.
    Welcome,
    /// Both: a message that is acknowledged, with no reply.
    Send,
    /// Both: a message that is answered with RESOLVE or REJECT.
    Request,
    /// Both: the reply to a REQUEST that succeeded.
    Resolve,
    /// Both: the reply to a REQUEST that was refused.
    Reject,
    /// Both: the message was received and will be handled.
    Ack,
    /// Both: the message was refused for good.
    Nack,
    /// Both: the ACK or NACK was received; the other side may forget the message id.
    Ack2,
    /// Server: the message was not kept; send it again later.
    Retry,
    /// Client: subscribes to a topic.
    Sub,
    /// Client: ends a subscription.
    Unsub,
    /// Server: subscribed; nothing published since the last message seen was missed.
    SubOk,
    /// Server: subscribed, but messages published since the last one seen are lost.
    SubLost,
    /// Server: the user may not subscribe to the topic.
    SubNoAuth,
    /// Server: a message of a topic.
    Pub,
    /// Server: requests a new authorization value.
    Reauth,
    /// Client: a new authorization value.
    Auth,
    /// Client: asks for a PONG.
    #[default]
    Ping,
    /// Server: the answer to a PING.
    Pong,
}

impl MessageType {
    /// Every type, in the order of their numbers.
    pub const ALL: [MessageType; 20] = {
        use MessageType::*;
        [
            Hello, Welcome, Send, Request, Resolve, Reject, Ack, Nack, Ack2, Retry, Sub, Unsub,
            SubOk, SubLost, SubNoAuth, Pub, Reauth, Auth, Ping, Pong,
        ]
    };

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        use MessageType::*;
        match self {
            Hello => "HELLO",
            Welcome => "WELCOME",
            Send => "SEND",
            Request => "REQUEST",
            Resolve => "RESOLVE",
            Reject => "REJECT",
            Ack => "ACK",
            Nack => "NACK",
            Ack2 => "ACK2",
            Retry => "RETRY",
            Sub => "SUB",
            Unsub => "UNSUB",
            SubOk => "SUB_OK",
            SubLost => "SUB_LOST",
            SubNoAuth => "SUB_NO_AUTH",
            Pub => "PUB",
            Reauth => "REAUTH",
            Auth => "AUTH",
            Ping => "PING",
            Pong => "PONG",
        }
    }

    /// The type of this name, if there is one.
    pub fn from_name(name: &str) -> Option<MessageType> {
        use MessageType::*;
        Some(match name {
            "HELLO" => Hello,
            "WELCOME" => Welcome,
            "SEND" => Send,
            "REQUEST" => Request,
            "RESOLVE" => Resolve,
            "REJECT" => Reject,
            "ACK" => Ack,
            "NACK" => Nack,
            "ACK2" => Ack2,
            "RETRY" => Retry,
            "SUB" => Sub,
            "UNSUB" => Unsub,
            "SUB_OK" => SubOk,
            "SUB_LOST" => SubLost,
            "SUB_NO_AUTH" => SubNoAuth,
            "PUB" => Pub,
            "REAUTH" => Reauth,
            "AUTH" => Auth,
            "PING" => Ping,
            "PONG" => Pong,
            _ => return None,
        })
    }

    /// Whether it carries information and therefore passes through inbox and outbox: SEND, REQUEST, RESOLVE, REJECT.
    pub fn is_information_bearing(self) -> bool {
        use MessageType::*;
        matches!(self, Send | Request | Resolve | Reject)
    }

    /// Whether it settles a request: RESOLVE or REJECT.
    pub fn is_reply(self) -> bool {
        matches!(self, MessageType::Resolve | MessageType::Reject)
    }
}

impl std::fmt::Display for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Debug for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
