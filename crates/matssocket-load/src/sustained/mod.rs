//! How a server performs over time: any mix of messages for as long as wanted, counted in windows of some seconds,
//! along with the activity of its PostgreSQL. In the end, the slowest window is compared with the median.
//!
//! [`course`] closes the windows, [`window`] and [`inside`] have the figures of each, [`postgres`] observes the
//! database, [`judge`] compares, [`plot`] draws.

pub mod args;
mod course;
mod inside;
mod judge;
mod plot;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(not(feature = "postgres"))]
#[path = "without_postgres.rs"]
mod postgres;
mod window;

pub use course::Course;

use serde_json::json;

use crate::args::{Args, Load};
use crate::crowd;
use crate::verdict::Verdict;
use args::Sustained;

/// Runs it. Returns whether there were no errors and all limits held.
///
/// # Errors
/// It could not be run.
pub fn run(args: Args, load: &Load, sustained: &Sustained) -> Result<bool, String> {
    let mut course = Course::new(&args, load, sustained)?;
    let mut report = crowd::run(args, Some(&mut course))?;
    report.print();
    let (windows, disk_before) = course.end();
    let mut verdict = Verdict::new(false);
    verdict.none("errors", report.errors());
    judge::judge(&mut verdict, &load.mix, &sustained.wanted, &windows);
    if let Some(before) = disk_before {
        judge::disk(&mut verdict, sustained.wanted.growth, before, &windows);
    }
    if let Some(path) = &sustained.plot {
        let picture = plot::draw(&report.what(), &load.mix, &windows);
        std::fs::write(path, picture)
            .map_err(|why| format!("{} cannot be written: {why}", path.display()))?;
        println!("drawn in {}", path.display());
    }
    let (kept, verdict) = verdict.close("sustained");
    report.sustained = Some(json!({ "windows": windows, "verdict": verdict }));
    report.write_json()?;
    Ok(kept)
}
