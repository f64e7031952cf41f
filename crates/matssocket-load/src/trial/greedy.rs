//! One user sends requests without a pause, from many sessions.

use std::hint::spin_loop;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::time::sleep;

use super::args::Args;
use super::others::{Others, Phase};
use super::{SECOND, apart, server, tell};
use crate::args::{self as load, Load, Pace, Scenario};
use crate::crowd;
use crate::verdict::Verdict;

const ENDPOINT: &str = "Test.matsSocketPing";

pub async fn run(
    args: &Args,
    verdict: &mut Verdict,
    sessions: usize,
    in_flight: usize,
) -> Result<(), String> {
    let url = &args.urls[0];
    let lease = server::Lease::watch(url).await;
    let others = Others::begin(url, "other", ENDPOINT, args.others).await?;
    sleep(args.quiet).await;
    others.next_phase();
    let busy = Busy::begin();
    sleep(args.quiet).await;
    drop(busy);
    others.next_phase();
    let greedy = requests(args, sessions, in_flight);
    let greedy = apart(move || crowd::run(greedy, None)).await;
    let phases = others.end().await;

    let (quiet, busy, loaded) = (&phases[0], &phases[1], &phases[2]);
    tell(verdict, "quiet", quiet, None);
    tell(verdict, "busy", busy, None);
    tell(verdict, "greedy", loaded, None);
    verdict.at_most(
        "HELLO p99 while greedy, ms",
        loaded.newcomers.percentile(0.99).as_secs_f64() * 1e3,
        SECOND.as_secs_f64() * 1e3,
    );
    let p99 = |phase: &Phase| phase.paced.percentile(0.99).as_secs_f64();
    verdict.tell(
        "requests' p99 while greedy, times that of quiet",
        p99(loaded) / p99(quiet),
    );
    verdict.at_most(
        "requests' p99 while greedy, times that of busy",
        p99(loaded) / p99(busy),
        2.0,
    );
    lease.tell(verdict).await;
    match greedy {
        Ok(report) => {
            let tally = &report.tally;
            let last = tally.last.unwrap_or(report.ended);
            let seconds = last.saturating_duration_since(report.begun).as_secs_f64();
            verdict.tell(
                "the greedy user's, per second",
                tally.done as f64 / seconds.max(1e-6),
            );
            verdict.tell("the greedy user's RETRYs", tally.retried as f64);
            verdict.tell("the greedy user's faults", tally.faults.sum() as f64);
            if let Some(example) = &tally.example {
                verdict.note(&format!("the greedy user's first fault: {example}"));
            }
        }
        // A failure of the greedy user itself does not matter.
        Err(why) => verdict.note(&format!("the greedy user: {why}")),
    }
    Ok(())
}

/// Busy-looping threads: one more than there are processors. The time that others' requests take beside them is due to
/// the operating system's scheduling, and no server can be faster while all its threads have work.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn begin() -> Busy {
        let goes_on = Arc::new(AtomicBool::new(true));
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..=processors {
            let goes_on = goes_on.clone();
            thread::spawn(move || {
                while goes_on.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
        }
        Busy(goes_on)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The greedy user.
fn requests(args: &Args, sessions: usize, in_flight: usize) -> load::Args {
    load::Args {
        urls: vec![args.urls[0].clone()],
        sessions,
        user: Some("greedy".to_owned()),
        time: args.time,
        patience: args.time,
        threads: 1,
        server: Vec::new(),
        json: None,
        quiet: true,
        scenario: Scenario::Requests(Load::requests(ENDPOINT, 200, Pace::Closed { in_flight })),
    }
}
