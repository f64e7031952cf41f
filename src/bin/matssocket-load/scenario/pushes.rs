//! Messages from the server, acknowledged by the client.

use std::collections::HashMap;
use std::time::Instant;

use serde::Deserialize;

use super::{Said, Talk, talk};
use crate::args::Via;
use crate::pipeline::Envelope;
use crate::session::Session;
use crate::stage::Stage;
use crate::tally::Fault;

struct Pushes<'a> {
    stage: &'a Stage,
    via: Via,
    in_flight: usize,
    payload: String,
    begun: Instant,
    said: Said,
    /// By number; the trace id has it.
    orders: HashMap<u64, Order>,
    last_order: u64,
    /// Messages acknowledged whose ACK2 has not come.
    acked: u64,
}

/// What was ordered, and has not come whole.
struct Order {
    since: Instant,
    /// The number of the next message.
    next: u32,
    count: u32,
}

#[derive(Deserialize)]
struct Numbered {
    number: f64,
}

pub async fn play(
    stage: &Stage,
    number: usize,
    via: Via,
    in_flight: usize,
    size: usize,
) -> Option<Session> {
    let mut session = stage.open_session(number).await?;
    let begun = stage.ready().await;
    let mut pushes = Pushes {
        stage,
        via,
        in_flight,
        payload: match via {
            Via::Burst(count) => format!(r#"{{"count":{count},"size":{size}}}"#),
            Via::Thread => format!(r#"{{"number":0,"string":"{}"}}"#, "x".repeat(size)),
        },
        begun,
        said: Said::default(),
        orders: HashMap::new(),
        last_order: 0,
        acked: 0,
    };
    talk(stage, &mut session, &mut pushes, None, begun).await;
    Some(session)
}

/// The number of an order by its trace id, to which the server may have added something.
fn order_of(tid: &str) -> Option<u64> {
    let tid = tid.strip_prefix("order-")?;
    tid.split(':').next()?.parse().ok()
}

impl Pushes<'_> {
    fn endpoint(&self) -> &'static str {
        match self.via {
            Via::Burst(_) => "Bench.burst",
            Via::Thread => "Test.server.send.thread",
        }
    }

    fn received(&mut self, envelope: &Envelope<'_>, now: Instant) -> Result<Instant, Fault> {
        let number = envelope.tid.and_then(order_of).unwrap_or_default();
        let order = self.orders.get_mut(&number).ok_or(Fault::Doubled)?;
        let msg = envelope.msg.map_or("", |msg| msg.get());
        let numbered: Numbered = serde_json::from_str(msg).map_err(|_| Fault::Broken)?;
        let (since, expected) = (order.since, f64::from(order.next));
        order.next += 1;
        if order.next == order.count {
            self.orders.remove(&number);
        }
        match numbered.number {
            number if number == expected => Ok(since),
            number if number < expected => Err(Fault::Doubled),
            _ => Err(Fault::Reordered),
        }
        .inspect(|since| self.stage.done(*since, now))
    }
}

impl Talk for Pushes<'_> {
    fn top_up(&mut self, session: &mut Session, now: Instant) {
        while self.orders.len() < self.in_flight && now < self.begun + self.stage.args().time {
            self.last_order += 1;
            let number = self.last_order;
            let tid = format_args!("order-{number}");
            let cmid = session.say("SEND", self.endpoint(), tid, &self.payload);
            self.said.add(cmid, now, number);
            let count = match self.via {
                Via::Burst(count) => count,
                Via::Thread => 1,
            };
            let order = Order {
                since: now,
                next: 0,
                count,
            };
            self.orders.insert(number, order);
        }
    }

    fn take(&mut self, session: &mut Session, envelope: &Envelope<'_>, now: Instant) {
        match (envelope.t, envelope.smid) {
            ("SEND", Some(smid)) => {
                session.out.ack(smid);
                self.acked += 1;
                if let Err(fault) = self.received(envelope, now) {
                    self.stage.fault(fault, || format!("{envelope:?}"));
                }
            }
            ("ACK2", smid) => {
                let ids = envelope.ids.as_ref().map_or(0, Vec::len) + usize::from(smid.is_some());
                self.acked = self.acked.saturating_sub(ids as u64);
            }
            ("NACK", _) => {
                for cmid in envelope.cmids().filter_map(|cmid| cmid.parse().ok()) {
                    let order = self.said.messages.get(&cmid).map(|message| message.number);
                    order.and_then(|order| self.orders.remove(&order));
                }
                self.hear(session, envelope, now);
            }
            _ => self.hear(session, envelope, now),
        }
    }

    fn say_again(&mut self, session: &mut Session, cmid: u64) {
        if let Some(message) = self.said.messages.get(&cmid) {
            let tid = format_args!("order-{}", message.number);
            session.say_again("SEND", cmid, self.endpoint(), tid, &self.payload);
        }
    }

    fn said(&mut self) -> &mut Said {
        &mut self.said
    }

    fn missing(&self) -> u64 {
        let missing = |order: &Order| u64::from(order.count - order.next);
        // One that was acknowledged without an answer is not known to be safe.
        self.acked + self.orders.values().map(missing).sum::<u64>()
    }
}

impl Pushes<'_> {
    fn hear(&mut self, session: &mut Session, envelope: &Envelope<'_>, now: Instant) {
        self.said
            .hear(self.stage, session, envelope, now, Said::forget);
    }
}
