//! The figures of docs/performance.md: the conformance server under `matssocket-load`, on SQLite and on a durable PostgreSQL of
//! this bench's own, next to what plain WebSockets do on actix-web-actors with the same load.
//!
//! ```sh
//! cargo bench --features postgres,load --bench load
//! cargo bench --features postgres,load --bench load -- --seconds 3 --only cycles
//! cargo bench --features postgres,load --bench load -- --only sustained --seconds 1800
//! cargo bench --features postgres,load --bench load -- --only "PostgreSQL: sustained" --more "--hold-xmin 3..6"
//! ```
//!
//! Load generator, server and database share the machine. Each row has a server of its own, fresh. What is sustained is
//! told in windows of 10 seconds, or of a tenth of a short time; the plots are in `target/tmp/sustained`.

mod echo;
mod foreign;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use clap::Parser;
use matssocket_testing::bench::conformance::Database::{self, Postgres, Sqlite};
use matssocket_testing::bench::conformance::Servers;
use matssocket_testing::bench::process;
use serde_json::Value;

/// The load generator.
const LOAD: &str = env!("CARGO_BIN_EXE_matssocket-load");

fn main() {
    if process::role().is_some() {
        return echo::serve();
    }
    let args = Args::parse();
    let bench = Bench::new(args);
    bench.run();
}

/// The figures of the README
#[derive(Parser)]
struct Args {
    /// For each row
    #[arg(long, default_value = "10")]
    seconds: String,
    /// Only the rows whose titles have this in them
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Options for what is sustained
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "",
        allow_hyphen_values = true
    )]
    more: String,
    // What cargo adds.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

struct Bench {
    args: Args,
    servers: Servers,
}

impl Bench {
    fn new(args: Args) -> Bench {
        Bench {
            args,
            servers: Servers::new(LOAD, env!("CARGO_TARGET_TMPDIR")),
        }
    }

    fn run(&self) {
        println!(
            "{:<44} {:>10} {:>9} {:>9} {:>10} {:>9} {:>7}",
            "", "per second", "p50 ms", "p99 ms", "server µs", "peak MiB", "errors"
        );
        let busy = "--sessions 100 --in-flight 10";
        self.echo(
            "ceiling: plain echo, 1 in flight",
            "--sessions 100 --in-flight 1",
        );
        self.echo("ceiling: plain echo, 10 in flight", busy);
        for database in [Sqlite, Postgres] {
            self.row(database, "cycles", &format!("requests {busy}"));
            self.row(
                database,
                "cycles, 50 in flight",
                "requests --sessions 100 --in-flight 50",
            );
            self.row(
                database,
                "pushes by bursts",
                "pushes --sessions 100 --burst 100",
            );
            let thread = "pushes --via thread --sessions 100 --in-flight 10";
            self.row(database, "pushes one by one", thread);
            self.row(
                database,
                "requests at 1,000/s",
                "requests --sessions 100 --rate 1000",
            );
            self.row(
                database,
                "fan-out to 1,000",
                "fanout --sessions 1000 --rate 20",
            );
        }
        self.growth();
        self.foreign();
        self.idle();
        self.storm();
        for database in [Sqlite, Postgres] {
            self.sustained(database, "requests", "requests");
            self.sustained(database, "pushes", "pushes");
            self.sustained(database, "mix", "requests=3,pushes=1,forwards=1");
        }
    }

    fn wanted(&self, name: &str) -> bool {
        self.args
            .only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    }

    fn echo(&self, name: &str, arguments: &str) {
        if !self.wanted(name) {
            return;
        }
        let server = process::Server::start("echo");
        let url = format!("ws://127.0.0.1:{}/", server.port);
        let figures = self.load(&format!("echo {arguments}"), &url, server.id());
        print_row(name, &figures);
    }

    /// One row, from a server of its own.
    fn row(&self, database: Database, name: &str, arguments: &str) {
        let name = format!("{}: {name}", database.name());
        if self.wanted(&name) {
            let server = self.servers.start(database, "a");
            print_row(&name, &self.load(arguments, &server.url, server.id()));
        }
    }

    /// What a message costs with few and many sessions, with small and large payloads.
    fn growth(&self) {
        for sessions in [10, 100, 1_000, 9_000] {
            let load = format!("requests --sessions {sessions} --rate 10000");
            self.row(Sqlite, &format!("growth, {sessions} sessions"), &load);
        }
        for size in [100, 1_000, 10_000, 100_000, 1_000_000] {
            let in_flight = (1_000_000 / size).clamp(1, 50);
            let load = format!("requests --sessions 20 --in-flight {in_flight} --size {size}");
            self.row(Sqlite, &format!("growth, {size} characters"), &load);
        }
    }

