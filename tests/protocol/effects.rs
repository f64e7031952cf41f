//! What a handler does besides answering: kept with its outcome, or not at all.

use matssocket_testing::endpoints::SECRET;
use matssocket_testing::*;

#[actix_web::test]
async fn what_a_handler_sends_through_its_context_is_kept_only_with_its_outcome() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for (decision, t, kept) in [
        ("resolve", "RESOLVE", true),
        ("error", "NACK", false),
        ("panic", "NACK", false),
        ("reject", "REJECT", true),
    ] {
        let cmid = line.request("test.effect", json!({"do": decision})).await;
        assert_eq!(line.answer(&cmid).await["t"], t);
        if kept {
            let effect = line.expect("SEND").await;
            assert_eq!(
                (&effect["eid"], &effect["msg"]["do"]),
                (&json!("client.effect"), &json!(decision))
            );
        }
    }
    let marker = line.session().to_owned();
    nodes
        .server()
        .send(&marker, "marker", "client.marker", &1)
        .await
        .unwrap();
    assert_eq!(
        line.expect("SEND").await["eid"],
        "client.marker",
        "nothing of a failed handler is sent"
    );
}

mod transactional {
    use diesel::prelude::*;
    use diesel::sql_query;
    use matssocket::{HandlerError, Incoming, Outcome, Store};

    use super::*;

    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        rows: i64,
    }

    async fn nodes() -> Nodes {
        // Whose connection its handlers take.
        Setup::new()
            .store(Store::sqlite_in_memory())
            .extend(|builder, _, _| {
                builder
                    .transactional(
                        "tx.insert",
                        |db: &mut SqliteConnection, incoming: Incoming<Value>| {
                            sql_query("CREATE TABLE IF NOT EXISTS app_rows (id INTEGER)")
                                .execute(db)?;
                            sql_query("INSERT INTO app_rows VALUES (1)").execute(db)?;
                            incoming.context.send(
                                incoming.context.session_id(),
                                "t",
                                "client.effect",
                                &1,
                            )?;
                            match incoming.payload["do"].as_str() {
                                Some("panic") => panic!("{SECRET}"),
                                Some("error") => Err(HandlerError::internal(SECRET)),
                                _ => Ok(Outcome::resolve("inserted")),
                            }
                        },
                    )
                    .transactional(
                        "tx.count",
                        |db: &mut SqliteConnection, _: Incoming<Value>| {
                            sql_query("CREATE TABLE IF NOT EXISTS app_rows (id INTEGER)")
                                .execute(db)?;
                            let count: Count = sql_query("SELECT COUNT(*) AS rows FROM app_rows")
                                .get_result(db)?;
                            Ok(Outcome::resolve(count.rows))
                        },
                    )
            })
            .start(1)
            .await
    }

    async fn count(line: &mut Line) -> i64 {
        let cmid = line.request("tx.count", json!(null)).await;
        line.expect_id("RESOLVE", &cmid).await["msg"]
            .as_i64()
            .unwrap()
    }

    #[actix_web::test]
    async fn the_applications_rows_commit_or_vanish_with_the_message() {
        let nodes = nodes().await;
        let mut line = nodes.open("anna").await;
        for (decision, t, rows) in [
            ("error", "NACK", 0),
            ("panic", "NACK", 0),
            ("resolve", "RESOLVE", 1),
        ] {
            let cmid = line.next_cmid();
            let envelope = line.envelope("REQUEST", &cmid, "tx.insert", json!({"do": decision}));
            for _ in 0..2 {
                line.send(json!([envelope])).await;
                let answer = line.answer(&cmid).await;
                assert_eq!(answer["t"], t, "{answer}");
                assert!(!answer.to_string().contains("hunter2"), "leaks: {answer}");
            }
            assert_eq!(
                count(&mut line).await,
                rows,
                "after {decision}: once, and only with its message"
            );
        }
        let effect = line.expect("SEND").await;
        line.ack(&effect).await;
        line.none("SEND").await;
    }
}

#[actix_web::test]
async fn a_message_to_a_session_that_is_gone_does_not_fail_its_sender() {
    let nodes = Setup::new()
        .extend(|builder, _, _| {
            builder.endpoint(
                "test.tell",
                |incoming: matssocket::Incoming<Vec<String>>| async move {
                    for session in &incoming.payload {
                        incoming.context.send(session, "told", "client.told", &1)?;
                    }
                    Ok(matssocket::Outcome::resolve("told"))
                },
            )
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let mut other = nodes.open("berta").await;
    let mut gone = nodes.open("carla").await;
    gone.leave(4000).await;
    nodes.until_stored("carla", 0).await;
    let sessions =
        [gone.session(), line.session(), "never was", other.session()].map(str::to_owned);
    let cmid = line.request("test.tell", json!(sessions)).await;
    line.expect_id("RESOLVE", &cmid).await;
    line.expect("SEND").await;
    other.expect("SEND").await;
}

/// The session is closed while its handler runs: nothing of what it did may be kept.
#[actix_web::test]
async fn a_handler_whose_session_is_closed_meanwhile_changes_nothing() {
    let nodes = Setup::new()
        .extend(|builder, control, _| {
            let control = control.clone();
            builder.endpoint(
                "test.tell",
                move |incoming: matssocket::Incoming<String>| {
                    let control = control.clone();
                    async move {
                        incoming.context.send(
                            &incoming.payload,
                            incoming.context.trace_id(),
                            "client.told",
                            &1,
                        )?;
                        control.ran(0, "test.tell", &incoming.context, &json!(incoming.payload));
                        control.pass("g").await;
                        control.set("passed");
                        Ok(matssocket::Outcome::resolve("told"))
                    }
                },
            )
        })
        .start(1)
        .await;
    let mut other = nodes.open("berta").await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("test.tell", json!(other.session())).await;
    nodes.control.called(&line.tid(&cmid)).await;
    line.leave(1001).await;
    nodes.until_stored("anna", 0).await;
    nodes.control.open("g", 1);
    within("the handler's end", async {
        while !nodes.control.is_set("passed") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    nodes
        .server()
        .send(other.session(), "marker", "client.x", &1)
        .await
        .unwrap();
    assert_eq!(other.expect("SEND").await["tid"], "marker");
}
