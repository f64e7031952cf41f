//! A server with something to look at, for tests of its dashboard in a browser: sessions, topics, services, dead letters,
//! and foreign text that would do harm if it became markup. Operators log in with the password `tests`; guests, who may only
//! look, go to `/guests/`.
//!
//! ```sh
//! cargo run --features dashboard --example watched                  # then open the printed URL
//! cargo run --features dashboard --example watched -- --traffic     # with something going on
//! ```

use std::error::Error;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpServer};
use matssocket::testkit::{TestClient, any_user};
use matssocket::{
    AdminAccess, Cluster, Config, Forward, HandlerError, Incoming, MatsSocketServer, Outcome,
    ServerBuilder, Store,
};
use serde_json::{Value, json};

/// Would say so if it became markup.
const HOSTILE: &str = "<img src=x onerror=\"document.title='harmed'\">\u{202e}gnp";

/// Sessions beside those of which the tests know.
const OTHERS: usize = 120;

/// Dead letters; each is of a failed mail.
const DEAD: usize = 60;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let has_traffic = std::env::args().any(|argument| argument == "--traffic");
    let (store, cluster) = (Store::sqlite_in_memory(), Cluster::local());
    let node = |name: &str| builder(name, &store, &cluster);
    let server = node("north").service("Mail", mail).start().await?;
    let _other = node("south").service("Billing", bill).start().await?;

    let clients = fill(&server).await?;
    let dashboard = server.dashboard("/admin", async |request: &HttpRequest| {
        AdminAccess::by_token(request, "tests")
    });
    let guests = server.dashboard("/guests", async |_: &HttpRequest| {
        AdminAccess::allow("guest").read_only()
    });
    let app = move || {
        App::new()
            .configure(dashboard.clone())
            .configure(guests.clone())
    };
    let http = HttpServer::new(app).workers(1).bind(("127.0.0.1", 0))?;
    println!("ready http://{}/admin/", http.addrs()[0]);
    if has_traffic {
        actix_web::rt::spawn(traffic(server.clone(), clients));
        Ok(server.run(http).await?)
    } else {
        let served = server.run(http).await;
        drop(clients);
        Ok(served?)
    }
}

fn builder(name: &str, store: &Store, cluster: &Cluster) -> ServerBuilder {
    let mut config = Config::default();
    config.service_attempts = 1;
    config.max_sessions_per_user = 1_000;
    MatsSocketServer::builder("shop")
        .node_name(name)
        .store(store.clone())
        .cluster(cluster.clone())
        .authentication(any_user())
        .config(config)
        .endpoint("Shop.price", async |article: Incoming<u64>| {
            Ok(Outcome::resolve(article.payload * 3))
        })
        .terminator("Shop.mail", async |mail: Incoming<Value>| {
            Ok(Outcome::forward(Forward::to("Mail", &mail.payload)))
        })
        .terminator("Shop.pack", async |order: Incoming<Value>| {
            Ok(Outcome::forward(Forward::to("Packing", &order.payload)))
        })
}

async fn mail(mail: Incoming<Value>) -> Result<Outcome<()>, HandlerError> {
    match mail.payload["address"].as_str() {
        Some(_) => Ok(Outcome::done()),
        None => Err(HandlerError::internal("the mail has no address")),
    }
}

async fn bill(_: Incoming<Value>) -> Result<Outcome<()>, HandlerError> {
    Ok(Outcome::done())
}

async fn fill(server: &MatsSocketServer) -> Result<Vec<TestClient>, Box<dyn Error>> {
    let mut clients = Vec::new();
    for number in 0..OTHERS {
        let user = format!("user{:03}", number / 2);
        let app = if number % 3 == 0 { "Till" } else { "Shop" };
        clients.push(connect(server, &user, app).await?);
    }
    let hostile = connect(server, HOSTILE, "Shop").await?;
    hostile.subscribe("<b>news</b>").await?;
    let anna = connect(server, "anna", "Shop").await?;
    for (number, client) in clients.iter().enumerate() {
        if number % 2 == 0 {
            client.subscribe("prices").await?;
        }
    }
    anna.subscribe("prices").await?;
    anna.subscribe("orders/anna").await?;
    let _: matssocket::testkit::Reply<u64> = anna.request("Shop.price", &14).await?;
    anna.send("Shop.pack", &json!({ "order": 17 })).await?;
    for number in 0..5 {
        let payload = json!({ "article": number, "text": HOSTILE });
        server
            .publish("prices", "prices of the day", &payload)
            .await?;
    }
    let markup = "</pre><script>document.title='harmed'</script>";
    for number in 0..DEAD {
        anna.send("Shop.mail", &json!({ "number": number, "text": markup }))
            .await?;
    }
    while server.dead_letters(0, 1_000).await?.len() < DEAD {
        tokio::task::yield_now().await;
    }
    clients.extend([hostile, anna]);
    Ok(clients)
}

async fn connect(
    server: &MatsSocketServer,
    user: &str,
    app: &str,
) -> Result<TestClient, matssocket::testkit::Error> {
    let client = TestClient::builder(server)
        .app(app, "1.4")
        .authorization(user);
    client.connect().await
}

/// Goes on until the process ends.
async fn traffic(server: MatsSocketServer, clients: Vec<TestClient>) {
    let mut turn = 0_u64;
    loop {
        let load = 3 + turn / 5 % 6;
        for client in clients
            .iter()
            .cycle()
            .skip(turn as usize % 90)
            .take(load as usize)
        {
            let asked = client.request::<u64>("Shop.price", &turn).await;
            if let Err(error) = asked {
                log::info!("a request failed: {error}");
            }
        }
        if let Err(error) = server.publish("prices", "a new price", &turn).await {
            log::info!("a price was not published: {error}");
        }
        turn += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
