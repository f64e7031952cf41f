//! Transactional services and reply terminators: what they write is written once, together with the end of what they
//! handle.

use std::time::Duration;

use diesel::prelude::*;
use matssocket::{Forward, Incoming, Outcome, ReplyTo, ServerBuilder, ServiceOptions, Store};

use matssocket_testing::*;

fn quick(config: &mut matssocket::Config) {
    config.service_backoff = Duration::from_millis(10);
    config.service_attempts = 2;
    config.takeover_interval = Duration::from_millis(20);
    config.sweep_interval = Duration::from_millis(20);
    config.transaction_limit = Duration::from_millis(500);
    config.lease = Duration::from_secs(36_000);
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

/// Services and terminators that insert a row, send a message, and end as the payload says.
macro_rules! book_keeper {
    ($name:ident, $connection:ty) => {
        fn $name(builder: ServerBuilder, control: &Control, node: usize) -> ServerBuilder {
            let insert = |db: &mut $connection, incoming: &Incoming<Value>| {
                let id = incoming.payload["id"].as_i64().unwrap_or(1);
                diesel::sql_query(format!("INSERT INTO tx_book VALUES ({id})")).execute(db)?;
                let context = &incoming.context;
                // Work that the server started has no session.
                if !context.session_id().is_empty() {
                    context.send(context.session_id(), "t", "client.effect", &id)?;
                }
                Ok::<_, matssocket::HandlerError>(())
            };
            let (of_service, of_terminator) = (control.clone(), control.clone());
            builder
                .transactional_service("book", move |db: &mut $connection, incoming: Incoming<Value>| {
                    of_service.ran(node, "book", &incoming.context, &incoming.payload);
                    insert(db, &incoming)?;
                    match incoming.payload["do"].as_str().unwrap_or_default() {
                        "resolve" => Ok(Outcome::resolve(json!("booked"))),
                        "done" => Ok(Outcome::done()),
                        "forward" => Ok(Outcome::forward(Forward::to("echo", &"echo"))),
                        "reject" => Ok(Outcome::reject(json!("full"))),
                        "deny" => Ok(Outcome::deny()),
                        "later" => Ok(Outcome::later(Duration::from_secs(60))),
                        "retry" => Ok(Outcome::retry()),
                        "panic" => panic!("as told"),
                        "fail once" if incoming.context.attempt() > 1 => Ok(Outcome::resolve(json!("booked"))),
                        "sleep" => {
                            std::thread::sleep(Duration::from_millis(700));
                            Ok(Outcome::resolve(json!("too late")))
                        }
                        _ => Err("it fails".into()),
                    }
                })
                // Without a limit of time.
                .transactional_service_with(
                    "patient",
                    ServiceOptions::default().time_limit(Duration::MAX),
                    |_: &mut $connection, incoming: Incoming<Value>| Ok(Outcome::resolve(incoming.payload)),
                )
                .endpoint("to patient", async |incoming: Incoming<Value>| {
                    Ok(Outcome::<Value>::forward(Forward::to("patient", &incoming.payload)))
                })
                .service("echo", async |incoming: Incoming<Value>| Ok(Outcome::resolve(incoming.payload)))
                .endpoint("to book", async |incoming: Incoming<Value>| {
                    Ok(Outcome::<Value>::forward(Forward::to("book", &incoming.payload)))
                })
                .endpoint_with_adapter(
                    "to book adapted",
                    async |incoming: Incoming<Value>| Ok(Outcome::forward(Forward::to("book", &incoming.payload))),
                    async |reply: Incoming<Value>| Ok(Outcome::resolve(json!({"adapted": reply.payload}))),
                )
                .transactional("tx.tables", |db: &mut $connection, _: Incoming<Value>| {
                    diesel::sql_query("DROP TABLE IF EXISTS tx_book").execute(db)?;
                    diesel::sql_query("CREATE TABLE tx_book (id INTEGER PRIMARY KEY)").execute(db)?;
                    Ok(Outcome::resolve("made"))
                })
                .transactional("tx.count", |db: &mut $connection, incoming: Incoming<Value>| {
                    let text = format!("SELECT count(*) AS count FROM tx_book WHERE id = {}", incoming.payload);
                    let count: Count = diesel::sql_query(text).get_result(db)?;
                    Ok(Outcome::resolve(count.count))
                })
                .transactional_terminator("tx.heard", move |db: &mut $connection, incoming: Incoming<Value>| {
                    of_terminator.ran(node, "tx.heard", &incoming.context, &incoming.payload);
                    insert(db, &incoming)?;
                    match incoming.payload["do"].as_str() {
                        Some("deny") => Ok(Outcome::deny()),
                        Some("fail") => Err("it fails".into()),
                        _ => Ok(Outcome::done()),
                    }
                })
        }
    };
}
book_keeper!(keeps_books_on_sqlite, SqliteConnection);
#[cfg(feature = "postgres")]
book_keeper!(keeps_books_on_postgres, PgConnection);

/// Nodes that keep books; `keeps` tells which of them do.
async fn nodes_on(is_postgres: bool, many: usize, keeps: fn(usize) -> bool) -> (Nodes, Line) {
    let setup = Setup::new().config(quick);
    let nodes = match is_postgres {
        false => {
            let setup = setup.store(Store::sqlite_in_memory());
            let setup = setup.extend(move |builder, control, node| match keeps(node) {
                true => keeps_books_on_sqlite(builder, control, node),
                false => builder,
            });
            setup.start(many).await
        }
        #[cfg(feature = "postgres")]
        true => {
            let schema = postgres::Schema::new();
            let settings = schema.settings();
            let setup = setup.postgres(schema, settings);
            let setup = setup.extend(move |builder, control, node| match keeps(node) {
                true => keeps_books_on_postgres(builder, control, node),
                false => builder,
            });
            setup.start(many).await
        }
        #[cfg(not(feature = "postgres"))]
        true => unreachable!("without PostgreSQL"),
    };
    let keeper = (0..many)
        .find(|node| keeps(*node))
        .expect("one keeps books");
    let mut line = nodes.open_on(keeper, "keeper").await;
    let made = line.request("tx.tables", json!(null)).await;
    line.expect_id("RESOLVE", &made).await;
    (nodes, line)
}

async fn rows(line: &mut Line, id: i64) -> Value {
    let count = line.request("tx.count", json!(id)).await;
    line.expect_id("RESOLVE", &count).await["msg"].clone()
}

/// How the client's request ends, and whether row and message are kept.
const TABLE: [(&str, &str, bool); 11] = [
    ("resolve", "RESOLVE", true),
    ("done", "REJECT", true),
    ("forward", "RESOLVE", true),
    ("fail once", "RESOLVE", true),
    ("reject", "REJECT", false),
    ("deny", "REJECT", false),
    ("later", "REJECT", false),
    ("retry", "REJECT", false),
    ("panic", "REJECT", false),
    ("fail", "REJECT", false),
    ("sleep", "REJECT", false),
];

async fn what_is_kept(is_postgres: bool) {
    let (nodes, mut line) = nodes_on(is_postgres, 2, |_| true).await;
    for (id, (what, reply, kept)) in (1..).zip(TABLE) {
        let asked = line.request("to book", json!({"do": what, "id": id})).await;
        let told = line.expect_id(reply, &asked).await;
        line.ack(&told).await;
        assert_eq!(
            rows(&mut line, id).await,
            i64::from(kept),
            "the row of {what:?}: {told}"
        );
        match kept {
            true => {
                let sent = line.expect("SEND").await;
                assert_eq!(sent["msg"], id, "{what}");
                line.ack(&sent).await;
            }
            false => line.none("SEND").await,
        }
    }
    let attempts = |what: &str| {
        let of = |seen: &Seen| seen.what == "book" && seen.payload["do"] == what;
        nodes.control.all(of).len()
    };
    let counted = ["resolve", "reject", "fail once", "fail", "panic", "sleep"].map(attempts);
    assert_eq!(counted, [1, 1, 2, 2, 2, 2]);
    let asked = line
        .request("to book adapted", json!({"do": "resolve", "id": 100}))
        .await;
    let told = line.expect_id("RESOLVE", &asked).await;
    assert_eq!(told["msg"], json!({"adapted": "booked"}));
    let asked = line.request("to patient", json!(7)).await;
    assert_eq!(line.expect_id("RESOLVE", &asked).await["msg"], 7);
    let of_service = |node: usize| nodes[node].server.metrics().services["book"].clone();
    let timed_out = of_service(0).timed_out + of_service(1).timed_out;
    assert_eq!(timed_out, 2, "the attempts of \"sleep\"");
    // For nobody who waits.
    let start = Forward::to("book", &json!({"do": "done", "id": 200}));
    nodes.server().start("started", start).await.unwrap();
    let started = |seen: &Seen| seen.what == "book" && seen.payload["id"] == 200;
    nodes.control.wait("started work", 1, started).await;
    within("its row", async {
        while rows(&mut line, 200).await != 1 {}
    })
    .await;
}

#[actix_web::test]
async fn what_is_kept_of_a_transactional_service_on_sqlite() {
    what_is_kept(false).await;
}

#[cfg(feature = "postgres")]
#[actix_web::test]
async fn what_is_kept_of_a_transactional_service_on_postgres() {
    what_is_kept(true).await;
}

/// Requests that end without a reply were not told to a transactional terminator, and replies that arrived at a node without
/// it were dropped.
async fn every_end_is_heard(is_postgres: bool) {
    let (nodes, mut keeper) = nodes_on(is_postgres, 2, |node| node == 1).await;
    let mut line = nodes.open_on(0, "anna").await;
    let session = line.session().to_owned();
    let ask = async |n: i64| {
        let reply_to = ReplyTo::terminator("tx.heard").correlation_string(n.to_string());
        let server = &nodes[1].server;
        let asked = server.request(&session, "asked", "client.endpoint", &n, reply_to);
        asked.await.unwrap();
    };
    for (id, what, kept) in [(1, "done", 1), (2, "deny", 0)] {
        ask(id).await;
        let request = line.expect("REQUEST").await;
        let msg = json!({"id": id, "do": what});
        let cmid = line.reply("RESOLVE", &request, msg).await;
        line.expect_id("ACK", &cmid).await;
        let heard = |seen: &Seen| seen.what == "tx.heard" && seen.payload["id"] == id;
        let seen = nodes.control.wait("the reply", 1, heard).await.remove(0);
        assert_eq!((seen.node, seen.string), (1, Some(id.to_string())));
        if kept == 1 {
            let sent = line.expect("SEND").await;
            line.ack(&sent).await;
        }
        line.barrier().await;
        assert_eq!(rows(&mut keeper, id).await, kept, "{what}");
    }
    // The client closes its session without having replied.
    keeper.request("tx.tables", json!(null)).await;
    ask(3).await;
    line.expect("REQUEST").await;
    line.leave(4000).await;
    let ended = |seen: &Seen| seen.what == "tx.heard" && seen.end.is_some();
    within("the end", async {
        while nodes.control.all(ended).is_empty() {
            // The node without the terminator may have been first, and left it to others for a minute.
            nodes.clock.advance(Duration::from_secs(61));
            actix_web::rt::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    within("its row", async {
        while rows(&mut keeper, 1).await != 1 {}
    })
    .await;
    assert_eq!(nodes.control.all(ended).len(), 1);
}

#[actix_web::test]
async fn a_transactional_terminator_hears_every_end_on_sqlite() {
    every_end_is_heard(false).await;
}

#[cfg(feature = "postgres")]
#[actix_web::test]
async fn a_transactional_terminator_hears_every_end_on_postgres() {
    every_end_is_heard(true).await;
}
