//! A server in a separate process that can be killed and measured: this test executable, run once more.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use matssocket::Store;
use matssocket::{Cluster, Config, MatsSocketServer};

use super::auth::TestAuth;
use super::{Control, endpoints};

/// Set in the child: the database's path.
const DATABASE: &str = "MATSSOCKET_TEST_DATABASE";
/// Set in the child: the address to listen on.
const ADDRESS: &str = "MATSSOCKET_TEST_ADDRESS";

/// Set in the child, if needed: what its connections may hold.
const NODE_BYTES: &str = "MATSSOCKET_TEST_NODE_BYTES";

/// A running child; killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    pub url: String,
    database: PathBuf,
    node_bytes: Option<usize>,
}

impl Process {
    /// Starts this test executable's test `name`, which must call [`serve_if_child`].
    pub fn start(name: &str, database: &Path) -> Process {
        Process::start_at(name, database, None)
    }

    /// The same, with this many bytes for all connections, and a lease that lasts on a busy machine.
    pub fn start_with(name: &str, database: &Path, node_bytes: usize) -> Process {
        Process::start_at(name, database, Some(node_bytes))
    }

    fn start_at(name: &str, database: &Path, node_bytes: Option<usize>) -> Process {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound socket has an address");
        drop(free);
        Process::start_on(name, database, address, node_bytes)
    }

    fn start_on(
        name: &str,
        database: &Path,
        address: SocketAddr,
        node_bytes: Option<usize>,
    ) -> Process {
        let mut child = Command::new(std::env::current_exe().expect("this executable"))
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(DATABASE, database)
            .env(ADDRESS, address.to_string())
            .envs(node_bytes.map(|bytes| (NODE_BYTES, bytes.to_string())))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let ready = lines
            .map_while(Result::ok)
            .any(|line| line.contains("child is ready"));
        assert!(ready, "the child ended before it was ready");
        Process {
            child,
            address,
            url: format!("ws://{address}/matssocket"),
            database: database.to_owned(),
            node_bytes,
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("the child can be killed");
        self.child.wait().expect("the child ends");
    }

    /// A new process on the same database and port.
    pub fn restart(&mut self, name: &str) {
        *self = Process::start_on(name, &self.database, self.address, self.node_bytes);
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("/proc");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        let kib: f64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .expect("KiB");
        kib / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: serves until it is killed. In the parent: returns at once.
pub fn serve_if_child() {
    let (Ok(database), Ok(address)) = (std::env::var(DATABASE), std::env::var(ADDRESS)) else {
        return;
    };
    let node_bytes = std::env::var(NODE_BYTES).ok();
    let node_bytes = node_bytes.map(|it| it.parse().expect("a number of bytes"));
    actix_web::rt::System::new()
        .block_on(serve(database, address, node_bytes))
        .expect("the child serves");
}

async fn serve(
    database: String,
    address: String,
    node_bytes: Option<usize>,
) -> std::io::Result<()> {
    let control = Control::new();
    let mut config = Config::default();
    config.lease = Duration::from_secs(1);
    config.lease_interval = Duration::from_millis(300);
    config.takeover_interval = Duration::from_millis(100);
    config.write_timeout = Duration::from_secs(2);
    config.hello_timeout = Duration::from_secs(2);
    // Larger than the kernel's buffers, so that a client that does not read has an effect.
    config.window = 1_000;
    config.window_bytes = 8 << 20;
    if let Some(bytes) = node_bytes {
        config.max_node_bytes = bytes;
        config.lease = Config::default().lease;
    }
    let builder = MatsSocketServer::builder("child")
        .store(Store::sqlite(database))
        .cluster(Cluster::local())
        .config(config)
        .authentication(TestAuth(control.clone()));
    let server = endpoints::add(builder, &control, 0)
        .start()
        .await
        .expect("the node starts");
    let mount = server.mount("/matssocket");
    // Called by the parent: sends to a session, opens a gate, reports who holds a session.
    let http = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new((server.clone(), control.clone())))
            .configure(mount.clone())
            .route("/send/{session}/{number}", web::get().to(send))
            .route("/big/{session}/{bytes}", web::get().to(big))
            .route("/open/{gate}", web::get().to(open))
            .route("/holder/{session}", web::get().to(holder))
    });
    let http = http
        .on_connect(matssocket::on_connect)
        .workers(1)
        .disable_signals()
        .bind(address)?
        .run();
    println!("child is ready");
    http.await
}

type Shared = web::Data<(MatsSocketServer, Control)>;

async fn send(shared: Shared, path: web::Path<(String, u64)>) -> String {
    format!(
        "{:?}",
        shared.0.send(&path.0, "sent", "client.x", &path.1).await
    )
}

async fn big(shared: Shared, path: web::Path<(String, usize)>) -> String {
    format!(
        "{:?}",
        shared
            .0
            .send(&path.0, "sent", "client.x", &"x".repeat(path.1))
            .await
    )
}

async fn open(shared: Shared, path: web::Path<String>) -> String {
    shared.1.open(&path, 1_000);
    "opened".to_owned()
}

async fn holder(shared: Shared, path: web::Path<String>) -> String {
    super::control::holder_of(&shared.0, &path)
        .await
        .unwrap_or_else(|| "nobody".to_owned())
}
