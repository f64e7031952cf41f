//! Figures, and the limits that they are compared with.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::tally::Tally;

/// Figures, in the order in which they were reported.
pub struct Verdict {
    quiet: bool,
    figures: Map<String, Value>,
    failed: Vec<String>,
}

impl Verdict {
    /// Quiet: only the last line is printed.
    pub fn new(quiet: bool) -> Verdict {
        Verdict {
            quiet,
            figures: Map::new(),
            failed: Vec::new(),
        }
    }

    /// A figure without a limit.
    pub fn tell(&mut self, name: impl Into<String>, figure: f64) {
        self.figure(name.into(), figure, None);
    }

    /// A figure that must be at most this.
    pub fn at_most(&mut self, name: impl Into<String>, figure: f64, most: f64) {
        self.figure(name.into(), figure, Some(most));
    }

    /// A figure that must be at least this, if given.
    pub fn at_least(&mut self, name: impl Into<String>, figure: f64, least: Option<f64>) {
        let wanted = least.map(|least| (format!("at least {least:.1}"), figure >= least));
        self.judged(name.into(), figure, wanted);
    }

    /// The number of occurrences of what must not happen.
    pub fn none(&mut self, name: impl Into<String>, times: u64) {
        self.at_most(name, times as f64, 0.0);
    }

    /// Their number and times, with a limit for the 99th percentile, if given.
    pub fn times(&mut self, name: &str, tally: &Tally, most: Option<Duration>) {
        let millis = |part| tally.percentile(part).as_secs_f64() * 1e3;
        self.tell(format!("{name}, number"), tally.done as f64);
        self.tell(format!("{name}, p50 ms"), millis(0.5));
        let most = most.map(|most| most.as_secs_f64() * 1e3);
        self.figure(format!("{name}, p99 ms"), millis(0.99), most);
        self.tell(format!("{name}, max ms"), millis(1.0));
    }

    pub fn note(&self, text: &str) {
        if !self.quiet {
            println!("  {}", text.chars().take(300).collect::<String>());
        }
    }

    /// A figure that must be at most this, if given.
    pub fn figure(&mut self, name: String, figure: f64, most: Option<f64>) {
        let wanted = most.map(|most| (format!("at most {most:.1}"), figure <= most));
        self.judged(name, figure, wanted);
    }

    fn judged(&mut self, name: String, figure: f64, wanted: Option<(String, bool)>) {
        let (wanted, verdict) = match wanted {
            None => (String::new(), ""),
            Some((wanted, true)) => (wanted, "kept"),
            Some((wanted, false)) => (wanted, "NOT KEPT"),
        };
        if !self.quiet {
            println!("  {name:<52} {figure:>12.1}  {wanted:<18} {verdict}");
        }
        if verdict == "NOT KEPT" {
            self.failed.push(name.clone());
        }
        self.figures.insert(name, json!(figure));
    }

    /// Prints whether all limits held. Returns that, with the figures.
    pub fn close(mut self, name: &str) -> (bool, Map<String, Value>) {
        let kept = self.failed.is_empty();
        println!(
            "{name}: {}",
            match kept {
                true => "kept".to_owned(),
                false => format!("NOT KEPT: {}", self.failed.join("; ")),
            }
        );
        self.figures.insert("failed".into(), json!(self.failed));
        (kept, self.figures)
    }

    /// Returns whether all limits held. Writes the figures to the file, if given.
    pub fn end(self, trial: &str, path: Option<&Path>) -> Result<bool, String> {
        let (kept, mut figures) = self.close(trial);
        if let Some(path) = path {
            figures.insert("trial".into(), json!(trial));
            let file = File::create(path).map_err(|why| why.to_string());
            file.and_then(|file| {
                serde_json::to_writer_pretty(file, &figures).map_err(|why| why.to_string())
            })
            .map_err(|why| format!("{} cannot be written: {why}", path.display()))?;
        }
        Ok(kept)
    }
}
