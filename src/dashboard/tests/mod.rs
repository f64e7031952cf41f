//! Units of the admin API; `tests/protocol/admin_http` has what it does over sockets.

use std::collections::BTreeSet;

use actix_web::http::header::AUTHORIZATION;
use actix_web::test::TestRequest;
use serde_json::Value;

use super::access::{AdminAccess, Decision, Operator};
use super::routes::TABLE;

#[test]
fn the_openapi_document_describes_every_route_and_no_other() {
    let document: Value = serde_json::from_str(include_str!("../openapi.json")).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let there = TABLE.iter();
    let there: BTreeSet<String> = there
        .map(|route| format!("{} /{}", route.method(), route.name))
        .collect();
    assert_eq!(described, there);
}

/// The operator that was allowed.
fn allowed(access: AdminAccess) -> Option<Operator> {
    match access.decided() {
        Decision::Allowed(operator) => Some(operator),
        Decision::Refused(_) => None,
    }
}

fn operator(authorization: Option<&str>, token: &str) -> Option<String> {
    let mut request = TestRequest::get();
    if let Some(value) = authorization {
        request = request.insert_header((AUTHORIZATION, value));
    }
    let access = AdminAccess::by_token(&request.to_http_request(), token);
    allowed(access).map(|operator| operator.name)
}

#[test]
fn a_token_is_taken_from_programs_and_from_browsers() {
    let holder = Some("the token's holder".to_owned());
    assert_eq!(operator(Some("Bearer s3cret"), "s3cret"), holder);
    assert_eq!(operator(Some("bearer  s3cret "), "s3cret"), holder);
    // anna:s3cret, :s3cret, anna:wrong
    assert_eq!(
        operator(Some("Basic YW5uYTpzM2NyZXQ="), "s3cret").as_deref(),
        Some("anna")
    );
    assert_eq!(operator(Some("Basic OnMzY3JldA=="), "s3cret"), holder);
    for wrong in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer s3cre"),
        Some("Bearer s3cret2"),
        Some("Bearer S3cret"),
        Some("Digest s3cret"),
        Some("s3cret"),
        Some("Basic YW5uYTp3cm9uZw=="),
        Some("Basic no base64"),
    ] {
        assert_eq!(operator(wrong, "s3cret"), None, "{wrong:?}");
    }
    assert_eq!(operator(Some("Bearer "), ""), None, "an empty token");
    assert_eq!(operator(Some("Basic YW5uYTo="), ""), None, "an empty token");
}

#[test]
fn a_refusal_stays_one_and_names_are_tame() {
    assert!(allowed(AdminAccess::deny().read_only()).is_none());
    let operator = allowed(AdminAccess::allow("an\u{1b}na").read_only());
    let operator = operator.expect("allowed");
    assert_eq!((&*operator.name, operator.read_only), (r"an\u{1b}na", true));
}
