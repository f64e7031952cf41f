//! `matssocket-load`: many sessions in one process, which speak the plain protocol to any MatsSocket server that
//! carries the conformance endpoints, count what comes back, and check that nothing is lost, doubled or reordered.
//!
//! [`scenario`] has what a session does in each scenario, [`crowd`] runs all of them on a few threads, [`session`],
//! [`line`] and [`pipeline`] speak the protocol at little cost per message, [`tally`] counts, [`report`] tells.

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

use std::process::ExitCode;

use args::Command;
use report::Report;

fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(Command::Run(args)) => args,
        Ok(Command::Help) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("matssocket-load: {why}\nmatssocket-load --help tells what there is");
            return ExitCode::from(2);
        }
    };
    match crowd::run(args).and_then(|report| tell(&report)) {
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
