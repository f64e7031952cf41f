//! The command line of trials.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::args::{count, pids, positive, rate, seconds, urls, whole};

/// What `--help` prints of them.
pub const USAGE: &str = "\
Trials: first the server is left in peace, then one user asks too much of it, while others do what they always do. What
becomes of them is held against numbers that must be kept. Exit code 1: one was not.
  greedy     one user's sessions send requests without a pause
  memory     one user makes the server hold all that it will hold for him, in four ways
  resume     sessions with big backlogs come back all at once
  services   one service has work that does not end, and another is to answer
  steady     nobody asks too much: for what the server does of its own accord, such as scavenging

For all trials:
  --url URL,…         services: the second one is of a node that goes on when --kill-pid is gone
  --server-pid P      the process whose memory is told (Linux)
  --quiet-seconds S   how long the server is left in peace at first (default 10; not for steady)
  --seconds S         how long one user asks too much (default 30)
  --idle N            sessions that only keep their lines open (default 10)
  --paced N           sessions that send requests at a rate, each of a user of its own (default 10)
  --rate R            of each of them, per second (default 20)
  --newcomers R       new users per second (default 2)
  --json FILE         writes the figures there as well
  --quiet             only whether the numbers were kept
greedy:
  --sessions N        of the one user (default 40)
  --in-flight K       requests under way for each (default 500)
memory:
  --case NAME         frames: messages that are never complete; fragments: the same in many frames; history: a topic's
                      publications that nobody reads; outbox: messages for sessions that come back (default: all)
  --connections N     default 40; history 15; outbox 2
  --bytes B           that each asks for (default 50 MiB; history 57 MiB; outbox 800 MB)
memory, resume:
  --budget B          the server's max_node_bytes (default 512 MiB): its memory may be a fifth more
  --base B            and this: what is not counted, such as the program itself (default 0)
resume:
  --sessions N        default 1,000
  --backlog B         messages waiting for each session (default 20)
  --size C            characters of a message's text (default 1,000,000)
  --stored            the sessions back-0, back-1 … of users of the same names are in the store already, and their messages
services:
  --jobs N            default 1,000
  --users N           whose jobs they are (default 20)
  --kill-pid P        kills the process of the first URL (kill -9), with the jobs on it
";

/// The trials' names.
pub const NAMES: &str = "greedy, memory, resume, services, steady";

/// What to try.
#[derive(Clone, Debug)]
pub struct Args {
    pub urls: Vec<Uri>,
    pub server: Vec<u32>,
    pub quiet: Duration,
    pub time: Duration,
    pub others: Others,
    pub json: Option<PathBuf>,
    pub only_verdict: bool,
    pub trial: Trial,
}

/// Those who ask for no more than usual.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    pub idle: usize,
    pub paced: usize,
    /// Of each, per second.
    pub rate: f64,
    /// Per second.
    pub newcomers: f64,
}

#[derive(Clone, Debug)]
pub enum Trial {
    Greedy {
        sessions: usize,
        in_flight: usize,
    },
    Memory {
        cases: Vec<Case>,
        connections: Option<usize>,
        bytes: Option<usize>,
        most: u64,
    },
    Resume {
        sessions: usize,
        backlog: u32,
        size: usize,
        /// They are in the store already.
        stored: bool,
        most: u64,
    },
    Services {
        jobs: usize,
        users: usize,
        kill: Option<u32>,
    },
    Steady,
}

impl Trial {
    pub fn name(&self) -> &'static str {
        match self {
            Trial::Greedy { .. } => "greedy",
            Trial::Memory { .. } => "memory",
            Trial::Resume { .. } => "resume",
            Trial::Services { .. } => "services",
            Trial::Steady => "steady",
        }
    }
}

/// A way to make the server hold much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Frames,
    Fragments,
    History,
    Outbox,
}

impl Case {
    const ALL: [Case; 4] = [Case::Frames, Case::Fragments, Case::History, Case::Outbox];

    pub fn name(self) -> &'static str {
        match self {
            Case::Frames => "frames",
            Case::Fragments => "fragments",
            Case::History => "history",
            Case::Outbox => "outbox",
        }
    }

    pub fn connections(self) -> usize {
        match self {
            Case::Frames | Case::Fragments => 40,
            Case::History => 15,
            Case::Outbox => 2,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Case::Frames | Case::Fragments => 50 << 20,
            Case::History => 57 << 20,
            Case::Outbox => 800_000_000,
        }
    }
}

/// Options as given; which of them a trial knows is checked when it is made.
#[derive(Default)]
struct Given {
    sessions: Option<usize>,
    in_flight: Option<usize>,
    case: Option<Case>,
    connections: Option<usize>,
    bytes: Option<usize>,
    budget: Option<usize>,
    base: Option<usize>,
    backlog: Option<u32>,
    size: Option<usize>,
    stored: bool,
    jobs: Option<usize>,
    users: Option<usize>,
    kill: Option<u32>,
}

/// The name of a trial.
pub fn named(name: &str) -> Option<&'static str> {
    NAMES.split(", ").find(|known| *known == name)
}

