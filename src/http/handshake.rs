//! Recognises WebSocket upgrades and checks that they are valid (RFC 6455 §4.2.1).

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, StatusCode, Version};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// The WebSocket sub-protocol.
pub(super) const SUB_PROTOCOL: &str = "matssocket";

/// Why a request cannot be upgraded: the status to answer, and the text for the client.
type Flaw = (StatusCode, &'static str);

/// Whether these are the headers of a request that we must answer: it mentions WebSocket, validly or not. An invalid
/// upgrade must not reach the application either, since a proxy may have taken it for a valid one.
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    const WEBSOCKET: &[u8] = b"websocket";
    headers.get_all(header::UPGRADE).any(|value| {
        value
            .as_bytes()
            .windows(WEBSOCKET.len())
            .any(|window| window.eq_ignore_ascii_case(WEBSOCKET))
    })
}

/// Checks strictly that a request is an upgrade to our sub-protocol: if we and a proxy in front of us interpret a
/// request differently, another request can be hidden in it.
pub(super) fn check(request: &HttpRequest) -> Result<(), Flaw> {
    let headers = request.headers();
    let only = |name| only(headers, name);
    let bad = |what| Err((StatusCode::BAD_REQUEST, what));
    if request.version() != Version::HTTP_11 || request.method() != Method::GET {
        return bad("a WebSocket upgrade is a GET request of HTTP/1.1");
    }
    if !only(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return bad("the header Upgrade must be websocket, and nothing else");
    }
    if !tokens(headers, header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return bad("the header Connection must have the option upgrade");
    }
    if has_body(headers) {
        return bad("a WebSocket upgrade has no body");
    }
    if only(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "the header Sec-WebSocket-Version must be 13",
        ));
    }
    if !only(header::SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return bad("there must be one header Sec-WebSocket-Key, of 16 bytes in base64");
    }
    if !tokens(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|token| token == SUB_PROTOCOL) {
        return bad("the WebSocket sub-protocol `matssocket` must be offered");
    }
    Ok(())
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get_all(header::CONTENT_LENGTH)
            .any(|length| length.as_bytes() != b"0")
}

/// Whether this encodes sixteen bytes. 22 random characters are accepted too, as some clients send them.
fn is_key(key: &str) -> bool {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    LENIENT.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// The value of a header that occurs exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    crate::request::only_value(headers, name).map(str::trim)
}

/// The comma-separated values of a header that may occur several times.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}
