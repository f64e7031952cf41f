use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::*;

/// Does something with the connection, of either database.
macro_rules! on_connection {
    ($any:ident, |$conn:ident| $body:expr) => {
        match $any.downcast_mut::<SqliteConnection>() {
            Some($conn) => $body,
            #[cfg(feature = "postgres")]
            None => {
                let $conn: &mut PgConnection = $any.downcast_mut().expect("a connection");
                $body
            }
            #[cfg(not(feature = "postgres"))]
            None => panic!("a connection of another database"),
        }
    };
}

/// A handler that writes a row of its own, then does what `then` says.
fn handler(
    holder: Holder,
    cmid: &str,
    then: impl FnOnce() -> Result<Vec<Effect>, String> + Send + 'static,
) -> Transact {
    let cause = Cause::Incoming {
        holder,
        cmid: cmid.into(),
        answer: Some("{}".into()),
        settles: None,
    };
    Transact {
        handles: Handles::Message {
            holder,
            cmid: cmid.into(),
        },
        limit: secs(60),
        run: Box::new(move |conn| {
            let done = on_connection!(conn, |conn| {
                conn.batch_execute(
                    "CREATE TABLE IF NOT EXISTS app (x INTEGER); INSERT INTO app VALUES (1)",
                )
                .expect("inserted");
                conn.transaction(|_| Ok::<_, diesel::result::Error>(then()))
            });
            match done.expect("nested") {
                Ok(effects) => Ok(Unit { cause, effects }),
                Err(failure) => Err(Box::new(failure)),
            }
        }),
    }
}

/// Number of the application's rows. `None`: not even its table exists.
async fn app_rows(node: &Node, holder: Holder) -> Option<i64> {
    let count = Transact {
        handles: Handles::Message {
            holder,
            cmid: "count".into(),
        },
        limit: secs(60),
        run: Box::new(|conn| {
            let all = diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT count(*) FROM app");
            let count: QueryResult<i64> = on_connection!(conn, |conn| all.get_result(conn));
            Err(Box::new(count.ok()))
        }),
    };
    match node.run(count).await {
        Transacted::RolledBack(count) => *count.downcast().expect("the count"),
        _ => panic!("not rolled back"),
    }
}

/// After a restore, a dead letter's session key may be another session's: its message went to the wrong client.
pub async fn redriven_to_its_own_session_only(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.run(call(vec![to("s1", send("m1"))])).await;
    let mark = MarkRedelivery {
        holder,
        seqs: vec![1],
        max: 0,
    };
    a.run(mark).await;
    let dead = a.dead().await;
    let prefix = base.prefix();
    set_dead_sid(&a, holder, &prefix, "another").await;
    assert!(!a.run(RedriveDeadLetter { id: dead[0].id }).await);
    assert!(a.tids(holder.session).await.is_empty());
    set_dead_sid(&a, holder, &prefix, "s1").await;
    assert!(a.run(RedriveDeadLetter { id: dead[0].id }).await);
    assert_eq!(a.tids(holder.session).await, ["m1"]);
}

/// Pretends that all dead letters belonged to this session.
async fn set_dead_sid(node: &Node, holder: Holder, prefix: &str, sid: &str) {
    let set = format!("UPDATE {prefix}dead_letter SET sid = '{sid}'");
    let cause = Cause::Incoming {
        holder,
        cmid: sid.into(),
        answer: None,
        settles: None,
    };
    let set = Transact {
        handles: Handles::Message {
            holder,
            cmid: sid.into(),
        },
        limit: secs(60),
        run: Box::new(move |conn| {
            on_connection!(conn, |conn| conn.batch_execute(&set)).expect("works");
            let effects = vec![];
            Ok(Unit { cause, effects })
        }),
    };
    let Transacted::Unit(UnitOutcome::Committed(_)) = node.run(set).await else {
        panic!("not committed")
    };
}

/// What the unit of a handler touches is locked when it ends: for all sessions of users as well.
pub async fn sends_to_users(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let other = a.open("other", "s2").await.holder;
    let effects = || {
        Ok(vec![
            to_user("user", send("m1")),
            to_user("other", send("m2")),
            to_user("nobody", send("m3")),
        ])
    };
    let outcome = a.run(handler(holder, "c1", effects)).await;
    let Transacted::Unit(UnitOutcome::Committed(effects)) = outcome else {
        panic!("not committed")
    };
    let stored = |seqs: &[i64]| {
        EffectOutcome::StoredForUser(StoredForUser {
            seqs: seqs.to_vec(),
            full: vec![],
            kept: None,
        })
    };
    assert_eq!(effects, [stored(&[1]), stored(&[1]), stored(&[])]);
    assert_eq!(a.news().await[0].stored.len(), 2);
    assert_eq!(a.tids(holder.session).await, ["m1"]);
    assert_eq!(a.tids(other.session).await, ["m2"]);
}

