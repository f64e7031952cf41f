//! A server that describes itself, for tests of the types that are made of it. It prints its document; with `--changed`,
//! that of a server whose types are no longer those that a page was written for.

// The types are here for their schemas.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use matssocket::{Description, HandlerError, Incoming, MatsSocketServer, Outcome, ServerBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What somebody wants.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Order {
    /// As in the catalogue. Ends with */ sometimes.
    item: String,
    pieces: u32,
    gift_text: Option<String>,
    #[serde(default)]
    urgent: bool,
    ship_to: Address,
    paid: Payment,
    labels: HashMap<String, String>,
    sizes: [f64; 3],
    range: (u8, String),
    stock_by_shelf: BTreeMap<u32, u32>,
    anything: Value,
    #[serde(rename = "a b")]
    odd: Vec<Option<Kind>>,
}

/// Read and written: where it is written, no field is missing.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Address {
    street: String,
    town: Town,
}

#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
struct Town(String);

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
enum Payment {
    /// In the shop.
    Cash,
    Card {
        number: String,
    },
    Both(Box<Halves>),
}

#[derive(Deserialize, JsonSchema)]
struct Halves {
    first: Box<Payment>,
    second: Box<Payment>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
enum Kind {
    Small,
    Large,
    Other(String),
}

#[derive(Serialize, JsonSchema)]
struct Receipt {
    number: u64,
    ship_to: Address,
    kinds: Vec<Kind>,
}

#[derive(Serialize, JsonSchema)]
struct ChangedReceipt {
    number: String,
}

#[derive(Serialize, JsonSchema)]
enum Refusal {
    SoldOut,
    TooMany,
}

#[derive(Serialize, JsonSchema)]
struct Price {
    cents: u64,
    before: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Recursive {
    children: Vec<Recursive>,
}

async fn place(order: Incoming<Order>) -> Result<Outcome<Receipt>, HandlerError> {
    Ok(Outcome::resolve(Receipt {
        number: 1,
        ship_to: order.payload.ship_to.clone(),
        kinds: vec![],
    }))
}

fn shop(changed: bool) -> ServerBuilder {
    let builder = MatsSocketServer::builder("shop");
    let id = "Orders.place";
    let builder = match changed {
        false => builder
            .endpoint(id, place)
            .describe(Description::endpoint::<Order, Receipt>(id).rejects::<Refusal>()),
        true => builder
            .endpoint(id, async |_: Incoming<Order>| {
                Ok(Outcome::resolve(ChangedReceipt { number: "1".into() }))
            })
            .describe(Description::endpoint::<Order, ChangedReceipt>(id).rejects::<Refusal>()),
    };
    builder
        .endpoint("Orders.free", async |it: Incoming<Value>| {
            Ok(Outcome::resolve(it.payload.clone()))
        })
        .terminator(
            "Visits.end",
            async |_: Incoming<String>| Ok(Outcome::done()),
        )
        .terminator("Visits.begin", async |_: Incoming<()>| Ok(Outcome::done()))
        .describe(Description::terminator::<String>("Visits.end").text("Says good-bye."))
        .describe(Description::topic::<Price>("prices/{item}"))
        .describe(Description::topic::<Recursive>("tree"))
        .describe(Description::client_terminator::<String>("Shop.news"))
        .describe(Description::client_endpoint::<String, u32>("Shop.stock"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let changed = std::env::args().any(|it| it == "--changed");
    println!("{}", shop(changed).schema()?.version("1.2"));
    Ok(())
}
