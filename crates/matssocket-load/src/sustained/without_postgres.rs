//! Replaces the observer in a build without PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::Postgres;
use super::inside::Inside;
use crate::stage::Shared;

/// An observer that cannot exist.
pub enum Observer {}

impl Observer {
    pub fn connect(_: &Postgres) -> Result<Observer, String> {
        Err(
            "this program was built without postgres: build it with `--features load,postgres`"
                .into(),
        )
    }

    pub fn begin(&mut self, _: Arc<Shared>, _: Instant, _: Duration) -> Result<(), String> {
        match *self {}
    }

    pub fn next_window(&self) -> Inside {
        match *self {}
    }

    pub fn disk_before(&self) -> u64 {
        match *self {}
    }
}
