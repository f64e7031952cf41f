//! What happens to the sessions and messages of a node, for the application's listeners.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::seldom::log_seldom;
use crate::wire::MessageType;

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
    pub(crate) fn session(&self, change: SessionChange, session_id: &str, user_id: &str) {
        if self.session.is_empty() {
            return;
        }
        let event = SessionEvent {
            change,
            session_id: session_id.to_owned(),
            user_id: user_id.to_owned(),
        };
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
        listeners.session(SessionChange::New, "sid", "user");
        assert_eq!(told.try_recv(), Ok(SessionChange::New));
    }
}
