//! What every request has to pass before it is answered.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::Semaphore;

use super::access::{Decision, Guard, Operator};
use super::call::{Call, Refusal, answer, refused};
use super::pages;
use super::routes::{Route, TABLE};
use crate::http::Backend;
use crate::request::{only_value, same_host};
use crate::seldom::log_seldom;
use crate::server::MatsSocketServer;
use crate::wire::shown;

/// Most bytes of the body of a call.
const MAX_BODY: usize = 64 * 1024;

/// How long the body of a call may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Most calls of the API that are answered at a time.
const MAX_CALLS: usize = 16;

/// Where the API is, below the path of the mount.
const API: &str = "api/";

/// What the requests of one mount share.
pub(super) struct Gate {
    server: MatsSocketServer,
    guard: Guard,
    /// Whether the dashboard is served as well as the API.
    has_pages: bool,
    calls: Arc<Semaphore>,
}

impl Gate {
    /// Configures what is served below a path.
    pub(super) fn mount(
        server: MatsSocketServer,
        path: &str,
        guard: Guard,
        has_pages: bool,
    ) -> impl FnOnce(&mut web::ServiceConfig) + Clone + use<> {
        let path = format!("/{}", path.trim_matches('/'));
        let gate = Arc::new(Gate {
            server,
            guard,
            has_pages,
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
        });
        move |config| {
            let below = path.trim_end_matches('/').to_owned();
            let paths = [path, format!("{below}/{{rest:.*}}")];
            let serve = move |request: HttpRequest, payload: web::Payload| {
                let gate = gate.clone();
                async move { gate.serve(request, payload).await }
            };
            config.service(web::resource(paths).to(serve));
        }
    }

    async fn serve(&self, request: HttpRequest, payload: web::Payload) -> HttpResponse {
        let admission = self.server.edge.admission();
        // Determined first, so that the guard can use it.
        admission.peer(&request);
        if admission.admits_host(&request).is_err() {
            return refused(403, "this host is not served").respond();
        }
        let operator = match self.guard.ask(request.clone()).await.decided() {
            Decision::Allowed(operator) => operator,
            Decision::Refused(response) => return response,
        };
        let rest = request.match_info().query("rest");
        match rest.strip_prefix(API) {
            Some(name) => match self.call(operator, name, &request, payload).await {
                Ok(response) => response,
                Err(refusal) => refusal.respond(),
            },
            None if self.has_pages => pages::serve(&request, rest),
            None => nothing_here().respond(),
        }
    }

    async fn call(
        &self,
        operator: Operator,
        name: &str,
        request: &HttpRequest,
        payload: web::Payload,
    ) -> Result<HttpResponse, Refusal> {
        let route = route(name, request.method())?;
        from_our_page(request)?;
        let body = match route.changes {
            true => {
                if operator.read_only {
                    return Err(refused(403, "you may look, and change nothing"));
                }
                is_json(request.headers())?;
                body(payload).await?
            }
            false => web::Bytes::new(),
        };
        let Ok(place) = self.calls.clone().try_acquire_owned() else {
            let why = format!("{MAX_CALLS} other calls are being answered, try again");
            return Err(refused(503, why));
        };
        let call = Call {
            server: self.server.clone(),
            operator,
            query: request.query_string().to_owned(),
            body,
        };
        // Of its own: it is completed, and logged, even if the client goes away meanwhile.
        let running = actix_web::rt::spawn(async move {
            let answered = (route.run)(call).await;
            drop(place);
            answered
        });
        let answered = running.await;
        Ok(answer(
            &answered.map_err(|_| refused(500, "the call failed"))??,
        ))
    }
}

fn nothing_here() -> Refusal {
    refused(404, "there is nothing here")
}

/// The entry of the table that a request names.
fn route(name: &str, method: &Method) -> Result<&'static Route, Refusal> {
    let mut named = TABLE.iter().filter(|route| route.name == name).peekable();
    if named.peek().is_none() {
        return Err(nothing_here());
    }
    let found = named.find(|route| route.method() == method);
    found.ok_or_else(|| refused(405, format!("{method} is not possible here")))
}

/// Refuses what a page of another site makes a browser send: the browser would add the operator's cookies or password.
fn from_our_page(request: &HttpRequest) -> Result<(), Refusal> {
    let headers = request.headers();
    let foreign = |why: &str| {
        log_seldom!(warn, "refused a call of the admin API: {why}");
        Err(refused(
            403,
            "pages of other sites may not use the admin API",
        ))
    };
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return foreign("a page of another origin made a browser send it");
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    match only_value(headers, header::ORIGIN) {
        Some(origin) if same_host(origin, request) => Ok(()),
        Some(origin) => foreign(&format!(
            "its page is of the origin {}; if that is this server's own, name the proxy in between by trusted_proxies",
            shown(origin)
        )),
        None => foreign("its origin is no text, or there are several"),
    }
}

/// A body that no form can send: a browser asks first whether a page of another site may.
fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = only_value(headers, header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(refused(
            415,
            "the body must be JSON, with Content-Type: application/json",
        )),
    }
}

async fn body(payload: web::Payload) -> Result<web::Bytes, Refusal> {
    let read = payload.to_bytes_limited(MAX_BODY);
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(Ok(bytes))) => Ok(bytes),
        Ok(Ok(Err(why))) => Err(refused(400, format!("the body cannot be read: {why}"))),
        Ok(Err(_)) => Err(refused(
            413,
            format!("the body has more than {MAX_BODY} bytes"),
        )),
        Err(_) => Err(refused(408, "the body did not arrive in time")),
    }
}
