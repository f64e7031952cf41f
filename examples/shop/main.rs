//! A shop: logins that expire, orders that are placed once, a bank that takes its time, prices that change while one looks
//! at them, and a page for it all.
//!
//! ```sh
//! cargo run --features postgres,browser-client --example shop -- serve 8080 postgres://user:password@localhost/shop
//! cargo run --features postgres,browser-client --example shop -- serve 8081 postgres://user:password@localhost/shop
//! ```
//!
//! Open <http://localhost:8080/> and log in as anybody; any password does. As `admin`, you see all orders, and set prices.
//! Order something, and stop the node (Ctrl-C) before the bank has answered: the other node goes on with the charge, and
//! when the page is connected again, it is told. The same, by itself, with customers that are programs:
//!
//! ```sh
//! cargo run --features postgres,browser-client --example shop -- demonstrate postgres://user:password@localhost/shop
//! ```
//!
//! The tables are in the schema `shop_example`, those of matssocket in `shop_example_messages`.
//! `login.rs` has the tokens, `orders.rs` what the shop does, `demonstration.rs` the customers, `tests.rs` the tests of the
//! handlers: `cargo test --features postgres --test shop`.

mod demonstration;
mod login;
mod orders;

use std::error::Error;

use actix_web::{App, HttpResponse, HttpServer, web};

type Failure = Box<dyn Error + Send + Sync>;

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", port, database] => serve(port.parse()?, database).await,
        ["demonstrate", database] => demonstration::run(database).await,
        _ => Err("usage: shop serve PORT postgres://… | shop demonstrate postgres://…".into()),
    }
}

async fn serve(port: u16, database: &str) -> Result<(), Failure> {
    orders::create_tables(database)?;
    let server = orders::shop(database).start().await?;
    let mounted = server.clone();
    let http = HttpServer::new(move || {
        App::new()
            .route("/", web::get().to(page))
            .route("/login", web::post().to(login::log_in))
            // The WebSocket, and the browser client beside it.
            .configure(mounted.mount("/matssocket"))
    })
    .on_connect(matssocket::on_connect)
    .workers(1)
    .bind(("127.0.0.1", port))?;
    println!("ready on http://localhost:{port}/");
    Ok(server.run(http).await?)
}

async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(include_str!("page.html"))
}
