//! Close codes: one table, grouped by what the client does next.

/// Why a WebSocket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1001: HELLO was too late, or the connection was idle. From a client: it gives up its session.
    GoingAway,
    /// 1008: not allowed. The session is closed.
    ViolatedPolicy,
    /// 1009: a message is too large. The session is kept; the client then sends its messages one by one.
    MessageTooBig,
    /// 1011: an unrecoverable error. The session is closed.
    UnexpectedCondition,
    /// 1012: this node is stopping or cannot serve now. The session is kept; the client reconnects.
    ServiceRestart,
    /// 4000: the session is closed.
    CloseSession,
    /// 4001: the session named in HELLO does not exist.
    SessionLost,
    /// 4002: please reconnect. The session is kept.
    Reconnect,
    /// 4003: another connection took over the session. The session is kept.
    Disconnect,
    /// 4004: the client broke the protocol. The session is closed.
    ProtocolError,
}

impl CloseCode {
    /// Every code of the table.
    pub const ALL: [CloseCode; 10] = [
        CloseCode::GoingAway,
        CloseCode::ViolatedPolicy,
        CloseCode::MessageTooBig,
        CloseCode::UnexpectedCondition,
        CloseCode::ServiceRestart,
        CloseCode::CloseSession,
        CloseCode::SessionLost,
        CloseCode::Reconnect,
        CloseCode::Disconnect,
        CloseCode::ProtocolError,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            CloseCode::GoingAway => 1001,
            CloseCode::ViolatedPolicy => 1008,
            CloseCode::MessageTooBig => 1009,
            CloseCode::UnexpectedCondition => 1011,
            CloseCode::ServiceRestart => 1012,
            CloseCode::CloseSession => 4000,
            CloseCode::SessionLost => 4001,
            CloseCode::Reconnect => 4002,
            CloseCode::Disconnect => 4003,
            CloseCode::ProtocolError => 4004,
        }
    }

    /// Whether the server deletes the session when *it* closes with this code.
    pub fn server_closes_session(self) -> bool {
        match self {
            CloseCode::ViolatedPolicy
            | CloseCode::UnexpectedCondition
            | CloseCode::CloseSession
            | CloseCode::ProtocolError => true,
            CloseCode::GoingAway
            | CloseCode::MessageTooBig
            | CloseCode::ServiceRestart
            | CloseCode::SessionLost
            | CloseCode::Reconnect
            | CloseCode::Disconnect => false,
        }
    }

    /// Whether a close with this number *from a client* means that it gives up its session.
    pub fn client_closes_session(code: u16) -> bool {
        matches!(code, 1001 | 4000)
    }
}

/// A close frame: code and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code.
    pub code: CloseCode,
    reason: String,
}

impl Close {
    /// Longest reason that fits into a close frame, in bytes.
    pub const MAX_REASON_BYTES: usize = 123;

    /// A close frame. The reason is escaped as by [`shown`](super::shown), and cut to [`Close::MAX_REASON_BYTES`] at a
    /// character boundary.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Close {
        let mut reason = super::shown(&reason.into()).into_owned();
        reason.truncate(super::cut(&reason, Self::MAX_REASON_BYTES).len());
        Close { code, reason }
    }

    /// The reason, at most [`Close::MAX_REASON_BYTES`] bytes.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}
