//! Sessions with a backlog, whose connections are all cut at once, or whose node is killed.

use std::pin::pin;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::time::timeout_at;

use crate::pipeline::parse;
use crate::session::{Lost, Session};
use crate::stage::Stage;
use crate::tally::Fault;

/// The pause between attempts to reconnect, so that refused connections do not cause a busy loop.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
struct Numbered {
    number: u32,
}

pub async fn play(
    stage: &Stage,
    number: usize,
    backlog: u32,
    size: usize,
    kill: bool,
) -> Option<Session> {
    // If a node will be killed, all begin on it.
    let first = if kill { 0 } else { number };
    let opening = prepare(stage, number, first, backlog, size);
    let mut session = stage.open(opening).await?;
    let mut ready = pin!(stage.ready());
    let begun = tokio::select! {
        begun = &mut ready => begun,
        // What arrives is not acknowledged, so it is delivered again.
        why = deaf(&mut session) => {
            if !kill {
                stage.fault(Fault::Broken, || why);
                return None;
            }
            ready.await
        }
    };
    let lost = session.lose();
    let delivered = deliver(stage, &lost, first, backlog, begun);
    match timeout_at((begun + stage.args().patience).into(), delivered).await {
        Ok(Ok(session)) => Some(session),
        Ok(Err((fault, why))) => {
            stage.fault(fault, || why);
            None
        }
        Err(_) => {
            stage.fault(Fault::Lost, || "a backlog did not come in time".to_owned());
            None
        }
    }
}

/// A session with a backlog.
async fn prepare(
    stage: &Stage,
    number: usize,
    url: usize,
    backlog: u32,
    size: usize,
) -> Result<Session, String> {
    let mut session = Session::open(stage.url(url), stage.user(number)).await?;
    let order = format!(r#"{{"count":{backlog},"size":{size}}}"#);
    let cmid = session.say("SEND", "Bench.burst", "storm", &order);
    session.flush().await?;
    let cmid = cmid.to_string();
    loop {
        let text = session.next().await?;
        for envelope in parse(&text)? {
            if !envelope.cmids().any(|id| id == cmid) {
                continue;
            }
            if envelope.t != "ACK" {
                return Err(format!("the backlog was not taken: {text}"));
            }
            session.out.ack2(&cmid);
            session.flush().await?;
            return Ok(session);
        }
    }
}

/// Keeps reading, so that the connection stays open. Returns why it did not.
async fn deaf(session: &mut Session) -> String {
    loop {
        if let Err(why) = session.next().await {
            return why;
        }
    }
}

/// Reconnects, and receives the backlog.
async fn deliver(
    stage: &Stage,
    lost: &Lost,
    first: usize,
    backlog: u32,
    begun: Instant,
) -> Result<Session, (Fault, String)> {
    let mut attempt = first;
    let mut session = loop {
        match Session::resume(lost, stage.url(attempt)).await {
            Ok(session) => break session,
            Err(why) if why.contains("closed by the server: 4001") => {
                return Err((Fault::Lost, why));
            }
            Err(why) if why.contains("closed by the server: 1008") => {
                return Err((Fault::Refused, why));
            }
            Err(_) => {}
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    };
    receive(&mut session, backlog, || stage.done(begun, Instant::now())).await?;
    Ok(session)
}

/// Receives this many messages, numbered from 0, and acknowledges them. Returns when it got the last.
pub async fn receive(
    session: &mut Session,
    backlog: u32,
    has_all: impl Fn(),
) -> Result<(), (Fault, String)> {
    let broken = |why| (Fault::Broken, why);
    let (mut next, mut unanswered) = (0, 0);
    while next < backlog || unanswered > 0 {
        let text = session.next().await.map_err(broken)?;
        for envelope in parse(&text).map_err(broken)? {
            match (envelope.t, envelope.smid) {
                ("SEND", Some(smid)) => {
                    session.out.ack(smid);
                    unanswered += 1;
                    let msg = envelope.msg.map_or("", |msg| msg.get());
                    let numbered: Numbered = serde_json::from_str(msg)
                        .map_err(|_| (Fault::Broken, format!("{msg:?} is not ours")))?;
                    if numbered.number != next {
                        let fault = match numbered.number < next {
                            true => Fault::Doubled,
                            false => Fault::Reordered,
                        };
                        return Err((fault, format!("{} instead of {next}", numbered.number)));
                    }
                    next += 1;
                    if next == backlog {
                        has_all();
                    }
                }
                ("ACK2", smid) => {
                    unanswered -= envelope.ids.as_ref().map_or(0, Vec::len) as i64;
                    unanswered -= i64::from(smid.is_some());
                }
                _ => {}
            }
        }
        session.flush().await.map_err(broken)?;
    }
    Ok(())
}
