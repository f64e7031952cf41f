//! A standby takes over.

use super::*;
use matssocket_testing::postgres::Server;
use matssocket_testing::proxy::Proxy;

/// What a client was promised by the primary comes from the standby: the commits waited for it.
#[actix_web::test]
async fn of_several_hosts_the_promoted_one_is_found() {
    let primary = Server::new(false);
    let standby = primary.standby(true);
    let hosts = format!("{},{}", primary.address(), standby.address());
    let nodes = on(Postgres::at(format!(
        "postgres://postgres@{hosts}/postgres"
    )))
    .start(1)
    .await;
    let line = nodes.open("anna").await;
    let session = line.session().to_owned();
    let client = line.cut();
    nodes.until_let_go(&session).await;
    let sent = nodes
        .server()
        .send(&session, "before", "client.x", &1)
        .await;
    sent.expect("stored, on the standby, too");
    primary.crash();
    until_ready(nodes.server(), false).await;
    standby.promote();
    let begun = Instant::now();
    let took = until_served(&nodes[0].url, "berta").await;
    until_ready(nodes.server(), true).await;
    println!(
        "served {took:.1?}, ready {:.1?} after the standby was promoted",
        begun.elapsed()
    );
    let mut line = nodes.back(0, client).await;
    assert_eq!(line.expect("SEND").await["tid"], "before");
    nodes.server().stop().await;
}

/// A virtual address moves to the standby before that is promoted: what it leads to can be read, and not written to.
#[actix_web::test]
async fn a_connection_that_finds_itself_read_only_is_given_up() {
    let primary = Server::new(false);
    let standby = primary.standby(true);
    let proxy = Proxy::to(primary.address());
    let nodes = on(Postgres::at(proxy.url(&primary.url()))).start(1).await;
    until_served(&nodes[0].url, "anna").await;
    proxy.lead_to(standby.address());
    let why = until_ready(nodes.server(), false).await;
    println!("ready says: {why}");
    primary.crash();
    standby.promote();
    let begun = Instant::now();
    let took = until_served(&nodes[0].url, "anna").await;
    until_ready(nodes.server(), true).await;
    println!(
        "served {took:.1?}, ready {:.1?} after the standby was promoted",
        begun.elapsed()
    );
    nodes.server().stop().await;
}

/// The standby lacks the last commits. What the client knows already is not given to something else: it would take that
/// for what it knows, and drop it.
#[actix_web::test]
async fn after_a_standby_that_lacks_commits_no_message_has_an_id_that_its_client_knows() {
    let primary = Server::new(false);
    let standby = primary.standby(false);
    let hosts = format!("{},{}", primary.address(), standby.address());
    let nodes = on(Postgres::at(format!(
        "postgres://postgres@{hosts}/postgres"
    )))
    .start(1)
    .await;
    let mut line = nodes.open("anna").await;
    let session = line.session().to_owned();
    within("the standby to have the session", async {
        while !has_session(&standby, &session) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    standby.stop();
    let mut known = Vec::new();
    for number in 0..3 {
        let sent = nodes.server().send(&session, "t", "client.x", &number);
        sent.await.expect("stored");
        let message = line.expect("SEND").await;
        line.ack(&message).await;
        known.push(message["smid"].clone());
    }
    primary.crash();
    standby.start();
    standby.promote();
    let begun = Instant::now();
    let took = until_served(&nodes[0].url, "berta").await;
    until_ready(nodes.server(), true).await;
    println!(
        "served {took:.1?}, ready {:.1?} after a standby that lacked commits was promoted",
        begun.elapsed()
    );
    // It may have been sent away, or not.
    let mut line = nodes.back(0, line.cut()).await;
    let sent = nodes.server().send(&session, "after", "client.x", &1).await;
    sent.expect("the session was there before the last commits");
    let message = line
        .expect_where("what was sent after it", |it| it["tid"] == "after")
        .await;
    assert!(!known.contains(&message["smid"]), "{message} of {known:?}");
    nodes.server().stop().await;
}

fn has_session(server: &Server, session: &str) -> bool {
    use diesel::prelude::*;
    let Ok(mut conn) = diesel::PgConnection::establish(&server.url()) else {
        return false;
    };
    let ask = format!("SELECT count(*) FROM matssocket.session WHERE sid = '{session}'");
    let count = diesel::dsl::sql::<diesel::sql_types::BigInt>(&ask).get_result::<i64>(&mut conn);
    count == Ok(1)
}
