//! What is flooded, and watched meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use matssocket_testing::child::Process;
use matssocket_testing::line::http;
use matssocket_testing::*;

use super::GROWTH;

/// A node in a process of its own, with the memory it had when it was warm.
pub struct Target {
    pub process: Process,
    pub before: f64,
    _directory: tempfile::TempDir,
}

impl Target {
    pub async fn start() -> Target {
        Target::start_with(matssocket::Config::default().max_node_bytes).await
    }

    /// One whose connections may hold so many bytes.
    pub async fn start_with(node_bytes: usize) -> Target {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("store.db");
        let process = Process::start_with("child", &database, node_bytes);
        let mut line = Line::open(&process.url, "warm").await;
        let mut ids = Vec::new();
        for _ in 0..200 {
            ids.push(
                line.request("test.effect", json!({"filler": "x".repeat(10_000)}))
                    .await,
            );
        }
        for id in &ids {
            line.expect_id("RESOLVE", id).await;
        }
        let mut mails = Vec::new();
        for _ in &ids {
            mails.push(line.expect("SEND").await);
        }
        line.ack_all(&mails).await;
        line.leave(4000).await;
        let before = process.resident();
        Target {
            process,
            before,
            _directory: directory,
        }
    }

    /// Runs the flood on a thread of its own, while another client works and the memory is watched.
    pub async fn under<R: Send + 'static>(
        &self,
        flood: impl FnOnce(SocketAddr) -> R + Send + 'static,
    ) -> R {
        self.under_with(GROWTH, flood).await
    }

    /// The same, where the memory may grow by so many MiB.
    pub async fn under_with<R: Send + 'static>(
        &self,
        most_grown: f64,
        flood: impl FnOnce(SocketAddr) -> R + Send + 'static,
    ) -> R {
        let address = self.process.address;
        let flood = std::thread::spawn(move || flood(address));
        let mut line = Line::open(&self.process.url, "bystander").await;
        let (mut most, mut slowest, mut served) = (0_f64, Duration::ZERO, 0);
        while !flood.is_finished() {
            let from = Instant::now();
            let cmid = line.request("test.do", json!({})).await;
            line.expect_id("RESOLVE", &cmid).await;
            line.send(json!([{"t": "ACK2", "cmid": cmid}])).await;
            slowest = slowest.max(from.elapsed());
            served += 1;
            most = most.max(self.process.resident());
        }
        most = most.max(self.process.resident());
        let grown = most - self.before;
        println!(
            "{served} requests of others served, the slowest in {slowest:?}; memory grew by {grown:.1} MiB"
        );
        assert!(
            grown < most_grown,
            "the memory grew by {grown:.1} MiB from {:.1} MiB",
            self.before
        );
        assert!(
            slowest < Duration::from_secs(2),
            "others waited {slowest:?}"
        );
        flood.join().expect("the flood ends")
    }

    pub async fn get(&self, path: &str) -> String {
        let (status, response) = http(self.process.address, &format!("GET {path} HTTP/1.1")).await;
        assert_eq!(status, 200, "{response}");
        response
            .rsplit("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until no connection holds the session any more.
    pub async fn detached(&self, session: &str) {
        within("the session to be detached", async {
            while self.get(&format!("/holder/{session}")).await != "nobody" {}
        })
        .await;
    }
}