pub async fn committed(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let outcome = a
        .run(handler(holder, "c1", || Ok(vec![to("s1", send("m"))])))
        .await;
    let Transacted::Unit(UnitOutcome::Committed(effects)) = outcome else {
        panic!("not committed")
    };
    assert_eq!(effects, [EffectOutcome::Stored(1)]);
    assert_eq!(a.news().await[0].stored.len(), 1);
    assert_eq!(app_rows(&a, holder).await, Some(1));
    assert_eq!(
        a.run(ReadAnswer {
            session: holder.session,
            cmid: "c1".into()
        })
        .await,
        Some(Some("{}".into()))
    );

    let again = a
        .run(handler(holder, "c1", || panic!("must not run again")))
        .await;
    assert!(
        matches!(again, Transacted::Unit(UnitOutcome::Duplicate(Some(answer))) if answer == "{}")
    );
    assert_eq!(app_rows(&a, holder).await, Some(1));
}

pub async fn refused(mut base: Base) {
    base.config.max_outbox = 0;
    let (a, b) = (base.node("a").await, base.node("b").await);
    let old = a.open("user", "s1").await.holder;
    // A unit refused after the handler ran takes the handler's rows with it.
    let full = a
        .run(handler(old, "c1", || Ok(vec![to("s1", send("m"))])))
        .await;
    assert!(matches!(full, Transacted::Unit(UnitOutcome::OutboxFull(_))));
    assert_eq!(app_rows(&a, old).await, None);
    let new = b.resume("user", "s1").await.holder;
    let fenced = a.run(handler(old, "c1", || panic!("must not run"))).await;
    assert!(matches!(fenced, Transacted::Unit(UnitOutcome::FencedOff)));
    assert_eq!(app_rows(&a, new).await, None);
}

pub async fn rolled_back(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let outcome = a.run(handler(holder, "c1", || Err("no".into()))).await;
    let Transacted::RolledBack(failure) = outcome else {
        panic!("not rolled back")
    };
    assert_eq!(*failure.downcast::<String>().expect("what it said"), "no");
    assert_eq!(app_rows(&a, holder).await, None);
    assert_eq!(
        a.run(ReadAnswer {
            session: holder.session,
            cmid: "c1".into()
        })
        .await,
        None
    );
}

pub async fn panicked(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.send("s1", "before").await;
    let outcome = a
        .run(handler(holder, "c1", || panic!("at the disco")))
        .await;
    assert!(matches!(outcome, Transacted::Panicked(text) if text == "at the disco"));
    assert_eq!(app_rows(&a, holder).await, None);
    assert_eq!(
        a.store.metrics().panics,
        0,
        "the handler's, not the store's"
    );
    a.send("s1", "after").await;
    assert_eq!(a.tids(holder.session).await, ["before", "after"]);
    let again = a.run(handler(holder, "c1", || Ok(vec![]))).await;
    assert!(matches!(again, Transacted::Unit(UnitOutcome::Committed(_))));
}

pub async fn timed_out(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    // With a limit of zero, everything takes too long.
    let late = Transact {
        limit: Duration::ZERO,
        ..handler(holder, "c1", || Ok(vec![to("s1", send("m"))]))
    };
    assert!(matches!(a.run(late).await, Transacted::TimedOut(_)));
    assert_eq!(app_rows(&a, holder).await, None);
    assert!(a.fetch(holder.session).await.is_empty());
    assert!(a.news().await.is_empty());
}

/// Work that is no longer the caller's is not begun, and what was begun is not kept.
pub async fn of_work(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let holder = a.open("user", "s1").await.holder;
    let row = a.forward("f").await;
    let service = |epoch: i64, settles: i64| {
        let (id, proof) = (row.id, Proof::Epoch(settles));
        Transact {
            handles: Handles::Work { id, epoch },
            ..handler(holder, "f", move || Ok(Vec::new()))
        }
        .settling(Cause::Forwarded { id, proof })
    };
    let refused = |transacted: Transacted| {
        assert!(
            matches!(transacted, Transacted::Unit(UnitOutcome::AlreadySettled)),
            "{transacted:?}"
        );
    };
    refused(b.run(service(1, 1)).await);
    refused(a.run(service(2, 2)).await);
    assert_eq!(app_rows(&a, holder).await, None, "none was begun");
    // As if it had been claimed by another while it ran.
    refused(a.run(service(1, 2)).await);
    assert_eq!(app_rows(&a, holder).await, None, "nothing is kept");
    let transacted = a.run(service(1, 1)).await;
    assert!(
        matches!(transacted, Transacted::Unit(UnitOutcome::Committed(_))),
        "{transacted:?}"
    );
    refused(a.run(service(1, 1)).await);
    assert_eq!(app_rows(&a, holder).await, Some(1));
}

impl Transact {
    /// With another cause of its unit.
    fn settling(self, cause: Cause) -> Transact {
        let run = self.run;
        Transact {
            run: Box::new(move |conn| {
                let unit = run(conn)?;
                Ok(Unit { cause, ..unit })
            }),
            ..self
        }
    }
}
