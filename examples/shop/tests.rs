//! The shop's endpoints without a socket, on a real store.

// The page's route, which is not needed here.
#[allow(dead_code)]
mod login;
mod orders;

use std::time::Duration;

use matssocket::MatsSocketServer;
use matssocket::testkit::TestClient;

use self::orders::{Order, PRICES, Price, create_tables, shop};

async fn open() -> MatsSocketServer {
    let database =
        std::env::var("MATSSOCKET_TEST_POSTGRES").expect("the URL of a PostgreSQL for tests");
    create_tables(&database).expect("the database is there");
    shop(&database).start().await.expect("it starts")
}

async fn customer(server: &MatsSocketServer, name: &str) -> TestClient {
    let token = login::token(name, login::LIFETIME).expect("it is signed");
    TestClient::builder(server)
        .authorization(token)
        .connect()
        .await
        .expect("the token is accepted")
}

#[actix_web::test]
async fn an_order_is_charged_and_every_device_told() {
    let server = open().await;
    let (phone, laptop) = (
        customer(&server, "dora").await,
        customer(&server, "dora").await,
    );
    let reply = phone
        .request::<i64>("Shop.order", "pears")
        .await
        .expect("an answer");
    let number = reply.resolved().expect("there are pears");
    for device in [&phone, &laptop] {
        let told = device.next_message().await.expect("it comes");
        assert_eq!(
            (
                told.endpoint.as_str(),
                told.payload::<i64>().expect("a number")
            ),
            ("Shop.paid", number)
        );
    }
    let admin = customer(&server, "admin").await;
    let orders = admin
        .request::<Vec<Order>>("Admin.orders", &())
        .await
        .expect("an answer");
    let orders = orders.resolved().expect("it is the administrator");
    assert!(
        orders
            .iter()
            .any(|order| order.number == number && order.paid && order.customer == "dora")
    );
    server.stop().await;
}

#[actix_web::test]
async fn what_is_not_there_cannot_be_ordered() {
    let server = open().await;
    let dora = customer(&server, "dora").await;
    let reply = dora
        .request::<i64>("Shop.order", "anvils")
        .await
        .expect("an answer");
    assert!(reply.resolved().is_err());
    server.stop().await;
}

#[actix_web::test]
async fn prices_are_the_administrators() {
    let server = open().await;
    let (dora, admin) = (
        customer(&server, "dora").await,
        customer(&server, "admin").await,
    );
    dora.subscribe(PRICES).await.expect("it is allowed");
    let price = Price {
        item: "pears".into(),
        cents: 310,
    };
    assert!(
        dora.request::<()>("Admin.price", &price).await.is_err(),
        "it is denied"
    );
    admin
        .request::<()>("Admin.price", &price)
        .await
        .expect("an answer")
        .resolved()
        .expect("it is changed");
    let seen = dora.next_publication().await.expect("it comes");
    assert_eq!(seen.payload::<Price>().expect("a price").cents, 310);
    server.stop().await;
}

#[actix_web::test]
async fn a_token_that_has_expired_is_asked_for_again() {
    let server = open().await;
    let token = login::token("emil", Duration::from_secs(2)).expect("it is signed");
    let emil = TestClient::builder(&server)
        .authorization(token)
        .connect()
        .await
        .expect("it is valid");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asking = emil.request::<Vec<Price>>("Shop.prices", &());
    let renewing = async {
        emil.next_reauth().await.expect("it is asked for");
        let fresh = login::token("emil", login::LIFETIME).expect("it is signed");
        emil.authorization(fresh).expect("the connection is there");
    };
    let (prices, ()) = tokio::join!(asking, renewing);
    prices
        .expect("an answer")
        .resolved()
        .expect("there are prices");
    server.stop().await;
}
