//! How often each task of maintenance has run, and failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::TASKS;

/// How often each task of maintenance has run, and failed.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceCounters {
    pub(super) runs: [AtomicU64; TASKS.len()],
    pub(super) failures: [AtomicU64; TASKS.len()],
}

impl MaintenanceCounters {
    /// The figures of each task, by its name.
    pub(crate) fn snapshot(&self) -> BTreeMap<&'static str, MaintenanceMetrics> {
        let counts = self.runs.iter().zip(&self.failures);
        let tasks = TASKS.iter().zip(counts);
        tasks
            .map(|(name, (runs, failures))| {
                let runs = runs.load(Relaxed);
                let failures = failures.load(Relaxed);
                (*name, MaintenanceMetrics { runs, failures })
            })
            .collect()
    }
}

/// What one task of maintenance has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MaintenanceMetrics {
    /// How often it ran.
    pub runs: u64,
    /// How often it failed because the store was unavailable.
    pub failures: u64,
}
