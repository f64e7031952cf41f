//! One service has endless work, while another must answer.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};

use super::args::Args;
use super::others::Others;
use super::{SECOND, tell};
use crate::pipeline::parse;
use crate::session::Session;
use crate::verdict::Verdict;

/// It forwards to a service that answers at once.
const QUICK: &str = "Test.single";
/// It forwards to a slow service, which takes an hour.
const SLOW: &str = "Test.slow";
const AN_HOUR: &str = r#"{"sleepTime":3600000}"#;
/// How long it may take to have all jobs accepted, or refused.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn run(
    args: &Args,
    verdict: &mut Verdict,
    jobs: usize,
    users: usize,
    kill: Option<u32>,
) -> Result<(), String> {
    let others = Others::begin(&args.urls[0], "first", QUICK, args.others).await?;
    sleep(args.quiet).await;
    others.next_phase();
    let taken = order(args, jobs, users).await?;
    verdict.tell("jobs accepted", taken.accepted as f64);
    verdict.tell("jobs answered with RETRY", taken.retried as f64);
    verdict.tell(
        "jobs neither",
        (jobs - taken.accepted - taken.retried) as f64,
    );
    sleep(args.time).await;
    let phases = others.end().await;
    tell(verdict, "quiet", &phases[0], None);
    tell(verdict, "with the jobs", &phases[1], Some(SECOND));
    let Some(pid) = kill else {
        return Ok(());
    };
    let others = Others::begin(&args.urls[1], "second", QUICK, args.others).await?;
    sleep(args.quiet).await;
    others.next_phase();
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    if !killed.is_ok_and(|status| status.success()) {
        return Err(format!("the process {pid} could not be killed"));
    }
    // Until the lease has expired, and then as long again with its jobs.
    sleep(LEASE + args.time).await;
    let phases = others.end().await;
    tell(verdict, "second node, before", &phases[0], None);
    tell(
        verdict,
        "second node, taking over",
        &phases[1],
        Some(SECOND),
    );
    Ok(())
}

/// The time after which the work of a killed node is taken over.
const LEASE: Duration = Duration::from_secs(16);

#[derive(Default)]
struct Taken {
    accepted: usize,
    retried: usize,
}

/// Orders the jobs, and disconnects.
async fn order(args: &Args, jobs: usize, users: usize) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let give_up = Instant::now() + PATIENCE;
    let each = jobs.div_ceil(users);
    for user in 0..users {
        let count = each.min(jobs.saturating_sub(user * each));
        if count == 0 {
            break;
        }
        let mut session = Session::open(&args.urls[0], format!("jobs-{user}")).await?;
        for _ in 0..count {
            session.say("REQUEST", SLOW, "job", AN_HOUR);
        }
        session.flush().await?;
        let hear = hear(&mut session, count, &mut taken);
        // A job that is not answered in time counts as neither.
        if let Ok(heard) = timeout_at(give_up.into(), hear).await {
            heard?;
        }
        drop(session.lose());
    }
    Ok(taken)
}

async fn hear(session: &mut Session, mut count: usize, taken: &mut Taken) -> Result<(), String> {
    while count > 0 {
        let text = session.next().await?;
        for envelope in parse(&text)? {
            for cmid in envelope.cmids() {
                match envelope.t {
                    "ACK" => {
                        session.out.ack2(cmid);
                        taken.accepted += 1;
                    }
                    "RETRY" => taken.retried += 1,
                    _ => continue,
                }
                count = count.saturating_sub(1);
            }
        }
        session.flush().await?;
    }
    Ok(())
}
