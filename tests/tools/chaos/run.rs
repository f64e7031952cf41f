//! One scenario from beginning to end: nodes, clients, faults, and the verdict.

use std::cell::Cell;
use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::task::JoinHandle;
use matssocket_testing::postgres::Server;

use crate::args::Run;
use crate::check::{Evidence, check_rests};
use crate::client::{Client, Crowd};
use crate::database::{Database, Url};
use crate::disturbed::Disturbed;
use crate::fleet::Fleet;
use crate::history::History;
use crate::pusher::SESSIONS;
use crate::report::{Figures, progress};
use crate::scenario::{self, Scenario};

/// Longest time for all clients to be welcomed at the beginning.
const WELCOME: Duration = Duration::from_secs(60);
/// After everything has come: whether something comes twice.
const LINGER: Duration = Duration::from_secs(2);

/// What one scenario is run with.
pub struct Plan {
    pub run: Run,
    pub nodes: usize,
    pub store: Url,
    /// How the nodes reach the same, if that is another way.
    pub store_of_nodes: Option<Url>,
    pub directory: PathBuf,
    /// The database's server, if it was started for this scenario.
    pub server: Option<Arc<Server>>,
    /// As before, with what it takes to disturb it.
    pub disturbed: Option<Arc<Disturbed>>,
}

impl std::ops::Deref for Plan {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

/// Everything that is there while a scenario runs.
pub struct Stage {
    pub plan: Rc<Plan>,
    pub fleet: Rc<Fleet>,
    pub crowd: Rc<Crowd>,
    pub faults: Cell<u64>,
    /// Lines that were seen to be closed in good order.
    pub closed: Cell<u64>,
    pub began: Instant,
}

impl Stage {
    pub fn enough(&self) -> bool {
        let messages = self.crowd.history.messages.get();
        self.faults.get() >= self.plan.faults && messages >= self.plan.messages
    }
}

/// Aborted when dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub async fn run(plan: Plan, scenario: Scenario) -> Result<Figures, String> {
    let plan = Rc::new(plan);
    Database::connect(&plan.store)?.prepare()?;
    if let Some(disturbed) = &plan.disturbed {
        disturbed.prepare()?;
    }
    let fleet = Fleet::new(plan.clone());
    for node in 0..plan.nodes {
        fleet.start(node, None)?;
    }
    for node in 0..plan.nodes {
        fleet.ready(node).await?;
    }
    let crowd = Rc::new(Crowd {
        history: History::new(plan.clients),
        ports: fleet.ports.clone(),
        load: Cell::new(false),
        think: plan.think,
        nodes_pause: scenario == Scenario::Pause,
    });
    let clients = (0..plan.clients).map(|number| Client::new(number, crowd.clone()).run());
    let clients: Vec<Task> = clients
        .map(|client| Task(actix_web::rt::spawn(client)))
        .collect();
    let stage = Rc::new(Stage {
        plan,
        fleet,
        crowd,
        faults: Cell::new(0),
        closed: Cell::new(0),
        began: Instant::now(),
    });
    begin(&stage).await?;
    let telling = Task(actix_web::rt::spawn(tell(stage.clone(), scenario)));
    scenario::run(&stage, scenario).await?;
    let loaded = stage.began.elapsed();

    stage.crowd.load.set(false);
    for node in 0..stage.plan.nodes {
        stage.fleet.ready(node).await?;
    }
    stage.fleet.quiet().await?;
    settle(&stage).await?;
    drop((telling, clients));
    judge(&stage, scenario, loaded)
}

/// Everybody has a session before anything happens to it; then the list of sessions is told to the nodes.
async fn begin(stage: &Stage) -> Result<(), String> {
    let views = &stage.crowd.history.views;
    let until = Instant::now() + WELCOME;
    while views.iter().any(|view| view.borrow().session.is_none()) {
        if Instant::now() > until {
            return Err(format!("not all clients were welcomed within {WELCOME:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let session = |view: &std::cell::RefCell<crate::history::View>| view.borrow().session.clone();
    let sessions: Vec<_> = views.iter().map(session).enumerate().collect();
    let text = serde_json::to_string(&sessions).map_err(|why| why.to_string())?;
    // Whole or not at all.
    let path = stage.plan.directory.join(SESSIONS);
    let written = fs::write(path.with_extension("new"), text);
    written
        .and_then(|()| fs::rename(path.with_extension("new"), path))
        .map_err(|why| why.to_string())?;
    stage.crowd.load.set(true);
    Ok(())
}

async fn tell(stage: Rc<Stage>, scenario: Scenario) {
    let terminal = std::io::stdout().is_terminal();
    let mut before = 0;
    let pause = Duration::from_secs(if terminal { 1 } else { 5 });
    loop {
        tokio::time::sleep(pause).await;
        let messages = stage.crowd.history.messages.get();
        progress(
            &stage,
            scenario,
            (messages - before) / pause.as_secs(),
            terminal,
        );
        before = messages;
    }
}

/// Waits until everything has come and nothing is left, or nothing happens any more.
async fn settle(stage: &Stage) -> Result<(), String> {
    let history = &stage.crowd.history;
    let mut database = Database::connect(&stage.plan.store)?;
    let mut last = (history.messages.get(), Instant::now());
    loop {
        if last.0 != history.messages.get() {
            last = (history.messages.get(), Instant::now());
        }
        let settled = |view: &std::cell::RefCell<crate::history::View>| {
            view.borrow().sent.values().all(|sent| sent.settled())
        };
        if history.views.iter().all(settled) && is_complete(stage, &mut database)? {
            tokio::time::sleep(LINGER).await;
            return Ok(());
        }
        if last.1.elapsed() > stage.plan.patience {
            return keep_state(stage, &mut database).await;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Writes down what the database and the nodes say of themselves: something is missing, and somebody will ask why.
async fn keep_state(stage: &Stage, database: &mut Database) -> Result<(), String> {
    let mut text = database.state()?;
    for (node, state) in stage.fleet.states().await {
        text += &format!("node {node}: {state}\n\n");
    }
    fs::write(stage.plan.directory.join("state.txt"), text).map_err(|why| why.to_string())
}

fn is_complete(stage: &Stage, database: &mut Database) -> Result<bool, String> {
    if !database.rests()?.is_empty() {
        return Ok(false);
    }
    let history = &stage.crowd.history;
    let before = history.violation_count();
    check_rests(history, database)?;
    let left = history.violation_count() - before;
    history.forget_violations(left);
    Ok(left == 0 && evidence(stage, database)?.is_complete())
}

fn evidence<'a>(stage: &'a Stage, database: &mut Database) -> Result<Evidence<'a>, String> {
    let processes = stage.fleet.processes();
    Evidence::gather(
        &stage.crowd.history,
        database,
        &stage.plan.directory,
        &processes,
    )
}

fn judge(stage: &Stage, scenario: Scenario, loaded: Duration) -> Result<Figures, String> {
    let mut database = Database::connect(&stage.plan.store)?;
    let evidence = evidence(stage, &mut database)?;
    evidence.check();
    let pushes = evidence.accepted_pushes();
    let explained = check_rests(&stage.crowd.history, &mut database)?;
    Ok(Figures::of(stage, scenario, loaded, pushes, explained))
}
