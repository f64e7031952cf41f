//! Nodes, and the API's description of itself.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::call::{Answer, Call, refused};
use crate::clock::epoch_ms;

const OPENAPI: &str = include_str!("openapi.json");

/// The API as an OpenAPI document.
pub(super) async fn openapi(_: Call) -> Answer {
    serde_json::from_str::<Value>(OPENAPI).map_err(|why| refused(500, why.to_string()))
}

/// The figures of the node that answers, and who is asking.
pub(super) async fn node(call: Call) -> Answer {
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "operator": call.operator.name,
        "read_only": call.operator.read_only,
        "now": epoch_ms(SystemTime::now()),
        "metrics": call.server.metrics(),
    }))
}

/// The nodes of the cluster, and the work that none of them can do.
pub(super) async fn nodes(call: Call) -> Answer {
    let (nodes, unserved) = (call.server.nodes().await?, call.server.unserved().await?);
    Ok(json!({ "nodes": nodes, "unserved": unserved }))
}
