//! The browser client, served beside the WebSocket: a page needs no bundler, and gets the client that fits the server.

use std::future::ready;

use actix_web::http::header::{self, ETag, EntityTag, Header, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse, Resource, guard, web};

use super::mount::other_method;

/// The name of the browser client's file for this version of the crate, `client-<version>.js`, below the path that
/// `MatsSocketServer::mount` was given. Browsers keep it for a year without asking again, so a page that names it has to be
/// made by the server that serves it.
///
/// ```
/// let script = format!(r#"<link rel="modulepreload" href="/matssocket/{}">"#, matssocket::BROWSER_CLIENT);
/// # assert!(script.contains("/client-") && script.contains(".js"));
/// ```
pub const BROWSER_CLIENT: &str = concat!("client-", env!("CARGO_PKG_VERSION"), ".js");

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const TYPESCRIPT: &str = "application/typescript; charset=utf-8";
/// To be had from a cache only after the server has said that it is current.
const REVALIDATED: &str = "no-cache";
/// A year, the longest time that caches observe.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// A file that this build carries.
#[derive(Clone, Copy)]
struct File {
    name: &'static str,
    kind: &'static str,
    caching: &'static str,
    content: &'static str,
}

const MODULE: &str = include_str!("../../clients/typescript/dist/client.js");
const TYPES: &str = include_str!("../../clients/typescript/dist/matssocket.d.ts");

const FILES: [File; 3] = [
    File {
        name: "client.js",
        kind: JAVASCRIPT,
        caching: REVALIDATED,
        content: MODULE,
    },
    File {
        name: BROWSER_CLIENT,
        kind: JAVASCRIPT,
        caching: IMMUTABLE,
        content: MODULE,
    },
    File {
        name: "client.d.ts",
        kind: TYPESCRIPT,
        caching: REVALIDATED,
        content: TYPES,
    },
];

/// The resources of the browser client; `below` is the mount path without a slash at its end.
pub(super) fn browser_client(below: &str) -> impl Iterator<Item = Resource> + use<'_> {
    FILES.into_iter().map(move |file| {
        let tag = tag(file.content);
        web::resource(format!("{below}/{}", file.name))
            .route(
                web::route()
                    .guard(guard::Any(guard::Get()).or(guard::Head()))
                    .to(move |request: HttpRequest| ready(answer(&request, file, tag.clone()))),
            )
            .default_service(other_method("GET, HEAD"))
    })
}

/// The content, or that the requester has it already. It is public and the same for everybody, so that pages of other
/// origins may load it: the origin of whoever connects is checked at the upgrade.
fn answer(request: &HttpRequest, file: File, tag: EntityTag) -> HttpResponse {
    let current = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|theirs| theirs.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = match current {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, file.caching))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((header::CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"));
    match current {
        true => response.finish(),
        false => response.content_type(file.kind).body(file.content),
    }
}

/// A hash of the content (FNV-1a), the same in every build of the same files. Weak, because a middleware of the application
/// may compress what is sent.
fn tag(content: &str) -> EntityTag {
    let hash = content
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    EntityTag::new_weak(format!("{hash:016x}"))
}
