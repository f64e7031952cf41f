//! What one user must not be able to do to others, and to the server: each trial starts quietly, then lets one user ask
//! too much, and compares the service that all others get with the promised limits.

pub mod args;
mod backlog;
mod greedy;
mod memory;
mod others;
mod resume;
mod server;
mod services;

use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::verdict::Verdict;
use args::{Args, Trial};
use others::{Others, Phase};

/// Limit for the 99th percentile of newcomers and of requests while one user asks too much.
const SECOND: Duration = Duration::from_secs(1);

/// Runs a trial. Returns whether all limits held.
///
/// # Errors
/// It could not be run.
pub fn run(args: Args) -> Result<bool, String> {
    let mut verdict = Verdict::new(args.only_verdict);
    on_one_thread(async {
        match &args.trial {
            Trial::Greedy {
                sessions,
                in_flight,
            } => greedy::run(&args, &mut verdict, *sessions, *in_flight).await,
            Trial::Memory {
                cases,
                connections,
                bytes,
                most,
            } => {
                for case in cases {
                    let connections = connections.unwrap_or(case.connections());
                    let bytes = bytes.unwrap_or(case.bytes());
                    memory::run(&args, &mut verdict, *case, connections, bytes, *most).await?;
                }
                Ok(())
            }
            Trial::Resume {
                sessions,
                backlog,
                size,
                stored,
                most,
            } => {
                let messages = (*backlog, *size);
                resume::run(&args, &mut verdict, *sessions, messages, *stored, *most).await
            }
            Trial::Services { jobs, users, kill } => {
                services::run(&args, &mut verdict, *jobs, *users, *kill).await
            }
            Trial::Steady => steady(&args, &mut verdict).await,
        }
    })??;
    verdict.end(args.trial.name(), args.json.as_deref())
}

/// No user asks too much.
async fn steady(args: &Args, verdict: &mut Verdict) -> Result<(), String> {
    let url = &args.urls[0];
    let lease = server::Lease::watch(url).await;
    let others = Others::begin(url, "other", "Test.matsSocketPing", args.others).await?;
    sleep(args.time).await;
    let phases = others.end().await;
    tell(verdict, "steady", &phases[0], Some(SECOND));
    lease.tell(verdict).await;
    Ok(())
}

fn on_one_thread<T>(run: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|why| format!("no runtime: {why}"))?;
    Ok(LocalSet::new().block_on(&runtime, run))
}

/// Runs something on a separate thread, so that it does not hold up the measuring sessions.
async fn apart<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (done, result) = oneshot::channel();
    thread::spawn(move || done.send(run()));
    result.await.map_err(|_| "a thread panicked".to_owned())?
}

/// Reports the service that the others got in a phase.
fn tell(verdict: &mut Verdict, when: &str, phase: &Phase, most: Option<Duration>) {
    verdict.times(&format!("{when}: requests"), &phase.paced, most);
    verdict.times(&format!("{when}: HELLO"), &phase.newcomers, most);
    verdict.none(format!("{when}: lines closed"), phase.closed);
    let faults = phase.paced.faults.sum() + phase.newcomers.faults.sum();
    verdict.none(format!("{when}: refused or unanswered"), faults);
    verdict.tell(format!("{when}: RETRYs"), phase.paced.retried as f64);
    let examples = [&phase.paced.example, &phase.newcomers.example];
    for example in examples.into_iter().flatten() {
        verdict.note(&format!("the first fault: {example}"));
    }
}
