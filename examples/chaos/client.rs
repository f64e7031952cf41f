//! A client as clients are: an outbox, an inbox, and no trust in any line.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use matssocket::wire::{Envelope, IdOf, MessageType, PingId, acknowledge};
use serde_json::value::to_raw_value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::data::{Answer, Ask, Mail, endpoint, terminator, user};
use crate::history::{Came, End, History, Kind, Promise, Received, Sent, View, count};
use crate::line::{Heard, Line};

/// What all clients share.
pub struct Crowd {
    pub history: History,
    pub ports: Vec<u16>,
    /// Whether anything new is asked for.
    pub load: Cell<bool>,
    /// Mean time between a reply and the next request of the same kind.
    pub think: Duration,
    /// Clients with an odd number wait for a silent node as long as it takes; their lines must be closed in good order.
    pub patient: bool,
    /// Set while nodes are stopped on purpose.
    pub watch_old_lines: bool,
}

/// Each kind of request goes one after the other.
const LANES: [Kind; 4] = [Kind::Effect, Kind::Note, Kind::Relay, Kind::Work];
const PING: Duration = Duration::from_secs(1);
/// A line on which nothing has come for so long is given up.
const SILENCE: Duration = Duration::from_secs(3);
const WELCOME: Duration = Duration::from_secs(5);
/// Wait before the first attempt to reconnect, at most, and before any.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A message of the client that was not acknowledged yet.
struct Outgoing {
    envelope: Envelope,
    /// When it goes again, after RETRY.
    again_at: Option<Instant>,
    retries: u32,
}

pub struct Client {
    number: usize,
    crowd: Rc<Crowd>,
    next_cmid: u64,
    outbox: BTreeMap<u64, Outgoing>,
    /// Messages of the server that were processed, until ACK2.
    inbox: HashSet<String>,
    /// Those whose ACK2 has come: they must not come again.
    forgotten: HashSet<String>,
    /// The next request of each lane; `None`: one is under way.
    lanes: [Option<Instant>; LANES.len()],
    /// What goes out next.
    say: Vec<Envelope>,
}

/// What old lines are told: the session has moved.
type Moved = Rc<Cell<bool>>;

impl Client {
    pub fn new(number: usize, crowd: Rc<Crowd>) -> Client {
        let now = Instant::now();
        let starts = |_| Some(now + crowd.think.mul_f64(rand::random::<f64>()));
        Client {
            number,
            lanes: std::array::from_fn(starts),
            crowd,
            next_cmid: 0,
            outbox: BTreeMap::new(),
            inbox: HashSet::new(),
            forgotten: HashSet::new(),
            say: Vec::new(),
        }
    }

