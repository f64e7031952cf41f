//! Young rows in segments that are truncated.

use super::*;

/// A node, and another one that rotates the segments.
struct Case {
    schema: Schema,
    node: Node,
    other: Node,
    holder: Holder,
}

impl Case {
    /// Opens one session, whose rows go to the first segment.
    async fn begin() -> Case {
        let schema = Schema::new();
        let node = Node::attach("a", schema.settings()).expect("opens");
        let other = Node::attach("b", schema.settings()).expect("opens");
        let holder = node.open("s1").await;
        let case = Case {
            schema,
            node,
            other,
            holder,
        };
        assert_eq!(case.step().await, Rotated::More);
        assert_eq!(case.current(), 1, "it has begun");
        case
    }

    async fn step(&self) -> Rotated {
        self.other.run(Rotate { beyond: 0 }).await
    }

    /// Advances to the next segment and no further: the segment before the previous one still has its rows.
    async fn rotate(&self) {
        let before = self.current();
        // A row that was inserted and deleted makes the segment large enough.
        self.schema.execute(&format!(
            "INSERT INTO inbox_{before} (session, cmid, created) VALUES (0, 'c', 0); \
            DELETE FROM ONLY inbox_{before} WHERE session = 0"
        ));
        while self.current() == before {
            assert_eq!(self.step().await, Rotated::More);
        }
    }

    fn number(&self, sql: &str) -> i64 {
        self.schema.number(sql)
    }

    fn current(&self) -> i64 {
        self.number("SELECT current::bigint FROM segments")
    }

    /// Number of rows in each table, the parent first.
    fn counts(&self, name: &str) -> [i64; 5] {
        [0, 1, 2, 3, 4].map(|segment| match segment {
            0 => self.number(&format!("SELECT count(*) FROM ONLY {name}")),
            _ => self.number(&format!("SELECT count(*) FROM ONLY {name}_{segment}")),
        })
    }

    async fn send(&self, tid: &str) {
        self.node.run(call(vec![to("s1", tid)])).await;
    }

    /// Receives a client's message. False: it had been received before.
    async fn receive(&self, cmid: &str) -> bool {
        let cause = Cause::Incoming {
            holder: self.holder,
            cmid: cmid.into(),
            answer: Some("answer".into()),
            settles: None,
        };
        let unit = Unit {
            cause,
            effects: vec![],
        };
        match self.node.run(unit).await {
            UnitOutcome::Committed(_) => true,
            UnitOutcome::Duplicate(answer) => {
                assert_eq!(answer.as_deref(), Some("answer"));
                false
            }
            other => panic!("{other:?}"),
        }
    }

    /// Stores a message of each kind in each table that may hold any.
    async fn fill(&self) {
        for round in 1..=5 {
            self.send(&format!("m{round}")).await;
            assert!(self.receive(&format!("c{round}")).await);
            if round < 5 {
                self.rotate().await;
            }
        }
        assert_eq!(self.counts("outbox"), [2, 1, 0, 1, 1]);
    }

    /// The sequence numbers in the session's outbox.
    async fn seqs(&self) -> Vec<i64> {
        let all = FetchOutbox {
            session: self.holder.session,
            after: 0,
            limit: 100_000,
            max_bytes: u64::MAX,
            max_first: u64::MAX,
        };
        let messages = self.node.run(all).await.messages.into_iter();
        messages.map(|message| message.seq).collect()
    }

    /// The client acknowledges these messages of its outbox, counted from 1.
    async fn complete(&self, which: std::ops::RangeInclusive<usize>) {
        let seqs = self.seqs().await;
        let complete = Complete {
            holder: self.holder,
            acked: seqs[which.start() - 1..*which.end()].to_vec(),
            nacked: vec![],
        };
        assert_eq!(self.node.run(complete).await, Fenced::Done);
    }

    /// Size of a segment's inbox in bytes.
    fn size(&self, segment: i32) -> i64 {
        self.number(&format!("SELECT pg_relation_size('inbox_{segment}')"))
    }

    fn old_node_joins(&self) {
        let join = "INSERT INTO node (name, lease_until) VALUES ('old', 0)";
        self.schema.execute(join);
    }

    async fn forget(&self, cmids: &[&str]) {
        let drop = DropInbox {
            holder: self.holder,
            cmids: cmids.iter().map(|it| (*it).to_owned()).collect(),
        };
        assert_eq!(self.node.run(drop).await, Fenced::Done);
    }
}

