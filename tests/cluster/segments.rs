//! Young rows are in tables that take turns; what that promises is tested beside the code. Here: running nodes do so, until
//! one comes that does not know these tables.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use matssocket_testing::postgres::{Schema, url};
use matssocket_testing::*;

/// The database, as an operator sees it.
struct Tables(PgConnection);

impl Tables {
    fn of(schema: &Schema) -> Tables {
        let mut conn = PgConnection::establish(&url()).expect("the test's PostgreSQL");
        conn.batch_execute(&format!("SET search_path TO {}", schema.name()))
            .expect("set");
        Tables(conn)
    }

    fn number(&mut self, query: &str) -> i64 {
        let found = diesel::dsl::sql::<BigInt>(query).get_result(&mut self.0);
        found.expect(query)
    }

    fn current(&mut self) -> i64 {
        self.number("SELECT current::bigint FROM segments")
    }
}

#[actix_web::test]
async fn nodes_use_segments_until_one_comes_that_does_not_know_them() {
    let schema = Schema::new();
    let settings = schema.settings();
    settings.migrate().expect("migrated");
    let mut tables = Tables::of(&schema);
    let nodes = Setup::new().postgres(schema, settings).start(2).await;
    let mut line = nodes.open("anna").await;
    let send = async |what: i64| {
        let sent = nodes[1].server.send(line.session(), "t", "client.x", &what);
        sent.await.expect("sent");
    };
    send(1).await;
    within("the first segment to be used", async {
        while tables.current() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    send(2).await;
    assert_eq!(tables.number("SELECT count(*) FROM ONLY outbox_1"), 1);
    let join = "INSERT INTO node (name, lease_until) VALUES ('of the version before', 0)";
    tables.0.batch_execute(join).expect("it joins");
    assert_eq!(tables.current(), 0);
    send(3).await;
    let young = "SELECT count(*) - (SELECT count(*) FROM ONLY outbox) FROM outbox";
    assert_eq!(tables.number(young), 0, "all are where that node looks");
    for number in 1..=3 {
        let mail = line.expect("SEND").await;
        assert_eq!(mail["msg"], number);
        line.ack(&mail).await;
    }
    within("all to be acknowledged", async {
        while tables.number("SELECT count(*) FROM outbox") > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
