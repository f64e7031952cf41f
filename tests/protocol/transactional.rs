//! Transactional handlers: what is kept of what they write; and those that take far too long, of which whoever is beside
//! them notices as little as can be.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use matssocket::{Incoming, Outcome, ServerBuilder, Store};

use matssocket_testing::*;

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
        assert_eq!(metrics.maintenance["lease"].failures, 0);
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

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

/// Inserts a row, does what else the payload says, and ends as it says.
macro_rules! row_keeper {
    ($name:ident, $connection:ty) => {
        fn $name(builder: ServerBuilder) -> ServerBuilder {
            builder
                .transactional("tx.row", |db: &mut $connection, incoming: Incoming<Value>| {
                    let sql = |text: &str, db: &mut $connection| diesel::sql_query(text).execute(db);
                    let what = incoming.payload["what"].as_str().unwrap_or_default().to_owned();
                    sql(&format!("INSERT INTO tx_row VALUES ({})", incoming.payload["id"]), db)?;
                    let again = "INSERT INTO tx_row VALUES (0)";
                    match what.as_str() {
                        "resolve" | "reject" | "deny" | "fail" => {}
                        "catch and reject" | "catch and resolve" => {
                            sql(again, db).expect_err("it is there already");
                        }
                        "wrap and resolve" => {
                            db.transaction(|db| sql(again, db)).expect_err("it is there already");
                        }
                        "end and resolve" => {
                            sql("ROLLBACK", db)?;
                        }
                        "defer and resolve" => {
                            sql("INSERT INTO tx_child VALUES (99)", db)?;
                        }
                        other => panic!("{other}"),
                    }
                    incoming.context.send(incoming.context.session_id(), "t", "client.effect", &what)?;
                    match what.rsplit(' ').next() {
                        Some("reject") => Ok(Outcome::reject("rejected")),
                        Some("deny") => Ok(Outcome::deny()),
                        Some("fail") => Err(matssocket::HandlerError::internal("it failed")),
                        _ => Ok(Outcome::resolve("resolved")),
                    }
                })
                .transactional("tx.tables", |db: &mut $connection, _: Incoming<Value>| {
                    for table in ["tx_child", "tx_row"] {
                        diesel::sql_query(format!("DROP TABLE IF EXISTS {table}")).execute(db)?;
                    }
                    diesel::sql_query("CREATE TABLE tx_row (id INTEGER PRIMARY KEY)").execute(db)?;
                    diesel::sql_query(
                        "CREATE TABLE tx_child (parent INTEGER REFERENCES tx_row (id) DEFERRABLE INITIALLY DEFERRED)",
                    )
                    .execute(db)?;
                    diesel::sql_query("INSERT INTO tx_row VALUES (0)").execute(db)?;
                    Ok(Outcome::resolve("made"))
                })
                .transactional("tx.count", |db: &mut $connection, incoming: Incoming<Value>| {
                    let text = format!("SELECT count(*) AS count FROM tx_row WHERE id = {}", incoming.payload);
                    let count: Count = diesel::sql_query(text).get_result(db)?;
                    Ok(Outcome::resolve(count.count))
                })
        }
    };
}
row_keeper!(keeps_rows_on_sqlite, SqliteConnection);
#[cfg(feature = "postgres")]
row_keeper!(keeps_rows_on_postgres, PgConnection);

/// What a handler that does this is answered, and whether its row and its message are kept.
async fn expect_rows(nodes: &Nodes, table: &[(&str, &str, bool)]) {
    let mut line = nodes.open("anna").await;
    let made = line.request("tx.tables", json!(null)).await;
    line.expect_id("RESOLVE", &made).await;
    for (number, (what, answer, kept)) in table.iter().enumerate() {
        let id = number + 1;
        let cmid = line
            .request("tx.row", json!({"what": what, "id": id}))
            .await;
        let told = line.answer(&cmid).await;
        assert_eq!(told["t"], *answer, "{what}: {told}");
        let count = line.request("tx.count", json!(id)).await;
        let counted = line.expect_id("RESOLVE", &count).await;
        assert_eq!(counted["msg"], i64::from(*kept), "the row of {what:?}");
        match kept {
            true => assert_eq!(line.expect("SEND").await["msg"], *what),
            false => line.none("SEND").await,
        }
    }
}

/// A unique violation that the handler caught had the client try again until it gave up.
const ON_BOTH: [(&str, &str, bool); 7] = [
    ("resolve", "RESOLVE", true),
    ("reject", "REJECT", false),
    ("deny", "NACK", false),
    ("fail", "NACK", false),
    ("catch and reject", "REJECT", false),
    ("wrap and resolve", "RESOLVE", true),
    ("end and resolve", "NACK", false),
];

#[actix_web::test]
async fn what_is_kept_of_a_transactional_handler_on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let nodes = Setup::new()
        .store(Store::sqlite(dir.path().join("test.db")))
        .config(|config| config.reveal_errors = true)
        .extend(|builder, _, _| keeps_rows_on_sqlite(builder))
        .start(1)
        .await;
    let mut table = ON_BOTH.to_vec();
    // There, only the statement has failed.
    table.push(("catch and resolve", "RESOLVE", true));
    expect_rows(&nodes, &table).await;
}

#[cfg(feature = "postgres")]
#[actix_web::test]
async fn what_is_kept_of_a_transactional_handler_on_postgres() {
    let schema = postgres::Schema::new();
    let settings = schema.settings();
    let nodes = Setup::new()
        .postgres(schema, settings)
        .config(|config| config.reveal_errors = true)
        .extend(|builder, _, _| keeps_rows_on_postgres(builder))
        .start(1)
        .await;
    let mut table = ON_BOTH.to_vec();
    table.push(("catch and resolve", "NACK", false));
    table.push(("defer and resolve", "NACK", false));
    expect_rows(&nodes, &table).await;
}
