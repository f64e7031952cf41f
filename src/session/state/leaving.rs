//! How a session ends, or lets go of its connection: at once, after a grace time, or when the store says so.

use super::pipeline::Pipeline;
use super::{Action, Keep, State};
use crate::clock::ms;
use crate::wire::{Close, CloseCode};

/// A pending close. (Boxed, like all rare parts of a state: there are many states.)
pub(super) struct Leaving {
    pub(super) at: i64,
    pub(super) close: Close,
}

impl State {
    pub(super) fn taken_over(&mut self) {
        let elsewhere = |it: &mut Box<Leaving>| it.close.code != CloseCode::Disconnect;
        if let Some(leaving) = self.leaving.take_if(elsewhere) {
            // The connection was about to be closed anyway, and perhaps only this node's name has changed.
            return self.end(Some(leaving.close), Keep::Deregister);
        }
        let why = "another connection with the same MatsSocketSessionId took over";
        self.end(Some(Close::new(CloseCode::Disconnect, why)), Keep::Nothing);
    }

    pub(super) fn gone(&mut self) {
        let why = "the session is gone: it was closed, or has timed out";
        self.end(Some(Close::new(CloseCode::SessionLost, why)), Keep::Closed);
    }

    /// The store refused a write: the session was taken over or closed. The registry is about to say which; in case its
    /// message is lost, the store is asked. Until then nothing more is done.
    pub(super) fn fenced_off(&mut self) {
        const WORD: i64 = 250;
        let close = Close::new(CloseCode::Disconnect, "fenced off");
        self.leave_at(self.environment.now + WORD, close);
        self.drop_work();
    }

    /// The server is stopping: no more input is processed, handlers finish within the grace time, then the connection is
    /// closed.
    pub(super) fn restart(&mut self, why: &str) {
        let close = Close::new(CloseCode::ServiceRestart, why);
        if self.inbox.running() == 0 {
            return self.leave(close);
        }
        let grace = ms(self.config.stop_grace);
        self.leave_at(self.environment.now.saturating_add(grace), close);
        self.drop_work();
    }

    /// Schedules the close of the connection.
    pub(super) fn leave_at(&mut self, at: i64, close: Close) {
        self.leaving = Some(Box::new(Leaving { at, close }));
    }

    /// Sends what is still to be sent, then closes the connection. The session is kept.
    pub(super) fn leave(&mut self, close: Close) {
        self.flush_all();
        self.end(Some(close), Keep::Deregister);
    }

    /// The store is unavailable: the client keeps its session, and reconnects after a while.
    pub(super) fn store_away(&mut self) {
        let delay = ms(self.config.store_away_delay);
        let close = Close::new(
            CloseCode::ServiceRestart,
            "the store is unavailable, please reconnect",
        );
        self.leave_at(self.environment.now.saturating_add(delay), close);
        self.drop_work();
    }

    /// Closes the session for a protocol violation.
    pub(super) fn violation(&mut self, why: impl Into<String>) {
        let close = Close::new(CloseCode::ProtocolError, why);
        self.mistake(close.reason());
        self.close(close);
    }

    /// Closes with this code, which determines what becomes of the session. A session that HELLO named but did not get
    /// is left alone.
    pub(super) fn close(&mut self, close: Close) {
        let keep = match close.code.server_closes_session() {
            true => Keep::Close(close.reason().to_owned()),
            false => Keep::Deregister,
        };
        self.end(Some(close), keep);
    }

    pub(super) fn end(&mut self, close: Option<Close>, keep: Keep) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.drop_work();
        if let Some(bytes) = self.current.as_mut().and_then(Pipeline::give_up_text) {
            self.actions.push(Action::Processed(bytes));
        }
        let keep = if self.identity().is_some() {
            keep
        } else {
            Keep::Nothing
        };
        self.actions.push(Action::End { close, keep });
    }

    pub(super) fn drop_work(&mut self) {
        for text in self.work.drain(..) {
            self.actions.push(Action::Processed(text.len()));
        }
        self.work_bytes = 0;
    }
}
