//! Work with a slow and unreliable third party, done durably.
//!
//! ```sh
//! cargo run --example carrier
//! ```
//!
//! A shop books parcels with a carrier whose system is slow and often fails. Each booking is a request that is forwarded to a
//! service. It is stored before the client gets its acknowledgement, it is tried again until the carrier takes it, and the
//! answer finds its way to the client whenever there is one. You see
//!
//! ```text
//! letter: the carrier does not answer (attempt 1)
//! letter: the carrier does not answer (attempt 2)
//! letter: booked as C-letter
//! piano: the carrier will call back
//! piano: booked as C-piano
//! anvil: the carrier does not answer (attempt 1)
//! …
//! anvil: given up after 3 attempts, please call us
//! pick-up: acknowledged; now the server stops, with the work undone
//! pick-up: a new server has done it
//! ```
//!
//! in some order: the parcels are booked side by side.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, rt};
use matssocket::{
    Forward, HandlerError, Incoming, MatsSocketServer, Outcome, Principal, ReplyToken,
    ServiceFailure, ServiceOptions, Store, Verdict, auth_fn,
};
use matssocket_client::{Client, Message};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("carrier.db");
    let carrier = Arc::new(Carrier::default());
    let shop = Shop::start(&file, carrier.clone(), 0).await?;
    let client = Client::builder("Carrier example", "1.0")
        .url(format!("ws://{}/matssocket", shop.address))
        .authorization_value("anna")
        .build()?;
    tokio::join!(
        book(&client, "letter"),
        book(&client, "piano"),
        book(&client, "anvil"),
    );
    survive_a_restart(&client, shop, &file, carrier).await?;
    client.close("done").await;
    Ok(())
}

async fn book(client: &Client, parcel: &str) {
    let reply = client.request::<String>(format!("book-{parcel}"), "Parcels.book", parcel);
    let told = match reply.await {
        Ok(reply) => reply
            .resolved()
            .or_else(|rejection| rejection.payload())
            .unwrap_or_else(|why| why.to_string()),
        Err(why) => why.to_string(),
    };
    println!("{parcel}: {told}");
}

/// A SEND that was acknowledged is work that will be done, whatever becomes of the node that has it.
async fn survive_a_restart(
    client: &Client,
    shop: Shop,
    file: &std::path::Path,
    carrier: Arc<Carrier>,
) -> Result<(), Box<dyn Error>> {
    let (done, mut is_done) = unbounded_channel();
    client.terminator("Shop.pickedUp", move |_: Message<String>| {
        let _ = done.send(());
        std::future::ready(())
    });
    carrier.is_away.store(true, Ordering::Relaxed);
    client
        .send("pick-up-1", "Parcels.pickUp", "the letter and the piano")
        .await?;
    println!("pick-up: acknowledged; now the server stops, with the work undone");
    let port = shop.address.port();
    shop.stop().await;

    carrier.is_away.store(false, Ordering::Relaxed);
    let shop = Shop::start(file, carrier, port).await?;
    is_done.recv().await;
    println!("pick-up: a new server has done it");
    shop.stop().await;
    Ok(())
}

/// The shop's server.
struct Shop {
    server: MatsSocketServer,
    http: ServerHandle,
    address: SocketAddr,
}

