//! Servers in separate processes, which run this same program, selected by an environment variable.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix_web::{App, HttpServer};
use matssocket::{MatsSocketServer, Principal, ServerBuilder, Verdict, auth_fn};
use tokio::task::LocalSet;

/// Tells this program which server it is.
const ROLE: &str = "MATSSOCKET_BENCH_SERVER";

/// Which server this process is; `None`: it is the one that measures.
pub fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    std::thread::spawn(until_abandoned);
    Some(role)
}

/// Runs until the parent is gone.
fn until_abandoned() {
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

/// Serves a node until the parent is gone.
pub fn serve(node: ServerBuilder, started: impl FnOnce(&MatsSocketServer)) {
    let system = actix_web::rt::System::new();
    system.block_on(async {
        let server = node
            .authentication(auth_fn(async |user: String| {
                Ok(Verdict::Authenticated(Principal::user(user)))
            }))
            .start()
            .await
            .expect("the server starts");
        started(&server);
        let mounted = server.clone();
        let http = HttpServer::new(move || App::new().configure(mounted.mount("/matssocket")))
            .bind(("127.0.0.1", 0))
            .expect("a port is free");
        println!("{}", http.addrs()[0].port());
        server.run(http).await.expect("the server runs");
    });
}

pub fn on_one_thread<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    LocalSet::new().block_on(&runtime, run)
}

/// A process, killed when dropped.
pub struct Process(pub Child);

impl Process {
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// The first line of its output, which must be piped.
    pub fn first_line(&mut self) -> String {
        let said = self.0.stdout.take().expect("it is piped");
        let mut line = String::new();
        let _ = BufReader::new(said).read_line(&mut line);
        line
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server in a separate process, which ends when this is dropped.
pub struct Server {
    process: Process,
    pub port: u16,
}

impl Server {
    pub fn start(role: &str) -> Server {
        let program = std::env::current_exe().expect("this program has a path");
        let process = Command::new(program)
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Process(process.expect("a process can be started"));
        let line = process.first_line();
        let port = line.trim().parse().expect("the server says its port");
        Server { process, port }
    }

    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// CPU time that it has used so far, if the system reports it.
    pub fn cpu(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.0.id())).ok()?;
        // After the name in parentheses, user and system time are the 12th and 13th; in hundredths of a second.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
    }
}
