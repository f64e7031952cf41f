//! PostgreSQL: by number of writers. The bare loop runs on as many connections, each on a thread of its own.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use diesel::prelude::*;
use matssocket::Store;
use matssocket::bench::{Value, sql};
use matssocket_testing::bench::postgres::{self as place, Schema};

use super::{Args, BEHIND, Medians, payload, run_store};

const WRITERS: [usize; 4] = [1, 2, 4, 8];

pub fn measure(args: &Args) {
    let Some(url) = place::url(args.postgres.clone()) else {
        return;
    };
    Medians::head("PostgreSQL");
    for batch in args.batches() {
        for writers in args.writers.map_or(WRITERS.into(), |only| vec![only]) {
            let mut medians = Medians::default();
            for _ in 0..args.rounds {
                let [at_once, bare] = [0, BEHIND]
                    .map(|behind| run_bare(&Schema::new(&url), batch, writers, behind, args));
                let schema = Schema::new(&url);
                let store = Store::from(schema.settings());
                medians.add(at_once, bare, run_store(&store, batch, writers, args));
            }
            medians.print(batch, writers);
        }
    }
}

/// Pairs per second of all connections together; each batch is deleted when so many others have come behind it.
fn run_bare(schema: &Schema, batch: usize, writers: usize, behind: usize, args: &Args) -> f64 {
    let ready = Barrier::new(writers + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let ready = &ready;
                scope.spawn(move || {
                    let mut conn = schema.connect();
                    let mut rows = Rows::new(writer, batch, args.sessions);
                    ready.wait();
                    let (mut pairs, begun) = (0, Instant::now());
                    while begun.elapsed() < args.time {
                        rows.next();
                        conn.transaction(|conn| rows.insert(conn))
                            .expect("rows can be inserted");
                        conn.transaction(|conn| rows.delete(behind, conn))
                            .expect("rows can be deleted");
                        pairs += batch;
                    }
                    pairs
                })
            })
            .collect();
        ready.wait();
        let begun = Instant::now();
        let pairs: usize = threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"))
            .sum();
        pairs as f64 / begun.elapsed().as_secs_f64()
    })
}

/// The rows of a batch, column by column.
struct Rows {
    session: Vec<i64>,
    seq: Vec<i64>,
    kind: Vec<String>,
    eid: Vec<Option<String>>,
    cmid: Vec<Option<String>>,
    tid: Vec<String>,
    msg: Vec<Option<String>>,
    debug: Vec<Option<String>>,
    deliveries: Vec<i32>,
    created: Vec<i64>,
}

impl Rows {
    fn new(writer: usize, batch: usize, sessions: usize) -> Rows {
        let first = writer as i64 * 1_000_000_000_000;
        Rows {
            session: (0..batch).map(|row| (row % sessions) as i64).collect(),
            seq: (0..batch as i64).map(|row| first + row).collect(),
            kind: vec!["SEND".into(); batch],
            eid: vec![Some("Bench.terminator".into()); batch],
            cmid: vec![None; batch],
            tid: vec!["a-trace-id".into(); batch],
            msg: vec![Some(payload().get().into()); batch],
            debug: vec![None; batch],
            deliveries: vec![0; batch],
            created: vec![1_700_000_000_000; batch],
        }
    }

    fn next(&mut self) {
        let batch = self.seq.len() as i64;
        self.seq.iter_mut().for_each(|seq| *seq += batch);
    }

    fn insert(&self, conn: &mut PgConnection) -> QueryResult<usize> {
        let insert = "INSERT INTO outbox (session, seq, kind, eid, cmid, tid, msg, debug, deliveries, created) \
            SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let values = [
            Value::Longs(&self.session),
            Value::Longs(&self.seq),
            Value::Texts(&self.kind),
            Value::Maybes(&self.eid),
            Value::Maybes(&self.cmid),
            Value::Texts(&self.tid),
            Value::Maybes(&self.msg),
            Value::Maybes(&self.debug),
            Value::Ints(&self.deliveries),
            Value::Longs(&self.created),
        ];
        sql::<()>(insert, values).execute(conn)
    }

    fn delete(&self, behind: usize, conn: &mut PgConnection) -> QueryResult<usize> {
        let behind = (behind * self.seq.len()) as i64;
        let seqs: Vec<i64> = self.seq.iter().map(|seq| seq - behind).collect();
        let delete = "DELETE FROM outbox USING unnest(?, ?) AS done (session, seq) \
            WHERE outbox.session = done.session AND outbox.seq = done.seq";
        let values = [Value::Longs(&self.session), Value::Longs(&seqs)];
        sql::<()>(delete, values).execute(conn)
    }
}
