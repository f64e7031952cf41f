//! The command line of trials.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::args::{above_zero, count, pid, positive, seconds, url, whole};

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

/// The users with a normal load.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    pub idle: usize,
    pub paced: usize,
    /// Requests of each, per second.
    pub rate: f64,
    /// New users per second.
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
        /// The sessions and messages are already in the store.
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

/// A way to make the server hold much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Messages that are never complete
    Frames,
    /// The same in many frames
    Fragments,
    /// A topic's publications that are not read
    History,
    /// Messages for sessions that reconnect
    Outbox,
}

impl Case {
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

/// The trials, as they are given.
#[derive(Subcommand)]
pub enum TrialCommand {
    /// Trial: one user's sessions send requests without a pause
    Greedy {
        /// Sessions of the one user
        #[arg(long, value_name = "N", default_value = "40", value_parser = positive)]
        sessions: usize,
        /// Requests in flight for each
        #[arg(long, value_name = "K", default_value = "500", value_parser = positive)]
        in_flight: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Trial: one user makes the server hold as much as it will hold for one user, in four ways
    Memory {
        /// Which of the ways [default: all]
        #[arg(long, value_enum, value_name = "NAME")]
        case: Option<Case>,
        /// Number of sessions [default: 40; history 15; outbox 2]
        #[arg(long, value_name = "N", value_parser = positive)]
        connections: Option<usize>,
        /// Bytes requested by each [default: 50 MiB; history 57 MiB; outbox 800 MB]
        #[arg(long, value_name = "B", value_parser = positive)]
        bytes: Option<usize>,
        #[command(flatten)]
        most: Most,
        #[command(flatten)]
        common: Common,
    },
    /// Trial: sessions with large backlogs reconnect all at once
    Resume {
        /// How many there are
        #[arg(long, value_name = "N", default_value = "1,000", value_parser = positive)]
        sessions: usize,
        /// Messages waiting for each session
        #[arg(long, value_name = "B", default_value = "20", value_parser = count)]
        backlog: u32,
        /// Characters of a message's text
        #[arg(long, value_name = "C", default_value = "1,000,000", value_parser = positive)]
        size: usize,
        /// The sessions back-0, back-1 … of users of the same names, and their messages, are already in the store
        #[arg(long)]
        stored: bool,
        #[command(flatten)]
        most: Most,
        #[command(flatten)]
        common: Common,
    },
    /// Trial: one service has endless work, while another must answer
    Services {
        /// How many there are
        #[arg(long, value_name = "N", default_value = "1,000", value_parser = positive)]
        jobs: usize,
        /// Users to which the jobs belong
        #[arg(long, value_name = "N", default_value = "20", value_parser = positive)]
        users: usize,
        /// Kill the process of the first URL (kill -9), with the jobs on it; the second URL's node continues
        #[arg(long, value_name = "P", value_parser = pid)]
        kill_pid: Option<u32>,
        #[command(flatten)]
        common: Common,
    },
    /// Trial: no user asks too much: for the effect of the server's own work, such as scavenging
    Steady {
        #[command(flatten)]
        common: Common,
    },
}

/// The options of every trial.
#[derive(clap::Args)]
#[command(next_help_heading = "For all trials")]
pub struct Common {
    /// Where the server is, ws:// only
    #[arg(long = "url", value_name = "URL,…", required = true, value_delimiter = ',', value_parser = url)]
    urls: Vec<Uri>,
    /// The process whose memory is reported (Linux)
    #[arg(long, value_name = "P,…", value_delimiter = ',', value_parser = pid)]
    server_pid: Vec<u32>,
    /// Seconds of quiet at the beginning (not for steady)
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    quiet_seconds: Duration,
    /// Seconds in which one user asks too much
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    seconds: Duration,
    /// Sessions that only keep their connections open
    #[arg(long, value_name = "N", default_value = "10", value_parser = whole)]
    idle: usize,
    /// Sessions that send requests at a rate, each of a separate user
    #[arg(long, value_name = "N", default_value = "10", value_parser = positive)]
    paced: usize,
    /// Requests of each of them, per second
    #[arg(long, value_name = "R", default_value = "20", value_parser = above_zero)]
    rate: f64,
    /// New users per second
    #[arg(long, value_name = "R", default_value = "2", value_parser = above_zero)]
    newcomers: f64,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print only whether the limits held
    #[arg(long)]
    quiet: bool,
}

/// The memory that the server may use.
#[derive(clap::Args)]
pub struct Most {
    /// The server's max_node_bytes [default: 512 MiB]: its memory may be a fifth more
    #[arg(long, value_name = "B", value_parser = positive)]
    budget: Option<usize>,
    /// Additional bytes for what is not counted, such as the program itself
    #[arg(long, value_name = "B", default_value = "0", value_parser = whole)]
    base: usize,
}

impl Most {
    fn bytes(&self) -> u64 {
        let budget = self.budget.unwrap_or(512 << 20);
        (budget + budget / 5 + self.base) as u64
    }
}

impl Common {
    fn with(self, trial: Trial) -> Args {
        Args {
            urls: self.urls,
            server: self.server_pid,
            quiet: self.quiet_seconds,
            time: self.seconds,
            others: Others {
                idle: self.idle,
                paced: self.paced,
                rate: self.rate,
                newcomers: self.newcomers,
            },
            json: self.json,
            only_verdict: self.quiet,
            trial,
        }
    }
}

impl TrialCommand {
    /// Checks that the options go together.
    pub fn checked(self) -> Result<Args, String> {
        let args = self.args();
        let kills = matches!(args.trial, Trial::Services { kill: Some(_), .. });
        match (args.urls.len(), &args.trial) {
            (1, _) if kills => {
                Err("--kill-pid needs a second --url, of the node that goes on".into())
            }
            (_, Trial::Memory { .. } | Trial::Resume { .. }) if args.server.is_empty() => {
                Err("--server-pid is missing: the process whose memory is to be watched".into())
            }
            _ => Ok(args),
        }
    }

    fn args(self) -> Args {
        match self {
            TrialCommand::Greedy {
                sessions,
                in_flight,
                common,
            } => common.with(Trial::Greedy {
                sessions,
                in_flight,
            }),
            TrialCommand::Memory {
                case,
                connections,
                bytes,
                most,
                common,
            } => common.with(Trial::Memory {
                cases: case.map_or(Case::value_variants().to_vec(), |case| vec![case]),
                connections,
                bytes,
                most: most.bytes(),
            }),
            TrialCommand::Resume {
                sessions,
                backlog,
                size,
                stored,
                most,
                common,
            } => common.with(Trial::Resume {
                sessions,
                backlog,
                size,
                stored,
                most: most.bytes(),
            }),
            TrialCommand::Services {
                jobs,
                users,
                kill_pid: kill,
                common,
            } => common.with(Trial::Services { jobs, users, kill }),
            TrialCommand::Steady { common } => common.with(Trial::Steady),
        }
    }
}
