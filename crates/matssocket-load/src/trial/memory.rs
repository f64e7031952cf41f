//! One user makes the server hold as much as it will hold for one user.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::http::Uri;

use super::args::{Args, Case};
use super::others::Others;
use super::server::Memory;
use super::{SECOND, apart, backlog, on_one_thread, tell};
use crate::pipeline::parse;
use crate::session::{Lost, Session};
use crate::verdict::Verdict;

const TOPIC: &str = "heavy";
/// Characters of a publication, of a message of the outbox, and of a fragment.
const PUBLICATION: usize = 60_000;
const MESSAGE: usize = 4_000_000;
const FRAGMENT: usize = 256 << 10;
/// Longest time for a single step.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(
    args: &Args,
    verdict: &mut Verdict,
    case: Case,
    connections: usize,
    bytes: usize,
    most: u64,
) -> Result<(), String> {
    let url = args.urls[0].clone();
    let prepared = prepare(&url, case, connections, bytes).await?;
    let name = case.name();
    if let Prepared::Backlogs(lost, stored) = &prepared {
        verdict.tell(format!("{name}: stored for each, bytes"), *stored as f64);
        verdict.tell(format!("{name}: sessions"), lost.len() as f64);
    }
    let others = Others::begin(&url, name, "Test.matsSocketPing", args.others).await?;
    sleep(args.quiet).await;
    let memory = Memory::watch(&args.server);
    others.next_phase();
    let until = Instant::now() + args.time;
    let heavy = apart(move || on_one_thread(ask(url, prepared, case, connections, bytes, until))?);
    let ended = heavy.await?;
    let peak = memory.peak();
    let phases = others.end().await;
    tell(verdict, name, &phases[1], Some(SECOND));
    verdict.at_most(
        format!("{name}: the server's memory, MiB"),
        mib(peak),
        mib(most),
    );
    verdict.tell(
        format!("{name}: connections that the server closed"),
        ended as f64,
    );
    Ok(())
}

pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The one user: a different one for each case, since a user's sessions are limited.
fn user(case: Case) -> String {
    format!("heavy-{}", case.name())
}

/// What a case needs to be prepared.
enum Prepared {
    Nothing,
    /// The id of a publication before those to be repeated.
    LastSeen(String),
    /// Sessions, and what was stored for each.
    Backlogs(Vec<Lost>, u64),
}

async fn prepare(
    url: &Uri,
    case: Case,
    connections: usize,
    bytes: usize,
) -> Result<Prepared, String> {
    Ok(match case {
        Case::Frames | Case::Fragments => Prepared::Nothing,
        Case::History => Prepared::LastSeen(publish(url, bytes).await?),
        Case::Outbox => {
            let count = bytes.div_ceil(MESSAGE) as u32;
            let users = vec![user(case); connections];
            let (lost, messages) = backlog::store(url, &users, count, MESSAGE).await?;
            let stored = messages * MESSAGE as u64 / connections as u64;
            Prepared::Backlogs(lost, stored)
        }
    })
}