/// Reads on after the trial's name; `None` asks for help.
pub fn parse(
    name: &'static str,
    mut parser: lexopt::Parser,
) -> Result<Option<Args>, lexopt::Error> {
    let mut given = Given::default();
    let mut args = Args {
        urls: Vec::new(),
        server: Vec::new(),
        quiet: Duration::from_secs(10),
        time: Duration::from_secs(30),
        others: Others {
            idle: 10,
            paced: 10,
            rate: 20.0,
            newcomers: 2.0,
        },
        json: None,
        only_verdict: false,
        trial: Trial::Steady,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("url") => args.urls = parser.value()?.parse_with(urls)?,
            Long("server-pid") => args.server = parser.value()?.parse_with(pids)?,
            Long("quiet-seconds") => args.quiet = parser.value()?.parse_with(seconds)?,
            Long("seconds") => args.time = parser.value()?.parse_with(seconds)?,
            Long("idle") => args.others.idle = parser.value()?.parse_with(whole)?,
            Long("paced") => args.others.paced = parser.value()?.parse_with(positive)?,
            Long("rate") => args.others.rate = parser.value()?.parse_with(above_zero)?,
            Long("newcomers") => args.others.newcomers = parser.value()?.parse_with(above_zero)?,
            Long("json") => args.json = Some(parser.value()?.into()),
            Long("quiet") => args.only_verdict = true,
            Long("sessions") => given.sessions = Some(parser.value()?.parse_with(positive)?),
            Long("in-flight") => given.in_flight = Some(parser.value()?.parse_with(positive)?),
            Long("case") => given.case = Some(parser.value()?.parse_with(case)?),
            Long("connections") => given.connections = Some(parser.value()?.parse_with(positive)?),
            Long("bytes") => given.bytes = Some(parser.value()?.parse_with(positive)?),
            Long("budget") => given.budget = Some(parser.value()?.parse_with(positive)?),
            Long("base") => given.base = Some(parser.value()?.parse_with(whole)?),
            Long("backlog") => given.backlog = Some(parser.value()?.parse_with(count)?),
            Long("size") => given.size = Some(parser.value()?.parse_with(positive)?),
            Long("stored") => given.stored = true,
            Long("jobs") => given.jobs = Some(parser.value()?.parse_with(positive)?),
            Long("users") => given.users = Some(parser.value()?.parse_with(positive)?),
            Long("kill-pid") => given.kill = Some(parser.value()?.parse()?),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    args.trial = given.trial(name)?;
    check(&args)?;
    Ok(Some(args))
}

fn check(args: &Args) -> Result<(), lexopt::Error> {
    let kills = matches!(args.trial, Trial::Services { kill: Some(_), .. });
    match (args.urls.len(), &args.trial) {
        (0, _) => {
            Err("--url is missing: the server's, such as ws://127.0.0.1:8080/matssocket".into())
        }
        (1, _) if kills => Err("--kill-pid needs a second --url, of the node that goes on".into()),
        (_, Trial::Memory { .. } | Trial::Resume { .. }) if args.server.is_empty() => {
            Err("--server-pid is missing: the process whose memory is to be watched".into())
        }
        _ => Ok(()),
    }
}

impl Given {
    fn trial(mut self, name: &str) -> Result<Trial, lexopt::Error> {
        let trial = match name {
            "greedy" => Trial::Greedy {
                sessions: self.sessions.take().unwrap_or(40),
                in_flight: self.in_flight.take().unwrap_or(500),
            },
            "memory" => Trial::Memory {
                cases: (self.case.take()).map_or(Case::ALL.to_vec(), |case| vec![case]),
                connections: self.connections.take(),
                bytes: self.bytes.take(),
                most: self.most(),
            },
            "resume" => Trial::Resume {
                sessions: self.sessions.take().unwrap_or(1_000),
                backlog: self.backlog.take().unwrap_or(20),
                size: self.size.take().unwrap_or(1_000_000),
                stored: std::mem::take(&mut self.stored),
                most: self.most(),
            },
            "services" => Trial::Services {
                jobs: self.jobs.take().unwrap_or(1_000),
                users: self.users.take().unwrap_or(20),
                kill: self.kill.take(),
            },
            _ => Trial::Steady,
        };
        match self.rest() {
            Some(option) => Err(format!("{option} is not for the trial {name}").into()),
            None => Ok(trial),
        }
    }

    /// The memory that the server may take.
    fn most(&mut self) -> u64 {
        let budget = self.budget.take().unwrap_or(512 << 20);
        (budget + budget / 5 + self.base.take().unwrap_or(0)) as u64
    }

    /// An option that nobody has taken.
    fn rest(&self) -> Option<&'static str> {
        [
            (self.sessions.is_some(), "--sessions"),
            (self.in_flight.is_some(), "--in-flight"),
            (self.case.is_some(), "--case"),
            (self.connections.is_some(), "--connections"),
            (self.bytes.is_some(), "--bytes"),
            (self.budget.is_some(), "--budget"),
            (self.base.is_some(), "--base"),
            (self.backlog.is_some(), "--backlog"),
            (self.size.is_some(), "--size"),
            (self.stored, "--stored"),
            (self.jobs.is_some(), "--jobs"),
            (self.users.is_some(), "--users"),
            (self.kill.is_some(), "--kill-pid"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }
}

fn case(text: &str) -> Result<Case, String> {
    let known = Case::ALL.into_iter().find(|case| case.name() == text);
    known.ok_or_else(|| format!("{text:?} is none of frames, fragments, history, outbox"))
}

fn above_zero(text: &str) -> Result<f64, String> {
    match rate(text)? {
        0.0 => Err("0 is too few".to_owned()),
        rate => Ok(rate),
    }
}
