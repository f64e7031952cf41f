//! A client as clients are: an outbox, an inbox, and no trust in any line. [`sending`] is what it says, [`receiving`]
//! what it hears.

mod receiving;
mod sending;

use std::cell::{Cell, RefMut};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use matssocket::wire::{Envelope, MessageType, PingId};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::history::{self, End, History, Kind, Promise, View};
use crate::line::{Heard, Line, hello};

/// What all clients share.
pub struct Crowd {
    pub history: History,
    pub ports: Vec<u16>,
    /// Whether anything new is asked for.
    pub load: Cell<bool>,
    /// Mean time between a reply and the next request of the same kind.
    pub think: Duration,
    /// Nodes are stopped and continued. Clients with an odd number wait for a silent node as long as it takes; the
    /// others give it up, and watch what it does with the old line.
    pub nodes_pause: bool,
}

/// Each kind of request goes one after the other.
const LANES: [Kind; 4] = [Kind::Effect, Kind::Note, Kind::Relay, Kind::Work];
const PING: Duration = Duration::from_secs(1);
/// A line on which nothing has come for so long is given up.
const SILENCE: Duration = Duration::from_secs(3);
const WELCOME: Duration = Duration::from_secs(5);
/// Longest wait before the first attempt to reconnect, and before any.
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
    /// When the next request of each kind is due; `None`: one is under way.
    lanes: [Option<Instant>; LANES.len()],
    /// What goes out next.
    say: Vec<Envelope>,
    /// Which of its lines it is on.
    line: usize,
}

/// What an old line is told: the session has moved.
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
            line: 0,
        }
    }

    fn view(&self) -> RefMut<'_, View> {
        self.crowd.history.views[self.number].borrow_mut()
    }

    fn violated(&self, promise: Promise, what: String) {
        let what = format!("client {}: {what}", self.number);
        self.crowd.history.violated(promise, what);
    }

    /// Connects again and again, for ever.
    pub async fn run(mut self) {
        let mut wait = Duration::ZERO;
        let mut old_lines: Vec<Moved> = Vec::new();
        loop {
            sleep(wait.mul_f64(rand::random())).await;
            let node = rand::random_range(0..self.crowd.ports.len());
            let line = Line::open(self.crowd.ports[node]).await;
            let Some(mut line) = self.enter(line, node).await else {
                wait = (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                continue;
            };
            old_lines.drain(..).for_each(|moved| moved.set(true));
            let end = self.live(&mut line).await;
            self.view().lines[self.line].end = Some((std::time::Instant::now(), end));
            if end == End::GivenUp && self.crowd.nodes_pause {
                let moved = Moved::default();
                old_lines.push(moved.clone());
                let (crowd, client) = (self.crowd.clone(), (self.number, self.line));
                actix_web::rt::spawn(watch_old_line(line, client, crowd, moved));
            }
            wait = FIRST_WAIT;
        }
    }

    /// Says HELLO, and waits for WELCOME.
    async fn enter(&mut self, line: Option<Line>, node: usize) -> Option<Line> {
        let mut line = line?;
        let session = self.view().session.clone();
        if !line.say(&[hello(self.number, session.clone())]).await {
            return None;
        }
        let mut pipeline = timeout(WELCOME, self.first(&mut line)).await.ok()??;
        let welcome = pipeline.remove(0);
        if welcome.t != MessageType::Welcome {
            self.violated(Promise::Heals, format!("{welcome:?} before WELCOME"));
            return None;
        }
        if session.is_some() && session != welcome.sid {
            self.violated(Promise::ToTheRightOne, format!("taken for {welcome:?}"));
        }
        let mut view = self.view();
        view.session = welcome.sid;
        view.lines.push(history::Line {
            node,
            since: std::time::Instant::now(),
            end: None,
        });
        let number = view.lines.len() - 1;
        drop(view);
        self.line = number;
        self.take(pipeline);
        Some(line)
    }

    /// The first pipeline.
    async fn first(&self, line: &mut Line) -> Option<Vec<Envelope>> {
        loop {
            match line.hear().await {
                Heard::Pipeline(pipeline) => return Some(pipeline),
                Heard::Nothing => {}
                Heard::Garbage(what) => self.violated(Promise::Heals, what),
                Heard::End(end, why) => {
                    self.check_end(end, &why);
                    return None;
                }
            }
        }
    }

    /// Nobody closes sessions here, and nobody breaks the protocol: only these ends are in order.
    fn check_end(&self, end: End, why: &str) {
        match end {
            End::Lost | End::GivenUp | End::Closed(1001 | 1012 | 4002 | 4003) => {}
            End::Closed(code) => {
                let what = format!("its session was closed: {code} {why}");
                self.violated(Promise::Kept, what);
            }
        }
    }

    /// Says and hears, until the line ends.
    async fn live(&mut self, line: &mut Line) -> End {
        self.say_everything_again();
        let patient = self.crowd.nodes_pause && self.number % 2 == 1;
        let mut silent_at = Instant::now() + SILENCE;
        let mut ping_at = Instant::now() + PING;
        loop {
            let now = Instant::now();
            if now >= ping_at {
                ping_at = now + PING;
                self.say.push(Envelope {
                    x: Some(PingId::Text("ping".to_owned())),
                    ..Envelope::new(MessageType::Ping)
                });
            }
            self.think(now);
            self.send_again(now);
            let say = std::mem::take(&mut self.say);
            if !say.is_empty() && !line.say(&say).await {
                return End::Lost;
            }
            if !patient && now >= silent_at {
                return End::GivenUp;
            }
            let due = self.next_due().map_or(ping_at, |due| due.min(ping_at));
            tokio::select! {
                heard = line.hear() => {
                    silent_at = Instant::now() + SILENCE;
                    match heard {
                        Heard::Pipeline(pipeline) => self.take(pipeline),
                        Heard::Nothing => {}
                        Heard::Garbage(what) => self.violated(Promise::Heals, what),
                        Heard::End(end, why) => {
                            self.check_end(end, &why);
                            return end;
                        }
                    }
                }
                () = sleep_until(due) => {}
            }
        }
    }
}

/// A line that was given up because its node was silent: that node must not deliver there what has moved. What was made
/// before the node was stopped may have been on its way out then, and what it had done it may still acknowledge.
async fn watch_old_line(
    mut line: Line,
    (client, number): (usize, usize),
    crowd: Rc<Crowd>,
    moved: Moved,
) {
    let view = &crowd.history.views[client];
    loop {
        match line.hear().await {
            Heard::Pipeline(pipeline) if moved.get() => {
                let here = view.borrow().lines[number];
                let mail = |it: &Envelope| serde_json::from_str(it.msg.as_ref()?.get()).ok();
                for mail in pipeline.iter().filter_map(mail) {
                    if crowd.history.stopped_before(&here, &mail) {
                        let what =
                            format!("client {client}: delivered after it had moved: {mail:?}");
                        crowd.history.violated(Promise::ToTheRightOne, what);
                    }
                }
            }
            Heard::Pipeline(_) | Heard::Nothing | Heard::Garbage(_) => {}
            Heard::End(end, _) => {
                view.borrow_mut().lines[number].end = Some((std::time::Instant::now(), end));
                return;
            }
        }
    }
}