impl Shop {
    async fn start(
        file: &std::path::Path,
        carrier: Arc<Carrier>,
        port: u16,
    ) -> Result<Shop, Box<dyn Error>> {
        let (call_me_back, callbacks) = unbounded_channel();
        let picking_up = carrier.clone();
        // Three attempts in a second are for a demonstration. The defaults try for some minutes.
        let impatient = ServiceOptions::default()
            .attempts(3)
            .backoff(Duration::from_millis(200), Duration::from_millis(400))
            .on_failure(|failure: &ServiceFailure| {
                format!(
                    "given up after {} attempts, please call us",
                    failure.attempts
                )
            });
        let server = MatsSocketServer::builder("carrier")
            .store(Store::sqlite(file))
            .authentication(auth_fn(async |user: String| {
                Ok(Verdict::Authenticated(Principal::user(user)))
            }))
            // Handlers of endpoints should be quick: this one only stores the work.
            .endpoint("Parcels.book", async |parcel: Incoming<String>| {
                Ok(Outcome::<String>::forward(Forward::to(
                    "Booking",
                    &parcel.payload,
                )))
            })
            .service_with("Booking", impatient, move |parcel: Incoming<String>| {
                book_with(carrier.clone(), call_me_back.clone(), parcel)
            })
            .terminator("Parcels.pickUp", async |what: Incoming<String>| {
                Ok(Outcome::forward(Forward::to("Pick-up", &what.payload)))
            })
            .service("Pick-up", move |what: Incoming<String>| {
                pick_up(picking_up.clone(), what)
            })
            .start()
            .await?;
        rt::spawn(deliver_callbacks(server.clone(), callbacks));
        let mounted = server.clone();
        let http = HttpServer::new(move || App::new().configure(mounted.mount("/matssocket")))
            .on_connect(matssocket::on_connect)
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", port))?;
        let address = http.addrs()[0];
        let http = http.run();
        let handle = http.handle();
        rt::spawn(http);
        Ok(Shop {
            server,
            http: handle,
            address,
        })
    }

    async fn stop(self) {
        self.server.stop().await;
        self.http.stop(true).await;
    }
}

/// The service. An error makes another attempt later, on this node or another.
async fn book_with(
    carrier: Arc<Carrier>,
    call_me_back: UnboundedSender<(ReplyToken, String)>,
    parcel: Incoming<String>,
) -> Result<Outcome<String>, HandlerError> {
    if parcel.payload == "piano" {
        // The carrier takes heavy freight by a form that a human reads. It gets the token, and whoever has the answer
        // one day replies by it. If nobody does within a minute, the service is called again.
        let token = parcel
            .context
            .reply_token()
            .expect("services have one")
            .clone();
        println!("piano: the carrier will call back");
        let _ = call_me_back.send((token, parcel.payload.clone()));
        return Ok(Outcome::later(Duration::from_secs(60)));
    }
    let number = carrier.book(&parcel.payload).await?;
    Ok(Outcome::resolve(format!("booked as {number}")))
}

/// Stands for the route by which the carrier calls back. Any node of the cluster may take the call.
async fn deliver_callbacks(
    server: MatsSocketServer,
    mut callbacks: UnboundedReceiver<(ReplyToken, String)>,
) {
    while let Some((token, parcel)) = callbacks.recv().await {
        sleep(Duration::from_millis(500)).await;
        let answer = format!("booked as C-{parcel}");
        if let Err(why) = server.reply(&token, &answer).await {
            println!("the carrier's call came to nothing: {why}");
        }
    }
}

async fn pick_up(
    carrier: Arc<Carrier>,
    what: Incoming<String>,
) -> Result<Outcome<()>, HandlerError> {
    carrier.pick_up().await?;
    // Stored in the same transaction as the end of this work: it is sent once.
    what.context.send(
        what.context.session_id(),
        what.context.trace_id(),
        "Shop.pickedUp",
        &what.payload,
    )?;
    Ok(Outcome::done())
}

/// The third party: slow, and not always there.
#[derive(Default)]
struct Carrier {
    is_away: AtomicBool,
    letters: AtomicU32,
    anvils: AtomicU32,
}

#[derive(Debug, thiserror::Error)]
#[error("the carrier does not answer")]
struct NoAnswer;

impl Carrier {
    async fn book(&self, parcel: &str) -> Result<String, NoAnswer> {
        sleep(Duration::from_millis(100)).await;
        let (attempts, needed) = match parcel {
            "anvil" => (&self.anvils, u32::MAX),
            _ => (&self.letters, 3),
        };
        let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
        if attempt < needed {
            println!("{parcel}: the carrier does not answer (attempt {attempt})");
            return Err(NoAnswer);
        }
        Ok(format!("C-{parcel}"))
    }

    async fn pick_up(&self) -> Result<(), NoAnswer> {
        sleep(Duration::from_millis(100)).await;
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(NoAnswer),
            false => Ok(()),
        }
    }
}
