//! Roles that may do too little, or whose settings are in the way.

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use matssocket::Postgres;

use super::*;
use matssocket_testing::postgres::{Schema, url};

/// A role of a test's own, which may make schemas: gone at its end, with all that is its own.
struct Role(String);

impl Role {
    fn new(settings: &str) -> Role {
        let role = Role(format!("role_{:016x}", rand::random::<u64>()));
        role.run(&format!(
            "CREATE ROLE $ LOGIN {settings}; GRANT CREATE ON DATABASE postgres TO $"
        ));
        role
    }

    /// Runs this as the superuser; `$` is the role.
    fn run(&self, sql: &str) {
        let mut conn = PgConnection::establish(&url()).expect("the test's PostgreSQL");
        // Two at a time would get in each other's way: rights are kept in one row of the database.
        let alone = "SELECT pg_advisory_xact_lock(hashtext('roles'))";
        let sql = format!("{alone}; {}", sql.replace('$', &self.0));
        conn.batch_execute(&sql).expect(&sql);
    }

    fn at(&self, schema: &Schema) -> Postgres {
        let whole = url();
        let (scheme, rest) = whole.split_once("://").expect("a URL");
        let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
        Postgres::at(format!("{scheme}://{}@{rest}", self.0)).schema(schema.name())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '$'; \
            DROP OWNED BY $ CASCADE; DROP ROLE $",
        );
    }
}

/// With four of them a node was ready, sent every client away, and had nothing to say.
#[actix_web::test]
async fn a_node_runs_on_the_connections_that_it_is_given() {
    for slots in [3, 4] {
        let (schema, role) = (
            Schema::new(),
            Role::new(&format!("CONNECTION LIMIT {slots}")),
        );
        let nodes = on(role.at(&schema)).start(1).await;
        until_ready(nodes.server(), true).await;
        let mut line = nodes.open("anna").await;
        for number in 0..20 {
            let sent = nodes
                .server()
                .send(line.session(), "t", "client.x", &number);
            sent.await.expect("sent");
            let cmid = line.request("test.do", json!({"do": "forward"})).await;
            line.expect_id("RESOLVE", &cmid).await;
            let pushed = line.expect("SEND").await;
            line.ack(&pushed).await;
        }
        nodes.server().stop().await;
    }
}

#[actix_web::test]
async fn too_few_connections_are_said_at_start_and_by_ready() {
    let (schema, role) = (Schema::new(), Role::new("CONNECTION LIMIT 0"));
    let refused = on(role.at(&schema)).try_start().await.expect_err("refused");
    assert!(
        refused.to_string().contains("too many connections"),
        "{refused}"
    );

    role.run("ALTER ROLE $ CONNECTION LIMIT 20");
    let nodes = on(role.at(&schema)).start(1).await;
    until_ready(nodes.server(), true).await;
    role.run("ALTER ROLE $ CONNECTION LIMIT 0");
    // Only now, when that is committed: they would come again before.
    role.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '$'");
    let why = until_ready(nodes.server(), false).await;
    assert!(why.contains("store") || why.contains("database"), "{why}");
    role.run("ALTER ROLE $ CONNECTION LIMIT 20");
    let begun = Instant::now();
    let took = until_served(&nodes[0].url, "anna").await;
    until_ready(nodes.server(), true).await;
    println!(
        "served {took:.1?}, ready {:.1?} after there were connections again",
        begun.elapsed()
    );
    nodes.server().stop().await;
}

#[actix_web::test]
async fn what_is_set_for_a_role_does_not_harm() {
    let (schema, role) = (Schema::new(), Role::new(""));
    role.run(
        "ALTER ROLE $ SET statement_timeout TO '1ms'; ALTER ROLE $ SET lock_timeout TO '1ms'; \
        ALTER ROLE $ SET idle_in_transaction_session_timeout TO '1ms'; ALTER ROLE $ SET search_path TO nowhere; \
        ALTER ROLE $ SET default_transaction_isolation TO serializable; \
        ALTER ROLE $ SET default_transaction_read_only TO on; ALTER ROLE $ SET synchronous_commit TO off; \
        ALTER ROLE $ SET default_transaction_deferrable TO on; ALTER ROLE $ SET lc_messages TO 'C'",
    );
    let nodes = on(role.at(&schema)).start(2).await;
    let mut line = nodes.open("anna").await;
    for number in 0..20 {
        let sent = nodes[1]
            .server
            .send(line.session(), "t", "client.x", &number);
        sent.await.expect("sent");
        let cmid = line.request("test.do", json!({"do": "forward"})).await;
        line.expect_id("RESOLVE", &cmid).await;
    }
    for node in [0, 1] {
        nodes[node].server.stop().await;
    }
}

#[actix_web::test]
async fn a_grant_that_is_missing_is_named_at_start() {
    let (schema, role) = (Schema::new(), Role::new(""));
    let owner = schema.settings();
    owner.migrate().expect("migrated");
    let name = schema.name();
    role.run(&format!(
        "GRANT USAGE ON SCHEMA {name} TO $; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO $; \
        REVOKE DELETE ON {name}.inbox FROM $"
    ));
    let refused = on(role.at(&schema)).try_start().await.expect_err("refused");
    let refused = refused.to_string();
    for said in [
        "DELETE on table inbox",
        "USAGE on sequence session_number",
        "GRANT ",
    ] {
        assert!(refused.contains(said), "{said}: {refused}");
    }
    role.run(&format!(
        "GRANT DELETE ON {name}.inbox TO $; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {name} TO $"
    ));
    let nodes = on(role.at(&schema)).start(1).await;
    until_served(&nodes[0].url, "anna").await;
    nodes.server().stop().await;
}

/// What the database forbids is not answered with RETRY for ever by a node that calls itself ready.
#[actix_web::test]
async fn a_right_that_is_taken_away_is_said_by_ready() {
    let (schema, role) = (Schema::new(), Role::new(""));
    let nodes = on(role.at(&schema)).start(1).await;
    let mut line = nodes.open("anna").await;
    until_ready(nodes.server(), true).await;
    let name = schema.name();
    let all = format!("INSERT ON ALL TABLES IN SCHEMA {name}");
    role.run(&format!("REVOKE {all} FROM $"));
    let cmid = line.request("test.do", json!({})).await;
    line.expect_id("RETRY", &cmid).await;
    let why = until_ready(nodes.server(), false).await;
    assert!(why.contains("refuses"), "{why}");
    role.run(&format!("GRANT {all} TO $"));
    let begun = Instant::now();
    let cmid = line.request("test.do", json!({})).await;
    line.expect_id("RESOLVE", &cmid).await;
    until_ready(nodes.server(), true).await;
    println!(
        "ready {:.1?} after the right was given back",
        begun.elapsed()
    );
    nodes.server().stop().await;
}
