//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::args::{self, Load, PING, Pace, Scenario};
use crate::args::{above_zero, count, pid, positive, rate, seconds, url, whole};
use crate::mix::{Kind, Mix};
use crate::sustained::args::Options as SustainedOptions;
use crate::trial::args::{self as trial, TrialCommand};

const CLOSING: &str = "\
The scenarios from requests to sustained check as they go: a message that is lost, doubled or reordered is an error.

The trials from greedy to steady leave the server in peace at first. Then one user asks too much of it, while others do
what they always do, and what becomes of them is held against numbers that must be kept.

Exit codes: 0 no errors, and all numbers kept; 1 there were some, or one was not; 2 it could not be run.";

/// Load for a MatsSocket server with the conformance endpoints (cargo run --example conformance)
#[derive(Parser)]
#[command(
    name = "matssocket-load",
    version,
    after_help = CLOSING,
    arg_required_else_help = true,
    args_override_self = true,
    max_term_width = 100
)]
struct CommandLine {
    #[command(subcommand)]
    command: ScenarioCommand,
}

/// What to do.
pub enum Command {
    Run(args::Args),
    Try(trial::Args),
}

/// Parses the command line. Ends the process if it asks for help, or is invalid.
pub fn read() -> Command {
    let command = match CommandLine::try_parse() {
        Ok(CommandLine { command }) => command.checked(),
        Err(error) => {
            // Without arguments, it prints the help.
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                print!("{}", error.render());
                std::process::exit(0);
            }
            error.exit();
        }
    };
    command.unwrap_or_else(|why| {
        CommandLine::command()
            .error(ErrorKind::ValueValidation, why)
            .exit()
    })
}

#[derive(Subcommand)]
enum ScenarioCommand {
    /// REQUEST, RESOLVE, ACK2: a closed loop with --in-flight, or an open loop with --rate
    Requests {
        #[command(flatten)]
        pace: PaceOptions,
        #[command(flatten)]
        size: Size,
        /// The endpoint to request
        #[arg(long, value_name = "ID", default_value = PING)]
        endpoint: String,
        /// The user of all sessions, instead of one for each
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Messages from the server, acknowledged by the client
    Pushes {
        /// Orders in progress per session
        #[arg(long, value_name = "K", default_value = "1", value_parser = positive)]
        in_flight: usize,
        #[command(flatten)]
        size: Size,
        #[command(flatten)]
        order: Order,
        #[command(flatten)]
        common: Common,
    },
    /// One topic: the sessions subscribe, another one publishes
    Fanout {
        /// Publications per second
        #[arg(long, value_name = "R", default_value = "100", value_parser = above_zero)]
        rate: f64,
        #[command(flatten)]
        common: Common,
    },
    /// Connected sessions that only keep their connections open: memory of each, CPU at rest
    Idle {
        /// Seconds until memory is read
        #[arg(long, value_name = "S", default_value = "10", value_parser = rate)]
        settle: f64,
        /// Seconds between PINGs of a session; 0 for none. Clients have 15
        #[arg(long, value_name = "S", default_value = "15", value_parser = rate)]
        ping: f64,
        #[command(flatten)]
        common: Common,
    },
    /// Sessions with a backlog lose their connections all at once, and reconnect without a pause
    Storm {
        /// Messages waiting for each session
        #[arg(long, value_name = "B", default_value = "20", value_parser = count)]
        backlog: u32,
        #[command(flatten)]
        size: Size,
        /// Instead of cutting connections, kill this process (kill -9), which must be that of the first URL
        #[arg(long, value_name = "P", value_parser = pid)]
        kill_pid: Option<u32>,
        #[command(flatten)]
        common: Common,
    },
    /// Plain WebSocket texts, for a server that echoes them: a ceiling for all of the above
    Echo {
        /// Messages under way per session
        #[arg(long, value_name = "K", default_value = "10", value_parser = positive)]
        in_flight: usize,
        #[command(flatten)]
        size: Size,
        #[command(flatten)]
        common: Common,
    },
    /// Any mix of requests, pushes and forwarded requests, for long enough to see changes over time
    ///
    /// In addition to the messages, the lines show how many cores of this machine the server (--server-pid) kept busy,
    /// and how many were idle, waited for the disk, or were used by other virtual machines.
    Sustained {
        #[command(flatten)]
        pace: PaceOptions,
        #[command(flatten)]
        size: Size,
        #[command(flatten)]
        order: Order,
        #[command(flatten)]
        sustained: SustainedOptions,
        #[command(flatten)]
        common: Common,
    },
    #[command(flatten)]
    Trial(TrialCommand),
}

/// The options of every scenario.
#[derive(Args)]
#[command(next_help_heading = "For all scenarios")]
struct Common {
    /// Where the server is, ws:// only; sessions are spread over several (with --kill-pid, all begin at the first)
    #[arg(long = "url", value_name = "URL,…", required = true, value_delimiter = ',', value_parser = url)]
    urls: Vec<Uri>,
    /// Number of sessions
    #[arg(long, value_name = "N", default_value = "100", value_parser = positive)]
    sessions: usize,
    /// How long to run [default: 10, sustained 60; not for storm]
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Seconds to wait at the end for missing messages
    #[arg(long, value_name = "S", default_value = "20", value_parser = seconds)]
    patience: Duration,
    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    threads: usize,
    /// Processes whose CPU time and memory are reported (Linux)
    #[arg(long, value_name = "P,…", value_delimiter = ',', value_parser = pid)]
    server_pid: Vec<u32>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
struct Size {
    /// Characters of a message's text
    #[arg(long, value_name = "C", default_value = "200", value_parser = whole)]
    size: usize,
}

#[derive(Args)]
struct PaceOptions {
    /// Messages in flight per session [default: 10]
    #[arg(long, value_name = "K", value_parser = positive, conflicts_with = "rate")]
    in_flight: Option<usize>,
    /// Messages per second, of all sessions, whether or not earlier ones are done; times count from when each was due
    #[arg(long, value_name = "R", value_parser = above_zero)]
    rate: Option<f64>,
}

impl PaceOptions {
    fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Open { rate },
            None => Pace::Closed {
                in_flight: self.in_flight.unwrap_or(10),
            },
        }
    }
}

