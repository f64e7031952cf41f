//! Lines that lead nowhere any more, and look well from this side.

use super::*;
use matssocket_testing::pooler::Pooler;
use matssocket_testing::postgres::{Schema, url};
use matssocket_testing::proxy::Proxy;

/// Keep-alives do not help: the proxy answers them.
#[actix_web::test]
async fn clients_are_served_again_within_seconds_of_lines_that_fell_silent() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&url()));
    let settings = Postgres::at(proxy.url(&url())).schema(schema.name());
    let nodes = on(settings).start(1).await;
    until_served(&nodes[0].url, "anna").await;
    for round in 0..2 {
        proxy.silence();
        let took = until_served(&nodes[0].url, "anna").await;
        println!("round {round}: served {took:.1?} after all lines fell silent");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
    until_ready(nodes.server(), true).await;
    nodes.server().stop().await;
}

#[actix_web::test]
async fn a_database_that_swallows_everything_is_said_and_served_again_after_it() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&url()));
    let settings =
        Postgres::at(format!("{}?connect_timeout=2", proxy.url(&url()))).schema(schema.name());
    let nodes = on(settings).start(1).await;
    let mut line = nodes.open("anna").await;
    proxy.silence_new(true);
    proxy.silence();
    let asked = Instant::now();
    let cmid = line.request("test.do", json!({})).await;
    // RETRY, or the line is closed by 1012.
    let told = async { while line.waiting("RETRY") == 0 && line.read().await.is_ok() {} };
    within("RETRY, or a close", told).await;
    println!(
        "a client that waits for {cmid} was told after {:.1?}",
        asked.elapsed()
    );
    println!("ready says: {}", until_ready(nodes.server(), false).await);
    proxy.silence_new(false);
    proxy.cut();
    let took = until_served(&nodes[0].url, "anna").await;
    until_ready(nodes.server(), true).await;
    println!("served {took:.1?} after the silence");
    nodes.server().stop().await;
}

#[actix_web::test]
async fn a_node_stops_within_its_limit_whatever_the_database_does() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&url()));
    let settings =
        Postgres::at(format!("{}?connect_timeout=2", proxy.url(&url()))).schema(schema.name());
    let nodes = on(settings).start(1).await;
    let _line = nodes.open("anna").await;
    proxy.silence_new(true);
    proxy.silence();
    let begun = Instant::now();
    within("the node to stop", nodes.server().stop()).await;
    println!("stopped after {:.1?}", begun.elapsed());
    drop(nodes);
    proxy.cut();
}

/// PAUSE: the pooler takes what is sent, and answers when it is told to go on.
#[actix_web::test]
async fn behind_a_pooler_that_pauses_a_node_says_so_and_goes_on() {
    let (schema, pooler) = (Schema::new(), Pooler::start());
    let settings = Postgres::at(pooler.url()).schema(schema.name());
    let nodes = on(settings.pooled()).start(1).await;
    until_served(&nodes[0].url, "anna").await;
    pooler.pause();
    println!("ready says: {}", until_ready(nodes.server(), false).await);
    pooler.resume();
    let took = until_served(&nodes[0].url, "anna").await;
    until_ready(nodes.server(), true).await;
    println!("served {took:.1?} after the pause");
    nodes.server().stop().await;
}

/// Without its LISTEN line a node goes on, and says so: news come by the sweep.
#[actix_web::test]
async fn a_node_that_hears_nobody_is_not_ready_and_lets_clients_in_all_the_same() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&url()));
    let settings = schema.settings().listen_url(proxy.url(&url()));
    let nodes = on(settings).start(1).await;
    until_ready(nodes.server(), true).await;
    proxy.refuse_new(true);
    proxy.cut();
    let why = until_ready(nodes.server(), false).await;
    assert!(why.contains("LISTEN"), "{why}");
    assert!(is_served(&nodes[0].url, "anna").await, "it serves");
    proxy.refuse_new(false);
    let begun = Instant::now();
    until_ready(nodes.server(), true).await;
    println!("ready {:.1?} after it could listen again", begun.elapsed());
    nodes.server().stop().await;
}

/// A start looks up whether the tables are there: that has an end, too.
#[actix_web::test]
async fn a_start_behind_a_database_that_swallows_everything_is_refused() {
    let (schema, proxy) = (Schema::new(), Proxy::before(&url()));
    let url = format!("{}?connect_timeout=2", proxy.url(&url()));
    proxy.silence_new(true);
    let settings = Postgres::at(url).schema(schema.name());
    let started = within("the start to end", on(settings).try_start()).await;
    let refused = started.expect_err("refused").to_string();
    assert!(refused.contains("timeout expired"), "{refused}");
}
