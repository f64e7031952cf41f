//! Runs all sessions on a few threads, and measures.

use std::io::{IsTerminal, Write};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::args::{Args, Scenario};
use crate::pace;
use crate::report::{Report, Usage};
use crate::scenario::play;
use crate::stage::{Shared, Stage};
use crate::sustained::Course;
use crate::tally::Tally;

/// How often to check whether all are ready, or done.
const LOOK: Duration = Duration::from_millis(5);
/// Longest time for closing sessions.
const CLOSING: Duration = Duration::from_secs(5);

/// Runs a scenario from beginning to end; a course, if any, reports its progress.
///
/// # Errors
/// Nothing could be measured: a session could not be opened, or a process does not exist.
pub fn run(args: Args, mut course: Option<&mut Course>) -> Result<Report, String> {
    let shared = Shared::new(args);
    let pids = &shared.args.server;
    let empty = Usage::now(pids)?;
    let threads: Vec<_> = (0..shared.args.threads)
        .map(|number| start(shared.clone(), number))
        .collect::<Result<_, _>>()?;
    let mut progress = Progress::new(&shared);
    wait(&shared, &threads, || {
        let ready = shared.ready.load(Ordering::Relaxed);
        progress.tell(|| format!("{ready} of {} sessions are ready", shared.players()));
        ready == shared.players()
    })?;
    let mut before = Usage::now(pids)?;
    let begun = begin(&shared)?;
    if let Scenario::Idle { settle, .. } = shared.args.scenario {
        thread::sleep(settle);
        before = Usage::now(pids)?;
    }
    if let Some(course) = &mut course {
        progress.end();
        course.begin(&shared, begun)?;
    }
    let mut last = 0;
    wait(&shared, &threads, || {
        let is_over = shared.finished.load(Ordering::Relaxed) == shared.players();
        if let Some(course) = &mut course {
            course.look(&shared, Instant::now());
            return is_over;
        }
        let done = shared.done.load(Ordering::Relaxed);
        progress.tell(|| {
            let faults = shared.faults.load(Ordering::Relaxed);
            let second = done - std::mem::replace(&mut last, done);
            let seconds = begun.elapsed().as_secs();
            format!("{seconds:>4} s  {done:>12} done  {second:>9} since  {faults} errors")
        });
        is_over
    })?;
    progress.end();
    let ended = Instant::now();
    let after = Usage::now(pids)?;
    shared.over.send_replace(true);
    let mut tally = Tally::default();
    for thread in threads {
        tally.add(&thread.join().map_err(|_| "a thread panicked")?);
    }
    Ok(Report {
        args: shared.args.clone(),
        tally,
        begun,
        ended,
        empty,
        before,
        after,
        sustained: None,
    })
}

/// Lets everything begin. Returns when that was.
fn begin(shared: &Arc<Shared>) -> Result<Instant, String> {
    let begun = Instant::now();
    if let Scenario::Storm {
        kill: Some(pid), ..
    } = shared.args.scenario
    {
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
        if !killed.is_ok_and(|status| status.success()) {
            return Err(format!("the process {pid} could not be killed"));
        }
    }
    if let Some(rate) = shared.args.scenario.rate() {
        let shared = shared.clone();
        thread::spawn(move || pace::run(&shared, begun, rate));
    }
    shared.begun.send_replace(Some(begun));
    Ok(begun)
}

fn wait(
    shared: &Shared,
    threads: &[JoinHandle<Tally>],
    mut is_done: impl FnMut() -> bool,
) -> Result<(), String> {
    while !is_done() {
        if let Some(why) = shared.failure() {
            return Err(why);
        }
        if threads.iter().any(JoinHandle::is_finished) {
            return Err("a thread panicked".to_owned());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// One thread, with its part of the sessions.
fn start(shared: Arc<Shared>, first: usize) -> Result<JoinHandle<Tally>, String> {
    let spawned = thread::Builder::new()
        .name(format!("load-{first}"))
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            LocalSet::new().block_on(&runtime, sessions(shared, first))
        });
    spawned.map_err(|why| format!("a thread could not be started: {why}"))
}

async fn sessions(shared: Arc<Shared>, first: usize) -> Tally {
    let stage = Rc::new(Stage::new(shared.clone()));
    let tasks: Vec<_> = (first..shared.players())
        .step_by(shared.args.threads)
        .map(|number| tokio::task::spawn_local(life(stage.clone(), number)))
        .collect();
    for task in tasks {
        task.await.expect("no session panics");
    }
    stage.tally.take()
}

/// One session: it runs its part, waits until everything is measured, and is closed.
async fn life(stage: Rc<Stage>, number: usize) {
    let session = play(&stage, number).await;
    stage.shared.finished.fetch_add(1, Ordering::Relaxed);
    let mut over = stage.shared.over.subscribe();
    let _ = over.wait_for(|over| *over).await;
    if let Some(session) = session {
        let _ = tokio::time::timeout(CLOSING, session.close()).await;
    }
}

/// Reports progress: on a terminal every second, in place; otherwise occasionally, on separate lines.
struct Progress {
    terminal: bool,
    every: Duration,
    next: Option<Instant>,
}

impl Progress {
    fn new(shared: &Shared) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let every = Duration::from_secs(if terminal { 1 } else { 5 });
        let first = Instant::now() + every;
        Progress {
            terminal,
            every,
            next: (!shared.args.quiet).then_some(first),
        }
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        let Some(next) = self.next.filter(|next| *next <= Instant::now()) else {
            return;
        };
        self.next = Some(next + self.every);
        let (before, after) = if self.terminal {
            ("\r\x1b[2K", "")
        } else {
            ("", "\n")
        };
        eprint!("{before}{}{after}", text());
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if self.terminal && self.next.is_some() {
            eprint!("\r\x1b[2K");
        }
    }
}
