//! Messages for all sessions of a user, beside transactions of other processes.

use super::*;

/// Waits until another connection waits for what this one has locked.
async fn until_waited_for(schema: &Schema, holder: &mut PgConnection) {
    let pid = diesel::dsl::sql::<diesel::sql_types::Integer>("SELECT pg_backend_pid()");
    let pid: i32 = pid.get_result(holder).expect("its process");
    let waiting =
        format!("SELECT count(*) FROM pg_stat_activity WHERE {pid} = ANY(pg_blocking_pids(pid))");
    while schema.number(&waiting) == 0 {
        tokio::task::yield_now().await;
    }
}

fn stored(outcome: UnitOutcome) -> usize {
    match outcome {
        UnitOutcome::Committed(effects) => match &effects[..] {
            [EffectOutcome::StoredForUser(of_user)] => of_user.seqs.len(),
            _ => panic!("{effects:?}"),
        },
        refused => panic!("{refused:?}"),
    }
}

/// A session of another process is inserted and not yet committed.
fn half_open(schema: &Schema, user: &str) -> PgConnection {
    let mut other = schema.connect();
    let lock = crate::store::shard::hash(user) as i64;
    let open = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({lock}); \
        INSERT INTO session (key, sid, smid_prefix, user_id, connection, client, app_name, app_version, created, alive, \
            last_seq) \
        VALUES (nextval('session_number') * 256, 's2', 'p', '{user}', 1, 'c', 'a', '1', 1, 1, 0)"
    );
    other.batch_execute(&open).expect("inserted");
    other
}

#[actix::test]
async fn a_session_that_is_registered_before_the_commit_gets_the_message() {
    let schema = Schema::new();
    let user = format!("user of {}", schema.0);
    let node = Node::attach("a", schema.settings()).expect("opens");
    let first = Register {
        user_id: user.clone(),
        ..register("s1")
    };
    node.run(first).await;
    for (end, sessions) in [("ROLLBACK", 1), ("COMMIT", 2)] {
        let mut other = half_open(&schema, &user);
        let sent = node.0.run(call(vec![to_user(&user, "m")]));
        until_waited_for(&schema, &mut other).await;
        other.batch_execute(end).expect(end);
        assert_eq!(stored(sent.await.expect("the store works")), sessions);
    }
}

/// Its row is locked by a transaction of another process, which then closes it.
#[actix::test]
async fn a_session_that_is_closed_before_the_commit_is_left_out() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings()).expect("opens");
    node.open("s1").await;
    let holder = node.open("s2").await;
    let mut other = schema.connect();
    let close = "BEGIN; DELETE FROM session WHERE sid = 's1'";
    other.batch_execute(close).expect("deleted");
    let sent = node.0.run(call(vec![to_user("user", "m")]));
    until_waited_for(&schema, &mut other).await;
    other.batch_execute("COMMIT").expect("closed");
    assert_eq!(stored(sent.await.expect("the store works")), 1);
    assert_eq!(node.tids(holder.session).await, ["m"]);
}
