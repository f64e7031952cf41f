//! Message types: the `t` of an envelope.

/// What an envelope is: its `t` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, clippy::upper_case_acronyms, missing_docs)]
pub enum MessageType {
    HELLO,
    WELCOME,
    SEND,
    REQUEST,
    RESOLVE,
    REJECT,
    ACK,
    NACK,
    ACK2,
    RETRY,
    SUB,
    UNSUB,
    SUB_OK,
    SUB_LOST,
    SUB_NO_AUTH,
    PUB,
    REAUTH,
    AUTH,
    #[default]
    PING,
    PONG,
}

impl MessageType {
    /// Every type there is, in the order of their numbers.
    pub const ALL: [MessageType; 20] = {
        use MessageType::*;
        [
            HELLO,
            WELCOME,
            SEND,
            REQUEST,
            RESOLVE,
            REJECT,
            ACK,
            NACK,
            ACK2,
            RETRY,
            SUB,
            UNSUB,
            SUB_OK,
            SUB_LOST,
            SUB_NO_AUTH,
            PUB,
            REAUTH,
            AUTH,
            PING,
            PONG,
        ]
    };

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        use MessageType::*;
        match self {
            HELLO => "HELLO",
            WELCOME => "WELCOME",
            SEND => "SEND",
            REQUEST => "REQUEST",
            RESOLVE => "RESOLVE",
            REJECT => "REJECT",
            ACK => "ACK",
            NACK => "NACK",
            ACK2 => "ACK2",
            RETRY => "RETRY",
            SUB => "SUB",
            UNSUB => "UNSUB",
            SUB_OK => "SUB_OK",
            SUB_LOST => "SUB_LOST",
            SUB_NO_AUTH => "SUB_NO_AUTH",
            PUB => "PUB",
            REAUTH => "REAUTH",
            AUTH => "AUTH",
            PING => "PING",
            PONG => "PONG",
        }
    }

    /// The type of this name, if there is one.
    pub fn from_name(name: &str) -> Option<MessageType> {
        use MessageType::*;
        Some(match name {
            "HELLO" => HELLO,
            "WELCOME" => WELCOME,
            "SEND" => SEND,
            "REQUEST" => REQUEST,
            "RESOLVE" => RESOLVE,
            "REJECT" => REJECT,
            "ACK" => ACK,
            "NACK" => NACK,
            "ACK2" => ACK2,
            "RETRY" => RETRY,
            "SUB" => SUB,
            "UNSUB" => UNSUB,
            "SUB_OK" => SUB_OK,
            "SUB_LOST" => SUB_LOST,
            "SUB_NO_AUTH" => SUB_NO_AUTH,
            "PUB" => PUB,
            "REAUTH" => REAUTH,
            "AUTH" => AUTH,
            "PING" => PING,
            "PONG" => PONG,
            _ => return None,
        })
    }

    /// Carries information, and so goes through inbox and outbox: SEND, REQUEST, RESOLVE, REJECT.
    pub fn is_information_bearing(self) -> bool {
        use MessageType::*;
        matches!(self, SEND | REQUEST | RESOLVE | REJECT)
    }

    /// Settles a request: RESOLVE or REJECT.
    pub fn is_reply(self) -> bool {
        matches!(self, MessageType::RESOLVE | MessageType::REJECT)
    }
}

impl std::fmt::Display for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