    fn view(&self) -> std::cell::RefMut<'_, View> {
        self.crowd.history.views[self.number].borrow_mut()
    }

    fn violated(&self, promise: Promise, what: String) {
        let what = format!("client {}: {what}", self.number);
        self.crowd.history.violated(promise, what);
    }

    /// Connects again and again, for ever.
    pub async fn run(mut self) {
        let mut wait = Duration::ZERO;
        let mut moved: Vec<Moved> = Vec::new();
        loop {
            sleep(wait.mul_f64(rand::random())).await;
            let node = rand::random_range(0..self.crowd.ports.len());
            let line = Line::open(self.crowd.ports[node]).await;
            let welcomed = match line {
                Some(line) => self.enter(line).await,
                None => None,
            };
            let Some(line) = welcomed else {
                wait = (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                continue;
            };
            moved.drain(..).for_each(|line| line.set(true));
            moved.extend(self.live(line, node).await);
            wait = FIRST_WAIT;
        }
    }

    /// Says HELLO, and waits for WELCOME.
    async fn enter(&mut self, mut line: Line) -> Option<Line> {
        let text = |text: &str| Some(text.to_owned());
        let hello = Envelope {
            clv: text("chaos/1"),
            an: text("chaos"),
            av: text("1"),
            tid: text("hello"),
            auth: Some(user(self.number)),
            sid: self.view().session.clone(),
            ..Envelope::new(MessageType::HELLO)
        };
        if !line.say(&[hello]).await {
            return None;
        }
        let welcome = async {
            loop {
                match line.hear().await {
                    Heard::Pipeline(mut pipeline) => {
                        let first = pipeline.remove(0);
                        // Whatever comes with it comes again: nothing of it has been acknowledged.
                        return (first.t == MessageType::WELCOME).then_some((first.sid, pipeline));
                    }
                    Heard::Nothing => {}
                    Heard::Garbage(what) => self.violated(Promise::Heals, what),
                    Heard::End(end, why) => {
                        self.check_end(end, &why);
                        return None;
                    }
                }
            }
        };
        let (session, rest) = timeout(WELCOME, welcome).await.ok().flatten()?;
        if self.view().session.is_some() && self.view().session != session {
            self.violated(Promise::ToTheRightOne, format!("welcomed to {session:?}"));
        }
        self.view().session = session;
        let number = self.view().lines.len();
        self.take(rest, number);
        Some(line)
    }

    /// Nobody closes sessions here, and nobody breaks the protocol: only these ends are in order.
    fn check_end(&self, end: End, why: &str) {
        match end {
            End::Lost | End::GivenUp | End::Closed(1001 | 1012 | 4002 | 4003) => {}
            End::Closed(code) => {
                self.violated(
                    Promise::Kept,
                    format!("its session was closed: {code} {why}"),
                );
            }
        }
    }

    /// Until the line ends. Returned is what tells the old line that the session has moved, if that is watched.
    async fn live(&mut self, mut line: Line, node: usize) -> Option<Moved> {
        let mut lines = self.view();
        let number = lines.lines.len();
        lines.lines.push(crate::history::Line {
            node,
            since: std::time::Instant::now(),
            end: None,
        });
        drop(lines);
        let open = self.outbox.keys().copied().collect::<Vec<_>>();
        open.into_iter().for_each(|cmid| self.send(cmid));
        let patient = self.crowd.patient && self.number % 2 == 1;
        let (mut heard_at, mut ping_at) = (Instant::now(), Instant::now() + PING);
        let (end, why) = loop {
            let now = Instant::now();
            if now >= ping_at {
                ping_at = now + PING;
                self.say.push(Envelope {
                    x: Some(PingId::Text("ping".to_owned())),
                    ..Envelope::new(MessageType::PING)
                });
            }
            self.think(now);
            self.send_again(now);
            let say = std::mem::take(&mut self.say);
            if !say.is_empty() && !line.say(&say).await {
                break (End::Lost, String::new());
            }
            let silent = heard_at + SILENCE;
            if !patient && now >= silent {
                break (End::GivenUp, String::new());
            }
            let next = self.next_due().map_or(ping_at, |due| due.min(ping_at));
            tokio::select! {
                heard = line.hear() => {
                    heard_at = Instant::now();
                    match heard {
                        Heard::Pipeline(pipeline) => self.take(pipeline, number),
                        Heard::Nothing => {}
                        Heard::Garbage(what) => self.violated(Promise::Heals, what),
                        Heard::End(end, why) => break (end, why),
                    }
                }
                () = sleep_until(next.min(silent.max(now))) => {}
            }
        };
        self.say.clear();
        self.check_end(end, &why);
        self.view().lines[number].end = Some((std::time::Instant::now(), end));
        (end == End::GivenUp && self.crowd.watch_old_lines).then(|| {
            let moved = Moved::default();
            let watch =
                watch_old_line(line, number, self.number, self.crowd.clone(), moved.clone());
            actix_web::rt::spawn(watch);
            moved
        })
    }

    fn next_due(&self) -> Option<Instant> {
        let retries = self.outbox.values().filter_map(|out| out.again_at);
        let lanes = self.lanes.iter().flatten().copied();
        let lanes = lanes.filter(|_| self.crowd.load.get());
        lanes.chain(retries).min()
    }

    /// Asks for what it is time for.
    fn think(&mut self, now: Instant) {
        for (lane, kind) in LANES.into_iter().enumerate() {
            if !self.crowd.load.get() || self.lanes[lane].is_none_or(|at| at > now) {
                continue;
            }
            self.lanes[lane] = None;
            let number = self.next_cmid + 1;
            let to = (kind == Kind::Relay).then(|| self.somebody()).flatten();
            let receiver = to.as_ref().map(|(client, _)| *client);
            let ask = Ask {
                client: self.number,
                number,
                to,
            };
            let (t, eid) = match kind {
                Kind::Note => (MessageType::SEND, endpoint::NOTE),
                Kind::Effect | Kind::Answer => (MessageType::REQUEST, endpoint::EFFECT),
                Kind::Relay => (MessageType::REQUEST, endpoint::RELAY),
                Kind::Work => (MessageType::REQUEST, endpoint::WORK),
            };
            let envelope = Envelope {
                eid: Some(eid.to_owned()),
                tid: Some(format!("{}-{number}", self.number)),
                msg: to_raw_value(&ask).ok(),
                ..Envelope::new(t)
            };
            self.post(kind, receiver, None, envelope);
        }
    }

    /// Another client, and its session.
    fn somebody(&self) -> Option<(usize, String)> {
        let views = &self.crowd.history.views;
        let other = rand::random_range(0..views.len());
        let session = match other == self.number {
            true => self.view().session.clone(),
            false => views[other].borrow().session.clone(),
        };
        session.map(|session| (other, session))
    }

    /// Puts a message into the outbox, and sends it.
    fn post(&mut self, kind: Kind, to: Option<usize>, answers: Option<Mail>, envelope: Envelope) {
        self.next_cmid += 1;
        let cmid = self.next_cmid;
        self.view().sent.insert(
            cmid,
            Sent {
                kind,
                number: cmid,
                to,
                answers,
                times: 0,
                acks: 0,
                nacks: 0,
                resolves: 0,
                rejects: 0,
                ack2_on: None,
            },
        );
        let outgoing = Outgoing {
            envelope: Envelope {
                cmid: Some(cmid.to_string()),
                ..envelope
            },
            again_at: None,
            retries: 0,
        };
        self.outbox.insert(cmid, outgoing);
        self.send(cmid);
    }

    fn send(&mut self, cmid: u64) {
        let Some(outgoing) = self.outbox.get_mut(&cmid) else {
            return;
        };
        outgoing.again_at = None;
        self.say.push(outgoing.envelope.clone());
        let mut view = self.view();
        let Some(sent) = view.sent.get_mut(&cmid) else {
            return;
        };
        sent.times += 1;
        if sent.times > 1 {
            count(&self.crowd.history.resent);
        }
    }

    fn send_again(&mut self, now: Instant) {
        let due = |out: &Outgoing| out.again_at.is_some_and(|at| at <= now);
        let due = self.outbox.iter().filter(|(_, out)| due(out));
        let due: Vec<u64> = due.map(|(cmid, _)| *cmid).collect();
        due.into_iter().for_each(|cmid| self.send(cmid));
    }

    fn take(&mut self, pipeline: Vec<Envelope>, line: usize) {
        let (mut acks, mut ack2s) = (Vec::new(), Vec::new());
        for envelope in pipeline {
            match envelope.t {
                MessageType::ACK | MessageType::NACK => {
                    for cmid in ids(envelope.cmid, envelope.ids) {
                        self.acknowledged(envelope.t, &cmid);
                        ack2s.push(cmid);
                    }
                }
                MessageType::RETRY => self.retry(&envelope),
                MessageType::ACK2 => {
                    for smid in ids(envelope.smid, envelope.ids) {
                        if self.inbox.remove(&smid) {
                            self.forgotten.insert(smid);
                        }
                    }
                }
                MessageType::RESOLVE | MessageType::REJECT => {
                    let cmid = envelope.cmid.clone().unwrap_or_default();
                    match envelope.smid.clone() {
                        // It is the acknowledgement as well.
                        None => {
                            self.acknowledged(envelope.t, &cmid);
                            ack2s.push(cmid);
                        }
                        Some(smid) => {
                            if self.is_new(&smid) {
                                self.deliver(Came::Reply, &smid, &envelope, line);
                                // It stands for an ACK that has not come.
                                if self.acknowledged(envelope.t, &cmid) {
                                    ack2s.push(cmid);
                                }
                            }
                            acks.push(smid);
                        }
                    }
                }
                MessageType::SEND | MessageType::REQUEST => {
                    let smid = envelope.smid.clone().unwrap_or_default();
                    if self.is_new(&smid) {
                        self.process(&smid, &envelope, line);
                    }
                    acks.push(smid);
                }
                MessageType::PONG => {}
                other => self.violated(Promise::Heals, format!("the server sent {other}")),
            }
        }
        if !acks.is_empty() {
            self.say
                .push(acknowledge(MessageType::ACK, IdOf::Server, acks));
        }
        if !ack2s.is_empty() {
            self.note_ack2(&ack2s, line);
            self.say
                .push(acknowledge(MessageType::ACK2, IdOf::Client, ack2s));
        }
    }

    /// Whether a message of the server has not been processed yet; if not so, it is noted that it is.
    fn is_new(&mut self, smid: &str) -> bool {
        if self.forgotten.contains(smid) {
            let what = format!("{smid} came again after ACK2: its application sees it twice");
            self.violated(Promise::Once, what);
            return false;
        }
        let new = self.inbox.insert(smid.to_owned());
        if !new {
            count(&self.crowd.history.redelivered);
        }
        new
    }

    fn note_ack2(&self, cmids: &[String], line: usize) {
        let mut view = self.view();
        for cmid in cmids.iter().filter_map(|cmid| cmid.parse().ok()) {
            if let Some(sent) = view.sent.get_mut(&cmid) {
                sent.ack2_on = Some(line);
            }
        }
    }

    /// ACK, NACK, RESOLVE or REJECT of a message of ours. Returned is whether it was the first of these.
    fn acknowledged(&mut self, t: MessageType, cmid: &str) -> bool {
        let cmid: u64 = cmid.parse().unwrap_or_default();
        let first = self.outbox.remove(&cmid).is_some();
        let mut view = self.view();
        let Some(sent) = view.sent.get_mut(&cmid) else {
            drop(view);
            self.violated(Promise::ToTheRightOne, format!("{t} of unknown {cmid}"));
            return first;
        };
        let (accepted, settled) = (sent.accepted(), sent.settled());
        match t {
            MessageType::NACK => sent.nacks += 1,
            MessageType::RESOLVE => sent.resolves += 1,
            MessageType::REJECT => sent.rejects += 1,
            _ => sent.acks += 1,
        }
        if sent.accepted() && !accepted {
            count(&self.crowd.history.messages);
        }
        let lane = LANES.iter().position(|kind| *kind == sent.kind);
        let ended = sent.settled() && !settled;
        drop(view);
        if let (true, Some(lane)) = (ended, lane) {
            let pause = self.crowd.think.mul_f64(rand::random::<f64>() * 2.0);
            self.lanes[lane] = Some(Instant::now() + pause);
        }
        if matches!(t, MessageType::NACK | MessageType::REJECT) {
            count(&self.crowd.history.refused);
        }
        first
    }

    fn retry(&mut self, envelope: &Envelope) {
        count(&self.crowd.history.retries);
        let cmid = envelope.cmid.as_deref().and_then(|cmid| cmid.parse().ok());
        let Some(outgoing) = cmid.and_then(|cmid: u64| self.outbox.get_mut(&cmid)) else {
            return;
        };
        outgoing.retries += 1;
        let wait = Duration::from_millis(100) * (1 << outgoing.retries.min(4));
        outgoing.again_at = Some(Instant::now() + wait.mul_f64(1.0 + rand::random::<f64>()));
    }

    /// A SEND or a REQUEST, for the first time.
    fn process(&mut self, smid: &str, envelope: &Envelope, line: usize) {
        let came = match envelope.eid.as_deref() {
            Some(terminator::PUSH) => Came::Push,
            Some(terminator::ASK) => Came::Ask,
            Some(terminator::RELAYED) => Came::Relayed,
            Some(terminator::NEWS) => Came::News,
            other => {
                return self.violated(Promise::ToTheRightOne, format!("a message for {other:?}"));
            }
        };
        let mail = self.deliver(came, smid, envelope, line);
        if let (Came::Ask, Some(mail)) = (came, mail) {
            let answer = Answer {
                client: self.number,
                asked_by: mail.from.clone(),
                number: mail.number,
            };
            let reply = Envelope {
                smid: Some(smid.to_owned()),
                tid: envelope.tid.clone(),
                msg: to_raw_value(&answer).ok(),
                ..Envelope::new(MessageType::RESOLVE)
            };
            self.post(Kind::Answer, None, Some(mail), reply);
        }
    }

    /// Gives a message to the application: writes it down.
    fn deliver(
        &mut self,
        came: Came,
        smid: &str,
        envelope: &Envelope,
        line: usize,
    ) -> Option<Mail> {
        let text = envelope.msg.as_ref().map_or("null", |msg| msg.get());
        let Ok(mail) = serde_json::from_str::<Mail>(text) else {
            self.violated(Promise::ToTheRightOne, format!("{smid} is {text}"));
            return None;
        };
        if mail.to != self.number {
            let what = format!("{smid} is for client {}", mail.to);
            self.violated(Promise::ToTheRightOne, what);
        }
        count(&self.crowd.history.messages);
        let mut view = self.view();
        let made_on = mail.by.split('.').next().and_then(|node| node.parse().ok());
        let here = view.lines.get(line).map(|line| line.node + 1);
        if made_on.is_some() && made_on != here {
            count(&self.crowd.history.from_elsewhere);
        }
        view.received.push(Received {
            smid: smid.to_owned(),
            came,
            mail: mail.clone(),
        });
        if let Some((since, _)) = view.affected.take_if(|(_, from)| line >= *from) {
            self.crowd.history.healed.borrow_mut().push(since.elapsed());
        }
        Some(mail)
    }
}

fn ids(one: Option<String>, several: Option<Vec<String>>) -> Vec<String> {
    one.into_iter().chain(several.unwrap_or_default()).collect()
}

/// A line that was given up because its node was silent: that node must not deliver there what has moved.
async fn watch_old_line(
    mut line: Line,
    number: usize,
    client: usize,
    crowd: Rc<Crowd>,
    moved: Moved,
) {
    loop {
        match line.hear().await {
            Heard::Pipeline(pipeline) if moved.get() => {
                // (What it had done before it was stopped, it may still acknowledge.)
                let mail = |it: &&Envelope| it.smid.is_some() && it.t.is_information_bearing();
                for envelope in pipeline.iter().filter(mail) {
                    let what = format!(
                        "client {client}: line {number} delivered {envelope:?} after the session had moved"
                    );
                    crowd.history.violated(Promise::ToTheRightOne, what);
                }
            }
            Heard::Pipeline(_) | Heard::Nothing | Heard::Garbage(_) => {}
            Heard::End(end, _) => {
                crowd.history.views[client].borrow_mut().lines[number].end =
                    Some((std::time::Instant::now(), end));
                return;
            }
        }
    }
}
