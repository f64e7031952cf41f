//! The users with a normal load: sessions that keep their connections open, sessions that send requests at a rate, and
//! newcomers. The service they get is measured separately for each phase of a trial.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep_until;
use tokio_tungstenite::tungstenite::http::Uri;

use super::args;
use crate::pace;
use crate::pipeline::{Envelope, parse};
use crate::session::Session;
use crate::tally::{Fault, Tally};

/// How long after a RETRY a request is sent again.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How long to wait for answers at the end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between PINGs of a session, as in real clients.
const PING: Duration = Duration::from_secs(15);

/// What was counted in one phase.
#[derive(Default)]
pub struct Phase {
    /// Requests, timed from when each was due until its answer.
    pub paced: Tally,
    /// Newcomers, timed from when each was due until its WELCOME.
    pub newcomers: Tally,
    /// Connections that the server closed, or that broke.
    pub closed: u64,
}

struct Shared {
    url: Uri,
    endpoint: &'static str,
    /// Distinguishes the users of several groups.
    group: &'static str,
    how: args::Others,
    /// The last is the current one.
    phases: RefCell<Vec<Phase>>,
    over: Cell<bool>,
}

impl Shared {
    /// Changes the current phase.
    fn now(&self, change: impl FnOnce(&mut Phase)) {
        change(self.phases.borrow_mut().last_mut().expect("one has begun"));
    }

    fn number_of_phase(&self) -> usize {
        self.phases.borrow().len() - 1
    }

    fn user(&self, kind: &str, number: usize) -> String {
        format!("{}-{kind}-{number}", self.group)
    }

    fn closed(&self, why: &str) {
        self.now(|phase| {
            phase.closed += 1;
            phase.paced.example.get_or_insert_with(|| why.to_owned());
        });
    }
}

