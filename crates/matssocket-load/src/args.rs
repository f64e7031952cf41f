//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::mix::{Kind, Mix};
use crate::sustained::args::{self as sustained, Sustained};
use crate::trial::args as trial;

/// What `--help` prints.
pub const USAGE: &str = "\
Load for a MatsSocket server that carries the conformance endpoints (cargo run --example conformance), in a process of
its own. Checks as it goes: a message that is lost, doubled or reordered is an error. Exit code 0: no errors; 1: there
were some; 2: it could not be run.

Usage: matssocket-load SCENARIO --url URL[,URL…] [OPTION…]

Scenarios:
  requests   REQUEST, RESOLVE, ACK2: closed loop with --in-flight, or open loop with --rate
  pushes     messages from the server, acknowledged by the client
  fanout     one topic: the sessions subscribe, one more publishes at --rate
  idle       connected sessions that only keep their lines open: memory of each, CPU at rest
  storm      sessions with a backlog lose their lines all at once, and come back without a pause
  echo       plain WebSocket texts, for a server that echoes them: a ceiling for all of the above
  sustained  any mix of requests, pushes and forwarded requests, for as long as it takes to see what time does to it

For all:
  --url URL,…         ws:// only; sessions are spread over them (--kill-pid: all begin at the first)
  --sessions N        default 100
  --seconds S         how long to go on (default 10, sustained 60; not for storm)
  --patience S        how long what is missing in the end is waited for (default 20)
  --threads N         default 1
  --server-pid P,…    processes whose CPU time and memory are told (Linux)
  --json FILE         writes the figures there as well
  --quiet             no progress

requests, pushes, echo, sustained:
  --in-flight K       messages (pushes: orders) under way per session (default 10; pushes 1)
  --size C            characters of a message's text (default 200; also storm)
requests, sustained:
  --rate R            per second, of all sessions, whatever becomes of those before; times are from when each was due
requests:
  --endpoint ID       default Test.matsSocketPing
  --user NAME         whose sessions all of them are, instead of a user for each
pushes, sustained:
  --via burst|thread  ordered from Bench.burst, --burst messages at a time in one transaction (default), or from
                      Test.server.send.thread, one by one
  --burst COUNT       default 100; sustained 10, and 1 at a --rate
fanout:
  --rate R            publications per second (default 100)
idle:
  --settle S          until memory is read (default 10)
  --ping S            between PINGs of a session; 0 for none (default 15, as clients do)
storm:
  --backlog B         messages waiting for each session (default 20)
  --kill-pid P        instead of cutting the lines, kills this process (kill -9), which must be the first URL's
";

/// What to do.
pub enum Command {
    Help,
    Run(Args),
    Try(trial::Args),
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Args {
    pub urls: Vec<Uri>,
    pub sessions: usize,
    /// Whose they are; `None`: a user for each.
    pub user: Option<String>,
    pub time: Duration,
    pub patience: Duration,
    pub threads: usize,
    pub server: Vec<u32>,
    pub json: Option<PathBuf>,
    pub quiet: bool,
    pub scenario: Scenario,
}

/// Requests, and messages that are ordered from the server.
#[derive(Clone, Debug)]
pub struct Load {
    pub mix: Mix,
    /// Of plain requests.
    pub endpoint: String,
    pub via: Via,
    pub size: usize,
    pub pace: Pace,
}

impl Load {
    /// Nothing but requests to one endpoint.
    pub fn requests(endpoint: &str, size: usize, pace: Pace) -> Load {
        Load {
            mix: Mix::only(Kind::Requests),
            endpoint: endpoint.to_owned(),
            via: Via::Thread,
            size,
            pace,
        }
    }
}

/// A scenario and what it is run with.
#[derive(Clone, Debug)]
pub enum Scenario {
    Requests(Load),
    Pushes(Load),
    Sustained(Load, Sustained),
    Fanout {
        rate: f64,
    },
    Idle {
        settle: Duration,
        ping: Option<Duration>,
    },
    Storm {
        backlog: u32,
        size: usize,
        kill: Option<u32>,
    },
    Echo {
        in_flight: usize,
        size: usize,
    },
}

impl Scenario {
    pub fn name(&self) -> &'static str {
        match self {
            Scenario::Requests(_) => "requests",
            Scenario::Pushes(_) => "pushes",
            Scenario::Sustained(..) => "sustained",
            Scenario::Fanout { .. } => "fanout",
            Scenario::Idle { .. } => "idle",
            Scenario::Storm { .. } => "storm",
            Scenario::Echo { .. } => "echo",
        }
    }

    /// Messages per second that come due by themselves.
    pub fn rate(&self) -> Option<f64> {
        match self {
            Scenario::Requests(load) | Scenario::Sustained(load, _) => match load.pace {
                Pace::Open { rate } => Some(rate),
                Pace::Closed { .. } => None,
            },
            Scenario::Fanout { rate } => Some(*rate),
            _ => None,
        }
    }
}

