//! Messages that wait for sessions that are not connected.

use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::pipeline::parse;
use crate::session::{Lost, Session};

/// Sessions that order the messages.
const ORDERERS: usize = 4;
/// Characters ordered at a time: the server creates them all in one transaction.
const AT_ONCE: usize = 4_000_000;
/// The pause before repeating what was answered with RETRY.
const PAUSE: Duration = Duration::from_millis(200);
const ATTEMPTS: usize = 20;
/// Longest time for a single order.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens a session for each of these users, drops its connection, and orders this many messages for it, numbered from
/// 0, or as many as the server will store. Returns the sessions, and how many messages were stored in total.
pub async fn store(
    url: &Uri,
    users: &[String],
    count: u32,
    size: usize,
) -> Result<(Vec<Lost>, u64), String> {
    let mut tasks = Vec::new();
    for part in users.chunks(users.len().div_ceil(ORDERERS)) {
        let (url, part, number) = (url.clone(), part.to_vec(), tasks.len());
        tasks.push(spawn_local(async move {
            let mut orderer = Session::open(&url, format!("orderer-{number}")).await?;
            let (mut all, mut stored) = (Vec::new(), 0);
            for user in part {
                let lost = Session::open(&url, user).await?.lose();
                stored += u64::from(fill(&mut orderer, &lost, count, size).await?);
                all.push(lost);
            }
            orderer.close().await;
            Ok::<_, String>((all, stored))
        }));
    }
    let (mut all, mut stored) = (Vec::new(), 0);
    for task in tasks {
        let (lost, messages) = task.await.map_err(|why| why.to_string())??;
        all.extend(lost);
        stored += messages;
    }
    Ok((all, stored))
}

/// Returns how many were stored, fewer than requested if the server has no room for more.
async fn fill(orderer: &mut Session, lost: &Lost, count: u32, size: usize) -> Result<u32, String> {
    let at_once = u32::try_from(AT_ONCE / size).unwrap_or(u32::MAX).max(1);
    let mut first = 0;
    while first < count {
        let part = at_once.min(count - first);
        let msg = format!(
            r#"{{"session":"{}","first":{first},"count":{part},"size":{size}}}"#,
            lost.id()
        );
        if let Err(why) = order(orderer, "Bench.burst", &msg).await {
            match first {
                0 => return Err(why),
                _ => return Ok(first),
            }
        }
        first += part;
    }
    Ok(count)
}

/// Sends something, until it is acknowledged.
///
/// # Errors
/// It was refused, or answered with RETRY again and again.
pub async fn order(session: &mut Session, endpoint: &str, msg: &str) -> Result<(), String> {
    let cmid = session.say("SEND", endpoint, "order", msg);
    for _ in 0..ATTEMPTS {
        session.flush().await?;
        let answer = timeout(PATIENCE, answer(session, cmid)).await;
        match answer.map_err(|_| format!("no answer within {PATIENCE:?}"))?? {
            true => return Ok(()),
            false => sleep(PAUSE).await,
        }
        session.say_again("SEND", cmid, endpoint, "order", msg);
    }
    Err(format!("RETRY, {ATTEMPTS} times"))
}

/// Whether it was acknowledged; otherwise it must be sent again.
async fn answer(session: &mut Session, cmid: u64) -> Result<bool, String> {
    let cmid = cmid.to_string();
    loop {
        let text = session.next().await?;
        for envelope in parse(&text)? {
            if !envelope.cmids().any(|id| id == cmid) {
                continue;
            }
            match envelope.t {
                "RETRY" => return Ok(false),
                "ACK" => session.out.ack2(&cmid),
                _ => return Err(format!("it was refused: {text}")),
            }
            return Ok(true);
        }
    }
}
