//! The threads that talk to the database: those that write, in group commits, and those that read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::StoreError;
use super::handlers::{Handlers, Watched};
use super::health::Health;
use super::job::{Job, Seat};
use super::lane::{Lane, Next};
use super::lines::{Held, Lines, Purpose};
use super::news::News;
use super::queue::Queue;
use super::statements::{
    Care, DbError, DbResult, Fault, Group, Meaning, Mode, Statements, Touched, Verdict, in_words,
};
use crate::fault_injection::{Step, reached};
use crate::seldom::log_seldom;
use crate::wire::shown;

/// What a thread does.
#[derive(Clone, Copy)]
pub enum Role<'a> {
    /// It writes, at most so many operations in one transaction.
    Write { batch: usize },
    /// It runs transactional handlers, one at a time, until it is taken for lost.
    Handle(&'a Arc<Handlers>),
    /// It reads, as one of so many that share what is to be read.
    Read { threads: usize },
}

/// Most operations that are read in one transaction: beginning and ending it are round trips, and the first of them is
/// answered with the last.
const READ_TOGETHER: usize = 16;

/// Does what comes through a lane, until that is closed; begins anew when it panics.
pub fn serve(lane: &Lane, lines: &Arc<Lines>, role: Role<'_>, queue: &Queue) {
    let (most, threads, purpose) = match role {
        Role::Write { batch } => (batch, 1, Purpose::Write),
        Role::Handle(_) => (1, 1, Purpose::Handle),
        Role::Read { threads } => (READ_TOGETHER, threads, Purpose::Read),
    };
    let mut serve = || {
        let mut worker = Worker {
            lines,
            purpose,
            line: None,
            queue,
            health: &lane.health,
            watched: None,
        };
        while let Some(next) = lane.take(most, threads) {
            match next {
                Next::Group(mut group) => {
                    worker.watched = match role {
                        Role::Handle(handlers) => group.first_mut().map(|job| handlers.begin(job)),
                        Role::Write { .. } | Role::Read { .. } => None,
                    };
                    worker.work(group);
                    let watched = worker.watched.take();
                    if watched.is_some_and(|watched| !watched.end()) {
                        return;
                    }
                }
                Next::Check => worker.check(),
                Next::Nothing => {}
            }
            worker.share();
        }
    };
    while catch_unwind(AssertUnwindSafe(&mut serve)).is_err() {
        queue.metrics.panicked();
        log_seldom!(
            error,
            "a thread of the store panicked; it goes on with a fresh connection"
        );
    }
}

struct Worker<'a> {
    lines: &'a Arc<Lines>,
    purpose: Purpose,
    /// `None`: to be taken before the next transaction.
    line: Option<Held>,
    /// Where they come from.
    queue: &'a Queue,
    health: &'a Health,
    /// What runs, if that is watched.
    watched: Option<Watched>,
}

