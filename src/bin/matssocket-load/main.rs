//! `matssocket-load`: many sessions in one process, which speak the plain protocol to any MatsSocket server that
//! carries the conformance endpoints, count what comes back, and check that nothing is lost, doubled or reordered.
//!
//! [`scenario`] has what a session does in each scenario, [`crowd`] runs all of them on a few threads, [`session`],
//! [`line`] and [`pipeline`] speak the protocol at little cost per message, [`tally`] counts, [`report`] tells. In a
//! [`trial`], one user asks too much, and what becomes of the others is held against numbers.

mod args;
mod crowd;
mod line;
mod pace;
mod pipeline;
mod process;
mod report;
mod scenario;
mod session;
mod stage;
mod tally;
mod trial;

use std::process::ExitCode;

use args::Command;
use report::Report;

fn main() -> ExitCode {
    let done = match args::parse() {
        Ok(Command::Help) => {
            print!("{}\n{}", args::USAGE, trial::args::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(args)) => crowd::run(args).and_then(|report| tell(&report)),
        Ok(Command::Try(args)) => trial::run(args),
        Err(why) => {
            eprintln!("matssocket-load: {why}\nmatssocket-load --help tells what there is");
            return ExitCode::from(2);
        }
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

/// Whether there was no error.
fn tell(report: &Report) -> Result<bool, String> {
    report.print();
    report.write_json()?;
    Ok(report.errors() == 0)
}
