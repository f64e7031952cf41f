//! The store's group commit next to a bare Diesel loop: same tables, same pragmas, same batch size.
//!
//! A pair is one 250-byte message stored in an outbox, and later deleted, each in a transaction with others of its
//! kind that is durable when it is over. The bare loop does nothing but these two statements; the store looks up and
//! updates session rows, checks the fence, tells the news and answers whoever asked, across its threads.
//!
//! ```sh
//! cargo bench --bench store -- --rounds 9 --millis 300 --sessions 10
//! ```

#![allow(missing_docs)] // what `diesel::table!` makes

use std::path::Path;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use matssocket::bench::{
    Cause, Complete, Effect, EffectOutcome, Fenced, Holder, NewMessage, NewOrResumed, Register,
    Registered, Seat, Unit, UnitOutcome,
};
use matssocket::{MessageType, Store, StoreConfig};
use serde_json::value::RawValue;

const BATCHES: [usize; 4] = [1, 10, 100, 500];
/// Bytes of a payload.
const BYTES: usize = 250;
/// The tables of the store.
const TABLES: &str = include_str!("../migrations/sqlite/2026-11-23-000000_initial/up.sql");

diesel::table! {
    outbox (session, seq) {
        session -> BigInt,
        seq -> BigInt,
        kind -> Text,
        eid -> Nullable<Text>,
        cmid -> Nullable<Text>,
        tid -> Text,
        msg -> Nullable<Text>,
        debug -> Nullable<Text>,
        deliveries -> Integer,
        created -> BigInt,
    }
}

struct Args {
    rounds: usize,
    time: Duration,
    sessions: usize,
}

