//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use matssocket::fault_injection::Broken;

use crate::database::Url;
use crate::node::{self, DieAt};
use crate::scenario::Scenario;

/// What `--help` prints.
pub const USAGE: &str = "\
Nodes in processes of their own, clients that watch, and faults: checks that no message is lost, processed twice, out of
order, or given to the wrong one. Exit code 1: a promise was broken. 2: it could not be run.

Usage: chaos run [--scenario NAME] [OPTION…]

  --scenario NAME   kill      a node is killed (kill -9) and started again, and so on (default)
                    database  PostgreSQL ends as in a crash, and comes back
                    listen    the lines by which nodes hear each other are cut
                    pause     a node is stopped for longer than its lease, and continued
                    rolling   node after node is told to end, and started again
                    steps     a node dies at each step of a transactional message
                    silent    the lines to PostgreSQL lead nowhere any more, and stay open
                    failover  PostgreSQL ends as in a crash, and its standby takes over
                    read-only the way to PostgreSQL leads to the standby for a while
                    slots     the nodes get fewer connections than they want
                    all       one after the other
  --nodes N         nodes (default 3; 1 on SQLite)
  --clients N       clients (default 200)
  --faults N        at least so many kills, pauses or restarts (default 20; also --kills)
  --messages N      at least so many messages, both ways (default 20,000)
  --every MS        mean time between faults (default 2,000)
  --think MS        mean time between a client's reply and its next request of that kind (default 300)
  --pushes N        messages that each node sends by itself, per second (default 100)
  --lease MS        lease of a node (default 3,000)
  --patience S      after the load, how long nothing may happen before what is missing counts as lost (default 20)
  --store URL       postgres://… or an SQLite file (default: a PostgreSQL of its own)
  --directory PATH  where logs and journals go (default: a temporary one, kept if a promise was broken)
  --json FILE       writes the figures there as well
  --sabotage NAME   breaks a promise on purpose: deduplication, fencing or redelivery. The checker must notice.

The full scale, on a release build (about 10 minutes for each scenario):

  cargo run --release --features postgres,sabotage --example chaos -- run --scenario all \\
      --nodes 3 --clients 200 --faults 100 --messages 200000
";

/// What to do.
pub enum Command {
    Help,
    Run(Run),
    Node(node::Args),
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Run {
    pub scenarios: Vec<Scenario>,
    pub nodes: usize,
    pub clients: usize,
    pub faults: u64,
    pub messages: u64,
    pub every: Duration,
    pub think: Duration,
    pub pushes: f64,
    pub lease: Duration,
    pub patience: Duration,
    pub store: Option<Url>,
    pub directory: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub sabotage: Option<(String, Broken)>,
}

const PROMISES: [(&str, Broken); 3] = [
    ("deduplication", Broken::Deduplication),
    ("fencing", Broken::Fencing),
    ("redelivery", Broken::Redelivery),
];

/// Reads the command line.
pub fn parse() -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        Some(Value(command)) if command == "run" => parse_run(parser),
        Some(Value(command)) if command == "node" => parse_node(parser),
        Some(Short('h') | Long("help")) | None => Ok(Command::Help),
        Some(other) => Err(other.unexpected()),
    }
}

fn parse_run(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut run = Run {
        scenarios: vec![Scenario::Kill],
        nodes: 0,
        clients: 200,
        faults: 20,
        messages: 20_000,
        every: Duration::from_millis(2_000),
        think: Duration::from_millis(300),
        pushes: 100.0,
        lease: Duration::from_millis(3_000),
        patience: Duration::from_secs(20),
        store: None,
        directory: None,
        json: None,
        sabotage: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("scenario") => run.scenarios = parser.value()?.parse_with(scenarios)?,
            Long("nodes") => run.nodes = parser.value()?.parse()?,
            Long("clients") => run.clients = parser.value()?.parse()?,
            Long("faults" | "kills") => run.faults = parser.value()?.parse()?,
            Long("messages") => run.messages = parser.value()?.parse()?,
            Long("every") => run.every = parser.value()?.parse_with(millis)?,
            Long("think") => run.think = parser.value()?.parse_with(millis)?,
            Long("pushes") => run.pushes = parser.value()?.parse()?,
            Long("lease") => run.lease = parser.value()?.parse_with(millis)?,
            Long("patience") => run.patience = parser.value()?.parse_with(millis)? * 1_000,
            Long("store") => run.store = Some(Url::parse(&parser.value()?.string()?)),
            Long("directory") => run.directory = Some(parser.value()?.into()),
            Long("json") => run.json = Some(parser.value()?.into()),
            Long("sabotage") => run.sabotage = Some(parser.value()?.parse_with(promise)?),
            Short('h') | Long("help") => return Ok(Command::Help),
            _ => return Err(argument.unexpected()),
        }
    }
    if run.clients == 0 {
        return Err("--clients must be at least 1".into());
    }
    Ok(Command::Run(run))
}

fn parse_node(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut store, mut process, mut port, mut directory) = (None, None, None, None);
    let (mut pushes, mut lease) = (0.0, Duration::from_secs(3));
    let (mut sabotage, mut die_at) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("store") => store = Some(Url::parse(&parser.value()?.string()?)),
            Long("process") => process = Some(parser.value()?.parse()?),
            Long("port") => port = Some(parser.value()?.parse()?),
            Long("directory") => directory = Some(parser.value()?.into()),
            Long("pushes") => pushes = parser.value()?.parse()?,
            Long("lease") => lease = parser.value()?.parse_with(millis)?,
            Long("sabotage") => sabotage = Some(parser.value()?.parse_with(promise)?.1),
            Long("die-at") => die_at = Some(parser.value()?.parse_with(step)?),
            _ => return Err(argument.unexpected()),
        }
    }
    let missing = |what: &str| lexopt::Error::from(format!("{what} is missing"));
    Ok(Command::Node(node::Args {
        store: store.ok_or_else(|| missing("--store"))?,
        process: process.ok_or_else(|| missing("--process"))?,
        port: port.ok_or_else(|| missing("--port"))?,
        directory: directory.ok_or_else(|| missing("--directory"))?,
        pushes,
        lease,
        sabotage,
        die_at,
    }))
}

fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.replace([',', '_'], "")
        .parse()
        .map(Duration::from_millis)
}

fn scenarios(text: &str) -> Result<Vec<Scenario>, String> {
    match text {
        "all" => Ok(Scenario::ALL
            .iter()
            .map(|(_, scenario)| *scenario)
            .collect()),
        _ => named("scenario", text, &Scenario::ALL).map(|scenario| vec![scenario]),
    }
}

fn promise(text: &str) -> Result<(String, Broken), String> {
    named("promise", text, &PROMISES).map(|promise| (text.to_owned(), promise))
}

fn step(text: &str) -> Result<DieAt, String> {
    named("step", text, &DieAt::ALL)
}

fn named<T: Copy>(what: &str, text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        format!(
            "there is no {what} {text:?}: choose one of {}",
            names.join(", ")
        )
    })
}
