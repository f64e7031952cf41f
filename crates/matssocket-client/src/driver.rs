//! The client's task: connects, reconnects, and decides what a connection's end means.

use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use super::authorizing::{Unauthorized, authorize};
use super::backoff::Rotation;
use super::connection::{CLOSE_TIMEOUT, Connection, End};
use super::core::Command;
use super::error::SessionClosed;
use super::event::{ConnectionEvent, ConnectionState};
use super::farewell::farewell;
use super::handler::{Job, Worker};
use super::redact::without_credentials;
use super::shared::Shared;
use super::socket::{WebSocket, open};
use matssocket_wire::{CloseCode, shown};

pub(super) struct Driver {
    shared: Arc<Shared>,
    worker: Worker,
    rotation: Rotation,
}

/// The reason when the last handle is dropped.
const GONE: &str = "the client is gone";

/// Whether the task continues.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// Why an attempt did not lead to a connection.
enum Failure {
    /// Another attempt follows.
    Connect(String),
    /// The session ends like this.
    Final(SessionClosed),
}

impl From<Unauthorized> for Failure {
    fn from(error: Unauthorized) -> Failure {
        match error {
            Unauthorized::RefusedAgain(closed) => Failure::Final(closed),
            error => Failure::Connect(error.text()),
        }
    }
}

/// What a close code from the server means for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The session is gone.
    SessionGone,
    /// Another connection has the session: stay away until there is something to send.
    StayAway,
    /// The session is kept: reconnect.
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
        // 1001 from a server means that this connection was idle; the session is kept.
        Some(GoingAway | MessageTooBig | ServiceRestart | Reconnect) | None => Meaning::ComeBack,
    }
}

