//! The store's group commit next to a bare Diesel loop: same tables, same pragmas, same batch size.
//!
//! A pair is one 250-byte message stored in an outbox, and later deleted, each in a transaction with others of its
//! kind that is durable when it is over. The bare loop does nothing but these two statements; the store looks up and
//! updates session rows, checks the fence, tells the news and answers whoever asked, across its threads.
//!
//! What deletions cost depends on how many rows are there: whether they are in the pages just written. So the bare loop
//! runs twice: deleting each batch at once, from a table that is empty otherwise, and with as many rows in the table as
//! the store has at the time. The ratio is to the second.
//!
//! ```sh
//! cargo bench --features postgres --bench store -- --rounds 9 --millis 300 --sessions 10 --postgres URL
//! ```
//!
//! With `--batch` or `--writers`, only those of this size and this number are measured.

#![allow(missing_docs)] // what `diesel::table!` makes

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use matssocket::bench::{
    Cause, Complete, Effect, EffectOutcome, Fenced, Holder, NewMessage, NewOrResumed, Register,
    Registered, Seat, Unit, UnitOutcome,
};
use matssocket::{MessageType, Store, StoreConfig};
use serde_json::value::RawValue;

const BATCHES: [usize; 4] = [1, 10, 100, 500];
/// Batches under way in the store: so many that a full one waits whenever a writer comes for it.
const UNDER_WAY: usize = 4;
/// Batches whose rows wait to be deleted: as in the store, where half of what is under way waits to be stored.
const BEHIND: usize = UNDER_WAY / 2;
/// Bytes of a payload.
const BYTES: usize = 250;

/// Group commit, next to a bare loop of Diesel
#[derive(Parser)]
struct Args {
    /// Of each row, interleaved
    #[arg(long, default_value = "9", value_parser = positive)]
    rounds: usize,
    /// For each measurement
    #[arg(long = "millis", value_name = "MILLIS", default_value = "300", value_parser = millis)]
    time: Duration,
    /// Whose messages they are
    #[arg(long, default_value = "10", value_parser = positive)]
    sessions: usize,
    /// Only this one
    #[arg(long, value_parser = positive)]
    batch: Option<usize>,
    /// Only so many
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    #[arg(long, value_parser = positive)]
    writers: Option<usize>,
    /// Where PostgreSQL is, unless the environment says
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    // What cargo adds.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "wants a number from 1 on".to_owned())
}

fn millis(text: &str) -> Result<Duration, String> {
    Ok(Duration::from_millis(positive(text)? as u64))
}

impl Args {
    fn batches(&self) -> Vec<usize> {
        self.batch.map_or(BATCHES.into(), |batch| vec![batch])
    }
}

fn main() {
    let args = Args::parse();
    println!(
        "{} rounds of {:?} each, interleaved; medians, also of the ratios; {} sessions; {BYTES}-byte messages",
        args.rounds, args.time, args.sessions
    );
    #[cfg(feature = "sqlite")]
    if args.postgres.is_none() || args.writers.is_none() {
        sqlite::measure(&args);
    }
    #[cfg(feature = "postgres")]
    postgres::measure(&args);
    #[cfg(not(feature = "postgres"))]
    println!("PostgreSQL is left out: it needs --features postgres");
}

/// What the rounds of one row gave: pairs per second of the bare loop that deletes at once, of the one that has as many
/// rows as the store, and of the store; the store's part of the second.
#[derive(Default)]
struct Medians {
    at_once: Vec<f64>,
    bare: Vec<f64>,
    store: Vec<f64>,
    ratios: Vec<f64>,
    batched: Vec<f64>,
}

impl Medians {
    fn head(database: &str) {
        println!(
            "{database:<12} {:>6} {:>8} {:>14} {:>14} {:>14} {:>7} {:>12}",
            "batch",
            "writers",
            "bare, at once",
            "bare pairs/s",
            "store pairs/s",
            "ratio",
            "store batch"
        );
    }

    fn add(&mut self, at_once: f64, bare: f64, (store, batched): (f64, f64)) {
        self.at_once.push(at_once);
        self.bare.push(bare);
        self.store.push(store);
        self.ratios.push(store / bare);
        self.batched.push(batched);
    }

    fn print(self, batch: usize, writers: usize) {
        let [at_once, bare, store, ratio, mean] = [
            self.at_once,
            self.bare,
            self.store,
            self.ratios,
            self.batched,
        ]
        .map(median);
        println!(
            "{:<12} {batch:>6} {writers:>8} {at_once:>14.0} {bare:>14.0} {store:>14.0} {ratio:>7.2} {mean:>12.1}",
            ""
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn payload() -> Box<RawValue> {
    let text = format!("\"{}\"", "x".repeat(BYTES - 2));
    RawValue::from_string(text).expect("a string is JSON")
}

/// Pairs per second, and the mean size of a batch.
fn run_store(store: &Store, batch: usize, writers: usize, args: &Args) -> (f64, f64) {
    let many = UNDER_WAY * batch * writers;
    actix::System::new().block_on(async {
        let mut config = StoreConfig::default();
        config.batch = batch;
        config.writers = writers;
        config.queue = many;
        let seat = Seat::take(store, &config).expect("a store can be opened");
        let opened = (0..args.sessions).map(|number| open_session(&seat, number));
        let sessions = join_all(opened).await;
        let before = seat.metrics();
        let msg = payload();
        let (mut pairs, mut next) = (0, 0);
        let mut under_way = FuturesUnordered::new();
        let begun = Instant::now();
        loop {
            while under_way.len() < many && begun.elapsed() < args.time {
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
        let after = seat.metrics();
        // A pair is two operations.
        let batches = after.batches - before.batches;
        (rate, 2.0 * f64::from(pairs) / batches as f64)
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
        min_absence: Duration::ZERO,
        of_the_dead: true,
    };
    match seat.run(register).await {
        Ok(Registered::Held(held)) => (sid, held.holder),
        other => panic!("a session could not be opened: {other:?}"),
    }
}

async fn pair(seat: &Seat, sid: &str, holder: Holder, msg: &RawValue) {
    let message = NewMessage {
        kind: MessageType::Send,
        eid: Some("Bench.terminator".into()),
        cmid: None,
        tid: "a-trace-id".into(),
        msg: Some(msg.to_owned()),
        debug: None,
        correlation: None,
        time_to_live: None,
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
