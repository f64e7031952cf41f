//! `matssocket-load`: many sessions in one process that speak the plain protocol to any MatsSocket server with the
//! conformance endpoints, count the answers, and check that nothing is lost, doubled or reordered.
//!
//! [`scenario`] defines what a session does in each scenario, [`crowd`] runs all of them on a few threads, [`session`],
//! [`mod@line`] and [`pipeline`] speak the protocol at little cost per message, [`tally`] counts, [`report`] prints. In
//! a [`trial`], one user asks too much, and the service that others get is compared with limits; [`sustained`] does the
//! same for a server's performance over time.

mod args;
mod command_line;
mod crowd;
mod line;
mod mix;
mod pace;
mod pipeline;
mod process;
mod report;
mod scenario;
mod session;
mod stage;
mod sustained;
mod tally;
mod trial;
mod verdict;

use std::process::ExitCode;

use args::{Args, Scenario};
use command_line::Command;
use report::Report;

fn main() -> ExitCode {
    let done = match command_line::read() {
        Command::Run(args) => run(args),
        Command::Try(args) => trial::run(args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("matssocket-load: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(args: Args) -> Result<bool, String> {
    match args.scenario.clone() {
        Scenario::Sustained(load, sustained) => sustained::run(args, &load, &sustained),
        _ => crowd::run(args, None).and_then(|report| tell(&report)),
    }
}

/// Prints a report. Returns whether there was no error.
fn tell(report: &Report) -> Result<bool, String> {
    report.print();
    report.write_json()?;
    Ok(report.errors() == 0)
}
