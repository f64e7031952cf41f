//! Connections that are cut, commits that are not answered, locks that are held.

use std::time::Duration;

use super::*;

/// A transactional handler of a client's message.
fn handler(holder: Holder, cmid: &str, limit: Duration, run: TransactBody) -> Transact {
    Transact {
        handles: Handles::Message {
            holder,
            cmid: cmid.into(),
        },
        limit,
        run,
    }
}

/// What a handler of this message does: stores one message for its session, with the same name.
fn one_message(holder: Holder, cmid: &str) -> Unit {
    let cause = Cause::Incoming {
        holder,
        cmid: cmid.into(),
        answer: None,
        settles: None,
    };
    Unit {
        cause,
        effects: vec![to("s1", cmid)],
    }
}

#[actix::test]
async fn the_outcome_of_an_unanswered_commit_is_looked_up() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&server()));
    let node = Node::attach("a", schema.settings_through(&proxy)).expect("opens");
    let holder = node.open("s1").await;
    proxy.lose_commit();
    let outcome = node.run(call(vec![to("s1", "m1")])).await;
    assert!(!proxy.loses_commit(), "a commit was lost");
    assert_stored(&outcome);
    assert_eq!(node.tids(holder.session).await, ["m1"], "stored once");
}

#[actix::test]
async fn a_commit_whose_outcome_cannot_be_determined_is_unknown() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&server()));
    let config = StoreConfig {
        busy_timeout: Duration::from_millis(300),
        writers: 1,
        ..StoreConfig::default()
    };
    let node = Node::with("a", schema.settings_through(&proxy), &config).expect("opens");
    let holder = node.open("s1").await;
    proxy.lose_commit();
    proxy.refuse_new(true);
    let outcome = node.0.run(call(vec![to("s1", "m1")])).await;
    assert!(matches!(outcome, Err(StoreError::Unknown)), "{outcome:?}");
    let outcome = node.0.run(call(vec![to("s1", "m2")])).await;
    assert!(matches!(outcome, Err(StoreError::Failed(_))), "{outcome:?}");
    proxy.refuse_new(false);
    let outcome = node.run(call(vec![to("s1", "m3")])).await;
    assert_stored(&outcome);
    assert_eq!(node.tids(holder.session).await, ["m1", "m3"]);
}

/// The proxy swallows everything on existing connections, while new ones work: keep-alives do not help.
#[actix::test]
async fn a_line_that_falls_silent_is_given_up_and_another_one_opened() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&server()));
    let config = StoreConfig {
        busy_timeout: Duration::from_millis(300),
        answer_timeout: Duration::from_millis(300),
        writers: 1,
        ..StoreConfig::default()
    };
    let node = Node::with("a", schema.settings_through(&proxy), &config).expect("opens");
    let holder = node.open("s1").await;
    assert_eq!(
        node.tids(holder.session).await.len(),
        0,
        "readers have connections, too"
    );
    proxy.silence_new(true);
    proxy.silence();
    let silent = node.0.run(call(vec![to("s1", "m1")])).await;
    assert!(matches!(silent, Err(StoreError::Failed(_))), "{silent:?}");
    proxy.silence_new(false);
    let begun = std::time::Instant::now();
    node.run(call(vec![to("s1", "m2")])).await;
    assert_eq!(node.tids(holder.session).await, ["m2"]);
    println!("served {:?} after the silence", begun.elapsed());
}

/// Maintenance may take long, so a silence is noticed late there: forwarded work lay for half a minute, unclaimed.
#[actix::test]
async fn no_work_waits_behind_maintenance_on_a_line_that_falls_silent() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&server()));
    let config = StoreConfig {
        busy_timeout: Duration::from_secs(2),
        answer_timeout: Duration::from_secs(1),
        ..StoreConfig::default()
    };
    let node = Node::with("a", schema.settings_through(&proxy), &config).expect("opens");
    node.open("s1").await;
    let mut other = schema.connect();
    let lock = "BEGIN; LOCK TABLE session IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).expect("locked");
    let mending = node.0.run(MendTimes {
        close_after: Duration::from_secs(60),
        again: Duration::from_secs(60),
        limit: 10,
    });
    let waits =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'session'::regclass";
    while schema.number(waits) == 0 {
        tokio::task::yield_now().await;
    }
    proxy.silence();
    other.batch_execute("ROLLBACK").expect("unlocked");
    let claim = super::polls::claim(None);
    let claimed = tokio::time::timeout(Duration::from_secs(20), node.0.run(claim)).await;
    let claimed = claimed.expect("not held up by maintenance, which waits for half a minute");
    assert!(claimed.is_ok(), "{claimed:?}");
    // The thread learns that its connection is lost, and ends.
    proxy.cut();
    drop(mending);
}

