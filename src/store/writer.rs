//! The threads that talk to the database: one that writes, in group commits, and those that read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::StoreError;
use super::job::{Job, Seat};
use super::metrics::StoreMetrics;
use super::operation::News;
use super::statements::{Database, Fault, Lane, Line, Verdict};

/// Runs `serve` until its channel is closed; begins anew when it panics.
fn keep_running(metrics: &StoreMetrics, mut serve: impl FnMut()) {
    while catch_unwind(AssertUnwindSafe(&mut serve)).is_err() {
        metrics.panicked();
        log::error!("a thread of the store panicked; it goes on with a fresh connection");
    }
}

/// Reads, until the channel is closed.
pub fn read(jobs: &Receiver<Job>, database: &dyn Database, metrics: &StoreMetrics) {
    keep_running(metrics, || {
        while let Ok(mut job) = jobs.recv() {
            let mut line = match database.reader() {
                Ok(line) => line,
                Err(error) => {
                    job.fail(StoreError::Failed(error));
                    continue;
                }
            };
            match line.transaction(&mut |statements| job.apply(statements)) {
                Ok(_) => job.answer(),
                Err(Fault::Begin(error) | Fault::Inside(error)) => {
                    job.fail(StoreError::Failed(error.to_string()))
                }
            }
        }
    });
}

/// Writes, until the channel is closed; at most `batch` operations in one transaction.
pub fn write(jobs: &Receiver<Job>, database: &dyn Database, batch: usize, metrics: &StoreMetrics) {
    keep_running(metrics, || {
        let mut writer = Writer {
            database,
            line: None,
            metrics,
        };
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(batch.saturating_sub(1)));
            writer.commit_all(group);
        }
    });
}

/// What was committed, by the node on whose behalf.
type Told = Vec<(Arc<Seat>, News)>;

struct Writer<'a> {
    database: &'a dyn Database,
    /// `None`: to be opened before the next transaction.
    line: Option<Box<dyn Line>>,
    metrics: &'a StoreMetrics,
}

impl Writer<'_> {
    /// Commits a group, except that what must be alone is.
    fn commit_all(&mut self, jobs: Vec<Job>) {
        let mut group = Vec::with_capacity(jobs.len());
        for job in jobs {
            if job.lane() == Lane::Alone {
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
        match self.attempt(&mut group) {
            Ok(told) => finish(group, told),
            Err(Fault::Inside(error)) if group.len() > 1 => {
                log::warn!(
                    "a group of {} operations failed and is run one by one: {error}",
                    group.len()
                );
                self.commit_singly(group);
            }
            Err(Fault::Begin(error) | Fault::Inside(error)) => fail(group, &error.to_string()),
        }
    }

    fn commit_singly(&mut self, group: Vec<Job>) {
        let mut jobs = group.into_iter();
        while let Some(job) = jobs.next() {
            let mut single = vec![job];
            match self.attempt(&mut single) {
                Ok(told) => finish(single, told),
                Err(Fault::Inside(error)) => fail(single, &error.to_string()),
                Err(Fault::Begin(error)) => {
                    // The database is away: the others would only wait for it one after the other.
                    single.extend(jobs.by_ref());
                    fail(single, &error.to_string());
                }
            }
        }
    }

    /// Runs a group in one transaction. On error nothing was changed.
    fn attempt(&mut self, group: &mut [Job]) -> Result<Told, Fault> {
        let started = Instant::now();
        let line = match &mut self.line {
            Some(line) => line,
            none => none.insert(
                self.database
                    .writer()
                    .map_err(|error| Fault::Begin(away(error)))?,
            ),
        };
        let mut told = Told::new();
        let result = line.transaction(&mut |statements| {
            told.clear();
            let mut verdict = Verdict::Commit;
            for job in group.iter_mut() {
                verdict = job.apply(statements)?;
                gather(&mut told, job.seat(), statements.take_news());
            }
            // Only one that is alone ever says anything but Commit.
            Ok(verdict)
        });
        if matches!(result, Ok(Verdict::Discard) | Err(Fault::Begin(_))) || line.is_broken() {
            self.line = None;
        }
        match result? {
            Verdict::Commit => self.metrics.committed(group.len(), started.elapsed()),
            Verdict::RollBack | Verdict::Discard => told.clear(),
        }
        Ok(told)
    }
}

fn away(error: String) -> diesel::result::Error {
    diesel::result::Error::QueryBuilderError(error.into())
}

fn gather(told: &mut Told, seat: &Arc<Seat>, mut news: News) {
    if news.stored.is_empty() && news.forwarded.is_empty() && !news.published {
        return;
    }
    match told.iter_mut().find(|(other, _)| Arc::ptr_eq(other, seat)) {
        Some((_, before)) => {
            before.stored.append(&mut news.stored);
            before.forwarded.append(&mut news.forwarded);
            before.published |= news.published;
        }
        None => told.push((seat.clone(), news)),
    }
}

/// News first: whoever is answered may rely on the news being on their way.
fn finish(group: Vec<Job>, told: Told) {
    for (seat, news) in told {
        seat.tell(news);
    }
    for job in group {
        job.answer();
    }
}

fn fail(group: Vec<Job>, error: &str) {
    for job in group {
        job.fail(StoreError::Failed(error.to_string()));
    }
}
