//! One topic: many subscribe, one publishes.

use std::sync::PoisonError;
use std::time::Instant;

use super::{Said, Talk, talk};
use crate::mix::Kind;
use crate::pace;
use crate::pipeline::{Envelope, parse};
use crate::session::Session;
use crate::stage::Stage;
use crate::tally::Fault;

pub async fn play(stage: &Stage, number: usize, rate: f64) -> Option<Session> {
    let mut session = stage.open_session(number).await?;
    if number == stage.args().sessions {
        return Some(publish(stage, number, session, rate).await);
    }
    stage
        .open(subscribe(&mut session, &stage.shared.topic))
        .await?;
    let begun = stage.ready().await;
    let mut subscriber = Subscriber {
        stage,
        begun,
        rate,
        received: 0,
        said: Said::default(),
    };
    talk(stage, &mut session, &mut subscriber, None, begun).await;
    Some(session)
}

async fn subscribe(session: &mut Session, topic: &str) -> Result<(), String> {
    let sub = format_args!(r#"{{"t":"SUB","eid":"{topic}"}}"#);
    session.out.envelope(sub);
    session.flush().await?;
    let text = session.next().await?;
    match &parse(&text)?[..] {
        [answer] if answer.t == "SUB_OK" => Ok(()),
        _ => Err(format!("{text:?} instead of SUB_OK")),
    }
}

struct Subscriber<'a> {
    stage: &'a Stage,
    begun: Instant,
    rate: f64,
    received: usize,
    said: Said,
}

impl Subscriber<'_> {
    /// All subscribers must get the same publications in the same order, which is that of the fastest one.
    fn check(&mut self, number: u64) -> Result<(), Fault> {
        let mut order = (self.stage.shared.order.lock()).unwrap_or_else(PoisonError::into_inner);
        let place = self.received;
        self.received += 1;
        match order.get(place) {
            None => order.push(number),
            Some(expected) if *expected == number => {}
            Some(_) if order[..place].contains(&number) => return Err(Fault::Doubled),
            Some(_) => return Err(Fault::Reordered),
        }
        Ok(())
    }
}

impl Talk for Subscriber<'_> {
    fn take(&mut self, _: &mut Session, envelope: &Envelope<'_>, now: Instant) {
        let number = envelope
            .tid
            .and_then(|tid| tid.strip_prefix("publication-"));
        let (Some(number), "PUB") = (number.and_then(|it| it.parse().ok()), envelope.t) else {
            return;
        };
        match self.check(number) {
            Ok(()) => self
                .stage
                .done(pace::due(self.begun, number, self.rate), now),
            Err(fault) => self.stage.fault(fault, || {
                format!("publication {number} was not the next for one of its subscribers")
            }),
        }
    }

    fn said(&mut self) -> &mut Said {
        &mut self.said
    }

    fn missing(&self) -> u64 {
        pace::total(self.stage.args().time, self.rate).saturating_sub(self.received as u64)
    }
}

struct Publisher<'a> {
    stage: &'a Stage,
    begun: Instant,
    rate: f64,
    said: Said,
}

async fn publish(stage: &Stage, number: usize, mut session: Session, rate: f64) -> Session {
    let due = stage.due(number);
    let begun = stage.ready().await;
    let mut publisher = Publisher {
        stage,
        begun,
        rate,
        said: Said::default(),
    };
    talk(stage, &mut session, &mut publisher, Some(due), begun).await;
    session
}

/// The endpoint that publishes; its payload is the topic's name.
const PUBLISH: &str = "Test.publish";

impl Publisher<'_> {
    fn topic(&self) -> String {
        format!("\"{}\"", self.stage.shared.topic)
    }
}

impl Talk for Publisher<'_> {
    fn due(&mut self, session: &mut Session, number: u64) {
        let tid = format_args!("publication-{number}");
        let cmid = session.say("SEND", PUBLISH, tid, &self.topic());
        let since = pace::due(self.begun, number, self.rate);
        self.said.add(cmid, since, Kind::Pushes, number);
    }

    fn take(&mut self, session: &mut Session, envelope: &Envelope<'_>, now: Instant) {
        self.said
            .hear(self.stage, session, envelope, now, Said::forget);
    }

    fn say_again(&mut self, session: &mut Session, cmid: u64) {
        if let Some(message) = self.said.messages.get(&cmid) {
            let tid = format_args!("publication-{}", message.number);
            session.say_again("SEND", cmid, PUBLISH, tid, &self.topic());
        }
    }

    fn said(&mut self) -> &mut Said {
        &mut self.said
    }

    fn missing(&self) -> u64 {
        self.said.messages.len() as u64
    }
}