/// A handler's lost connection is a failure of the database, not of the handler: its client must try again.
#[actix::test]
async fn a_connection_lost_inside_a_handler_is_not_an_answer() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings()).expect("opens");
    let holder = node.open("s1").await;
    for swallowed in [false, true] {
        let lost: TransactBody = Box::new(move |conn| {
            let conn: &mut PgConnection = conn.downcast_mut().expect("a connection");
            let end = conn.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())");
            assert!(end.is_err(), "it is at its end");
            match swallowed {
                true => Ok(one_message(holder, "c1")),
                false => Err(Box::new("it has failed")),
            }
        });
        let minute = Duration::from_secs(60);
        let outcome = node.0.run(handler(holder, "c1", minute, lost)).await;
        let is_failure = matches!(outcome, Err(StoreError::Failed(_)));
        assert!(is_failure, "swallowed: {swallowed}");
    }
}

/// The meaning of an earlier error was mistaken for that of a duplicate, for the rest of the connection's life.
#[test]
fn what_an_error_means_is_forgotten_with_the_next_statement() {
    use super::super::PgConn;
    use crate::store::statements::Meaning;
    use diesel::result::{DatabaseErrorKind, Error};

    let mut conn = PgConn::connect(&server(), Duration::from_secs(10)).expect("connected");
    let missing = conn.batch_execute("SELECT 1 FROM there_is_no_such_table");
    let missing = missing.expect_err("there is none");
    assert_eq!(conn.meaning_of(&missing), Meaning::Unable);
    conn.batch_execute("SELECT 1").expect("it goes on");
    let kind = DatabaseErrorKind::UniqueViolation;
    let ours = Error::DatabaseError(kind, Box::new(String::from("noticed by us")));
    assert_eq!(conn.meaning_of(&ours), Meaning::Refused);
    for (statement, meaning) in [
        ("SELECT 1/0", Meaning::Refused),
        ("SELECT 'x'::int", Meaning::Refused),
        (
            "SET LOCAL statement_timeout TO '10ms'; SELECT pg_sleep(5)",
            Meaning::Again,
        ),
        (
            "BEGIN READ ONLY; CREATE TABLE no_table (x INT)",
            Meaning::Connection,
        ),
    ] {
        let error = conn.batch_execute(statement).expect_err(statement);
        assert_eq!(conn.meaning_of(&error), meaning, "{statement}: {error}");
        conn.roll_back();
    }
    let nul = super::super::sql::<diesel::sql_types::Text>(
        "SELECT ?",
        [super::super::Value::Text("a NUL: \0")],
    );
    let error = nul
        .get_result::<String>(&mut conn)
        .expect_err("no NUL in a text");
    assert_eq!(conn.meaning_of(&error), Meaning::Refused, "{error}");
}

/// More threads return than may be lost, and handlers run again.
#[actix::test]
async fn handlers_that_return_late_are_enough_to_continue() {
    let schema = Schema::new();
    let config = StoreConfig {
        busy_timeout: Duration::from_millis(20),
        answer_timeout: Duration::from_millis(20),
        handlers: 40,
        ..StoreConfig::default()
    };
    let node = Node::with("a", schema.settings(), &config).expect("opens");
    let holder = node.open("s1").await;
    let transact = |cmid: &str, gate: Option<std::sync::mpsc::Receiver<()>>| {
        let run: TransactBody = Box::new(move |_| {
            // Ends when the other end is dropped.
            let _ = gate.map(|gate| gate.recv());
            Err(Box::new("nothing to keep"))
        });
        handler(holder, cmid, Duration::from_millis(500), run)
    };
    let (gates, stuck): (Vec<_>, Vec<_>) = (0..40)
        .map(|number| {
            let (gate, closed) = std::sync::mpsc::channel();
            (
                gate,
                node.0.run(transact(&number.to_string(), Some(closed))),
            )
        })
        .unzip();
    for lost in futures_util::future::join_all(stuck).await {
        assert!(matches!(
            lost,
            Err(StoreError::Unknown | StoreError::Failed(_))
        ));
    }
    let refused = node.0.run(transact("refused", None)).await;
    assert!(refused.is_err(), "nobody is left");
    drop(gates);
    loop {
        let outcome = node.0.run(transact("after", None)).await;
        if matches!(outcome, Ok(Transacted::RolledBack(_))) {
            break;
        }
    }
    while node.0.metrics().lost_threads > 0 {
        tokio::task::yield_now().await;
    }
}

