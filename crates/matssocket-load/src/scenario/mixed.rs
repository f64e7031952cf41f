//! Requests, and messages ordered from the server: of one kind, or of several.

use std::time::Instant;

use tokio::sync::mpsc::UnboundedReceiver;

use super::orders::Orders;
use super::{Message, Said, Talk, talk};
use crate::args::{Load, Pace};
use crate::mix::{ByKind, Kind};
use crate::pace;
use crate::pipeline::Envelope;
use crate::session::Session;
use crate::stage::Stage;
use crate::tally::Fault;

struct Mixed<'a> {
    stage: &'a Stage,
    load: &'a Load,
    begun: Instant,
    /// Messages asked for so far.
    asked: ByKind<u64>,
    request: String,
    forward: String,
    orders: Orders,
    said: Said,
    /// Server messages that were acknowledged, and whose ACK2 has not arrived.
    acked: u64,
}

pub async fn play(stage: &Stage, number: usize, load: &Load) -> Option<Session> {
    let mut session = stage.open_session(number).await?;
    let due: Option<UnboundedReceiver<u64>> =
        matches!(load.pace, Pace::Open { .. }).then(|| stage.due(number));
    let begun = stage.ready().await;
    let mut mixed = Mixed {
        stage,
        load,
        begun,
        asked: ByKind::default(),
        request: payload(&load.endpoint, load.size),
        forward: payload(FORWARDING, load.size),
        orders: Orders::new(load.via, load.size),
        said: Said::default(),
        acked: 0,
    };
    talk(stage, &mut session, &mut mixed, due, begun).await;
    Some(session)
}

/// It forwards to a service, which answers at once.
const FORWARDING: &str = "Test.single";

/// The payload: pings have a form of their own.
fn payload(endpoint: &str, size: usize) -> String {
    let name = match endpoint.ends_with("Ping") {
        true => "payload",
        false => "string",
    };
    format!(r#"{{"{name}":"{}","number":1}}"#, "x".repeat(size))
}

impl Mixed<'_> {
    /// Sends the next message, of whatever kind.
    fn say(&mut self, session: &mut Session, since: Instant) {
        let after = since.saturating_duration_since(self.begun);
        let kind = self.load.mix.next(after, &self.asked);
        let number = match kind {
            Kind::Pushes => self.orders.add(since),
            Kind::Requests | Kind::Forwards => 0,
        };
        let cmid = session.next_cmid();
        self.said.add(cmid, since, kind, number);
        self.say_again(session, cmid);
        self.asked[kind as usize] += match kind {
            Kind::Pushes => u64::from(self.orders.count),
            Kind::Requests | Kind::Forwards => 1,
        };
    }

    /// Requests without a reply so far.
    fn requests(&self) -> usize {
        self.said.under_way(Kind::Requests) + self.said.under_way(Kind::Forwards)
    }

    /// Processes what is neither a reply nor an ordered message.
    fn hear(&mut self, session: &mut Session, envelope: &Envelope<'_>, now: Instant) {
        if envelope.t == "NACK" {
            for message in envelope.cmids().filter_map(|cmid| self.said.get(cmid)) {
                self.orders.remove(message.number);
            }
        }
        let stage = self.stage;
        self.said.hear(stage, session, envelope, now, |said, cmid| {
            match said.messages.get_mut(&cmid) {
                Some(message) if message.kind == Kind::Pushes => said.forget(cmid),
                // The reply is still awaited.
                Some(message) => message.acked = true,
                None => {}
            }
        });
    }
}

impl Talk for Mixed<'_> {
    fn top_up(&mut self, session: &mut Session, now: Instant) {
        let Pace::Closed { in_flight } = self.load.pace else {
            return;
        };
        while self.requests() + self.orders.under_way() < in_flight
            && now < self.begun + self.stage.args().time
        {
            self.say(session, now);
        }
    }

    fn due(&mut self, session: &mut Session, number: u64) {
        if let Pace::Open { rate } = self.load.pace {
            self.say(session, pace::due(self.begun, number, rate));
        }
    }

    fn take(&mut self, session: &mut Session, envelope: &Envelope<'_>, now: Instant) {
        match (envelope.t, envelope.smid) {
            ("ACK2", smid) => {
                let ids = envelope.ids.as_ref().map_or(0, Vec::len) + usize::from(smid.is_some());
                self.acked = self.acked.saturating_sub(ids as u64);
                return;
            }
            (_, Some(_)) => self.acked += 1,
            (_, None) => {}
        }
        match (envelope.t, envelope.smid) {
            ("RESOLVE", _) => match self.said.settle(session, envelope) {
                Some(Message { kind, since, .. }) => self.stage.done_of(kind, since, now),
                None => self.stage.fault(Fault::Doubled, || {
                    format!("a second reply to the message {:?}", envelope.cmid)
                }),
            },
            ("SEND", Some(smid)) => {
                session.out.ack(smid);
                match self.orders.received(envelope) {
                    Ok(since) => self.stage.done_of(Kind::Pushes, since, now),
                    Err(fault) => self.stage.fault(fault, || format!("{envelope:?}")),
                }
            }
            _ => self.hear(session, envelope, now),
        }
    }

    fn say_again(&mut self, session: &mut Session, cmid: u64) {
        let Some(Message { kind, number, .. }) = self.said.messages.get(&cmid) else {
            return;
        };
        match kind {
            Kind::Requests => {
                session.say_again("REQUEST", cmid, &self.load.endpoint, "load", &self.request);
            }
            Kind::Forwards => {
                session.say_again("REQUEST", cmid, FORWARDING, "load", &self.forward);
            }
            Kind::Pushes => {
                let (endpoint, payload) = (self.orders.endpoint, &self.orders.payload);
                let tid = format_args!("order-{number}");
                session.say_again("SEND", cmid, endpoint, tid, payload);
            }
        }
    }

    fn said(&mut self) -> &mut Said {
        &mut self.said
    }

    fn missing(&self) -> u64 {
        // An acknowledgement without an answer is not known to have arrived.
        self.requests() as u64 + self.orders.missing() + self.acked
    }
}