/// When the next message of a session goes out.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When one of so many is done.
    Closed { in_flight: usize },
    /// When it is due.
    Open { rate: f64 },
}

/// How messages from the server are ordered.
#[derive(Clone, Copy, Debug)]
pub enum Via {
    /// So many with each order.
    Burst(u32),
    Thread,
}

/// Options as given; which of them a scenario knows is checked when it is made.
#[derive(Default)]
struct Given {
    in_flight: Option<usize>,
    size: Option<usize>,
    rate: Option<f64>,
    endpoint: Option<String>,
    user: Option<String>,
    via: Option<String>,
    burst: Option<u32>,
    settle: Option<f64>,
    ping: Option<f64>,
    backlog: Option<u32>,
    kill: Option<u32>,
    sustained: sustained::Given,
}

/// Reads the command line.
pub fn parse() -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let name = match parser.next()? {
        Some(Value(name)) => name.string()?,
        Some(Short('h') | Long("help")) | None => return Ok(Command::Help),
        Some(other) => return Err(other.unexpected()),
    };
    if let Some(trial) = trial::named(&name) {
        return trial::parse(trial, parser).map(|trial| trial.map_or(Command::Help, Command::Try));
    }
    let mut given = Given::default();
    let mut args = Args {
        urls: Vec::new(),
        sessions: 100,
        user: None,
        time: Duration::from_secs(if name == "sustained" { 60 } else { 10 }),
        patience: Duration::from_secs(20),
        threads: 1,
        server: Vec::new(),
        json: None,
        quiet: false,
        scenario: Scenario::Fanout { rate: 0.0 },
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("url") => args.urls = parser.value()?.parse_with(urls)?,
            Long("sessions") => args.sessions = parser.value()?.parse_with(positive)?,
            Long("seconds") => args.time = parser.value()?.parse_with(seconds)?,
            Long("patience") => args.patience = parser.value()?.parse_with(seconds)?,
            Long("threads") => args.threads = parser.value()?.parse_with(positive)?,
            Long("server-pid") => args.server = parser.value()?.parse_with(pids)?,
            Long("json") => args.json = Some(parser.value()?.into()),
            Long("quiet") => args.quiet = true,
            Long("in-flight") => given.in_flight = Some(parser.value()?.parse_with(positive)?),
            Long("size") => given.size = Some(parser.value()?.parse_with(whole)?),
            Long("rate") => given.rate = Some(parser.value()?.parse_with(rate)?),
            Long("endpoint") => given.endpoint = Some(parser.value()?.string()?),
            Long("user") => given.user = Some(parser.value()?.string()?),
            Long("via") => given.via = Some(parser.value()?.string()?),
            Long("burst") => given.burst = Some(parser.value()?.parse_with(count)?),
            Long("settle") => given.settle = Some(parser.value()?.parse_with(rate)?),
            Long("ping") => given.ping = Some(parser.value()?.parse_with(rate)?),
            Long("backlog") => given.backlog = Some(parser.value()?.parse_with(count)?),
            Long("kill-pid") => given.kill = Some(parser.value()?.parse()?),
            Short('h') | Long("help") => return Ok(Command::Help),
            Long(name) => match sustained::option(name) {
                Some(option) => given.sustained.take(option, parser.value()?)?,
                None => return Err(argument.unexpected()),
            },
            _ => return Err(argument.unexpected()),
        }
    }
    if name == "requests" {
        args.user = given.user.take();
    }
    args.scenario = scenario(&name, given, args.time)?;
    args.threads = args.threads.min(args.sessions);
    if args.urls.is_empty() {
        return Err(
            "--url is missing: the server's, such as ws://127.0.0.1:8080/matssocket".into(),
        );
    }
    if let Scenario::Storm { kill: Some(_), .. } = args.scenario
        && args.urls.len() < 2
    {
        return Err("--kill-pid needs a second --url, where the sessions go then".into());
    }
    Ok(Command::Run(args))
}

