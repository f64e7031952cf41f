//! The files of the dashboard. They are part of the program, load nothing from elsewhere, and need no build step.

use actix_web::http::Method;
use actix_web::http::header::{self, ETag};
use actix_web::{HttpRequest, HttpResponse};

use super::call::refused;
use crate::http::{is_current, tag};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// What the pages may load: their own files, and nothing that is written into them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal $kind:ident;)*) => {
        &[$(($name, $kind, include_str!(concat!("page/", $name)))),*]
    };
}

/// Name, type and content of each.
const FILES: &[(&str, &str, &str)] = files! {
    "index.html" HTML;
    "icon.svg" IMAGE;
    "style.css" STYLE;
    "main.js" SCRIPT;
    "api.js" SCRIPT;
    "dom.js" SCRIPT;
    "history.js" SCRIPT;
    "plot.js" SCRIPT;
    "overview.js" SCRIPT;
    "sessions.js" SCRIPT;
    "session.js" SCRIPT;
    "services.js" SCRIPT;
    "dead_letters.js" SCRIPT;
    "topics.js" SCRIPT;
};

/// Serves the file of this name below the mount; the empty name is the page itself.
pub(super) fn serve(request: &HttpRequest, name: &str) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refused(405, "here is only something to read").respond();
    }
    if name.is_empty() && !request.path().ends_with('/') {
        return to_directory(request);
    }
    let name = if name.is_empty() { "index.html" } else { name };
    let Some((_, kind, content)) = FILES.iter().find(|(it, ..)| *it == name) else {
        return refused(404, "there is nothing here").respond();
    };
    let tag = tag(content);
    let current = is_current(request, &tag);
    let mut response = match current {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"));
    match current {
        true => response.finish(),
        false => response.content_type(*kind).body(*content),
    }
}

/// The page's files have names relative to it, so its own path must end with a slash. The place is relative as well: a
/// proxy may show the page at another path.
fn to_directory(request: &HttpRequest) -> HttpResponse {
    let last = request.path().rsplit('/').next().unwrap_or_default();
    HttpResponse::PermanentRedirect()
        .insert_header((header::LOCATION, format!("./{last}/")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}