    /// The same with a million messages in the store that wait for other sessions.
    fn foreign(&self) {
        for database in [Sqlite, Postgres] {
            for (rows, name) in [(0, "no"), (1_000_000, "1,000,000")] {
                let name = format!("{}: {name} foreign rows", database.name());
                if !self.wanted(&name) {
                    continue;
                }
                let server = match rows {
                    0 => self.servers.start(database, "a"),
                    _ => (self.servers).start_filled(database, &foreign::rows(database, rows), &[]),
                };
                for load in [
                    "requests --sessions 100 --in-flight 10",
                    "pushes --sessions 100 --burst 100",
                ] {
                    let what = load.split(' ').next().unwrap_or_default();
                    let figures = self.load(load, &server.url, server.id());
                    print_row(&format!("{name}, {what}"), &figures);
                }
            }
        }
    }

    fn idle(&self) {
        // Half as many as there may be file descriptors on small systems: where it is not Linux, each takes two.
        let name = "idle sessions, 9,900";
        if !self.wanted(name) {
            return;
        }
        let server = self.servers.start(Sqlite, "a");
        let figures = self.load("idle --sessions 9900", &server.url, server.id());
        let each = figures["resident_bytes_per_session"]
            .as_f64()
            .unwrap_or(f64::NAN);
        let kernel = figures["kernel_bytes_per_session"]
            .as_f64()
            .unwrap_or(f64::NAN);
        let cpu = figures["server_cpu_seconds"].as_f64().unwrap_or(f64::NAN);
        println!(
            "{name}: {:.1} KiB resident each, {:.1} KiB in the kernel for both ends, {cpu:.2} s CPU in {} s",
            each / 1024.0,
            kernel / 1024.0,
            self.args.seconds
        );
    }

    fn storm(&self) {
        let name = "storm, 5,000 sessions, node killed";
        if !self.wanted(name) {
            return;
        }
        let killed = self.servers.start(Postgres, "killed");
        let other = self.servers.start_beside("other");
        let urls = format!("{},{}", killed.url, other.url);
        let storm = format!("storm --sessions 5000 --kill-pid {}", killed.id());
        let figures = self.load(&storm, &urls, other.id());
        println!(
            "{name}: all delivered {:.2} s after the kill",
            figures["seconds"].as_f64().unwrap_or(f64::NAN)
        );
        print_row(name, &figures);
    }

    /// Shows what the load generator says in the course of time.
    fn sustained(&self, database: Database, name: &str, mix: &str) {
        let title = format!("{}: sustained {name}", database.name());
        if !self.wanted(&title) {
            return;
        }
        println!("\n{title}");
        let plots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sustained");
        std::fs::create_dir_all(&plots).expect("a directory can be made");
        let plot = plots.join(format!("{}-{name}.svg", database.name().to_lowercase()));
        let seconds: f64 = self.args.seconds.parse().expect("--seconds is a number");
        let window = match seconds >= 100.0 && seconds % 10.0 == 0.0 {
            true => 10.0,
            false => seconds / 10.0,
        };
        let server = self.servers.start(database, "a");
        let mut load = Command::new(LOAD);
        load.args(["sustained", "--mix", mix, "--url", &server.url])
            .args(["--server-pid", &server.id().to_string()])
            .args([
                "--seconds",
                &self.args.seconds,
                "--window",
                &window.to_string(),
            ])
            .arg("--plot")
            .arg(&plot);
        if database == Postgres {
            load.args(["--postgres", &server.database]);
        }
        let done = load.args(self.args.more.split_whitespace()).status();
        assert!(
            done.is_ok_and(|status| status.code() != Some(2)),
            "{title}: it could not be run"
        );
    }

    /// Runs the load generator; its figures.
    fn load(&self, arguments: &str, url: &str, pid: u32) -> HashMap<String, Value> {
        let json = self.servers.directory.path().join("figures.json");
        let output = Command::new(LOAD)
            .args(arguments.split(' '))
            .args(["--url", url, "--server-pid", &pid.to_string(), "--json"])
            .arg(&json)
            .args(["--seconds", &self.args.seconds, "--quiet"])
            .output()
            .expect("the load generator was built");
        let text = std::fs::read_to_string(&json);
        let text = text.unwrap_or_else(|why| panic!("{arguments}: {why}: {output:?}"));
        let _ = std::fs::remove_file(&json);
        serde_json::from_str(&text).expect("it is JSON")
    }
}

fn print_row(name: &str, figures: &HashMap<String, Value>) {
    let number = |of: &str| figures[of].as_f64().unwrap_or(f64::NAN);
    println!(
        "{name:<44} {:>10.0} {:>9.2} {:>9.2} {:>10.1} {:>9.1} {:>7}",
        number("per_second"),
        number("p50"),
        number("p99"),
        number("server_cpu_micros_each"),
        number("server_peak_bytes") / 1024.0 / 1024.0,
        number("errors")
    );
}