/// Whether a new session may replace one that the server has ended with this code, if the application wants that: the
/// server has lost it, or has failed. After a refusal (1008), a close on purpose (4000) or a protocol error (4004), the
/// outcome would be the same again.
fn may_reopen(code: u16) -> bool {
    [CloseCode::SessionLost, CloseCode::UnexpectedCondition]
        .iter()
        .any(|known| known.code() == code)
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
            for job in self.leftover_jobs() {
                self.worker.push(job);
            }
            let attempt = tokio::select! {
                biased;
                command = self.shared.next_command() => Err(command),
                attempt = self.attempt() => Ok(attempt),
            };
            let flow = match attempt {
                Err(command) => self.command(command).await,
                Ok(Err(Failure::Connect(error))) => self.connect_failed(error),
                Ok(Err(Failure::Final(closed))) => self.end_session(closed),
                Ok(Ok(ws)) => self.converse(ws).await,
            };
            if flow == Flow::Stop {
                return;
            }
        }
    }

    /// What was received before, and has had no handler so far.
    fn leftover_jobs(&self) -> Vec<Job> {
        self.shared.core().leftover_jobs()
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
                if !self.shared.core().keeping.is_durable() {
                    self.close_without_line(GONE.into()).await;
                }
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    /// Waits as long as earlier failures require, obtains an authorization if needed, and connects.
    async fn attempt(&self) -> Result<WebSocket, Failure> {
        sleep(self.rotation.wait()).await;
        let url = self.url();
        self.shared
            .event(ConnectionEvent::Connecting { url: url.clone() });
        if let Err(error) = authorize(&self.shared).await {
            if matches!(error, Unauthorized::Expired) {
                self.shared.event(ConnectionEvent::AuthorizationWanted);
            }
            return Err(error.into());
        }
        let opened = open(&self.shared.config, self.rotation.url()).await;
        let ws = opened.map_err(Failure::Connect)?;
        self.shared.event(ConnectionEvent::Connected { url });
        Ok(ws)
    }

    /// The current URL, without credentials.
    fn url(&self) -> String {
        without_credentials(self.rotation.url())
    }

    /// Reports that the attempt has failed and another follows. Returns the error without secrets.
    fn tell_failure(&self, error: &str) -> String {
        let (url, error) = (self.url(), self.shared.core().auth.hide(error));
        log::debug!("connecting to {url} failed: {}", shown(&error));
        let event = ConnectionEvent::ConnectFailed {
            url,
            error: error.clone(),
        };
        self.shared.event(event);
        error
    }

    fn connect_failed(&mut self, error: String) -> Flow {
        let error = self.tell_failure(&error);
        self.rotation.failed();
        if self
            .shared
            .config
            .max_connect_attempts
            .is_some_and(|most| self.rotation.failures() >= most)
        {
            let reason = format!("could not connect: {error}");
            self.end_session(SessionClosed { code: None, reason });
        }
        Flow::Continue
    }

    /// There is nothing left to try for this session.
    fn end_session(&mut self, closed: SessionClosed) -> Flow {
        self.rotation.reset();
        self.shared.close_session(closed);
        Flow::Continue
    }

    async fn converse(&mut self, ws: WebSocket) -> Flow {
        let (end, established) = Connection::new(&self.shared, &self.worker, ws).run().await;
        match end {
            End::Lost(reason) => self.lost(reason, established, false),
            End::Closed { code, reason } => self.closed_by_server(code, &reason, established),
            End::SessionClosed { reason, done } => {
                self.rotation.reset();
                self.close_session(Some(CloseCode::CloseSession.code()), reason);
                let _ = done.send(());
            }
            End::Disconnected(done) => self.disconnected("disconnect".into(), Some(done)),
            End::Shutdown => {
                if !self.shared.core().keeping.is_durable() {
                    self.close_session(Some(CloseCode::GoingAway.code()), GONE.into());
                }
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    fn closed_by_server(&mut self, code: u16, reason: &str, established: Option<Instant>) {
        let reason = self.shared.core().auth.hide(reason);
        match meaning(code) {
            Meaning::SessionGone => {
                let code = Some(code);
                self.session_gone(SessionClosed { code, reason }, established);
            }
            Meaning::StayAway => self.disconnected(reason, None),
            Meaning::ComeBack => {
                let restarts = code == CloseCode::ServiceRestart.code();
                let reason = format!("closed by the server with {code}: {reason}");
                self.lost(reason, established, restarts);
            }
        }
    }

    /// The server says that the session is gone. A new authorization may save it, or a new session may take its place.
    fn session_gone(&mut self, closed: SessionClosed, established: Option<Instant>) {
        let code = closed.code.unwrap_or_default();
        if established.is_none() && code == CloseCode::ViolatedPolicy.code() {
            // A refused HELLO leaves the session as it was.
            if self.shared.core().tries_again(&closed) {
                self.tell_failure(&format!("refused with {code}: {}", closed.reason));
                return;
            }
        }
        if !(self.shared.config.reopen_session && may_reopen(code)) {
            self.end_session(closed);
            return;
        }
        let has_session = self.shared.core().session_id.is_some();
        match established {
            Some(since) => self.rotation.lost(since.elapsed()),
            None if has_session => self.rotation.answered(),
            // Not even a new session was accepted.
            None => {
                self.connect_failed(closed.to_string());
                return;
            }
        }
        self.shared.replace_session(closed);
    }

    fn lost(&mut self, reason: String, established: Option<Instant>, restarts: bool) {
        match established {
            Some(since) => {
                match restarts {
                    true => self.rotation.sent_elsewhere(since.elapsed()),
                    false => self.rotation.lost(since.elapsed()),
                }
                let reason = self.shared.core().auth.hide(&reason);
                self.shared.set_state(ConnectionState::Connecting);
                self.shared.event(ConnectionEvent::Lost { reason });
            }
            // A connection that never got WELCOME is no better than one that did not open.
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

    /// Fails everything outstanding, and notifies the server if it can be reached.
    async fn close_without_line(&mut self, reason: String) {
        let session_id = self.shared.core().session_id.clone();
        self.close_session(Some(CloseCode::CloseSession.code()), reason.clone());
        if let Some(session_id) = session_id {
            let farewell = farewell(&self.shared, self.rotation.url(), session_id, &reason);
            match timeout(CLOSE_TIMEOUT, farewell).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let error = self.shared.core().auth.hide(&error);
                    let error = shown(&error);
                    log::info!(
                        "the server could not be notified that the session is closed: {error}"
                    );
                }
                Err(_) => {
                    log::info!(
                        "the server could not be notified that the session is closed: no answer"
                    )
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
        for code in [1000, 1001, 1006, 1009, 1012, 4002, 4999] {
            assert_eq!(meaning(code), Meaning::ComeBack, "{code}");
        }
        assert_eq!(meaning(4003), Meaning::StayAway);
    }

    #[test]
    fn only_what_the_server_has_lost_is_opened_again() {
        for code in CloseCode::ALL {
            let code = code.code();
            assert_eq!(may_reopen(code), [1011, 4001].contains(&code), "{code}");
        }
    }
}
