//! The command line.

use std::convert::Infallible;
use std::num::ParseIntError;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use matssocket::fault_injection::Broken;

use crate::database::Url;
use crate::node::{self, DieAt};
use crate::scenario::Scenario;

const CLOSING: &str = "\
Scenarios:
  kill       a node is killed (kill -9) and started again, and so on
  database   PostgreSQL ends as in a crash, and comes back
  listen     the lines by which nodes hear each other are cut
  pause      a node is stopped for longer than its lease, and continued
  rolling    node after node is told to end, and started again
  upgrade    node after node is replaced by one of another version, and back again
  steps      a node dies at each step of a transactional message
  silent     the lines to PostgreSQL lead nowhere any more, and stay open
  failover   PostgreSQL ends as in a crash, and its standby takes over
  read-only  the way to PostgreSQL leads to the standby for a while
  slots      the nodes get fewer connections than they want
  all        one after the other

The full scale, on a release build (about 10 minutes for each scenario):

  cargo run --release --features postgres,sabotage --example chaos -- run --scenario all \\
      --nodes 3 --clients 200 --faults 100 --messages 200000";

/// Nodes in processes of their own, clients that watch, and faults: checks that no message is lost, processed twice, out
/// of order, or given to the wrong one
///
/// Exit codes: 0 every promise was kept, 1 one was broken, 2 it could not be run.
#[derive(Parser)]
#[command(name = "chaos", args_override_self = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run scenarios
    Run(Run),
    /// Be one node, as the command `run` starts it
    #[command(hide = true)]
    Node(node::Args),
}

/// How to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = CLOSING)]
pub struct Run {
    /// What is done to the nodes, see below
    #[arg(long = "scenario", value_name = "NAME", default_value = "kill", value_parser = scenarios)]
    pub scenarios: Scenarios,
    /// How many nodes; 0: three, or one on SQLite
    #[arg(long, value_name = "N", default_value = "0")]
    pub nodes: usize,
    /// How many clients
    #[arg(long, value_name = "N", default_value = "200", value_parser = positive)]
    pub clients: usize,
    /// At least so many kills, pauses or restarts
    #[arg(long, alias = "kills", value_name = "N", default_value = "20")]
    pub faults: u64,
    /// At least so many messages, both ways
    #[arg(long, value_name = "N", default_value = "20000")]
    pub messages: u64,
    /// Mean time between faults, in milliseconds
    #[arg(long, value_name = "MS", default_value = "2,000", value_parser = millis)]
    pub every: Duration,
    /// Mean time between a client's reply and its next request of that kind, in milliseconds
    #[arg(long, value_name = "MS", default_value = "300", value_parser = millis)]
    pub think: Duration,
    /// Messages that each node sends by itself, per second
    #[arg(long, value_name = "N", default_value = "100")]
    pub pushes: f64,
    /// Lease of a node, in milliseconds
    #[arg(long, value_name = "MS", default_value = "3,000", value_parser = millis)]
    pub lease: Duration,
    /// Seconds after the load in which nothing may happen before what is missing counts as lost
    #[arg(long, value_name = "S", default_value = "20", value_parser = seconds)]
    pub patience: Duration,
    /// postgres://… or an SQLite file (default: a PostgreSQL of its own)
    #[arg(long, value_name = "URL", value_parser = url)]
    pub store: Option<Url>,
    /// Where logs and journals go (default: a temporary directory, kept if a promise was broken)
    #[arg(long, value_name = "PATH")]
    pub directory: Option<PathBuf>,
    /// Write the figures there as well
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// For `upgrade`: this program as another version has built it (default: this one, posing as a next version that
    /// has added columns and tables)
    #[arg(long, value_name = "PROGRAM")]
    pub other: Option<PathBuf>,
    /// Break a promise on purpose: deduplication, fencing or redelivery. The checker must notice
    #[arg(long, value_name = "NAME", value_parser = promise)]
    pub sabotage: Option<Promise>,
}

/// (To clap, a `Vec` would be an option that may be given several times.)
type Scenarios = Vec<Scenario>;

/// A promise to break, and its name.
type Promise = (String, Broken);

const PROMISES: [(&str, Broken); 3] = [
    ("deduplication", Broken::Deduplication),
    ("fencing", Broken::Fencing),
    ("redelivery", Broken::Redelivery),
];

/// Reads the command line. Ends the process if it asks for help, or is not understood.
pub fn parse() -> Command {
    CommandLine::parse().command
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("is not a whole number".to_owned()),
    }
}

/// A store: everything that is no PostgreSQL is the name of a file.
pub fn url(text: &str) -> Result<Url, Infallible> {
    Ok(Url::parse(text))
}

fn seconds(text: &str) -> Result<Duration, ParseIntError> {
    Ok(millis(text)? * 1_000)
}

pub fn millis(text: &str) -> Result<Duration, ParseIntError> {
    text.replace([',', '_'], "")
        .parse()
        .map(Duration::from_millis)
}

fn scenarios(text: &str) -> Result<Scenarios, String> {
    match text {
        "all" => Ok(Scenario::ALL
            .iter()
            .map(|(_, scenario)| *scenario)
            .collect()),
        _ => named("scenario", text, &Scenario::ALL).map(|scenario| vec![scenario]),
    }
}

fn promise(text: &str) -> Result<Promise, String> {
    Ok((text.to_owned(), broken(text)?))
}

pub fn broken(text: &str) -> Result<Broken, String> {
    named("promise", text, &PROMISES)
}

pub fn step(text: &str) -> Result<DieAt, String> {
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
