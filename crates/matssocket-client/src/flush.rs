//! Waits until nothing is outstanding.

use tokio::sync::oneshot;

use super::Client;
use super::core::Core;
use super::error::SessionClosed;
use super::request::task_gone;

type Done = oneshot::Sender<Result<(), SessionClosed>>;

/// A waiting caller. First it waits for the messages, then for the acknowledgements, since the server's answer to a
/// message requires an ACK2.
struct Flush {
    /// The last message that this waits for.
    through: u64,
    /// The round of acknowledgements that this waits for, once the messages are done.
    round: Option<u64>,
    done: Done,
}

/// All waiting callers.
#[derive(Default)]
pub(super) struct Flushes(Vec<Flush>);

impl Flushes {
    /// The session is gone.
    pub(super) fn fail(&mut self, closed: &SessionClosed) {
        for flush in self.0.drain(..) {
            let _ = flush.done.send(Err(closed.clone()));
        }
    }
}

impl Core {
    /// Signals `done` when everything that is outstanding now is done.
    pub(super) fn flush(&mut self, done: Done) {
        if let Some(closed) = &self.closed {
            let _ = done.send(Err(closed.clone()));
            return;
        }
        self.flushes.0.push(Flush {
            through: self.last_cmid(),
            round: None,
            done,
        });
        self.settle_flushes();
        // A pending flush is a reason to connect.
        self.wanted |= !self.flushes.0.is_empty();
    }

    /// Something is done: notifies those who have waited for it.
    pub(super) fn settle_flushes(&mut self) {
        if self.flushes.0.is_empty() {
            return;
        }
        let (oldest, acks) = (self.outbox.oldest(), &self.acks);
        for mut flush in std::mem::take(&mut self.flushes.0) {
            let through = oldest.is_none_or(|oldest| oldest > flush.through);
            if through && *flush.round.get_or_insert(acks.last_round()) <= acks.rounds_out() {
                let _ = flush.done.send(Ok(()));
            } else if !flush.done.is_closed() {
                self.flushes.0.push(flush);
            }
        }
    }
}

impl Client {
    /// Waits until everything sent before this call is done: the server has acknowledged each message, request and
    /// reply to its requests, and our own acknowledgements have been passed to the network. Returns at once if there is
    /// nothing to wait for.
    ///
    /// It waits through reconnects, for as long as it takes: wrap it in [`tokio::time::timeout`] to limit the wait. A
    /// disconnected client connects again if something is outstanding; one that is disconnected during the wait, by the
    /// server or the application, does not reconnect by itself. What is sent after the call does not prolong the wait.
    ///
    /// It does not wait for the *answers* to requests, nor for handlers that are still running. A message that was
    /// refused or given up also counts as done: to learn the result of a message, await what [`send`](Client::send)
    /// returned.
    ///
    /// ```no_run
    /// # async fn example(client: matssocket_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// for n in 0..1_000 {
    ///     // No need to wait for each of them …
    ///     drop(client.send(format!("reading-{n}"), "Meter.reading", &n));
    /// }
    /// // … but they are all with the server before this program ends.
    /// tokio::time::timeout(Duration::from_secs(30), client.flush()).await??;
    /// client.close("done").await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The session is closed, or ends first. What was outstanding may or may not have been handled.
    pub async fn flush(&self) -> Result<(), SessionClosed> {
        let (done, flushed) = oneshot::channel();
        self.shared().core().flush(done);
        self.shared().wake.notify_one();
        flushed.await.unwrap_or_else(|_| Err(task_gone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::builder::ClientBuilder;
    use matssocket_wire::parse_pipeline;

    #[test]
    fn acknowledgements_are_out_when_they_are_written() {
        let config = ClientBuilder::new("App".into(), "1.0".into()).config;
        let mut core = Core::new(Arc::new(config));
        let welcome = r#"[{"t":"WELCOME","sid":"S1"},{"t":"SEND","smid":"s1","eid":"E"}]"#;
        let now = Instant::now();
        core.receive(parse_pipeline(welcome).unwrap(), now);
        let (done, mut flushed) = oneshot::channel();
        core.flush(done);
        assert!(flushed.try_recv().is_err(), "it waits to be sent");
        let later = now + core.config.ack_delay;
        let nack = core.take_pipeline(later, None, false).unwrap();
        assert!(nack.contains("NACK"), "{nack}");
        core.settle_flushes();
        assert!(flushed.try_recv().is_err(), "it is not written");
        core.written();
        assert_eq!(flushed.try_recv(), Ok(Ok(())));
    }
}
