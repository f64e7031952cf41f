//! A transaction that is held open, as by a report, a backup or a forgotten psql: rows that died since it began cannot
//! be removed.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::queries::connect;

/// Holds one open during this span. It ends with this program at the latest.
pub fn hold(url: &str, begun: Instant, span: &Range<f64>) -> Result<(), String> {
    let mut conn = connect(url)?;
    let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
    let (from, to) = (at(span.start), at(span.end));
    thread::spawn(move || {
        sleep_until(from);
        if let Err(why) = hold_until(&mut conn, to) {
            eprintln!("matssocket-load: --hold-xmin: {why}");
        }
    });
    Ok(())
}

fn hold_until(conn: &mut PgConnection, to: Instant) -> QueryResult<()> {
    // The snapshot is taken by the first statement.
    conn.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")?;
    sleep_until(to);
    conn.batch_execute("ROLLBACK")
}

fn sleep_until(at: Instant) {
    thread::sleep(at.saturating_duration_since(Instant::now()));
}
