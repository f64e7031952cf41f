//! REQUEST, RESOLVE, ACK2.

use std::time::Instant;

use super::{Said, Talk, talk};
use crate::args::Pace;
use crate::pace;
use crate::pipeline::Envelope;
use crate::session::Session;
use crate::stage::Stage;
use crate::tally::Fault;

struct Requests<'a> {
    stage: &'a Stage,
    endpoint: &'a str,
    payload: String,
    pace: Pace,
    begun: Instant,
    said: Said,
}

pub async fn play(
    stage: &Stage,
    number: usize,
    endpoint: &str,
    size: usize,
    pace: Pace,
) -> Option<Session> {
    let mut session = stage.open_session(number).await?;
    let due = matches!(pace, Pace::Open { .. }).then(|| stage.due(number));
    let begun = stage.ready().await;
    // What the pings know, and what the others do.
    let name = match endpoint.ends_with("Ping") {
        true => "payload",
        false => "string",
    };
    let payload = format!(r#"{{"{name}":"{}","number":1}}"#, "x".repeat(size));
    let mut requests = Requests {
        stage,
        endpoint,
        payload,
        pace,
        begun,
        said: Said::default(),
    };
    talk(stage, &mut session, &mut requests, due, begun).await;
    Some(session)
}

impl Requests<'_> {
    fn request(&mut self, session: &mut Session, since: Instant) {
        let cmid = session.say("REQUEST", self.endpoint, "load", &self.payload);
        self.said.add(cmid, since, 0);
    }
}

impl Talk for Requests<'_> {
    fn top_up(&mut self, session: &mut Session, now: Instant) {
        let Pace::Closed { in_flight } = self.pace else {
            return;
        };
        while self.said.messages.len() < in_flight && now < self.begun + self.stage.args().time {
            self.request(session, now);
        }
    }

    fn due(&mut self, session: &mut Session, number: u64) {
        if let Pace::Open { rate } = self.pace {
            self.request(session, pace::due(self.begun, number, rate));
        }
    }

    fn take(&mut self, session: &mut Session, envelope: &Envelope<'_>, now: Instant) {
        if envelope.t == "RESOLVE" {
            match self.said.settle(session, envelope) {
                Some(message) => self.stage.done(message.since, now),
                None => self.stage.fault(Fault::Doubled, || {
                    format!("a second reply to the message {:?}", envelope.cmid)
                }),
            }
            return;
        }
        let stage = self.stage;
        self.said.hear(stage, session, envelope, now, |said, cmid| {
            // The reply is still to come.
            if let Some(message) = said.messages.get_mut(&cmid) {
                message.acked = true;
            }
        });
    }

    fn say_again(&mut self, session: &mut Session, cmid: u64) {
        session.say_again("REQUEST", cmid, self.endpoint, "load", &self.payload);
    }

    fn said(&mut self) -> &mut Said {
        &mut self.said
    }

    fn missing(&self) -> u64 {
        self.said.messages.len() as u64
    }
}
