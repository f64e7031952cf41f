//! What one session does in each scenario.

mod echo;
mod fanout;
mod idle;
mod mixed;
mod orders;
pub mod storm;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep_until, timeout_at};

use crate::args::Scenario;
use crate::mix::{ByKind, Kind};
use crate::pipeline::{Envelope, parse};
use crate::session::Session;
use crate::stage::Stage;
use crate::tally::Fault;

/// How long after a RETRY a message is sent again.
const BACK_OFF: Duration = Duration::from_millis(500);

/// Runs this session's part. What it returns must be closed.
pub async fn play(stage: &Stage, number: usize) -> Option<Session> {
    match &stage.args().scenario {
        Scenario::Requests(load) | Scenario::Pushes(load) | Scenario::Sustained(load, _) => {
            mixed::play(stage, number, load).await
        }
        Scenario::Fanout { rate } => fanout::play(stage, number, *rate).await,
        Scenario::Idle { settle, ping } => idle::play(stage, number, *settle, *ping).await,
        Scenario::Storm {
            backlog,
            size,
            kill,
        } => storm::play(stage, number, *backlog, *size, kill.is_some()).await,
        Scenario::Echo { in_flight, size } => {
            echo::play(stage, number, *in_flight, *size).await;
            None
        }
    }
}

/// What a session sends, and how it processes what it receives.
trait Talk {
    /// Sends what may be sent now.
    fn top_up(&mut self, _: &mut Session, _now: Instant) {}

    /// Sends the message that is due.
    fn due(&mut self, _: &mut Session, _number: u64) {}

    /// Processes an envelope from the server.
    fn take(&mut self, session: &mut Session, envelope: &Envelope<'_>, now: Instant);

    /// Sends again what the server answered with RETRY.
    fn say_again(&mut self, _: &mut Session, _cmid: u64) {}

    /// The messages that were sent and are not settled.
    fn said(&mut self) -> &mut Said;

    /// How many messages are still missing. 0: it is over if nothing more becomes due.
    fn missing(&self) -> u64;
}

/// Runs until it is over. Messages still missing then are lost.
async fn talk(
    stage: &Stage,
    session: &mut Session,
    talk: &mut impl Talk,
    due: Option<UnboundedReceiver<u64>>,
    begun: Instant,
) {
    let give_up = stage.give_up(begun).into();
    match timeout_at(give_up, converse(session, talk, due)).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(why)) => stage.fault(Fault::Broken, || why),
    }
    let missing = talk.missing();
    stage.faults(Fault::Lost, missing, || {
        format!("{missing} messages of one session did not come")
    });
}

async fn converse(
    session: &mut Session,
    talk: &mut impl Talk,
    mut due: Option<UnboundedReceiver<u64>>,
) -> Result<(), String> {
    loop {
        let now = Instant::now();
        while let Some(cmid) = talk.said().next_again(now) {
            talk.say_again(session, cmid);
        }
        talk.top_up(session, now);
        session.flush().await?;
        if due.is_none() && talk.missing() == 0 {
            return Ok(());
        }
        let again = talk.said().again.front().map(|(at, _)| *at);
        tokio::select! {
            biased;
            number = next_due(&mut due), if due.is_some() => match number {
                Some(number) => {
                    talk.due(session, number);
                    while let Some(Ok(number)) = due.as_mut().map(UnboundedReceiver::try_recv) {
                        talk.due(session, number);
                    }
                }
                None => due = None,
            },
            text = session.next() => {
                let text = text?;
                let now = Instant::now();
                for envelope in parse(&text)? {
                    talk.take(session, &envelope, now);
                }
            }
            () = sleep_until(again.unwrap_or(now).into()), if again.is_some() => {}
        }
    }
}

async fn next_due(due: &mut Option<UnboundedReceiver<u64>>) -> Option<u64> {
    due.as_mut()?.recv().await
}

/// An outgoing message: when it was sent or due, its kind, and its number.
#[derive(Clone, Copy)]
struct Message {
    since: Instant,
    kind: Kind,
    number: u64,
    /// It was acknowledged, and its reply is still awaited.
    acked: bool,
}

/// Outgoing messages, by cmid, that are not settled.
#[derive(Default)]
struct Said {
    messages: HashMap<u64, Message>,
    /// Which message is to be sent again, and when.
    again: VecDeque<(Instant, u64)>,
    under_way: ByKind<usize>,
}

impl Said {
    fn add(&mut self, cmid: u64, since: Instant, kind: Kind, number: u64) {
        let message = Message {
            since,
            kind,
            number,
            acked: false,
        };
        self.messages.insert(cmid, message);
        self.under_way[kind as usize] += 1;
    }

    fn get(&self, cmid: &str) -> Option<Message> {
        self.messages.get(&cmid.parse().ok()?).copied()
    }

    fn remove(&mut self, cmid: u64) -> Option<Message> {
        let message = self.messages.remove(&cmid)?;
        self.under_way[message.kind as usize] -= 1;
        Some(message)
    }

    /// Removes a message that is settled by its ACK.
    fn forget(&mut self, cmid: u64) {
        self.remove(cmid);
    }

    /// Those of this kind that are not settled.
    fn under_way(&self, kind: Kind) -> usize {
        self.under_way[kind as usize]
    }

    fn next_again(&mut self, now: Instant) -> Option<u64> {
        let (at, cmid) = *self.again.front()?;
        (at <= now).then(|| self.again.pop_front())?;
        Some(cmid)
    }

    /// The message that this envelope settles, which is acknowledged. `None`: nothing was sent with that cmid, or it
    /// was already settled.
    fn settle(&mut self, session: &mut Session, envelope: &Envelope<'_>) -> Option<Message> {
        if let Some(smid) = envelope.smid {
            session.out.ack(smid);
        }
        let cmid = envelope.cmid?;
        let message = self.remove(cmid.parse().ok()?)?;
        if !message.acked {
            session.out.ack2(cmid);
        }
        Some(message)
    }

    /// Processes envelopes about our messages other than replies. Acknowledged messages are passed to `acked`.
    fn hear(
        &mut self,
        stage: &Stage,
        session: &mut Session,
        envelope: &Envelope<'_>,
        now: Instant,
        mut acked: impl FnMut(&mut Self, u64),
    ) {
        match envelope.t {
            "ACK" => {
                for cmid in envelope.cmids() {
                    session.out.ack2(cmid);
                    if let Ok(cmid) = cmid.parse() {
                        acked(self, cmid);
                    }
                }
            }
            "NACK" | "REJECT" => {
                for cmid in envelope.cmids() {
                    session.out.ack2(cmid);
                    if let Ok(cmid) = cmid.parse() {
                        self.forget(cmid);
                    }
                    stage.fault(Fault::Refused, || {
                        format!("{} {}", envelope.t, envelope.description())
                    });
                }
                if let Some(smid) = envelope.smid {
                    session.out.ack(smid);
                }
            }
            "RETRY" => {
                for cmid in envelope.cmids().filter_map(|cmid| cmid.parse().ok()) {
                    self.again.push_back((now + BACK_OFF, cmid));
                    stage.tally.borrow_mut().retried += 1;
                }
            }
            "ACK2" | "PONG" | "WELCOME" => {}
            other => stage.fault(Fault::Broken, || format!("unexpected: {other}")),
        }
    }
}
