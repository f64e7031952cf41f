//! What to run, and the parsers of option values.

use std::path::PathBuf;
use std::time::Duration;

use tokio_tungstenite::tungstenite::http::Uri;

use crate::mix::{Kind, Mix};
use crate::sustained::args::Sustained;

/// The endpoint of plain requests, unless another one is named.
pub const PING: &str = "Test.matsSocketPing";

/// What to run.
#[derive(Clone, Debug)]
pub struct Args {
    pub urls: Vec<Uri>,
    pub sessions: usize,
    /// The user of all sessions. `None`: a separate user for each.
    pub user: Option<String>,
    pub time: Duration,
    pub patience: Duration,
    pub threads: usize,
    pub server: Vec<u32>,
    pub json: Option<PathBuf>,
    pub quiet: bool,
    pub scenario: Scenario,
}

/// Requests, and messages ordered from the server.
#[derive(Clone, Debug)]
pub struct Load {
    pub mix: Mix,
    /// The endpoint of plain requests.
    pub endpoint: String,
    pub via: Via,
    pub size: usize,
    pub pace: Pace,
}

impl Load {
    /// Only requests to one endpoint.
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

    /// Messages per second, in an open loop.
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

/// When the next message of a session is sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When one of this many in flight is done.
    Closed { in_flight: usize },
    /// When it is due, whether or not earlier ones are done.
    Open { rate: f64 },
}

/// How messages from the server are ordered.
#[derive(Clone, Copy, Debug)]
pub enum Via {
    /// This many with each order.
    Burst(u32),
    Thread,
}

pub fn url(text: &str) -> Result<Uri, String> {
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

pub fn pid(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is not a process id");
    text.trim().parse().map_err(|_| wrong())
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

pub fn above_zero(text: &str) -> Result<f64, String> {
    match rate(text)? {
        0.0 => Err("must be more than 0".to_owned()),
        rate => Ok(rate),
    }
}
