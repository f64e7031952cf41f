//! What happens to the sessions and messages of a node, for the application's listeners.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::auth::ClientInfo;
use crate::logging;
use crate::seldom::log_seldom;
use crate::wire::{MessageType, shown};

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionChange {
    /// It was opened.
    New,
    /// Its client reconnected.
    Reconnect,
    /// Its connection is gone; the session waits for its client.
    Deregister,
    /// It was closed: by its client, by this server, or for a violation.
    Close,
    /// It timed out: its client was away for longer than [`Config::session_timeout`](crate::Config::session_timeout).
    Timeout,
}

/// Something happened to a session of this node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionEvent {
    /// What happened.
    pub change: SessionChange,
    /// Session id.
    pub session_id: String,
    /// Its user.
    pub user_id: String,
    /// The client that is, or was, connected: its app, library and address. `None` if there was no connection, as when an
    /// absent session times out.
    pub client: Option<Arc<ClientInfo>>,
    /// For [`Deregister`](SessionChange::Deregister) and [`Close`](SessionChange::Close): the WebSocket's close code, this
    /// server's or the client's. `None` if the connection broke without one, or there was no connection.
    pub close_code: Option<u16>,
    /// Why the session was closed, or its connection; `None` if nobody said.
    pub reason: Option<String>,
}

impl SessionEvent {
    pub(crate) fn new(change: SessionChange, session_id: &str, user_id: &str) -> SessionEvent {
        SessionEvent {
            change,
            session_id: session_id.to_owned(),
            user_id: user_id.to_owned(),
            client: None,
            close_code: None,
            reason: None,
        }
    }

    pub(crate) fn of_client(self, client: Option<&Arc<ClientInfo>>) -> SessionEvent {
        SessionEvent {
            client: client.cloned(),
            ..self
        }
    }

    pub(crate) fn because(self, reason: &str) -> SessionEvent {
        SessionEvent {
            reason: Some(reason.to_owned()),
            ..self
        }
    }

    fn log(&self) {
        let happened = match self.change {
            SessionChange::New => "was opened",
            SessionChange::Reconnect => "was resumed on another connection",
            SessionChange::Deregister => "lost its connection, and waits for its client",
            SessionChange::Close => "was closed",
            SessionChange::Timeout => "timed out",
        };
        let code = self.close_code.map(|code| format!(" with code {code}"));
        let reason = self.reason.as_deref();
        let reason = reason.map(|reason| format!(": {}", shown(reason)));
        let (session, user) = (&self.session_id, shown(&self.user_id));
        logging::debug!(
            session_id = session, user_id = user;
            "session {session} of user {user} {happened}{}{}", code.unwrap_or_default(), reason.unwrap_or_default()
        );
    }
}

/// An envelope received from, or sent to, a client of this node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageEvent<'a> {
    /// Session id.
    pub session_id: &'a str,
    /// Its user.
    pub user_id: &'a str,
    /// Whether it came from the client; otherwise it goes to the client.
    pub incoming: bool,
    /// Message type.
    pub message_type: MessageType,
    /// Endpoint or topic, if the envelope has one.
    pub endpoint: Option<&'a str>,
    /// Trace id, if the envelope has one.
    pub trace_id: Option<&'a str>,
}

type OnSession = Arc<dyn Fn(&SessionEvent) + Send + Sync>;
type OnMessage = Arc<dyn Fn(&MessageEvent<'_>) + Send + Sync>;

/// The application's listeners.
#[derive(Clone, Default)]
pub(crate) struct Listeners {
    pub(crate) session: Vec<OnSession>,
    pub(crate) message: Vec<OnMessage>,
}

impl Listeners {
    /// Tells the listeners, and the log; if nobody listens, the event is not even made.
    pub(crate) fn session(&self, event: impl FnOnce() -> SessionEvent) {
        let is_logged = logging::is_on!(debug);
        if self.session.is_empty() && !is_logged {
            return;
        }
        let event = event();
        if is_logged {
            event.log();
        }
        for listener in &self.session {
            guarded(|| listener(&event));
        }
    }

    pub(crate) fn message(&self, event: &MessageEvent<'_>) {
        for listener in &self.message {
            guarded(|| listener(event));
        }
    }
}

/// A panicking listener must not take down the session or the maintenance task that called it.
fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        log_seldom!(error, "a listener panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_panics_is_survived_and_the_others_are_told() {
        let (tell, told) = std::sync::mpsc::channel();
        let mut listeners = Listeners::default();
        listeners.session.push(Arc::new(|_| panic!("on purpose")));
        listeners
            .session
            .push(Arc::new(move |event: &SessionEvent| {
                let _ = tell.send(event.change);
            }));
        listeners.session(|| SessionEvent::new(SessionChange::New, "sid", "user"));
        assert_eq!(told.try_recv(), Ok(SessionChange::New));
    }
}
