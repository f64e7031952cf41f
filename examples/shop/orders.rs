//! What the shop does. All of it runs on any node.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Bool, Integer, Text};
use diesel::{Connection, PgConnection, QueryResult, QueryableByName, RunQueryDsl, sql_query};
use matssocket::{
    Forward, HandlerError, Incoming, MatsSocketServer, Outcome, Postgres, ServerBuilder, token_auth,
};
use serde::{Deserialize, Serialize};

use crate::login;

const TABLES: &str = "
    SET client_min_messages TO warning;
    CREATE SCHEMA IF NOT EXISTS shop_example;
    CREATE TABLE IF NOT EXISTS shop_example.item (
        name TEXT PRIMARY KEY, cents INTEGER NOT NULL, pieces INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS shop_example.placed (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        customer TEXT NOT NULL,
        item TEXT NOT NULL,
        cents INTEGER NOT NULL,
        paid BOOLEAN NOT NULL DEFAULT false
    );
    INSERT INTO shop_example.item VALUES ('apples', 250, 1000000), ('pears', 300, 1000000) ON CONFLICT DO NOTHING;
";

/// A node of the shop, which has not started.
pub fn shop(database: &str) -> ServerBuilder {
    MatsSocketServer::builder("shop")
        .store(
            Postgres::at(database)
                .schema("shop_example_messages")
                .into(),
        )
        .authentication(token_auth(login::read))
        .transactional("Shop.prices", prices)
        .transactional("Shop.order", place)
        .service("Bank.charge", charge)
        .transactional_service("Shop.paid", paid)
        .transactional("Admin.orders", all)
        .transactional("Admin.price", set_price)
}

/// The topic of prices.
pub const PRICES: &str = "prices";

#[derive(Clone, Debug, Deserialize, Serialize, QueryableByName)]
pub struct Price {
    #[diesel(sql_type = Text)]
    pub item: String,
    #[diesel(sql_type = Integer)]
    pub cents: i32,
}

#[derive(Clone, Debug, Deserialize, Serialize, QueryableByName)]
pub struct Order {
    #[diesel(sql_type = BigInt)]
    pub number: i64,
    #[diesel(sql_type = Text)]
    pub customer: String,
    #[diesel(sql_type = Text)]
    pub item: String,
    #[diesel(sql_type = Integer)]
    pub cents: i32,
    #[diesel(sql_type = Bool)]
    pub paid: bool,
}

/// Creates what is missing. Nodes that start at the same time wait for each other.
pub fn create_tables(database: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut connection = PgConnection::establish(database)?;
    connection.transaction(|connection| {
        connection.batch_execute("SELECT pg_advisory_xact_lock(7)")?;
        connection.batch_execute(TABLES)
    })?;
    Ok(())
}

/// All prices; their changes come by the topic.
fn prices(
    database: &mut PgConnection,
    _: Incoming<()>,
) -> Result<Outcome<Vec<Price>>, HandlerError> {
    let query = sql_query("SELECT name AS item, cents FROM shop_example.item ORDER BY name");
    Ok(Outcome::resolve(query.load(database)?))
}

/// The order, the stock, the beginning of the charge and the answer are one transaction: all of it happens, and once, however
/// often the message is sent.
fn place(
    database: &mut PgConnection,
    order: Incoming<String>,
) -> Result<Outcome<i64>, HandlerError> {
    let item = &order.payload;
    let taken = "UPDATE shop_example.item SET pieces = pieces - 1 WHERE name = $1 AND pieces > 0";
    if sql_query(taken).bind::<Text, _>(item).execute(database)? == 0 {
        return Ok(Outcome::reject(format!("there are no {item} left")));
    }
    let insert = "
        INSERT INTO shop_example.placed (customer, item, cents)
        SELECT $1, name, cents FROM shop_example.item WHERE name = $2
        RETURNING number, customer, item, cents, paid";
    let placed: Order = sql_query(insert)
        .bind::<Text, _>(order.context.user_id())
        .bind::<Text, _>(item)
        .get_result(database)?;
    order.context.start(Forward::to("Bank.charge", &placed))?;
    Ok(Outcome::resolve(placed.number))
}

/// Charges a third party's slow machine. If this node dies meanwhile, another one tries again: give your bank a key by which
/// it recognises that, such as the number of the order.
async fn charge(order: Incoming<Order>) -> Result<Outcome<()>, HandlerError> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The bank has answered: the rest is a transaction again.
    order
        .context
        .start(Forward::to("Shop.paid", &order.payload))?;
    Ok(Outcome::done())
}

/// Tells all devices of the customer, connected or not.
fn paid(database: &mut PgConnection, order: Incoming<Order>) -> Result<Outcome<()>, HandlerError> {
    let Order {
        number, customer, ..
    } = &order.payload;
    sql_query("UPDATE shop_example.placed SET paid = true WHERE number = $1")
        .bind::<BigInt, _>(number)
        .execute(database)?;
    order
        .context
        .send_to_user(customer, order.context.trace_id(), "Shop.paid", number)?;
    Ok(Outcome::done())
}

/// The last orders, for the administrator.
fn all(
    database: &mut PgConnection,
    ask: Incoming<()>,
) -> Result<Outcome<Vec<Order>>, HandlerError> {
    if ask.context.user_id() != "admin" {
        return Ok(Outcome::deny_with("for the administrator only"));
    }
    let query = "SELECT number, customer, item, cents, paid FROM shop_example.placed ORDER BY number DESC LIMIT 100";
    let orders: QueryResult<Vec<Order>> = sql_query(query).load(database);
    Ok(Outcome::resolve(orders?))
}

/// Everybody who looks at the prices sees the new one.
fn set_price(
    database: &mut PgConnection,
    price: Incoming<Price>,
) -> Result<Outcome<()>, HandlerError> {
    if price.context.user_id() != "admin" {
        return Ok(Outcome::deny_with("for the administrator only"));
    }
    let Price { item, cents } = &price.payload;
    let changed = sql_query("UPDATE shop_example.item SET cents = $1 WHERE name = $2")
        .bind::<Integer, _>(cents)
        .bind::<Text, _>(item)
        .execute(database)?;
    if changed == 0 {
        return Ok(Outcome::reject(format!("there is no item {item:?}")));
    }
    price
        .context
        .publish(PRICES, price.context.trace_id(), &price.payload)?;
    Ok(Outcome::resolve(()))
}
