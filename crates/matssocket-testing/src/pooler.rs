//! PgBouncer in transaction mode, in front of the PostgreSQL that all tests share.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::postgres::{unprivileged, url};

/// It has fewer connections to the server than clients ask for, so that they change hands all the time.
pub struct Pooler {
    process: Child,
    port: u16,
    user: String,
    _directory: TempDir,
}

impl Pooler {
    pub fn start() -> Pooler {
        let (user, server) = user_and_server();
        let (host, port) = server.split_once(':').expect("the URL has a port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let free = listener.local_addr().expect("its address").port();
        drop(listener);
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = host={host} port={port} user={user}\n\
            [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {free}\nunix_socket_dir =\nauth_type = any\n\
            pool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 200\n\
            ignore_startup_parameters = extra_float_digits\n"
        );
        fs::write(&file, settings).expect("written");
        let mut command = Command::new("pgbouncer");
        command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((user, group)) = unprivileged() {
            chown(directory.path(), Some(user), Some(group)).expect("root may give it away");
            command.uid(user).gid(group);
        }
        let process = command
            .spawn()
            .expect("pgbouncer: install it, or run ./test, which does");
        let pooler = Pooler {
            process,
            port: free,
            user,
            _directory: directory,
        };
        pooler.wait();
        pooler
    }

    pub fn url(&self) -> String {
        format!("postgres://{}@127.0.0.1:{}/postgres", self.user, self.port)
    }

    /// Accepts what is sent, but lets it wait.
    pub fn pause(&self) {
        self.signal("USR1");
    }

    /// Continues after a pause.
    pub fn resume(&self) {
        self.signal("USR2");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill")
            .args([format!("-{signal}"), id])
            .status();
        assert!(sent.expect("kill runs").success(), "no signal to pgbouncer");
    }

    fn wait(&self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "pgbouncer does not take connections"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The user, and host:port, in the URL of the PostgreSQL that all tests share.
fn user_and_server() -> (String, String) {
    let url = url();
    let rest = url.split("://").nth(1).expect("a URL");
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (user, server) = authority.split_once('@').expect("the URL has a user");
    let user = user.split(':').next().unwrap_or_default();
    (user.to_owned(), server.to_owned())
}
