//! SQLite: one writer.

use std::path::Path;
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use matssocket::Store;

use super::{Args, BEHIND, Medians, payload, run_store};

/// The tables of the store.
const TABLES: &str = include_str!("../../migrations/sqlite/2026-11-23-000000_initial/up.sql");

diesel::table! {
    #[sql_name = "matssocket_outbox"]
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

pub fn measure(args: &Args) {
    Medians::head("SQLite");
    for batch in args.batches() {
        let mut medians = Medians::default();
        for _ in 0..args.rounds {
            let at_once = run_bare(batch, 0, args);
            let bare = run_bare(batch, BEHIND, args);
            let directory = directory();
            let store = Store::sqlite(directory.path().join("store.db"));
            medians.add(at_once, bare, run_store(&store, batch, 1, args));
        }
        medians.print(batch, 1);
    }
}

/// Beside the build's other output: `/tmp` is in memory on many systems.
fn directory() -> tempfile::TempDir {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tempfile::tempdir_in(here).expect("a directory can be made")
}

/// A database with the store's tables.
fn open(directory: &Path) -> SqliteConnection {
    let path = directory.join("bare.db");
    let conn = SqliteConnection::establish(path.to_str().expect("the path is UTF-8"));
    let mut conn = conn.expect("a database can be made");
    conn.batch_execute(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
    )
    .and_then(|()| conn.batch_execute(TABLES))
    .expect("the tables can be made");
    conn
}

/// Each batch is deleted when so many others have come behind it.
fn run_bare(batch: usize, behind: usize, args: &Args) -> f64 {
    let directory = directory();
    let mut conn = open(directory.path());
    let msg = payload();
    let (mut pairs, mut last) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < args.time {
        let numbers = last + 1..=last + batch as i64;
        last += batch as i64;
        let gone = numbers.clone().map(|seq| seq - (behind * batch) as i64);
        let session = |seq: i64| seq.rem_euclid(args.sessions as i64);
        let inserted = conn.immediate_transaction(|conn| {
            numbers
                .clone()
                .try_for_each(|seq| insert(conn, session(seq), seq, msg.get()))
        });
        inserted.expect("rows can be inserted");
        let deleted = conn.immediate_transaction(|conn| {
            gone.clone()
                .try_for_each(|seq| delete(conn, session(seq), seq))
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

fn delete(conn: &mut SqliteConnection, session: i64, seq: i64) -> QueryResult<()> {
    diesel::delete(outbox::table.find((session, seq)))
        .execute(conn)
        .map(|_| ())
}
