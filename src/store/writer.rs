//! The threads that use the database: those that write, in group commits, and those that read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::StoreError;
use super::handlers::{Handlers, Watched};
use super::health::Health;
use super::job::{Job, Seat};
use super::lane::{Lane, Next};
use super::news::News;
use super::pool::{ConnectionPool, Pooled, Purpose};
use super::queue::Queue;
use super::statements::{
    Care, DbError, DbResult, Fault, Group, Meaning, Mode, Statements, Touched, Verdict, in_words,
};
use crate::fault_injection::{Step, reached};
use crate::latency::Tally;
use crate::logging;
use crate::seldom::log_seldom;
use crate::wire::shown;

/// The role of a thread.
#[derive(Clone, Copy)]
pub enum Role<'a> {
    /// Writes, with at most `batch` operations in one transaction.
    Write { batch: usize },
    /// Runs transactional handlers, one at a time, until it counts as lost.
    Handle(&'a Arc<Handlers>),
    /// Reads, as one of `threads` threads that share the reads.
    Read { threads: usize },
}

/// Maximum number of reads in one transaction. Beginning and ending a transaction are round trips, but the first read
/// of a group is answered together with the last.
const READ_TOGETHER: usize = 16;

/// Processes a lane until it is closed. After a panic, starts again with a new connection.
pub fn serve(lane: &Lane, pool: &Arc<ConnectionPool>, role: Role<'_>, queue: &Queue) {
    let (most, threads, purpose) = match role {
        Role::Write { batch } => (batch, 1, Purpose::Write),
        Role::Handle(_) => (1, 1, Purpose::Handle),
        Role::Read { threads } => (READ_TOGETHER, threads, Purpose::Read),
    };
    let mut serve = || {
        let mut worker = Worker {
            pool,
            purpose,
            connection: None,
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
            "a thread of the store panicked; it continues with a new connection"
        );
    }
}

struct Worker<'a> {
    pool: &'a Arc<ConnectionPool>,
    purpose: Purpose,
    /// `None`: to be opened before the next transaction.
    connection: Option<Pooled>,
    /// The queue from which the jobs come.
    queue: &'a Queue,
    health: &'a Health,
    /// The running job, if it is supervised.
    watched: Option<Watched>,
}

impl Worker<'_> {
    /// Checks that the database can be reached.
    fn check(&mut self) {
        if let Err(fault) = self.try_hard(&mut []) {
            logging::debug!(
                "a thread of the store cannot use the database at the moment: {fault:?}"
            );
        }
        self.health.checked();
    }

    /// Gives up the connection if another thread waits for one.
    fn share(&mut self) {
        if self.pool.are_wanted()
            && let Some(connection) = self.connection.take()
        {
            connection.give_back(self.purpose);
        }
    }

    /// Processes jobs taken from the queue.
    fn work(&mut self, mut jobs: Vec<Job>) {
        let begun = Instant::now();
        let queue = self.queue;
        queue.metrics.handled(jobs.len());
        let mut tally = Tally::default();
        let waits = jobs.iter_mut().map(|job| job.taken(begun));
        queue
            .meter
            .count_out(waits.inspect(|wait| tally.record(*wait)));
        queue.metrics.waited(tally);
        self.commit_all(jobs);
        queue.meter.handled_together(begun.elapsed());
    }

    /// Commits jobs in one group, apart from those that need a transaction of their own.
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

    /// Commits a group in one transaction. If something in it fails, commits the jobs one by one, so that only the
    /// invalid one fails.
    fn commit(&mut self, mut group: Vec<Job>) {
        if group.is_empty() {
            return;
        }
        match self.try_hard(&mut group) {
            Ok(()) => finish(group, self.queue),
            Err(Fault::Inside(error, meaning)) if group.len() > 1 && meaning != Meaning::Unable => {
                log_seldom!(
                    warn,
                    "a group of {} operations failed and is retried one by one: {}",
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
                        // The database is unavailable: the remaining jobs would only wait for it one after the other.
                        single.extend(jobs.by_ref());
                    }
                    fail(single, fault);
                }
            }
        }
    }

    /// Runs a group in one transaction. Retries it if only the connection was bad, and once more with `Care::Careful`
    /// if that may help (after a deadlock, for example).
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
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let watched = &self.watched;
                let taken = self.pool.take(self.purpose, &mut |cut| {
                    if let Some(watched) = watched {
                        watched.uses(Some(cut));
                    }
                });
                none.insert(
                    taken.map_err(|error| Fault::Begin(in_words(error), Meaning::Connection))?,
                )
            }
        };
        let connection = connection.connection();
        if let Some(watched) = &self.watched {
            watched.uses(connection.cutter());
            if watched.is_given_up() {
                let why = in_words("the caller was already answered that it took too long");
                return Err(Fault::Begin(why, Meaning::Again));
            }
        }
        let size = jobs.len();
        let result = connection.transaction(&mut Batch(jobs), care);
        let done_with = match &result {
            // A commit whose answer was lost but whose outcome was looked up succeeded on a connection that is gone.
            Ok(verdict) => *verdict == Verdict::Discard || connection.is_broken(),
            // The outcome may also be unknown because the files were tampered with, while the connection is intact.
            Err(Fault::Inside(..) | Fault::Unknown(_)) => connection.is_broken(),
            Err(Fault::Begin(..) | Fault::Lost(_)) => true,
        };
        if done_with {
            self.connection = None;
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
        // Only a job in a transaction of its own returns anything but `Commit`.
        Ok(verdict)
    }
}

/// News goes out first: an answered caller may rely on it being on its way.
fn finish(mut group: Vec<Job>, queue: &Queue) {
    // Grouped by the node on whose behalf the jobs ran.
    let mut by_node: Vec<(Arc<Seat>, News)> = Vec::new();
    for (seat, news) in group.iter_mut().filter_map(|job| job.news()) {
        match by_node
            .iter_mut()
            .find(|(other, _)| Arc::ptr_eq(other, seat))
        {
            Some((_, before)) => before.append(news),
            None => by_node.push((seat.clone(), news)),
        }
    }
    for (seat, news) in by_node {
        seat.tell(news);
    }
    // All at once and before answering, because updating counters that several threads share is slow.
    queue.give_back(group.iter_mut().filter_map(|job| job.give_back()));
    for job in group {
        job.answer();
    }
}

fn error_of(error: &DbError, meaning: Meaning) -> StoreError {
    // The error may quote the rejected value.
    let why = shown(&error.to_string()).into_owned();
    match meaning {
        Meaning::Refused => StoreError::Refused(why),
        Meaning::Unable => StoreError::Unable(why),
        Meaning::Connection | Meaning::Again => StoreError::Failed(why),
    }
}

fn fail(group: Vec<Job>, fault: Fault) {
    let error = match fault {
        Fault::Unknown(error) => {
            log_seldom!(
                error,
                "the outcome of {} operations is unknown: {error}",
                group.len()
            );
            StoreError::Unknown
        }
        Fault::Begin(error, meaning) | Fault::Inside(error, meaning) => error_of(&error, meaning),
        Fault::Lost(error) => error_of(&error, Meaning::Connection),
    };
    for job in group {
        job.fail(error.clone());
    }
}
