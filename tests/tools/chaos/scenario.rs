//! What is done to the nodes while they work.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::data::now;
use crate::database::Database;
use crate::history::{End, Line, Promise};
use crate::run::Stage;

/// Which faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Kill,
    Database,
    Listen,
    Pause,
    Rolling,
    Upgrade,
    Steps,
    Silent,
    Failover,
    ReadOnly,
    Slots,
}

impl Scenario {
    pub const ALL: [(&str, Scenario); 11] = [
        ("kill", Scenario::Kill),
        ("database", Scenario::Database),
        ("listen", Scenario::Listen),
        ("pause", Scenario::Pause),
        ("rolling", Scenario::Rolling),
        ("upgrade", Scenario::Upgrade),
        ("steps", Scenario::Steps),
        ("silent", Scenario::Silent),
        ("failover", Scenario::Failover),
        ("read-only", Scenario::ReadOnly),
        ("slots", Scenario::Slots),
    ];

    /// It needs a database with a standby, behind a proxy.
    pub fn disturbs_the_database(self) -> bool {
        matches!(
            self,
            Scenario::Silent | Scenario::Failover | Scenario::ReadOnly | Scenario::Slots
        )
    }

    pub fn name(self) -> &'static str {
        let found = Scenario::ALL.iter().find(|(_, scenario)| *scenario == self);
        found.map_or("?", |(name, _)| name)
    }
}

/// How much longer than its lease a node is stopped: long enough for its clients to give it up and go on elsewhere.
const BEYOND_LEASE: Duration = Duration::from_secs(4);
/// Longest time for what a node must do of itself.
const SOON: Duration = Duration::from_secs(15);

/// Does it again and again, until there were enough faults and messages.
pub async fn run(stage: &Rc<Stage>, scenario: Scenario) -> Result<(), String> {
    let mut node = 0;
    while !stage.enough() {
        let pause = stage.plan.every.mul_f64(0.5 + rand::random::<f64>());
        tokio::time::sleep(pause).await;
        match scenario {
            Scenario::Kill => kill(stage, rand::random_range(0..stage.plan.nodes)).await?,
            Scenario::Database => restart_database(stage).await?,
            Scenario::Listen => end_listening(stage).await?,
            Scenario::Pause => pause_node(stage, rand::random_range(0..stage.plan.nodes)).await?,
            Scenario::Rolling | Scenario::Upgrade => {
                if scenario == Scenario::Upgrade {
                    stage.fleet.change_version(node);
                }
                restart(stage, node).await?;
                node = (node + 1) % stage.plan.nodes;
            }
            Scenario::Silent | Scenario::Failover | Scenario::ReadOnly | Scenario::Slots => {
                disturb(stage, scenario).await?
            }
            Scenario::Steps => return Err("the steps are no load".to_owned()),
        }
        stage.faults.set(stage.faults.get() + 1);
    }
    match &stage.plan.disturbed {
        Some(disturbed) => disturbed.limit(-1),
        None => Ok(()),
    }
}

/// Something happens to the database, or on the way to it.
async fn disturb(stage: &Stage, scenario: Scenario) -> Result<(), String> {
    let disturbed = stage.plan.disturbed.clone();
    let disturbed = disturbed.ok_or("there is no database to disturb")?;
    stage.crowd.history.affected(None);
    let seconds = |range: std::ops::Range<f64>| Duration::from_secs_f64(rand::random_range(range));
    let nodes = stage.plan.nodes as i64;
    let done = actix_web::web::block(move || match scenario {
        Scenario::Silent => {
            let new_ones = [Duration::ZERO, seconds(0.5..3.0)];
            disturbed.silence(new_ones[rand::random_range(0..2)]);
            Ok(())
        }
        Scenario::Failover => {
            disturbed.fail_over();
            Ok(())
        }
        Scenario::ReadOnly => {
            disturbed.read_only(seconds(0.5..3.0));
            Ok(())
        }
        // Three are what a node needs: one to store, one to hear, and one for handlers.
        _ => disturbed.limit(rand::random_range(3 * nodes..7 * nodes)),
    });
    done.await.map_err(|why| why.to_string())?
}