/// All of them.
pub struct Others {
    shared: Rc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Others {
    /// Lets them begin: the first phase.
    ///
    /// # Errors
    /// A session could not be opened.
    pub async fn begin(
        url: &Uri,
        group: &'static str,
        endpoint: &'static str,
        how: args::Others,
    ) -> Result<Others, String> {
        let shared = Rc::new(Shared {
            url: url.clone(),
            endpoint,
            group,
            how,
            phases: RefCell::new(vec![Phase::default()]),
            over: Cell::new(false),
        });
        let mut tasks = Vec::new();
        for number in 0..how.idle {
            let session = Session::open(url, shared.user("idle", number)).await?;
            tasks.push(spawn_local(idle(shared.clone(), session, number)));
        }
        for number in 0..how.paced {
            let session = Session::open(url, shared.user("paced", number)).await?;
            let paced = Paced::new(shared.clone(), number);
            tasks.push(spawn_local(paced.run(session)));
        }
        tasks.push(spawn_local(newcomers(shared.clone())));
        Ok(Others { shared, tasks })
    }

    /// The next phase begins.
    pub fn next_phase(&self) {
        self.shared.phases.borrow_mut().push(Phase::default());
    }

    /// Waits for what is in progress. Returns the figures of each phase.
    pub async fn end(self) -> Vec<Phase> {
        self.shared.over.set(true);
        for task in self.tasks {
            task.await.expect("none of them panics");
        }
        self.shared.phases.take()
    }
}

/// Keeps a connection open; if it is lost, reconnects.
async fn idle(shared: Rc<Shared>, mut session: Session, number: usize) {
    let mut next = Instant::now() + PING.mul_f64(number as f64 / shared.how.idle as f64);
    let mut pings = 0_u64;
    while !shared.over.get() {
        let look = next.min(Instant::now() + Duration::from_millis(100));
        let heard = tokio::select! {
            text = session.next() => text.map(|_| ()),
            () = sleep_until(look.into()) => Ok(()),
        };
        let mut said = Ok(());
        if heard.is_ok() && next <= Instant::now() {
            next += PING;
            pings += 1;
            let ping = format_args!(r#"{{"t":"PING","x":{pings}}}"#);
            session.out.envelope(ping);
            said = session.flush().await;
        }
        if let Err(why) = heard.and(said) {
            shared.closed(&why);
            match come_back(&shared, session).await {
                Some(again) => session = again,
                None => return,
            }
        }
    }
    session.close().await;
}

/// Resumes a session whose connection is lost, almost without a pause. `None`: the trial was over first.
async fn come_back(shared: &Shared, session: Session) -> Option<Session> {
    let lost = session.lose();
    while !shared.over.get() {
        if let Ok(session) = Session::resume(&lost, &shared.url).await {
            return Some(session);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

/// New users, each at its own time, however long the earlier ones take.
async fn newcomers(shared: Rc<Shared>) {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for number in 0.. {
        let due = pace::due(begun, number, shared.how.newcomers);
        sleep_until(due.into()).await;
        if shared.over.get() {
            break;
        }
        tasks.push(spawn_local(newcomer(shared.clone(), due, number)));
    }
    for task in tasks {
        task.await.expect("none of them panics");
    }
}

async fn newcomer(shared: Rc<Shared>, due: Instant, number: u64) {
    let phase = shared.number_of_phase();
    let user = shared.user("new", number as usize);
    let opened = Session::open(&shared.url, user).await;
    {
        let tally = &mut shared.phases.borrow_mut()[phase].newcomers;
        // A newcomer who was refused has waited, too.
        tally.done(due, Instant::now());
        if let Err(why) = &opened {
            tally.fault(Fault::Broken, 1, || why.clone());
        }
    }
    if let Ok(session) = opened {
        session.close().await;
    }
}

/// A request in flight.
struct Request {
    due: Instant,
    phase: usize,
    acked: bool,
    /// When it is to be sent again.
    again: Option<Instant>,
}

/// A session that sends requests at a rate.
struct Paced {
    shared: Rc<Shared>,
    number: usize,
    requests: HashMap<u64, Request>,
}

impl Paced {
    fn new(shared: Rc<Shared>, number: usize) -> Paced {
        Paced {
            shared,
            number,
            requests: HashMap::new(),
        }
    }

    async fn run(mut self, mut session: Session) {
        let rate = self.shared.how.rate;
        let apart = 1.0 / rate / self.shared.how.paced as f64;
        // Not all of them send at the same moment.
        let begun = Instant::now() + Duration::from_secs_f64(apart * self.number as f64);
        let (mut sent, mut give_up) = (0, None);
        loop {
            let now = Instant::now();
            let over = self.shared.over.get();
            if over {
                let give_up = *give_up.get_or_insert(now + PATIENCE);
                if self.requests.is_empty() || give_up <= now {
                    break;
                }
            }
            while !over && pace::due(begun, sent, rate) <= now {
                self.request(&mut session, pace::due(begun, sent, rate));
                sent += 1;
            }
            self.say_again(&mut session, now);
            let next = match over {
                true => now + Duration::from_millis(50),
                false => pace::due(begun, sent, rate),
            };
            if let Err(why) = self.talk(&mut session, next).await {
                self.shared.closed(&why);
                // Requests in flight are not waited for: they may or may not be answered after the reconnect.
                self.requests
                    .values_mut()
                    .for_each(|request| request.again = Some(now));
                match come_back(&self.shared, session).await {
                    Some(again) => session = again,
                    None => break,
                }
            }
        }
        self.give_up();
    }

    fn request(&mut self, session: &mut Session, due: Instant) {
        let request = Request {
            due,
            phase: self.shared.number_of_phase(),
            acked: false,
            again: None,
        };
        let payload = r#"{"number":1,"string":"paced"}"#;
        let cmid = session.say("REQUEST", self.shared.endpoint, "paced", payload);
        self.requests.insert(cmid, request);
    }

    fn say_again(&mut self, session: &mut Session, now: Instant) {
        for (cmid, request) in &mut self.requests {
            if request.again.is_some_and(|at| at <= now) {
                request.again = None;
                let payload = r#"{"number":1,"string":"paced"}"#;
                session.say_again("REQUEST", *cmid, self.shared.endpoint, "paced", payload);
            }
        }
    }

    /// Sends what is queued, and processes input until then.
    async fn talk(&mut self, session: &mut Session, until: Instant) -> Result<(), String> {
        session.flush().await?;
        tokio::select! {
            biased;
            text = session.next() => {
                let (text, now) = (text?, Instant::now());
                for envelope in parse(&text)? {
                    self.take(session, &envelope, now);
                }
                session.flush().await
            }
            () = sleep_until(until.into()) => Ok(()),
        }
    }

    fn take(&mut self, session: &mut Session, envelope: &Envelope<'_>, now: Instant) {
        if let Some(smid) = envelope.smid.filter(|_| envelope.t != "ACK2") {
            session.out.ack(smid);
        }
        for cmid in envelope.cmids() {
            let Ok(number) = cmid.parse::<u64>() else {
                continue;
            };
            match envelope.t {
                "RETRY" => {
                    if let Some(request) = self.requests.get_mut(&number) {
                        request.again = Some(now + BACK_OFF);
                        self.shared.phases.borrow_mut()[request.phase].paced.retried += 1;
                    }
                }
                "ACK" => {
                    session.out.ack2(cmid);
                    if let Some(request) = self.requests.get_mut(&number) {
                        request.acked = true;
                    }
                }
                "RESOLVE" | "REJECT" | "NACK" => {
                    if let Some(request) = self.requests.remove(&number) {
                        if !request.acked {
                            session.out.ack2(cmid);
                        }
                        let tally = &mut self.shared.phases.borrow_mut()[request.phase].paced;
                        tally.done(request.due, now);
                        if envelope.t != "RESOLVE" {
                            tally.fault(Fault::Refused, 1, || format!("{envelope:?}"));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Counts unanswered requests with the time they have taken so far.
    fn give_up(&mut self) {
        let now = Instant::now();
        for request in self.requests.values() {
            let tally = &mut self.shared.phases.borrow_mut()[request.phase].paced;
            tally.done(request.due, now);
            tally.fault(Fault::Lost, 1, || "a request was not answered".to_owned());
        }
    }
}