/// How pushes are ordered.
#[derive(Args)]
struct Order {
    /// How messages from the server are ordered
    #[arg(long, value_enum, default_value_t = Via::Burst)]
    via: Via,
    /// Messages of one order [default: 100; sustained 10, and 1 at a --rate]
    #[arg(long, value_name = "COUNT", value_parser = count)]
    burst: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Via {
    /// From Bench.burst, --burst messages at a time in one transaction
    Burst,
    /// From Test.server.send.thread, one by one
    Thread,
}

impl Order {
    fn via(&self, burst: u32) -> args::Via {
        match self.via {
            Via::Burst => args::Via::Burst(self.burst.unwrap_or(burst)),
            Via::Thread => args::Via::Thread,
        }
    }
}

impl Common {
    fn with(self, scenario: Scenario) -> Command {
        Command::Run(args::Args {
            threads: self.threads.min(self.sessions),
            time: self.time(10),
            urls: self.urls,
            sessions: self.sessions,
            user: None,
            patience: self.patience,
            server: self.server_pid,
            json: self.json,
            quiet: self.quiet,
            scenario,
        })
    }

    fn time(&self, default: u64) -> Duration {
        self.seconds.unwrap_or(Duration::from_secs(default))
    }
}

impl ScenarioCommand {
    /// Checks that the options go together.
    fn checked(self) -> Result<Command, String> {
        Ok(match self {
            ScenarioCommand::Requests {
                pace,
                size,
                endpoint,
                user,
                common,
            } => {
                let load = Load::requests(&endpoint, size.size, pace.pace());
                let mut command = common.with(Scenario::Requests(load));
                if let Command::Run(args) = &mut command {
                    args.user = user;
                }
                command
            }
            ScenarioCommand::Pushes {
                in_flight,
                size,
                order,
                common,
            } => common.with(Scenario::Pushes(Load {
                mix: Mix::only(Kind::Pushes),
                pace: Pace::Closed { in_flight },
                endpoint: PING.to_owned(),
                via: order.via(100),
                size: size.size,
            })),
            ScenarioCommand::Fanout { rate, common } => common.with(Scenario::Fanout { rate }),
            ScenarioCommand::Idle {
                settle,
                ping,
                common,
            } => common.with(Scenario::Idle {
                settle: Duration::from_secs_f64(settle),
                ping: (ping > 0.0).then(|| Duration::from_secs_f64(ping)),
            }),
            ScenarioCommand::Storm {
                backlog,
                size,
                kill_pid: kill,
                common,
            } => {
                if kill.is_some() && common.urls.len() < 2 {
                    return Err(
                        "--kill-pid needs a second --url, where the sessions go then".into(),
                    );
                }
                let size = size.size;
                common.with(Scenario::Storm {
                    backlog,
                    size,
                    kill,
                })
            }
            ScenarioCommand::Echo {
                in_flight,
                size,
                common,
            } => common.with(Scenario::Echo {
                in_flight,
                size: size.size,
            }),
            ScenarioCommand::Sustained {
                pace,
                size,
                order,
                sustained,
                mut common,
            } => {
                let time = common.time(60);
                common.seconds = Some(time);
                let (mix, sustained) = sustained.checked(time)?;
                let load = Load {
                    mix,
                    via: sustained_via(&pace, &order)?,
                    pace: pace.pace(),
                    endpoint: PING.to_owned(),
                    size: size.size,
                };
                common.with(Scenario::Sustained(load, sustained))
            }
            ScenarioCommand::Trial(trial) => Command::Try(trial.checked()?),
        })
    }
}

fn sustained_via(pace: &PaceOptions, order: &Order) -> Result<args::Via, String> {
    match (pace.rate, order.burst) {
        (Some(_), Some(_)) => Err("at a --rate, messages come due one by one: no --burst".into()),
        (Some(_), None) => Ok(order.via(1)),
        (None, _) => Ok(order.via(10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }
}