/// Publishes this many bytes. Returns the id of the publication before them.
async fn publish(url: &Uri, bytes: usize) -> Result<String, String> {
    /// Publications in one transaction.
    const AT_ONCE: usize = 10;
    let mut session = Session::open(url, "publisher").await?;
    session
        .out
        .envelope(format_args!(r#"{{"t":"SUB","eid":"{TOPIC}"}}"#));
    let order = |count: usize, size: usize| {
        format!(r#"{{"topic":"{TOPIC}","count":{count},"size":{size}}}"#)
    };
    session.say("SEND", "Bench.publish", "first", &order(1, 1));
    session.flush().await?;
    let mut last_seen = None;
    while last_seen.is_none() {
        let text = next(&mut session).await?;
        for envelope in parse(&text)? {
            match envelope.t {
                "PUB" => last_seen = envelope.smid.map(str::to_owned),
                "NACK" => return Err(format!("nothing is published by Bench.publish: {text}")),
                _ => {}
            }
        }
    }
    session
        .out
        .envelope(format_args!(r#"{{"t":"UNSUB","eid":"{TOPIC}"}}"#));
    let mut missing = bytes.div_ceil(PUBLICATION);
    while missing > 0 {
        let count = missing.min(AT_ONCE);
        backlog::order(&mut session, "Bench.publish", &order(count, PUBLICATION)).await?;
        missing -= count;
    }
    session.close().await;
    last_seen.ok_or_else(|| "no publication came".to_owned())
}

async fn next(session: &mut Session) -> Result<String, String> {
    let text = timeout(PATIENCE, session.next()).await;
    let text = text.map_err(|_| format!("nothing came within {PATIENCE:?}"))??;
    Ok(text.to_string())
}

/// Asks for too much until then. Returns how many of the connections the server has closed.
async fn ask(
    url: Uri,
    prepared: Prepared,
    case: Case,
    connections: usize,
    bytes: usize,
    until: Instant,
) -> Result<usize, String> {
    let mut tasks: Vec<JoinHandle<bool>> = Vec::new();
    match prepared {
        Prepared::Nothing => {
            for _ in 0..connections {
                let session = Session::open(&url, user(case)).await?;
                tasks.push(spawn_local(fill(session, case, bytes, until)));
            }
        }
        Prepared::LastSeen(id) => {
            for _ in 0..connections {
                let mut session = Session::open(&url, user(case)).await?;
                let sub = format_args!(r#"{{"t":"SUB","eid":"{TOPIC}","smid":"{id}"}}"#);
                session.out.envelope(sub);
                session.flush().await?;
                tasks.push(spawn_local(deaf(session, until)));
            }
        }
        Prepared::Backlogs(lost, _) => {
            for lost in lost {
                let url = url.clone();
                tasks.push(spawn_local(async move {
                    match Session::resume(&lost, &url).await {
                        Ok(session) => mute(session, until).await,
                        Err(_) => true,
                    }
                }));
            }
        }
    }
    let mut closed = 0;
    for task in tasks {
        closed += usize::from(task.await.map_err(|why| why.to_string())?);
    }
    Ok(closed)
}

/// Does not read. Returns whether the connection was gone in the end.
async fn deaf(mut session: Session, until: Instant) -> bool {
    sleep_until(until.into()).await;
    is_gone(session.socket()).await
}

/// Reads, but acknowledges nothing. Returns whether the connection was closed.
async fn mute(mut session: Session, until: Instant) -> bool {
    let read = async { while session.next().await.is_ok() {} };
    tokio::time::timeout_at(until.into(), read).await.is_ok()
}

/// Whether the server has closed. Reads what is waiting.
async fn is_gone(socket: &mut TcpStream) -> bool {
    let mut taken = vec![0; 1 << 16];
    let read = async { while socket.read(&mut taken).await.is_ok_and(|read| read > 0) {} };
    timeout(Duration::from_millis(500), read).await.is_ok()
}

/// Sends a message except for its last byte, and keeps the connection open. Returns whether the server closed it.
async fn fill(mut session: Session, case: Case, bytes: usize, until: Instant) -> bool {
    let (mut reader, mut writer) = session.socket().split();
    let write = async {
        match case {
            Case::Frames => {
                header(&mut writer, FIRST | FINAL, bytes).await?;
                zeros(&mut writer, bytes - 1).await?;
            }
            _ => {
                let mut opcode = FIRST;
                for _ in 0..(bytes / FRAGMENT).max(1) - 1 {
                    header(&mut writer, opcode, FRAGMENT).await?;
                    zeros(&mut writer, FRAGMENT).await?;
                    opcode = CONTINUED;
                }
            }
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let read = async {
        let mut taken = [0; 4096];
        while reader.read(&mut taken).await.is_ok_and(|read| read > 0) {}
    };
    tokio::select! {
        _ = write => true,
        () = read => true,
        () = sleep_until(until.into()) => false,
    }
}

const FIRST: u8 = 1;
const CONTINUED: u8 = 0;
const FINAL: u8 = 0x80;

/// A frame's header, with a mask of zeros.
async fn header(
    writer: &mut (impl AsyncWriteExt + Unpin),
    opcode: u8,
    length: usize,
) -> std::io::Result<()> {
    let mut header = vec![opcode, 0x80 | 127];
    header.extend((length as u64).to_be_bytes());
    header.extend([0; 4]);
    writer.write_all(&header).await
}

async fn zeros(
    writer: &mut (impl AsyncWriteExt + Unpin),
    mut length: usize,
) -> std::io::Result<()> {
    // Blanks, with which JSON may begin.
    static BLANKS: [u8; 1 << 16] = [b' '; 1 << 16];
    while length > 0 {
        let part = length.min(BLANKS.len());
        writer.write_all(&BLANKS[..part]).await?;
        length -= part;
    }
    Ok(())
}