/// `kill -9`, and started again at once.
async fn kill(stage: &Stage, node: usize) -> Result<(), String> {
    stage.fleet.ready(node).await?;
    stage.crowd.history.affected(Some(node));
    stage.fleet.kill(node);
    stage.fleet.start(node, None).map(|_| ())
}

/// The database ends at once, as in a crash, and comes back.
async fn restart_database(stage: &Stage) -> Result<(), String> {
    let server = stage.plan.server.clone();
    let server =
        server.ok_or("only a database that was started for it is restarted: leave out --store")?;
    stage.crowd.history.affected(None);
    let restarted = actix_web::web::block(move || server.restart_immediate()).await;
    restarted.map_err(|why| why.to_string())
}

/// Every LISTEN line is ended.
async fn end_listening(stage: &Stage) -> Result<(), String> {
    let mut database = Database::connect(&stage.plan.store)?;
    let until = Instant::now() + SOON;
    stage.crowd.history.affected(None);
    while database.end_listening()? == 0 {
        if Instant::now() > until {
            return Err("no node listens".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Stopped for longer than its lease. It must notice, close its lines, and come back as another node.
async fn pause_node(stage: &Stage, node: usize) -> Result<(), String> {
    let history = &stage.crowd.history;
    stage.fleet.ready(node).await?;
    let names = stage.fleet.names(node);
    let stopped = Instant::now();
    history.affected(Some(node));
    stage.fleet.signal(node, "STOP")?;
    stage.fleet.stands_still(node).await?;
    history.pauses.borrow_mut().push((node, stopped, now()));
    tokio::time::sleep(stage.plan.lease + BEYOND_LEASE).await;
    let continued = Instant::now();
    stage.fleet.signal(node, "CONT")?;
    if !stage.fleet.has_new_name(node, names, SOON).await {
        let what = format!(
            "node {} was stopped for longer than its lease, and is still itself",
            node + 1
        );
        history.violated(Promise::Heals, what);
    }
    // Lines that were there all the time.
    let over = |line: &Line| {
        line.node == node
            && line.since < stopped
            && line
                .end
                .is_none_or(|(at, end)| at >= continued && end != End::GivenUp)
    };
    check_closed(stage, over, "its node had lost its lease").await;
    Ok(())
}

/// SIGTERM, and started again when it has ended.
async fn restart(stage: &Stage, node: usize) -> Result<(), String> {
    let history = &stage.crowd.history;
    stage.fleet.ready(node).await?;
    history.affected(Some(node));
    let told = Instant::now();
    stage.fleet.signal(node, "TERM")?;
    let status = stage.fleet.ended(node).await?;
    if !status.success() {
        let what = format!("node {} was told to end, and ended with {status}", node + 1);
        history.violated(Promise::Heals, what);
    }
    let over = |line: &Line| {
        line.node == node && line.since < told && line.end.is_none_or(|(at, _)| at >= told)
    };
    check_closed(stage, over, "its node was told to end").await;
    stage.fleet.start(node, None).map(|_| ())
}

/// Each of these lines is closed by its node, with 1012. (4003: its client had gone elsewhere by then.)
async fn check_closed(stage: &Stage, mut which: impl FnMut(&Line) -> bool, why: &str) {
    let history = &stage.crowd.history;
    let mut lines = Vec::new();
    for (client, view) in history.views.iter().enumerate() {
        let view = view.borrow();
        let found = view
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| which(line));
        lines.extend(found.map(|(number, _)| (client, number)));
    }
    let end = |(client, number): (usize, usize)| history.views[client].borrow().lines[number].end;
    let until = Instant::now() + SOON;
    while lines.iter().any(|line| end(*line).is_none()) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for line in lines {
        stage.closed.set(stage.closed.get() + 1);
        match end(line) {
            Some((_, End::Closed(1012 | 4003))) => {}
            other => {
                let what = format!("client {}: {why}, but its line ended by {other:?}", line.0);
                history.violated(Promise::Heals, what);
            }
        }
    }
}
