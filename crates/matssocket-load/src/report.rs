//! The figures of a run, for humans and as JSON.

use std::fs::File;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::args::{Args, Load, Pace, Scenario, Via};
use crate::mix::Kind;
use crate::process;
use crate::tally::{Faults, Tally};

/// What the server's processes, this one and the kernel use at a given moment.
pub struct Usage {
    server_cpu: Option<Duration>,
    resident: Option<u64>,
    peak: Option<u64>,
    own_cpu: Option<Duration>,
    kernel: Option<u64>,
}

impl Usage {
    /// # Errors
    /// One of the processes does not exist.
    pub fn now(pids: &[u32]) -> Result<Usage, String> {
        if let Some(pid) = pids.iter().find(|pid| process::cpu(&[**pid]).is_none()) {
            return Err(format!("--server-pid {pid}: there is no such process"));
        }
        let of = |read: fn(&[u32]) -> Option<u64>| (!pids.is_empty()).then(|| read(pids)).flatten();
        Ok(Usage {
            server_cpu: (!pids.is_empty()).then(|| process::cpu(pids)).flatten(),
            resident: of(process::resident),
            peak: of(process::peak),
            own_cpu: process::cpu(&[std::process::id()]),
            kernel: process::kernel(),
        })
    }
}

/// A completed run.
pub struct Report {
    pub args: Args,
    pub tally: Tally,
    pub begun: Instant,
    pub ended: Instant,
    /// Before any session was opened.
    pub empty: Usage,
    /// When it began; idle: when memory had settled.
    pub before: Usage,
    pub after: Usage,
    /// The windows and the verdict.
    pub sustained: Option<Value>,
}

/// The figures, as in the JSON. Times in milliseconds, memory in bytes.
#[derive(Serialize)]
struct Figures<'a> {
    scenario: &'a str,
    what: &'a str,
    sessions: usize,
    threads: usize,
    seconds: f64,
    count: u64,
    per_second: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
    retried: u64,
    errors: u64,
    faults: Faults,
    example: Option<&'a str>,
    server_cpu_seconds: Option<f64>,
    server_cpu_micros_each: Option<f64>,
    server_peak_bytes: Option<u64>,
    server_resident_bytes: Option<u64>,
    resident_bytes_per_session: Option<i64>,
    kernel_bytes_per_session: Option<i64>,
    client_cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sustained: Option<&'a Value>,
}

fn used(before: Option<Duration>, after: Option<Duration>) -> Option<f64> {
    Some(after?.saturating_sub(before?).as_secs_f64())
}

impl Report {
    pub fn errors(&self) -> u64 {
        self.tally.faults.sum()
    }

    /// Whether a rate and times are meaningful for what was counted.
    fn has_times(&self) -> bool {
        !matches!(self.args.scenario, Scenario::Idle { .. })
    }

    /// Seconds until the last was done.
    fn seconds(&self) -> f64 {
        let last = match self.has_times() {
            true => self.tally.last.unwrap_or(self.ended),
            false => self.ended,
        };
        last.saturating_duration_since(self.begun).as_secs_f64()
    }

    fn figures<'a>(&'a self, what: &'a str) -> Figures<'a> {
        let tally = &self.tally;
        let millis = |part| tally.percentile(part).as_secs_f64() * 1e3;
        let server = used(self.before.server_cpu, self.after.server_cpu);
        let each = |seconds: f64| seconds * 1e6 / tally.done.max(1) as f64;
        let per_session = |of: fn(&Usage) -> Option<u64>| {
            let grown = of(&self.before)? as i64 - of(&self.empty)? as i64;
            Some(grown / self.args.sessions as i64)
        };
        Figures {
            scenario: self.args.scenario.name(),
            what,
            sessions: self.args.sessions,
            threads: self.args.threads,
            seconds: self.seconds(),
            count: tally.done,
            per_second: tally.done as f64 / self.seconds().max(1e-6),
            p50: millis(0.5),
            p90: millis(0.9),
            p99: millis(0.99),
            p999: millis(0.999),
            max: millis(1.0),
            retried: tally.retried,
            errors: self.errors(),
            faults: tally.faults,
            example: tally.example.as_deref(),
            server_cpu_seconds: server,
            server_cpu_micros_each: server.filter(|_| self.has_times()).map(each),
            server_peak_bytes: self.after.peak,
            server_resident_bytes: self.after.resident,
            resident_bytes_per_session: per_session(|usage| usage.resident),
            kernel_bytes_per_session: per_session(|usage| usage.kernel),
            client_cpu_seconds: used(self.before.own_cpu, self.after.own_cpu),
            sustained: self.sustained.as_ref(),
        }
    }

