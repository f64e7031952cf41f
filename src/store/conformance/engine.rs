//! Group commit, the queue, and the threads.

use std::sync::mpsc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::*;
use crate::store::statements::{DbError, DbResult, Mode, Rank, Statements, Touched};
use crate::store::{Share, StoreError};

/// Blocks the writer until it is released, so that operations given meanwhile share one transaction.
struct Gate(Option<mpsc::Receiver<()>>);

impl Operation for Gate {
    type Outcome = ();
    const MODE: Mode = Mode::Write;
    const RANK: Rank = Rank::Messages;

    /// On the writer of session `s1`.
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        see(Touched::Sid("s1"));
    }

    fn apply(&mut self, _: &mut dyn Statements) -> DbResult<()> {
        // Only once, because its group may be rolled back and run one by one. An error means that the test is over.
        if let Some(gate) = self.0.take() {
            let _ = gate.recv();
        }
        Ok(())
    }
}

/// Writes something, then fails or panics.
pub(super) enum Bad {
    Fails,
    Panics,
}

impl Operation for Bad {
    type Outcome = ();
    const MODE: Mode = Mode::Write;
    const RANK: Rank = Rank::Messages;

    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        see(Touched::Sid("s1"));
    }

    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<()> {
        statements.unit(&call(vec![to("s1", send("bad")), publish("t", "bad")]))?;
        match self {
            Bad::Fails => Err(DbError::QueryBuilderError("provoked".into())),
            Bad::Panics => panic!("provoked"),
        }
    }
}

pub(super) fn close_gate(node: &Node) -> mpsc::Sender<()> {
    let (open, gate) = mpsc::channel();
    drop(node.store.run(Gate(Some(gate))));
    open
}

pub async fn order_under_concurrency(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let session = a.open("user", "s1").await.holder.session;
    let from = |node: &Node, name: &'static str| {
        let store = node.store.clone();
        std::thread::spawn(move || {
            let all =
                (0..200).map(|i| store.run(call(vec![to("s1", send(&format!("{name}{i}")))])));
            all.collect::<Vec<_>>()
        })
    };
    let threads = [from(&a, "a"), from(&b, "b"), from(&a, "c")];
    let mut seqs = Vec::new();
    for thread in threads {
        let outcomes = join_all(thread.join().expect("sent")).await;
        let stored: Vec<i64> = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(UnitOutcome::Committed(effects)) => match effects[..] {
                    [EffectOutcome::Stored(seq)] => seq,
                    _ => panic!("{effects:?}"),
                },
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(
            stored.is_sorted(),
            "each storer's messages keep their order"
        );
        seqs.extend(stored);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=600).collect::<Vec<i64>>());
    assert_eq!(a.fetch(session).await.len(), 600);
    let stored_by = |news: Vec<News>| {
        news.into_iter()
            .flat_map(|news| news.stored)
            .map(|stored| message(&stored).seq)
    };
    let (at_a, at_b): (Vec<_>, Vec<_>) = (
        stored_by(a.news().await).collect(),
        stored_by(b.news().await).collect(),
    );
    assert!(at_a.is_sorted() && at_b.is_sorted());
    assert_eq!((at_a.len(), at_b.len()), (400, 200));
}

pub async fn bad_one_fails_alone(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let session = a.open("user", "s1").await.holder.session;
    let gate = close_gate(&a);
    let before = a.store.run(call(vec![to("s1", send("m1"))]));
    let bad = a.store.run(Bad::Fails);
    let after = b.store.run(call(vec![to("s1", send("m2"))]));
    gate.send(()).expect("the gate waits");
    assert_eq!(
        before.await.unwrap(),
        UnitOutcome::Committed(vec![EffectOutcome::Stored(1)])
    );
    let error = bad.await.expect_err("it failed");
    assert!(
        matches!(&error, StoreError::Refused(text) if text.contains("provoked")),
        "{error:?}"
    );
    assert_eq!(
        after.await.unwrap(),
        UnitOutcome::Committed(vec![EffectOutcome::Stored(2)])
    );
    assert_eq!(a.tids(session).await, ["m1", "m2"]);
    assert_eq!(a.run(NewestPublication).await, 0);
    let tids = |news: Vec<News>| -> Vec<String> {
        news.into_iter()
            .flat_map(|news| news.stored)
            .map(|stored| message(&stored).tid.clone())
            .collect()
    };
    assert_eq!(
        (tids(a.news().await), tids(b.news().await)),
        (vec!["m1".into()], vec!["m2".into()])
    );
    assert_eq!(a.store.metrics().failures, 1);
}

