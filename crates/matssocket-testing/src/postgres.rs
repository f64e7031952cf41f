//! PostgreSQL for tests: the one that `./test` starts, with a schema for each test; or one of a test's own, which it
//! may stop and restart.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// URL of the PostgreSQL that all tests share.
pub fn url() -> String {
    std::env::var("MATSSOCKET_TEST_POSTGRES").expect(
        "MATSSOCKET_TEST_POSTGRES must be the URL of a PostgreSQL for tests: run ./test, which starts one, or set it",
    )
}

/// A test's own schema in that PostgreSQL, dropped at its end.
#[cfg(feature = "postgres")]
pub struct Schema(String);

#[cfg(feature = "postgres")]
impl Schema {
    /// Chooses a unique name. The first node creates the tables.
    pub fn new() -> Schema {
        Schema(format!("test_{:016x}", rand::random::<u64>()))
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    pub fn settings(&self) -> matssocket::Postgres {
        matssocket::Postgres::at(url()).schema(&self.0)
    }
}

#[cfg(feature = "postgres")]
impl Drop for Schema {
    fn drop(&mut self) {
        use diesel::connection::SimpleConnection;
        use diesel::{Connection, PgConnection};
        let drop = format!(
            "SET client_min_messages TO warning; DROP SCHEMA IF EXISTS {} CASCADE",
            self.0
        );
        let dropped = PgConnection::establish(&url())
            .map_err(|error| error.to_string())
            .and_then(|mut conn| conn.batch_execute(&drop).map_err(|error| error.to_string()));
        if let Err(error) = dropped {
            eprintln!("the schema {} was not dropped: {error}", self.0);
        }
    }
}

/// A PostgreSQL of one test's own, which keeps its port and its data across restarts; removed on drop.
pub struct Server {
    directory: TempDir,
    port: u16,
}

impl Server {
    /// Starts one. Without `fsync` its commits are fast, but do not survive a crash of the machine.
    pub fn new(fsync: bool) -> Server {
        let server = Server::nowhere();
        server.run(
            "initdb",
            &[
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        server.configure(fsync);
        server.start();
        server
    }

    /// Starts a standby of this one: it follows, can be read, and rejects writes until it is [promoted](Self::promote).
    /// The primary's commits wait for it from now on if `synchronous`.
    pub fn standby(&self, synchronous: bool) -> Server {
        let standby = Server::nowhere();
        let source = format!(
            "--dbname=host=127.0.0.1 port={} user=postgres application_name=standby",
            self.port
        );
        let data = standby.data().display().to_string();
        let arguments = [
            "--wal-method=stream",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--no-sync",
        ];
        standby.run(
            "pg_basebackup",
            &[&arguments[..], &[&source, "--pgdata", &data]].concat(),
        );
        let settings = format!(
            "port = {}\nunix_socket_directories = '{}'\nsynchronous_standby_names = ''\n",
            standby.port,
            standby.directory.path().display()
        );
        // Settings made at run time come last.
        standby.append("postgresql.auto.conf", &settings);
        standby.start();
        if synchronous {
            self.append(
                "postgresql.auto.conf",
                "synchronous_standby_names = 'standby'\n",
            );
            self.run("pg_ctl", &["reload"]);
        }
        standby
    }

    /// Makes it the primary.
    pub fn promote(&self) {
        self.run("pg_ctl", &["promote", "--wait"]);
    }

    /// Ends all of it at once, as a crash does.
    pub fn crash(&self) {
        self.run("pg_ctl", &["stop", "--mode=immediate"]);
    }

    /// A server that has only a directory and a port so far.
    fn nowhere() -> Server {
        let directory = TempDir::new().expect("a temporary directory");
        if let Some((user, group)) = unprivileged() {
            chown(&directory, Some(user), Some(group)).expect("root may give it away");
        }
        Server {
            directory,
            port: crate::free_port(),
        }
    }

    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends all of it at once, as a crash does, then starts it: it recovers.
    pub fn restart_immediate(&self) {
        self.run("pg_ctl", &["stop", "--mode=immediate"]);
        self.start();
    }

    /// Ends every connection, and the server.
    pub fn stop(&self) {
        self.run("pg_ctl", &["stop", "--mode=fast"]);
    }

    /// Starts it again. Returns when it accepts connections.
    pub fn start(&self) {
        let log = format!("--log={}", self.log().display());
        self.run("pg_ctl", &["start", "--silent", &log]);
    }

    fn configure(&self, fsync: bool) {
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nmax_connections = 300\n\
            deadlock_timeout = 100ms\nfsync = {fsync}\nfull_page_writes = {fsync}\n",
            self.port,
            self.directory.path().display()
        );
        self.append("postgresql.conf", &settings);
    }

    fn append(&self, file: &str, settings: &str) {
        OpenOptions::new()
            .append(true)
            .open(self.data().join(file))
            .and_then(|mut file| file.write_all(settings.as_bytes()))
            .expect("initdb made a configuration");
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command
            .env("PGDATA", self.data())
            .current_dir(self.directory.path());
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{program} does not run: {error}"));
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stderr),
            fs::read_to_string(self.log()).unwrap_or_default()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The test may have stopped it.
        let mut stop = self.command("pg_ctl");
        let _ = stop.args(["stop", "--mode=immediate"]).output();
    }
}

/// User and group to run as if this process is root, since PostgreSQL refuses to run as root.
pub fn unprivileged() -> Option<(u32, u32)> {
    static IDS: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *IDS.get_or_init(|| {
        let root = fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0);
        let ids = |name| Some((id("-u", name)?, id("-g", name)?));
        root.then(|| ["postgres", "nobody"].into_iter().find_map(ids))
            .flatten()
    })
}

fn id(which: &str, user: &str) -> Option<u32> {
    let output = Command::new("id").args([which, user]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The directory of the server's programs, which Debian keeps out of PATH.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let config = Command::new("pg_config").arg("--bindir").output();
        let config = config.map(|output| String::from_utf8_lossy(&output.stdout).trim().into());
        let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let debian = debian.flatten().map(|version| version.path().join("bin"));
        std::env::split_paths(&path)
            .chain(config)
            .chain(debian)
            .find(|it| ["initdb", "pg_ctl", "pg_basebackup"].iter().all(|program| it.join(program).is_file()))
            .expect(
                "PostgreSQL's initdb, pg_ctl and pg_basebackup: install postgresql, or run ./test, which does",
            )
    })
}
