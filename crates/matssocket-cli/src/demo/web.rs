//! The page, and the buttons that stop and start nodes, over HTTP.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::{Deserialize, Serialize};

use super::node::{Node, Nodes, Shared};

/// Where the WebSocket is mounted.
pub const PATH: &str = "/matssocket";

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// The page. The client that it imports is served by the library, below [`PATH`].
const FILES: [(&str, &str, &str); 6] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JAVASCRIPT, include_str!("page/page.js")),
    ("/line.js", JAVASCRIPT, include_str!("page/line.js")),
    ("/records.js", JAVASCRIPT, include_str!("page/records.js")),
    (
        "/transcript.js",
        JAVASCRIPT,
        include_str!("page/transcript.js"),
    ),
];

/// Adds the routes of one node.
pub fn routes(node: Node, nodes: Nodes, shared: Arc<Shared>) -> impl FnOnce(&mut ServiceConfig) {
    let policy = content_security_policy(&nodes);
    move |config| {
        for (path, kind, content) in FILES {
            config.route(path, file(kind, policy.clone(), content));
        }
        config
            .app_data(Data::new(node))
            .app_data(Data::new(nodes))
            .app_data(Data::from(shared))
            .service(web::resource("/demo/nodes").get(list).route(options()))
            .service(web::resource("/demo/stop-node").post(stop).route(options()))
            .service(
                web::resource("/demo/start-node")
                    .post(start)
                    .route(options()),
            );
    }
}

/// The page loads its scripts and styles from separate files, and connects to every node, also at ports other than its
/// own.
fn content_security_policy(nodes: &Nodes) -> String {
    let nodes: Vec<String> = nodes
        .iter()
        .flat_map(|node| {
            let port = node.port;
            ["127.0.0.1", "localhost"]
                .map(|host| format!("ws://{host}:{port} http://{host}:{port}"))
        })
        .collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        nodes.join(" ")
    )
}

fn file(kind: &'static str, policy: String, content: &'static str) -> actix_web::Route {
    let answer = move || {
        let answer = HttpResponse::Ok()
            .insert_header((header::CONTENT_SECURITY_POLICY, policy.clone()))
            .insert_header((header::CONTENT_TYPE, kind))
            .body(content);
        std::future::ready(answer)
    };
    web::get().to(answer)
}

/// Default headers of every answer: no content sniffing, and no embedding in other pages.
pub fn hardened() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((header::CACHE_CONTROL, "no-store"))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::X_FRAME_OPTIONS, "DENY"))
        .add((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ))
}

fn options() -> actix_web::Route {
    web::method(actix_web::http::Method::OPTIONS).to(
        async |request: HttpRequest, shared: Data<Shared>| {
            with_cors(&request, &shared, HttpResponse::NoContent()).finish()
        },
    )
}

#[derive(Serialize)]
struct NodeList {
    nodes: Vec<NodeEntry>,
}

#[derive(Serialize)]
struct NodeEntry {
    name: String,
    url: String,
    http: String,
    up: bool,
}

async fn list(request: HttpRequest, nodes: Data<Nodes>, shared: Data<Shared>) -> HttpResponse {
    let entry = |node: &Node| NodeEntry {
        name: node.name.to_string(),
        url: node.ws_url(),
        http: node.http_url(),
        up: node.is_up(),
    };
    let nodes = nodes.iter().map(entry).collect();
    with_cors(&request, &shared, HttpResponse::Ok()).json(NodeList { nodes })
}

async fn stop(request: HttpRequest, node: Data<Node>, shared: Data<Shared>) -> HttpResponse {
    if is_foreign(&request, &shared) {
        return HttpResponse::Forbidden().body("a page from elsewhere may not stop nodes");
    }
    node.stop().await;
    with_cors(&request, &shared, HttpResponse::NoContent()).finish()
}

#[derive(Deserialize)]
struct Which {
    name: String,
}

async fn start(
    request: HttpRequest,
    which: Query<Which>,
    nodes: Data<Nodes>,
    shared: Data<Shared>,
) -> HttpResponse {
    if is_foreign(&request, &shared) {
        return HttpResponse::Forbidden().body("a page from elsewhere may not start nodes");
    }
    let Some(node) = nodes.find(&which.name) else {
        return with_cors(&request, &shared, HttpResponse::NotFound())
            .body(format!("there is no node {:?}", which.name));
    };
    match node.start().await {
        Ok(()) => with_cors(&request, &shared, HttpResponse::NoContent()).finish(),
        Err(why) => with_cors(&request, &shared, HttpResponse::InternalServerError()).body(why),
    }
}

/// Whether a page of another site made the request: the browser would send it, since CORS only hides the answer.
fn is_foreign(request: &HttpRequest, shared: &Shared) -> bool {
    request
        .headers()
        .get(header::ORIGIN)
        .is_some_and(|origin| !is_ours(origin, shared))
}

fn is_ours(origin: &HeaderValue, shared: &Shared) -> bool {
    shared.origins.iter().any(|ours| origin == ours.as_str())
}

fn with_cors(
    request: &HttpRequest,
    shared: &Shared,
    mut response: HttpResponseBuilder,
) -> HttpResponseBuilder {
    if let Some(origin) = request
        .headers()
        .get(header::ORIGIN)
        .filter(|origin| is_ours(origin, shared))
    {
        response
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin))
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"))
            .insert_header((header::VARY, "Origin"));
    }
    response
}