impl Worker<'_> {
    /// Tries whether anything could be done.
    fn check(&mut self) {
        if let Err(fault) = self.try_hard(&mut []) {
            log::debug!("a thread of the store could do nothing now: {fault:?}");
        }
        self.health.checked();
    }

    /// Lets another thread have the connection, if it waits for one.
    fn share(&mut self) {
        if self.lines.are_wanted()
            && let Some(line) = self.line.take()
        {
            line.give_back(self.purpose);
        }
    }

    /// Does what was taken out of the queue.
    fn work(&mut self, mut jobs: Vec<Job>) {
        let begun = Instant::now();
        let queue = self.queue;
        queue.metrics.handled(jobs.len());
        queue
            .meter
            .count_out(jobs.iter_mut().map(|job| job.taken(begun)));
        self.commit_all(jobs);
        queue.meter.handled_together(begun.elapsed());
    }

    /// Commits a group, except that what must be alone is.
    fn commit_all(&mut self, jobs: Vec<Job>) {
        let mut group = Vec::with_capacity(jobs.len());
        for job in jobs {
            if matches!(job.mode(), Mode::Alone | Mode::Handler) {
                self.commit(std::mem::take(&mut group));
                self.commit(vec![job]);
            } else {
                group.push(job);
            }
        }
        self.commit(group);
    }

    /// Commits a group as one; if something in it fails, one by one, so that only the bad one fails.
    fn commit(&mut self, mut group: Vec<Job>) {
        if group.is_empty() {
            return;
        }
        match self.try_hard(&mut group) {
            Ok(()) => finish(group, self.queue),
            Err(Fault::Inside(error, meaning)) if group.len() > 1 && meaning != Meaning::Unable => {
                log_seldom!(
                    warn,
                    "a group of {} operations failed and is run one by one: {}",
                    group.len(),
                    shown(&error.to_string())
                );
                self.commit_singly(group);
            }
            Err(fault) => fail(group, fault),
        }
    }

    fn commit_singly(&mut self, group: Vec<Job>) {
        let mut jobs = group.into_iter();
        while let Some(job) = jobs.next() {
            let mut single = vec![job];
            match self.try_hard(&mut single) {
                Ok(()) => finish(single, self.queue),
                Err(fault) => {
                    if matches!(
                        fault,
                        Fault::Begin(..) | Fault::Lost(_) | Fault::Inside(_, Meaning::Unable)
                    ) {
                        // The database is away: the others would only wait for it one after the other.
                        single.extend(jobs.by_ref());
                    }
                    fail(single, fault);
                }
            }
        }
    }

    /// Runs a group in one transaction: again if only the connection was bad, and again with more care if that may help
    /// (two who lock each other out are told so by the database, for one).
    fn try_hard(&mut self, group: &mut [Job]) -> Result<(), Fault> {
        let mut result = self.attempt(group, Care::Quick);
        if group.iter().any(|job| job.mode() == Mode::Handler) {
            return result;
        }
        if matches!(result, Err(Fault::Lost(_))) {
            result = self.attempt(group, Care::Quick);
        }
        if matches!(result, Err(Fault::Inside(_, meaning)) if meaning != Meaning::Unable) {
            result = self.attempt(group, Care::Careful);
        }
        result
    }

    /// Runs a group in one transaction.
    fn attempt(&mut self, jobs: &mut [Job], care: Care) -> Result<(), Fault> {
        let with_work = !jobs.is_empty();
        let result = self.run(jobs, care);
        match &result {
            Ok(()) => self.health.well(with_work),
            Err(fault) => self.health.failed(fault),
        }
        result
    }

    fn run(&mut self, jobs: &mut [Job], care: Care) -> Result<(), Fault> {
        let started = Instant::now();
        let line = match &mut self.line {
            Some(line) => line,
            none => {
                let watched = &self.watched;
                let taken = self.lines.take(self.purpose, &mut |cut| {
                    if let Some(watched) = watched {
                        watched.uses(Some(cut));
                    }
                });
                none.insert(taken.map_err(|error| Fault::Begin(in_words(error), Meaning::Line))?)
            }
        };
        let line = line.line();
        if let Some(watched) = &self.watched {
            watched.uses(line.cutter());
            if watched.is_given_up() {
                let why = in_words("whoever asked was told that it took too long");
                return Err(Fault::Begin(why, Meaning::Again));
            }
        }
        let size = jobs.len();
        let result = line.transaction(&mut Batch(jobs), care);
        let done_with = match &result {
            // A commit that was not answered, and then asked for, has gone well on a line that is lost.
            Ok(verdict) => *verdict == Verdict::Discard || line.is_broken(),
            // Not known either where it is the files that are not as they were, and the connection is well.
            Err(Fault::Inside(..) | Fault::Unknown(_)) => line.is_broken(),
            Err(Fault::Begin(..) | Fault::Lost(_)) => true,
        };
        if done_with {
            self.line = None;
        }
        if result? == Verdict::Commit {
            reached(Step::AfterCommit);
            if self.purpose != Purpose::Read && size > 0 {
                self.queue.metrics.committed(size, started.elapsed());
            }
        }
        Ok(())
    }
}

/// Jobs that share a transaction.
struct Batch<'a>(&'a mut [Job]);

impl Group for Batch<'_> {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        for job in self.0.iter() {
            job.touches(see);
        }
    }

    fn run(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict> {
        let mut verdict = Verdict::Commit;
        for job in self.0.iter_mut() {
            verdict = job.apply(statements)?;
        }
        // Only one that is alone ever says anything but Commit.
        Ok(verdict)
    }
}

/// News first: whoever is answered may rely on the news being on their way.
fn finish(mut group: Vec<Job>, queue: &Queue) {
    // By the node on whose behalf.
    let mut told: Vec<(Arc<Seat>, News)> = Vec::new();
    for (seat, mut news) in group.iter_mut().filter_map(|job| job.news()) {
        match told.iter_mut().find(|(other, _)| Arc::ptr_eq(other, seat)) {
            Some((_, before)) => {
                before.stored.append(&mut news.stored);
                before.forwarded.append(&mut news.forwarded);
                before.work |= news.work;
                before.published |= news.published;
            }
            None => told.push((seat.clone(), news)),
        }
    }
    for (seat, news) in told {
        seat.tell(news);
    }
    // All together, and before anybody is answered: counters that several threads write are slow.
    queue.give_back(group.iter_mut().filter_map(|job| job.give_back()));
    for job in group {
        job.answer();
    }
}

fn error_of(error: &DbError, meaning: Meaning) -> StoreError {
    // It may quote what it did not take.
    let why = shown(&error.to_string()).into_owned();
    match meaning {
        Meaning::Refused => StoreError::Refused(why),
        Meaning::Unable => StoreError::Unable(why),
        Meaning::Line | Meaning::Again => StoreError::Failed(why),
    }
}

fn fail(group: Vec<Job>, fault: Fault) {
    let error = match fault {
        Fault::Unknown(error) => {
            log_seldom!(
                error,
                "what became of {} operations is not known: {error}",
                group.len()
            );
            StoreError::Unknown
        }
        Fault::Begin(error, meaning) | Fault::Inside(error, meaning) => error_of(&error, meaning),
        Fault::Lost(error) => error_of(&error, Meaning::Line),
    };
    for job in group {
        job.fail(error.clone());
    }
}
