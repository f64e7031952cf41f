//! `matssocket serve`: a server for trying things out, and an example to start from.

use std::io;
use std::path::Path;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use matssocket::{AdminAccess, MatsSocketServer};
use serde_json::json;

use super::masked::masked;
use super::options::{Asked, ServerOptions};
use super::remote::read_token;
use super::settings::Settings;
use crate::demo::{endpoints, hardened};
use crate::failure::Failure;
use crate::output;

/// Where the WebSocket is mounted.
const PATH: &str = "/matssocket";

/// Where the dashboard is mounted, if a token for it is given.
const ADMIN: &str = "/admin";

/// Fewer characters of a token can be guessed.
const SHORTEST_TOKEN: usize = 16;

const CLOSING: &str = "\
Each setting is also an entry of the configuration file (stop_grace = \"5s\") and a variable of the environment
(MATSSOCKET_STOP_GRACE=5s). The command line comes before the environment, and that before the file.

GET /health, /ready, /metrics (JSON) and /prometheus tell how the server is.";

/// Run one node, with a configuration file
///
/// The node is at ws://ADDRESS/matssocket, with the demo's endpoints (Demo.echo, Demo.slow, Demo.pushLater, Demo.say).
/// It is for trying things out: clients log in with the authorization value Demo:<name>, and any name is accepted. It
/// stops gracefully on SIGTERM and SIGINT.
#[derive(clap::Args)]
#[command(after_help = CLOSING)]
pub struct Serve {
    /// Print the effective settings, with passwords masked, and exit
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    options: ServerOptions,
}

impl Serve {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// Why it could not start, or why it ended.
    pub async fn run(self) -> Result<(), Failure> {
        let asked = self.options.load()?;
        if !self.print_config {
            return serve(asked).await;
        }
        match asked.json {
            true => output::print_json(&asked.loaded.to_json()),
            false => output::print(&asked.loaded.to_toml()),
        }
        Ok(())
    }
}

async fn serve(asked: Asked) -> Result<(), Failure> {
    let settings = asked.loaded.settings;
    // The port comes first, so that one in use is found before the database is touched.
    let cannot = |why: io::Error| {
        let text = format!(
            "cannot listen on {}: {why}; choose another by --listen ADDRESS:PORT",
            masked(&settings.listen)
        );
        match why.kind() {
            io::ErrorKind::InvalidInput => Failure::Usage(text),
            _ => Failure::Undone(text),
        }
    };
    let listener = matssocket::listen(&settings.listen).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;

    let token = settings
        .admin_token_file
        .as_deref()
        .map(admin_token)
        .transpose()?;
    let server = start(&settings, &format!("serve {address}")).await?;
    let (mounted, introspection) = (server.clone(), settings.introspection);
    let dashboard = token.map(|token| {
        server.dashboard(ADMIN, async move |request: &HttpRequest| {
            AdminAccess::by_token(request, &token)
        })
    });
    let is_administered = dashboard.is_some();
    let http = HttpServer::new(move || {
        App::new()
            .wrap(hardened())
            .configure(beside(mounted.clone(), introspection))
            .configure(mounted.mount(PATH))
            .configure(|config| {
                if let Some(dashboard) = dashboard.clone() {
                    dashboard(config);
                }
            })
    })
    .on_connect(matssocket::on_connect)
    .listen(listener)
    .map_err(cannot)?;
    let running = server.run(http);
    let (node, store) = (server.node_name(), settings.store.to_string());
    let store = output::tame(&store);
    let admin = match is_administered {
        true => format!("http://{address}{ADMIN}/"),
        false => "not served: --admin-token-file FILE serves a dashboard".to_owned(),
    };
    let text = match asked.json {
        // A single line, so that a waiting program knows that it is complete.
        true => output::tame_json(&json!({
            "url": format!("ws://{address}{PATH}"),
            "http": format!("http://{address}"),
            "node": node,
            "store": settings.store.to_string(),
            "admin": is_administered.then(|| format!("http://{address}{ADMIN}/")),
        }).to_string()),
        false => format!(
            "ready ws://{address}{PATH} node={node}

  store    {store}
  health   http://{address}/health
  ready    http://{address}/ready
  metrics  http://{address}/metrics (JSON), /prometheus
  admin    {admin}

Clients log in with the authorization value Demo:<name>; any name is accepted: this server is for trying things out."
        ),
    };
    output::print(&(text + "\n"));
    running
        .await
        .map_err(|why| Failure::Undone(format!("the HTTP server ended: {why}")))
}

/// The token of the operators.
fn admin_token(file: &Path) -> Result<String, Failure> {
    let token = read_token(file)?;
    match token.len() {
        SHORTEST_TOKEN.. => Ok(token),
        length => Err(Failure::Usage(format!(
            "the token in {} has {length} characters: give it {SHORTEST_TOKEN} or more, for example by \
             openssl rand -hex 32",
            masked(&file.display().to_string())
        ))),
    }
}

async fn start(settings: &Settings, name: &str) -> Result<MatsSocketServer, Failure> {
    let mut builder = MatsSocketServer::builder("matssocket serve")
        .store(settings.store()?)
        .authentication(endpoints::authentication())
        .config(settings.config.clone());
    if !settings.allowed_origins.is_empty() {
        builder = builder.allowed_origins(settings.allowed_origins.iter().cloned());
    }
    if !settings.allowed_hosts.is_empty() {
        builder = builder.allowed_hosts(settings.allowed_hosts.iter().cloned());
    }
    builder = match &settings.trusted_proxies[..] {
        [] => builder,
        [none] if none == "none" => builder.trusted_proxies(Vec::<String>::new()),
        proxies => builder.trusted_proxies(proxies.iter().cloned()),
    };
    if let Some(stem) = &settings.node_name {
        builder = builder.node_name(stem);
    }
    let name = settings.node_name.as_deref().unwrap_or(name);
    Ok(endpoints::add(builder, name).start().await?)
}

/// HTTP in addition to the WebSocket.
fn beside(server: MatsSocketServer, introspection: bool) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let prometheus = server.prometheus_scrape();
        config
            .app_data(Data::new(server))
            .route("/health", web::get().to(async || "up\n"))
            .route("/ready", web::get().to(ready))
            .route("/metrics", web::get().to(metrics))
            .route("/prometheus", prometheus);
        if introspection {
            config.route("/sessions", web::get().to(sessions));
        }
    }
}

async fn ready(server: Data<MatsSocketServer>) -> HttpResponse {
    match server.ready() {
        Ok(()) => HttpResponse::Ok().body("ready\n"),
        Err(why) => HttpResponse::ServiceUnavailable().body(format!("{why}\n")),
    }
}

async fn metrics(server: Data<MatsSocketServer>) -> HttpResponse {
    HttpResponse::Ok().json(server.metrics())
}

async fn sessions(server: Data<MatsSocketServer>) -> HttpResponse {
    HttpResponse::Ok().json(server.live_sessions().await)
}
