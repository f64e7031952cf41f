//! Services that fail: how often and how long they are tried again, and what is left when they are given up.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use matssocket::{HandlerError, Incoming, Outcome, ReplyTo, ServiceOptions, Store};

use super::rolling::{expect_reply, impatient, strict, with_endpoint};
use matssocket_testing::*;

/// A service that fails, with these options.
fn failing(options: ServiceOptions) -> Setup {
    Setup::new()
        .config(strict)
        .extend(move |builder, control, node| {
            let control = control.clone();
            with_endpoint(builder).service_with(
                "bills",
                options.clone(),
                move |incoming: Incoming<Value>| {
                    control.ran(node, "bills", &incoming.context, &incoming.payload);
                    async { Err::<Outcome<()>, _>(HandlerError::internal("hunter2\0")) }
                },
            )
        })
}

fn patient() -> ServiceOptions {
    let ms = Duration::from_millis;
    ServiceOptions::default()
        .attempts(1_000_000)
        .backoff(ms(10), ms(100_000))
}

/// A failing service was tried again although its client had stopped waiting.
#[actix_web::test]
async fn a_request_is_given_up_when_its_client_would_no_longer_wait() {
    let nodes = failing(patient()).start(1).await;
    let mut line = nodes.open("anna").await;
    let asked = impatient(&mut line, "to bills", json!({}), 200).await;
    let reply = expect_reply(&mut line, "REJECT", &asked).await;
    let attempts = nodes.control.runs_of("bills", &line.tid(&asked));
    assert!((2..=7).contains(&attempts), "{attempts} attempts");
    let text = format!("the service \"bills\" failed {attempts} times");
    assert_eq!(reply["msg"], json!(text));
}

#[actix_web::test]
async fn a_service_is_retried_for_as_long_as_it_says() {
    let for_a_while = patient().retry_for(Duration::from_millis(200));
    let nodes = failing(for_a_while).start(1).await;
    let mut line = nodes.open("anna").await;
    let sent = line.send_to("to bills", json!({})).await;
    line.expect_id("ACK", &sent).await;
    let dead = nodes.until_dead_letters().await;
    assert!((2..=8).contains(&dead[0].deliveries), "{dead:?}");
    assert_eq!(dead[0].reason, r"bills: hunter2\u{0}");
}

#[actix_web::test]
async fn the_application_says_what_a_client_is_told_whose_request_is_given_up() {
    let options = ServiceOptions::default().attempts(2).on_failure(|failure| {
        json!({
            "code": "TRY_TOMORROW",
            "what": [failure.service, failure.endpoint],
            "tries": failure.attempts,
            "why": failure.reason,
        })
    });
    let nodes = failing(options).config(|config| config.service_backoff = Duration::from_millis(5));
    let nodes = nodes.start(1).await;
    let mut line = nodes.open("anna").await;
    let asked = line.request("to bills", json!({})).await;
    let reply = expect_reply(&mut line, "REJECT", &asked).await;
    let expected = json!({
        "code": "TRY_TOMORROW",
        "what": ["bills", "to bills"],
        "tries": 2,
        "why": r"hunter2\u{0}",
    });
    assert_eq!(reply["msg"], expected);
}

#[actix_web::test]
async fn options_that_cannot_be_meant_are_refused() {
    let second = Duration::from_secs(1);
    for (options, part) in [
        (ServiceOptions::default().attempts(0), "attempts is 0"),
        (
            ServiceOptions::default().backoff(Duration::ZERO, second),
            "first back-off is zero",
        ),
        (
            ServiceOptions::default().backoff(2 * second, second),
            "longer than its longest",
        ),
        (
            ServiceOptions::default().retry_for(Duration::ZERO),
            "retry_for is zero",
        ),
    ] {
        let builder = matssocket::MatsSocketServer::builder("test").service_with(
            "bills",
            options,
            |_: Incoming<Value>| async { Ok(Outcome::<()>::done()) },
        );
        let Err(refused) = builder.start().await else {
            panic!("not refused: {part}")
        };
        let text = refused.to_string();
        assert!(text.contains("\"bills\"") && text.contains(part), "{text}");
    }
}

/// Makes the database refuse a second text of this kind.
fn refuse_two(file: &std::path::Path, table: &str, column: &str) {
    let (mut db, name) = open_table(file, table);
    let index = format!(
        "CREATE UNIQUE INDEX poison_of_{table} ON {name} (CASE WHEN {column} LIKE '%poison%' THEN 1 END)"
    );
    db.batch_execute(&index).expect("an index");
}

