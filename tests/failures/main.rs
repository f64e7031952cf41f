//! What a server does when its PostgreSQL fails in the ways of real ones: lines that fall silent, a failover, roles that
//! may do too little. Each says how long it took until clients were served again.
#![cfg(feature = "postgres")]

mod failover;
mod roles;
mod silent;

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use matssocket::{Config, MatsSocketServer, Postgres};
use matssocket_testing::*;
use tokio_tungstenite::tungstenite::Message;

/// Short intervals, so that what takes minutes in earnest takes seconds here.
fn quick(config: &mut Config) {
    config.lease = Duration::from_secs(6);
    config.lease_interval = Duration::from_millis(500);
    config.sweep_interval = Duration::from_millis(500);
    config.stop_grace = Duration::from_secs(1);
    config.store.busy_timeout = Duration::from_secs(1);
    config.store.answer_timeout = Duration::from_secs(2);
}

/// Waits until the server is ready, or is not.
async fn until_ready(server: &MatsSocketServer, wanted: bool) -> String {
    within("the server's readiness to change", async {
        loop {
            match (server.ready(), wanted) {
                (Ok(()), true) => return "ready".to_owned(),
                (Err(why), false) => return why.to_string(),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

/// A client asks, coming again whenever it is sent away, until it is answered; how long that took.
async fn until_served(url: &str, user: &str) -> Duration {
    let begun = Instant::now();
    let serving = async {
        loop {
            if is_served(url, user).await {
                return begun.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), serving)
        .await
        .expect("nobody is served for a minute")
}

async fn is_served(url: &str, user: &str) -> bool {
    let Ok(mut line) = Line::try_connect(url, &[]).await else {
        return false;
    };
    line.client = Client::new(user);
    let cmid = line.next_cmid();
    let request = json!({"t": "REQUEST", "cmid": cmid, "tid": "t", "eid": "test.do", "msg": {}});
    let pipeline = json!([line.client.hello(), request]).to_string();
    if line.socket.send(Message::text(pipeline)).await.is_err() {
        return false;
    }
    let answered = async {
        loop {
            if line.read().await.is_err() {
                return false;
            }
            if line.waiting("RESOLVE") > 0 {
                return true;
            }
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(10), answered).await;
    answered.unwrap_or(false)
}

/// A node on this database.
fn on(settings: Postgres) -> Setup {
    Setup::new().config(quick).at(settings)
}