pub async fn panic_is_survived(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    a.send("s1", "m1").await;
    let error = a.store.run(Bad::Panics).await.expect_err("it panicked");
    assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
    a.send("s1", "m2").await;
    assert_eq!(a.tids(session).await, ["m1", "m2"]);
    let metrics = a.store.metrics();
    assert_eq!((metrics.panics, metrics.failures, metrics.depth), (1, 1, 0));
}

/// Panics on a thread that reads.
struct BadRead;

impl Operation for BadRead {
    type Outcome = ();
    const MODE: Mode = Mode::Read;
    const RANK: Rank = Rank::Messages;

    fn apply(&mut self, _: &mut dyn Statements) -> DbResult<()> {
        panic!("provoked")
    }
}

pub async fn panic_of_a_read_is_survived(base: Base) {
    let a = base.node("a").await;
    // More often than there are reader threads.
    for _ in 0..base.config.readers + 1 {
        let error = a.store.run(BadRead).await.expect_err("it panicked");
        assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
    }
    assert_eq!(a.run(NewestPublication).await, 0);
}

pub async fn news_before_the_answer(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    a.open("user", "s1").await;
    for _ in 0..50 {
        a.send("s1", "m").await;
        // The collector's mailbox is ordered: what was sent before the answer precedes our question.
        let news = a.news().await;
        assert_eq!((news.len(), news[0].stored.len()), (1, 1));
    }
    let gate = close_gate(&a);
    let group = [
        a.store.run(call(vec![to("s1", send("m"))])),
        b.store.run(call(vec![to("s1", send("m"))])),
        a.store.run(call(vec![to("s1", send("m"))])),
    ];
    gate.send(()).expect("the gate waits");
    join_all(group).await;
    let seqs = |news: &News| {
        news.stored
            .iter()
            .map(|stored| message(stored).seq)
            .collect::<Vec<_>>()
    };
    let news = a.news().await;
    // The gate may have shared its transaction with some of them: at most two groups.
    assert_eq!(news.iter().flat_map(seqs).collect::<Vec<_>>(), [51, 53]);
    assert_eq!(
        b.news().await.iter().flat_map(seqs).collect::<Vec<_>>(),
        [52]
    );
}

pub async fn busy(mut base: Base) {
    base.config.queue = 2;
    base.config.queue_wait = Duration::from_millis(50);
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    let gate = close_gate(&a);
    let fits = a.store.run(call(vec![to("s1", send("m1"))]));
    let late = a.store.run(call(vec![to("s1", send("late"))])).await;
    let error = late.expect_err("no room");
    let waited = Duration::from_millis(50);
    assert!(
        matches!(error, StoreError::Busy(it) if it == waited),
        "{error:?}"
    );
    assert_eq!(a.store.metrics().refused_busy, 1);
    gate.send(()).expect("the gate waits");
    fits.await.expect("it had room");
    a.send("s1", "m2").await;
    assert_eq!(a.tids(session).await, ["m1", "m2"]);
}

pub async fn order_beyond_the_queue(mut base: Base) {
    base.config.queue = 2;
    base.config.queue_wait = secs(60);
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    // Far more than there is room for, given without waiting. They are stored in the order given, whichever future is
    // polled first.
    let all: Vec<_> = (0..100)
        .map(|i| a.store.run(call(vec![to("s1", send(&format!("m{i}")))])))
        .collect();
    for outcome in join_all(all.into_iter().rev()).await {
        outcome.expect("room came in time");
    }
    let expected: Vec<_> = (0..100).map(|i| format!("m{i}")).collect();
    assert_eq!(a.tids(session).await, expected);
    assert!(a.store.metrics().depth_max <= 2);
}

