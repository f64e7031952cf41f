//! Orders of messages from the server, which the client acknowledges.

use std::collections::HashMap;
use std::time::Instant;

use serde::Deserialize;

use crate::args::Via;
use crate::pipeline::Envelope;
use crate::tally::Fault;

/// The incomplete orders of one session, by number, which is in the trace id.
pub struct Orders {
    /// Messages per order.
    pub count: u32,
    pub endpoint: &'static str,
    pub payload: String,
    orders: HashMap<u64, Order>,
    last: u64,
}

struct Order {
    since: Instant,
    /// The number of the next message.
    next: u32,
}

#[derive(Deserialize)]
struct Numbered {
    number: f64,
}

impl Orders {
    pub fn new(via: Via, size: usize) -> Orders {
        let (count, endpoint, payload) = match via {
            Via::Burst(count) => (
                count,
                "Bench.burst",
                format!(r#"{{"count":{count},"size":{size}}}"#),
            ),
            Via::Thread => (
                1,
                "Test.server.send.thread",
                format!(r#"{{"number":0,"string":"{}"}}"#, "x".repeat(size)),
            ),
        };
        Orders {
            count,
            endpoint,
            payload,
            orders: HashMap::new(),
            last: 0,
        }
    }

    /// Adds an order made at this time. Returns its number.
    pub fn add(&mut self, since: Instant) -> u64 {
        self.last += 1;
        self.orders.insert(self.last, Order { since, next: 0 });
        self.last
    }

    /// Removes a refused order, for which nothing will arrive.
    pub fn remove(&mut self, number: u64) {
        self.orders.remove(&number);
    }

    pub fn under_way(&self) -> usize {
        self.orders.len()
    }

    /// Messages that have not arrived.
    pub fn missing(&self) -> u64 {
        let missing = |order: &Order| u64::from(self.count - order.next);
        self.orders.values().map(missing).sum()
    }

    /// Processes an ordered message. Returns when it was ordered.
    pub fn received(&mut self, envelope: &Envelope<'_>) -> Result<Instant, Fault> {
        let number = envelope.tid.and_then(order_of).unwrap_or_default();
        let order = self.orders.get_mut(&number).ok_or(Fault::Doubled)?;
        let msg = envelope.msg.map_or("", |msg| msg.get());
        let numbered: Numbered = serde_json::from_str(msg).map_err(|_| Fault::Broken)?;
        let (since, expected) = (order.since, f64::from(order.next));
        order.next += 1;
        if order.next == self.count {
            self.orders.remove(&number);
        }
        match numbered.number {
            number if number == expected => Ok(since),
            number if number < expected => Err(Fault::Doubled),
            _ => Err(Fault::Reordered),
        }
    }
}

/// The number of an order by its trace id, to which the server may have added something.
fn order_of(tid: &str) -> Option<u64> {
    let tid = tid.strip_prefix("order-")?;
    tid.split(':').next()?.parse().ok()
}
