//! Spans for OpenTelemetry: a shop whose every order can be followed from the socket to the invoice.
//!
//! Start a collector that takes OTLP over HTTP, for example Jaeger, and then the shop:
//!
//! ```sh
//! docker run --rm -p 16686:16686 -p 4318:4318 jaegertracing/jaeger
//! cargo run -p opentelemetry-example
//! ```
//!
//! Send it requests, for example with the page of `cargo run` or the Rust client, to `ws://127.0.0.1:8080/matssocket`. Jaeger,
//! on <http://127.0.0.1:16686>, then shows spans of the service `shop`. Each has the attribute `trace_id`, which the client
//! chose: search for the tag `trace_id=…` to see all steps of one order, also those that ran later or on other nodes.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` names another collector, `RUST_LOG` what is shown (`info` by default).

use std::error::Error;

use actix_web::{App, HttpServer};
use matssocket::{
    Forward, Incoming, MatsSocketServer, Outcome, Principal, Store, Verdict, auth_fn,
};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;

/// Shows events as lines, and exports spans.
fn listen() -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpJson)
        .build()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name("shop").build())
        .build();
    // What the exporter itself says must not be exported again.
    let filter = EnvFilter::try_from_default_env().or_else(|_| {
        EnvFilter::try_new("info,matssocket=debug,opentelemetry=off,hyper=off,reqwest=off")
    })?;
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("matssocket")));
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(provider)
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "traced.db".to_owned());
    let port = arguments.next().map_or(Ok(8080), |port| port.parse())?;
    let server = MatsSocketServer::builder("shop")
        .store(Store::sqlite(file))
        // Accepts any name: replace this with a check of your own.
        .authentication(auth_fn(async |name: String| {
            Ok(Verdict::Authenticated(Principal::user(name)))
        }))
        .endpoint("Shop.order", async |order: Incoming<u64>| {
            // In the span of the message, and shown with it.
            tracing::info!(pieces = order.payload, "an order is placed");
            order
                .context
                .start(Forward::to("Shop.bill", &order.payload))?;
            Ok(Outcome::resolve("accepted"))
        })
        .service("Shop.bill", async |order: Incoming<u64>| {
            tracing::info!(pieces = order.payload, "an order is billed");
            Ok(Outcome::<()>::done())
        })
        .start()
        .await?;
    let mounted = server.clone();
    let http = HttpServer::new(move || App::new().configure(mounted.mount("/matssocket")))
        .on_connect(matssocket::on_connect)
        .bind(("127.0.0.1", port))?;
    println!("ws://127.0.0.1:{port}/matssocket");
    Ok(server.run(http).await?)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let provider = listen()?;
    serve().await?;
    // Sends what is left.
    provider.shutdown()?;
    Ok(())
}
