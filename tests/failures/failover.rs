//! A standby takes over.

use super::*;
use crate::common::postgres::Server;
use crate::common::proxy::Proxy;

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