fn rows(file: &std::path::Path, table: &str) -> i64 {
    let (mut db, name) = open_table(file, table);
    let count = diesel::dsl::sql::<BigInt>(&format!("SELECT count(*) FROM {name}"));
    count.get_result(&mut db).expect("read")
}

/// A connection to the node's database, and the name of the table in it, which may have something in front.
fn open_table(file: &std::path::Path, table: &str) -> (SqliteConnection, String) {
    let mut db = SqliteConnection::establish(&file.display().to_string()).expect("a database");
    db.batch_execute("PRAGMA busy_timeout = 5000").expect("set");
    let find = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ";
    let find = format!("{find}('{table}', 'matssocket_{table}')");
    let name = diesel::dsl::sql::<Text>(&find).get_result(&mut db);
    (db, name.expect("the table"))
}

/// As above, of a reply terminator that is told that its request has ended: it was told again and again.
#[actix_web::test]
async fn what_the_database_refuses_of_a_terminator_is_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("test.db");
    let nodes = Setup::new()
        .store(Store::sqlite(&file))
        .config(strict)
        .extend(|builder, control, node| {
            let control = control.clone();
            builder.terminator("poisonous", move |reply: Incoming<Value>| {
                control.ran(node, "poisonous", &reply.context, &reply.payload);
                async move {
                    for _ in 0..2 {
                        let (session, tid) = (reply.context.session_id(), reply.context.trace_id());
                        reply.context.send(session, tid, "client.x", "poison")?;
                    }
                    Ok(Outcome::done())
                }
            })
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    refuse_two(&file, "outbox", "msg");
    let reply_to = ReplyTo::terminator("poisonous").timeout(Duration::from_millis(1));
    let asked = nodes
        .server()
        .request(line.session(), "t", "client.x", &1, reply_to);
    asked.await.expect("stored");
    let told = nodes
        .control
        .wait("the end", 1, |seen| seen.what == "poisonous");
    assert!(told.await[0].end.is_some());
    within("the request to be forgotten", async {
        while rows(&file, "correlation") > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    line.none("SEND").await;
}

/// One bad value made a row that was neither settled nor given up: it held a place of its service for ever.
#[actix_web::test]
async fn what_the_database_refuses_is_a_failed_attempt_and_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("test.db");
    let options = ServiceOptions::default()
        .attempts(2)
        .max_running(1)
        .on_failure(|_| "poison");
    let nodes = Setup::new()
        .store(Store::sqlite(&file))
        .config(strict)
        .config(|config| config.service_backoff = Duration::from_millis(5))
        .extend(move |builder, control, node| {
            let control = control.clone();
            let bills = move |incoming: Incoming<Value>| {
                control.ran(node, "bills", &incoming.context, &incoming.payload);
                async move {
                    for _ in 0..2 {
                        let (session, tid) =
                            (incoming.context.session_id(), incoming.context.trace_id());
                        incoming
                            .context
                            .send(session, tid, "client.x", &incoming.payload)?;
                    }
                    match incoming.payload["fail"].as_str() {
                        Some(why) => Err(HandlerError::internal(why)),
                        None => Ok(Outcome::resolve("paid")),
                    }
                }
            };
            with_endpoint(builder).service_with("bills", options.clone(), bills)
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    refuse_two(&file, "outbox", "msg");
    refuse_two(&file, "dead_letter", "reason");
    let send = nodes
        .server()
        .send(line.session(), "t", "client.x", "poison");
    send.await.expect("the first is taken");
    line.expect("SEND").await;

    // Its effects are refused, then the application's REJECT: what remains is the plain one.
    let asked = line.request("to bills", json!("poison")).await;
    let reply = expect_reply(&mut line, "REJECT", &asked).await;
    assert_eq!(reply["msg"], json!("the service \"bills\" failed 2 times"));
    assert_eq!(nodes.control.runs_of("bills", &line.tid(&asked)), 2);

    // Of two dead letters the second one's reason is refused: it is buried without.
    for _ in 0..2 {
        let sent = line.send_to("to bills", json!({"fail": "poison"})).await;
        line.expect_id("ACK", &sent).await;
    }
    let dead = within("two dead letters", async {
        loop {
            let dead = nodes.server().dead_letters(0, 10).await.unwrap();
            if dead.len() == 2 {
                return dead;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(dead[0].reason, "bills: poison");
    assert!(dead[1].reason.starts_with("given up"), "{dead:?}");

    // The one place is free.
    let asked = line.request("to bills", json!(1)).await;
    expect_reply(&mut line, "RESOLVE", &asked).await;
}
