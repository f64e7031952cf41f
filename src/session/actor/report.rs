//! Passes the session's decisions to the log and to listeners.

use super::super::state::{Failure, Recorded};
use crate::events::MessageEvent;
use crate::seldom::log_seldom;
use crate::wire::shown;

impl Failure {
    pub(super) fn log(&self) {
        match self {
            Failure::Authenticator(text) => {
                log_seldom!(warn, "the authenticator failed: {}", shown(text))
            }
            Failure::ReadOutbox(error) => {
                log_seldom!(warn, "an outbox could not be read, trying again: {error}")
            }
            Failure::DeleteAcknowledged(error) => log_seldom!(
                warn,
                "acknowledged messages could not be deleted, trying again: {error}"
            ),
            Failure::ReadAnswer(error) => {
                log_seldom!(warn, "an earlier answer could not be read: {error}")
            }
            Failure::ReadTopic(error) => log_seldom!(
                warn,
                "what was published could not be read, trying again: {error}"
            ),
        }
    }
}

impl Recorded {
    pub(super) fn event(&self) -> MessageEvent<'_> {
        MessageEvent {
            session_id: &self.session_id,
            user_id: &self.user_id,
            incoming: self.incoming,
            message_type: self.message_type,
            endpoint: self.endpoint.as_deref(),
            trace_id: self.trace_id.as_deref(),
        }
    }
}
