//! What one user may not do to the others, nor to the server, with the figures and what is promised of them: the trials
//! of `matssocket-load`, each with a conformance server of its own, on SQLite and on a durable PostgreSQL of this bench's
//! own. It fails if a number is not kept.
//!
//! ```sh
//! cargo bench --features postgres,load --bench trials
//! cargo bench --features postgres,load --bench trials -- --only SQLite,memory --seconds 10
//! ```
//!
//! Load generator, server and database share the machine.

#[allow(dead_code)] // servers are programs here
mod rows;

use std::num::ParseIntError;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use matssocket_testing::bench::conformance::Database::{self, Postgres, Sqlite};
use matssocket_testing::bench::conformance::{Server, Servers};

/// The load generator.
const LOAD: &str = env!("CARGO_BIN_EXE_matssocket-load");

fn main() -> ExitCode {
    let args = Args::parse();
    let mut trials = Trials {
        args,
        servers: Servers::new(LOAD, env!("CARGO_TARGET_TMPDIR")),
        failed: Vec::new(),
    };
    trials.run();
    match trials.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => {
            println!("\nNOT KEPT: {}", trials.failed.join("; "));
            ExitCode::from(1)
        }
    }
}

/// What one user may not do to the others
#[derive(Parser)]
struct Args {
    /// How long one user asks too much
    #[arg(long, default_value = "30", value_parser = number)]
    seconds: u32,
    /// Only the trials whose names have all of these in them
    #[arg(long, value_name = "TEXT,…", value_delimiter = ',')]
    only: Vec<String>,
    /// That come back
    #[arg(long, default_value = "200", value_parser = number)]
    sessions: u32,
    /// To be scavenged
    #[arg(long, default_value = "9_000_000", value_parser = number)]
    rows: u32,
    // What cargo adds.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

fn number(text: &str) -> Result<u32, ParseIntError> {
    text.replace(['_', ','], "").parse()
}

struct Trials {
    args: Args,
    servers: Servers,
    failed: Vec<String>,
}

impl Trials {
    fn run(&mut self) {
        for database in [Sqlite, Postgres] {
            self.trial(database, "greedy", "greedy");
            for case in ["frames", "fragments", "history", "outbox"] {
                let name = format!("memory, {case}");
                self.trial(database, &name, &format!("memory --case {case}"));
            }
            self.services(database);
            self.resume(database);
            self.scavenge(database);
        }
    }

    /// Whether it is to be run; says that it begins.
    fn begins(&self, database: Database, name: &str) -> Option<String> {
        let name = format!("{}, {name}", database.name());
        let wanted = |only: &String| name.contains(only.as_str());
        self.args.only.iter().all(wanted).then(|| {
            println!("\n{name}");
            name
        })
    }

    fn trial(&mut self, database: Database, name: &str, arguments: &str) {
        if let Some(name) = self.begins(database, name) {
            let server = self.servers.start(database, "a");
            self.load(name, arguments, &server.url, &server);
        }
    }

    /// With PostgreSQL, another node takes the work over.
    fn services(&mut self, database: Database) {
        let Some(name) = self.begins(database, "services") else {
            return;
        };
        let server = self.servers.start(database, "a");
        if database == Sqlite {
            return self.load(name, "services", &server.url, &server);
        }
        let other = self.servers.start_beside("b");
        let urls = format!("{},{}", server.url, other.url);
        let kill = format!("services --kill-pid {}", server.id());
        self.load(name, &kill, &urls, &other);
    }

    fn resume(&mut self, database: Database) {
        const EACH: u32 = 20;
        const SIZE: usize = 1_000_000;
        let Some(name) = self.begins(database, "resume") else {
            return;
        };
        let sessions = self.args.sessions;
        let backlog = rows::backlog(database, sessions, EACH, SIZE);
        let server = self.servers.start_filled(database, &backlog, &[]);
        let resume =
            format!("resume --stored --sessions {sessions} --backlog {EACH} --size {SIZE}");
        self.load(name, &resume, &server.url, &server);
    }

    fn scavenge(&mut self, database: Database) {
        /// At least so many are scavenged.
        const ROWS_PER_SECOND: u32 = 50_000;
        let Some(name) = self.begins(database, "scavenging") else {
            return;
        };
        let expired = rows::expired(database, self.args.rows);
        let often = ["--scavenge-interval", "5"];
        let server = self.servers.start_filled(database, &expired, &often);
        let begun = Instant::now();
        let (over, is_over) = mpsc::channel::<()>();
        let url = server.database.clone();
        let watch = thread::spawn(move || {
            loop {
                match is_over.recv_timeout(Duration::from_millis(500)) {
                    Err(RecvTimeoutError::Timeout) if is_left(database, &url) => {}
                    _ => return begun.elapsed(),
                }
            }
        });
        let seconds = self.args.rows.div_ceil(ROWS_PER_SECOND).max(10);
        let steady = "steady --idle 190 --paced 10";
        self.load_for(seconds, name.clone(), steady, &server.url, &server);
        drop(over);
        let took = watch.join().expect("it does not panic");
        let is_left = is_left(database, &server.database);
        println!("  {} rows, until none was left: {took:.1?}", self.args.rows);
        if is_left {
            println!("  NOT KEPT: some are left");
            self.failed.push(format!("{name}: rows are left"));
        }
    }

    /// Runs a trial, which prints its figures.
    fn load(&mut self, name: String, arguments: &str, urls: &str, server: &Server) {
        self.load_for(self.args.seconds, name, arguments, urls, server);
    }

    fn load_for(
        &mut self,
        seconds: u32,
        name: String,
        arguments: &str,
        urls: &str,
        server: &Server,
    ) {
        let status = Command::new(LOAD)
            .args(arguments.split(' '))
            .args(["--url", urls, "--server-pid", &server.id().to_string()])
            .args(["--seconds", &seconds.to_string()])
            .status();
        if !status.expect("the load generator was built").success() {
            self.failed.push(name);
        }
    }
}

#[derive(QueryableByName)]
struct Left {
    #[diesel(sql_type = Bool)]
    is_left: bool,
}

/// Whether there are expired rows.
fn is_left(database: Database, url: &str) -> bool {
    let query = diesel::sql_query(rows::expired_left(database));
    let left: QueryResult<Left> = match database {
        Sqlite => SqliteConnection::establish(url)
            .map_err(|_| diesel::result::Error::NotFound)
            .and_then(|mut conn| query.get_result(&mut conn)),
        Postgres => PgConnection::establish(url)
            .map_err(|_| diesel::result::Error::NotFound)
            .and_then(|mut conn| {
                diesel::sql_query("SET search_path TO matssocket").execute(&mut conn)?;
                query.get_result(&mut conn)
            }),
    };
    // While it cannot be asked, there may be.
    left.map_or(true, |left| left.is_left)
}
