//! What the server and the operating system report about the server.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::process;
use crate::verdict::Verdict;

/// How often its memory is sampled.
const LOOK: Duration = Duration::from_millis(50);

/// Its metrics, if it serves them below the WebSocket's path.
async fn metrics(url: &Uri) -> Option<Value> {
    let read = async {
        let host = url.host()?.trim_matches(['[', ']']);
        let mut stream = TcpStream::connect((host, url.port_u16().unwrap_or(80)))
            .await
            .ok()?;
        let request = format!(
            "GET {}/metrics HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n",
            url.path()
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    };
    timeout(Duration::from_secs(5), read).await.ok()?
}

/// Watches whether a node keeps its lease, if its metrics are available.
pub struct Lease {
    url: Uri,
    before: Option<(u64, u64)>,
}

impl Lease {
    /// Starts watching.
    pub async fn watch(url: &Uri) -> Lease {
        let before = lease_failures(url).await;
        let url = url.clone();
        Lease { url, before }
    }

    pub async fn tell(self, verdict: &mut Verdict) {
        if let (Some(before), Some(after)) = (self.before, lease_failures(&self.url).await) {
            verdict.none("lease renewals failed", after.0 - before.0);
            verdict.none("leases lost", after.1 - before.1);
        }
    }
}

/// How often its lease could not be renewed, and how often it had to come back as a new incarnation.
async fn lease_failures(url: &Uri) -> Option<(u64, u64)> {
    let metrics = metrics(url).await?;
    let number = |pointer: &str| metrics.pointer(pointer)?.as_u64();
    Some((
        number("/maintenance/lease/failures")?,
        number("/incarnations")?,
    ))
}

/// Watches the memory of processes.
pub struct Memory {
    pids: Vec<u32>,
    /// Whether the system's record of the peak was reset at the start.
    forgot: bool,
    most: Rc<Cell<u64>>,
    task: JoinHandle<()>,
}

impl Memory {
    /// Starts watching.
    pub fn watch(pids: &[u32]) -> Memory {
        let forget = |pid: &u32| fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok();
        let forgot = pids.iter().all(forget);
        let most = Rc::new(Cell::new(0));
        let (seen, watched) = (most.clone(), pids.to_vec());
        let task = spawn_local(async move {
            loop {
                let now = process::resident(&watched).unwrap_or(0);
                seen.set(seen.get().max(now));
                sleep(LOOK).await;
            }
        });
        Memory {
            pids: pids.to_vec(),
            forgot,
            most,
            task,
        }
    }

    /// The peak since then, in bytes.
    pub fn peak(self) -> u64 {
        self.task.abort();
        let seen = self.most.get();
        match self.forgot {
            true => process::peak(&self.pids).unwrap_or(0).max(seen),
            false => seen,
        }
    }
}
