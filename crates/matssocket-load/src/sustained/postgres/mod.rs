//! Samples the store's PostgreSQL several times per window, over a separate connection on a separate thread, so that a
//! database that does not answer delays no window.
//!
//! [`queries`] queries it, [`seen`] sums up a window's samples, [`hold`] keeps a transaction open.

mod hold;
mod queries;
mod seen;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::args::Postgres;
use super::inside::Inside;
use crate::stage::Shared;
use queries::{Figures, Queries};
use seen::Seen;

/// Samples per window.
const LOOKS: u32 = 20;
/// The pause after the database did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Observes a PostgreSQL.
pub struct Observer {
    settings: Postgres,
    /// `Some` until it begins.
    queries: Option<Queries>,
    before: Figures,
    seen: Arc<Mutex<Seen>>,
}

impl Observer {
    /// # Errors
    /// The database or its tables do not exist.
    pub fn connect(settings: &Postgres) -> Result<Observer, String> {
        let mut queries = Queries::connect(settings)?;
        let before = queries.figures()?;
        if before.disk == 0 {
            return Err(format!(
                "there are no tables in the schema {:?}",
                settings.schema
            ));
        }
        Ok(Observer {
            settings: settings.clone(),
            queries: Some(queries),
            before,
            seen: Arc::default(),
        })
    }

    /// The first window begins.
    pub fn begin(
        &mut self,
        shared: Arc<Shared>,
        begun: Instant,
        window: Duration,
    ) -> Result<(), String> {
        let Some(mut queries) = self.queries.take() else {
            return Ok(());
        };
        if let Some(span) = &self.settings.hold {
            hold::hold(&self.settings.url, begun, span)?;
        }
        let (seen, settings) = (self.seen.clone(), self.settings.clone());
        lock(&seen).figures(0, queries.figures()?);
        thread::spawn(move || {
            loop {
                thread::sleep(window / LOOKS);
                if let Err(why) = look(&mut queries, &shared, &seen) {
                    lock(&seen).silence(why);
                    thread::sleep(PAUSE);
                    if let Ok(anew) = Queries::connect(&settings) {
                        queries = anew;
                    }
                }
            }
        });
        Ok(())
    }

    /// What was observed since the last call.
    pub fn next_window(&self) -> Inside {
        lock(&self.seen).next_window()
    }

    /// Bytes that the tables took before anything was done.
    pub fn disk_before(&self) -> u64 {
        self.before.disk
    }
}

fn look(queries: &mut Queries, shared: &Shared, seen: &Mutex<Seen>) -> Result<(), String> {
    let backends = queries.backends()?;
    let vacuums = queries.vacuums()?;
    let held = queries.held()?;
    lock(seen).moment(backends, vacuums, held);
    let figures = queries.figures()?;
    lock(seen).figures(shared.done.load(Ordering::Relaxed), figures);
    Ok(())
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
