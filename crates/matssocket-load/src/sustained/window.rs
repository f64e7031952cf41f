//! The figures of one window, and how they are printed.

use serde::Serialize;

use super::inside::Inside;
use crate::mix::{Kind, Mix};
use crate::tally::Tally;

/// No line is longer than this.
pub const WIDTH: usize = 120;
/// The indentation of the lines about the database.
const INDENT: &str = "      ";

#[derive(Clone, Debug, Serialize)]
pub struct Window {
    /// Its end, in seconds since the beginning.
    pub at: f64,
    /// When it was actually closed.
    #[serde(skip)]
    pub looked: f64,
    /// The figures of each kind whose turn it was.
    pub done: Vec<Done>,
    pub cores: Cores,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
}

/// How the machine's cores were used, if the system reports it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cores {
    /// How many the server kept busy.
    pub server: Option<f64>,
    pub idle: Option<f64>,
    /// How many were idle, waiting for the disk.
    pub disk: Option<f64>,
    /// How many were used by other virtual machines.
    pub stolen: Option<f64>,
}

impl Cores {
    fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [
            ("server", self.server),
            ("idle", self.idle),
            ("disk", self.disk),
            ("stolen", self.stolen),
        ];
        let known = |(name, cores): (_, Option<f64>)| Some((name, cores?));
        all.into_iter().filter_map(known)
    }
}

/// Messages of one kind that were done in a window. Times are in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Done {
    pub kind: Kind,
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
}

impl Done {
    pub fn new(kind: Kind, tally: &Tally, seconds: f64) -> Done {
        let millis = |part| tally.percentile(part).as_secs_f64() * 1e3;
        Done {
            kind,
            per_second: tally.done as f64 / seconds,
            p50: millis(0.5),
            p99: millis(0.99),
        }
    }
}

/// The titles above the lines of a window like this.
pub fn titles(mix: &Mix, window: &Window) -> Vec<String> {
    let mut line = format!("{:>7}", "s");
    for kind in mix.kinds() {
        let title = format!("{}/s", kind.name());
        line += &format!(" {title:>11} {:>7} {:>7}", "p50 ms", "p99 ms");
    }
    for (name, _) in window.cores.named() {
        line += &format!(" {name:>6}");
    }
    let of_tables = format!("{INDENT}table live+dead rows, heap+index MB");
    let of_tables = window.inside.is_some().then_some(of_tables);
    [line].into_iter().chain(of_tables).collect()
}

impl Window {
    pub fn of(&self, kind: Kind) -> Option<&Done> {
        self.done.iter().find(|done| done.kind == kind)
    }

    /// Messages of all kinds.
    pub fn per_second(&self) -> f64 {
        self.done.iter().map(|done| done.per_second).sum()
    }

    /// A line for humans, under the [titles], and more lines about the database.
    pub fn lines(&self, mix: &Mix) -> Vec<String> {
        let mut line = format!("{:>7}", self.at);
        for kind in mix.kinds() {
            line += &match self.of(kind) {
                None => format!(" {:>11} {:>7} {:>7}", "-", "-", "-"),
                Some(done) => format!(
                    " {:>11} {:>7.1} {:>7.1}",
                    thousands(done.per_second),
                    done.p50,
                    done.p99
                ),
            };
        }
        for (_, cores) in self.cores.named() {
            line += &format!(" {cores:>6.2}");
        }
        let mut lines = vec![line];
        if let Some(inside) = &self.inside {
            lines.push(format!("{INDENT}{}", inside.tables()).trim_end().to_owned());
            lines.extend(fold(&inside.work()));
        }
        lines
    }
}

/// Joins these on as many lines as needed.
fn fold(parts: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + part.chars().count() <= WIDTH => {
                *line += &format!("; {part}");
            }
            _ => lines.push(format!("{INDENT}{part}")),
        }
    }
    lines
}

/// A whole number with commas: `66,123`.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in three digits: `512`, `90k`, `1.24M`.
pub fn short(number: f64) -> String {
    match number {
        n if n < 999.5 => format!("{n:.0}"),
        n if n < 9_995.0 => format!("{:.1}k", n / 1e3),
        n if n < 999_500.0 => format!("{:.0}k", n / 1e3),
        n if n < 99_500_000.0 => format!("{:.2}M", n / 1e6),
        n => format!("{:.0}M", n / 1e6),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A window with requests only, at this rate and with this p99.
    pub fn window(at: f64, per_second: f64, p99: f64) -> Window {
        let done = Done {
            kind: Kind::Requests,
            per_second,
            p50: p99 / 2.0,
            p99,
        };
        Window {
            at,
            looked: at,
            done: vec![done],
            cores: Cores {
                server: Some(0.95),
                idle: Some(0.1),
                ..Cores::default()
            },
            inside: None,
        }
    }

    #[test]
    fn figures_stand_below_their_titles() {
        let mix = Mix::only(Kind::Requests);
        let window = window(1800.0, 66_123.4, 31.2);
        let (titles, lines) = (titles(&mix, &window), window.lines(&mix));
        let title = "      s  requests/s  p50 ms  p99 ms server   idle";
        assert_eq!(titles, [title]);
        let line = "   1800      66,123    15.6    31.2   0.95   0.10";
        assert_eq!(lines, [line]);
    }

    #[test]
    fn a_kind_whose_turn_it_is_not_leaves_its_place_empty() {
        let mix = Mix::parse("requests,forwards").expect("it is a mix");
        let lines = window(10.0, 100.0, 2.0).lines(&mix);
        assert!(lines[0].contains(" - "), "{}", lines[0]);
    }

    #[test]
    fn long_lines_are_folded() {
        let parts = vec!["x".repeat(50); 3];
        let lines = fold(&parts);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn numbers_are_short() {
        let short: Vec<_> = [512.0, 1_240.0, 90_400.0, 1_240_000.0].map(short).into();
        assert_eq!(short, ["512", "1.2k", "90k", "1.24M"]);
        assert_eq!(thousands(1_234_567.2), "1,234,567");
    }
}
