//! The table of the admin API. `openapi.json` describes the same; a test compares the two.

use std::future::Future;
use std::pin::Pin;

use actix_web::http::Method;

use super::call::{Answer, Call};
use super::{cluster, dead_letters, sessions, topics};

type Running = Pin<Box<dyn Future<Output = Answer>>>;

/// One operation.
pub(super) struct Route {
    /// Its path below `api/`.
    pub(super) name: &'static str,
    /// Whether it changes something; otherwise it only reads.
    pub(super) changes: bool,
    pub(super) run: fn(Call) -> Running,
}

impl Route {
    pub(super) fn method(&self) -> &'static Method {
        match self.changes {
            true => &Method::POST,
            false => &Method::GET,
        }
    }
}

macro_rules! table {
    ($($method:ident $name:literal => $run:path;)*) => {
        &[$(Route {
            name: $name,
            changes: table!(@changes $method),
            run: |call| Box::pin($run(call)),
        }),*]
    };
    (@changes GET) => { false };
    (@changes POST) => { true };
}

/// Every operation.
pub(super) const TABLE: &[Route] = table! {
    GET "openapi.json" => cluster::openapi;
    GET "node" => cluster::node;
    GET "nodes" => cluster::nodes;
    GET "users" => sessions::users;
    GET "sessions" => sessions::list;
    GET "sessions/count" => sessions::count;
    GET "session" => sessions::show;
    POST "sessions/close" => sessions::close;
    POST "sessions/revoke" => sessions::revoke;
    GET "dead-letters" => dead_letters::list;
    GET "dead-letter" => dead_letters::show;
    POST "dead-letters/redrive" => dead_letters::redrive;
    POST "dead-letters/drop" => dead_letters::discard;
    GET "topics" => topics::list;
    GET "topic" => topics::history;
};