#[actix::test]
async fn rows_are_deleted_wherever_they_are() {
    let case = Case::begin().await;
    for round in 1..=5 {
        let tids: Vec<_> = (1..=round).map(|number| format!("m{number}")).collect();
        case.send(&format!("m{round}")).await;
        assert!(case.receive(&format!("c{round}")).await, "c{round} is new");
        assert_eq!(case.node.tids(case.holder.session).await, tids);
        for before in 1..=round {
            assert!(
                !case.receive(&format!("c{before}")).await,
                "c{before} was there"
            );
        }
        if round < 5 {
            case.rotate().await;
        }
    }
    // The fifth is in the first segment again; the first and second are in the parent.
    for name in ["inbox", "outbox"] {
        assert_eq!(case.counts(name), [2, 1, 0, 1, 1], "{name}");
    }
    case.forget(&["c1", "c3", "c4", "c5", "c5", "none"]).await;
    assert_eq!(case.counts("inbox"), [1, 0, 0, 0, 0]);
    assert!(!case.receive("c2").await, "c2 is left");
    assert!(case.receive("c1").await, "c1 was let go");
}

#[actix::test]
async fn surviving_rows_move_to_the_parent_and_the_rest_is_truncated() {
    let case = Case::begin().await;
    for number in 1..=20 {
        case.send(&format!("m{number}")).await;
        case.receive(&format!("c{number}")).await;
    }
    case.complete(2..=20).await;
    let cmids: Vec<_> = (1..20).map(|number| format!("c{number}")).collect();
    case.forget(&cmids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    case.rotate().await;
    assert_eq!(case.counts("inbox"), [0, 1, 0, 0, 0], "still there");
    case.rotate().await;
    case.step().await;
    assert_eq!(case.counts("inbox"), [1, 0, 0, 0, 0], "moved");
    assert_eq!(case.counts("outbox"), [1, 0, 0, 0, 0], "moved");
    assert!(case.size(1) > 0, "what was deleted is still there");
    case.rotate().await;
    case.rotate().await;
    assert_eq!(case.current(), 1);
    assert_eq!(case.size(1), 0, "truncated");
    assert_eq!(case.node.tids(case.holder.session).await, ["m1"]);
    assert!(!case.receive("c20").await);
}

#[actix::test]
async fn many_surviving_rows_are_moved_in_batches() {
    let case = Case::begin().await;
    case.schema.execute(
        "INSERT INTO outbox_1 (session, seq, kind, tid, deliveries, created) \
        SELECT 1, i, 'SEND', 't', 0, 0 FROM generate_series(1, 12000) AS i",
    );
    case.rotate().await;
    case.rotate().await;
    let mut parents = Vec::new();
    while case.number("SELECT emptied::int::bigint FROM segments") == 0 {
        assert_eq!(case.step().await, Rotated::More);
        parents.push(case.counts("outbox")[0]);
    }
    assert_eq!(parents, [5_000, 10_000, 12_000]);
}

#[actix::test]
async fn a_session_is_resumed_and_closed_wherever_its_rows_are() {
    let case = Case::begin().await;
    case.fill().await;
    let resume = Register {
        session: NewOrResumed::Resumed { sid: "s1".into() },
        ..register("s1")
    };
    let Registered::Held(held) = case.node.run(resume).await else {
        panic!("not held");
    };
    let mut cmids: Vec<_> = held.inbox.into_iter().map(|(cmid, _)| cmid).collect();
    cmids.sort();
    assert_eq!(cmids, ["c1", "c2", "c3", "c4", "c5"]);
    assert!(held.has_outbox);
    let close = CloseSession {
        target: CloseTarget::Sid("s1".into()),
        reason: "test".into(),
    };
    assert!(case.node.run(close).await.is_some());
    assert_eq!(case.counts("inbox"), [0; 5]);
    assert_eq!(case.counts("outbox"), [0; 5]);
}

#[actix::test]
async fn deliveries_are_counted_and_the_dead_buried_wherever_they_are() {
    let case = Case::begin().await;
    case.fill().await;
    let seqs = case.seqs().await;
    let mark = |max| MarkRedelivery {
        holder: case.holder,
        seqs: seqs.clone(),
        max,
    };
    assert_eq!(
        case.node.run(mark(1)).await,
        MarkedRedelivery::Done(vec![]),
        "the first time"
    );
    let dead = match case.node.run(mark(1)).await {
        MarkedRedelivery::Done(dead) => dead.iter().map(|it| it.seq).collect(),
        MarkedRedelivery::FencedOff => Vec::new(),
    };
    assert_eq!(dead, seqs, "the second time");
    assert_eq!(case.counts("outbox"), [0; 5]);
    assert_eq!(case.number("SELECT count(*) FROM dead_letter"), 5);
}

/// A connection that has not written for a while believes that another segment is current, or none.
#[actix::test]
async fn a_writer_that_knows_an_old_segment_writes_to_the_current_one() {
    let case = Case::begin().await;
    case.send("m1").await;
    for round in 2..=9 {
        for _ in 0..round % 4 {
            case.rotate().await;
        }
        case.send(&format!("m{round}")).await;
        assert!(case.receive(&format!("c{round}")).await);
        let newest = case.counts("inbox")[case.current() as usize];
        assert!(newest >= 1, "round {round} is in the current segment");
        let late = Node::attach("late", case.schema.settings()).expect("opens");
        late.run(call(vec![to("s1", &format!("late {round}"))]))
            .await;
    }
    assert_eq!(case.node.tids(case.holder.session).await.len(), 17);
    let seqs = case.seqs().await;
    assert!(seqs.is_sorted());
    case.complete(1..=17).await;
    assert_eq!(case.counts("outbox"), [0; 5], "all were found");
}

/// A backup, for example.
#[actix::test]
async fn a_long_read_delays_nobody() {
    let case = Case::begin().await;
    case.fill().await;
    let mut backup = case.schema.connect();
    backup
        .batch_execute("BEGIN; LOCK TABLE inbox, outbox IN ACCESS SHARE MODE")
        .expect("locks");
    case.send("m6").await;
    assert!(!case.receive("c1").await);
    assert!(case.receive("c6").await);
    let before = case.current();
    while case.step().await == Rotated::More {}
    assert_eq!(case.counts("inbox")[3], 0, "emptied all the same");
    assert_eq!(case.step().await, Rotated::Held, "the next one is in use");
    assert_eq!(case.current(), before, "so it stays");
    case.complete(1..=6).await;
    assert_eq!(case.node.tids(case.holder.session).await.len(), 0);
    backup.batch_execute("ROLLBACK").expect("ends");
    case.rotate().await;
}

#[actix::test]
async fn a_long_running_handler_delays_nobody() {
    let case = Case::begin().await;
    case.fill().await;
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let holder = case.holder;
    let run: TransactBody = Box::new(move |_| {
        begun.send(()).expect("somebody waits");
        may_go_on.recv().expect("somebody says so");
        let cause = Cause::Incoming {
            holder,
            cmid: "handled".into(),
            answer: Some("answer".into()),
            settles: None,
        };
        Ok(Unit {
            cause,
            effects: vec![to("s1", "of the handler")],
        })
    });
    let handled = case.node.0.run(Transact {
        handles: Handles::Message {
            holder,
            cmid: "handled".into(),
        },
        limit: std::time::Duration::from_secs(60),
        run,
    });
    has_begun.recv().expect("it begins");
    for _ in 0..5 {
        case.rotate().await;
    }
    go_on.send(()).expect("it waits");
    let handled = handled.await.expect("works");
    assert!(matches!(
        handled,
        Transacted::Unit(UnitOutcome::Committed(_))
    ));
    assert_eq!(case.node.tids(holder.session).await.len(), 6);
    assert!(!case.receive("handled").await);
}

#[actix::test]
async fn nothing_is_lost_duplicated_or_reordered_while_nodes_write_and_rotate() {
    const ROUNDS: usize = 150;
    let case = Case::begin().await;
    let nodes = [&case.node, &case.other];
    let third = Node::attach("c", case.schema.settings()).expect("opens");
    let writes = async {
        for round in 0..ROUNDS {
            let sends = nodes
                .iter()
                .enumerate()
                .map(|(at, node)| node.run(call(vec![to("s1", &format!("{at}/{round}"))])));
            let cmid = format!("c{round}");
            let both = futures_util::future::join(
                case.receive(&cmid),
                futures_util::future::join_all(sends),
            );
            assert!(both.await.0, "{cmid} is new");
            assert!(!case.receive(&cmid).await, "{cmid} is not");
            if round % 3 == 0 {
                case.complete(1..=1).await;
                case.forget(&[&cmid]).await;
            }
        }
    };
    let done = std::cell::Cell::new(false);
    let rotate = |node: &'static str| {
        let settings = case.schema.settings();
        let done = &done;
        async move {
            let node = Node::attach(node, settings).expect("opens");
            let mut turns = 0;
            while !done.get() {
                turns += usize::from(node.run(Rotate { beyond: 0 }).await == Rotated::More);
            }
            turns
        }
    };
    let writing = async {
        writes.await;
        done.set(true);
    };
    let ((), first, second) =
        futures_util::future::join3(writing, rotate("r1"), rotate("r2")).await;
    println!("{first} and {second} steps beside {ROUNDS} rounds");
    assert!(first + second > 20, "it has rotated");
    let left = third.tids(case.holder.session).await;
    assert_eq!(left.len(), 2 * ROUNDS - ROUNDS.div_ceil(3));
    for of in ["0/", "1/"] {
        let rounds = left.iter().filter_map(|tid| tid.strip_prefix(of));
        let rounds: Vec<usize> = rounds
            .map(|round| round.parse().expect("a number"))
            .collect();
        assert!(rounds.is_sorted(), "{of} {rounds:?}");
    }
    let inbox: i64 = case.counts("inbox").iter().sum();
    assert_eq!(inbox as usize, ROUNDS - ROUNDS.div_ceil(3));
}

