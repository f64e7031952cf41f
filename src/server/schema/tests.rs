//! What a document says, and which descriptions are refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::auth::{Principal, Verdict, auth_fn};
use crate::endpoint::{Incoming, Outcome};
use crate::store::Store;

#[derive(Deserialize, Serialize, JsonSchema)]
struct Order {
    item: Item,
    #[serde(default)]
    urgent: bool,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Item {
    name: String,
}

fn shop() -> ServerBuilder {
    MatsSocketServer::builder("shop")
        .store(Store::sqlite_in_memory())
        .authentication(auth_fn(async |user| {
            Ok(Verdict::Authenticated(Principal::user(user)))
        }))
        .endpoint("Orders.place", async |_: Incoming<Order>| {
            Ok(Outcome::resolve(1_u32))
        })
        .terminator("Orders.seen", async |_: Incoming<u32>| Ok(Outcome::done()))
}

fn document(builder: &ServerBuilder) -> Value {
    let document = builder.schema().expect("no mistakes");
    serde_json::to_value(document).expect("it is JSON")
}

/// What is wrong, which `schema` and `start` both say.
async fn mistakes(builder: ServerBuilder) -> String {
    let mistakes = builder.schema().expect_err("refused").to_string();
    let at_start = builder.start().await.expect_err("refused").to_string();
    assert_eq!(at_start, mistakes);
    mistakes
}

#[actix_web::test]
async fn what_is_not_described_may_be_anything() {
    let builder = shop();
    let all = document(&builder);
    let channel = &all["channels"]["endpoint.Orders.place"];
    assert_eq!(channel["address"], "Orders.place");
    assert_eq!(
        channel["messages"]["resolve"],
        json!({ "payload": {}, "x-matssocket-type": "RESOLVE" })
    );
    let seen = &all["channels"]["terminator.Orders.seen"];
    assert_eq!(seen["messages"]["payload"]["x-matssocket-type"], "SEND");
    let server = builder.start().await.expect("started");
    assert_eq!(serde_json::to_value(server.schema()).expect("JSON"), all);
    server.stop().await;
}

#[test]
fn a_type_that_is_read_otherwise_than_written_has_two_schemas() {
    let all = document(
        &shop()
            .describe(Description::endpoint::<Order, u32>("Orders.place"))
            .describe(Description::topic::<Order>("orders/{user}/{number}"))
            .describe(Description::client_terminator::<Item>("Shop.item")),
    );
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let payload = |channel: &str| &all["channels"][channel]["messages"]["payload"]["payload"];
    assert_eq!(*payload("endpoint.Orders.place"), reference("Order"));
    let topic = "topic.orders__user___number_";
    assert_eq!(*payload(topic), reference("OrderFromServer"));
    assert_eq!(
        all["channels"][topic]["parameters"],
        json!({ "user": {}, "number": {} })
    );
    // One that is the same both ways has one.
    assert_eq!(*payload("client-terminator.Shop.item"), reference("Item"));
    let schemas = all["components"]["schemas"].as_object().expect("schemas");
    let names: Vec<&String> = schemas.keys().collect();
    assert_eq!(names, ["Item", "Order", "OrderFromServer"]);
    assert_eq!(schemas["Order"]["required"], json!(["item"]));
    let written = &schemas["OrderFromServer"];
    assert_eq!(written["required"], json!(["item", "urgent"]));
    assert_eq!(written["properties"]["item"], reference("Item"));
    assert!(!all.to_string().contains("#/written/"), "{all:#}");
}

#[actix_web::test]
async fn a_description_that_would_lie_is_refused() {
    let endpoint = Description::endpoint::<Order, u32>;
    for (description, said) in [
        (
            endpoint("Orders.plase"),
            "\"Orders.plase\" is described, but has no handler",
        ),
        (
            endpoint("Orders.seen"),
            "\"Orders.seen\" is described, but its handler is that of a terminator",
        ),
        (
            Description::terminator::<Order>("Orders.place"),
            "its handler is that of an endpoint",
        ),
        (
            Description::endpoint::<Item, u32>("Orders.place"),
            "takes matssocket::server::schema::tests::Order, but",
        ),
        (
            Description::endpoint::<Order, u64>("Orders.place"),
            "resolves with u32, but is described with u64",
        ),
        (
            Description::terminator::<u64>("Orders.seen"),
            "takes u32, but is described with u64",
        ),
        (
            Description::terminator::<u32>("Orders.seen").rejects::<u32>(),
            "never rejects",
        ),
        (Description::topic::<u32>("prices/{}"), "\"prices/{}\""),
        (Description::topic::<u32>(""), "is empty"),
    ] {
        let mistakes = mistakes(shop().describe(description)).await;
        assert!(mistakes.contains(said), "{mistakes}");
    }
    let twice = shop()
        .describe(endpoint("Orders.place"))
        .describe(endpoint("Orders.place"));
    assert!(mistakes(twice).await.contains("described twice"));
}

#[actix_web::test]
async fn a_name_that_no_document_can_have_is_refused_with_the_remedy() {
    #[derive(Serialize, JsonSchema)]
    #[schemars(rename = "a price")]
    struct Price(Item);
    #[derive(Serialize, JsonSchema)]
    struct Prices {
        all: Vec<Price>,
    }
    let builder = shop().describe(Description::topic::<Prices>("prices"));
    let mistakes = mistakes(builder).await;
    assert!(mistakes.contains("called \"a price\""), "{mistakes}");
    assert!(mistakes.contains("#[schemars(rename"), "{mistakes}");
}