/// Diesel's own connection waits without a time limit: it is cut, and its thread continues with another one.
#[cfg(target_os = "linux")]
#[actix::test]
async fn a_handler_whose_line_falls_silent_costs_neither_its_client_nor_its_thread() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&server()));
    let config = StoreConfig {
        busy_timeout: Duration::from_millis(50),
        answer_timeout: Duration::from_millis(50),
        handlers: 1,
        ..StoreConfig::default()
    };
    let node = Node::with("a", schema.settings_through(&proxy), &config).expect("opens");
    let holder = node.open("s1").await;
    let transact = |cmid: &'static str| {
        let run: TransactBody = Box::new(move |_| Ok(one_message(holder, cmid)));
        handler(holder, cmid, Duration::from_millis(50), run)
    };
    let is_kept = |outcome: &Result<Transacted, StoreError>| {
        matches!(outcome, Ok(Transacted::Unit(UnitOutcome::Committed(_))))
    };
    assert!(is_kept(&node.0.run(transact("before")).await));
    proxy.silence_new(true);
    proxy.silence();
    let silent = node.0.run(transact("silent")).await;
    assert!(
        matches!(silent, Err(StoreError::Unknown | StoreError::Failed(_))),
        "its client is answered"
    );
    proxy.silence_new(false);
    assert!(is_kept(&node.0.run(transact("after")).await));
    let metrics = node.0.metrics();
    assert_eq!(metrics.lost_threads, 0, "its thread continues");
    assert_eq!(metrics.depth, 0, "its place in the queue is free");
    assert_eq!(node.tids(holder.session).await, ["before", "after"]);
}

/// Diesel's own connection may wait without a time limit, and so may the application's code.
#[actix::test]
async fn a_handler_that_does_not_come_back_costs_neither_its_client_nor_the_next_one() {
    let schema = Schema::new();
    let config = StoreConfig {
        busy_timeout: Duration::from_millis(50),
        answer_timeout: Duration::from_millis(50),
        handlers: 1,
        ..StoreConfig::default()
    };
    let node = Node::with("a", schema.settings(), &config).expect("opens");
    let holder = node.open("s1").await;
    let transact = |cmid: &'static str, wait: Option<std::sync::mpsc::Receiver<()>>| {
        let run: TransactBody = Box::new(move |_| {
            if let Some(wait) = wait {
                let _ = wait.recv();
            }
            Ok(one_message(holder, cmid))
        });
        handler(holder, cmid, Duration::from_millis(50), run)
    };
    let (go_on, wait) = std::sync::mpsc::channel();
    let lost = node.0.run(transact("lost", Some(wait))).await;
    assert!(
        matches!(lost, Err(StoreError::Unknown)),
        "its client is answered"
    );
    let next = node.0.run(transact("next", None)).await;
    assert!(
        matches!(next, Ok(Transacted::Unit(UnitOutcome::Committed(_)))),
        "another thread does it"
    );
    go_on.send(()).expect("it waits");
    // The lost thread returns.
    while node.0.metrics().lost_threads > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        node.tids(holder.session).await,
        ["next"],
        "it took too long"
    );
}

/// Asserts that one message was stored.
fn assert_stored(outcome: &UnitOutcome) {
    let is_stored = matches!(outcome, UnitOutcome::Committed(it) if matches!(it[..], [EffectOutcome::Stored(_)]));
    assert!(is_stored, "{outcome:?}");
}

#[actix::test]
async fn a_connection_that_was_cut_is_reopened() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings_to_cut()).expect("opens");
    let holder = node.open("s1").await;
    for round in 0..3 {
        schema.cut_all();
        node.run(call(vec![to("s1", &format!("m{round}"))])).await;
        assert_eq!(node.tids(holder.session).await.len(), round + 1);
    }
}

#[actix::test]
async fn a_process_suspended_in_a_transaction_loses_its_locks() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings()).expect("opens");
    node.open("s1").await;
    let stopped = super::super::open(&schema.settings(), &StoreConfig::default()).expect("opens");
    let (locked, when_locked) = std::sync::mpsc::channel();
    // Locks the session, and then does nothing while its connection stays open.
    let thread = std::thread::spawn(move || {
        let mut connection = stopped.writer().expect("a connection");
        let mut group = Stopped(locked);
        connection.transaction(&mut group, crate::store::statements::Care::Quick)
    });
    when_locked.recv().expect("locked");
    node.run(call(vec![to("s1", "m1")])).await;
    let result = thread.join().expect("ends");
    assert!(result.is_err(), "its transaction was ended: {result:?}");
}

struct Stopped(std::sync::mpsc::Sender<()>);

impl crate::store::statements::Group for Stopped {
    fn touches(&self, see: &mut dyn FnMut(crate::store::statements::Touched<'_>)) {
        see(crate::store::statements::Touched::Sid("s1"));
    }

    fn run(
        &mut self,
        statements: &mut dyn crate::store::statements::Statements,
    ) -> crate::store::statements::DbResult<crate::store::statements::Verdict> {
        let _ = self.0.send(());
        std::thread::sleep(super::super::needs::IDLE_TIMEOUT + Duration::from_secs(1));
        statements.unit(&call(vec![to("s1", "of the stopped")]))?;
        Ok(crate::store::statements::Verdict::Commit)
    }
}
