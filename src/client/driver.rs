//! The client's task: connects, reconnects, and decides what a connection's end means.

use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use super::backoff::Rotation;
use super::connection::{CLOSE_TIMEOUT, Connection, End};
use super::core::Command;
use super::error::SessionClosed;
use super::event::{ConnectionEvent, ConnectionState};
use super::farewell::farewell;
use super::handler::Worker;
use super::shared::Shared;
use super::socket::{WebSocket, open};
use crate::wire::CloseCode;

pub(super) struct Driver {
    shared: Arc<Shared>,
    worker: Worker,
    rotation: Rotation,
}

/// The reason when the last handle is dropped.
const GONE: &str = "the client is gone";

/// Whether the task goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// What a close code from the server means for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The session is gone.
    SessionGone,
    /// Another connection has the session: stay away until there is something to say.
    StayAway,
    /// The session is kept: come back.
    ComeBack,
}

fn meaning(code: u16) -> Meaning {
    use CloseCode::*;
    match CloseCode::ALL
        .into_iter()
        .find(|known| known.code() == code)
    {
        Some(ViolatedPolicy | UnexpectedCondition | CloseSession | SessionLost | ProtocolError) => {
            Meaning::SessionGone
        }
        Some(Disconnect) => Meaning::StayAway,
        // 1001 from a server means that this line was idle; the session is kept.
        Some(GoingAway | ServiceRestart | Reconnect) | None => Meaning::ComeBack,
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Driver {
        let rotation = Rotation::new(shared.config.urls.clone(), shared.config.reconnect);
        Driver {
            worker: Worker::start(shared.clone()),
            shared,
            rotation,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if !self.shared.core().wanted {
                if self.idle().await == Flow::Stop {
                    return;
                }
                continue;
            }
            self.shared.set_state(ConnectionState::Connecting);
            let attempt = tokio::select! {
                biased;
                command = self.shared.next_command() => Err(command),
                attempt = self.attempt() => Ok(attempt),
            };
            let flow = match attempt {
                Err(command) => self.command(command).await,
                Ok(Err(error)) => self.connect_failed(error),
                Ok(Ok(ws)) => self.converse(ws).await,
            };
            if flow == Flow::Stop {
                return;
            }
        }
    }

    /// Waits until a connection is wanted or there is a command.
    async fn idle(&mut self) -> Flow {
        if let Some(command) = self.shared.take_command() {
            return self.command(command).await;
        }
        self.shared.wake.notified().await;
        Flow::Continue
    }

    /// A command while there is no connection.
    async fn command(&mut self, command: Command) -> Flow {
        match command {
            Command::Close { reason, done } => {
                self.close_without_line(reason).await;
                let _ = done.send(());
            }
            Command::Disconnect { done } => self.disconnected("disconnect".into(), Some(done)),
            Command::Cut => {}
            Command::Reconnect => self.rotation.reset(),
            Command::Shutdown => {
                self.close_without_line(GONE.into()).await;
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    /// Waits as long as failures demand, gets an authorization if needed, and connects.
    async fn attempt(&self) -> Result<WebSocket, String> {
        sleep(self.rotation.wait()).await;
        let url = self.rotation.url().to_owned();
        self.shared
            .event(ConnectionEvent::Connecting { url: url.clone() });
        self.authorize().await?;
        let ws = open(&self.shared.config, &url).await?;
        self.shared.event(ConnectionEvent::Connected { url });
        Ok(ws)
    }

    async fn authorize(&self) -> Result<(), String> {
        let Some(callback) = &self.shared.config.callback else {
            return Ok(());
        };
        let need = self.shared.core().auth.need(Instant::now());
        if let Some(need) = need {
            let authorization = callback(need)
                .await
                .map_err(|error| format!("no authorization: {error}"))?;
            self.shared.core().auth.set(authorization, Instant::now());
        }
        Ok(())
    }

    fn connect_failed(&mut self, error: String) -> Flow {
        log::debug!("connecting to {} failed: {error}", self.rotation.url());
        let url = self.rotation.url().to_owned();
        self.shared.event(ConnectionEvent::ConnectFailed {
            url,
            error: error.clone(),
        });
        self.rotation.failed();
        if self
            .shared
            .config
            .max_connect_attempts
            .is_some_and(|most| self.rotation.failures() >= most)
        {
            self.rotation.reset();
            self.close_session(None, format!("could not connect: {error}"));
        }
        Flow::Continue
    }

    async fn converse(&mut self, ws: WebSocket) -> Flow {
        let (end, established) = Connection::new(&self.shared, &self.worker, ws).run().await;
        match end {
            End::Lost(reason) => self.lost(reason, established),
            End::Closed { code, reason } => match meaning(code) {
                Meaning::SessionGone => {
                    self.rotation.reset();
                    self.close_session(Some(code), reason);
                }
                Meaning::StayAway => self.disconnected(reason, None),
                Meaning::ComeBack => self.lost(
                    format!("closed by the server with {code}: {reason}"),
                    established,
                ),
            },
            End::SessionClosed { reason, done } => {
                self.rotation.reset();
                self.close_session(Some(CloseCode::CloseSession.code()), reason);
                let _ = done.send(());
            }
            End::Disconnected(done) => self.disconnected("disconnect".into(), Some(done)),
            End::Shutdown => {
                self.close_session(Some(CloseCode::GoingAway.code()), GONE.into());
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    fn lost(&mut self, reason: String, established: Option<Instant>) {
        match established {
            Some(since) => {
                self.rotation.lost(since.elapsed());
                self.shared.set_state(ConnectionState::Connecting);
                self.shared.event(ConnectionEvent::Lost { reason });
            }
            // A line that never came to WELCOME is no better than one that did not open.
            None => {
                self.connect_failed(reason);
            }
        }
    }

    fn disconnected(&mut self, reason: String, done: Option<tokio::sync::oneshot::Sender<()>>) {
        self.rotation.reset();
        let closed = {
            let mut core = self.shared.core();
            core.wanted = false;
            core.closed.is_some()
        };
        if !closed {
            self.shared.set_state(ConnectionState::Idle);
            self.shared.event(ConnectionEvent::Disconnected { reason });
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    fn close_session(&self, code: Option<u16>, reason: String) {
        self.shared.close_session(SessionClosed { code, reason });
    }

    /// Fails what is outstanding, and tells the server if it can be reached.
    async fn close_without_line(&mut self, reason: String) {
        let session_id = self.shared.core().session_id.clone();
        self.close_session(Some(CloseCode::CloseSession.code()), reason.clone());
        if let Some(session_id) = session_id {
            let farewell = farewell(&self.shared, self.rotation.url(), session_id, &reason);
            match timeout(CLOSE_TIMEOUT, farewell).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    log::info!("the server was not told that the session is closed: {error}")
                }
                Err(_) => {
                    log::info!("the server was not told that the session is closed: no answer")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_mean_what_the_protocol_says() {
        for code in [1008, 1011, 4000, 4001, 4004] {
            assert_eq!(meaning(code), Meaning::SessionGone, "{code}");
        }
        for code in [1000, 1001, 1006, 1012, 4002, 4999] {
            assert_eq!(meaning(code), Meaning::ComeBack, "{code}");
        }
        assert_eq!(meaning(4003), Meaning::StayAway);
    }
}