    pub fn print(&self) {
        let what = self.what();
        let figures = self.figures(&what);
        println!("{}, {what}", figures.scenario);
        if self.has_times() {
            print_times(&figures, self.unit());
        }
        if let Scenario::Storm { backlog, .. } = self.args.scenario {
            let messages = figures.count * u64::from(backlog);
            let seconds = figures.seconds;
            println!("{messages} messages delivered, all of them {seconds:.2} s after the cut");
        }
        self.print_usage(&figures);
        let Faults {
            lost,
            doubled,
            reordered,
            refused,
            broken,
        } = figures.faults;
        println!(
            "errors {}: lost {lost}, doubled {doubled}, reordered {reordered}, refused {refused}, broken {broken}; said again {}",
            figures.errors, figures.retried
        );
        if let Some(example) = figures.example {
            let text: String = example.chars().take(400).collect();
            println!("the first error: {text}");
        }
    }

    fn print_usage(&self, figures: &Figures<'_>) {
        if let Some(cpu) = figures.server_cpu_seconds {
            let seconds = match self.has_times() {
                true => self.seconds(),
                // Since memory has settled.
                false => self.args.time.as_secs_f64(),
            };
            let each = match figures.server_cpu_micros_each {
                Some(each) => format!(", {each:.1} µs each"),
                None => format!(", {:.2} % of a core", 100.0 * cpu / seconds),
            };
            println!(
                "server: CPU {cpu:.2} s in {seconds:.1} s{each}{}",
                peak(figures)
            );
        }
        if let (false, Some(each)) = (self.has_times(), figures.resident_bytes_per_session) {
            let kernel = figures.kernel_bytes_per_session.unwrap_or(0);
            println!(
                "per session: {} resident in the server; {} in the kernel, for both ends",
                kib(each),
                kib(kernel)
            );
        }
        if let Some(cpu) = figures.client_cpu_seconds {
            println!("client: CPU {cpu:.2} s");
        }
    }

    /// What is counted.
    fn unit(&self) -> &'static str {
        match self.args.scenario {
            Scenario::Requests(_) => "cycles",
            Scenario::Pushes(_) => "pushes",
            Scenario::Sustained(..) => "messages",
            Scenario::Fanout { .. } => "deliveries",
            Scenario::Idle { .. } | Scenario::Storm { .. } => "sessions",
            Scenario::Echo { .. } => "echoes",
        }
    }

    /// What was run, in one line.
    pub fn what(&self) -> String {
        let sessions = self.args.sessions;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let threads = self.args.threads;
        let rest = match &self.args.scenario {
            Scenario::Requests(load) => {
                let Load { endpoint, size, .. } = load;
                format!("{}, {endpoint}, {size} characters", pace(load))
            }
            Scenario::Pushes(load) => pushes(load),
            Scenario::Sustained(load, _) => match load.mix.kinds().any(|kind| kind == Kind::Pushes)
            {
                true => format!("{}, {}", load.mix, pushes(load)),
                false => format!("{}, {}, {} characters", load.mix, pace(load), load.size),
            },
            Scenario::Fanout { rate } => format!("{rate} publications per second"),
            Scenario::Idle { settle, ping } => {
                let ping = ping.map_or("no PING".to_owned(), |ping| {
                    format!("a PING every {ping:?}")
                });
                format!("{ping} each, {settle:?} to settle")
            }
            Scenario::Storm {
                backlog,
                size,
                kill,
            } => {
                let how = kill.map_or("lines cut", |_| "node killed");
                format!("{backlog} messages waiting for each, {size} characters, {how}")
            }
            Scenario::Echo { in_flight, size } => {
                format!("{in_flight} in flight each, {size} characters")
            }
        };
        format!(
            "{sessions} session{}, {rest}, {threads} thread{}",
            plural(sessions),
            plural(threads)
        )
    }

    /// Writes the figures to the file, if given.
    pub fn write_json(&self) -> Result<(), String> {
        let Some(path) = &self.args.json else {
            return Ok(());
        };
        let what = self.what();
        let write = || -> std::io::Result<()> {
            serde_json::to_writer_pretty(File::create(path)?, &self.figures(&what))?;
            Ok(())
        };
        write().map_err(|why| format!("{} cannot be written: {why}", path.display()))
    }
}

fn pace(load: &Load) -> String {
    match load.pace {
        Pace::Closed { in_flight } => format!("{in_flight} in flight each"),
        Pace::Open { rate } => format!("{rate} per second"),
    }
}

fn pushes(load: &Load) -> String {
    let (pace, size) = (pace(load), load.size);
    match load.via {
        Via::Burst(count) => format!("{pace}, by Bench.burst × {count}, {size} characters"),
        Via::Thread => format!("{pace}, by Test.server.send.thread, {size} characters"),
    }
}

fn print_times(figures: &Figures<'_>, unit: &str) {
    println!(
        "{unit:>12} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "per second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
    );
    println!(
        "{:>12} {:>11.0} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
        figures.count,
        figures.per_second,
        figures.p50,
        figures.p90,
        figures.p99,
        figures.p999,
        figures.max
    );
}

fn peak(figures: &Figures<'_>) -> String {
    let peak = figures.server_peak_bytes;
    peak.map_or(String::new(), |peak| {
        format!(", peak memory {:.1} MiB", peak as f64 / 1024.0 / 1024.0)
    })
}

fn kib(bytes: i64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}
