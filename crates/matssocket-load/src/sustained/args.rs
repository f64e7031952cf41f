//! The options that `sustained` alone has.

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::ValueExt;

use crate::args::{rate, seconds};
use crate::mix::Mix;

/// What `--help` prints of them.
pub const USAGE: &str = "\
sustained:
  --mix KIND=N,…      how many of all messages are of which kind: requests, pushes, forwards (default requests=1)
  --phase S           the kinds take turns of this length, instead of being mixed
  --window S          between the lines (default 10); --seconds and --phase are multiples of it
  --postgres URL      the store's PostgreSQL: each line tells what goes on in there as well
  --schema NAME       where its tables are (default matssocket)
  --hold-xmin A..B    from second A to second B, a transaction on that PostgreSQL keeps dead rows from being removed
  --plot FILE         draws all of it there, as SVG
  Beside the messages, the lines tell how many cores of this machine the server (--server-pid) kept busy, and how many
  were idle, waited for the disk, or were had by other virtual machines.
  Exit code 1 also if:
  --worst SHARE       the slowest window has less than this share of the median window's rate
  --p99 S             a window has a p99 above this
  --growth MB         the tables take so much more disk at any time than they did at first
  Times are in seconds, or with a unit: 50ms, 10s, 30min.
";

/// How to watch, and what to judge by.
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
    /// When a transaction is held open, in seconds.
    pub hold: Option<Range<f64>>,
}

/// Numbers to be kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub worst: Option<f64>,
    pub p99: Option<Duration>,
    /// In MB.
    pub growth: Option<f64>,
}

/// The options as given.
#[derive(Default)]
pub struct Given {
    mix: Option<Mix>,
    phase: Option<Duration>,
    window: Option<Duration>,
    postgres: Option<String>,
    schema: Option<String>,
    hold: Option<Range<f64>>,
    plot: Option<PathBuf>,
    wanted: Wanted,
    /// The first of them.
    first: Option<&'static str>,
}

const OPTIONS: [&str; 10] = [
    "--mix",
    "--phase",
    "--window",
    "--postgres",
    "--schema",
    "--hold-xmin",
    "--plot",
    "--worst",
    "--p99",
    "--growth",
];

/// An option of this scenario's, by its name without dashes.
pub fn option(name: &str) -> Option<&'static str> {
    OPTIONS.into_iter().find(|option| option[2..] == *name)
}

impl Given {
    /// Takes the value of one of the [options](option).
    pub fn take(&mut self, option: &'static str, value: OsString) -> Result<(), lexopt::Error> {
        self.first.get_or_insert(option);
        match option {
            "--mix" => self.mix = Some(value.parse_with(Mix::parse)?),
            "--phase" => self.phase = Some(value.parse_with(time)?),
            "--window" => self.window = Some(value.parse_with(time)?),
            "--postgres" => self.postgres = Some(value.string()?),
            "--schema" => self.schema = Some(value.string()?),
            "--hold-xmin" => self.hold = Some(value.parse_with(span)?),
            "--plot" => self.plot = Some(value.into()),
            "--worst" => self.wanted.worst = Some(value.parse_with(rate)?),
            "--p99" => self.wanted.p99 = Some(value.parse_with(time)?),
            _ => self.wanted.growth = Some(value.parse_with(rate)?),
        }
        Ok(())
    }

    /// One that was given.
    pub fn first(&self) -> Option<&'static str> {
        self.first
    }

    /// All of them together, for a run of this length.
    pub fn checked(self, run: Duration) -> Result<(Mix, Sustained), lexopt::Error> {
        let window = self.window.unwrap_or(Duration::from_secs(10));
        let mut mix = match self.mix {
            Some(mix) => mix,
            None => Mix::parse("requests")?,
        };
        mix.phase = self.phase;
        for (option, time) in [("--seconds", Some(run)), ("--phase", self.phase)] {
            if time.is_some_and(|time| !is_multiple(time, window)) {
                return Err(format!(
                    "{option} must be a multiple of --window, which is {window:?}"
                )
                .into());
            }
        }
        let only_postgres = [
            (self.schema.is_some(), "--schema"),
            (self.hold.is_some(), "--hold-xmin"),
            (self.wanted.growth.is_some(), "--growth"),
        ];
        let postgres = match self.postgres {
            Some(url) => Some(Postgres {
                url,
                schema: self.schema.unwrap_or_else(|| "matssocket".to_owned()),
                hold: self.hold,
            }),
            None => match only_postgres.iter().find(|(given, _)| *given) {
                Some((_, option)) => return Err(format!("{option} needs --postgres").into()),
                None => None,
            },
        };
        let sustained = Sustained {
            window,
            postgres,
            plot: self.plot,
            wanted: self.wanted,
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
