//! Orders that are placed exactly once: the order and the stock change in the same PostgreSQL transaction as the message.
//!
//! ```sh
//! cargo run --features postgres --example orders -- postgres://user:password@localhost/shop
//! ```
//!
//! Two nodes run in this process. Three customers order three apples at a time until none are left, and half-way one of
//! the nodes is stopped. You see something like
//!
//! ```text
//! anna: order 1
//! bert: order 2
//! …
//! node 1 is stopped
//! carl: order 9
//! …
//! anna: there are only 2 apples left
//! bert: there are only 2 apples left
//! carl: there are only 2 apples left
//! 16 orders were confirmed, 16 are in the table, 16 were announced, 2 of 50 apples are left
//! ```
//!
//! and the numbers always agree. The tables are in the schema `orders_example`, which is created anew at each start, and
//! those of matssocket in `orders_example_messages`.

use std::error::Error;

use actix_web::{App, HttpServer, rt};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use futures_util::future::try_join_all;
use matssocket::{
    HandlerError, Incoming, MatsSocketServer, Outcome, Postgres, Principal, Verdict, auth_fn,
};
use matssocket_client::{Client, Message};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const TABLES: &str = "
    DROP SCHEMA IF EXISTS orders_example CASCADE;
    CREATE SCHEMA orders_example;
    CREATE TABLE orders_example.stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL);
    CREATE TABLE orders_example.placed (
        number BIGINT GENERATED ALWAYS AS IDENTITY,
        customer TEXT NOT NULL,
        item TEXT NOT NULL,
        pieces INTEGER NOT NULL
    );
    INSERT INTO orders_example.stock VALUES ('apples', 50);
";

#[derive(Deserialize, Serialize)]
struct Order {
    item: String,
    pieces: i32,
}

/// A query's only column.
#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("usage: orders postgres://…")?;
    let mut database = PgConnection::establish(&url)?;
    database.batch_execute("SET client_min_messages TO warning")?;
    database.batch_execute(TABLES)?;

    let (first, first_url) = start_node(&url, "node-1").await?;
    let (second, second_url) = start_node(&url, "node-2").await?;
    let urls = [first_url, second_url];

    let (confirm, mut confirmations) = unbounded_channel();
    let customers = ["anna", "bert", "carl"].map(|name| shop(name, &urls, confirm.clone()));
    let stopping = async {
        for _ in 0..8 {
            confirmations.recv().await;
        }
        first.stop().await;
        println!("node 1 is stopped");
    };
    let (tallies, ()) = tokio::join!(try_join_all(customers), stopping);
    let (mut confirmed, mut announced) = (0, 0);
    for tally in tallies? {
        confirmed += tally.confirmed;
        announced += tally.announced;
    }

    let placed = number(
        &mut database,
        "SELECT count(*) AS number FROM orders_example.placed",
    )?;
    let left = "SELECT pieces::bigint AS number FROM orders_example.stock";
    let left = number(&mut database, left)?;
    println!(
        "{confirmed} orders were confirmed, {placed} are in the table, {announced} were announced, \
         {left} of 50 apples are left"
    );
    second.stop().await;
    Ok(())
}

fn number(database: &mut PgConnection, query: &str) -> diesel::QueryResult<i64> {
    let number: Number = sql_query(query).get_result(database)?;
    Ok(number.number)
}

/// A node on a free port, and its URL.
async fn start_node(
    database: &str,
    name: &str,
) -> Result<(MatsSocketServer, String), Box<dyn Error>> {
    let server = MatsSocketServer::builder("orders")
        .store(
            Postgres::at(database)
                .schema("orders_example_messages")
                .into(),
        )
        .node_name(name)
        .authentication(auth_fn(async |customer: String| {
            Ok(Verdict::Authenticated(Principal::user(customer)))
        }))
        .transactional("Orders.place", place)
        .start()
        .await?;
    let mounted = server.clone();
    let http = HttpServer::new(move || App::new().configure(mounted.mount("/matssocket")))
        .on_connect(matssocket::on_connect)
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))?;
    let url = format!("ws://{}/matssocket", http.addrs()[0]);
    rt::spawn(http.run());
    Ok((server, url))
}

/// Runs inside the transaction that also stores the id of the client's message and the answer. All of it is committed, or
/// nothing; and a message that comes again is answered without running this again.
fn place(
    database: &mut PgConnection,
    order: Incoming<Order>,
) -> Result<Outcome<i64>, HandlerError> {
    let Order { item, pieces } = &order.payload;
    if *pieces < 1 {
        return Ok(Outcome::deny_with("order at least one piece"));
    }
    let taken = sql_query(
        "UPDATE orders_example.stock SET pieces = pieces - $1 WHERE item = $2 AND pieces >= $1",
    )
    .bind::<Integer, _>(pieces)
    .bind::<Text, _>(item)
    .execute(database)?;
    if taken == 0 {
        let left: Option<Number> =
            sql_query("SELECT pieces::bigint AS number FROM orders_example.stock WHERE item = $1")
                .bind::<Text, _>(item)
                .load(database)?
                .pop();
        let left = left.map_or(0, |left| left.number);
        // A rejection rolls back whatever was written here.
        return Ok(Outcome::reject(format!(
            "there are only {left} {item} left"
        )));
    }
    let placed: Number = sql_query(
        "INSERT INTO orders_example.placed (customer, item, pieces) VALUES ($1, $2, $3) RETURNING number",
    )
    .bind::<Text, _>(order.context.user_id())
    .bind::<Text, _>(item)
    .bind::<Integer, _>(pieces)
    .get_result(database)?;
    // This message is part of the transaction, too.
    order.context.send(
        order.context.session_id(),
        order.context.trace_id(),
        "Orders.placed",
        &placed.number,
    )?;
    Ok(Outcome::resolve(placed.number))
}

/// What a customer has seen.
struct Tally {
    confirmed: usize,
    announced: usize,
}

/// A customer, who would be a program of its own: orders until the stock is too small, and tells of each order that is
/// confirmed.
async fn shop(
    name: &str,
    urls: &[String],
    confirm: UnboundedSender<()>,
) -> Result<Tally, Box<dyn Error>> {
    let client = Client::builder("Orders example", "1.0")
        .urls(urls)
        .authorization_value(name)
        .build()?;
    let (announce, mut announcements) = unbounded_channel();
    client.terminator("Orders.placed", move |number: Message<i64>| {
        let _ = announce.send(number.payload);
        std::future::ready(())
    });
    let order = Order {
        item: "apples".to_owned(),
        pieces: 3,
    };
    let mut confirmed = 0;
    loop {
        let trace = format!("{name}-{confirmed}");
        // If the node stops in the middle of this, the client reconnects to the other one and sends it again.
        let reply = client.request::<i64>(trace, "Orders.place", &order);
        match reply.await?.resolved() {
            Ok(number) => println!("{name}: order {number}"),
            Err(rejection) => {
                println!("{name}: {}", rejection.payload::<String>()?);
                break;
            }
        }
        confirmed += 1;
        let _ = confirm.send(());
    }
    // The announcements may be a moment behind the confirmations.
    let mut announced = 0;
    while announced < confirmed && announcements.recv().await.is_some() {
        announced += 1;
    }
    client.close("done").await;
    while announcements.try_recv().is_ok() {
        announced += 1;
    }
    Ok(Tally {
        confirmed,
        announced,
    })
}