/// One account with many pipelined messages delayed the node's own lease and every newcomer.
pub async fn control_comes_first(base: Base) {
    let a = base.node("a").await;
    a.open("user", "s1").await;
    let gate = close_gate(&a);
    let ended = FuturesUnordered::new();
    for _ in 0..1_500 {
        let stored = a.store.run(call(vec![to("s1", send("m"))]));
        ended.push(stored.map(|_| "message").boxed());
    }
    let resumed = NewOrResumed::Resumed { sid: "s1".into() };
    let register = a.store.run(register_of("user", resumed));
    ended.push(register.map(|_| "newcomer").boxed());
    let renew = RenewLease {
        join: false,
        lease: secs(60),
    };
    ended.push(a.store.run(renew).map(|_| "lease").boxed());
    gate.send(()).expect("the gate waits");
    let order: Vec<_> = ended.collect().await;
    let place = |what| order.iter().position(|it| *it == what).expect("it ended");
    // The group that contained the gate precedes them; it has at most 500 operations.
    for what in ["lease", "newcomer"] {
        let place = place(what);
        assert!(place <= 1_001, "the {what} came as number {place}");
    }
}

/// A flood from one user delays only that user's messages.
pub async fn one_users_flood(mut base: Base) {
    base.config.queue_per_user = 3_000;
    let a = base.node("a").await;
    a.open("greedy", "s1").await;
    let gate = close_gate(&a);
    let share = |user: &str, session| Share::of(user, SessionKey(session));
    let store = |share| {
        let unit = call(vec![to("s1", send("m"))]);
        a.store.run_for(share, unit)
    };
    let ended = FuturesUnordered::new();
    for number in 0..3_000 {
        let stored = store(share("greedy", number % 40));
        ended.push(stored.map(|_| "greedy").boxed());
    }
    for _ in 0..10 {
        let stored = store(share("bystander", 99));
        ended.push(stored.map(|_| "bystander").boxed());
    }
    gate.send(()).expect("the gate waits");
    let order: Vec<_> = ended.collect().await;
    let last = order.iter().rposition(|it| *it == "bystander");
    assert!(
        last <= Some(1_000),
        "the last of the bystander's came as number {last:?}"
    );
}

pub async fn dropped_future_still_runs(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    drop(a.store.run(call(vec![to("s1", send("m1"))])));
    a.send("s1", "m2").await;
    assert_eq!(a.tids(session).await, ["m1", "m2"]);
}

pub async fn reopened_by_a_second_node(base: Base) {
    // While the `Store` exists, so does the database, whichever nodes attach and leave.
    let a = base.node("a").await;
    a.open("user", "s1").await;
    drop(a);
    let b = base.node("b").await;
    assert!(b.listed("s1").await.is_some());
}

pub async fn metrics(base: Base) {
    let a = base.node("a").await;
    a.open("user", "s1").await;
    let gate = close_gate(&a);
    let all: Vec<_> = (0..10)
        .map(|_| a.store.run(call(vec![to("s1", send("m"))])))
        .collect();
    gate.send(()).expect("the gate waits");
    join_all(all).await;
    a.run(Sweep).await;
    let metrics = a.store.metrics();
    // Join, open, gate, ten messages, sweep.
    assert_eq!(
        (metrics.operations, metrics.failures, metrics.panics),
        (14, 0, 0)
    );
    assert!(metrics.batches >= 3 && metrics.batch_max <= 11 && metrics.batch_last >= 1);
    assert!(
        metrics.depth_max >= 2
            && metrics.commit_time >= metrics.commit_time_max
            && metrics.commit_time_max > Duration::ZERO
    );
    assert!(
        serde_json::to_string(&metrics)
            .expect("JSON")
            .contains("\"batch_mean\":")
    );
}