fn main() {
    let args = args();
    println!(
        "{} rounds of {:?} each, interleaved; medians, also of the ratios; {} sessions; {BYTES}-byte messages",
        args.rounds, args.time, args.sessions
    );
    println!(
        "{:>6} {:>14} {:>14} {:>7} {:>12}",
        "batch", "bare pairs/s", "store pairs/s", "ratio", "store batch"
    );
    for batch in BATCHES {
        let (mut bare, mut store, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut mean = 0.0;
        for _ in 0..args.rounds {
            let alone = run_bare(batch, &args);
            let (rate, batched) = run_store(batch, &args);
            bare.push(alone);
            store.push(rate);
            ratios.push(rate / alone);
            mean = batched;
        }
        let (bare, store, ratio) = (median(bare), median(store), median(ratios));
        println!("{batch:>6} {bare:>14.0} {store:>14.0} {ratio:>7.2} {mean:>12.1}");
    }
}

fn args() -> Args {
    let mut args = Args {
        rounds: 9,
        time: Duration::from_millis(300),
        sessions: 10,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        // What cargo adds.
        if name == "--bench" {
            continue;
        }
        let value = given.next().and_then(|value| value.parse().ok());
        let value: usize = value.unwrap_or_else(|| panic!("{name} wants a number"));
        match name.as_str() {
            "--rounds" => args.rounds = value.max(1),
            "--millis" => args.time = Duration::from_millis(value as u64),
            "--sessions" => args.sessions = value.max(1),
            _ => panic!("unknown argument {name}: there are --rounds, --millis and --sessions"),
        }
    }
    args
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn payload() -> Box<RawValue> {
    let text = format!("\"{}\"", "x".repeat(BYTES - 2));
    RawValue::from_string(text).expect("a string is JSON")
}

/// Beside the build's other output: `/tmp` is in memory on many systems.
fn directory() -> tempfile::TempDir {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tempfile::tempdir_in(here).expect("a directory can be made")
}

fn run_bare(batch: usize, args: &Args) -> f64 {
    let directory = directory();
    let path = directory.path().join("bare.db");
    let conn = SqliteConnection::establish(path.to_str().expect("the path is UTF-8"));
    let mut conn = conn.expect("a database can be made");
    conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .and_then(|()| conn.batch_execute(TABLES))
        .expect("the tables can be made");
    let msg = payload();
    let (mut pairs, mut last) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < args.time {
        let numbers = last + 1..=last + batch as i64;
        last += batch as i64;
        let session = |seq: i64| seq % args.sessions as i64;
        let inserted = conn.immediate_transaction(|conn| {
            numbers
                .clone()
                .try_for_each(|seq| insert(conn, session(seq), seq, msg.get()))
        });
        inserted.expect("rows can be inserted");
        let deleted = conn.immediate_transaction(|conn| {
            numbers.clone().try_for_each(|seq| {
                diesel::delete(outbox::table.find((session(seq), seq)))
                    .execute(conn)
                    .map(|_| ())
            })
        });
        deleted.expect("rows can be deleted");
        pairs += batch;
    }
    pairs as f64 / begun.elapsed().as_secs_f64()
}

fn insert(conn: &mut SqliteConnection, session: i64, seq: i64, msg: &str) -> QueryResult<()> {
    diesel::insert_into(outbox::table)
        .values((
            outbox::session.eq(session),
            outbox::seq.eq(seq),
            outbox::kind.eq("SEND"),
            outbox::eid.eq(Some("Bench.terminator")),
            outbox::cmid.eq(None::<&str>),
            outbox::tid.eq("a-trace-id"),
            outbox::msg.eq(Some(msg)),
            outbox::debug.eq(None::<&str>),
            outbox::deliveries.eq(0),
            outbox::created.eq(1_700_000_000_000_i64),
        ))
        .execute(conn)
        .map(|_| ())
}

/// Pairs per second, and the mean size of a batch.
fn run_store(batch: usize, args: &Args) -> (f64, f64) {
    let directory = directory();
    let store = Store::sqlite(directory.path().join("store.db"));
    actix::System::new().block_on(async {
        let config = StoreConfig {
            batch,
            ..StoreConfig::default()
        };
        let seat = Seat::take(&store, &config).expect("a store can be opened");
        let mut sessions = Vec::new();
        for number in 0..args.sessions {
            sessions.push(open_session(&seat, number).await);
        }
        let msg = payload();
        let (mut pairs, mut next) = (0, 0);
        let mut under_way = FuturesUnordered::new();
        let begun = Instant::now();
        loop {
            // So many that a full batch waits whenever the writer comes for one.
            while under_way.len() < 4 * batch && begun.elapsed() < args.time {
                let (sid, holder) = &sessions[next % sessions.len()];
                under_way.push(pair(&seat, sid, *holder, &msg));
                next += 1;
            }
            match under_way.next().await {
                Some(()) => pairs += 1,
                None => break,
            }
        }
        let rate = f64::from(pairs) / begun.elapsed().as_secs_f64();
        (rate, seat.mean_batch())
    })
}

async fn open_session(seat: &Seat, number: usize) -> (String, Holder) {
    let sid = format!("session-{number}");
    let register = Register {
        session: NewOrResumed::New {
            sid: sid.clone(),
            smid_prefix: "x".into(),
        },
        user_id: "user".into(),
        client: "bench".into(),
        app_name: "bench".into(),
        app_version: "1".into(),
        max_sessions_per_user: u32::MAX,
    };
    match seat.run(register).await {
        Ok(Registered::Held(held)) => (sid, held.holder),
        other => panic!("a session could not be opened: {other:?}"),
    }
}

async fn pair(seat: &Seat, sid: &str, holder: Holder, msg: &RawValue) {
    let message = NewMessage {
        kind: MessageType::SEND,
        eid: Some("Bench.terminator".into()),
        cmid: None,
        tid: "a-trace-id".into(),
        msg: Some(msg.to_owned()),
        debug: None,
        correlation: None,
    };
    let unit = Unit {
        cause: Cause::Call {
            idempotency_key: None,
        },
        effects: vec![Effect::Message {
            sid: sid.into(),
            message,
        }],
    };
    let seq = match seat.run(unit).await {
        Ok(UnitOutcome::Committed(outcomes)) => match outcomes[..] {
            [EffectOutcome::Stored(seq)] => seq,
            _ => panic!("not stored: {outcomes:?}"),
        },
        other => panic!("not stored: {other:?}"),
    };
    let complete = Complete {
        holder,
        acked: vec![seq],
        nacked: Vec::new(),
    };
    let outcome = seat.run(complete).await;
    assert!(
        matches!(outcome, Ok(Fenced::Done)),
        "not completed: {outcome:?}"
    );
}
