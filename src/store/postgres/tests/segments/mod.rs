//! Young rows in segments that are truncated.

mod case;
mod older_nodes;

use super::*;
use case::Case;

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
