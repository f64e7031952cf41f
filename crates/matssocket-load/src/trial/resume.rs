//! Sessions with large backlogs reconnect all at once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::{sleep, timeout_at};
use tokio_tungstenite::tungstenite::http::Uri;

use super::args::Args;
use super::others::Others;
use super::server::Memory;
use super::{SECOND, apart, backlog, memory::mib, on_one_thread, tell};
use crate::scenario::storm::receive;
use crate::session::{Lost, Session};
use crate::verdict::Verdict;

/// How long to wait for the last of them, beyond the given time.
const PATIENCE: Duration = Duration::from_secs(1_800);

pub async fn run(
    args: &Args,
    verdict: &mut Verdict,
    sessions: usize,
    (count, size): (u32, usize),
    stored: bool,
    most: u64,
) -> Result<(), String> {
    let url = args.urls[0].clone();
    let users: Vec<_> = (0..sessions)
        .map(|number| format!("back-{number}"))
        .collect();
    let begun = Instant::now();
    let lost: Vec<Lost> = match stored {
        true => users.iter().map(|user| Lost::named(user)).collect(),
        false => {
            let (lost, messages) = backlog::store(&url, &users, count, size).await?;
            verdict.tell("stored, s", begun.elapsed().as_secs_f64());
            if messages < u64::from(count) * sessions as u64 {
                return Err(format!(
                    "the server stores no more than {messages} messages"
                ));
            }
            lost
        }
    };
    let bytes = lost.len() as f64 * f64::from(count) * size as f64;
    verdict.tell("stored, MB", bytes / 1e6);
    let others = Others::begin(&url, "other", "Test.matsSocketPing", args.others).await?;
    sleep(args.quiet).await;
    let memory = Memory::watch(&args.server);
    others.next_phase();
    let begun = Instant::now();
    let back = apart(move || on_one_thread(come_back(url, lost, count, begun))?).await?;
    let peak = memory.peak();
    let phases = others.end().await;
    tell(verdict, "meanwhile", &phases[1], Some(SECOND));
    verdict.at_most("the server's memory, MiB", mib(peak), mib(most));
    verdict.tell("all have theirs after, s", back.seconds);
    verdict.none("sessions without all of theirs", back.missing);
    verdict.none("their lines closed", back.closed);
    if let Some(why) = back.example {
        verdict.note(&format!("the first fault: {why}"));
    }
    Ok(())
}

struct Back {
    seconds: f64,
    missing: u64,
    closed: u64,
    example: Option<String>,
}

async fn come_back(url: Uri, lost: Vec<Lost>, count: u32, begun: Instant) -> Result<Back, String> {
    let (closed, seconds) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0.0)));
    let tasks: Vec<_> = lost
        .into_iter()
        .map(|lost| {
            let (url, closed, seconds) = (url.clone(), closed.clone(), seconds.clone());
            spawn_local(async move {
                let has_all = || seconds.set(begun.elapsed().as_secs_f64());
                let taken = take(&url, lost, count, &closed, has_all);
                let taken = timeout_at((begun + PATIENCE).into(), taken).await;
                taken.unwrap_or_else(|_| Err(format!("not all had come after {PATIENCE:?}")))
            })
        })
        .collect();
    let (mut missing, mut example) = (0, None);
    for task in tasks {
        if let Err(why) = task.await.map_err(|why| why.to_string())? {
            missing += 1;
            example.get_or_insert(why);
        }
    }
    Ok(Back {
        seconds: seconds.get(),
        missing,
        closed: closed.get(),
        example,
    })
}

/// One session reconnects, and receives its backlog.
async fn take(
    url: &Uri,
    lost: Lost,
    count: u32,
    closed: &Cell<u64>,
    has_all: impl Fn(),
) -> Result<(), String> {
    let mut session = loop {
        match Session::resume(&lost, url).await {
            Ok(session) => break session,
            Err(why) if why.contains("closed by the server: 4001") => return Err(why),
            Err(_) => closed.set(closed.get() + 1),
        }
        sleep(Duration::from_millis(100)).await;
    };
    let received = receive(&mut session, count, has_all).await;
    if let Err((_, why)) = received {
        closed.set(closed.get() + 1);
        return Err(why);
    }
    session.close().await;
    Ok(())
}
