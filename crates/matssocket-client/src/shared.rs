//! State shared by the handle, the connection's task and the handlers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast, watch};

use super::builder::Config;
use super::core::{Command, Core};
use super::error::SessionClosed;
use super::event::{ConnectionEvent, ConnectionState, TopicEvent};
use super::handler::Settled;

pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    core: Mutex<Core>,
    /// The last handle is gone. Not a command, as a handle may be dropped while the core is locked.
    pub(super) abandoned: AtomicBool,
    /// Signals that there is work for the connection's task.
    pub(super) wake: Notify,
    pub(super) events: broadcast::Sender<ConnectionEvent>,
    pub(super) topic_events: broadcast::Sender<TopicEvent>,
    pub(super) state: watch::Sender<ConnectionState>,
}

impl Shared {
    /// Events kept for a slow listener.
    const EVENTS: usize = 1_024;

    pub(super) fn new(config: Config) -> Shared {
        let config = Arc::new(config);
        Shared {
            core: Mutex::new(Core::new(config.clone())),
            config,
            abandoned: AtomicBool::new(false),
            wake: Notify::new(),
            events: broadcast::Sender::new(Self::EVENTS),
            topic_events: broadcast::Sender::new(Self::EVENTS),
            state: watch::Sender::new(ConnectionState::Idle),
        }
    }

    /// Never held across an await, nor while the application's code runs (except for `Deserialize`).
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn command(&self, command: Command) {
        self.core().commands.push_back(command);
        self.wake.notify_one();
    }

    /// The next command, if there is one.
    pub(super) fn take_command(&self) -> Option<Command> {
        let command = self.core().commands.pop_front();
        command.or_else(|| {
            self.abandoned
                .load(Ordering::Acquire)
                .then_some(Command::Shutdown)
        })
    }

    /// Waits for a command.
    pub(super) async fn next_command(&self) -> Command {
        loop {
            if let Some(command) = self.take_command() {
                return command;
            }
            self.wake.notified().await;
        }
    }

    pub(super) fn reply(
        &self,
        epoch: u64,
        smid: String,
        trace_id: String,
        settled: Settled,
        order: Option<u64>,
    ) {
        self.core().reply(epoch, smid, trace_id, settled, order);
        self.wake.notify_one();
    }

    pub(super) fn event(&self, event: ConnectionEvent) {
        // It is fine if there are no listeners.
        let _ = self.events.send(event);
    }

    pub(super) fn set_state(&self, state: ConnectionState) {
        self.state.send_replace(state);
    }

    /// Ends the session and notifies all waiters; a new one takes its place.
    pub(super) fn replace_session(&self, closed: SessionClosed) {
        self.core().replace_session(closed.clone());
        self.set_state(ConnectionState::Connecting);
        self.event(ConnectionEvent::SessionClosed(closed));
    }

    /// Ends the session and notifies all waiters.
    pub(super) fn close_session(&self, closed: SessionClosed) {
        self.core().close_session(closed.clone());
        self.set_state(ConnectionState::Closed(closed.clone()));
        self.event(ConnectionEvent::SessionClosed(closed));
    }
}
