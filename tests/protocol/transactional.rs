//! Transactional handlers that take far too long: whoever is beside them notices as little as can be.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use matssocket::{Incoming, Outcome, ServerBuilder, Store};

use crate::common::*;

/// How long the handler takes: more than twice the node's lease.
const TAKES: Duration = Duration::from_secs(2);

fn impatient(setup: Setup) -> Setup {
    setup.config(|config| {
        config.transaction_limit = Duration::from_millis(200);
        config.lease = Duration::from_millis(900);
        config.lease_interval = Duration::from_millis(300);
        config.takeover_interval = Duration::from_millis(100);
    })
}

/// A handler that writes, and goes on for far too long.
fn slow<C>(builder: ServerBuilder, control: &Control) -> ServerBuilder
where
    C: diesel::Connection + diesel::connection::LoadConnection + 'static,
    diesel::query_builder::SqlQuery: diesel::query_dsl::methods::ExecuteDsl<C>,
{
    let control = control.clone();
    builder.transactional("tx.slow", move |db: &mut C, _: Incoming<u64>| {
        diesel::sql_query("CREATE TABLE IF NOT EXISTS slow_rows (id INTEGER)").execute(db)?;
        control.set("slow");
        std::thread::sleep(TAKES); // the fault lasts
        control.unset("slow");
        Ok(Outcome::resolve("far too late"))
    })
}

async fn until_slow(nodes: &Nodes) {
    within("the handler", async {
        while !nodes.control.is_set("slow") {
            actix_web::rt::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn expect_over_limit(line: &mut Line, cmid: &str) {
    let answer = line.answer(cmid).await;
    let why = answer["desc"].as_str().unwrap_or_default();
    assert!(
        answer["t"] == "NACK" && why.contains("tx.slow") && why.contains("200ms"),
        "the NACK names the endpoint and its limit: {answer}"
    );
}

/// SQLite has one writer. The handler kept it for longer than the lease, and all clients were sent away.
#[actix_web::test]
async fn on_sqlite_it_costs_neither_the_lease_nor_anybodys_session() {
    let dir = tempfile::tempdir().expect("a directory");
    for store in [
        Store::sqlite(dir.path().join("test.db")),
        Store::sqlite_in_memory(),
    ] {
        let nodes = impatient(Setup::new().store(store))
            .extend(|builder, control, _| slow::<SqliteConnection>(builder, control))
            .start(1)
            .await;
        let mut bystanders = Vec::new();
        for number in 0..5 {
            bystanders.push(nodes.open(&format!("bystander{number}")).await);
        }
        let mut line = nodes.open("anna").await;
        let slow = line.request("tx.slow", json!(1)).await;
        until_slow(&nodes).await;
        let newcomer = nodes.open("newcomer");
        let over = async {
            expect_over_limit(&mut line, &slow).await;
            Instant::now()
        };
        let welcomed = async {
            let line = newcomer.await;
            (line, Instant::now())
        };
        let (over, (_newcomer, welcomed)) = tokio::join!(over, welcomed);
        let waited = welcomed.saturating_duration_since(over);
        assert!(waited < Duration::from_secs(1), "HELLO waited {waited:?}");
        for bystander in &mut bystanders {
            bystander.barrier().await;
        }
        let metrics = nodes.server().metrics();
        assert_eq!(metrics.incarnations, 0, "the lease was kept");
        assert_eq!(metrics.upkeep["lease"].failures, 0);
        assert!(metrics.ready);
    }
}

/// Three at once, of three users: each kept one of the two writers of messages, and its session's row.
#[cfg(feature = "postgres")]
#[actix_web::test]
async fn on_postgres_others_are_served_meanwhile() {
    let schema = postgres::Schema::new();
    let settings = schema.settings();
    let nodes = impatient(Setup::new().postgres(schema, settings))
        .extend(|builder, control, _| slow::<PgConnection>(builder, control))
        .start(1)
        .await;
    let mut slow = Vec::new();
    for user in ["anna", "berta", "clara"] {
        let mut line = nodes.open(user).await;
        let cmid = line.request("tx.slow", json!(1)).await;
        slow.push((line, cmid));
    }
    until_slow(&nodes).await;
    for number in 0..10 {
        let mut line = nodes.open(&format!("bystander{number}")).await;
        let cmid = line.request("test.do", json!("hello")).await;
        line.expect_id("RESOLVE", &cmid).await;
        let own = &mut slow[number % 3].0;
        let cmid = own.request("test.do", json!("hello")).await;
        own.expect_id("RESOLVE", &cmid).await;
    }
    assert!(nodes.control.is_set("slow"), "all of that while they ran");
    for (line, cmid) in &mut slow {
        expect_over_limit(line, cmid).await;
    }
    assert_eq!(nodes.server().metrics().incarnations, 0);
}

/// The order of a session's transactional handlers is that of its messages, although several could run at a time.
#[cfg(feature = "postgres")]
#[actix_web::test]
async fn on_postgres_those_of_one_session_run_in_order() {
    let schema = postgres::Schema::new();
    let settings = schema.settings();
    let nodes = Setup::new()
        .postgres(schema, settings)
        .extend(|builder, control, node| {
            let control = control.clone();
            builder.transactional(
                "tx.note",
                move |_: &mut PgConnection, incoming: Incoming<u64>| {
                    let (number, context) = incoming.into_parts();
                    // The earlier ones take longer.
                    std::thread::sleep(Duration::from_millis(20 - number));
                    control.ran(node, "tx.note", &context, &json!(number));
                    Ok(Outcome::resolve("noted"))
                },
            )
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let all = (0..20).map(|number| {
        let cmid = format!("c{number}");
        line.envelope("REQUEST", &cmid, "tx.note", json!(number))
    });
    line.send(all.collect()).await;
    for number in 0..20 {
        line.expect_id("RESOLVE", &format!("c{number}")).await;
    }
    let ran = nodes.control.all(|seen| seen.what == "tx.note");
    let order: Vec<u64> = ran
        .iter()
        .filter_map(|seen| seen.payload.as_u64())
        .collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}
