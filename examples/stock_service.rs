//! A Rust service that is a client: a warehouse that reports to a shop, follows its prices, and answers its questions.
//!
//! ```sh
//! cargo run --example stock_service
//! ```
//!
//! The warehouse is everything in `warehouse()`, and the only part that such a program needs. For the demonstration a small
//! shop runs in the same process. Its tokens are valid for two seconds, so you see how the client gets new ones. It prints
//!
//! ```text
//! warehouse: a token is needed (First)
//! warehouse: connected
//! shop: the warehouse reports 10 apples
//! shop: 12 apples, says the warehouse
//! shop: the warehouse reports 12 apples
//! warehouse: apples cost 2
//! …
//! warehouse: a token is needed (Expired)
//! …
//! warehouse: everything is reported, goodbye
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{App, HttpRequest, HttpServer, rt};
use async_trait::async_trait;
use matssocket::{
    AuthError, Authentication, Authenticator, HandlerError, Incoming, MatsSocketServer, Outcome,
    Principal, Refused, ReplyTo, ResponseHeaders, Store, Verdict,
};
use matssocket_client::{Authorization, Client, ConnectionEvent, Message};
use tokio::time::{interval, sleep};

const TOKENS_LAST: Duration = Duration::from_secs(2);

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (shop, url) = start_shop().await?;
    let prices = rt::spawn(change_prices(shop.clone()));
    warehouse(&url).await?;
    prices.abort();
    shop.stop().await;
    Ok(())
}

// ---- the client -------------------------------------------------------------------------------------------------------

async fn warehouse(url: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::builder("Warehouse", "1.0")
        // One URL per node, in whatever order; there is only one here.
        .url(url)
        // Asked for the first token, before one expires, and when the server refuses one.
        .authorization(async |need| {
            println!("warehouse: a token is needed ({need:?})");
            let expires = SystemTime::now() + TOKENS_LAST;
            Ok(Authorization::expiring(fetch_token(expires), expires))
        })
        // A service should go on by itself if the server has lost its session.
        .reopen_session(true)
        .build()?;
    report_connection(&client);

    let apples = Arc::new(AtomicU32::new(10));
    // A terminator or endpoint takes what the server sends by itself. Register it before anything is awaited: a message
    // for which there is no handler is refused.
    let count = apples.clone();
    client.endpoint("Warehouse.count", move |item: Message<String>| {
        let count = count.load(Ordering::Relaxed);
        async move {
            match item.payload.as_str() {
                "apples" => Ok(count),
                other => Err(format!("there are no {other} here")),
            }
        }
    });
    client.subscribe("prices/apples", async |price: Message<f64>| {
        println!("warehouse: apples cost {}", price.payload);
    })?;

    let mut deliveries = interval(Duration::from_millis(500));
    for number in 0..6 {
        deliveries.tick().await;
        let apples = apples.fetch_add(2, Ordering::Relaxed);
        // Queued in order, and sent as soon as there is a connection. There is no need to wait for each one …
        drop(client.send(format!("stock-{number}"), "Stock.report", &apples));
    }
    // … as long as all of them are with the server before the program ends.
    client.flush().await?;
    println!("warehouse: everything is reported, goodbye");
    client.close("done").await;
    Ok(())
}

/// A real service would ask its identity provider.
fn fetch_token(expires: SystemTime) -> String {
    let expires = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("warehouse:{}", expires.as_millis())
}

fn report_connection(client: &Client) {
    let mut events = client.connection_events();
    rt::spawn(async move {
        while let Ok(event) = events.recv().await {
            match event {
                ConnectionEvent::SessionEstablished { .. } => println!("warehouse: connected"),
                ConnectionEvent::Lost { reason } => println!("warehouse: line lost: {reason}"),
                _ => {}
            }
        }
    });
}

// ---- the server, for the demonstration --------------------------------------------------------------------------------

async fn start_shop() -> Result<(MatsSocketServer, String), Box<dyn Error>> {
    let server = MatsSocketServer::builder("shop")
        .store(Store::sqlite_in_memory())
        .authentication(Tokens)
        .terminator("Stock.report", reported)
        .terminator("Stock.counted", async |answer: Incoming<u32>| {
            println!("shop: {} apples, says the warehouse", answer.payload);
            Ok(Outcome::done())
        })
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

/// Takes a report, and asks back now and then. The answer comes to another terminator, on whatever node.
async fn reported(apples: Incoming<u32>) -> Result<Outcome<()>, HandlerError> {
    println!("shop: the warehouse reports {} apples", apples.payload);
    if apples.payload % 4 == 2 {
        let reply_to = ReplyTo::terminator("Stock.counted");
        let (session, trace) = (apples.context.session_id(), apples.context.trace_id());
        apples
            .context
            .request(session, trace, "Warehouse.count", "apples", reply_to)?;
    }
    Ok(Outcome::done())
}

async fn change_prices(shop: MatsSocketServer) {
    let mut changes = interval(Duration::from_millis(700));
    for change in 1.. {
        changes.tick().await;
        let price = 1.5 + 0.25 * f64::from(change);
        if let Err(why) = shop.publish("prices/apples", "price", &price).await {
            println!("shop: the price was not published: {why}");
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Tokens of the form `user:expires`, the latter in milliseconds since 1970. A real one would be signed.
struct Tokens;

#[async_trait(?Send)]
impl Authentication for Tokens {
    async fn handshake(
        &self,
        _: &HttpRequest,
        _: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused> {
        Ok(Box::new(Tokens))
    }
}

#[async_trait(?Send)]
impl Authenticator for Tokens {
    async fn authenticate(&self, token: &str) -> Result<Verdict, AuthError> {
        Ok(match (token.split_once(':'), is_expired(token)) {
            (Some((user, _)), false) => Verdict::Authenticated(Principal::user(user)),
            _ => Verdict::Invalid("the token is not valid, or not any more".to_owned()),
        })
    }

    /// Asked before each round of messages. While the answer is "invalid", the client is asked for a new token, and its
    /// messages are held.
    async fn reevaluate(&self, token: &str, _: &Principal) -> Result<Verdict, AuthError> {
        Ok(match is_expired(token) {
            false => Verdict::StillValid,
            true => Verdict::Invalid("the token has expired".to_owned()),
        })
    }
}

fn is_expired(token: &str) -> bool {
    let expires = token.split_once(':').and_then(|(_, at)| at.parse().ok());
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    expires.is_none_or(|expires: u128| expires <= now.as_millis())
}
