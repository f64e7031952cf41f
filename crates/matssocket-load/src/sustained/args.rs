//! The options that only `sustained` has.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::args::{rate, seconds};
use crate::mix::Mix;

/// What to observe, and the limits to judge by.
#[derive(Clone, Debug)]
pub struct Sustained {
    pub window: Duration,
    pub postgres: Option<Postgres>,
    pub plot: Option<PathBuf>,
    pub wanted: Wanted,
}

/// The store's PostgreSQL.
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
#[derive(Clone, Debug)]
pub struct Postgres {
    pub url: String,
    pub schema: String,
    /// The span in which a transaction is held open, in seconds.
    pub hold: Option<Range<f64>>,
}

/// Limits that must hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub worst: Option<f64>,
    pub p99: Option<Duration>,
    /// In MB.
    pub growth: Option<f64>,
}

/// The options as given. Times are in seconds, or with a unit: 50ms, 10s, 30min.
#[derive(clap::Args)]
#[command(next_help_heading = "What to watch, and what to judge by")]
pub struct Options {
    /// Proportions of the kinds of messages: requests, pushes, forwards
    #[arg(long, value_name = "KIND=N,…", default_value = "requests", value_parser = Mix::parse)]
    mix: Mix,
    /// The kinds take turns of this length, instead of being mixed
    #[arg(long, value_name = "S", value_parser = time)]
    phase: Option<Duration>,
    /// Between the lines; --seconds and --phase are multiples of it
    #[arg(long, value_name = "S", default_value = "10s", value_parser = time)]
    window: Duration,
    /// The store's PostgreSQL: each line also reports its activity
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// The schema of its tables [default: matssocket]
    #[arg(long, value_name = "NAME", requires = "postgres")]
    schema: Option<String>,
    /// From second A to second B, a transaction on that PostgreSQL keeps dead rows from being removed
    #[arg(long, value_name = "A..B", value_parser = span, requires = "postgres")]
    hold_xmin: Option<Range<f64>>,
    /// Write a plot of the whole run to this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Fail if the slowest window has less than this share of the median window's rate
    #[arg(long, value_name = "SHARE", value_parser = rate)]
    worst: Option<f64>,
    /// Fail if a window has a p99 above this
    #[arg(long, value_name = "S", value_parser = time)]
    p99: Option<Duration>,
    /// Fail if the tables ever take this many MB more disk than at first
    #[arg(long, value_name = "MB", value_parser = rate, requires = "postgres")]
    growth: Option<f64>,
}

impl Options {
    /// Checks the options together, for a run of this length.
    pub fn checked(self, run: Duration) -> Result<(Mix, Sustained), String> {
        let (window, mut mix) = (self.window, self.mix);
        mix.phase = self.phase;
        for (option, time) in [("--seconds", Some(run)), ("--phase", self.phase)] {
            if time.is_some_and(|time| !is_multiple(time, window)) {
                let why = format!("{option} must be a multiple of --window, which is {window:?}");
                return Err(why);
            }
        }
        let postgres = self.postgres.map(|url| Postgres {
            url,
            schema: self.schema.unwrap_or_else(|| "matssocket".to_owned()),
            hold: self.hold_xmin,
        });
        let sustained = Sustained {
            window,
            postgres,
            plot: self.plot,
            wanted: Wanted {
                worst: self.worst,
                p99: self.p99,
                growth: self.growth,
            },
        };
        Ok((mix, sustained))
    }
}

fn is_multiple(time: Duration, of: Duration) -> bool {
    time.as_micros().is_multiple_of(of.as_micros().max(1)) && !time.is_zero()
}

/// Reads `50ms`, `10s`, `30min`, or seconds.
fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("min", 60.0), ("s", 1.0), ("", 1.0)];
    let in_unit = |(unit, seconds): (&str, f64)| Some((text.trim().strip_suffix(unit)?, seconds));
    let (number, unit) = units
        .into_iter()
        .find_map(in_unit)
        .expect("every text ends with nothing");
    Ok(seconds(number)?.mul_f64(unit))
}

/// Reads `60..120`.
fn span(text: &str) -> Result<Range<f64>, String> {
    let wrong = || format!("{text:?} is not a span of seconds such as 60..120");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (rate(from)?, rate(to)?);
    match from < to {
        true => Ok(from..to),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(time("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(time("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("30min"), Ok(Duration::from_secs(1800)));
        assert!(time("10h").is_err_and(|why| why.contains("10h")));
    }

    #[test]
    fn a_span_goes_forward() {
        assert_eq!(span("60..120"), Ok(60.0..120.0));
        assert!(span("120..60").is_err());
        assert!(span("60").is_err());
    }
}