fn scenario(name: &str, mut given: Given, time: Duration) -> Result<Scenario, lexopt::Error> {
    let scenario = match name {
        "requests" => {
            let (pace, endpoint) = (given.pace()?, given.endpoint.take());
            let endpoint = endpoint.as_deref().unwrap_or(PING);
            Scenario::Requests(Load::requests(endpoint, given.size(), pace))
        }
        "pushes" => Scenario::Pushes(Load {
            mix: Mix::only(Kind::Pushes),
            pace: Pace::Closed {
                in_flight: given.in_flight.take().unwrap_or(1),
            },
            endpoint: PING.to_owned(),
            via: given.via(100)?,
            size: given.size(),
        }),
        "sustained" => {
            let pace = given.pace()?;
            let burst = match pace {
                Pace::Open { .. } if given.burst.is_some() => {
                    return Err("at a --rate, messages come due one by one: no --burst".into());
                }
                Pace::Open { .. } => 1,
                Pace::Closed { .. } => 10,
            };
            let (mix, sustained) = std::mem::take(&mut given.sustained).checked(time)?;
            let load = Load {
                mix,
                pace,
                endpoint: PING.to_owned(),
                via: given.via(burst)?,
                size: given.size(),
            };
            Scenario::Sustained(load, sustained)
        }
        "fanout" => match given.rate.take().unwrap_or(100.0) {
            0.0 => return Err("--rate must be more than 0".into()),
            rate => Scenario::Fanout { rate },
        },
        "idle" => Scenario::Idle {
            settle: Duration::from_secs_f64(given.settle.take().unwrap_or(10.0)),
            ping: Some(given.ping.take().unwrap_or(15.0))
                .filter(|seconds| *seconds > 0.0)
                .map(Duration::from_secs_f64),
        },
        "storm" => Scenario::Storm {
            backlog: given.backlog.take().unwrap_or(20),
            size: given.size(),
            kill: given.kill.take(),
        },
        "echo" => Scenario::Echo {
            in_flight: given.in_flight.take().unwrap_or(10),
            size: given.size(),
        },
        _ => {
            let all = "requests, pushes, fanout, idle, storm, echo, sustained";
            let why = format!(
                "there is no scenario {name:?}: choose one of {all}, {}",
                trial::NAMES
            );
            return Err(why.into());
        }
    };
    match given.rest() {
        Some(option) => Err(format!("{option} is not for the scenario {name}").into()),
        None => Ok(scenario),
    }
}

/// The endpoint of plain requests, unless another one is named.
const PING: &str = "Test.matsSocketPing";

impl Given {
    fn size(&mut self) -> usize {
        self.size.take().unwrap_or(200)
    }

    fn pace(&mut self) -> Result<Pace, lexopt::Error> {
        match (self.rate.take(), self.in_flight.take()) {
            (Some(_), Some(_)) => {
                Err("--in-flight is a closed loop, --rate an open one: choose".into())
            }
            (Some(0.0), None) => Err("--rate must be more than 0".into()),
            (Some(rate), None) => Ok(Pace::Open { rate }),
            (None, in_flight) => Ok(Pace::Closed {
                in_flight: in_flight.unwrap_or(10),
            }),
        }
    }

    fn via(&mut self, burst: u32) -> Result<Via, lexopt::Error> {
        match self.via.take().as_deref() {
            None | Some("burst") => Ok(Via::Burst(self.burst.take().unwrap_or(burst))),
            Some("thread") => Ok(Via::Thread),
            Some(other) => Err(format!("--via {other:?}: burst or thread").into()),
        }
    }

    /// An option that nobody has taken.
    fn rest(&self) -> Option<&'static str> {
        [
            (self.in_flight.is_some(), "--in-flight"),
            (self.size.is_some(), "--size"),
            (self.rate.is_some(), "--rate"),
            (self.endpoint.is_some(), "--endpoint"),
            (self.user.is_some(), "--user"),
            (self.via.is_some(), "--via"),
            (self.burst.is_some(), "--burst"),
            (self.settle.is_some(), "--settle"),
            (self.ping.is_some(), "--ping"),
            (self.backlog.is_some(), "--backlog"),
            (self.kill.is_some(), "--kill-pid"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
        .or(self.sustained.first())
    }
}

pub fn urls(text: &str) -> Result<Vec<Uri>, String> {
    text.split(',').map(url).collect()
}

fn url(text: &str) -> Result<Uri, String> {
    let wrong = || format!("{text:?} is not a URL such as ws://127.0.0.1:8080/matssocket");
    let uri: Uri = text.trim().parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("ws"), Some(_)) => Ok(uri),
        (Some("wss"), _) => Err(format!(
            "{text:?}: TLS is not spoken; load the server behind it"
        )),
        _ => Err(wrong()),
    }
}

pub fn pids(text: &str) -> Result<Vec<u32>, String> {
    let pid = |text: &str| {
        let wrong = || format!("{text:?} is not a process id");
        text.trim().parse().map_err(|_| wrong())
    };
    text.split(',').map(pid).collect()
}

pub fn whole(text: &str) -> Result<usize, String> {
    let plain = text.replace(['_', ','], "");
    let wrong = || format!("{text:?} is not a whole number");
    plain.parse().map_err(|_| wrong())
}

pub fn positive(text: &str) -> Result<usize, String> {
    match whole(text)? {
        0 => Err("0 is too few".to_owned()),
        number => Ok(number),
    }
}

pub fn count(text: &str) -> Result<u32, String> {
    u32::try_from(positive(text)?).map_err(|_| format!("{text:?} is too many"))
}

pub fn rate(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.replace(['_', ','], "").parse().ok();
    number
        .filter(|number| (0.0..1e9).contains(number))
        .ok_or_else(|| format!("{text:?} is not a number from 0 on"))
}

pub fn seconds(text: &str) -> Result<Duration, String> {
    match rate(text)? {
        0.0 => Err("0 s is too short".to_owned()),
        seconds => Ok(Duration::from_secs_f64(seconds)),
    }
}