/// Each step is one transaction: a node that dies during a step has done nothing.
#[actix::test]
async fn a_step_that_is_not_committed_is_repeated() {
    use crate::store::statements::{Care, DbResult, Group, Statements, Touched, Verdict};
    struct Dies(Option<Rotated>);
    impl Group for Dies {
        fn touches(&self, _: &mut dyn FnMut(Touched<'_>)) {}

        fn run(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict> {
            self.0 = Some(statements.rotate(&Rotate { beyond: 0 })?);
            Ok(Verdict::RollBack)
        }
    }
    let case = Case::begin().await;
    let database = super::super::open(&case.schema.settings(), &StoreConfig::default());
    let mut connection = database.expect("opens").writer().expect("a connection");
    for round in 0..8 {
        case.send(&format!("m{round}")).await;
        let all = |case: &Case| (case.counts("outbox"), case.current());
        for _ in 0..2 {
            let before = all(&case);
            let mut dies = Dies(None);
            connection
                .transaction(&mut dies, Care::Quick)
                .expect("works");
            assert_eq!(dies.0, Some(Rotated::More));
            assert_eq!(all(&case), before, "nothing was done");
            assert_eq!(case.step().await, Rotated::More);
        }
    }
    assert_eq!(case.current(), 1, "twice around");
    assert_eq!(case.node.tids(case.holder.session).await.len(), 8);
}

/// A deploy is rolled back: a node of a version without segments joins.
#[actix::test]
async fn a_node_that_does_not_know_segments_finds_all_rows_in_the_parents() {
    let case = Case::begin().await;
    case.fill().await;
    case.old_node_joins();
    assert_eq!(case.current(), 0);
    assert_eq!(case.counts("inbox"), [5, 0, 0, 0, 0]);
    assert_eq!(case.counts("outbox"), [5, 0, 0, 0, 0]);
    // This node has not been notified.
    case.send("m6").await;
    assert!(case.receive("c6").await && !case.receive("c1").await);
    case.forget(&["c2"]).await;
    case.complete(1..=1).await;
    assert_eq!(case.counts("inbox"), [5, 0, 0, 0, 0]);
    assert_eq!(case.counts("outbox"), [5, 0, 0, 0, 0]);
    assert_eq!(
        case.step().await,
        Rotated::Done,
        "it waits for that node to go"
    );
    case.schema.execute("DELETE FROM node WHERE name = 'old'");
    assert_eq!(
        case.step().await,
        Rotated::Done,
        "and for what that still does"
    );
    case.schema
        .execute("UPDATE segments SET not_before = now()");
    assert_eq!(case.step().await, Rotated::More);
    case.send("m7").await;
    assert_eq!(case.counts("outbox"), [5, 1, 0, 0, 0]);
    let expected = ["m2", "m3", "m4", "m5", "m6", "m7"];
    assert_eq!(case.node.tids(case.holder.session).await, expected);
}

/// A rolling deploy: a node of a version without segments is still running.
#[actix::test]
async fn while_a_node_does_not_know_segments_none_is_used() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings()).expect("opens");
    let join = RenewLease {
        join: true,
        lease: std::time::Duration::from_secs(60),
    };
    node.run(join).await;
    schema.execute("INSERT INTO node (name, lease_until) VALUES ('old', 0)");
    node.open("s1").await;
    assert_eq!(node.run(Rotate { beyond: 0 }).await, Rotated::Done);
    node.run(call(vec![to("s1", "m1")])).await;
    assert_eq!(schema.number("SELECT count(*) FROM ONLY outbox"), 1);
    schema.execute("DELETE FROM node WHERE name = 'old'; UPDATE segments SET not_before = now()");
    assert_eq!(node.run(Rotate { beyond: 0 }).await, Rotated::More);
    node.run(call(vec![to("s1", "m2")])).await;
    assert_eq!(schema.number("SELECT count(*) FROM ONLY outbox_1"), 1);
}

#[actix::test]
async fn a_node_that_does_not_know_segments_comes_while_others_write() {
    let case = Case::begin().await;
    let writes = (0..200).map(|number| case.node.run(call(vec![to("s1", &format!("{number}"))])));
    let settings = case.schema.settings();
    let joins = std::thread::spawn({
        let schema = case.schema.prefix();
        move || {
            let mut conn = PgConnection::establish(&server()).expect("the test's PostgreSQL");
            let set = format!("SET search_path TO {}", schema.trim_end_matches('.'));
            conn.batch_execute(&set).expect("set");
            for round in 0..10 {
                let join = format!("INSERT INTO node (name, lease_until) VALUES ('o{round}', 0)");
                conn.batch_execute(&join).expect("joins");
                for name in ["inbox", "outbox"] {
                    let young =
                        format!("SELECT count(*) - (SELECT count(*) FROM ONLY {name}) FROM {name}");
                    let young = diesel::dsl::sql::<diesel::sql_types::BigInt>(&young);
                    assert_eq!(young.get_result(&mut conn), Ok(0), "{name}, round {round}");
                }
                let leave = "DELETE FROM node; UPDATE segments SET not_before = now()";
                conn.batch_execute(leave).expect("leaves");
            }
        }
    });
    let rotating = async {
        let node = Node::attach("r", settings).expect("opens");
        while !joins.is_finished() {
            node.run(Rotate { beyond: 0 }).await;
        }
    };
    futures_util::future::join(futures_util::future::join_all(writes), rotating).await;
    joins.join().expect("no row was in a segment");
    assert_eq!(case.node.tids(case.holder.session).await.len(), 200);
}

#[actix::test]
async fn a_role_that_must_not_truncate_goes_without() {
    let schema = Schema::new();
    let role = LimitedRole::new(&schema, "SELECT, INSERT, UPDATE, DELETE");
    let node = Node::attach("a", role.settings(&schema)).expect("opens");
    node.open("s1").await;
    assert_eq!(node.run(Rotate { beyond: 0 }).await, Rotated::Done);
    node.run(call(vec![to("s1", "m1")])).await;
    assert_eq!(schema.number("SELECT count(*) FROM ONLY outbox"), 1);
    // A node with another role may truncate.
    let other = Node::attach("b", schema.settings()).expect("opens");
    assert_eq!(other.run(Rotate { beyond: 0 }).await, Rotated::More);
    node.run(call(vec![to("s1", "m2")])).await;
    assert_eq!(schema.number("SELECT count(*) FROM ONLY outbox_1"), 1);
}

/// Long texts are stored out of line and do not make the table itself large.
#[actix::test]
async fn long_messages_make_a_segment_large() {
    let case = Case::begin().await;
    case.schema.execute(
        "INSERT INTO outbox_1 (session, seq, kind, tid, msg, deliveries, created) \
        SELECT 0, 1, 'SEND', 't', string_agg(md5(i::text), ''), 0, 0 FROM generate_series(1, 5000) AS i",
    );
    let large = Rotate { beyond: 100_000 };
    assert_eq!(case.node.run(large).await, Rotated::More);
    assert_eq!(case.current(), 2);
}
