//! The threads that talk to the database: those that write, in group commits, and those that read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::StoreError;
use super::job::{Job, Seat};
use super::lane::Lane;
use super::operation::News;
use super::queue::Queue;
use super::statements::{
    Care, Database, DbError, DbResult, Fault, Group, Line, Meaning, Mode, Statements, Touched,
    Verdict,
};
use crate::sabotage::{Step, reached};
use crate::seldom::log_seldom;
use crate::wire::shown;

/// What a thread does.
#[derive(Clone, Copy)]
pub enum Role {
    /// It writes, at most so many operations in one transaction.
    Write { batch: usize },
    /// It reads.
    Read,
}

/// Does what comes through a lane, until that is closed; begins anew when it panics.
pub fn serve(lane: &Lane, database: &dyn Database, role: Role, queue: &Queue) {
    let (most, commits) = match role {
        Role::Write { batch } => (batch, true),
        Role::Read => (1, false),
    };
    let open = || match role {
        Role::Write { .. } => database.writer(),
        Role::Read => database.reader(),
    };
    let mut serve = || {
        let mut worker = Worker {
            open: &open,
            line: None,
            queue,
            commits,
        };
        while let Some(group) = lane.take(most) {
            worker.work(group);
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
    open: &'a dyn Fn() -> Result<Box<dyn Line>, String>,
    /// `None`: to be opened before the next transaction.
    line: Option<Box<dyn Line>>,
    /// Where they come from.
    queue: &'a Queue,
    /// Commits are counted.
    commits: bool,
}

impl Worker<'_> {
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
        let started = Instant::now();
        let line = match &mut self.line {
            Some(line) => line,
            none => none
                .insert((self.open)().map_err(|error| Fault::Begin(away(error), Meaning::Line))?),
        };
        let size = jobs.len();
        let result = line.transaction(&mut Batch(jobs), care);
        let done_with = match &result {
            Ok(verdict) => *verdict == Verdict::Discard,
            Err(Fault::Inside(..)) => line.is_broken(),
            Err(_) => true,
        };
        if done_with {
            self.line = None;
        }
        if result? == Verdict::Commit {
            reached(Step::AfterCommit);
            if self.commits {
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

fn away(error: String) -> diesel::result::Error {
    diesel::result::Error::QueryBuilderError(error.into())
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
